"""Detection of clips in a folder."""

import av
import numpy as np
import pytest

from storage.video.suffixes import VIDEOS, is_playlist, why_no_clip, why_no_suffix


def write_video(path, container):
    with av.open(str(path), "w", format=container) as target:
        stream = target.add_stream("mpeg1video", rate=25, width=64, height=64)
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        target.mux(stream.encode(None))


@pytest.mark.parametrize(
    "suffix", [".vob", ".MTS", ".m2ts", ".3gp", ".ogv", ".mxf", ".wtv", ".nut", ".mjpeg", ".dnxhd"]
)
def test_a_suffix_that_a_demuxer_knows_may_be_a_clip(suffix):
    assert why_no_suffix(suffix) is None


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        (".m3u8", "playlist"), (".ffconcat", "playlist"), (".mpd", "playlist"), (".mp3", "sound"), (".srt", "subtitle"),
        (".txt", "text"), (".nfo", "text"), (".jpg", "still image"), (".xyz", "in full"), ("", "no suffix"),
    ],
)  # fmt: skip
def test_other_suffixes_are_rejected_with_a_reason(suffix, reason):
    assert reason in why_no_suffix(suffix)


def test_a_file_with_an_ambiguous_suffix_is_opened(tmp_path):
    write_video(tmp_path / "video.dat", "mpeg")
    (tmp_path / "table.dat").write_bytes(b"1 2 3\n" * 1000)
    assert why_no_clip(tmp_path / "video.dat") is None
    assert "no video" in why_no_clip(tmp_path / "table.dat")


def test_text_is_not_a_video_although_a_demuxer_renders_it(tmp_path):
    (tmp_path / "notes.nfo").write_text("buy milk")
    assert why_no_clip(tmp_path / "notes.nfo") == "text"


def test_a_file_with_a_video_suffix_is_not_opened(tmp_path):
    assert {why_no_clip(tmp_path / f"not there{suffix}") for suffix in VIDEOS} == {None}
    assert not any(map(is_playlist, VIDEOS))
