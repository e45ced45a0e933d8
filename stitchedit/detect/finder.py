"""Faces of one frame: boxes, confidences, 68 landmarks and descriptors.

Detection goes from cheap to thorough and stops as soon as every expected face is there: dlib's HOG detector over the
whole frame; HOG, then dlib's CNN detector, around each face of the frames before that is missing now; and where no face
is known yet or none is left, CNN and HOG at full resolution over the whole frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import dlib
import numpy as np
import torch

from stitchedit.arrays import Boxes, Frame
from stitchedit.errors import WeightsError
from stitchedit.nets.recognition import FaceRecognizer
from stitchedit.options.detect import DetectOptions

FAN_FILE = "2DFAN4-11f355bf06.pth.tar"

SAME_FACE_IOU = 0.35  # boxes of one frame that overlap more are one face
HOG_WINDOW = 80  # px, side of the smallest face that dlib's HOG detector sees
CNN_SIDE = 480  # px, longest side of the image when the CNN searches a frame without any other face, .3 s
CNN_FIRST_SIDE = 960  # px, the same for the first frame with faces of a shot, 1 to 2 s
CNN_CONFIDENCE = 0.6  # the CNN says about 1.0 for a plain face
CNN_SCORE = 0.5  # this much less of it is about HOG's score
CNN_LOWER = 0.14  # the CNN's boxes sit this much of their side higher than HOG's, which the predictor was trained on
LOOK_SIDE = 16  # px, of a face as its look shows it
CHANGED_LOOK = 15.0  # mean difference of looks, of 255, that asks who it is: a hand before the face makes 18
LANDMARKER_FACE = 256  # px, side of the face that the landmark networks are shown


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in one frame. `box` is the square that its landmarks span, steadier than what a detector reports."""

    box: np.ndarray  # left, top, right, bottom in px
    confidence: float  # in HOG's scale: 0 = doubtful, 1 to 2 = plain
    landmarks: np.ndarray  # `68 xy` in px
    descriptor: np.ndarray  # `128`, in dlib's scale: below .6 apart is the same person
    descriptor_age: int = 0  # frames since the descriptor was measured
    look: np.ndarray = field(default_factory=lambda: np.zeros((LOOK_SIDE, LOOK_SIDE, 3), np.uint8))  # inside `box`, RGB

    def change_of_look(self, other: "Detection") -> float:
        """Mean difference of two looks, of 255: neighbors of one person below 20, another person above 30."""
        return float(np.abs(self.look.astype(np.float32) - other.look).mean())


@dataclass(frozen=True)
class LandmarkNetworks:
    """dlib's network files."""

    predictor: Path  # shape_predictor_68_face_landmarks.dat
    cnn_detector: Path  # mmod_human_face_detector.dat
    recognition: Path  # dlib_face_recognition_resnet_model_v1.dat


class Landmarker(Protocol):
    """68 points `point xy` of the face in a square image that shows it in the middle, at half the image's side."""

    def __call__(self, image: np.ndarray) -> np.ndarray: ...


class FaceFinder:
    """Face detector without state: the same frame and expectations give the same faces."""

    def __init__(self, networks: LandmarkNetworks, options: DetectOptions) -> None:
        self.options = options
        self.backend = resolve_backend(options.backend)
        self._hog = dlib.get_frontal_face_detector()
        try:
            self._cnn = dlib.cnn_face_detection_model_v1(str(networks.cnn_detector))
            predictor = dlib.shape_predictor(str(networks.predictor))
        except RuntimeError as error:
            raise WeightsError(f"{networks} cannot be read by dlib: {error}") from error
        self._recognizer = FaceRecognizer(networks.recognition)
        self._first_landmarker: Landmarker = _DlibLandmarker(predictor, boxes=1)
        self._landmarker: Landmarker = _DlibLandmarker(predictor, options.boxes)
        if self.backend == "fan":
            self._landmarker = _FanLandmarker()

    def find(self, frame: Frame, near: Sequence[Detection] = ()) -> list[Detection]:
        """All faces of an upright frame, largest first.

        `near` are faces of the frames before, in the same shot (`recent_faces`). The search is finer around them.
        """
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        candidates = self._search_frame(gray, near)
        for expected in near:
            if not _overlaps(expected.box, (box for box, _ in candidates)):
                candidates += self._search_around(frame, gray, expected.box)
        if not near or not candidates:
            candidates += self._search_thoroughly(frame, gray, CNN_FIRST_SIDE if candidates else CNN_SIDE)

        detections: list[Detection] = []
        for box, confidence in sorted(candidates, key=lambda candidate: -candidate[1]):
            if _overlaps(box, (found.box for found in detections)):
                continue
            points = self._look_twice(frame, box)
            outline = square_around(points)
            # A predictor that was shown no face scatters its points away from the box.
            if _iou(box, outline) > SAME_FACE_IOU and not _overlaps(outline, (found.box for found in detections)):
                found = Detection(outline, confidence, points, np.empty(0), look=_look_of(frame, outline))
                detections.append(self._describe(frame, found, near))
        return sorted(detections, key=lambda found: -_area(found.box))

    def _search_frame(self, gray: np.ndarray, near: Sequence[Detection]) -> list[tuple[np.ndarray, float]]:
        scale = min(HOG_WINDOW / self.options.min_face_px, self.options.max_side / max(gray.shape))
        return [
            (box, confidence)
            for box, confidence in self._run_hog(gray, scale, self.options.continued_confidence)
            if confidence >= self.options.min_confidence or _overlaps(box, (expected.box for expected in near))
        ]

    def _search_around(self, frame: Frame, gray: np.ndarray, box: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Search for the face that was at `box`, there and near by."""
        side = box[2] - box[0]
        left, top = np.maximum(box[:2] - 0.75 * side, 0).astype(int)
        right, bottom = np.minimum(box[2:] + 0.75 * side, frame.shape[1::-1]).astype(int)
        if min(right - left, bottom - top) < side / 2:  # it had all but left the frame
            return []
        offset = np.array([left, top, left, top], dtype=float)

        scale = 1.5 * HOG_WINDOW / side
        found = self._run_hog(gray[top:bottom, left:right], scale, self.options.continued_confidence)
        if not found:
            found = self._run_cnn(frame[top:bottom, left:right], scale)
        nearest = sorted(found, key=lambda candidate: -_iou(candidate[0] + offset, box))[:1]
        return [(candidate + offset, confidence) for candidate, confidence in nearest]

    def _search_thoroughly(self, frame: Frame, gray: np.ndarray, cnn_side: int) -> list[tuple[np.ndarray, float]]:
        found = self._run_cnn(frame, min(cnn_side / max(gray.shape), 1.0))
        fine = min(HOG_WINDOW / self.options.min_face_px, 1.0)
        if fine * max(gray.shape) > self.options.max_side:
            found += self._run_hog(gray, fine, self.options.min_confidence)
        return found

    def _run_hog(self, gray: np.ndarray, scale: float, threshold: float) -> list[tuple[np.ndarray, float]]:
        rectangles, scores, _ = self._hog.run(_resize(gray, scale), 0, threshold)
        return [(_to_box(found) / scale, score) for found, score in zip(rectangles, scores, strict=True)]

    def _run_cnn(self, image: np.ndarray, scale: float) -> list[tuple[np.ndarray, float]]:
        candidates = []
        for found in self._cnn(_resize(image, scale), 0):
            if found.confidence >= CNN_CONFIDENCE:
                box = _to_box(found.rect) / scale
                box[[1, 3]] += CNN_LOWER * (box[3] - box[1])
                candidates.append((box, found.confidence - CNN_SCORE))
        return candidates

    def _look_twice(self, frame: Frame, box: np.ndarray) -> np.ndarray:
        """Landmarks in two passes, `68 xy` in the frame's pixels; the second starts from the result of the first."""
        points = _look(self._first_landmarker, frame, box)
        return _look(self._landmarker, frame, square_around(points))

    def _describe(self, frame: Frame, found: Detection, near: Sequence[Detection]) -> Detection:
        """Add the descriptor to `found`: measured, or its predecessor's if it plainly continues that one."""
        before = [expected for expected in near if _iou(expected.box, found.box) > 0.1]
        if len(before) == 1 and _iou(before[0].box, found.box) > 0.7 and found.change_of_look(before[0]) < CHANGED_LOOK:
            age = before[0].descriptor_age + 1
            if age < self.options.describe_every:
                return replace(found, descriptor=before[0].descriptor, descriptor_age=age)
        return replace(found, descriptor=self._recognizer.describe(frame, found.landmarks))


def recent_faces(frames: Sequence[Sequence[Detection]]) -> list[Detection]:
    """Expected faces, from the faces of the last few frames of the shot, oldest first."""
    recent: list[Detection] = []
    for face in chain.from_iterable(reversed(frames)):
        if not _overlaps(face.box, (known.box for known in recent)):
            recent.append(face)
    return recent


def square_around(landmarks: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the square that dlib's HOG detector would report for these points.

    Factors: means over 60 faces of 6 clips. The detector's own squares scatter by a tenth of their side around it.
    """
    middle = landmarks.mean(axis=0)
    side = np.sqrt(((landmarks - middle) ** 2).sum(axis=1).mean()) / 0.362
    middle = middle - [0, 0.045 * side]
    return np.concatenate([middle - side / 2, middle + side / 2])


def overlaps(boxes_a: Boxes, boxes_b: Boxes) -> np.ndarray:
    """Intersection over union of every pair, `a b`."""
    low = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    high = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas_a, areas_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (boxes_a, boxes_b))
    return shared / (areas_a[:, None] + areas_b[None] - shared)  # type: ignore[no-any-return]


def fan_weights() -> Path | None:
    """FAN's weights, if they lie where torch hub keeps its files. They are never downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FAN_FILE
    return path if path.is_file() else None


def resolve_backend(backend: str) -> str:
    """ "dlib" or "fan".

    Raises:
        WeightsError: FAN is asked for and its weights are not here.
    """
    weights = fan_weights()
    if backend == "auto":
        return "fan" if weights else "dlib"
    if backend == "fan" and not weights:
        raise WeightsError(
            f"detect.backend is fan, but {FAN_FILE} is not in {Path(torch.hub.get_dir()) / 'checkpoints'}. "
            "Put it there, or set detect.backend to dlib."
        )
    return backend


class _DlibLandmarker:
    """dlib's regression trees (Kazemi and Sullivan 2014), averaged over several boxes around the same face."""

    def __init__(self, predictor: dlib.shape_predictor, boxes: int) -> None:
        self._predictor = predictor
        # Seeded, so that every frame is looked at in the same ways; the first box is the plain one.
        shake = np.random.default_rng(0).uniform(-1, 1, (boxes, 3)) * [0.04, 0.04, 0.05]
        shake[0] = 0
        self._shake = shake - shake.mean(axis=0)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        middle = (len(image) - 1) / 2
        total = np.zeros((68, 2))
        for x, y, grow in self._shake:
            half = len(image) / 4 * (1 + grow)
            center_x, center_y = middle + x * 2 * half, middle + y * 2 * half
            corners = [center_x - half, center_y - half, center_x + half, center_y + half]
            shape = self._predictor(image, dlib.rectangle(*np.rint(corners).astype(int).tolist()))
            total += [(point.x, point.y) for point in shape.parts()]
        return total / len(self._shake)


class _FanLandmarker:
    """FAN (Bulat and Tzimiropoulos 2017, arXiv 1703.07332), by the package `face-alignment`."""

    def __init__(self) -> None:
        import face_alignment  # noqa: PLC0415  takes seconds (numba), and most runs do without

        self._network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device="cuda" if torch.cuda.is_available() else "cpu",
            face_detector="folder",  # the one that needs no file: the boxes are ours
            compile=False,
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        quarter = len(image) / 4
        (points,) = self._network.get_landmarks_from_image(
            image, detected_faces=[[quarter, quarter, 3 * quarter, 3 * quarter]]
        )
        return np.asarray(points, dtype=np.float64)


def _look_of(frame: Frame, box: np.ndarray) -> np.ndarray:
    left, top = np.floor(box[:2]).astype(int)
    inside = _cut(frame, left, top, max(1, int(np.ceil(box[2] - box[0]))))
    return np.asarray(cv2.resize(inside, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA))


def _look(landmarker: Landmarker, frame: Frame, box: np.ndarray) -> np.ndarray:
    """Landmarks at `box`, in the frame's pixels."""
    side = box[2] - box[0]
    scale = LANDMARKER_FACE / side
    left, top = np.floor((box[:2] + box[2:]) / 2 - side).astype(int)
    points = landmarker(_resize(_cut(frame, left, top, int(np.ceil(2 * side)) + 1), scale))
    return (points + 0.5) / scale - 0.5 + [left, top]  # type: ignore[no-any-return]


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)


def _cut(frame: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """The square at (left, top), its edge repeated where it leaves the frame."""
    rows = np.clip(np.arange(top, top + side), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, frame.shape[1] - 1)
    return frame[rows[:, None], columns[None]]


def _to_box(rectangle: dlib.rectangle) -> np.ndarray:
    return np.array([rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1], dtype=float)


def _iou(box_a: np.ndarray, box_b: np.ndarray) -> float:
    return float(overlaps(box_a[None], box_b[None])[0, 0])


def _overlaps(box: np.ndarray, others: Iterable[np.ndarray]) -> bool:
    return any(_iou(box, other) > SAME_FACE_IOU for other in others)


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))
