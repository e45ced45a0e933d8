"""Malicious and malformed catalogs, file names and links."""

import json
import os
import resource
import time
from pathlib import Path

import pytest

from flows.catalog.documents import MAX_BYTES, CatalogError
from flows.catalog.jobs import prepare_job
from flows.catalog.outcomes import Outcome
from flows.catalog.reading import open_catalog
from flows.catalog.request import CatalogRequest
from stitchedit.errors import InputError

SECRET = "hush-hush-secret"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A catalog's folder with a clip, a folder outside it, and a secret in the environment."""
    monkeypatch.setenv("STITCHEDIT_TEST_SECRET", SECRET)
    for name in ("catalog", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "catalog" / "a.mp4").write_bytes(b"no video")
    return tmp_path / "catalog"


@pytest.fixture
def opened(folder):
    """`opened(clip, **catalog)` reads a catalog of one clip with these fields."""

    def read(clip, **catalog):
        entry = {"source": "a.mp4", "edits": {"smile": 2}} | clip
        content = {"catalog": "n", "consent_required": False, **catalog, "clips": [entry]}
        (folder / "n.yaml").write_text(json.dumps(content))
        return open_catalog(folder / "n.yaml")

    return read


def error_of(opened, clip, **catalog):
    with pytest.raises(CatalogError) as caught:
        opened(clip, **catalog)
    return str(caught.value)


@pytest.fixture
def cheap():
    """Assert that the test takes less than 1 s of CPU time and 200 MB."""
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000  # kB


@pytest.mark.parametrize(
    "output",
    [
        "{folder.__class__.__new__.__globals__[os].environ[STITCHEDIT_TEST_SECRET]}{suffix}",
        "{folder.__class__}{suffix}",
        "{folder.parent}/{stem}{suffix}",
        "{stem[0]}{suffix}",
        "{stem!r}{suffix}",
        "{stem:>999999999}{suffix}",
        "{stem:{edit}}{suffix}",
        "{}{suffix}",
        "{0}{suffix}",
        "{stem",
        "stem}{suffix}",
        "a\0{suffix}",
    ],
)
def test_an_output_may_contain_plain_fields_only(cheap, opened, output):
    message = error_of(opened, {"output": output})
    assert "may contain {stem}, {suffix}, {edit} and {folder}" in message
    assert SECRET not in message


def test_doubled_braces_are_literal(opened, folder):
    (clip,) = opened({"output": "{{{stem}}}{suffix}"}).clips
    assert clip.request(folder, ".mp4").output == folder / "{a}.mp4"


@pytest.mark.parametrize(
    "fields",
    [
        {"preset": "${oc.env:STITCHEDIT_TEST_SECRET}"},
        {"options": ["edit.directions=${oc.env:STITCHEDIT_TEST_SECRET}"]},
        {"options": ["encode.codec=${oc.env:STITCHEDIT_TEST_SECRET}"]},
        {"ramps": {"smile": "${oc.env:STITCHEDIT_TEST_SECRET}"}},
        {"edits": {"${oc.env:STITCHEDIT_TEST_SECRET}": 2}},
    ],
)
def test_a_catalog_cannot_read_the_environment(opened, fields):
    assert SECRET not in error_of(opened, fields)


@pytest.mark.parametrize("preset", ["../presets/draft", "../../../evil", "/etc/hostname", "a\0b"])
def test_a_preset_is_a_name_and_not_a_path(opened, preset):
    assert "No preset" in error_of(opened, {"preset": preset})


@pytest.mark.parametrize(
    "output", ["../elsewhere/{stem}{suffix}", "{folder}/../elsewhere/{stem}{suffix}", "inner/../../elsewhere/x{suffix}"]
)
def test_results_outside_the_folder_of_the_catalog_are_refused(opened, folder, output):
    elsewhere = folder.parent / "elsewhere"
    assert f"`allow_outputs: [{elsewhere}]`" in error_of(opened, {"output": output})
    for allowed in (str(elsewhere), "../elsewhere", str(folder.parent)):
        (clip,) = opened({"output": output}, allow_outputs=[allowed]).clips
        assert Path(os.path.normpath(clip.request(folder, ".mp4").output)).parent == elsewhere


def test_results_behind_a_link_out_of_the_folder_are_refused(opened, folder):
    (folder / "done").symlink_to(folder.parent / "elsewhere")
    assert "outside the catalog's folder" in error_of(opened, {"output": "done/{stem}{suffix}"})
    assert opened({"output": "done/{stem}{suffix}"}, allow_outputs=["done"]).clips
    (folder / "held").symlink_to(folder.parent / "elsewhere")
    assert "outside the catalog's folder" in error_of(opened, {"output": "{stem}{suffix}2.mp4"})


def test_the_result_of_a_clip_elsewhere_is_written_to_the_catalogs_folder(opened, folder):
    source = folder.parent / "elsewhere" / "b.mp4"
    source.write_bytes(b"no video")
    (clip,) = opened({"source": str(source)}).clips
    assert clip.request(folder, ".mp4").output == folder / "b_smile+2.mp4"
    assert "allow_outputs" in error_of(opened, {"source": str(source), "output": "{folder}/{stem}_{edit}{suffix}"})


def test_a_link_created_after_reading_the_catalog_is_refused(opened, folder, clip, tmp_path):
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    catalog = opened({"output": "done/{stem}{suffix}"})
    (folder / "done").symlink_to(folder.parent / "elsewhere")
    request = CatalogRequest(catalog=catalog.path, store=str(tmp_path / "store"), device="cpu")
    outcome = prepare_job(catalog.clips[0], catalog, request, request.open_store())
    assert isinstance(outcome, Outcome)
    assert "outside the catalog's folder" in (outcome.error or "")
    assert not list((folder.parent / "elsewhere").iterdir())


BOMB = "a0: &a0 [" + "x, " * 10 + "]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 10))
HEAD = "catalog: n\nconsent_required: false\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n.yaml", HEAD + BOMB + "clips: *a9\n", "values, with those that aliases repeat"),
        ("n.yaml", HEAD + "clips: &c [*c]\n", "inside of what it repeats"),
        ("n.yaml", HEAD + "clips: &c [{source: a, tags: *c}]\n", "inside of what it repeats"),
        ("n.yaml", HEAD + "clips: " + "[" * 200_000, "inside each other"),
        ("n.yaml", HEAD + "clips:\n" + "- " * 200_000, "inside each other"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, priority: !!int x}]", "of the type that its tag says"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, start: !!timestamp x}]", "of the type that its tag says"),
        ("n.yaml", HEAD + f"clips: [{{source: a.mp4, priority: {'9' * 5000}}}]", "of the type that its tag says"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, ? {a: b} : c}]", "invalid YAML"),
        ("n.yaml", HEAD + "clips: !!python/object/apply:os.system [id]", "invalid YAML"),
        ("n.jsonl", "[" * 200_000, "inside each other"),
        ("n.jsonl", '{"source":' * 200_000, "inside each other"),
        ("n.jsonl", '{"source": ' + "9" * 5000 + "}", "invalid JSON"),
        ("n.csv", "source,edits\n" + "a" * 200_000 + ",smile=1\n", "field larger than field limit"),
        ("n.csv", 'source,edits\n"a' + ",smile=1\n" * 20_000, "field larger than field limit"),
        ("n.csv", '"' + "a" * 200_000, "field larger than field limit"),
        ("n.jsonl", "[\n" * 100_000, "more"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_catalog_that_would_exhaust_memory_is_refused_immediately(cheap, folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(CatalogError, match=message) as caught:
        open_catalog(folder / name)
    assert len(str(caught.value)) < 20_000


def test_endless_and_huge_files_are_refused(cheap, folder):
    (folder / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jsonl")
    for name in ("zero.yaml", "pipe.jsonl"):
        with pytest.raises(InputError, match="is not a file"):
            open_catalog(folder / name)
    with (folder / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="Split it"):
        open_catalog(folder / "large.csv")


@pytest.mark.parametrize("source", ["a\0.mp4", "\ud800.mp4", "x" * 5000, "*" * 200 + "b", "/" * 300 + "b.mp4"])
def test_an_invalid_source_is_reported(cheap, folder, source):
    (folder / "n.jsonl").write_text(json.dumps({"source": source, "edits": {"smile": 1}}))
    with pytest.raises(CatalogError) as caught:
        open_catalog(folder / "n.jsonl")
    assert str(caught.value).encode()


def test_control_characters_of_a_catalog_do_not_reach_the_terminal(opened):
    message = error_of(opened, {"source": "\x1bc\nn.yaml:1: all is well.mp4"})
    assert "\x1b" not in message
    assert not any(line.startswith("n.yaml:1: all is well") for line in message.split("\n"))
