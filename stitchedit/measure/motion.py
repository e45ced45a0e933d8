"""Motion of the source, and flicker of an edit along it."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from stitchedit.arrays import Pixels
from stitchedit.images.depth import SHALLOW, to_stored

Flow = Float32[np.ndarray, "height width xy"]  # px: where a pixel of this frame was in the frame before, less its place
Region = Bool[np.ndarray, "height width"]

REACH = 1.0  # px by which the flow there and back may miss where it began; beyond, something came into sight or went


def source_flow(before: Pixels, now: Pixels) -> tuple[Flow, Region]:
    """Motion from `now` back to `before`, with a mask of trusted pixels: DIS optical flow, Kroeger et al. 2016."""
    gray = [cv2.cvtColor(to_stored(frame, SHALLOW), cv2.COLOR_RGB2GRAY) for frame in (before, now)]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    begin = np.zeros((*gray[0].shape, 2), np.float32)
    back = np.asarray(finder.calc(gray[1], gray[0], begin.copy()))
    forth = np.asarray(finder.calc(gray[0], gray[1], begin))
    missed = np.linalg.norm(back + along(forth, back), axis=2)
    y, x = np.indices(missed.shape)
    inside = (x + back[..., 0] >= 0) & (x + back[..., 0] <= missed.shape[1] - 1)
    inside &= (y + back[..., 1] >= 0) & (y + back[..., 1] <= missed.shape[0] - 1)
    return back, inside & (missed <= REACH)


def warp_error(before: Pixels, now: Pixels, flow: Flow, where: Region) -> float:
    """Mean absolute difference of `now` and `before` moved along `flow`, 8-bit levels; NaN if `where` is empty."""
    if not where.any():
        return float("nan")
    moved = along(before.astype(np.float32), flow)
    return float(np.abs(moved - now)[where].mean())


def along(values: np.ndarray, flow: Flow) -> np.ndarray:
    """Sample `values` of the other frame along `flow`."""
    y, x = np.indices(flow.shape[:2], dtype=np.float32)
    return cv2.remap(values, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
