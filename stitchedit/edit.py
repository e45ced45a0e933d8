"""Move codes along directions: the edit itself."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from stitchedit.arrays import Direction, Latent
from stitchedit.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class EditOptions:
    revision: ClassVar[int] = 1

    strengths: dict[str, float] = field(default_factory=dict)  # direction -> strength; see `stitchedit edits`
    max_strength: float = 12.0  # refuse more: far outside the space the generator knows, nothing but artefacts comes
    layers: dict[str, str] = field(default_factory=dict)  # direction -> rows, such as 4-9; no others of it are applied
    directions: str | None = None  # file of your own directions, made by `stitchedit directions fit`

    def __post_init__(self) -> None:
        for name, strength in self.strengths.items():
            if not abs(strength) <= self.max_strength:  # also NaN
                raise InputError(
                    f"Strength of {name!r} is {strength:g}; it must lie within ±{self.max_strength:g} "
                    "(edit.max_strength). `stitchedit edits` shows what is useful."
                )
        for name, layers in self.layers.items():
            if name not in self.strengths:
                raise InputError(f"edit.layers.{name} is of no use: there is no edit {name!r}.")
            parse_layers(layers)


def edit_codes(codes: Latent, directions: Mapping[str, Direction], options: EditOptions) -> Latent:
    """`codes` moved by strength times direction.

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
        edited += strength * direction
    return edited


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
