"""Limits of files, and files that are not clips."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import UnreadableVideoError, VideoError
from storage.video.decode_options import DecodeOptions, check_limits
from storage.video.index import index_frames
from storage.video.info import probe

PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n",
    "list.mp4": "\ufeff#EXTM3U\n#EXTINF:2,\nclip.mp4\n",
    "list.ffconcat": "ffconcat version 1.0\nfile clip.mp4\n",
    "list.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>',
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "list.pls": "[playlist]\nFile1=clip.mp4\n",
    "list.xml": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
}


def gray_clip(path: Path, frames: int = 4, tick: Fraction = Fraction(1, 25), **tags: str) -> Path:
    settings = {"video_track_timescale": str(tick.denominator)} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=settings) as writer:
        writer.metadata.update(tags)
        video = writer.add_stream("mpeg4", rate=25, width=64, height=48)
        video.pix_fmt, video.time_base, video.codec_context.time_base = "yuv420p", tick, Fraction(1, 25)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in video.encode(frame):
                packet.pts, packet.dts, packet.duration = number, number, 1
                packet.time_base = tick
                writer.mux(packet)
    return path


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("max_pixels", 3071, r"3,072 pixels in a frame, more than decode\.max_pixels = 3,071 allows"),
        ("max_frames", 3, r"4 frames, more than decode\.max_frames = 3 allows"),
        ("max_seconds", 0.1, r"0\.16 seconds, more than decode\.max_seconds = 0\.1 allows"),
        ("max_fps", 24, r"25 frames per second, more than decode\.max_fps = 24 allows"),
        ("max_tags", 3, r"[0-9]+ tags, more than decode\.max_tags = 3 allows"),
    ],
)
def test_an_exceeded_limit_is_rejected_with_number_and_option(
    limit: str, value: float, message: str, tmp_path: Path
) -> None:
    path = gray_clip(tmp_path / "clip.mp4", title="a", comment="b")
    info = probe(path)
    check_limits(path, info, DecodeOptions())

    with pytest.raises(VideoError, match=rf"clip\.mp4: {message}"):
        check_limits(path, info, DecodeOptions(**{limit: value}))


def test_frames_without_a_count_in_the_header_are_counted_while_decoding(tmp_path: Path) -> None:
    path = gray_clip(tmp_path / "clip.mkv", frames=30)
    info = probe(path)
    assert info.declared_frames is None

    with pytest.raises(VideoError, match=r"11 frames, more than decode\.max_frames = 10"):
        index_frames(path, info, DecodeOptions(max_frames=10))
    with pytest.raises(VideoError, match=r"seconds, more than decode\.max_seconds = 0\.5"):
        index_frames(path, info, DecodeOptions(max_seconds=0.5))


def test_ten_million_frames_per_second_are_rejected(tmp_path: Path) -> None:
    path = gray_clip(tmp_path / "clip.mp4", frames=20, tick=Fraction(1, 10_000_000))
    info = probe(path)

    with pytest.raises(VideoError, match=r"10,000,000 frames per second, more than decode\.max_fps = 1,000 allows"):
        check_limits(path, info, DecodeOptions())
    with pytest.raises(VideoError, match=r"10,000,000 frames per second, more than decode\.max_fps"):
        index_frames(path, info)


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_rejected(name: str, tmp_path: Path) -> None:
    gray_clip(tmp_path / "clip.mp4")
    (tmp_path / name).write_text(PLAYLISTS[name], encoding="utf-8")

    with pytest.raises(UnreadableVideoError, match=rf"{name}: a playlist is not a clip: it names other files"):
        probe(tmp_path / name)


def test_a_list_without_a_signature_is_not_followed(tmp_path: Path) -> None:
    gray_clip(tmp_path / "clip.mp4")
    (tmp_path / "list.ffconcat").write_text("# first a comment\nffconcat version 1.0\nfile clip.mp4\n")

    with pytest.raises(UnreadableVideoError, match="cannot be opened"):
        probe(tmp_path / "list.ffconcat")


def test_a_name_with_a_number_pattern_means_one_file(tmp_path: Path) -> None:
    for name, size in (("im%d.png", 8), ("im1.png", 16), ("im2.png", 16)):
        image = av.VideoFrame.from_ndarray(np.zeros((size, size, 3), np.uint8), "rgb24")
        with av.open(str(tmp_path / "one.png"), "w", format="image2", options={"update": "1"}) as writer:
            stream = writer.add_stream("png", width=size, height=size)
            stream.pix_fmt = "rgb24"
            writer.mux(stream.encode(image))
            writer.mux(stream.encode(None))
        (tmp_path / "one.png").rename(tmp_path / name)

    assert probe(tmp_path / "im%d.png").width == 8


@pytest.mark.parametrize("name", ["take-12:30.mp4", "file:x.mp4", "a b%20c.mp4"])
def test_a_name_is_not_opened_as_an_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gray_clip(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)

    assert probe(Path(name)).width == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damaged": "hide"}, r"decode\.damaged must be one of warn, refuse, skip, got 'hide'"),
        ({"max_fps": float("nan")}, r"decode\.max_fps must be > 0, got nan"),
        ({"max_frames": 0}, r"decode\.max_frames must be > 0, got 0"),
        ({"start": float("inf")}, r"decode\.start must be a number of seconds, got inf"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodeOptions(**options)  # type: ignore[arg-type]


def test_packets_are_not_tested_with_test_packets_off(packaged: Callable[[str], Path]) -> None:
    path = packaged("face_noface.mov")

    assert index_frames(path, probe(path), DecodeOptions(test_packets=False, end=0.5)).intact
