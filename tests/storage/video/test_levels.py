"""Frames at their own depth, against the formulas of ITU-T H.273."""

from dataclasses import replace

import av
import numpy as np
import pytest

from storage.video.info import VideoInfo, rgb
from storage.video.levels import coded_levels, is_deep, levels
from storage.video.tone import PQ, tone_map

KR, KB = 0.2126, 0.0722
INFO = VideoInfo(
    container="mp4", codec="hevc", profile=None, width=64, height=32, pixel_format="yuv420p10le", time_base=(1, 30),
    average_rate=(30, 1), display_matrix=None, sample_aspect=None, color_primaries=1, color_transfer=1,
    color_matrix=1, color_range=1, field_order=1, interlaced=False, duration=1.0, declared_frames=1, start_pts=0,
    video_stream=0, streams=(),
)  # fmt: skip


def frame_of(pixel_format: str, planes: list[np.ndarray]) -> av.VideoFrame:
    frame = av.VideoFrame(64, 32, pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    return frame


def ramp(depth: int, full: bool) -> np.ndarray:
    low, high = (0, (1 << depth) - 1) if full else (16 << (depth - 8), 235 << (depth - 8))
    return np.linspace(low, high, 64 * 32).round().reshape(32, 64).astype(np.uint8 if depth == 8 else np.uint16)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("pixel_format", "depth", "chroma"),
    [("yuv420p10le", 10, (16, 32)), ("yuv422p10le", 10, (32, 32)), ("yuv420p12le", 12, (16, 32)),
     ("yuv444p12le", 12, (32, 64)), ("yuv444p16le", 16, (32, 64))],
)  # fmt: skip
def test_samples_are_converted_to_rgb_without_rounding(pixel_format, depth, chroma, full):
    unit = 1 << (depth - 8)
    luma, blue, red = ramp(depth, full), 110 * unit, 150 * unit
    planes = [luma, np.full(chroma, blue, np.uint16), np.full(chroma, red, np.uint16)]
    info = replace(INFO, pixel_format=pixel_format, color_range=2 if full else 1)

    found = coded_levels(frame_of(pixel_format, planes), info)

    whole = (1 << depth) - 1
    y = luma / whole if full else (luma / unit - 16) / 219
    u, v = ((code - 128 * unit) / (whole if full else 224 * unit) for code in (blue, red))
    r, b = y + 2 * (1 - KR) * v, y + 2 * (1 - KB) * u
    expected = 255 * np.stack([r, (y - KR * r - KB * b) / (1 - KR - KB), b], axis=-1)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found.min() < 0  # below black and above white too
    assert found.max() > 255


@pytest.mark.parametrize("pixel_format", ["gbrp10le", "gray12le", "p010le", "rgb48le", "yuv422p10be"])
def test_other_layouts_give_the_same_colors_at_their_own_depth(pixel_format):
    depth = 10
    planes = [ramp(depth, True), *(np.full((32, 64), 512, np.uint16) for _ in range(2))]
    info = replace(INFO, pixel_format="yuv444p10le", color_range=2)
    frame = frame_of("yuv444p10le", planes)
    moved = frame.reformat(
        format=pixel_format, src_colorspace=1, dst_colorspace=1, src_color_range=2,
        dst_color_range=2,
    )  # fmt: skip

    found = levels(moved, replace(info, pixel_format=pixel_format))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, levels(frame, info), atol=1.0)  # swscale moved the samples
    assert len(np.unique(found[..., 1])) > 900


def test_an_8_bit_frame_is_unchanged():
    planes = [ramp(8, False), np.full((16, 32), 100, np.uint8), np.full((16, 32), 160, np.uint8)]
    info, frame = replace(INFO, pixel_format="yuv420p"), frame_of("yuv420p", planes)
    assert not is_deep(info)
    found = levels(frame, info)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, rgb(frame, info))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_hdr_is_tone_mapped_in_every_conversion(pixel_format):
    depth = 8 if pixel_format == "yuv420p" else 10
    dtype = np.uint8 if depth == 8 else np.uint16
    unit = 1 << (depth - 8)
    info = replace(INFO, pixel_format=pixel_format, color_transfer=PQ, color_primaries=9, color_matrix=9)
    for blue, red in [(128, 128), (110, 140), (150, 100), (70, 60), (100, 170)]:
        luma, chroma = ramp(depth, False), [np.full((16, 32), code * unit, dtype) for code in (blue, red)]
        frame = frame_of(pixel_format, [luma, *chroma])

        found, seen = levels(frame, info), rgb(frame, info)

        y, u, v = (luma / unit - 16) / 219, (blue - 128) / 224, (red - 128) / 224
        r, b = y + 2 * (1 - 0.2627) * v, y + 2 * (1 - 0.0593) * u
        signal = np.stack([r, (y - 0.2627 * r - 0.0593 * b) / 0.678, b], axis=-1)
        np.testing.assert_allclose(found, tone_map(PQ, 9).to_display(255 * signal), atol=0.1)
        assert is_deep(info)
        assert seen.dtype == np.uint8
        inside = ((signal > 0) & (signal < 1)).all(axis=-1)
        assert inside.mean() > 0.25
        assert np.abs(seen - found.clip(0, 255))[inside].mean() < 0.5
