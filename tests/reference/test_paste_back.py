"""Parity with STIT's `paste_image` and `paste_image_mask`.

STIT takes single bilinear samples of the crop, and so does this test; the product blurs as much as shrinking needs.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitchedit.composite import opaque_layers, paste, patch_of
from stitchedit.images.masks import feathered
from stitchedit.images.warp import Box, covered, frame_to_crop, resample, translation

REFERENCE = Path(__file__).parents[2] / "../shared/reference/stit_paste_back.npz"
pytestmark = pytest.mark.skipif(not REFERENCE.exists(), reason=f"{REFERENCE} is not here")

CASES = ["inside256", "inside1024", "edge256"]
FEATHERED = [("inside256", 5), ("inside256", 25), ("inside1024", 25), ("edge256", 25)]


def load(key: str) -> np.ndarray:
    with np.load(REFERENCE) as stored:
        if key in stored.files:
            return stored[key]
        return np.array(Image.open(BytesIO(stored[f"{key}.png"].tobytes())))


def pasted(case: str, mask: np.ndarray) -> np.ndarray:
    frame, image, quad = load(f"{case}/frame"), load(f"{case}/image"), load(f"{case}/quad")
    box = Box(0, 0, width=frame.shape[1], height=frame.shape[0])
    layers = resample(opaque_layers(image, mask / 255), frame_to_crop(quad, len(image)), frame.shape[:2])
    layers[~covered(quad, len(image), box)] = 0
    return paste(frame, patch_of(layers, box))


def assert_within_two_levels(ours: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(ours.astype(int) - expected[..., :3]).max(axis=2)
    assert (difference <= 2).mean() >= 0.999


@pytest.mark.parametrize("case", CASES)
def test_coefficients_equal_stit(case: str) -> None:
    homography = frame_to_crop(load(f"{case}/quad"), int(load(f"{case}/size")))

    shifted = translation(0.5, 0.5) @ homography @ translation(-0.5, -0.5)

    np.testing.assert_allclose((shifted / shifted[2, 2]).ravel()[:8], load(f"{case}/inverse_coeffs"), rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_paste_without_mask_agrees_with_stit(case: str) -> None:
    size = int(load(f"{case}/size"))

    assert_within_two_levels(pasted(case, np.full((size, size), 255)), load(f"{case}/paste_nomask_rgba"))


@pytest.mark.parametrize("case", CASES)
def test_paste_with_hard_mask_agrees_with_stit(case: str) -> None:
    assert_within_two_levels(pasted(case, load(f"{case}/mask")), load(f"{case}/paste_mask_r0"))


@pytest.mark.parametrize(("case", "radius"), FEATHERED)
def test_feathered_mask_equals_stit(case: str, radius: int) -> None:
    np.testing.assert_array_equal(feathered(load(f"{case}/mask"), radius), load(f"{case}/feather_mask_r{radius}"))


@pytest.mark.parametrize(("case", "radius"), FEATHERED)
def test_paste_with_soft_mask_agrees_with_stit(case: str, radius: int) -> None:
    ours = pasted(case, feathered(load(f"{case}/mask"), radius))

    assert_within_two_levels(ours, load(f"{case}/paste_mask_r{radius}"))
