"""Scores of the face on one image: expression, pose, age, colors and hair.

The scores fit edit directions and report what an edit did besides. Colors are CIE Lab under D65 and relative to the
same face where that is possible, so that a dark photograph is no beard. A score of something that is not in the image
(the hair of a bald head) is NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from stitchedit.arrays import Frame
from stitchedit.detect.finder import Detection, FaceFinder
from stitchedit.nets.attributes import CHIN, MOUTH_CORNERS, AgeAndGender, FaceScores, score_face
from stitchedit.nets.face_parsing import CLASSES, FaceParser, parse_faces

FaceLabels = UInt8[np.ndarray, "height width"]  # face parsing class of every pixel of the image
LabPixels = Float[np.ndarray, "height width lab"]  # L in 0..100, a and b about -100..100

FEWEST_PIXELS = 3e-4  # of the image; a color is not taken of fewer
FFHQ_BOX = np.array([0.185, 0.319, 0.792, 0.926])  # left, top, right, bottom of dlib's face box in an FFHQ crop
JAW = slice(0, 17)
LOWER_JAW = slice(3, 14)  # from below one ear to below the other
NOSE_BASE = slice(31, 36)
CHEEKS = ([1, 2, 3, 4, 48, 31, 40, 41], [15, 14, 13, 12, 54, 35, 47, 46])  # outlines, on either side of the nose


@dataclass(frozen=True)
class Coloring:
    """Scores from colors, face parsing and landmarks. Shares are of the image, an FFHQ crop."""

    skin_brightness: float  # Lab L of the cheeks
    skin_redness: float  # Lab a of the cheeks
    hair_brightness: float  # Lab L of the hair
    hair_length: float  # share of the image with hair below the nose and outside the face
    beard: float  # the lower face darker, less red and less even than the cheeks, in Lab L: mostly 0, full from 20 on
    lipstick: float  # how much redder the lips are than the cheeks, in Lab a
    glasses: float  # share of the image
    hat: float  # share of the image


@dataclass(frozen=True)
class Appearance:
    """Scores and descriptor of the largest face of an image."""

    scores: dict[str, float]  # by name: those of `FaceScores` and of `Coloring`; see SCORES
    descriptor: np.ndarray  # `128`, in dlib's scale: below .6 apart is the same person


Scorer = Callable[[Frame], Appearance | None]


def score_names() -> list[str]:
    """Every score there is, in order. The log-odds of being male go by the name of their direction, gender."""
    return ["gender" if f.name == "male" else f.name for kind in (FaceScores, Coloring) for f in fields(kind)]


def appearance_scorer(finder: FaceFinder, attributes: AgeAndGender, parser: FaceParser, parsing_size: int) -> Scorer:
    """Make a scorer of FFHQ crops; it returns None where there is no face.

    Args:
        parsing_size: px at which the image is parsed. Against 512, where the parser was trained, scores correlate by
            .996 and more at 384 (hat by .92), by .92 and more at 256 (hat by .70), at half the time each.
    """

    def score(image: Frame) -> Appearance | None:
        usual = Detection(FFHQ_BOX * len(image), 0.0, np.empty((68, 2)), np.empty(128))
        faces = finder.find(image, [usual])  # knowing where it should be saves the search by CNN
        if not faces:
            return None
        landmarks = faces[0].landmarks
        face = vars(score_face(attributes, image, landmarks))
        coloring = vars(score_coloring(image, _parsed(parser, image, parsing_size), landmarks))
        return Appearance(
            dict(zip(score_names(), [*face.values(), *coloring.values()], strict=True)), faces[0].descriptor
        )

    return score


def score_coloring(image: Frame, labels: FaceLabels, landmarks: np.ndarray) -> Coloring:
    """Colors and shares of one face; `landmarks` are `68 xy` in the image's pixels, `labels` of its size."""
    lab = to_lab(image)
    skin = np.isin(labels, [CLASSES.index("skin"), CLASSES.index("nose")])
    hair = labels == CLASSES.index("hair")
    lips = np.isin(labels, [CLASSES.index("upper_lip"), CLASSES.index("lower_lip")])

    cheeks = skin & _filled([landmarks[cheek] for cheek in CHEEKS], labels.shape)
    cheek = _middle(lab, cheeks)
    below_nose = np.arange(len(labels))[:, None] > landmarks[NOSE_BASE, 1].mean()
    long_hair = hair & below_nose & ~_filled([landmarks[JAW]], labels.shape)
    return Coloring(
        skin_brightness=float(cheek[0]),
        skin_redness=float(cheek[1]),
        hair_brightness=float(_middle(lab, hair)[0]),
        hair_length=float(long_hair.mean()),
        beard=_beard(lab, skin, (skin | hair) & _lower_face(landmarks, labels.shape), landmarks),
        lipstick=float(_middle(lab, lips)[1] - cheek[1]),
        glasses=float((labels == CLASSES.index("glasses")).mean()),
        hat=float((labels == CLASSES.index("hat")).mean()),
    )


def to_lab(image: np.ndarray) -> LabPixels:
    """CIE Lab under D65, L in 0..100, of 8-bit levels, whole or not: `height width rgb`."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _beard(lab: LabPixels, skin: np.ndarray, lower: np.ndarray, landmarks: np.ndarray) -> float:
    """Beard score: darker, less red and of finer texture than the cheek of the same side.

    Weights make the three vary alike over generated faces; each alone takes shadows or sunburn for a beard.
    """
    lightness = lab[..., 0]
    fine = np.abs(lightness - cv2.GaussianBlur(lightness, (0, 0), len(lightness) / 128))
    left = _left_of_nose(landmarks, skin.shape)
    found, sizes = [], []
    for outline, side in zip(CHEEKS, (left, ~left), strict=True):
        cheek, beside = skin & _filled([landmarks[outline]], skin.shape), lower & side
        if min(cheek.mean(), beside.mean()) >= FEWEST_PIXELS:
            darker = np.median(lightness[cheek]) - lightness[beside].mean()
            less_red = lab[cheek, 1].mean() - lab[beside, 1].mean()
            found.append(darker + 3 * less_red + 14 * (fine[beside].mean() - fine[cheek].mean()))
            sizes.append(cheek.mean())
    return float(np.average(found, weights=sizes)) if found else float("nan")


def _left_of_nose(landmarks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the pixels left of the line from between the eyes to the chin."""
    top, chin = landmarks[27], landmarks[CHIN]
    y, x = np.indices(shape)
    return np.asarray((chin[0] - top[0]) * (y - top[1]) > (chin[1] - top[1]) * (x - top[0]))


def _lower_face(landmarks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Mask between nose and chin, without the lips and the shadow along the jaw."""
    middle = landmarks[MOUTH_CORNERS].mean(axis=0)
    jaw = middle + 0.88 * (landmarks[LOWER_JAW] - middle)
    nose = landmarks[NOSE_BASE][::-1]
    nose = nose + 0.15 * (middle - nose)
    lips = landmarks[48:60]
    lips = lips.mean(axis=0) + 1.15 * (lips - lips.mean(axis=0))
    return np.asarray(_filled([np.concatenate([jaw, nose])], shape) & ~_filled([lips], shape))


def _middle(lab: LabPixels, where: np.ndarray) -> np.ndarray:
    """Median Lab, `3`; NaN where too few pixels are."""
    return np.median(lab[where], axis=0) if where.mean() >= FEWEST_PIXELS else np.full(3, np.nan)


def _filled(outlines: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Mask of the polygons, `point xy` in px."""
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    return mask.astype(bool)


def _parsed(parser: FaceParser, image: Frame, size: int) -> FaceLabels:
    """Labels at the image's own size."""
    tensor: Tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    labels = parse_faces(parser, F.interpolate(tensor, (size, size), mode="bilinear"))[0]
    return np.asarray(cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
