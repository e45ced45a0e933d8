"""Tags, chapters and timecode of a result, of a whole clip and of a range."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from made_clips import make, opened, streams, tags, written

from storage.video.span import later_timecode

IPHONE = {
    "com.apple.quicktime.location.ISO6709": "+48.8584+002.2945+035/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15 Pro",
    "com.apple.quicktime.creationdate": "2025-05-01T12:00:00+0200",
}


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_tags_of_an_iphone_are_kept(tmp_path: Path, suffix: str) -> None:
    settings = {"movflags": "use_metadata_tags"}
    source = make(
        tmp_path / "source.mov",
        settings=settings,
        before=lambda container, video: container.metadata.update({**IPHONE, "title": "Paris"}),
    )
    assert IPHONE.items() <= tags(source).items()

    notes = written(opened(source), tmp_path / f"out{suffix}")

    kept = {key.lower(): value for key, value in tags(tmp_path / f"out{suffix}").items()}
    assert {key.lower(): value for key, value in {**IPHONE, "title": "Paris"}.items()}.items() <= kept.items()
    assert not [note for note in notes if "tags" in note]


def test_a_tag_that_the_container_cannot_hold_is_noted(tmp_path: Path) -> None:
    source = make(
        tmp_path / "source.mkv",
        before=lambda container, video: container.metadata.update({"title": "Kept", "catalog_number": "17"}),
    )

    notes = written(opened(source), tmp_path / "out.mp4")

    assert tags(tmp_path / "out.mp4")["title"] == "Kept"
    assert notes == ["The file's tags catalog_number were not kept unchanged: .mp4 cannot hold them."]


def chaptered(path: Path) -> Path:
    def before(container: Any, video: Any) -> None:
        starts = (0, 200, 400, 480)
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": start,
                    "end": end,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"Part {number}"},
                }
                for number, (start, end) in enumerate(pairwise(starts), 1)
            ]
        )

    return make(path, before=before)


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (
                round(float(chapter["start"] * (chapter["time_base"] or 0)), 3),
                round(float(chapter["end"] * (chapter["time_base"] or 0)), 3),
                chapter["metadata"]["title"],
            )
            for chapter in container.chapters()
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_chapters_are_kept_and_those_of_a_range_move_with_it(tmp_path: Path, suffix: str) -> None:
    source = chaptered(tmp_path / f"source{suffix}")

    whole = written(opened(source), tmp_path / f"whole{suffix}")
    part = written(opened(source, 0.12, 0.36), tmp_path / f"part{suffix}")

    assert chapters(tmp_path / f"whole{suffix}") == chapters(source)
    assert chapters(tmp_path / f"part{suffix}") == [(0, 0.08, "Part 1"), (0.08, 0.24, "Part 2")]
    assert whole == part == []


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_timecode_is_kept_without_a_false_note_and_moves_with_a_range(tmp_path: Path, suffix: str) -> None:
    source = make(
        tmp_path / "source.mov",
        before=lambda container, video: video.metadata.update({"timecode": "01:00:00:20"}),
    )
    assert [kind for kind, _, _ in streams(source)] == ["video", "data"]

    assert written(opened(source), tmp_path / f"whole{suffix}") == []
    assert written(opened(source, 0.24), tmp_path / f"part{suffix}") == []

    for name, expected in (("whole", "01:00:00:20"), ("part", "01:00:01:01")):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            found = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert found["timecode"] == expected


def test_drop_frame_timecode_skips_two_numbers_each_minute_except_every_tenth() -> None:
    counted = [
        f"{hour:02d}:{minute:02d}:{second:02d};{frame:02d}"
        for hour in range(2)
        for minute in range(60)
        for second in range(60)
        for frame in range(30)
        if not (minute % 10 and second == 0 and frame < 2)
    ]
    rate, draw = Fraction(30000, 1001), np.random.default_rng(0)

    for start, frames in draw.integers(1, len(counted) // 2, (500, 2)):
        assert later_timecode(counted[start], int(frames), rate) == counted[start + frames]
    assert later_timecode("23:59:59;29", 1, rate) == "00:00:00;00"
