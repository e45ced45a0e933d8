"""Is an edit good enough? Numbers of a track against bounds: pass, review or fail."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

VERDICTS = ("pass", "review", "fail")  # from the best to the worst


@dataclass(frozen=True)
class MeasureOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different numbers

    tl_id_review: float = 0.005  # |1 - TL-ID|
    tl_id_fail: float = 0.02
    tg_id_review: float = 0.02  # |1 - TG-ID|
    tg_id_fail: float = 0.10
    ring_review: float = 2.0  # 8-bit levels, mean of the track
    ring_fail: float = 5.0
    warp_review: float = 1.10  # warp error of the result over that of the source
    warp_fail: float = 1.50
    lpips_review: float = 0.10  # of the tuned reconstruction
    lpips_fail: float = 0.20
    outside_review: float = 0.0  # 8-bit levels; anything more is a fault of ours
    outside_fail: float = 0.0
    strength_review: float = 0.1  # standard deviations the edited score has to move, the way that was asked for
    scored_faces: int = 24  # of a track, evenly spread, on which attributes and reconstruction are measured
    worst: int = 6  # frames named of a track

    def __post_init__(self) -> None:
        for name in BOUNDED:
            review, fail = getattr(self, f"{name}_review"), getattr(self, f"{name}_fail")
            if not 0 <= review <= fail:
                raise ValueError(
                    f"measure.{name}_review and measure.{name}_fail must be 0 or more and in this order, "
                    f"got {review:g} and {fail:g}"
                )
        for name in ("scored_faces", "worst"):
            if getattr(self, name) < 1:
                raise ValueError(f"measure.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Verdict:
    """What is to happen with an edit, and why it is not `pass`."""

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
    """The verdict on one track. A number that could not be measured has to be looked at by somebody.

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
    told = text.format(value=value, distance=distance)
    for verdict in ("fail", "review"):
        bound = getattr(options, f"{name}_{verdict}")
        if distance > bound:
            return Verdict(verdict, (f"{told}, {verdict} from {bound:g}",))
    return Verdict("pass")
