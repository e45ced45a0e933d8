"""Parity with STIT's `compute_transform` and `crop_faces`."""

from pathlib import Path

import numpy as np
import pytest

from stitchedit.align import face_quads
from stitchedit.images.warp import frame_to_crop, translation

REFERENCE = Path(__file__).parent / "data" / "stit_align_quads.npz"

SETTINGS = [
    ("float64", 0),
    ("float64", 1),
    ("float64", 2),
    ("dlib_int64", 0),
    ("fa_float32", 0),
    ("short", 0),
]


@pytest.mark.parametrize(("sequence", "setting"), SETTINGS)
def test_quads_equal_stit(sequence: str, setting: int) -> None:
    with np.load(REFERENCE) as stored:
        landmarks, expected = stored[f"{sequence}/landmarks"], stored[f"{sequence}/quads{setting}"]
        sigmas_and_side = stored[f"{sequence}/setting{setting}"].tolist()
    if landmarks.dtype.kind == "i":
        landmarks = landmarks.astype(float)

    np.testing.assert_allclose(face_quads(landmarks, *sigmas_and_side), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("sequence", "setting"), SETTINGS)
def test_inverse_coefficients_equal_stit(sequence: str, setting: int) -> None:
    with np.load(REFERENCE) as stored:
        quads = stored[f"{sequence}/quads{setting}"]
        expected = stored[f"{sequence}/inverse_coeffs1024_{setting}"]

    ours = np.stack([corner_based(frame_to_crop(quad, 1024)).ravel()[:8] for quad in quads])

    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-7)


def corner_based(homography: np.ndarray) -> np.ndarray:
    """The same map, where whole numbers are the upper left corners of pixels."""
    shifted = translation(0.5, 0.5) @ homography @ translation(-0.5, -0.5)
    return shifted / shifted[2, 2]
