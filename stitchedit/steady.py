"""Smoothing over time that neither lags nor crosses from one run of frames into another."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

REACH = 3.0  # standard deviations


def smoothed_rows(
    row_of: Callable[[int], np.ndarray], times_s: np.ndarray, runs: np.ndarray, sigma_s: float
) -> Callable[[int], np.ndarray]:
    """What `row_of` gives, weighed with the rows of the same run before and after by a Gaussian in seconds.

    A row is asked for once if rows are wanted in order.

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
