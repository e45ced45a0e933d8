"""Untrusted YAML and JSON is rejected before it takes too much memory."""

import resource
import time
import tracemalloc

import pytest
import yaml

from configs.user_text import MAX_DEPTH, check_references, check_yaml, parse_json
from stitchedit.errors import InputError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def cheap():
    """Check that the test takes less than a second of CPU time and 100 MB."""
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kB


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "values"),
        ("a: &a [*a]", "inside of what it repeats"),
        ("a: &a {b: &b [*a]}", "inside of what it repeats"),
        ("a: &x 1\nb: {<<: &c {<<: *c}}", "inside of what it repeats"),
        ("[" * 1_000_000, f"more than {MAX_DEPTH}"),
        ("{a: " * 100_000, f"more than {MAX_DEPTH}"),
        ("- " * 100_000, f"more than {MAX_DEPTH}"),
        ("? " * 100_000, f"more than {MAX_DEPTH}"),
        ("".join(" " * level + "-\n" for level in range(2000)), f"more than {MAX_DEPTH}"),
    ],
    ids=lambda value: value[:12],
)
def test_documents_that_would_fill_the_memory_are_rejected(cheap, text, message):
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        check_yaml(text)
    assert message in caught.value.problem
    assert caught.value.problem_mark is not None


def test_a_few_aliases_are_accepted():
    check_yaml("defaults: &d {smile: 2}\nclips:\n" + "  - {source: a, edits: *d}\n" * 1000)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "]" * 200], ids=["list", "object", "closed"]
)
def test_deeply_nested_json_is_rejected(cheap, text):
    with pytest.raises(ValueError, match="inside each other"):
        parse_json(text)


def test_json_of_many_values_is_cheap():
    tracemalloc.start()
    assert len(parse_json("[" + ",".join(["1"] * 100_000) + "]")) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"edit": {"directions": "${oc.env:HOME}"}}, "edit.directions"),
        ({"a": [1, {"b": "x${align.size}"}]}, "a.1.b"),
        ({"a": {"${oc.env:HOME}": 1}}, "a"),
    ],
)
def test_a_reference_is_named_with_its_place(values, place):
    with pytest.raises(InputError, match=f"^{place}: .* is not looked up here"):
        check_references(values)
