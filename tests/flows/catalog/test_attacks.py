"""Catalogs, file names and links of somebody who means ill, or does not know better."""

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
    """A catalog's folder with a clip, beside one that is not the catalog's; and a secret in the environment."""
    monkeypatch.setenv("STITCHEDIT_TEST_SECRET", SECRET)
    for name in ("catalog", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "catalog" / "a.mp4").write_bytes(b"no video")
    return tmp_path / "catalog"


@pytest.fixture
def opened(folder):
    """`opened(clip, catalog)` reads a catalog of one clip with these words."""

    def read(clip, **catalog):
        entry = {"source": "a.mp4", "edits": {"smile": 2}} | clip
        words = {"catalog": "n", "consent_required": False, **catalog, "clips": [entry]}
        (folder / "n.yaml").write_text(json.dumps(words))
        return open_catalog(folder / "n.yaml")

    return read


def told(opened, clip, **catalog):
    with pytest.raises(CatalogError) as caught:
        opened(clip, **catalog)
    return str(caught.value)


@pytest.fixture
def cheap():
    """What follows takes less than a second of this process, and 200 MB."""
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
def test_an_output_holds_plain_fields_only(cheap, opened, output):
    words = told(opened, {"output": output})
    assert "may hold {stem}, {suffix}, {edit} and {folder}" in words
    assert SECRET not in words


def test_braces_that_are_doubled_are_braces(opened, folder):
    (clip,) = opened({"output": "{{{stem}}}{suffix}"}).clips
    assert clip.request(folder, ".mp4").output == folder / "{a}.mp4"


@pytest.mark.parametrize(
    "words",
    [
        {"preset": "${oc.env:STITCHEDIT_TEST_SECRET}"},
        {"options": ["edit.directions=${oc.env:STITCHEDIT_TEST_SECRET}"]},
        {"options": ["encode.codec=${oc.env:STITCHEDIT_TEST_SECRET}"]},
        {"ramps": {"smile": "${oc.env:STITCHEDIT_TEST_SECRET}"}},
        {"edits": {"${oc.env:STITCHEDIT_TEST_SECRET}": 2}},
    ],
)
def test_nothing_of_a_catalog_is_looked_up_in_the_environment(opened, words):
    assert SECRET not in told(opened, words)


@pytest.mark.parametrize("preset", ["../presets/draft", "../../../evil", "/etc/hostname", "a\0b"])
def test_a_preset_is_a_name(opened, preset):
    assert "No preset" in told(opened, {"preset": preset})


@pytest.mark.parametrize(
    "output", ["../elsewhere/{stem}{suffix}", "{folder}/../elsewhere/{stem}{suffix}", "inner/../../elsewhere/x{suffix}"]
)
def test_results_stay_in_the_folder_of_the_catalog(opened, folder, output):
    elsewhere = folder.parent / "elsewhere"
    assert f"`allow_outputs: [{elsewhere}]`" in told(opened, {"output": output})
    for allowed in (str(elsewhere), "../elsewhere", str(folder.parent)):
        (clip,) = opened({"output": output}, allow_outputs=[allowed]).clips
        assert Path(os.path.normpath(clip.request(folder, ".mp4").output)).parent == elsewhere


def test_a_link_does_not_lead_results_elsewhere(opened, folder):
    (folder / "done").symlink_to(folder.parent / "elsewhere")
    assert "outside of the catalog's folder" in told(opened, {"output": "done/{stem}{suffix}"})
    assert opened({"output": "done/{stem}{suffix}"}, allow_outputs=["done"]).clips
    (folder / "held").symlink_to(folder.parent / "elsewhere")
    assert "outside of the catalog's folder" in told(opened, {"output": "{stem}{suffix}2.mp4"})


def test_a_clip_from_elsewhere_leaves_its_result_here(opened, folder):
    source = folder.parent / "elsewhere" / "b.mp4"
    source.write_bytes(b"no video")
    (clip,) = opened({"source": str(source)}).clips
    assert clip.request(folder, ".mp4").output == folder / "b_smile+2.mp4"
    assert "allow_outputs" in told(opened, {"source": str(source), "output": "{folder}/{stem}_{edit}{suffix}"})


def test_a_link_that_appears_during_the_night_leads_nowhere(opened, folder, clip, tmp_path):
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    catalog = opened({"output": "done/{stem}{suffix}"})
    (folder / "done").symlink_to(folder.parent / "elsewhere")
    request = CatalogRequest(catalog=catalog.path, store=str(tmp_path / "store"), device="cpu")
    outcome = prepare_job(catalog.clips[0], catalog, request, request.open_store())
    assert isinstance(outcome, Outcome)
    assert "outside of the catalog's folder" in (outcome.error or "")
    assert not list((folder.parent / "elsewhere").iterdir())


BOMB = "a0: &a0 [" + "x, " * 10 + "]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 10}]\n" for n in range(1, 10))
HEAD = "catalog: n\nconsent_required: false\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("n.yaml", HEAD + BOMB + "clips: *a9\n", "values, with those that aliases repeat"),
        ("n.yaml", HEAD + "clips: &c [*c]\n", "inside of what it repeats"),
        ("n.yaml", HEAD + "clips: &c [{source: a, tags: *c}]\n", "inside of what it repeats"),
        ("n.yaml", HEAD + "clips: " + "[" * 200_000, "inside each other"),
        ("n.yaml", HEAD + "clips:\n" + "- " * 200_000, "inside each other"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, priority: !!int x}]", "of the type that its tag says"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, start: !!timestamp x}]", "of the type that its tag says"),
        ("n.yaml", HEAD + f"clips: [{{source: a.mp4, priority: {'9' * 5000}}}]", "of the type that its tag says"),
        ("n.yaml", HEAD + "clips: [{source: a.mp4, ? {a: b} : c}]", "no YAML"),
        ("n.yaml", HEAD + "clips: !!python/object/apply:os.system [id]", "no YAML"),
        ("n.jsonl", "[" * 200_000, "inside each other"),
        ("n.jsonl", '{"source":' * 200_000, "inside each other"),
        ("n.jsonl", '{"source": ' + "9" * 5000 + "}", "no JSON"),
        ("n.csv", "source,edits\n" + "a" * 200_000 + ",smile=1\n", "field larger than field limit"),
        ("n.csv", 'source,edits\n"a' + ",smile=1\n" * 20_000, "field larger than field limit"),
        ("n.csv", '"' + "a" * 200_000, "field larger than field limit"),
        ("n.jsonl", "[\n" * 100_000, "more"),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_a_catalog_that_would_fill_the_memory_is_refused_at_once(cheap, folder, name, text, words):
    (folder / name).write_text(text)
    with pytest.raises(CatalogError, match=words) as caught:
        open_catalog(folder / name)
    assert len(str(caught.value)) < 20_000


def test_what_has_no_end_is_no_catalog(cheap, folder):
    (folder / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jsonl")
    for name in ("zero.yaml", "pipe.jsonl"):
        with pytest.raises(InputError, match="is not a file"):
            open_catalog(folder / name)
    with (folder / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="Divide it"):
        open_catalog(folder / "large.csv")


@pytest.mark.parametrize("source", ["a\0.mp4", "\ud800.mp4", "x" * 5000, "*" * 200 + "b", "/" * 300 + "b.mp4"])
def test_a_source_that_cannot_be_is_told(cheap, folder, source):
    (folder / "n.jsonl").write_text(json.dumps({"source": source, "edits": {"smile": 1}}))
    with pytest.raises(CatalogError) as caught:
        open_catalog(folder / "n.jsonl")
    assert str(caught.value).encode()


def test_what_a_catalog_says_is_not_obeyed_by_a_terminal(opened):
    words = told(opened, {"source": "\x1bc\nn.yaml:1: all is well.mp4"})
    assert "\x1b" not in words
    assert not any(line.startswith("n.yaml:1: all is well") for line in words.split("\n"))
