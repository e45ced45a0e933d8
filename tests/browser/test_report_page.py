"""The report in a real browser, opened from disk without a network."""

import shutil

import pytest

from storage.workspace import Workspace
from tasks.report import write_report

CLIP_PATH = "getComputedStyle(document.querySelector('.compare .after')).clipPath"


@pytest.fixture
def page(finished, open_page):
    return open_page(finished.output.with_name("out_report.html"))


def test_the_slider_moves_the_edge_between_before_and_after(page):
    begun = page.value(CLIP_PATH)
    page.value("slider.value = 80; slider.dispatchEvent(new Event('input'))")
    assert begun == "inset(0px 0px 0px 50%)"
    assert page.value(CLIP_PATH) == "inset(0px 0px 0px 20%)"
    assert page.value("edge.style.left") == "20%"
    assert page.complaints == []


def test_another_frame_can_be_chosen(page):
    first = page.value("before.src")
    page.value("select = document.getElementById('frame'); select.value = 3; select.dispatchEvent(new Event('change'))")
    assert page.value("before.src") == page.value("frames[3][0]") != first
    page.wait("before.complete && before.naturalWidth > 0 && after.naturalWidth === before.naturalWidth")
    assert page.complaints == []


def test_the_video_plays(page):
    page.value("document.querySelector('video').play()")
    page.wait("document.querySelector('video').currentTime > 0.05")
    assert page.value("document.querySelector('video').videoWidth") > 0
    assert page.complaints == []


def test_a_large_video_is_a_separate_file(finished, open_page, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.report.EMBEDDED_BYTES", 100)
    made = {stage: (finished.artifacts[stage],) for stage in ("align", "composite", "measure")}
    inputs = (finished.source, finished.artifacts["decode"], *made.values(), finished.artifacts["encode"])
    write_report.fn.__wrapped__(Workspace(tmp_path, resumed=False), *inputs, finished.request.titles())
    for name, path in {"report.html": tmp_path, "preview.mp4": finished.artifacts["encode"].path}.items():
        shutil.copy(path / name, tmp_path / f"clip_{name}")

    page = open_page(tmp_path / "clip_report.html")
    page.wait("document.querySelector('video').duration > 0")
    assert page.value("document.getElementById('beside').textContent") == "clip_preview.mp4"


def test_every_image_is_loaded_and_has_an_alternative_text(page):
    assert page.value("[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)")
    assert page.value("document.images.length") >= 2 + 3
    assert page.value("document.querySelectorAll('.plots svg').length") == 1
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.complaints == []
