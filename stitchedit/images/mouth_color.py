"""Limit the colors of lips and teeth to those of the footage.

A generator is tuned on what there is to see. Gums and teeth behind closed lips keep the generator's own colors, which
stand out in footage that is graded, dim or pale.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import cv2
import numpy as np
from jaxtyping import Float32

from stitchedit.arrays import Alpha, Pixels
from stitchedit.images.masks import MOUTH, round_about
from stitchedit.measure.appearance import to_lab

SKIN = (1,)  # face parsing labels
REACH = 40  # px at 512, by which an edited mouth may be larger than that of the source
FEWEST = 400  # of 512 x 512 pixels: of less nothing is learned
HIGH = 98.0  # percentile of the chroma of lips, that no edit exceeds
TEETH = 0.7  # chroma of teeth, at most, in that of the skin about them
BRIGHTER, LESS_RED, CHANGED = (2.0, 8.0), (-1.0, 4.0), (8.0, 20.0)  # Lab; than that skin, and by the edit: new teeth


@dataclass(frozen=True)
class MouthColor:
    """Lab chroma of one mouth in the footage."""

    lips: float
    skin: float  # about it


UNLIMITED = MouthColor(1e6, 1e6)


def mouth_color(source: Pixels, labels: np.ndarray, hidden: Alpha) -> MouthColor | None:
    """Measure the mouth of one crop; None if too little of it is visible.

    Args:
        source: `size size rgb`.
        labels: face parsing, `512 512`.
        hidden: of any size, 1 where something is in front.
    """
    seen = _sized(hidden, 512) < 0.1
    chroma = np.linalg.norm(to_lab(_sized(source, 512))[..., 1:], axis=2)
    lips, skin = np.isin(labels, MOUTH) & seen, np.isin(labels, SKIN) & _near(labels) & seen
    if min(lips.sum(), skin.sum()) < FEWEST:
        return None
    return MouthColor(float(np.percentile(chroma[lips], HIGH)), float(np.median(chroma[skin])))


def median_color(seen: Iterable[MouthColor | None]) -> MouthColor | None:
    """Median over the measured mouths; None without any."""
    known = [color for color in seen if color]
    if not known:
        return None
    return MouthColor(float(median(color.lips for color in known)), float(median(color.skin for color in known)))


def within(color: MouthColor, crops: tuple[Pixels, Pixels], labels: np.ndarray) -> tuple[Pixels, Pixels]:
    """Limit the saturation of lips and new teeth, in `crops` without the edit and with it, to that of the footage.

    Hue and lightness stay, and so does all that is not near the mouth.
    """
    size = len(crops[0])
    near = _sized(cv2.GaussianBlur(_near(labels).astype(np.float32), (0, 0), REACH / 4), size)
    before, after = (to_lab(crop.clip(0, 255)) for crop in crops)
    skin = _sized((np.isin(labels, SKIN) & _near(labels)).astype(np.float32), size) > 0.5
    lightness, redness, _ = np.median(after[skin], axis=0) if skin.any() else (100.0, 0.0, 0.0)
    teeth = _risen(after[..., 0] - lightness, BRIGHTER) * _risen(redness - after[..., 1], LESS_RED)
    teeth = cv2.GaussianBlur(teeth * _risen(np.linalg.norm(after - before, axis=2), CHANGED), (0, 0), size / 512)
    limit = color.lips + teeth * (min(color.lips, TEETH * color.skin) - color.lips)
    return _limited(before, color.lips, near), _limited(after, limit, near)


def within_finely(color: MouthColor, crops: tuple[Pixels, Pixels], labels: np.ndarray) -> tuple[Pixels, Pixels]:
    """Limit as `within` does, with exact values where nothing is limited.

    OpenCV's Lab and back is off by a fifth of a level on average: nothing at 8 bits, a code at 10.
    """
    limited, free = within(color, crops, labels), within(UNLIMITED, crops, labels)
    before, after = (crop + (less - same) for crop, less, same in zip(crops, limited, free, strict=True))
    return before, after


def _limited(colors: Float32[np.ndarray, "size size lab"], limit: float | Alpha, near: Alpha) -> Pixels:
    chroma = np.linalg.norm(colors[..., 1:], axis=2)
    scale = 1 - near * (1 - np.minimum(1, limit / np.maximum(chroma, 1e-3)))
    limited = np.concatenate([colors[..., :1], colors[..., 1:] * scale[..., None]], axis=2)
    return np.asarray(cv2.cvtColor(limited.astype(np.float32), cv2.COLOR_LAB2RGB) * 255)


def _near(labels: np.ndarray) -> np.ndarray:
    return round_about(labels, MOUTH, REACH)


def _risen(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Rise smoothly from 0 at the lower bound to 1 at the upper."""
    way = np.clip((values - bounds[0]) / (bounds[1] - bounds[0]), 0, 1)
    return way * way * (3 - 2 * way)


def _sized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(cv2.resize(np.asarray(image, np.float32), (size, size), interpolation=cv2.INTER_LINEAR))
