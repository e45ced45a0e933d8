"""Smoothing over time without lag, within one run of frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from stitchedit.arrays import Alpha
from stitchedit.images.depth import DEEP, to_levels
from stitchedit.measure.motion import along, source_flow

REACH = 3.0  # standard deviations
MOTION_REACH = 2.0  # likewise, along the motion, where every row more costs two optical flows
MOST_NEIGHBORS = 10  # rows on either side that are looked at along the motion; of more, every second or third
REMEMBERED = 2 * MOST_NEIGHBORS + 2  # rows, of up to 14 MB each
SOURCE_MISS = 20.0  # 8-bit levels by which the source may differ along its motion; beyond, it is not the same thing
GENERATED_MISS = 120.0  # likewise of the generated difference
MOVING_MISS = 40.0  # likewise of eyes and mouth: one that opens must not blur

Difference = Float32[np.ndarray, "size size rgb"]  # 8-bit levels


def smooth_rows(
    row_of: Callable[[int], np.ndarray], times_s: np.ndarray, runs: np.ndarray, sigma_s: float
) -> Callable[[int], np.ndarray]:
    """Smooth rows over time with a Gaussian, within their run.

    Each row is read once if rows are read in order.

    Args:
        times_s: `row`, ascending within a run.
        runs: `row`, number of the unbroken run of frames.
        sigma_s: 0 = nothing is smoothed.
    """
    if not sigma_s:
        return row_of
    remembered = lru_cache(maxsize=64)(row_of)

    def smoothed(row: int) -> np.ndarray:
        apart = (times_s - times_s[row]) / sigma_s
        near = np.flatnonzero((runs == runs[row]) & (np.abs(apart) <= REACH))
        weights = np.exp(-0.5 * np.square(apart[near]))
        weighed = sum(weight * remembered(int(other)) for weight, other in zip(weights, near, strict=True))
        return np.asarray(weighed / weights.sum(), np.float32)

    return smoothed


@dataclass(frozen=True)
class GeneratedFace:
    """A face and its generated crops, of one size, in 8-bit levels or as `depth` stores them."""

    source: np.ndarray  # `size size rgb`
    before: np.ndarray  # `size size rgb`, without the edit
    after: np.ndarray  # `size size rgb`, with it
    moving: Alpha  # 1 = eyes and mouth, which move by themselves

    def in_levels(self) -> "GeneratedFace":
        """Images in 8-bit levels: float32 of stored hundredths, else unchanged."""
        if DEEP not in (self.source.dtype, self.before.dtype, self.after.dtype):
            return self
        return replace(self, source=to_levels(self.source), before=to_levels(self.before), after=to_levels(self.after))


def neighbors(row: int, times_s: np.ndarray, runs: np.ndarray, sigma_s: float) -> list[int]:
    """Other rows of the same run that `row` is smoothed with."""
    near = np.flatnonzero((runs == runs[row]) & (np.abs(times_s - times_s[row]) <= MOTION_REACH * sigma_s + 1e-6))
    stride = -(-max((near < row).sum(), (near > row).sum()) // MOST_NEIGHBORS)
    if stride > 1:  # the same rows for the next one, or their means would differ
        near = near[near % stride == 0]
    return [int(other) for other in near if other != row]


def steady_crops(
    face_of: Callable[[int], GeneratedFace], times_s: np.ndarray, runs: np.ndarray, sigma_s: float
) -> Callable[[int], GeneratedFace]:
    """Remove flicker between generated faces, in 8-bit levels.

    A generator renders each frame a little differently. Two differences are averaged along the motion of the source,
    which does not flicker: what the generator missed, and what the edit changed. Eyes and mouths are averaged less, so
    that one that opens is not blurred. The grain of the source stays, as it is part of what the generator missed.

    Args:
        times_s: `row`, ascending within a run.
        runs: `row`, number of the unbroken run of frames.
        sigma_s: of a Gaussian over time; 0 = no smoothing.
    """
    if not sigma_s:
        return lambda row: face_of(row).in_levels()
    remembered = lru_cache(maxsize=REMEMBERED)(face_of)  # as it is stored, or it would take twice the memory

    def steadied(row: int) -> GeneratedFace:
        face = remembered(row).in_levels()
        near = neighbors(row, times_s, runs, sigma_s)
        shares = np.exp(-0.5 * np.square((times_s[near] - times_s[row]) / sigma_s)).tolist()
        missed, changed = _mean_along_motion(face, [remembered(other) for other in near], shares)
        before = face.source - missed
        return replace(face, before=before, after=before + changed)

    return steadied


def _mean_along_motion(
    face: GeneratedFace, others: Sequence[GeneratedFace], shares: Sequence[float]
) -> tuple[Difference, Difference]:
    """Reconstruction error and edit of `face`, each averaged with those of `others`."""
    own = _differences(face)
    total, weights = own.copy(), np.ones(own.shape[:2], np.float32)
    narrow = face.moving / MOVING_MISS**2 + (1 - face.moving) / GENERATED_MISS**2
    for stored, share in zip(others, shares, strict=True):
        other = stored.in_levels()
        flow, trusted = source_flow(other.source, face.source)
        moved = along(_differences(other), flow)
        source_missed = np.abs(along(other.source.astype(np.float32), flow) - face.source).mean(axis=2)
        generated_missed = np.abs(moved - own).reshape(*own.shape[:2], 2, 3).mean(axis=3).sum(axis=2)
        alike = np.exp(-np.square(cv2.GaussianBlur(source_missed, (0, 0), 2.0) / SOURCE_MISS))
        alike *= np.exp(-np.square(cv2.GaussianBlur(generated_missed, (0, 0), 1.0)) * narrow)
        weight = share * alike * cv2.GaussianBlur(trusted.astype(np.float32), (0, 0), 1.5)
        total += weight[..., None] * moved
        weights += weight
    mean = total / weights[..., None]
    return mean[..., :3], mean[..., 3:]


def _differences(face: GeneratedFace) -> Float32[np.ndarray, "size size channel"]:
    """Reconstruction error and edit, concatenated."""
    before = face.before.astype(np.float32)
    return np.concatenate([face.source - before, face.after - before], axis=2)
