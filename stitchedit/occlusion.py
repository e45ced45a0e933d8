"""What is in front of a face? Hands, a microphone, a cup: found crop by crop, steadied over time, left in front."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage

from stitchedit.arrays import Image, Mask

SIDE = 64  # px, of a crop as a mask shows it

Likelihood = Float[np.ndarray, "64 64"]  # that something is in front
Hidden = Float32[np.ndarray, "64 64"]  # 0 = the face is seen, 1 = something is in front


@dataclass(frozen=True)
class OcclusionOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different pixels

    look: bool = True  # false: whatever is in front is painted over, as published
    certain: float = 0.85  # likelihood that something must reach somewhere to be in front
    likely: float = 0.45  # what is joined to it and so likely belongs to it
    smallest: float = 0.002  # of the crop; smaller things are left to be painted over
    grow: float = 1.0  # px of 64, by which what was found is widened before it fades out over as many
    smooth_s: float = 0.03  # s, sigma, over time; as long before a frame as after it

    def __post_init__(self) -> None:
        if not 0 < self.likely <= self.certain < 1:
            raise ValueError(
                f"occlude.likely and occlude.certain must be between 0 and 1 and in this order, "
                f"got {self.likely:g} and {self.certain:g}"
            )
        if min(self.smallest, self.grow, self.smooth_s) < 0:
            raise ValueError(
                "occlude.smallest, occlude.grow and occlude.smooth_s must be >= 0, "
                f"got {self.smallest:g}, {self.grow:g} and {self.smooth_s:g}"
            )


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
