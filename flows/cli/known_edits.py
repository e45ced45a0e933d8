"""Edit directions with useful strengths and measured effects, as `stitchedit edits` prints them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stitchedit.train.directions import side_effects
from tasks.runtime.pretrained import pretrained

DESCRIPTIONS = Path(__file__).parents[2] / "configs" / "directions.yaml"
SHOWN = 2  # side effects
MIN_EFFECT = 0.15  # standard deviations; smaller side effects are not shown


@dataclass(frozen=True)
class KnownEdit:
    """One edit direction, described for users. All effects are means over generated faces."""

    name: str
    minus: str  # effect of a negative strength
    plus: str  # effect of a positive strength
    useful: str  # useful range of strengths
    unit: str  # effect of a strength of 1
    besides: str  # side effects at `strength`, in standard deviations
    identity: float  # distance to the unedited face at `strength`, dlib's scale: below .6 is the same person
    strength: float  # at which the effects were measured
    layers: str  # rows of the code that the direction moves


def known_edits() -> list[KnownEdit]:
    """All edits in the order of configs/directions.yaml."""
    descriptions = yaml.safe_load(DESCRIPTIONS.read_text(encoding="utf-8"))
    measured = measured_effects()
    return [_known_edit(name, entry, measured) for name, entry in descriptions.items()]


def measured_effects() -> dict[str, Any]:
    """Effects measured by `stitchedit train directions`; stitchedit/weights/README.md explains the fields."""
    path = pretrained()["directions"].locate().with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _known_edit(name: str, description: Mapping[str, Any], measured: Mapping[str, Any]) -> KnownEdit:
    low, high = description["useful"]
    found = measured["directions"][name]
    change = found["effects"][found["score"]] / found["strength"] * description["times"]
    changes = side_effects(found["effects"], measured["deviations"], {found["score"]})
    shown = [f"{score} {value:+.1f}" for score, value in changes.items() if abs(value) >= MIN_EFFECT][:SHOWN]
    return KnownEdit(
        name=name,
        minus=description["minus"],
        plus=description["plus"],
        useful=f"{low:+g} to {high:+g}",
        unit=f"{change:+.1f} {description['unit']}",
        besides=", ".join(shown) or "little",
        identity=round(found["identity"], 2),
        strength=found["strength"],
        layers=found["layers"],
    )
