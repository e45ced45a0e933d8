"""Verdict on an edit: numbers of a track against bounds."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from stitchedit.options.measure import MeasureOptions

VERDICTS = ("pass", "review", "fail")  # from the best to the worst


@dataclass(frozen=True)
class Verdict:
    """A verdict with its reasons."""

    verdict: str
    reasons: tuple[str, ...] = ()


# Number of a track -> what is compared with its bounds, and how that is called.
BOUNDED: dict[str, tuple[Callable[[float], float], str]] = {
    "tl_id": (lambda value: abs(1 - value), "TL-ID is {value:.4f}, {distance:.4f} from 1"),
    "tg_id": (lambda value: abs(1 - value), "TG-ID is {value:.4f}, {distance:.4f} from 1"),
    "ring": (lambda value: value, "ring error is {value:.2f} levels"),
    "warp": (lambda value: value, "warp error is {value:.2f} times the source's"),
    "lpips": (lambda value: value, "LPIPS of the reconstruction is {value:.3f}"),
    "outside": (lambda value: value, "outside the mask it differs by {value:g} levels"),
}


def judge(numbers: Mapping[str, float], moved: Mapping[str, float], options: MeasureOptions) -> Verdict:
    """Verdict on one track. A number that could not be measured needs a review.

    Args:
        numbers: by the names of BOUNDED.
        moved: edit -> standard deviations its own score moved the way that was asked for; NaN where it was not seen.
    """
    found = [_bounded(name, numbers.get(name, math.nan), options) for name in BOUNDED]
    for edit, deviations in moved.items():
        if math.isnan(deviations):
            found.append(Verdict("review", (f"{edit} could not be measured",)))
        elif deviations < options.strength_review:
            text = f"{edit} moved {deviations:+.2f} deviations, review below {options.strength_review:g}"
            found.append(Verdict("review", (text,)))
    return worst_of(found)


def judge_footage(damaged: np.ndarray, intact: bool) -> Verdict:
    """Verdict on the source: damaged or missing frames need a review, however well the others are edited.

    Args:
        damaged: bool `frame`; damaged, or predicted from a damaged frame.
        intact: no frame is damaged or missing.
    """
    if intact:
        return Verdict("pass")
    count = int(damaged.sum())
    text = f"{count} of {len(damaged)} source frames are damaged" if count else "frames of the source are missing"
    return Verdict("review", (text,))


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts, with the reasons of all."""
    found = list(verdicts)
    worst = max((one.verdict for one in found), key=VERDICTS.index, default="pass")
    return Verdict(worst, tuple(reason for one in found for reason in one.reasons))


def _bounded(name: str, value: float, options: MeasureOptions) -> Verdict:
    distance_of, text = BOUNDED[name]
    if math.isnan(value):
        return Verdict("review", (f"{name} could not be measured",))
    distance = distance_of(value)
    finding = text.format(value=value, distance=distance)
    for verdict in ("fail", "review"):
        bound = getattr(options, f"{name}_{verdict}")
        if distance > bound:
            return Verdict(verdict, (f"{finding}, {verdict} from {bound:g}",))
    return Verdict("pass")
