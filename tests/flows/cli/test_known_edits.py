import pytest

from flows.cli.known_edits import known_edits, measured_effects
from stitchedit.options.edit import EditOptions
from storage.weights.state_dict import load_tensors
from tasks.runtime.pretrained import pretrained

SAME_PERSON = 0.6  # dlib's own threshold


def test_every_direction_is_listed_and_no_other() -> None:
    assert {edit.name for edit in known_edits()} == set(load_tensors(pretrained()["directions"].locate()))


def test_a_positive_strength_increases_the_named_attribute() -> None:
    assert [edit.name for edit in known_edits() if not edit.unit.startswith("+")] == []


def test_the_effect_of_a_strength_of_1_is_the_measured_one() -> None:
    measured = measured_effects()["directions"]["age"]
    years = measured["effects"]["age"] / measured["strength"]

    (age,) = (edit for edit in known_edits() if edit.name == "age")

    assert age.unit == f"{years:+.1f} years"


def test_the_largest_side_effects_are_listed() -> None:
    measured = measured_effects()
    for edit in known_edits():
        found = measured["directions"][edit.name]
        relative = {
            score: abs(change) / measured["deviations"][score]
            for score, change in found["effects"].items()
            if score != found["score"]
        }
        worst = max(relative, key=lambda score: relative[score])

        assert edit.besides.startswith(f"{worst} ") or relative[worst] < 0.15


@pytest.mark.parametrize("edit", known_edits(), ids=lambda edit: edit.name)
def test_a_direction_changes_its_own_score_most_and_keeps_the_identity(edit) -> None:
    measured = measured_effects()
    found, deviations = measured["directions"][edit.name], measured["deviations"]
    changes = {score: abs(change) / deviations[score] for score, change in found["effects"].items()}

    assert max(changes, key=lambda score: changes[score]) == found["score"]
    assert changes["gender"] < 0.2 or edit.name == "gender"
    assert edit.identity < SAME_PERSON


def test_useful_strengths_have_both_signs_and_are_within_the_limit() -> None:
    limit = EditOptions().max_strength
    for edit in known_edits():
        low, high = map(float, edit.useful.split(" to "))

        assert -limit <= low < 0 < high <= limit
