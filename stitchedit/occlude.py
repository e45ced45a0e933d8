"""Occlusions: masks of hands, microphones and other things in front of a face."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage

from stitchedit.options.occlude import OcclusionOptions
from stitchedit.tensors import Image, Mask

SIDE = 64  # px, of a crop as a mask shows it

Probability = Float[np.ndarray, "64 64"]  # that something is in front
Hidden = Float32[np.ndarray, "64 64"]  # 0 = the face is seen, 1 = something is in front


def hidden(probability: Probability, options: OcclusionOptions) -> Hidden:
    """Mask of the occluded part of a face, with soft edges."""
    parts, count = ndimage.label(probability > options.likely)
    names = np.arange(1, count + 1)
    if not count:
        return np.zeros((SIDE, SIDE), np.float32)
    peaks = ndimage.maximum(probability, parts, names)
    areas = ndimage.sum_labels(np.ones_like(probability), parts, names)
    kept = names[(np.asarray(peaks) > options.certain) & (areas >= options.smallest * SIDE**2)]
    mask = np.isin(parts, kept)
    if not mask.any() or not options.grow:
        return mask.astype(np.float32)
    outward = ndimage.distance_transform_edt(~mask)
    return np.asarray(np.clip(2 - outward / options.grow, 0, 1), np.float32)


def enlarged(mask: Hidden, size: int) -> Float32[np.ndarray, "size size"]:
    """Resize `mask` to a crop of `size` px."""
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def seen_only(target: Image, generated: Image, covered: Mask) -> Image:
    """Replace the covered parts of `target` with those of `generated`, so that nothing is learned there.

    Without this a generator tuned to the crops learns the hand as part of the face, and the edit moves it.
    """
    return torch.lerp(target, generated.detach(), covered)


def in_colors_of(generated: Image, seen: Image, covered: Mask) -> Image:
    """Match mean and spread of every channel of `generated` to the visible part of `seen`."""

    def moments(images: Image) -> tuple[Image, Image]:
        weight = (1 - covered) / (1 - covered).sum(dim=(2, 3), keepdim=True).clamp_min(1)
        mean = (images * weight).sum(dim=(2, 3), keepdim=True)
        return mean, ((images - mean).square() * weight).sum(dim=(2, 3), keepdim=True).sqrt()

    (mean, spread), (wanted_mean, wanted_spread) = moments(generated), moments(seen)
    return ((generated - mean) * wanted_spread / spread.clamp_min(1e-3) + wanted_mean).clamp(-1, 1)
