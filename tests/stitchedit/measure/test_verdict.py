import math
from typing import Any

import numpy as np
import pytest

from stitchedit.measure.verdict import Verdict, judge, judge_footage, worst_of
from stitchedit.options.measure import MeasureOptions

OPTIONS = MeasureOptions()
GOOD = {"tl_id": 1.001, "tg_id": 0.99, "ring": 1.5, "warp": 1.05, "lpips": 0.04, "outside": 0.0}
MOVED = {"smile": 1.4}


def test_an_edit_within_all_bounds_passes() -> None:
    assert judge(GOOD, MOVED, OPTIONS) == Verdict("pass")


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"ring": 3.1}, "review", "ring error is 3.10 levels, review from 2"),
        ({"ring": 6.0}, "fail", "ring error is 6.00 levels, fail from 5"),
        ({"tl_id": 1.006}, "review", "TL-ID is 1.0060, 0.0060 from 1, review from 0.005"),
        ({"tg_id": 0.85}, "fail", "TG-ID is 0.8500, 0.1500 from 1, fail from 0.1"),
        ({"warp": 1.2}, "review", "warp error is 1.20 times the source's, review from 1.1"),
        ({"outside": 1.0}, "fail", "outside the mask it differs by 1 levels, fail from 0"),
        ({"tl_id": math.nan}, "review", "tl_id could not be measured"),
    ],
)
def test_a_number_beyond_its_bound_says_so(change: dict[str, float], verdict: str, reason: str) -> None:
    assert judge(GOOD | change, MOVED, OPTIONS) == Verdict(verdict, (reason,))


def test_an_edit_that_did_not_move_what_it_should_is_looked_at() -> None:
    assert judge(GOOD, {"smile": -0.5}, OPTIONS) == Verdict(
        "review", ("smile moved -0.50 deviations, review below 0.1",)
    )
    assert judge(GOOD, {"smile": math.nan}, OPTIONS).verdict == "review"


def test_the_worst_verdict_counts_and_every_reason_is_kept() -> None:
    found = [Verdict("review", ("a",)), Verdict("pass"), Verdict("fail", ("b", "c"))]
    assert worst_of(found) == Verdict("fail", ("a", "b", "c"))
    assert worst_of([]) == Verdict("pass")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ring_review": 6.0}, "measure.ring_review and measure.ring_fail must be 0 or more and in this order"),
        ({"tl_id_review": -0.1}, "measure.tl_id_review"),
        ({"worst": 0}, "measure.worst must be at least 1, got 0"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MeasureOptions(**options)


def test_damaged_footage_needs_a_review() -> None:
    frames = np.array([False, True, True, False])
    assert judge_footage(np.zeros(4, bool), intact=True) == Verdict("pass")
    assert judge_footage(frames, intact=False) == Verdict("review", ("2 of 4 source frames are damaged",))
    assert judge_footage(np.zeros(4, bool), intact=False) == Verdict("review", ("frames of the source are missing",))
