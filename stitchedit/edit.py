"""Move codes along directions: the edit itself."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from stitchedit.arrays import Direction, Latent
from stitchedit.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class EditOptions:
    revision: ClassVar[int] = 1

    strengths: dict[str, float] = field(default_factory=dict)  # direction -> strength; see `stitchedit edits`
    max_strength: float = 12.0  # refuse more: far outside the space the generator knows, nothing but artefacts comes
    layers: dict[str, str] = field(default_factory=dict)  # direction -> rows, such as 4-9; no others of it are applied
    ramps: dict[str, str] = field(default_factory=dict)  # direction -> s:share,...: how much of it when, see `ramp`
    directions: str | None = None  # file of your own directions, made by `stitchedit directions fit`

    def __post_init__(self) -> None:
        for name, strength in self.strengths.items():
            if not abs(strength) <= self.max_strength:  # also NaN
                raise InputError(
                    f"Strength of {name!r} is {strength:g}; it must lie within ±{self.max_strength:g} "
                    "(edit.max_strength). `stitchedit edits` shows what is useful."
                )
        for option, parse in (("layers", parse_layers), ("ramps", parse_ramp)):
            for name, text in getattr(self, option).items():
                if name not in self.strengths:
                    raise InputError(f"edit.{option}.{name} is of no use: there is no edit {name!r}.")
                parse(text)


def edit_codes(
    codes: Latent, directions: Mapping[str, Direction], options: EditOptions, times_s: np.ndarray | None = None
) -> Latent:
    """`codes` moved by strength times direction.

    Args:
        times_s: `face`, s from the first frame; needed for ramps only.

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
        if name in options.ramps:
            assert times_s is not None
            share = ramp(parse_ramp(options.ramps[name]), times_s)
            edited += torch.from_numpy(strength * share).to(codes)[:, None, None] * direction
        else:
            edited += strength * direction
    return edited


def ramp(points: tuple[tuple[float, float], ...], times_s: np.ndarray) -> np.ndarray:
    """Share of an edit at each time: straight lines between `points` (s, share), and level before and after them."""
    seconds, shares = zip(*points, strict=True)
    return np.asarray(np.interp(times_s, seconds, shares))


def parse_ramp(text: str) -> tuple[tuple[float, float], ...]:
    """`0:0,2:1` as 0 at 0 s, growing to 1 at 2 s.

    Raises:
        InputError: not of that form, or the seconds do not ascend.
    """
    try:
        points = tuple((float(second), float(share)) for second, share in (part.split(":") for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"Ramp {text!r} is not SECONDS:SHARE,..., such as 0:0,2:1.") from error
    seconds = [second for second, _ in points]
    if not all(math.isfinite(number) for point in points for number in point) or seconds != sorted(set(seconds)):
        raise InputError(f"Ramp {text!r} has to have finite numbers, and seconds that ascend, such as 0:0,2:1.")
    return points


def parse_layers(text: str) -> range:
    """`4-9` as the rows 4 to 9 of a W+ code, both included.

    Raises:
        InputError: not of that form.
    """
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"Layers {text!r} are not FIRST-LAST, such as 4-9.")
    return range(int(match[1]), int(match[2]) + 1)


def _only(direction: Direction, rows: range) -> Direction:
    """`direction` in `rows`, zero elsewhere."""
    kept = torch.zeros_like(direction)
    kept[rows.start : rows.stop] = direction[rows.start : rows.stop]
    return kept


def parse_edit(text: str) -> tuple[str, float]:
    """`smile=+2` as (`smile`, 2.0).

    Raises:
        InputError: not of that form, or the strength is not a number.
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\S+)\s*", text)
    if match is None:
        raise InputError(f"Edit {text!r} is not NAME=STRENGTH, such as smile=+2.")
    name, strength = match.groups()
    try:
        number = float(strength)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"Strength {strength!r} of edit {name!r} is not a number. Write it as in {name}=+2.")
    return name.replace("-", "_"), number


def describe(strengths: Mapping[str, float]) -> str:
    """`smile+2_age-3`: an edit as part of a file name."""
    return "_".join(f"{name}{strength:+g}" for name, strength in strengths.items()) or "unedited"
