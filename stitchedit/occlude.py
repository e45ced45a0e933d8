"""What is in front of a face? Hands, a microphone, a cup: found crop by crop, steadied over time, left in front."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage

from stitchedit.options.occlude import OcclusionOptions
from stitchedit.tensors import Image, Mask

SIDE = 64  # px, of a crop as a mask shows it

Likelihood = Float[np.ndarray, "64 64"]  # that something is in front
Hidden = Float32[np.ndarray, "64 64"]  # 0 = the face is seen, 1 = something is in front


def hidden(likelihood: Likelihood, options: OcclusionOptions) -> Hidden:
    """Where something is in front of a face, with soft edges."""
    parts, count = ndimage.label(likelihood > options.likely)
    names = np.arange(1, count + 1)
    if not count:
        return np.zeros((SIDE, SIDE), np.float32)
    peaks = ndimage.maximum(likelihood, parts, names)
    areas = ndimage.sum_labels(np.ones_like(likelihood), parts, names)
    kept = names[(np.asarray(peaks) > options.certain) & (areas >= options.smallest * SIDE**2)]
    mask = np.isin(parts, kept)
    if not mask.any() or not options.grow:
        return mask.astype(np.float32)
    outward = ndimage.distance_transform_edt(~mask)
    return np.asarray(np.clip(2 - outward / options.grow, 0, 1), np.float32)


def enlarged(mask: Hidden, size: int) -> Float32[np.ndarray, "size size"]:
    """`mask` over a crop of `size` px."""
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def seen_only(target: Image, drawn: Image, covered: Mask) -> Image:
    """`target` where the face is seen, and behind what covers it whatever was drawn: so that nothing is learned there.

    Without this a generator tuned to the crops draws the hand into the face, and the edit moves it.
    """
    return torch.lerp(target, drawn.detach(), covered)


def in_colors_of(drawn: Image, seen: Image, covered: Mask) -> Image:
    """`drawn` with the mean and spread, channel by channel, that `seen` has where the face is not covered."""

    def moments(images: Image) -> tuple[Image, Image]:
        weight = (1 - covered) / (1 - covered).sum(dim=(2, 3), keepdim=True).clamp_min(1)
        mean = (images * weight).sum(dim=(2, 3), keepdim=True)
        return mean, ((images - mean).square() * weight).sum(dim=(2, 3), keepdim=True).sqrt()

    (mean, spread), (wanted_mean, wanted_spread) = moments(drawn), moments(seen)
    return ((drawn - mean) * wanted_spread / spread.clamp_min(1e-3) + wanted_mean).clamp(-1, 1)
