"""Writing: the result keeps the properties of the source."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import UnwritableOutputError
from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import StreamInfo, VideoInfo, probe, rgb
from storage.video.output import output_suffix
from storage.video.preview import Panels, write_side_by_side
from storage.video.writer import EncodeOptions, write_video

FEAT = importlib.util.find_spec("feat")
PACKAGED = Path((FEAT.submodule_search_locations or [""])[0] if FEAT else "") / "tests" / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "clips"
FAST = EncodeOptions(preset="ultrafast", segment=20)  # so that most clips have several
CLIPS = [PACKAGED / name for name in ("single_face.mp4", "face_noface.mov", "no_face.mp4")] + [
    SHARED / name
    for name in (
        "dev_vfr.mkv",
        "dev_rot90_phone.mp4",
        "dev_hevc10_pq.mp4",
        "dev_interlaced_tff.mp4",
        "intel_asl_sister.mkv",
        "media3_bt601.mov",
        "dev_vp9_opus.webm",
        "dev_truncated_faststart.mp4",
    )
]


@cache
def opened(path: Path, start_s: float | None = None, end_s: float | None = None) -> Clip:
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    info = probe(path)
    return Clip(path, info, index_frames(path, info, DecodeOptions(start=start_s, end=end_s)))


def times(clip: Clip) -> list[Fraction]:
    return [int(pts) * clip.info.tick for pts in clip.index.pts]


def sound(path: Path) -> list[list[tuple[Fraction, bytes]]]:
    """Time and bytes of every packet of every sound stream."""
    streams = []
    with av.open(str(path)) as container:
        for stream in container.streams.audio:
            container.seek(0)
            packets = [packet for packet in container.demux(stream) if packet.dts is not None]
            streams.append([(packet.pts * packet.time_base, bytes(packet)) for packet in packets])
    return streams


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.name)
def test_times_sound_and_image_properties_are_kept(path: Path, tmp_path: Path) -> None:
    clip = opened(path)
    output = tmp_path / f"out{output_suffix(clip.info)}"

    notes = write_video(clip, output, FAST)

    result = opened(output)
    assert times(result) == times(clip)
    assert sound(output) == sound(path)
    kept = ("pixel_format", "display_matrix", "sample_aspect", "interlaced")
    kept += ("color_primaries", "color_transfer", "color_matrix")
    assert {name: getattr(result.info, name) for name in kept} == {name: getattr(clip.info, name) for name in kept}
    assert {result.info.color_range, clip.info.color_range} in ({0}, {1}, {2}, {0, 1})  # untagged is limited
    changes = [f"The video codec {clip.info.codec} became h264"] if clip.info.codec != "h264" else []
    changes += ["The video is interlaced"] if clip.info.interlaced else []
    assert len(notes) == len(changes)
    assert all(note.startswith(change) for note, change in zip(notes, changes, strict=True))


def test_the_start_of_the_sound_is_kept(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "face_noface.mov")
    write_video(clip, tmp_path / "out.mov", FAST)

    first = sound(tmp_path / "out.mov")[0][0][0]

    assert first == sound(clip.path)[0][0][0] == Fraction(105918, 44100)
    assert opened(tmp_path / "out.mov").info.start_pts == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_uneven_times_are_kept_in_every_container(tmp_path: Path, suffix: str) -> None:
    clip = opened(SHARED / "dev_vfr.mkv")
    write_video(clip, tmp_path / f"out{suffix}", FAST)

    assert times(opened(tmp_path / f"out{suffix}")) == times(clip)


def test_rounded_times_of_matroska_are_noted(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "single_face.mp4")
    notes = write_video(clip, tmp_path / "out.mkv", FAST)

    result = opened(tmp_path / "out.mkv")
    moved = times(result)[0] - times(clip)[0]
    rounded = max(abs(after - before - moved) for after, before in zip(times(result), times(clip), strict=True))
    assert notes[0] == f"Times of frames were rounded by up to {float(rounded) * 1000:.3g} ms, as .mkv counts."
    assert notes[1].startswith(f"All times are {float(moved) * 1000:.3g} ms later than in the source")


def test_unedited_frames_are_close_to_the_source(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "single_face.mp4")
    write_video(clip, tmp_path / "out.mp4", FAST)
    result = opened(tmp_path / "out.mp4")

    for (_, before), (_, after) in zip(read_frames(clip, 30, 33), read_frames(result, 30, 33), strict=True):
        assert np.abs(rgb(before, clip.info).astype(int) - rgb(after, result.info)).mean() < 2


def test_every_frame_passes_the_edit_once_and_in_order(tmp_path: Path) -> None:
    clip, edited, done = opened(PACKAGED / "single_face.mp4"), [], []

    def edit(number: int, frame: av.VideoFrame) -> av.VideoFrame:
        edited.append(number)
        return frame

    write_video(clip, tmp_path / "out.mp4", FAST, edit, done.append)

    assert edited == done == list(range(72))


def test_edited_rgb_frame_is_encoded_in_the_source_format(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "single_face.mp4")
    red = np.zeros((360, 640, 3), np.uint8)
    red[..., 0] = 200

    write_video(clip, tmp_path / "out.mp4", FAST, lambda number, frame: av.VideoFrame.from_ndarray(red, "rgb24"))

    result = opened(tmp_path / "out.mp4")
    assert result.info.pixel_format == "yuv420p"
    assert np.abs(rgb(next(read_frames(result))[1], result.info).astype(int) - red).max() <= 4


def test_range_starts_at_zero_with_its_sound(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "single_face.mp4", start_s=0.5, end_s=1.5)
    write_video(clip, tmp_path / "out.mp4", FAST)

    start, end = Fraction(1, 2), Fraction(3, 2)
    assert times(opened(tmp_path / "out.mp4")) == [Fraction(number, 30) for number in range(30)]
    expected = [(time, content) for time, content in sound(clip.path)[0] if start <= time < end]
    written = sound(tmp_path / "out.mp4")[0]
    assert [content for _, content in written] == [content for _, content in expected]
    assert [time for time, _ in written] == [time - start for time, _ in expected]


def test_failure_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    clip = opened(PACKAGED / "single_face.mp4")
    output = tmp_path / "out.mp4"
    output.write_bytes(b"yesterday's")

    def fail(number: int, frame: av.VideoFrame) -> av.VideoFrame:
        if number == 20:
            raise RuntimeError("the network is gone")
        return frame

    with pytest.raises(RuntimeError, match="the network is gone"):
        write_video(clip, output, FAST, fail)

    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert output.read_bytes() == b"yesterday's"


def test_the_index_is_at_the_start_of_an_mp4(tmp_path: Path) -> None:
    write_video(opened(PACKAGED / "single_face.mp4"), tmp_path / "out.mp4", FAST)

    content = (tmp_path / "out.mp4").read_bytes()

    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder, source: Path(), "not a file name"),
        (lambda folder, source: Path("/proc/out.mp4"), "cannot be written"),
        (lambda folder, source: folder / "out.avi", r"cannot write \.avi"),
        (lambda folder, source: folder / "out", "without a suffix"),
        (lambda folder, source: folder / "none" / "out.mp4", "no such folder"),
        (lambda folder, source: source, "is the source itself"),
        (lambda folder, source: _linked(folder / "link.mp4", source), "is the source itself"),
        (lambda folder, source: _folder(folder / "dir.mp4"), "is a folder"),
    ],
)
def test_impossible_output_is_rejected(tmp_path: Path, make: Callable[[Path, Path], Path], reason: str) -> None:
    clip = opened(PACKAGED / "single_face.mp4")

    with pytest.raises(UnwritableOutputError, match=reason):
        write_video(clip, make(tmp_path, clip.path), FAST)


def _linked(link: Path, source: Path) -> Path:
    link.symlink_to(source)
    return link


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_sound_that_the_format_cannot_hold_is_rejected_with_a_way_out(tmp_path: Path) -> None:
    speech = tmp_path / "speech.mkv"
    with av.open(str(speech), "w") as target:
        video = target.add_stream("libx264", rate=30, width=64, height=64)
        voice = target.add_stream("tta", rate=44100, layout="stereo", format="s16")
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            frame.pts = number
            target.mux(video.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "stereo")
        silence.sample_rate = 44100
        target.mux(voice.encode(silence))
        target.mux([*video.encode(None), *voice.encode(None)])
    clip = opened(speech)

    with pytest.raises(UnwritableOutputError, match=r"out\.mp4: cannot hold tta sound \(stream 1\)\. Write a \.mkv"):
        write_video(clip, tmp_path / "out.mp4", FAST)
    write_video(clip, tmp_path / "out.mkv", FAST)
    assert [packet for _, packet in sound(tmp_path / "out.mkv")[0]] == [packet for _, packet in sound(speech)[0]]


@pytest.mark.parametrize(
    ("container", "audio", "suffix"),
    [
        ("mp4", "aac", ".mp4"),
        ("mov", "pcm_s16le", ".mov"),
        ("matroska", "vorbis", ".mkv"),
        ("webm", "opus", ".mp4"),
        ("webm", "vorbis", ".mkv"),
        ("avi", "mp3", ".mp4"),
    ],
)
def test_suffix_follows_container_and_sound(container: str, audio: str, suffix: str) -> None:
    info = probe(PACKAGED / "single_face.mp4")
    info = replace(info, container=container, streams=(StreamInfo(0, "audio", audio, (1, 44100), 0),))

    assert output_suffix(info) == suffix


def test_gif_becomes_full_chroma_and_keeps_its_times(tmp_path: Path) -> None:
    clip = opened(SHARED / "intel_preview_walking_pause.gif")
    notes = write_video(clip, tmp_path / "out.mp4", FAST)

    result = opened(tmp_path / "out.mp4")
    assert [note.split(",")[0] for note in notes] == [
        "The video codec gif became h264: encode.codec is libx264.",
        "The pixel format bgra became yuv444p",
    ]
    assert times(result) == times(clip)
    before, after = (rgb(next(read_frames(c))[1], c.info).astype(int) for c in (clip, result))
    assert np.abs(before - after).mean() < 2


@pytest.mark.parametrize(
    ("pixel_format", "size", "encoded"),
    [
        ("gray", (640, 360), "yuvj420p"),  # as decoders return gray H.264
        ("yuv420p", (321, 181), "yuv444p"),
        ("yuv422p10le", (640, 360), "yuv422p10le"),
        ("gbrp10le", (640, 360), "yuv444p10le"),
    ],
)
def test_unusual_frames_look_the_same(tmp_path: Path, pixel_format: str, size: tuple[int, int], encoded: str) -> None:
    face = opened(PACKAGED / "single_face.mp4")
    with av.open(str(tmp_path / "unusual.mkv"), "w") as target:
        video = target.add_stream("ffv1", rate=30, width=size[0], height=size[1])
        video.codec_context.pix_fmt = pixel_format
        for number, frame in read_frames(face, 0, 3):
            converted = frame.reformat(width=size[0], height=size[1], format=pixel_format)
            converted.pts, converted.time_base = number, Fraction(1, 30)
            target.mux(video.encode(converted))
        target.mux(video.encode(None))
    clip = opened(tmp_path / "unusual.mkv")

    write_video(clip, tmp_path / "out.mkv", FAST)

    result = opened(tmp_path / "out.mkv")
    assert (result.info.pixel_format, result.info.width, result.info.height) == (encoded, *size)
    before, after = (rgb(next(read_frames(c))[1], c.info).astype(int) for c in (clip, result))
    assert np.abs(before - after).mean() < 2


@pytest.mark.parametrize("options", [{"codec": "nothing"}, {"crf": -1.0}, {"segment": 0}])
def test_invalid_encode_options_are_rejected(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"encode\."):
        EncodeOptions(**options)  # type: ignore[arg-type]


def test_preview_shows_both_upright(tmp_path: Path) -> None:
    clip = opened(SHARED / "dev_rot90_phone.mp4")
    write_video(clip, tmp_path / "out.mp4", FAST)

    write_side_by_side(clip, tmp_path / "out.mp4", tmp_path / "preview.mp4", Panels())

    preview = opened(tmp_path / "preview.mp4")
    info: VideoInfo = preview.info
    assert (info.width, info.height, info.display_matrix) == (1280, 360 + 28, None)  # the coded frame is 360x640
    assert times(preview) == times(clip)
    shown = rgb(next(read_frames(preview))[1], info).astype(int)[28:]
    assert np.abs(shown[:, :640] - shown[:, 640:]).mean() < 3
    source = np.rot90(rgb(next(read_frames(clip))[1], clip.info).astype(int), -1)
    assert np.abs(shown[:, :640] - source).mean() < 4
