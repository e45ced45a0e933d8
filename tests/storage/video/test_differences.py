"""Properties of the video that a result keeps, and notes on those that it does not."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from made_clips import FRAMES, RATE, box_image, make, opened, written

from storage.video.index import read_frames
from storage.video.inventory import first_field
from storage.video.light import LightLevels, side_data

INTERLACED = "The video is interlaced: faces were edited in whole frames"
LIGHT = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
CAPTION = bytes.fromhex("b500314741393403") + bytes([0x41, 0xFF, 0xFC, 0x94, 0x2C, 0xFF])  # ATSC A/53 part 4
MISB = b"MISPmicrosectime" + bytes.fromhex("1f05d1ffa2b3ffc4d5ffe6f7")  # MISB ST 0604: UUID and time of a frame


def interlaced(path: Path, field: str) -> Path:
    """A clip whose first field is `tff` or `bff`."""

    def before(container: Any, video: Any) -> None:
        video.codec_context.flags |= Flags.interlaced_dct
        video.codec_context.field_order = {"tff": 2, "bff": 3}[field]

    def frame(number: int) -> av.VideoFrame:
        image = av.VideoFrame.from_ndarray(box_image(number), "rgb24").reformat(format="yuv420p")
        graph, image.time_base = Graph(), Fraction(1, RATE)
        entry = graph.add_buffer(width=96, height=64, format=image.format, time_base=image.time_base)
        graph.link_nodes(entry, graph.add("setfield", field), graph.add("buffersink")).configure()
        graph.push(image)
        marked = graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked

    return make(path, options={"x264-params": f"{field}=1"}, before=before, frame=frame)


def header_and_frames(path: Path) -> tuple[int, set[str | None]]:
    clip = opened(path)
    return clip.info.field_order, {first_field(frame) for _, frame in read_frames(clip)}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(("field", "order", "name"), [("bff", 3, "bottom"), ("tff", 2, "top")])
def test_the_first_field_stays_first_in_header_and_frames(
    tmp_path: Path, field: str, order: int, name: str, suffix: str
) -> None:
    source = interlaced(tmp_path / "source.mp4", field)
    assert header_and_frames(source) == (order, {name})

    notes = written(opened(source), tmp_path / f"out{suffix}")

    assert header_and_frames(tmp_path / f"out{suffix}") == (order, {name})
    assert [note.startswith(INTERLACED) for note in notes] == [True]


@pytest.mark.parametrize(("codec", "is_kept"), [("libx264", True), ("libx265", False), ("mpeg4", True)])
def test_a_result_marked_as_progressive_is_noted(tmp_path: Path, codec: str, is_kept: bool) -> None:
    notes = written(opened(interlaced(tmp_path / "source.mp4", "bff")), tmp_path / "out.mp4", codec)

    assert header_and_frames(tmp_path / "out.mp4")[1] == ({"bottom"} if is_kept else {None})
    assert any("marked as progressive" in note for note in notes) == (not is_kept)


@pytest.fixture(scope="module")
def hdr10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def before(container: Any, video: Any) -> None:
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1

    options = {"x265-params": f"log-level=error:{LIGHT}", "preset": "ultrafast"}
    path = tmp_path_factory.mktemp("hdr") / "hdr10.mp4"
    return make(path, "libx265", "yuv420p10le", options=options, before=before)


@pytest.mark.parametrize(
    ("codec", "preset", "suffix"),
    [("libx264", "ultrafast", ".mp4"), ("libx265", "ultrafast", ".mkv"), ("libsvtav1", "10", ".mp4")],
)
def test_light_levels_of_hdr10_are_kept(hdr10: Path, tmp_path: Path, codec: str, preset: str, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    notes = written(opened(hdr10), output, codec, preset)

    before, after = (LightLevels.of(next(read_frames(opened(path)))[1]) for path in (hdr10, output))
    assert before.mastering is not None
    assert after.mastering is not None
    assert [float(value) for value in (*before.mastering.red, *before.mastering.white)] == [0.68, 0.32, 0.3127, 0.329]
    np.testing.assert_allclose(
        [float(value) for value in after.mastering.chromaticities],
        [float(value) for value in before.mastering.chromaticities],
        atol=2e-5,
    )
    assert float(after.mastering.brightest) == 1000
    assert after.content == before.content == (1000, 400)
    assert not [note for note in notes if "HDR10" in note]


def test_light_levels_that_an_encoder_cannot_write_are_noted(hdr10: Path, tmp_path: Path) -> None:
    notes = written(opened(hdr10), tmp_path / "out.mkv", "ffv1")

    assert LightLevels.of(next(read_frames(opened(tmp_path / "out.mkv")))[1]) == LightLevels()
    assert "The video codec hevc became ffv1: encode.codec is ffv1." in notes
    assert [note.split(":")[0] for note in notes if "HDR10" in note] == [
        "The HDR10 mastering display metadata was left out",
        "The HDR10 light levels (MaxCLL, MaxFALL) were left out",
    ]


def clear(number: int) -> av.VideoFrame:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, 48:] = 100
    return av.VideoFrame.from_ndarray(np.concatenate([box_image(number), alpha], axis=2), "rgba")


def test_transparency_of_prores_is_kept_by_prores_and_noted_elsewhere(tmp_path: Path) -> None:
    source = make(tmp_path / "source.mov", "prores_ks", "yuva444p10le", frame=clear)

    kept = written(opened(source), tmp_path / "out.mov", "prores_ks")
    lost = written(opened(source), tmp_path / "out.mp4")

    images = [next(read_frames(opened(path)))[1].to_ndarray(format="rgba") for path in (source, tmp_path / "out.mov")]
    assert images[0][0, 0, 3] == 255
    assert abs(int(images[0][0, 95, 3]) - 100) <= 1
    assert np.array_equal(images[0][..., 3], images[1][..., 3])
    assert not [note for note in kept if "transparency" in note]
    assert [note for note in lost if note.startswith("The transparency (alpha) of the video was left out")]


def test_separate_transparency_of_vp9_is_noted(tmp_path: Path) -> None:
    def before(container: Any, video: Any) -> None:
        video.metadata["alpha_mode"] = "1"

    source = make(tmp_path / "source.webm", "libvpx-vp9", "yuva420p", frame=clear, before=before)

    notes = written(opened(source), tmp_path / "out.mkv")

    assert [note for note in notes if note.startswith("The transparency (alpha) of the video was left out")]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams[0].metadata}


def with_message(path: Path, kind: int, content: bytes) -> Path:
    """A clip with an SEI message of the given type in every frame."""
    message = bytes([6, kind, len(content)]) + content + b"\x80"

    def packet(encoded: Any) -> Any:
        extended = av.Packet(b"\x00\x00\x00\x01" + message + bytes(encoded))
        extended.pts, extended.dts, extended.time_base = encoded.pts, encoded.dts, encoded.time_base
        extended.is_keyframe, extended.stream = encoded.is_keyframe, encoded.stream
        return extended

    return make(path, options={"bf": "0"}, packet=packet)


@pytest.mark.parametrize(
    ("codec", "suffix", "is_kept"), [("libx264", ".mp4", True), ("libx265", ".mkv", True), ("ffv1", ".mkv", False)]
)
def test_closed_captions_are_kept_or_noted(tmp_path: Path, codec: str, suffix: str, is_kept: bool) -> None:
    source, output = with_message(tmp_path / "source.mp4", 4, CAPTION), tmp_path / f"out{suffix}"  # ITU-T T.35

    notes = written(opened(source), output, codec)

    captions = [[side_data(frame).get("A53_CC") for _, frame in read_frames(opened(path))] for path in (source, output)]
    assert captions[0] == [[CAPTION[-4:-1]]] * FRAMES
    assert (captions[1] == captions[0]) == is_kept
    assert ("Not kept of the video: closed captions (CEA-608/708)." in notes) == (not is_kept)


@pytest.mark.parametrize(("codec", "suffix", "is_kept"), [("libx264", ".mp4", True), ("libx265", ".mkv", False)])
def test_user_data_of_a_camera_is_kept_or_noted(tmp_path: Path, codec: str, suffix: str, is_kept: bool) -> None:
    source, output = with_message(tmp_path / "source.mp4", 5, MISB), tmp_path / f"out{suffix}"

    notes = written(opened(source), output, codec)

    for _, frame in read_frames(opened(output)):
        assert (MISB in side_data(frame).get("SEI_UNREGISTERED", [])) == is_kept
    assert ("Not kept of the video: user data in the video stream." in notes) == (not is_kept)


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix", "encoder", "note"),
    [
        ("libx265", "yuv420p", ".mp4", "libx264", "The video codec hevc became h264: encode.codec is libx264."),
        ("ffv1", "yuv420p12le", ".mkv", "libx264", "yuv420p12le became yuv420p10le"),
        ("ffv1", "yuv420p12le", ".mkv", "libx264", "(12 bits became 10)"),
        ("ffv1", "yuv422p", ".mkv", "libsvtav1", "(chroma has a lower resolution)"),
        ("ffv1", "gray", ".mkv", "libsvtav1", "The pixel format gray became"),
    ],
)
def test_a_change_of_codec_depth_or_color_is_noted(
    tmp_path: Path, codec: str, pixel_format: str, suffix: str, encoder: str, note: str
) -> None:
    preset = "10" if encoder == "libsvtav1" else "ultrafast"
    notes = written(
        opened(make(tmp_path / f"source{suffix}", codec, pixel_format)), tmp_path / f"out{suffix}", encoder, preset
    )

    assert [text for text in notes if note in text]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_the_layout_of_stereoscopic_video_is_kept(tmp_path: Path, suffix: str) -> None:
    source = make(
        tmp_path / "source.mkv", before=lambda container, video: video.metadata.update({"stereo_mode": "left_right"})
    )

    notes = written(opened(source), tmp_path / f"out{suffix}")

    layouts = [
        side_data(next(read_frames(opened(path)))[1])["STEREO3D"] for path in (source, tmp_path / f"out{suffix}")
    ]
    assert layouts[0][0] in layouts[1]
    assert notes == []
