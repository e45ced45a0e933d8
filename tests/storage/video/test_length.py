"""A start after the last frame is rejected, whatever duration the container states."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import VideoError
from storage.video.info import probe
from storage.video.length import check_reaches


def write(path: Path, pts: list[int], *, tick: Fraction = Fraction(1, 10), b_frames: int = 0, sound_s: int = 0) -> Path:
    """A video with frames at `pts` ticks, and silence of the given length."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=10, width=64, height=48, options={"bf": str(b_frames), "g": "4"})
        video.pix_fmt, video.time_base = "yuv420p", tick
        sound = target.add_stream("aac", rate=8000, layout="mono") if sound_s else None
        for number, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number % 256, np.uint8), "rgb24")
            frame.pts, frame.time_base = time, tick
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * sound_s), np.float32), "fltp", "mono")
            silence.sample_rate = 8000
            target.mux(sound.encode(silence))
            target.mux(sound.encode(None))
    return path


TEN = list(range(10))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_the_last_frame_is_the_latest_valid_start(tmp_path: Path, name: str, b_frames: int) -> None:
    path = write(tmp_path / name, TEN, b_frames=b_frames)
    info = probe(path)

    for start_s in (0, 0.35, 0.9):
        check_reaches(path, info, start_s)
    for start_s in (0.95, 9, 1e12, 1e300):
        with pytest.raises(
            VideoError, match=rf"{name}: the last frame is at 0\.900 s, and .* {re.escape(f'{start_s:g}')} s"
        ):
            check_reaches(path, info, start_s)


def test_with_only_decode_times_the_check_allows_for_reordering(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", TEN)

    check_reaches(path, probe(path), 0.9)
    with pytest.raises(VideoError, match=r"a\.avi: the last frame is at 0\.900 s, and .* 3 s"):
        check_reaches(path, probe(path), 3)


def test_sound_after_the_last_frame_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", TEN, sound_s=5)
    info = probe(path)
    with pytest.raises(VideoError, match=r"last frame is at 0\.900 s, and the range starts at 3 s"):
        check_reaches(path, info, 3)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_seconds_count_from_the_first_frame(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [50 + number for number in TEN])
    info = probe(path)

    check_reaches(path, info, 0.9)
    with pytest.raises(VideoError, match=r"last frame is at 0\.900 s"):
        check_reaches(path, info, 5.5)


def test_a_single_frame_after_ten_seconds_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "slow.mp4", [0, 100])

    check_reaches(path, probe(path), 10)
    with pytest.raises(VideoError, match=r"last frame is at 10\.000 s"):
        check_reaches(path, probe(path), 10.5)


@pytest.mark.parametrize("name", ["raw.h264", "program.mpg"])
def test_a_stream_without_times_is_left_to_the_decoder(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, TEN)

    check_reaches(path, probe(path), 99)
