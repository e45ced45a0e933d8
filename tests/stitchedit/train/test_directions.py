"""Fitting directions to scores that we planted ourselves."""

import numpy as np
import pytest

from stitchedit.errors import InputError
from stitchedit.train.directions import (
    DirectionOptions,
    DirectionPlan,
    Effects,
    correct_directions,
    fit_directions,
    in_layers,
    regress,
    side_effects,
    signed_strength,
    summarize_effects,
)

CHANNELS = 24


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((600, CHANNELS))


@pytest.fixture(scope="module")
def axes() -> np.ndarray:
    """Two planted gradients, 60 degrees apart."""
    first, second = np.linalg.qr(np.random.default_rng(1).standard_normal((CHANNELS, 2)))[0].T
    return np.stack([first, 0.5 * first + np.sqrt(0.75) * second])


def plan(**directions: DirectionPlan) -> DirectionOptions:
    return DirectionOptions(fit=directions)


def test_regression_finds_the_planted_gradient(codes, axes):
    noise = 0.1 * np.random.default_rng(2).standard_normal(len(codes))
    found = regress(codes, codes @ axes[0] + noise, (0.1, 1.0, 10.0))
    assert found.gradient @ axes[0] / np.linalg.norm(found.gradient) > 0.995
    assert found.r_squared > 0.95


def test_regression_is_that_of_the_normal_equations(codes, axes):
    values = codes @ axes[0] + np.random.default_rng(2).standard_normal(len(codes))
    centered, target = codes - codes.mean(axis=0), (values - values.mean()) / values.std()
    expected = np.linalg.solve(centered.T @ centered + 7 * np.eye(CHANNELS), centered.T @ target)
    np.testing.assert_allclose(regress(codes, values, [7.0]).gradient, expected, atol=1e-10)


def test_a_score_that_w_says_nothing_of_has_no_r_squared(codes):
    assert regress(codes, np.random.default_rng(3).standard_normal(len(codes)), (100.0,)).r_squared < 0.05


def test_too_few_scores_are_refused(codes):
    values = np.full(len(codes), np.nan)
    values[:19] = np.arange(19)
    with pytest.raises(InputError, match="19 scores are too few to fit a direction: give 20"):
        regress(codes, values, (1.0,))


def test_scores_that_are_all_the_same_are_refused(codes):
    with pytest.raises(InputError, match=r"All 600 scores are 0\.3"):
        regress(codes, np.full(len(codes), 0.3), (1.0,))


def test_a_direction_leaves_the_other_attribute_alone(codes, axes):
    scores = {"first": codes @ axes[0], "second": codes @ axes[1]}
    fits, _ = fit_directions(codes, scores, plan(up=DirectionPlan("first")))
    assert abs(fits["up"].direction @ axes[1]) < 0.01
    assert fits["up"].direction @ axes[0] > 0.8
    assert np.linalg.norm(fits["up"].direction) == pytest.approx(1.0)
    assert fits["up"].left == pytest.approx(np.sin(np.deg2rad(60)), abs=0.01)


def test_an_attribute_that_may_change_along_is_not_taken_out(codes, axes):
    scores = {"first": codes @ axes[0], "second": codes @ axes[1]}
    fits, _ = fit_directions(codes, scores, plan(up=DirectionPlan("first", may_change=("second",))))
    assert fits["up"].direction @ axes[0] > 0.995
    assert fits["up"].left == pytest.approx(1.0)


def test_an_attribute_that_w_says_nothing_of_is_not_taken_out(codes, axes):
    scores = {"first": codes @ axes[0], "noise": np.random.default_rng(3).standard_normal(len(codes))}
    fits, readable = fit_directions(codes, scores, plan(up=DirectionPlan("first")))
    assert set(readable) == {"first"}
    assert fits["up"].left == pytest.approx(1.0)


def test_faces_without_a_score_are_left_out(codes, axes):
    values = codes @ axes[0]
    values[::7] = np.nan
    fits, _ = fit_directions(codes, {"first": values}, plan(up=DirectionPlan("first")))
    assert fits["up"].direction @ axes[0] > 0.995


def test_a_direction_for_a_score_that_there_is_none_of_is_refused(codes, axes):
    with pytest.raises(InputError, match=r"Direction 'up' is to follow 'frist'\. There are: first\."):
        fit_directions(codes, {"first": codes @ axes[0]}, plan(up=DirectionPlan("frist")))


def test_a_direction_moves_the_rows_it_is_for_and_no_other():
    spread = in_layers(np.arange(1.0, 4.0), "2-4", layers=6)
    assert np.flatnonzero(spread.any(axis=1)).tolist() == [2, 3, 4]
    assert (spread[2:5] == [1, 2, 3]).all()


def test_rows_that_a_code_does_not_have_are_refused():
    with pytest.raises(InputError, match="Layers 4-16 do not exist: a code has rows 0 to 15"):
        in_layers(np.ones(3), "4-16", layers=16)


def test_effects_count_faces_that_were_moved_back_the_other_way():
    gain = np.array([0.5, -0.2])
    before = np.random.default_rng(4).standard_normal((9, 2))
    after = before + np.array([signed_strength(face, 2.0) for face in range(9)])[:, None] * gain
    found = summarize_effects(before, after, np.linspace(0.1, 0.3, 9), ["first", "second"])
    assert found.changes == pytest.approx({"first": 1.0, "second": -0.4})
    assert found.identity == pytest.approx(0.2)
    assert found.faces == 9


def test_effects_leave_out_what_was_not_seen():
    before, after = np.zeros((4, 1)), np.array([[1.0], [-1.0], [np.nan], [np.nan]])
    found = summarize_effects(before, after, np.array([0.2, 0.4, np.nan, 0.3]), ["first"])
    assert found.changes == {"first": 1.0}
    assert found.faces == 3
    assert found.identity == pytest.approx(0.3)


def test_side_effects_come_in_standard_deviations_and_the_largest_first():
    found = side_effects({"age": 5.0, "smile": -0.2, "roll": 1.0}, {"age": 10.0, "smile": 0.1, "roll": 2.0}, {"roll"})
    assert list(found.items()) == [("smile", -2.0), ("age", 0.5)]


@pytest.fixture
def two() -> dict[str, np.ndarray]:
    """Two directions of five layers: `a` moves rows 0 to 3, `b` rows 2 to 4."""
    return {"a": in_layers(np.eye(4)[0], "0-3", 5), "b": in_layers(np.eye(4)[1], "2-4", 5)}


EFFECTS = {"a": Effects({"a": 2.0, "b": 0.8}, 0.1, 9), "b": Effects({"a": 0.0, "b": 2.0}, 0.1, 9)}


def test_what_a_direction_changes_besides_is_taken_out_in_rows_that_both_move(two):
    options = DirectionOptions(fit={name: DirectionPlan(name, strength=2.0) for name in two}, correction_ridge=1e-6)

    corrected = correct_directions(two, EFFECTS, {"a": 1.0, "b": 1.0}, options)

    size = np.sqrt((4 + 2 * 0.4**2) / 4)  # of rows 2 and 3 the other's .4 is taken off
    np.testing.assert_allclose(corrected["a"][:, 0], np.array([1, 1, 1, 1, 0]) / size, atol=1e-5)
    np.testing.assert_allclose(corrected["a"][:, 1], np.array([0, 0, -0.4, -0.4, 0]) / size, atol=1e-5)
    np.testing.assert_allclose(corrected["b"], two["b"])


def test_what_may_change_along_is_not_taken_out(two):
    options = DirectionOptions(fit={"a": DirectionPlan("a", may_change=("b",)), "b": DirectionPlan("b")})

    corrected = correct_directions(two, EFFECTS, {"a": 1.0, "b": 1.0}, options)

    np.testing.assert_allclose(corrected["a"], two["a"])


def test_a_direction_in_other_rows_is_of_no_help(two):
    apart = two | {"b": in_layers(np.eye(4)[1], "4-4", 5)}
    options = DirectionOptions(fit={name: DirectionPlan(name) for name in apart})

    corrected = correct_directions(apart, EFFECTS, {"a": 1.0, "b": 1.0}, options)

    np.testing.assert_allclose(corrected["a"], two["a"])
