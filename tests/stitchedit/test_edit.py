import numpy as np
import pytest
import torch

from stitchedit.edit import EditOptions, describe, edit_codes, parse_edit, parse_layers, parse_ramp, ramp
from stitchedit.errors import InputError, UnknownNameError

DIRECTIONS = {"smile": torch.linspace(-1, 1, 10), "age": torch.arange(10.0)}


def test_every_layer_moves_by_strength_times_direction() -> None:
    codes = torch.randn(4, 8, 10)
    edited = edit_codes(codes, DIRECTIONS, EditOptions({"smile": 2.0, "age": -0.5}))

    torch.testing.assert_close(edited, codes + 2 * DIRECTIONS["smile"] - 0.5 * DIRECTIONS["age"])


def test_given_codes_stay_as_they_are() -> None:
    codes = torch.randn(2, 8, 10)
    before = codes.clone()
    edit_codes(codes, DIRECTIONS, EditOptions({"smile": 2.0}))

    assert torch.equal(codes, before)


def test_back_again_is_where_it_began() -> None:
    codes = torch.randn(2, 8, 10)
    there = edit_codes(codes, DIRECTIONS, EditOptions({"age": 3.0}))

    torch.testing.assert_close(edit_codes(there, DIRECTIONS, EditOptions({"age": -3.0})), codes, atol=1e-5, rtol=0)


def test_an_unknown_direction_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No direction 'agee'\. Did you mean 'age'\?"):
        edit_codes(torch.zeros(1, 8, 10), DIRECTIONS, EditOptions({"agee": 1.0}))


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("smile=+2", ("smile", 2.0)),
        ("age=-3.5", ("age", -3.5)),
        (" eyes-open = 1e0 ", ("eyes_open", 1.0)),
        ("eyes_open=.5", ("eyes_open", 0.5)),
    ],
)
def test_edits_are_read(text: str, edit: tuple[str, float]) -> None:
    assert parse_edit(text) == edit


@pytest.mark.parametrize("text", ["smile", "smile=", "=2", "", "smile+2", "smile=2 3"])
def test_what_is_no_edit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"is not NAME=STRENGTH, such as smile=\+2\."):
        parse_edit(text)


@pytest.mark.parametrize("strength", ["much", "2,5", "--2", "nan", "-inf"])
def test_a_strength_that_is_not_a_number_is_refused(strength: str) -> None:
    with pytest.raises(InputError, match=rf"Strength '{strength}' of edit 'age' is not a number"):
        parse_edit(f"age={strength}")


@pytest.mark.parametrize("strength", [12.5, -13.0, float("nan")])
def test_a_strength_beyond_use_is_refused(strength: float) -> None:
    with pytest.raises(InputError, match=r"must lie within ±12 \(edit\.max_strength\)"):
        EditOptions({"age": strength})


def test_an_edit_has_a_name_for_files() -> None:
    assert describe({"smile": 2.0, "age": -3.5}) == "smile+2_age-3.5"
    assert describe({}) == "unedited"


def test_an_edit_may_be_held_to_some_layers() -> None:
    direction = torch.ones(8, 10)
    direction[6:] = 0  # of the direction's own making
    edited = edit_codes(torch.zeros(2, 8, 10), {"age": direction}, EditOptions({"age": 2.0}, layers={"age": "3-7"}))

    assert edited[0].any(dim=1).nonzero().flatten().tolist() == [3, 4, 5]
    assert (edited[:, 3:6] == 2).all()


def test_layers_are_first_and_last() -> None:
    assert list(parse_layers("4-6")) == [4, 5, 6]
    assert list(parse_layers("0-0")) == [0]


@pytest.mark.parametrize("text", ["4", "6-4", "4-", "-1-3", "a-b", "4:6"])
def test_other_layers_are_told_with_the_way_to_write_them(text: str) -> None:
    with pytest.raises(InputError, match="are not FIRST-LAST, such as 4-9"):
        EditOptions({"age": 1.0}, layers={"age": text})


def test_layers_of_an_edit_that_is_not_asked_for_are_refused() -> None:
    with pytest.raises(InputError, match=r"edit\.layers\.smile is of no use: there is no edit 'smile'"):
        EditOptions({"age": 1.0}, layers={"smile": "2-7"})


@pytest.mark.parametrize("text", ["", "1", "0:0,0:1", "2:0,1:1", "0:a", "0:0;1:1", "0:nan,1:1"])
def test_ramps_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="Ramp"):
        EditOptions({"smile": 1.0}, ramps={"smile": text})


def test_a_ramp_needs_an_edit() -> None:
    with pytest.raises(InputError, match=r"edit\.ramps\.age is of no use: there is no edit 'age'"):
        EditOptions({"smile": 1.0}, ramps={"age": "0:0,1:1"})


def test_a_ramp_is_level_before_its_first_point_and_after_its_last() -> None:
    shares = ramp(parse_ramp("1:0,3:1,4:0.5"), np.array([0.0, 1.0, 2.0, 3.0, 3.5, 9.0]))

    np.testing.assert_allclose(shares, [0, 0, 0.5, 1, 0.75, 0.5])
