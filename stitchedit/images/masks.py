"""Masks of the pixels of a crop that are stitched, matched and pasted, from face parsing labels at 512 px."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from stitchedit.arrays import Alpha, Labels
from stitchedit.options.composite import Seam
from stitchedit.options.masks import MaskOptions
from stitchedit.tensors import Mask

BACKGROUND, CLOTH, HAT = 0, 16, 18
EYES, MOUTH = (4, 5), (11, 12, 13)  # the latter: inner mouth, upper and lower lip
MOVING = EYES + MOUTH
SOFT_EDGE = 3.0  # px at 512, sigma
MOVING_REACH, MOVING_EDGE = 20, 8.0  # px at 512: how wide round them, and the sigma of its edge

LabelMap = UInt8[np.ndarray, "512 512"]
MaskMap = UInt8[np.ndarray, "512 512"]  # 0 = outside, 1 = inside
MaskMaps = UInt8[np.ndarray, "face 512 512"]


@dataclass(frozen=True)
class SeamMasks:
    """The three regions of stitching, at 512 px."""

    content: MaskMaps  # keeps the edit
    border: MaskMaps  # matches the source
    full: MaskMaps  # is pasted


def seam_masks(labels: Labels, options: MaskOptions) -> SeamMasks:
    """Content, border and full mask of every face: Tzaban et al. 2022 (arXiv 2201.08361)."""
    foreground = (~np.isin(labels, (BACKGROUND, CLOTH, HAT))).astype(np.uint8)
    face = _dilated(foreground, options.inner)
    full = _dilated(face, options.outer)

    surroundings = 1 - face if options.whole_border else full - face
    border = np.maximum(surroundings, face * _frame_edge(options.outer))
    return SeamMasks(content=foreground & (1 - border), border=border, full=full)


def resize_masks(masks: MaskMaps, size: int) -> Mask:
    """`masks` at the size of the generator's image, bilinear from corner pixel to corner pixel."""
    tensor = torch.from_numpy(masks).float()[:, None]
    return F.interpolate(tensor, (size, size), mode="bilinear", align_corners=True)


def paste_alpha(full: MaskMap, size: int, seam: Seam) -> Alpha:
    """Alpha of a crop of `size` px: 1 over the face, falling smoothly to 0 before `full` ends.

    The slope ends `inset` px before `full` does and takes `2 * feather` px inward, so `full` has to exceed the face by
    both. The crop's straight outline stays out of the frame.
    """
    kept, edge = full.astype(np.float32), seam.edge
    if edge:
        kept[:edge] = kept[-edge:] = kept[:, :edge] = kept[:, -edge:] = 0
    if seam.inset:
        kept = eroded(kept, seam.inset)
    soft = feathered(kept, seam.feather) * from_sides(edge, seam.edge_fade)
    alpha = torch.from_numpy(soft.astype(np.float32))[None, None]
    return F.interpolate(alpha, (size, size), mode="bilinear", align_corners=True)[0, 0].numpy()


def from_sides(edge: int, width: int) -> Float32[np.ndarray, "512 512"]:
    """Fade in from the crop's sides: 0 within `edge` px, rising smoothly to 1 over the next `width`."""
    if not width:
        return np.ones((512, 512), np.float32)
    place = np.arange(512)
    way = np.clip((np.minimum(place, place[::-1]) - edge) / width, 0, 1)
    slope = way * way * (3 - 2 * way)
    return np.minimum(slope[:, None], slope[None, :]).astype(np.float32)


def soft_face(labels: LabelMap, size: int) -> Alpha:
    """Soft mask of the face at `size` px: 1 = face, 0 = around it."""
    return _softened(~np.isin(labels, (BACKGROUND, CLOTH, HAT)), SOFT_EDGE, size)


def feathered(mask: np.ndarray, radius: int) -> np.ndarray:
    """Erode by `radius` px, then blur as far; outside the image counts as 0. STIT, `paste_image_mask`."""
    side = 2 * radius + 1
    return cv2.GaussianBlur(eroded(mask, radius), (side, side), 0)


def eroded(mask: np.ndarray, radius: int) -> np.ndarray:
    """Erode by `radius` px; outside the image counts as 0."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=[0]), mask.dtype)


def moving_features(labels: LabelMap, size: int) -> Alpha:
    """Soft mask of eyes and mouth, as far as they open, at `size` px."""
    return _softened(round_about(labels, MOVING, MOVING_REACH), MOVING_EDGE, size)


def round_about(labels: LabelMap, classes: tuple[int, ...], radius: int) -> np.ndarray:
    """Mask of `classes`, dilated by `radius` px."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(np.isin(labels, classes).astype(np.uint8), disk) > 0)


def _softened(mask: np.ndarray, sigma: float, size: int) -> Alpha:
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    return np.asarray(cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA))


def _dilated(masks: MaskMaps, radius: int) -> MaskMaps:
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.stack([cv2.dilate(mask, kernel) for mask in masks])


def _frame_edge(width: int) -> MaskMap:
    """1 within `width` px of the crop's sides."""
    edge = np.ones((512, 512), np.uint8)
    edge[width : 512 - width, width : 512 - width] = 0
    return edge
