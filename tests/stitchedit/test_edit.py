import numpy as np
import pytest
import torch

from stitchedit.edit import Moments, edit_codes, fade, ramp, share_of
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.options.edit import EditOptions, describe, parse_edit, parse_layers, parse_ramp

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


@pytest.mark.parametrize("strength", ["much", "2,5", "--2", "nan", "-inf", "1_0", "٣"])
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


def moments(frames: list[int], shots: list[int]) -> Moments:
    """Faces of these frames at 10 frames/s."""
    numbers = np.array(frames)
    return Moments(numbers, np.arange(len(shots)) / 10, np.array(shots))


def test_a_face_that_comes_and_goes_amid_a_shot_is_edited_little_by_little() -> None:
    share = fade(moments([3, 4, 5, 6, 7], [0] * 12), fade_s=0.2)
    np.testing.assert_allclose(share, [0, 0.5, 1, 0.5, 0], atol=1e-9)


def test_a_face_that_comes_in_slow_footage_is_edited_at_once() -> None:
    every_second = Moments(np.array([1, 2, 4]), np.arange(6.0), np.zeros(6, int))
    np.testing.assert_array_equal(fade(every_second, fade_s=0.25), np.ones(3))


def test_a_face_that_is_there_at_a_cut_or_at_the_clips_end_does_not_fade() -> None:
    cut = moments([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(fade(cut, fade_s=0.2), np.ones(6))


def test_two_tracks_without_a_gap_are_one_appearance() -> None:
    """`frames` says when the face is seen; that the track's number changed on the way is of no matter."""
    assert fade(moments([0, 1, 2, 3], [0] * 4), fade_s=1.0).min() == 1


def test_no_fade_is_the_whole_edit_at_once() -> None:
    np.testing.assert_array_equal(fade(moments([3, 4], [0] * 9), fade_s=0.0), [1, 1])


def test_an_edit_has_its_own_share_in_each_shot() -> None:
    options = EditOptions({"smile": 1.0}, shots={"smile": "1:0.5"}, fade_s=0)
    np.testing.assert_array_equal(share_of("smile", options, moments([0, 1, 2, 3], [0, 0, 1, 1])), [1, 1, 0.5, 0.5])


@pytest.mark.parametrize("text", ["", "1", "1:", "a:1", "-1:1", "0:nan"])
def test_shots_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="Shots"):
        EditOptions({"smile": 1.0}, shots={"smile": text})


def test_options_for_some_edits_keep_only_what_is_theirs() -> None:
    options = EditOptions({"smile": 1.0, "age": 2.0}, layers={"age": "4-9"}, ramps={"smile": "0:0,1:1"})
    assert options.only({"age": -1.0}) == EditOptions({"age": -1.0}, layers={"age": "4-9"})
