"""Damage of real encodings is detected, without false positives."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
from damaging import FRAMES, GROUP, KINDS, encode_clip

from storage.errors import VideoError
from storage.video.damage import ranges
from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, FrameIndex, index_frames, read_frames
from storage.video.info import probe
from storage.video.integrity import damaged_packets
from storage.video.tails import TAIL_BYTES
from storage.video.watch import codec_log

VISIBLE = 16  # levels, mean of a block of 16 × 16 pixels


@pytest.fixture(scope="module")
def clips(packaged: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    paths = {name: folder / f"{name}{kind.suffix}" for name, kind in KINDS.items()}
    for name, path in paths.items():
        encode_clip(KINDS[name], packaged("single_face.mp4"), path)
    return paths


def indexed(path: Path, options: DecodeOptions = DecodeOptions()) -> FrameIndex:  # noqa: B008
    return index_frames(path, probe(path), options)


def lumas(path: Path) -> dict[int, np.ndarray]:
    """Frames by pts, decoded by PyAV on one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return {frame.pts: frame.to_ndarray(format="gray") for frame in container.decode(stream)}


def visibly_different(whole: Path, damaged: Path) -> set[int]:
    """Pts of frames that are missing, or in which a block differs."""
    before, after = lumas(whole), lumas(damaged)
    return {pts for pts in before if pts not in after or largest_change(before[pts], after[pts]) > VISIBLE}


def largest_change(one: np.ndarray, other: np.ndarray) -> float:
    height, width = (side // 16 * 16 for side in one.shape)
    difference = np.abs(one.astype(np.int16) - other)[:height, :width]
    return float(difference.reshape(height // 16, 16, width // 16, 16).mean((1, 3)).max())


def payload_of(path: Path, packet: int) -> tuple[int, int]:
    """Start and end in the file of the data of a video packet."""
    return payloads(path)[packet]


def payloads(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.pos + p.size) for p in container.demux(container.streams.video[0]) if p.size]


def with_flipped_bit(path: Path, place: int, target: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("name", KINDS)
def test_an_undamaged_clip_is_intact(clips: dict[str, Path], name: str) -> None:
    index = indexed(clips[name])

    assert len(index) == FRAMES
    assert index.intact
    assert index.warnings == ()
    assert not index.damaged.any()


def test_a_hundred_flipped_bits_are_reported_per_frame(packaged: Callable[[str], Path], tmp_path: Path) -> None:
    whole, damaged, random = packaged("single_face.mp4"), tmp_path / "damaged.mp4", Random(5)
    content = bytearray(whole.read_bytes())
    start, end = payload_of(whole, 3)[0], payload_of(whole, 70)[1]
    for _ in range(100):
        content[random.randrange(start, end)] ^= 1 << random.randrange(8)
    damaged.write_bytes(content)

    index = indexed(damaged)

    different = visibly_different(whole, damaged)
    assert len(different) > 40
    shown = dict(zip(index.pts.tolist(), index.damaged.tolist(), strict=True))
    assert [pts for pts in different if not shown.get(pts, True)] == []
    assert "frames are damaged or predicted from damaged ones" in " ".join(index.warnings)


@pytest.mark.parametrize("name", ["hevc", "hevc-mkv", "vp9", "vp8"])
@pytest.mark.parametrize("is_keyframe", [True, False])
def test_a_flipped_bit_that_the_decoder_misses_is_detected(
    clips: dict[str, Path], name: str, is_keyframe: bool, tmp_path: Path
) -> None:
    largest = max(range(1, GROUP - 2), key=lambda packet: np.subtract(*payload_of(clips[name], packet)[::-1]))
    start, end = payload_of(clips[name], 0 if is_keyframe else largest)
    damaged = with_flipped_bit(clips[name], end - (end - start) // 3, tmp_path / f"damaged{clips[name].suffix}")
    with av.open(str(damaged)) as container:
        assert not any(frame.is_corrupt for frame in container.decode(video=0))

    index = indexed(damaged)

    different = visibly_different(clips[name], damaged)
    assert different <= set(index.pts[index.damaged].tolist())
    assert index.damaged[0] == is_keyframe
    assert 0 < index.damaged.sum() <= GROUP + 3
    assert "First sign: decoding does not end where the data ends" in index.warnings[0]


def test_abrupt_changes_of_the_image_are_not_damage(tmp_path: Path) -> None:
    """A cut, a flash and a caption that appears, in HEVC and VP9."""
    random = np.random.default_rng(1)
    rooms = [random.integers(40, 200, (9, 16, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1) for _ in range(2)]
    for codec, suffix in (("libx265", ".mp4"), ("libvpx-vp9", ".webm")):
        path = tmp_path / f"jumps{suffix}"
        options = {"x265-params": "log-level=error", "preset": "fast", "deadline": "realtime"}
        with av.open(str(path), "w") as writer:
            video = writer.add_stream(codec, rate=25, width=256, height=144, options=options)
            video.pix_fmt = "yuv420p"
            for number in range(24):
                image = np.roll(rooms[number >= 8], number, axis=1)
                if number == 14:
                    image = np.full_like(image, 250)
                if number >= 18:
                    image[100:120, 40:200] = 255
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                writer.mux(video.encode(frame))
            writer.mux(video.encode(None))

        assert indexed(path).intact


def test_missing_frames_are_reported(clips: dict[str, Path], tmp_path: Path) -> None:
    content = clips["mpeg2"].read_bytes()
    hole, cut = tmp_path / "hole.mpg", tmp_path / "cut.mkv"
    hole.write_bytes(content[: len(content) // 3] + content[2 * len(content) // 3 :])
    matroska = clips["h264-cavlc"].read_bytes()
    cut.write_bytes(matroska[: len(matroska) // 2])

    with_hole, cut_off = indexed(hole), indexed(cut)

    assert len(with_hole) < FRAMES
    assert "Times jump after frame" in " ".join(with_hole.warnings)
    assert cut_off.truncated
    assert "ends early" in cut_off.warnings[0]


def test_a_packet_without_a_frame_is_reported(packaged: Callable[[str], Path], tmp_path: Path) -> None:
    whole, damaged = packaged("single_face.mp4"), tmp_path / "lost.mp4"
    content = bytearray(whole.read_bytes())
    start, end = payload_of(whole, 30)
    content[start:end] = bytes(end - start)
    damaged.write_bytes(content)

    index = indexed(damaged)

    assert len(index) == 71
    assert "1 frames of the file cannot be decoded and are missing from the result (at " in " ".join(index.warnings)
    assert [number for number, _ in read_frames(Clip(damaged, probe(damaged), index))] == list(range(71))


def test_damage_is_rejected_with_refuse(clips: dict[str, Path], tmp_path: Path) -> None:
    start, end = payload_of(clips["hevc"], 5)
    damaged = with_flipped_bit(clips["hevc"], (start + end) // 2, tmp_path / "damaged.mp4")

    with pytest.raises(
        VideoError, match=r"damaged\.mp4 is damaged, .* frames are damaged .* set decode\.damaged to warn"
    ):
        indexed(damaged, DecodeOptions(damaged="refuse"))
    assert indexed(clips["hevc"], DecodeOptions(damaged="refuse")).intact


def test_damaged_frames_are_unedited_with_skip(clips: dict[str, Path], tmp_path: Path) -> None:
    start, end = payload_of(clips["h264"], 5)
    damaged = with_flipped_bit(clips["h264"], (start + end) // 2, tmp_path / "damaged.mp4")

    skipping, warning = indexed(damaged, DecodeOptions(damaged="skip")), indexed(damaged)

    assert skipping.unedited.tolist() == skipping.damaged.tolist() == warning.damaged.tolist()
    assert warning.damaged.any()
    assert not warning.unedited.any()


def test_a_clip_of_only_damaged_frames_is_rejected_with_skip(clips: dict[str, Path], tmp_path: Path) -> None:
    start, end = payload_of(clips["hevc"], 0)
    damaged = with_flipped_bit(clips["hevc"], end - (end - start) // 3, tmp_path / "damaged.mp4")

    with pytest.raises(
        VideoError, match=r"all 5 frames are damaged, so that decode\.damaged = skip leaves none to edit"
    ):
        indexed(damaged, DecodeOptions(damaged="skip", end=0.2))


def test_only_codecs_that_miss_damage_are_tested(clips: dict[str, Path]) -> None:
    assert {probe(path).codec for name, path in clips.items() if name in ("hevc", "vp9", "vp8")} == set(TAIL_BYTES)
    assert damaged_packets(clips["h264"], "h264", 0, FRAMES) == []


def test_capturing_restores_the_log_settings() -> None:
    with codec_log() as messages:
        av.logging.log(av.logging.ERROR, "test", "one")
        av.logging.log(av.logging.ERROR, "test", "one")

    assert [text for _, _, text in messages] == ["one", "one"]
    assert av.logging.get_level() is None
    assert av.logging.get_skip_repeated()


def test_ranges_are_the_contiguous_runs() -> None:
    assert ranges(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 1), (4, 4), (6, 6)]
    assert ranges(np.zeros(3, bool)) == []
