import json

from flows.edits import known_edits
from stitchedit.edit import EditOptions
from storage.state_dict import load_tensors
from tasks.pretrained import pretrained

DIRECTIONS = pretrained()["directions"].locate()


def test_every_direction_is_listed_and_no_other() -> None:
    assert {edit.name for edit in known_edits()} == set(load_tensors(DIRECTIONS))


def test_more_of_a_direction_is_more_of_what_it_is_named_for() -> None:
    assert [edit.name for edit in known_edits() if not edit.unit.startswith("+")] == []


def test_what_a_strength_of_1_does_is_as_measured() -> None:
    years = json.loads(DIRECTIONS.with_suffix(".json").read_text())["effect_per_unit"]["age"]["age"]

    (age,) = (edit for edit in known_edits() if edit.name == "age")

    assert age.unit == f"{years:+.1f} years"


def test_useful_strengths_go_both_ways_and_are_allowed() -> None:
    limit = EditOptions().max_strength
    for edit in known_edits():
        low, high = map(float, edit.useful.split(" to "))

        assert -limit <= low < 0 < high <= limit
