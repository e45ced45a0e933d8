"""Move codes along directions: the edit itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from stitchedit.errors import UnknownNameError
from stitchedit.options.edit import EditOptions, parse_layers, parse_ramp, parse_shots
from stitchedit.tensors import Direction, Latent


@dataclass(frozen=True)
class Moments:
    """Times and shots of the faces of one person."""

    frames: np.ndarray  # `face`, number of the frame; ascending
    clip_times_s: np.ndarray  # `frame`, s from the first frame of the clip
    shots: np.ndarray  # `frame`, number of the shot that each frame of the clip belongs to

    @property
    def times_s(self) -> np.ndarray:
        """Seconds of each face from the first frame of the clip."""
        return np.asarray(self.clip_times_s[self.frames])


def edit_codes(
    codes: Latent, directions: Mapping[str, Direction], options: EditOptions, moments: Moments | None = None
) -> Latent:
    """Move `codes` by strength times direction; without `moments`, all of them by the full strength.

    Raises:
        UnknownNameError: an edit names no direction.
    """
    edited = codes.clone()
    for name, strength in options.strengths.items():
        if name not in directions:
            raise UnknownNameError("direction", name, directions)
        direction = directions[name].to(codes)
        if name in options.layers:
            direction = _only(direction, parse_layers(options.layers[name]))
        share = share_of(name, options, moments) if moments else np.ones(1)
        edited += torch.from_numpy(strength * share).to(codes)[:, None, None] * direction
    return edited


def share_of(name: str, options: EditOptions, moments: Moments) -> np.ndarray:
    """Share of the edit `name` per face, `face`: by ramp, shot, and fade."""
    share = fade(moments, options.fade_s)
    if name in options.ramps:
        share = share * ramp(parse_ramp(options.ramps[name]), moments.times_s)
    if name in options.shots:
        by_shot = parse_shots(options.shots[name])
        share = share * np.array([by_shot.get(int(shot), 1.0) for shot in moments.shots[moments.frames]])
    return share


def fade(moments: Moments, fade_s: float) -> np.ndarray:
    """Share of the edit at appearances and disappearances within a shot, `face`: from 0 rising to 1.

    A cut, and the clip's own ends, are no reason to fade; nor is a frame that is shown for `fade_s` or longer, or a
    face in slow footage would go without its edit for a second.
    """
    share, frames = np.ones(len(moments.frames)), moments.frames
    if not fade_s:
        return share
    shots = moments.shots[frames]
    apart = (np.diff(frames) > 1) | (np.diff(shots) != 0)
    starts, stops = np.flatnonzero(np.r_[True, apart]), np.flatnonzero(np.r_[apart, True])
    for first, last in zip(starts, stops, strict=True):
        rows, times_s = slice(first, last + 1), moments.times_s[first : last + 1]
        if _neighbors(moments, frames[first] - 1, frames[first], fade_s):
            share[rows] = np.minimum(share[rows], (times_s - times_s[0]) / fade_s)
        if _neighbors(moments, frames[last], frames[last] + 1, fade_s):
            share[rows] = np.minimum(share[rows], (times_s[-1] - times_s) / fade_s)
    return share


def _neighbors(moments: Moments, frame: int, following: int, longest_s: float) -> bool:
    """Compare two frames: both visible, in one shot and within that time."""
    if frame < 0 or following >= len(moments.shots) or moments.shots[frame] != moments.shots[following]:
        return False
    return bool(moments.clip_times_s[following] - moments.clip_times_s[frame] < longest_s)


def ramp(points: tuple[tuple[float, float], ...], times_s: np.ndarray) -> np.ndarray:
    """Share of an edit at each time: straight lines between `points` (s, share), and level before and after them."""
    seconds, shares = zip(*points, strict=True)
    return np.asarray(np.interp(times_s, seconds, shares))


def _only(direction: Direction, rows: range) -> Direction:
    """`direction` in `rows`, zero elsewhere."""
    kept = torch.zeros_like(direction)
    kept[rows.start : rows.stop] = direction[rows.start : rows.stop]
    return kept
