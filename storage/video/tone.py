"""Invertible tone mapping of PQ and HLG footage to SDR, for editing and viewing.

Per channel: the transfer function of ITU-T H.273 (BT.2100), then Reinhard's extended curve (2002, equation 4) with
1 = the 203 cd/m2 of reference white (BT.2408). Then to the primaries of BT.709, and to the gamma 2.4 of BT.1886. Every
step is continuous and increasing, also outside [0, 255], so that the map is one-to-one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18  # transfer, as FFmpeg and ITU-T H.273 number it
WHITE = 203.0  # cd/m2, reference white: BT.2408
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # cd/m2 of the display, and its system gamma
GAMMA = 2.4
BELOW = 0.01  # slope below 0, in reference white per unit of signal
BAND_PX = 1 << 16  # pixels converted at a time, so that memory does not grow with the frame

M1, M2 = 2610 / 16384, 2523 / 4096 * 128  # SMPTE ST 2084
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK = 10000.0
A, B, C = 0.17883277, 0.28466892, 0.55991073  # ARIB STD-B67

BT709 = ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))  # chromaticities of red, green and blue; white is D65
PRIMARIES = {
    1: BT709,
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),  # P3, treated as P3-D65
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
BT2020 = ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))  # for all primaries that are not in the table
D65 = (0.3127, 0.329)

Values = np.ndarray  # float32
Curve = Callable[[Values], Values]


@dataclass(frozen=True)
class ToneMap:
    """Map from R'G'B' of one transfer and primaries to an SDR image, with its inverse."""

    light: Curve  # of E' in [0, 1], in units of reference white
    signal: Curve  # its inverse
    peak: float  # of the light
    matrix: Values  # `3 3`, linear light to BT.709

    def to_display(self, levels: np.ndarray) -> Values:
        """Map HDR R'G'B' to SDR, both `... rgb` in 8-bit levels.

        Colors outside BT.709 lie outside [0, 255].
        """
        return _by_band(self._to_display, levels)

    def to_coded(self, levels: np.ndarray) -> Values:
        """The inverse of `to_display`."""
        return _by_band(self._to_coded, levels)

    def _to_display(self, levels: Values) -> Values:
        mapped = _odd(lambda light: _reinhard(light, self.peak), _extended(self.light, self.peak, levels / 255))
        return _odd(lambda linear: linear ** np.float32(1 / GAMMA), mapped @ self.matrix.T) * 255

    def _to_coded(self, levels: Values) -> Values:
        linear = _odd(lambda shown: shown ** np.float32(GAMMA), levels / 255)
        light = _odd(lambda mapped: _expanded(mapped, self.peak), linear @ np.linalg.inv(self.matrix).T)
        return _retracted(self.signal, self.peak, light) * 255


@lru_cache(maxsize=8)
def tone_map(transfer: int, primaries: int) -> ToneMap | None:
    """Map of PQ or HLG footage; None if the transfer is SDR."""
    matrix = np.linalg.solve(_to_xyz(BT709), _to_xyz(PRIMARIES.get(primaries, BT2020))).astype(np.float32)
    if transfer == PQ:
        return ToneMap(_pq_light, _pq_signal, PQ_PEAK / WHITE, matrix)
    if transfer == HLG:
        return ToneMap(_hlg_light, _hlg_signal, HLG_PEAK / WHITE, matrix)
    return None


def _pq_light(signal: Values) -> Values:
    root = signal ** np.float32(1 / M2)
    light = (np.maximum(root - C1, 0) / (C2 - C3 * root)) ** np.float32(1 / M1)
    return np.asarray(light * (PQ_PEAK / WHITE))


def _pq_signal(light: Values) -> Values:
    root = (light * (WHITE / PQ_PEAK)) ** np.float32(M1)
    return np.asarray(((C1 + C2 * root) / (1 + C3 * root)) ** np.float32(M2))


def _hlg_light(signal: Values) -> Values:
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - C) / A) + B) / 12)
    return np.asarray(scene ** np.float32(HLG_GAMMA) * (HLG_PEAK / WHITE), np.float32)


def _hlg_signal(light: Values) -> Values:
    scene = (light * (WHITE / HLG_PEAK)) ** np.float32(1 / HLG_GAMMA)
    bright = A * np.log(np.maximum(12 * scene - B, 1e-6)) + C
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright), np.float32)


def _reinhard(light: Values, peak: float) -> Values:
    return np.asarray(light * (1 + light / peak**2) / (1 + light))


def _expanded(mapped: Values, peak: float) -> Values:
    """The inverse of `_reinhard`: the positive root of its quadratic, without cancellation."""
    rest = 1 - mapped
    root = np.sqrt(rest**2 + 4 * mapped / peak**2)
    return np.asarray(np.where(rest > 0, 2 * mapped / np.maximum(rest + root, 1e-9), (root - rest) * (peak**2 / 2)))


def _extended(light: Curve, peak: float, signal: Values) -> Values:
    """Light of a signal, extended linearly below 0 and above 1, which coding noise and filters can reach."""
    return np.asarray(light(signal.clip(0, 1)) + np.minimum(signal, 0) * BELOW + np.maximum(signal - 1, 0) * peak)


def _retracted(signal: Curve, peak: float, light: Values) -> Values:
    """The inverse of `_extended`."""
    return np.asarray(signal(light.clip(0, peak)) + np.minimum(light, 0) / BELOW + np.maximum(light - peak, 0) / peak)


def _odd(curve: Curve, values: Values) -> Values:
    return np.asarray(np.copysign(curve(np.abs(values)), values))


def _by_band(convert: Curve, levels: np.ndarray) -> Values:
    flat = levels.reshape(-1, 3)
    result = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), BAND_PX):
        rows = slice(start, start + BAND_PX)
        result[rows] = convert(flat[rows].astype(np.float32))
    return result.reshape(levels.shape)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Linear RGB to CIE XYZ, where white has Y = 1: SMPTE RP 177."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return np.asarray(columns * np.linalg.solve(columns, white))
