import csv
import json
import re
from datetime import date
from pathlib import Path

import pytest

from flows.catalog.documents import CatalogError
from flows.catalog.entries import Catalog
from flows.catalog.reading import open_catalog
from flows.catalog.summary import summary_markdown, write_summary
from flows.edit_job import read_config
from stitchedit.errors import InputError
from storage.store import Store

CONSENT = "{by: Anna Example, on: 2026-10-01, reference: release-17.pdf}"


@pytest.fixture
def folder(tmp_path):
    """A folder with three files named as videos; checking a catalog does not open them."""
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mov", "notes.txt"):
        (tmp_path / "clips" / name).write_bytes(b"no video")
    return tmp_path


@pytest.fixture
def opened(folder):
    def write(text, name="nightly.yaml"):
        (folder / name).write_text(text)
        return open_catalog(folder / name)

    return write


def problems_of(opened, text, name="nightly.yaml"):
    with pytest.raises(CatalogError) as caught:
        opened(text, name)
    return caught.value.problems


def test_a_clip_takes_missing_fields_from_the_defaults(opened, folder):
    catalog = opened(f"""
catalog: nightly
defaults:
  edits: {{smile: 2}}
  preset: draft
  output: "done/{{stem}}_{{edit}}{{suffix}}"
  consent: {CONSENT}
clips:
  - source: clips/a.mp4
  - source: clips/b.mp4
    edits: {{age: -3}}
    faces: {{left: {{}}, right: {{smile: 1}}}}
    ramps: {{age: "0:0,2:1"}}
    priority: 3
""")
    first, second = (clip.request(folder, ".mkv") for clip in catalog.clips)
    assert (first.describe(), first.preset) == ("smile+2", "draft")
    assert first.output == folder / "done" / "a_smile+2.mkv"
    assert second.describe() == "left-age-3_right-smile+1"
    assert read_config(second).edit.ramps == {"age": "0:0,2:1"}
    assert [clip.entry.consent.on for clip in catalog.clips] == [date(2026, 10, 1)] * 2


@pytest.mark.parametrize(
    ("source", "found"),
    [("clips/*.mp4", ["a.mp4", "b.mp4"]), ("clips", ["a.mp4", "b.mp4", "c.mov"]), ("clips/*.mkv", [])],
)
def test_a_pattern_and_a_folder_name_the_existing_files(opened, source, found):
    catalog = opened(f"catalog: n\nconsent_required: false\nclips: [{{source: '{source}', edits: {{smile: 2}}}}]")
    assert [clip.source.name for clip in catalog.clips] == found


def test_every_problem_is_reported_with_its_line(opened):
    text = """catalog: nightly
clips:
  - source: clips/a.mp4
    edits: {smlie: 2}
  - source: clips/gone.mp4
    edits: {smile: 2}
  - source: clips/b.mp4
    edits: {smile: 99}
    consent: {by: Anna, on: 2026-10-01, reference: r}
  - source: clips/c.mov
    consent: {by: Anna, on: 2026-10-01, reference: r}
"""
    found = problems_of(opened, text)
    assert [line for line, _ in found] == [3, 3, 5, 5, 7, 10]
    messages = "\n".join(text for _, text in found)
    for part in ("Did you mean 'smile'?", "no such file", "must lie within ±12", "there is no edit"):
        assert part in messages
    assert messages.count("no consent is recorded") == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("catalog: n\nclips:\n  - source: x\n    priorty: 3\n", 4, "priorty"),
        ("catalog: n\nclips:\n  - source: x\n    consent: {by: A, on: 2026-13-01, reference: r}\n", 4, "month value"),
        ("catalog: n\nclips:\n  - {edits: {smile: 2}}\n", 3, r"clips\[0\]\.source: Field required"),
        ("catalog: n\nclips:\n  - source: [x\n", 4, "invalid YAML"),
        ("catalog: n\ncatalog: m\nconsent_required: false\nclips: []\n", 1, "more than once"),
        ("- a\n- b\n", 1, "at its top"),
        ("catalog: a/b\nclips: []\n", 1, "pattern"),
        ("catalog: n\nclips:\n  - source: a\x07\n", 3, "invalid YAML: character 0x0007"),
        ("catalog: n\nclips:\n  - source: x\n    consent: {by: ' ', on: 2026-10-01, reference: r}\n", 4, "at least 1"),
        (
            "catalog: n\nclips:\n  - source: x\n    consent: {by: A, on: 2999-01-01, reference: r}\n",
            4,
            "is in the future",
        ),
        ("catalog: n\nclips:\n  - source: x\n    ramps: {'smile=0:0 #': '0:0,2:1'}\n", 4, "should match pattern"),
        ("catalog: n\nclips:\n  - source: x\n    edits: {smile: true}\n", 4, "valid number, got True"),
        ("catalog: n\nclips:\n  - source: x\n    edits: {smile: 012}\n", 4, "valid number, got '012'"),
        ("catalog: n\nclips:\n  - source: x\n    start: true\n", 4, "are not numbers, got True"),
        ("catalog: n\nclips:\n  - source: x\n    priority: 99999999999\n", 4, "less than or equal to 1000000000"),
    ],
)
def test_an_invalid_catalog_is_reported_with_the_line(opened, text, line, message):
    found = problems_of(opened, text)
    assert any(at == line and re.search(message, text) for at, text in found), found


def test_two_results_of_one_name_are_refused(opened):
    text = "catalog: n\nconsent_required: false\nclips: [{source: clips/*.mp4, edits: {smile: 2}, output: 'x{suffix}'}]"
    ((line, message),) = problems_of(opened, text)
    assert (line, message) == (3, "b.mp4: line 3 writes x too. Set `output` with {stem}.")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{name}.mp4", "may contain {stem}, {suffix}, {edit} and {folder}"),
        ("{stem.name}{suffix}", "may contain {stem}, {suffix}, {edit} and {folder}"),
        ("{stem[a]}{suffix}", "may contain {stem}, {suffix}, {edit} and {folder}"),
        ("s3://bucket/{stem}{suffix}", "is not a local path. Give a folder"),
        ("{stem}_{edit}", "has to end in {suffix} or one of .mp4"),
        ("{stem}.webm", "has to end in {suffix} or one of .mp4"),
        ("{folder}/{stem}{suffix}", "a.mp4: the result would overwrite the clip"),
        ("done/../clips/{stem}.mp4", "a.mp4: the result would overwrite the clip"),
    ],
)
def test_an_invalid_output_is_refused(opened, output, message):
    clip = f"{{source: clips/a.mp4, edits: {{smile: 2}}, output: '{output}'}}"
    ((line, text),) = problems_of(opened, f"catalog: n\nconsent_required: false\nclips: [{clip}]")
    assert line == 3
    assert message in text


@pytest.mark.parametrize("name", ["n.yaml", "n.csv", "n.jsonl"])
def test_an_empty_file_is_refused(folder, name):
    (folder / name).write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        open_catalog(folder / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [("n.yaml", "catalog: n\nclips: []\n"), ("n.csv", "source,edits\n"), ("n.jsonl", '{"catalog": "n"}')],
)
def test_a_catalog_without_clips_is_reported(opened, name, text):
    assert opened(text, name).notes == [f"{name} lists no clip: there is nothing to do"]


def test_a_pattern_without_matches_is_reported(opened):
    clips = "[{source: clips/*.mkv, edits: {smile: 2}}, {source: clips/a.mp4, edits: {smile: 2}}]"
    catalog = opened(f"catalog: n\nconsent_required: false\nclips: {clips}")
    assert catalog.notes == ["clips/*.mkv matches no clip now"]
    page = write_summary(catalog, [], Store.at(catalog.folder / "store"))
    assert "clips/*.mkv matches no clip now" in page.read_text()
    assert "clips/\\*.mkv matches no clip now" in summary_markdown(catalog, [], page)


def test_a_catalog_may_be_a_csv_table(opened, folder):
    rows = "source,edits,face,tags,priority,consent_by,consent_on,consent_reference\n"
    rows += "clips/a.mp4,smile=+2 age=-3,left,drama comedy,4,Anna,2026-10-01,r.pdf\n"
    rows += "clips/b.mp4,smile=+1,,,,Anna,2026-10-01,r.pdf\n"
    catalog = opened(rows, "week.csv")
    assert catalog.name == "week"
    first, second = (clip.request(folder, ".mp4") for clip in catalog.clips)
    assert first.describe() == "left-age-3_smile+2" or first.describe() == "left-smile+2_age-3"
    assert catalog.clips[0].entry.tags == ["drama", "comedy"]
    assert (catalog.clips[0].line, catalog.clips[1].line) == (2, 3)
    assert second.describe() == "smile+1"


def test_problems_of_a_table_are_reported_with_their_rows(opened):
    rows = "source,edits\nclips/a.mp4,smile\nclips/b.mp4,smile=2\n"
    assert [line for line, _ in problems_of(opened, rows, "week.csv")] == [2, 3]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_the_delimiters_of_spreadsheets(folder, delimiter):
    rows = [
        ["source", "edits", "ramps", "consent_by", "consent_on", "consent_reference"],
        ["clips/a.mp4", "smile=+2", "smile=0:0,2:1", "Anna", "2026-10-01", "r.pdf"],
    ]
    with (folder / "week.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    (clip,) = open_catalog(folder / "week.csv").clips
    assert clip.source.name == "a.mp4"
    assert read_config(clip.request(folder, ".mp4")).edit.ramps == {"smile": "0:0,2:1"}


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("week.csv", "source,edits,source\nclips/a.mp4,smile=2,clips/b.mp4\n", 1, "column 'source' appears more"),
        ("week.csv", "source,edits\nclips/a.mp4,smile=2 smile=1\n", 2, "edits: 'smile' appears more than once"),
        ("jobs.jsonl", '{"source": "clips/a.mp4", "source": "b", "edits": {"smile": 2}}', 1, "'source' appears more"),
        ("jobs.jsonl", '{"catalog": "a", "clips": []}', 1, "each clip has a line of its own"),
        ("jobs.jsonl", '{"catalog": "a"}\n{"catalog": "b"}', 2, "one such line"),
        ("jobs.jsonl", '{"catalog": "a"}\n{"source": "clips/a.mp4", "output": "\\ud800.mp4"}', 2, "lone surrogate"),
        ("jobs.jsonl", '{"source": "clips/\\udce9.mp4", "edits": {"smile": 2}}', 1, "lone surrogate"),
        ("jobs.jsonl", '{"source": "clips/a.mp4", "tags": ["\\udfff"]}', 1, "lone surrogate"),
        ("jobs.jsonl", '{"source": "clips/a.mp4", "faces": {"\\udfff": {}}}', 1, "lone surrogate"),
        ("jobs.jsonl", '{"source": "clips/a.mp4", "consent": {"by": "\\udfff"}}', 1, "lone surrogate"),
    ],
)
def test_input_that_would_be_dropped_is_reported(opened, name, text, line, message):
    assert any(at == line and message in found for at, found in problems_of(opened, text, name))


def test_a_catalog_may_be_json_lines(opened, folder):
    lines = [{"catalog": "jobs", "consent_required": False}, {"source": "clips/a.mp4", "edits": {"smile": 2}}]
    catalog = opened("\n".join(map(json.dumps, lines)) + "\n\n", "jobs.jsonl")
    assert (catalog.name, [clip.line for clip in catalog.clips]) == ("jobs", [2])
    found = problems_of(opened, json.dumps(lines[0]) + "\n{no json\n" + json.dumps({"source": 3}), "jobs.jsonl")
    assert sorted(line for line, _ in found) == [2, 3]


def test_another_suffix_is_refused(folder):
    with pytest.raises(InputError, match=r"notes\.txt is not a catalog"):
        open_catalog(folder / "clips" / "notes.txt")


def test_the_published_schema_is_up_to_date():
    published = Path(__file__).parents[3] / "deploy" / "catalog.schema.json"
    assert json.loads(published.read_text()) == Catalog.model_json_schema()
