"""Which edits there are, and how far to go: what `stitchedit edits` prints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stitchedit.train.directions import side_effects
from tasks.runtime.pretrained import pretrained

WORDS = Path(__file__).parents[2] / "configs" / "directions.yaml"
SHOWN = 2  # side effects
WORTH_TELLING = 0.15  # standard deviations


@dataclass(frozen=True)
class KnownEdit:
    """One edit direction, in words for people. All effects are means over generated faces."""

    name: str
    minus: str  # what a negative strength does
    plus: str
    useful: str  # range of strengths
    unit: str  # what a strength of 1 changes
    besides: str  # what else changes at a stated strength, in standard deviations
    identity: float  # how far the face is from itself then, in dlib's scale: below .6 is the same person
    strength: float  # the stated strength
    layers: str  # rows of the code that it moves


def known_edits() -> list[KnownEdit]:
    """Every edit, in the order of configs/directions.yaml."""
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    measured = measured_effects()
    return [_known_edit(name, entry, measured) for name, entry in words.items()]


def measured_effects() -> dict[str, Any]:
    """What `stitchedit train directions` found; stitchedit/weights/README.md tells how to read it."""
    path = pretrained()["directions"].locate().with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _known_edit(name: str, words: Mapping[str, Any], measured: Mapping[str, Any]) -> KnownEdit:
    low, high = words["useful"]
    found = measured["directions"][name]
    change = found["effects"][found["score"]] / found["strength"] * words["times"]
    besides = side_effects(found["effects"], measured["deviations"], {found["score"]})
    told = [f"{score} {value:+.1f}" for score, value in besides.items() if abs(value) >= WORTH_TELLING][:SHOWN]
    return KnownEdit(
        name=name,
        minus=words["minus"],
        plus=words["plus"],
        useful=f"{low:+g} to {high:+g}",
        unit=f"{change:+.1f} {words['unit']}",
        besides=", ".join(told) or "little",
        identity=round(found["identity"], 2),
        strength=found["strength"],
        layers=found["layers"],
    )
