"""Edits: directions, strengths, times and layers, and their text forms."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from stitchedit.errors import InputError

ROWS = 16  # of a W+ code
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")  # as people write them, not as Python


@dataclass(frozen=True)
class EditOptions:
    strengths: dict[str, float] = field(default_factory=dict)  # direction -> strength; see `stitchedit edits`
    max_strength: float = 12.0  # refuse more: far outside the space the generator knows, nothing but artefacts comes
    layers: dict[str, str] = field(default_factory=dict)  # direction -> rows, such as 4-9; no others of it are applied
    ramps: dict[str, str] = field(default_factory=dict)  # direction -> s:share,...: how much of it when, see `ramp`
    shots: dict[str, str] = field(default_factory=dict)  # direction -> number:share,...: how much of it in which shot
    fade_s: float = 0.25  # a face that comes or goes within a shot is edited so gradually; 0 = at once
    directions: str | None = None  # file of your own directions, made by `stitchedit directions fit`

    def __post_init__(self) -> None:
        if not self.max_strength > 0:
            raise InputError(f"edit.max_strength must be > 0, got {self.max_strength:g}.")
        for name, strength in self.strengths.items():
            if not abs(strength) <= self.max_strength:  # also NaN
                raise InputError(
                    f"Strength of {name!r} is {strength:g}; it must lie within ±{self.max_strength:g} "
                    "(edit.max_strength). `stitchedit edits` shows what is useful."
                )
        if not self.fade_s >= 0:
            raise InputError(f"edit.fade_s must be 0 s or more, got {self.fade_s:g}.")
        kinds: dict[str, Callable[[str], object]] = {"layers": parse_layers, "ramps": parse_ramp, "shots": parse_shots}
        for option, parse in kinds.items():
            for name, text in getattr(self, option).items():
                if name not in self.strengths:
                    raise InputError(f"edit.{option}.{name} is of no use: there is no edit {name!r}.")
                parse(text)
        for name in {*self.ramps, *self.shots}:
            self._check_peak(name)

    def _check_peak(self, name: str) -> None:
        """Refuse shares that take a strength beyond what is allowed."""
        ramp = max(abs(share) for _, share in parse_ramp(self.ramps[name])) if name in self.ramps else 1.0
        shots = parse_shots(self.shots[name]).values() if name in self.shots else ()
        peak = abs(self.strengths[name]) * ramp * max([1.0, *map(abs, shots)])
        if peak > self.max_strength:
            raise InputError(
                f"The shares of {name!r} (edit.ramps, edit.shots) take its strength to {peak:g}; it must lie within "
                f"±{self.max_strength:g} (edit.max_strength). Give shares up to 1, or a lower strength."
            )

    @property
    def colors_lips(self) -> bool:
        """True if the color of lips is edited."""
        return bool(self.strengths.get("lipstick"))

    def only(self, strengths: Mapping[str, float]) -> Self:
        """The same for these edits alone."""

        def kept(texts: Mapping[str, str]) -> dict[str, str]:
            return {name: text for name, text in texts.items() if name in strengths}

        layers, ramps, shots = map(kept, (self.layers, self.ramps, self.shots))
        return replace(self, strengths=dict(strengths), layers=layers, ramps=ramps, shots=shots)


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


def parse_shots(text: str) -> dict[int, float]:
    """`0:1,2:0.5` as all of it in shot 0 and half in shot 2.

    Raises:
        InputError: not of that form.
    """
    try:
        shares = {int(shot): float(share) for shot, share in (part.split(":") for part in text.split(","))}
    except ValueError as error:
        raise InputError(f"Shots {text!r} are not NUMBER:SHARE,..., such as 0:1,2:0.5.") from error
    if min(shares) < 0 or not all(math.isfinite(share) for share in shares.values()):
        raise InputError(f"Shots {text!r} have to be numbered from 0, each with a finite share, such as 0:1,2:0.5.")
    return shares


def parse_layers(text: str) -> range:
    """`4-9` as the rows 4 to 9 of a W+ code, both included.

    Raises:
        InputError: not of that form.
    """
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"Layers {text!r} are not FIRST-LAST, such as 4-9.")
    if int(match[2]) >= ROWS:
        raise InputError(f"Layers {text.strip()} do not exist: a code has rows 0 to {ROWS - 1}.")
    return range(int(match[1]), int(match[2]) + 1)


def parse_edit(text: str) -> tuple[str, float]:
    """`smile=+2` as (`smile`, 2.0).

    Raises:
        InputError: not of that form, or the strength is not a number.
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\S+)\s*", text)
    if match is None:
        raise InputError(f"Edit {text!r} is not NAME=STRENGTH, such as smile=+2.")
    name, strength = match.groups()
    number = float(strength) if NUMBER.fullmatch(strength) else math.nan
    if not math.isfinite(number):
        raise InputError(f"Strength {strength!r} of edit {name!r} is not a number. Write it as in {name}=+2.")
    return name.replace("-", "_"), number


def describe(strengths: Mapping[str, float]) -> str:
    """`smile+2_age-3`: an edit as part of a file name."""
    return "_".join(f"{name}{strength:+g}" for name, strength in strengths.items()) or "unedited"
