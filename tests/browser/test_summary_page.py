"""The page of a catalog in a real browser."""

import json
import shutil

import pytest

from flows.catalog.outcomes import Outcome, StageTime
from flows.catalog.reading import open_catalog
from flows.catalog.summary import write_summary
from flows.requests.output_files import exported_files
from storage.store import Store


def time_of(stage, cached, started, seconds):
    return StageTime(stage, cached, f"2026-11-24T01:00:{started}+00:00", seconds)


ONE = [time_of("align", False, "00", 4.0), time_of("tune", False, "04", 60.0)]
TWO = [time_of("align", False, "10", 5.0), time_of("tune", True, "00", 70.0)]


@pytest.fixture
def page(finished, open_page, tmp_path):
    """Summary of three clips: one published, one for review, one failed."""
    for source in exported_files(finished.output).values():
        shutil.copy(source, tmp_path / source.name)
    shared = {"edit": "smile+2", "request": {}, "file": (1, 1), "code": ""}
    output = str(tmp_path / finished.output.name)
    made = [
        Outcome("1", "one.mp4", output, state="published", verdict="pass", seconds=70.0, stages=ONE, **shared),
        Outcome("2", "two.mp4", output, state="review", reasons=["ring < 3 & > 2"], stages=TWO, **shared),
        Outcome("3", "<b>three.mp4", str(tmp_path / "no.mp4"), state="timed out", error="It took too long.", **shared),
    ]
    (tmp_path / "night.yaml").write_text(json.dumps({"catalog": "night", "clips": []}))
    return open_page(write_summary(open_catalog(tmp_path / "night.yaml"), made, Store.at(tmp_path / "store")))


def test_it_shows_every_clip_with_its_frames_and_links_to_its_report(page):
    assert page.value("[...document.querySelectorAll('td.state')].map(cell => cell.textContent)") == [
        "published", "review", "timed out",
    ]  # fmt: skip
    assert page.value("[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)")
    assert page.value("document.images.length") == 2
    assert page.value("document.querySelector('tbody a').getAttribute('href')") == "out_report.html"
    assert page.value("document.querySelectorAll('b').length") == 0
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.complaints == []


def test_it_shows_device_time_spent_and_saved(page):
    line = page.value("document.querySelector('p.soft').textContent")
    assert "60 s on the device" in line
    assert "70 s on the device saved by the store" in line
    assert "5 s with two clips at work" in line
    assert page.value("document.querySelectorAll('.timeline svg').length") == 1


def test_clips_can_be_filtered_by_state(page):
    shown = "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden).length"
    page.value("document.querySelector('button[data-state=review]').click()")
    assert page.value(shown) == 1
    page.value("document.querySelector('button').click()")
    assert page.value(shown) == 3
    assert page.complaints == []
