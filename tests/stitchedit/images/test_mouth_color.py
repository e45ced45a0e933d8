"""Lips and teeth in the colors of the footage, on faces painted by hand: skin, a mouth in it, labels that say so."""

import cv2
import numpy as np
import pytest

from stitchedit.images.mouth_color import MouthColor, median_color, mouth_color, within, within_finely

SKIN, PALE_LIPS, RED, IVORY, SHINY = (170, 140, 130), (150, 110, 105), (210, 60, 70), (230, 205, 150), (215, 155, 148)
SEEN = np.zeros((64, 64), np.float32)


@pytest.fixture
def labels():
    """A face all over, closed lips in the middle."""
    made = np.ones((512, 512), np.uint8)
    made[250:262, 200:312], made[262:280, 200:312] = 12, 13
    return made


def painted(*parts):
    """A crop of 256 px of skin and `(rows, columns, color)`."""
    image = np.full((256, 256, 3), SKIN, np.float32)
    for rows, columns, color in parts:
        image[rows, columns] = color
    return image


def lab(image, row, column):
    return cv2.cvtColor(image[row : row + 1, column : column + 1].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]


def chroma(*place):
    return float(np.hypot(*lab(*place)[1:]))


LIPS = (slice(125, 140), slice(100, 156))
TEETH = (slice(128, 138), slice(110, 146))
CORNER = (slice(0, 20), slice(0, 20))


@pytest.fixture
def seen(labels):
    return mouth_color(painted((*LIPS, PALE_LIPS)), labels, SEEN)


def test_it_learns_the_colors_of_lips_and_of_the_skin_about_them(seen):
    assert seen.lips == pytest.approx(chroma(np.full((1, 1, 3), PALE_LIPS), 0, 0), abs=0.5)
    assert seen.skin == pytest.approx(chroma(np.full((1, 1, 3), SKIN), 0, 0), abs=0.5)


def test_a_mouth_behind_a_hand_says_nothing(labels):
    assert mouth_color(painted((*LIPS, PALE_LIPS)), labels, np.ones_like(SEEN)) is None


def test_a_face_without_a_mouth_says_nothing():
    assert mouth_color(painted(), np.ones((512, 512), np.uint8), SEEN) is None


def test_the_middle_of_what_was_seen_counts():
    found = [MouthColor(10, 5), None, MouthColor(30, 7), MouthColor(20, 6)]
    assert median_color(found) == MouthColor(20, 6)
    assert median_color([None]) is None


def test_lips_that_an_edit_makes_red_keep_hue_and_lightness_but_not_that_color(seen, labels):
    generated = painted((*LIPS, RED))
    _, after = within(seen, (painted((*LIPS, PALE_LIPS)), generated), labels)
    old, new = lab(generated, 132, 105), lab(after, 132, 105)
    assert chroma(after, 132, 105) == pytest.approx(seen.lips, abs=1)
    assert new[0] == pytest.approx(old[0], abs=0.5)
    assert np.arctan2(*new[1:]) == pytest.approx(np.arctan2(*old[1:]), abs=0.05)


def test_teeth_that_an_edit_shows_are_paler_than_the_skin_about_them(seen, labels):
    _, after = within(seen, (painted((*LIPS, PALE_LIPS)), painted((*TEETH, IVORY))), labels)
    assert chroma(painted((*TEETH, IVORY)), 133, 128) > seen.skin
    assert chroma(after, 133, 128) == pytest.approx(0.7 * seen.skin, abs=1)


def test_lips_that_shine_are_no_teeth(seen, labels):
    generated = painted((*TEETH, SHINY))
    _, after = within(MouthColor(40, seen.skin), (painted((*LIPS, PALE_LIPS)), generated), labels)
    assert lab(generated, 133, 128)[0] > lab(generated, 10, 10)[0] + 8  # brighter than skin
    np.testing.assert_allclose(after, generated, atol=0.6)


def test_teeth_that_were_there_before_keep_their_color(seen, labels):
    grin = painted((*TEETH, IVORY))
    before, after = within(MouthColor(40, seen.skin), (grin, grin.copy()), labels)
    np.testing.assert_allclose(after, grin, atol=0.6)
    np.testing.assert_allclose(before, grin, atol=0.6)


def test_what_is_away_from_the_mouth_keeps_its_color(seen, labels):
    generated = painted((*CORNER, RED))
    _, after = within(seen, (painted(), generated), labels)
    np.testing.assert_allclose(after, generated, atol=0.6)


def test_skin_and_lips_as_the_footage_has_them_stay(seen, labels):
    generated = painted((*LIPS, PALE_LIPS))
    for made in within(seen, (generated, generated.copy()), labels):
        np.testing.assert_allclose(made, generated, atol=0.6)


def test_what_is_not_limited_keeps_its_exact_value_in_deep_footage(seen, labels):
    red = painted((*LIPS, RED)) + np.random.default_rng(0).uniform(-3, 3, (256, 256, 3)).astype(np.float32)
    fine, coarse = within_finely(seen, (red, red), labels)[1], within(seen, (red, red), labels)[1]
    np.testing.assert_allclose(fine[CORNER], red[CORNER], atol=1e-3)
    assert np.abs(coarse[CORNER] - red[CORNER]).mean() > 0.1  # OpenCV's Lab
    assert np.abs(fine - coarse).max() < 1
    assert chroma(fine, 132, 128) < chroma(red, 132, 128) - 10
