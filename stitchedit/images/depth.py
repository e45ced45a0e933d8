"""Stored images: integer 8-bit levels, or hundredths of a level for sources of more than 8 bits.

Hundredths are finer than the codes of 14 bits, and leave room on either side of [0, 255] for what codecs and the gamut
of HDR footage put there.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

SHALLOW, DEEP = np.dtype(np.uint8), np.dtype(np.uint16)
PER_LEVEL, ZERO = 100, 25600  # codes of a deep image; it holds -256 to 399.35 levels
OPAQUE = {SHALLOW: 255, DEEP: 65535}  # alpha where the patch hides the frame

StoredLevels = Shaped[np.ndarray, "..."]  # uint8 or uint16
Levels = Shaped[np.ndarray, "..."]  # uint8, or float32 in 8-bit levels


def to_stored(levels: Levels, dtype: np.dtype[Any]) -> StoredLevels:
    """Codes of `levels` in `dtype`, which is SHALLOW or DEEP."""
    if dtype == levels.dtype == SHALLOW:
        return levels
    deep = dtype != SHALLOW
    codes = np.float32(PER_LEVEL) * levels + np.float32(ZERO) if deep else levels
    return np.asarray(np.rint(codes).clip(0, np.iinfo(dtype).max).astype(dtype))


def to_levels(codes: StoredLevels) -> Levels:
    """8-bit levels: float32 of uint16; uint8, and what is levels already, unchanged."""
    if codes.dtype != DEEP:
        return codes
    return (codes.astype(np.float32) - np.float32(ZERO)) / np.float32(PER_LEVEL)


def to_stored_alpha(alpha: Float[np.ndarray, "..."], dtype: np.dtype[Any]) -> StoredLevels:
    """Codes of `alpha` in [0, 1]."""
    return np.asarray(np.rint(alpha * OPAQUE[np.dtype(dtype)]).astype(dtype))
