"""The arithmetic of edits on planes, against the formulas of ITU-T H.273."""

from dataclasses import dataclass

import numpy as np
import pytest

from stitchedit.images.planes import apply_edit, paste_patch


@dataclass(frozen=True)
class ToyPlanes:
    samples: tuple[np.ndarray, ...]
    is_rgb: bool = False
    depth: int = 8
    full_range: bool = False
    kr: float = 0.2126
    kb: float = 0.0722
    block: tuple[int, int] = (2, 2)


def yuv(height: int, width: int, block: tuple[int, int] = (2, 2), depth: int = 8, full: bool = False) -> ToyPlanes:
    generator = np.random.default_rng(0)
    chroma = (-(-height // block[1]), -(-width // block[0]))
    shapes = [(height, width), chroma, chroma]
    dtype = np.uint8 if depth == 8 else np.uint16
    low, high = 64 << (depth - 8), 190 << (depth - 8)
    return ToyPlanes(
        tuple(generator.integers(low, high, shape).astype(dtype) for shape in shapes), False, depth, full, block=block
    )


def coded(rgb: np.ndarray, planes: ToyPlanes) -> np.ndarray:
    """Y, U and V codes of RGB in [0, 255], not rounded: the whole formula, offsets included."""
    red, green, blue = np.moveaxis(rgb / 255, -1, 0)
    luma = planes.kr * red + (1 - planes.kr - planes.kb) * green + planes.kb * blue
    chroma = (blue - luma) / (2 - 2 * planes.kb), (red - luma) / (2 - 2 * planes.kr)
    unit = 2 ** (planes.depth - 8)
    if planes.full_range:
        whole = 2**planes.depth - 1
        return np.stack([luma * whole, *(c * whole + 128 * unit for c in chroma)])
    return np.stack([(luma * 219 + 16) * unit, *((c * 224 + 128) * unit for c in chroma)])


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("full", [False, True])
def test_edit_is_the_difference_of_the_coded_colors(depth: int, full: bool) -> None:
    planes = yuv(4, 6, block=(1, 1), depth=depth, full=full)
    before = [plane.astype(float) for plane in planes.samples]
    source, edited = np.full((4, 6, 3), (90.0, 100, 110)), np.full((4, 6, 3), (120.0, 90, 105))

    apply_edit(planes, source, edited, (0, 0))

    change = coded(edited, planes) - coded(source, planes)
    for old, new, expected in zip(before, planes.samples, change, strict=True):
        np.testing.assert_allclose(new, old + expected, atol=0.5 + 1e-2)


@pytest.mark.parametrize("block", [(2, 2), (2, 1), (4, 1)])
def test_chroma_gets_the_mean_of_its_pixels(block: tuple[int, int]) -> None:
    planes = yuv(8, 8, block)
    before = planes.samples[1].astype(float)
    source = np.full((8, 8, 3), 100.0)
    edited = source + np.random.default_rng(1).uniform(-40, 40, (8, 8, 3))

    apply_edit(planes, source, edited, (0, 0))

    change = coded(edited, planes)[1] - coded(source, planes)[1]
    mean = change.reshape(8 // block[1], block[1], 8 // block[0], block[0]).mean(axis=(1, 3))
    np.testing.assert_allclose(planes.samples[1], before + mean, atol=0.5 + 1e-3)


def test_one_pixel_counts_a_quarter_in_its_chroma_block() -> None:
    planes = yuv(6, 6)
    before = [plane.copy() for plane in planes.samples]

    apply_edit(planes, np.full((1, 1, 3), 100.0), np.full((1, 1, 3), (100, 100, 200.0)), (3, 3))

    full_blue = 100 / (2 - 2 * 0.0722) * (1 - 0.0722) * 224 / 255
    changed = planes.samples[1].astype(int) - before[1]
    assert changed[1, 1] == round(full_blue / 4)
    assert np.count_nonzero(changed) == 1
    assert np.count_nonzero(planes.samples[0] != before[0]) == 1


def test_odd_last_column_is_a_block_of_its_own() -> None:
    planes = yuv(4, 5)
    before = planes.samples[1].astype(int)

    apply_edit(planes, np.full((4, 1, 3), 100.0), np.full((4, 1, 3), (100, 100, 150.0)), (4, 0))

    full_blue = 50 / 2 * 224 / 255
    assert (planes.samples[1][:, 2] - before[:, 2]).tolist() == [round(full_blue)] * 2
    assert np.array_equal(planes.samples[1][:, :2], before[:, :2])


def test_equal_pixels_keep_even_illegal_codes() -> None:
    planes = ToyPlanes(tuple(np.array([[0, 255], [3, 250]], np.uint8) for _ in range(3)), block=(1, 1))
    before = [plane.copy() for plane in planes.samples]
    same = np.full((2, 2, 3), 77.0)

    apply_edit(planes, same, same, (0, 0))

    assert all(np.array_equal(old, new) for old, new in zip(before, planes.samples, strict=True))


def test_edit_stops_at_the_legal_codes() -> None:
    planes = ToyPlanes(tuple(np.array([[230, 245]], np.uint8) for _ in range(3)), block=(1, 1))

    apply_edit(planes, np.zeros((1, 2, 3)), np.full((1, 2, 3), 255.0), (0, 0))

    assert planes.samples[0].tolist() == [[235, 245]]


def test_gray_gets_luma_and_rgb_gets_its_channels() -> None:
    gray = ToyPlanes((np.full((2, 2), 100, np.uint8),), full_range=True, block=(1, 1))
    color = ToyPlanes(tuple(np.full((2, 2), 400, np.uint16) for _ in range(3)), True, 10, True, block=(1, 1))
    source, edited = np.full((2, 2, 3), 100.0), np.full((2, 2, 3), (110.0, 100, 90))

    apply_edit(gray, source, edited, (0, 0))
    apply_edit(color, source, edited, (0, 0))

    assert gray.samples[0][0, 0] == round(100 + 0.2126 * 10 - 0.0722 * 10)
    assert [plane[0, 0] for plane in color.samples] == [440, 400, 360]


@pytest.mark.parametrize("alpha", [np.full((4, 4), 0.25), np.full((4, 4), 64, np.uint8)], ids=["float", "uint8"])
def test_alpha_is_the_share_of_the_patch(alpha: np.ndarray) -> None:
    planes = ToyPlanes(tuple(np.full((8, 8), 100, np.uint8) for _ in range(3)), True, full_range=True, block=(1, 1))

    paste_patch(planes, np.full((8, 8, 3), 100, np.uint8), np.full((4, 4, 3), 140, np.uint8), alpha, (2, 3))

    assert planes.samples[0][3:7, 2:6].tolist() == [[110] * 4] * 4
    assert np.count_nonzero(planes.samples[0] != 100) == 16


@pytest.mark.parametrize("corner", [(-4, 0), (0, 8), (100, 100), (-50, 2)])
def test_patch_outside_the_frame_changes_nothing(corner: tuple[int, int]) -> None:
    planes = yuv(8, 8)
    before = [plane.copy() for plane in planes.samples]

    paste_patch(planes, np.full((8, 8, 3), 100, np.uint8), np.zeros((4, 4, 3), np.uint8), np.ones((4, 4)), corner)

    assert all(np.array_equal(old, new) for old, new in zip(before, planes.samples, strict=True))
