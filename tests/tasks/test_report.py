"""What the page of a real edit says."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from storage.artifact import Artifact
from tasks.reporting.report_page import (
    Pair,
    PersonReport,
    Report,
    format_number,
    magnified_difference,
    markdown_summary,
    report_page,
)
from tasks.runtime.stage_names import STAGES


@pytest.fixture(scope="module")
def page(finished):
    return (finished.artifacts["report"].path / "report.html").read_text()


@pytest.fixture(scope="module")
def measures(finished):
    return json.loads((finished.artifacts["measure"].path / "measures.json").read_text())


def test_the_page_needs_nothing_from_outside(page):
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links
    assert {link.partition(":")[0] for link in links if not link.startswith("#")} == {"data"}
    assert not re.findall(r"@import|url\((?!#)", page)


def test_it_says_the_verdict_with_every_reason(page, measures):
    assert f'class="verdict {measures["verdict"]}"' in page
    assert measures["reasons"]
    for reason in measures["reasons"]:
        assert reason.replace("'", "&#39;") in page


def test_it_shows_the_worst_frames_and_why(page, measures):
    for face in measures["tracks"][0]["worst"][:4]:
        assert f"frame {face['frame']}: {face['why']}".replace("'", "&#39;") in page


def test_it_names_every_stage_behind_it_and_its_settings(page, finished):
    for stage in STAGES[:-1]:
        assert f">{finished.artifacts[stage].key}<" in page
    assert "tune.options.passes" in page


def test_it_lies_beside_the_output_and_its_summary_is_in_the_store(page, finished):
    assert finished.output.with_name("out_report.html").read_text() == page
    summary = (finished.artifacts["report"].path / "summary.md").read_text()
    assert summary.startswith("**phone.mp4** · face: smile+2 (preset default)")
    assert "| 0–5 |" in summary


PAIR = Pair("frame 0", "data:image/jpeg;base64,AA", "data:image/jpeg;base64,AA")
TRACK = {
    "frames": [0, 5], "faces": 6, "numbers": {"tl_id": None, "ring": 1.25}, "strength": {"smile": None},
    "side_effects": {"age": 0.5}, "verdict": "review",
}  # fmt: skip
REPORT = Report(
    clip="<b>.mp4", edit="smile+2", verdict="review", frames=[PAIR], preview="data:video/mp4;base64,AA",
    persons=[PersonReport("face", {"tracks": [TRACK], "verdict": "review", "reasons": ["a < b"]}, "<svg></svg>", [])],
)  # fmt: skip


def test_a_name_with_marks_of_html_is_shown_as_it_is():
    page = report_page(REPORT)
    assert "<b>.mp4" not in page
    assert "&lt;b&gt;.mp4" in page
    assert "a &lt; b" in page


def test_a_number_that_is_not_known_is_a_dash():
    assert format_number(None, "{:.2f}") == "–"
    assert "| 0–5 | – | – | 1.25 |" in markdown_summary(REPORT)


def test_plots_of_two_persons_do_not_share_ids():
    svg = '<?xml version="1.0"?><svg><g id="a"/><use href="#a"/><g clip-path="url(#a)"/></svg>'
    person = replace(REPORT.persons[0], plots=svg)
    page = report_page(replace(REPORT, persons=[person, person]))
    assert [page.count(f'id="p{index}-a"') for index in (0, 1)] == [1, 1]
    assert [page.count(f"url(#p{index}-a)") for index in (0, 1)] == [1, 1]


def test_the_difference_is_gray_where_nothing_changed_and_four_times_as_large_elsewhere():
    before = np.full((2, 2, 3), 100, np.uint8)
    after = before + np.array([[[0]], [[10]]], np.uint8)
    np.testing.assert_array_equal(magnified_difference(before, after)[:, 0, 0], [128, 168])


def test_a_ticket_of_a_missing_manifest_is_left_out(finished):
    from tasks.reporting.lineage import lineage_of  # noqa: PLC0415

    encode = finished.artifacts["encode"]
    gone = Artifact(encode.store, "encode", "0" * 16, "f" * 64)
    assert [stage for stage, *_ in lineage_of([gone])] == []
    assert [stage for stage, *_ in lineage_of([encode])][-1] == "encode"
