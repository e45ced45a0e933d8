"""Numbers of one face in synthetic frames."""

import numpy as np
import pytest

from stitchedit.composite import Patch
from stitchedit.measure.appearance import score_names
from stitchedit.measure.face import PastedFace, face_scores, frame_numbers

QUAD = np.array([(20, 20), (20, 120), (120, 120), (120, 20)], float)


def texture(shift):
    random = np.random.default_rng(0)
    coarse = random.integers(40, 200, (30, 40, 3)).astype(np.float32)
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)[20:160, 20 + shift : 200 + shift].copy()


def pasted(shift, brightness=0, alpha=255, place=(20, 20)):
    """A frame with an opaque square that is `brightness` brighter."""
    frame = texture(shift)
    left, top = place
    region = frame[top : top + 100, left : left + 100]
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[: region.shape[0], : region.shape[1]] = region + np.uint8(brightness)
    return PastedFace(frame, Patch(rgb, np.full((100, 100), alpha, np.uint8), left, top), QUAD, 64)


def test_nothing_changes_outside_the_mask():
    assert frame_numbers(pasted(0, 40), None) == {"outside": 0}


def test_alpha_of_a_patch_that_leaves_the_frame_is_cut():
    face = pasted(0, place=(110, 60))
    assert face.alpha.shape == face.frame.shape[:2]
    assert (face.alpha > 0).sum() == 70 * 80


def test_a_steady_edit_has_the_warp_error_of_the_source():
    numbers = frame_numbers(pasted(3, 30), pasted(0, 30))
    assert numbers["warp_result"] == pytest.approx(numbers["warp_source"], abs=0.5)


def test_an_edit_that_flickers_has_a_warp_error_of_its_size():
    numbers = frame_numbers(pasted(3, 30), pasted(0, 0))
    assert numbers["warp_result"] == pytest.approx(30, abs=2 * numbers["warp_source"] + 1)


def test_a_face_that_is_not_found_has_no_scores():
    scores = face_scores(np.zeros((64, 64, 3), np.uint8), lambda crop: None)
    assert scores.shape == (len(score_names()),)
    assert np.isnan(scores).all()


def test_crops_are_of_the_source_and_of_the_result():
    source, result = pasted(0, 30).crops
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(result[inner].astype(int) - source[inner], 30, atol=1)
