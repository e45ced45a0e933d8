"""Which edits there are, and how far to go: what `stitchedit edits` prints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.pretrained import pretrained

WORDS = Path(__file__).parents[1] / "configs" / "directions.yaml"


@dataclass(frozen=True)
class KnownEdit:
    """One edit direction, in words for people."""

    name: str
    minus: str  # what a negative strength does
    plus: str
    useful: str  # range of strengths
    unit: str  # what a strength of 1 changes on average, as measured on generated faces


def known_edits() -> list[KnownEdit]:
    """Every edit, in the order of configs/directions.yaml."""
    words = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    measured = json.loads(pretrained()["directions"].locate().with_suffix(".json").read_text(encoding="utf-8"))
    return [_known_edit(name, entry, measured["effect_per_unit"][name]) for name, entry in words.items()]


def _known_edit(name: str, words: Mapping[str, Any], effects: Mapping[str, float]) -> KnownEdit:
    low, high = words["useful"]
    change = effects[words["score"]] * words["times"]
    return KnownEdit(
        name=name,
        minus=words["minus"],
        plus=words["plus"],
        useful=f"{low:+g} to {high:+g}",
        unit=f"{change:+.1f} {words['unit']}",
    )
