"""Stitched crops back into the frame, as patches that leave every other pixel alone."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stitchedit.arrays import Alpha, Frame
from stitchedit.warp import Box, Pixels, Quad, covered, warp_back

CHANGE_REACH = 64  # a change counts round about as far as this part of the crop's side

Layers = Float32[np.ndarray, "height width 4"]  # red, green and blue in [0, 255] times alpha, and alpha in [0, 1]


@dataclass(frozen=True)
class Patch:
    """An edited face in source pixels."""

    rgb: UInt8[np.ndarray, "height width rgb"]  # 0 where alpha is 0
    alpha: UInt8[np.ndarray, "height width"]  # 0 = source, 255 = edited
    left: int
    top: int


def make_patch(image: Pixels, alpha: Alpha, quad: Quad, box: Box) -> Patch:
    """The stitched crop `image`, taken at `quad`, as it goes into `box` of the frame."""
    layers = warp_back(opaque_layers(image, alpha), quad, box)
    layers[~covered(quad, len(image), box)] = 0
    return patch_of(layers, box)


def keep_detail(patch: Patch, frame: Frame, drawings: tuple[Pixels, Pixels], kept: Alpha, quad: Quad) -> Patch:
    """`patch` with what the generator could not draw of `frame`: background, strands of hair, pores, grain.

    The difference between the frame and what the generator draws without the edit is added, as much of it as `kept`
    says.

    Args:
        drawings: crops at `quad`, without the edit and with it, in 8-bit levels.
        kept: of a crop's size, see `kept_detail`.
    """
    box = Box(patch.left, patch.top, patch.rgb.shape[1], patch.rgb.shape[0])
    region = frame[box.top : box.top + box.height, box.left : box.left + box.width].astype(np.float32)
    height, width = region.shape[:2]
    old, new = (warp_back(crop.astype(np.float32), quad, box)[:height, :width] for crop in drawings)
    detailed = new + warp_back(kept, quad, box)[:height, :width, None] * (region - old)
    rgb = patch.rgb.copy()
    shown = patch.alpha[:height, :width] > 0
    rgb[:height, :width][shown] = np.rint(detailed).clip(0, 255).astype(np.uint8)[shown]
    return replace(patch, rgb=rgb)


def kept_detail(drawings: tuple[Pixels, Pixels], face: Alpha, detail: float) -> Alpha:
    """How much of the frame's own detail stays: 1 where the edit changed nothing, less the more it changed.

    Within the face a change counts round about too, so that no ghost of the old mouth shows through the new one.
    Around the face it counts where it is: a background keeps its edges up to hair that turned grey.

    Args:
        drawings: crops without the edit and with it, in 8-bit levels.
        face: of their size, 1 = the face, 0 = what is around it.
        detail: 8-bit levels, see `CompositeOptions`.
    """
    before, after = (crop.astype(np.float32) for crop in drawings)
    change = np.abs(after - before).mean(axis=2)
    reach = len(before) / CHANGE_REACH
    near = cv2.GaussianBlur(cv2.dilate(change, np.ones((3, 3))), (0, 0), reach)
    here = np.minimum(cv2.GaussianBlur(change, (0, 0), reach / 4), near)
    return np.asarray(np.exp(-np.square((face * near + (1 - face) * here) / detail)))


def opaque_layers(image: Pixels, alpha: Alpha) -> Layers:
    """Color times alpha, and alpha: what may be interpolated without color bleeding in from where alpha is 0."""
    opacity = alpha[..., None].astype(np.float32)
    return np.concatenate([image * opacity, opacity], axis=2)


def patch_of(layers: Layers, box: Box) -> Patch:
    """The patch at `box` whose colors are `layers` divided by their alpha."""
    opacity = np.rint(layers[..., 3] * 255).astype(np.uint8)
    with np.errstate(divide="ignore", invalid="ignore"):
        color = np.where(opacity[..., None] > 0, layers[..., :3] / layers[..., 3:], 0)
    return Patch(np.rint(color).clip(0, 255).astype(np.uint8), opacity, box.left, box.top)


def paste(frame: Frame, patch: Patch) -> Frame:
    """A copy of `frame` with `patch` over it. Where alpha is 0 it equals `frame` exactly."""
    height, width = np.minimum(patch.alpha.shape, np.array(frame.shape[:2]) - (patch.top, patch.left))
    rows, columns = slice(patch.top, patch.top + height), slice(patch.left, patch.left + width)
    rgb, alpha = patch.rgb[:height, :width], patch.alpha[:height, :width, None].astype(np.uint16)

    result = frame.copy()
    result[rows, columns] = (rgb * alpha + frame[rows, columns] * (255 - alpha) + 127) // 255
    return result
