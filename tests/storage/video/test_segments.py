"""Encoding in segments: an interrupted run is resumed, and the result is the same."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import DamagedError, UnwritableOutputError
from storage.video.encoder import VideoEncoder
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import probe, rgb
from storage.video.light import LightLevels
from storage.video.segments import Segments, decode_times
from storage.video.writer import EncodeOptions, write_video

FRAMES = 14
STEPS = (512, 512, 1024, 256, 700, 512, 3000)  # in 1/15360 s: consecutive frames have different durations
PTS = [sum((STEPS * 2)[:number]) for number in range(FRAMES)]
FOURS = EncodeOptions(preset="veryfast", segment=4)
CODECS = {
    "libx264": ("veryfast", ".mp4"),
    "libx265": ("ultrafast", ".mp4"),
    "libsvtav1": ("10", ".mp4"),
    "libvpx-vp9": ("", ".mkv"),
    "ffv1": ("", ".mkv"),
    "prores_ks": ("", ".mov"),
    "mpeg4": ("", ".mp4"),
}
WRITE = """
import sys
from pathlib import Path
from storage.video.decode_options import DecodeOptions
from storage.video.info import probe
from storage.video.index import Clip, index_frames
from storage.video.writer import EncodeOptions, write_video
path, info = Path(sys.argv[1]), probe(Path(sys.argv[1]))
write_video(Clip(path, info, index_frames(path, info)), Path(sys.argv[2]), EncodeOptions(preset="veryfast", segment=4))
"""


def opened(path: Path) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info))


@pytest.fixture(scope="module")
def uneven(packaged: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A face in 14 small frames with B-frames and uneven times, and its sound."""
    path = tmp_path_factory.mktemp("uneven") / "uneven.mp4"
    settings = {"video_track_timescale": "15360"}
    with (
        av.open(str(packaged("single_face.mp4"))) as source,
        av.open(str(path), "w", container_options=settings) as target,
    ):
        video = target.add_stream("libx264", rate=30, width=320, height=180, options={"crf": "8", "g": "5"})
        video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 15360)
        sound = target.add_stream_from_template(source.streams.audio[0])
        target.start_encoding()
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None and packet.pts * packet.time_base < 0.8:
                packet.stream = sound
                target.mux(packet)
        source.seek(0)
        for pts, frame in zip(PTS, source.decode(video=0), strict=False):
            small = frame.reformat(width=320, height=180)
            small.pts, small.time_base, small.pict_type = pts, Fraction(1, 15360), 0
            target.mux(video.encode(small))
        target.mux(video.encode(None))
    return opened(path)


def darker(number: int, frame: av.VideoFrame) -> av.VideoFrame:
    """An edit that differs from frame to frame."""
    image = frame.to_ndarray(format="rgb24")
    image[: 20 + 5 * number] //= 2
    return av.VideoFrame.from_ndarray(image, "rgb24")


def numbered(number: int, frame: av.VideoFrame) -> av.VideoFrame:
    """A uniform gray frame whose level encodes its number."""
    return av.VideoFrame.from_ndarray(np.full((180, 320, 3), 20 + 15 * number, np.uint8), "rgb24")


def failing_at(last: int) -> Callable[[int, av.VideoFrame], av.VideoFrame]:
    def edit(number: int, frame: av.VideoFrame) -> av.VideoFrame:
        if number == last:
            raise RuntimeError("the power is gone")
        return darker(number, frame)

    return edit


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def video_packets(path: Path) -> list["av.Packet[av.VideoStream]"]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.dts is not None]


@pytest.mark.parametrize("codec", CODECS)
def test_an_interrupted_run_gives_the_same_bytes(uneven: Clip, tmp_path: Path, codec: str) -> None:
    preset, suffix = CODECS[codec]
    options = EncodeOptions(codec=codec, preset=preset, segment=4)
    whole, output, scratch = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}", tmp_path / "scratch"
    write_video(uneven, whole, options, darker)
    first: list[int] = []
    second: list[int] = []

    with pytest.raises(RuntimeError, match="the power is gone"):
        write_video(uneven, output, options, failing_at(10), first.append, scratch=scratch)
    write_video(uneven, output, options, darker, second.append, scratch=scratch)

    assert digest(output) == digest(whole)
    assert (first, second) == (list(range(10)), list(range(8, FRAMES)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("segment", [1, 3, 4, 240])
def test_segments_show_every_frame_at_its_time(uneven: Clip, tmp_path: Path, codec: str, segment: int) -> None:
    preset, suffix = CODECS[codec]
    output = tmp_path / f"out{suffix}"
    write_video(uneven, output, EncodeOptions(codec=codec, preset=preset, segment=segment), numbered)

    result = opened(output)
    times = result.index.pts * float(result.info.tick)
    rounded = 0.001 if suffix == ".mkv" else 0  # and Matroska shifts all times if the sound starts before 0
    np.testing.assert_allclose(times - times[0] * bool(rounded), np.array(PTS) / 15360, rtol=0, atol=rounded + 1e-9)
    packets = video_packets(output)
    assert all(packet.dts <= packet.pts for packet in packets)
    assert (np.diff([packet.dts for packet in packets]) > 0).all()
    assert {packet.is_keyframe for packet in packets[::segment]} == {True}
    shown = [rgb(frame, result.info).mean() for _, frame in read_frames(result)]
    np.testing.assert_allclose(shown, [20 + 15 * number for number in range(FRAMES)], atol=4)


@pytest.mark.parametrize("codec", ["libsvtav1", "mpeg4"])
def test_the_last_frame_keeps_its_duration_if_it_is_decoded_last(uneven: Clip, tmp_path: Path, codec: str) -> None:
    lasting = uneven.index.durations.copy()
    lasting[-1] = 2000
    clip = replace(uneven, index=replace(uneven.index, durations=lasting))
    write_video(clip, tmp_path / "out.mp4", EncodeOptions(codec=codec, preset=CODECS[codec][0], segment=4))

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].duration == PTS[-1] + 2000


def test_segments_have_the_decode_times_of_a_single_segment(uneven: Clip, tmp_path: Path) -> None:
    for name, segment in (("pieces.mp4", 4), ("one.mp4", 240)):
        write_video(uneven, tmp_path / name, replace(FOURS, segment=segment))
    pieces, one = video_packets(tmp_path / "pieces.mp4"), video_packets(tmp_path / "one.mp4")

    assert [packet.dts for packet in pieces] == [packet.dts for packet in one]


def test_decode_times_of_segments_equal_those_of_x264_without_segments(uneven: Clip) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 320, 180, "yuv420p"
    encoder.time_base, encoder.framerate = uneven.info.tick, uneven.info.rate
    encoder.options = {"g": "5", "x264-params": "scenecut=0"}
    packets = []
    for _, frame in read_frames(uneven):
        frame.pict_type = 0
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    pts, dts = (np.array([getattr(packet, name) for packet in packets]) for name in ("pts", "dts"))
    starts = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    assert starts == [0, 5, 10]
    assert (pts != np.sort(pts)).any()

    joined = decode_times(np.split(pts, starts[1:]), np.split(dts, starts[1:]))

    assert np.concatenate(joined).tolist() == dts.tolist()


def test_decode_times_are_valid_for_segments_shorter_than_the_encoders_delay() -> None:
    pts = [np.array([0, 9, 4]), np.array([20])]
    dts = [np.array([-9, -5, 0]), np.array([20])]

    joined = np.concatenate(decode_times(pts, dts))

    assert (np.diff(joined) > 0).all()
    assert (joined <= np.concatenate(pts)).all()


@pytest.mark.parametrize("garbage", [2893606913523066921, -6872316419617283935])
@pytest.mark.parametrize("frames", [1, 2])
def test_uninitialized_decode_times_of_an_encoder_are_not_used(garbage: int, frames: int) -> None:
    pts = np.arange(frames, dtype=np.int64) * 512

    (decoded,) = decode_times([pts], [pts + garbage])  # as from x265 for a clip of one or two frames

    assert decoded.tolist() == pts.tolist()


@pytest.mark.parametrize("perturbed", ["40", "160"])
def test_a_clip_of_one_frame_is_written_whatever_uninitialized_memory_holds(
    uneven: Clip, tmp_path: Path, perturbed: str
) -> None:
    code = WRITE.replace("index_frames(path, info)", "index_frames(path, info, DecodeOptions(end=0.01))").replace(
        'preset="veryfast"', 'codec="libx265", preset="ultrafast"'
    )
    command = [sys.executable, "-c", code, uneven.path, tmp_path / "out.mp4"]
    subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": perturbed}, check=True, cwd=Path(__file__).parents[3])

    assert len(opened(tmp_path / "out.mp4").index) == 1


def test_only_a_damaged_segment_is_encoded_again(uneven: Clip, tmp_path: Path) -> None:
    scratch, edited = tmp_path / "scratch", []
    write_video(uneven, tmp_path / "out.mp4", FOURS, darker, scratch=scratch)
    before, damaged = digest(tmp_path / "out.mp4"), scratch / "00000004.packets"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    (scratch / "00000012.safetensors").unlink()

    write_video(uneven, tmp_path / "out.mp4", FOURS, darker, edited.append, scratch=scratch)

    assert edited == [4, 5, 6, 7, 12, 13]
    assert digest(tmp_path / "out.mp4") == before


def test_a_segment_truncated_during_muxing_raises_an_error(uneven: Clip, tmp_path: Path) -> None:
    segments = Segments(tmp_path, uneven, encoder(uneven), header(uneven), offset=0, length=4)
    segments.encode(darker, lambda number: None)
    os.truncate(tmp_path / "00000004.packets", 100)

    with pytest.raises(DamagedError, match=r"00000004\.packets is cut short"):
        list(segments.packets())


@pytest.mark.parametrize("change", [{"crf": 30.0}, {"segment": 7}, {"codec": "libx265"}])
def test_segments_with_other_options_are_not_reused(uneven: Clip, tmp_path: Path, change: dict[str, object]) -> None:
    other = replace(FOURS, **change)  # type: ignore[arg-type]
    write_video(uneven, tmp_path / "first.mp4", FOURS, darker, scratch=tmp_path / "scratch")
    write_video(uneven, tmp_path / "out.mp4", other, darker, scratch=tmp_path / "scratch")
    write_video(uneven, tmp_path / "wanted.mp4", other, darker)

    assert digest(tmp_path / "out.mp4") == digest(tmp_path / "wanted.mp4")


def test_other_codecs_are_encoded_in_one_segment(uneven: Clip, tmp_path: Path) -> None:
    options, edited = EncodeOptions(codec="libvpx", segment=4), []
    with pytest.raises(RuntimeError, match="the power is gone"):
        write_video(uneven, tmp_path / "out.mkv", options, failing_at(10), scratch=tmp_path / "scratch")
    write_video(uneven, tmp_path / "out.mkv", options, darker, edited.append, scratch=tmp_path / "scratch")

    assert edited == list(range(FRAMES))
    assert len(opened(tmp_path / "out.mkv").index) == FRAMES


def test_a_header_that_differs_from_the_files_is_rejected(uneven: Clip, tmp_path: Path) -> None:
    segments = Segments(tmp_path, uneven, encoder(uneven), b"of another encoder", offset=0, length=4)

    with pytest.raises(UnwritableOutputError, match="another header for the frames from 0 on"):
        segments.encode(darker, lambda number: None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are taken away with sched_setaffinity")
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "mpeg4"])
def test_the_number_of_cores_changes_nothing(uneven: Clip, tmp_path: Path, codec: str) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    options = EncodeOptions(codec=codec, preset=CODECS[codec][0], segment=8)
    write_video(uneven, tmp_path / "all.mp4", options)
    try:
        os.sched_setaffinity(0, {min(cores)})
        write_video(uneven, tmp_path / "one.mp4", options)
    finally:
        os.sched_setaffinity(0, cores)

    assert digest(tmp_path / "one.mp4") == digest(tmp_path / "all.mp4")


def test_uninitialized_memory_changes_nothing(uneven: Clip, tmp_path: Path) -> None:
    for filling in ("1", "85", "170"):
        filled = {**os.environ, "MALLOC_PERTURB_": filling}  # of glibc; no effect elsewhere
        output = tmp_path / f"{filling}.mp4"
        command = [sys.executable, "-c", WRITE, uneven.path, output]
        subprocess.run(command, env=filled, check=True, cwd=Path(__file__).parents[3])

    assert len({digest(path) for path in tmp_path.iterdir()}) == 1


def test_separate_transparency_is_copied(uneven: Clip, tmp_path: Path) -> None:
    path = tmp_path / "clear.mkv"
    with av.open(str(path), "w") as target:
        video = target.add_stream("ffv1", rate=25, width=64, height=64)
        video.pix_fmt = "yuva420p"
        for number in range(5):
            image = np.full((64, 64, 4), 50 * number, np.uint8)
            target.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgba").reformat(format="yuva420p")))
        target.mux(video.encode(None))

    write_video(opened(path), tmp_path / "out.mkv", EncodeOptions(codec="libvpx-vp9", segment=2))

    packets = video_packets(tmp_path / "out.mkv")
    assert [packet.has_sidedata("matroska_block_additional") for packet in packets] == [True] * 5


def encoder(clip: Clip) -> VideoEncoder:
    return VideoEncoder("libx264", {"preset": "veryfast"}, clip.info, LightLevels())


def header(clip: Clip) -> bytes | None:
    return encoder(clip).open().extradata
