"""Stitched crops back into the frame, as patches that leave every other pixel alone."""

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stitchedit.arrays import Alpha, Crop, Frame
from stitchedit.warp import Box, Quad, covered, warp_back

CHANGE_REACH = 64  # a change counts round about as far as this part of the crop's side

Layers = Float32[np.ndarray, "height width 4"]  # red, green and blue in [0, 255] times alpha, and alpha in [0, 1]


@dataclass(frozen=True)
class CompositeOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different pixels

    feather: int = 12  # px of the masks at 512; twice that is the width of the soft seam
    detail: float = 16.0  # 8-bit levels; where the edit changes less, what the generator cannot draw stays. 0 = nothing
    edge: int = 6  # px of the masks at 512, along the crop's sides, that are never pasted
    smooth_s: float = 0.03  # s, sigma, over time, of what is pasted; as long before a frame as after it

    def __post_init__(self) -> None:
        if self.detail < 0:
            raise ValueError(f"composite.detail must be >= 0 levels, got {self.detail}")
        if self.smooth_s < 0:
            raise ValueError(f"composite.smooth_s must be >= 0 s, got {self.smooth_s:g}")
        if self.feather < 0 or self.edge < 0:
            raise ValueError(f"composite.feather and composite.edge must be >= 0, got {self.feather} and {self.edge}")


@dataclass(frozen=True)
class Patch:
    """An edited face in source pixels."""

    rgb: UInt8[np.ndarray, "height width rgb"]  # 0 where alpha is 0
    alpha: UInt8[np.ndarray, "height width"]  # 0 = source, 255 = edited
    left: int
    top: int


def make_patch(image: Crop, alpha: Alpha, quad: Quad, box: Box) -> Patch:
    """The stitched crop `image`, taken at `quad`, as it goes into `box` of the frame."""
    layers = warp_back(opaque_layers(image, alpha), quad, box)
    layers[~covered(quad, len(image), box)] = 0
    return patch_of(layers, box)


def keep_detail(patch: Patch, frame: Frame, crops: tuple[Crop, Crop], quad: Quad, options: CompositeOptions) -> Patch:
    """`patch` with what the generator could not draw of `frame`: background, strands of hair, pores, grain.

    The difference between the frame and what the crop was stitched towards (the generator's own drawing without the
    edit) is added, in full where the edit changed nothing and less the more it changed, so that no ghost of the old
    mouth shows through the new one.

    Args:
        crops: what was stitched towards and the stitched crop, both at `quad`.
    """
    matched, stitched = crops
    change = np.abs(stitched.astype(np.float32) - matched).mean(axis=2)
    reach = len(matched) / CHANGE_REACH
    change = cv2.GaussianBlur(cv2.dilate(change, np.ones((3, 3))), (0, 0), reach)
    kept = np.exp(-np.square(change / options.detail))

    box = Box(patch.left, patch.top, patch.rgb.shape[1], patch.rgb.shape[0])
    region = frame[box.top : box.top + box.height, box.left : box.left + box.width].astype(np.float32)
    height, width = region.shape[:2]
    old, new = (warp_back(crop.astype(np.float32), quad, box)[:height, :width] for crop in (matched, stitched))
    detailed = new + warp_back(kept, quad, box)[:height, :width, None] * (region - old)
    rgb = patch.rgb.copy()
    shown = patch.alpha[:height, :width] > 0
    rgb[:height, :width][shown] = np.rint(detailed).clip(0, 255).astype(np.uint8)[shown]
    return replace(patch, rgb=rgb)


def opaque_layers(image: Crop, alpha: Alpha) -> Layers:
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
