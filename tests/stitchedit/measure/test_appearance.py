"""Scores from colors and places, on a face that is painted here, and on photographs."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from stitchedit.measure.appearance import Coloring, score_coloring, score_names, to_lab
from stitchedit.nets.face_parsing import CLASSES

SIDE = 256
SKIN = (200, 150, 130)
JAW = [(128 + 70 * np.cos(a), 120 + 90 * np.sin(a)) for a in np.linspace(np.pi, 0, 17)]


@pytest.fixture
def landmarks() -> np.ndarray:
    """A frontal face, placed by hand: the chin is at y = 210, the nose ends at y = 140, the mouth is at y = 165."""
    points = np.zeros((68, 2))
    points[:17] = JAW
    points[17:27] = [(x, 85) for x in np.linspace(75, 181, 10)]
    points[27:31] = [(128, y) for y in (100, 113, 126, 135)]
    points[31:36] = [(x, 140) for x in np.linspace(112, 144, 5)]
    points[36:42] = [(85, 100), (95, 96), (105, 96), (112, 100), (105, 104), (95, 104)]
    points[42:48] = [(144, 100), (151, 96), (161, 96), (171, 100), (161, 104), (151, 104)]
    turn = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    points[48:60] = np.stack([128 + 28 * np.cos(turn), 165 - 9 * np.sin(turn)], axis=1)
    points[60:68] = [(108, 165), (118, 163), (128, 163), (138, 163), (148, 165), (138, 167), (128, 167), (118, 167)]
    return points


@pytest.fixture
def face(landmarks: np.ndarray) -> SimpleNamespace:
    """Plain skin under a cap of short dark hair, with lips hardly redder than the skin."""
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    _paint(image, labels, cv2.ellipse2Poly((128, 110), (80, 95), 0, 180, 360, 2), (40, 30, 25), "hair")
    _paint(image, labels, cv2.ellipse2Poly((128, 120), (68, 92), 0, 0, 360, 2), SKIN, "skin")
    _paint(image, labels, landmarks[48:60], (205, 140, 125), "upper_lip")
    return SimpleNamespace(image=image, labels=labels, landmarks=landmarks)


def _paint(image: np.ndarray, labels: np.ndarray, outline: np.ndarray, color: tuple[int, ...], name: str) -> None:
    points = np.rint(outline).astype(np.int32)
    cv2.fillPoly(image, [points], color)
    cv2.fillPoly(labels, [points], CLASSES.index(name))


def scores(face: SimpleNamespace) -> Coloring:
    return score_coloring(face.image, face.labels, face.landmarks)


def test_gray_has_the_lightness_of_the_cie_formula() -> None:
    gray = np.full((1, 1, 3), 119, np.uint8)
    linear = ((119 / 255 + 0.055) / 1.055) ** 2.4

    np.testing.assert_allclose(to_lab(gray)[0, 0], [116 * np.cbrt(linear) - 16, 0, 0], atol=0.3)


def test_colors_are_those_that_were_painted(face: SimpleNamespace) -> None:
    skin, lips, hair = to_lab(np.array([[SKIN, (205, 140, 125), (40, 30, 25)]], np.uint8))[0]

    found = scores(face)

    assert found.skin_brightness == pytest.approx(skin[0], abs=0.1)
    assert found.skin_redness == pytest.approx(skin[1], abs=0.1)
    assert found.hair_brightness == pytest.approx(hair[0], abs=0.1)
    assert found.lipstick == pytest.approx(lips[1] - skin[1], abs=0.1)


def test_short_hair_is_not_long(face: SimpleNamespace) -> None:
    assert scores(face).hair_length == 0


def test_stubble_raises_the_beard_and_little_else(face: SimpleNamespace) -> None:
    before = scores(face)
    chin = np.zeros((SIDE, SIDE), bool)
    chin[150:] = face.labels[150:] == CLASSES.index("skin")
    grain = np.random.default_rng(0).integers(-40, 1, (SIDE, SIDE, 1))
    face.image = np.where(chin[..., None], np.clip(face.image.astype(int) + grain, 0, 255), face.image)
    face.image = face.image.astype(np.uint8)

    after = scores(face)

    assert after.beard > before.beard + 10
    assert replace(after, beard=before.beard) == before


def test_light_from_the_side_is_no_beard(face: SimpleNamespace) -> None:
    before = scores(face).beard
    dark = np.linspace(1, 0.4, SIDE)[None, :, None]
    face.image = (face.image * dark).astype(np.uint8)

    assert scores(face).beard == pytest.approx(before, abs=4)


def test_hair_beside_the_neck_is_long_and_hair_on_the_chin_is_not(face: SimpleNamespace) -> None:
    strand = face.labels.copy()
    strand[150:250, 20:50] = CLASSES.index("hair")
    beard = face.labels.copy()
    beard[180:200, 110:145] = CLASSES.index("hair")

    assert score_coloring(face.image, strand, face.landmarks).hair_length == pytest.approx(100 * 30 / SIDE**2)
    assert score_coloring(face.image, beard, face.landmarks).hair_length == 0


def test_what_is_not_there_has_no_color(face: SimpleNamespace) -> None:
    face.labels[face.labels == CLASSES.index("hair")] = CLASSES.index("hat")

    found = scores(face)

    assert np.isnan(found.hair_brightness)
    assert found.hat > 0.05
    assert np.isfinite(found.beard)


def test_names_of_scores_are_those_of_directions() -> None:
    names = score_names()

    assert len(names) == len(set(names))
    assert {"smile", "age", "gender", "beard", "lipstick", "brow_raise"} <= set(names)
    assert "male" not in names
