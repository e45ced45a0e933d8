"""Fitting directions to scores that we planted ourselves."""

import numpy as np
import pytest

from stitchedit.fit.directions import DirectionOptions, effects, fit_directions, regress

CHANNELS = 24


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((600, CHANNELS))


@pytest.fixture(scope="module")
def axes() -> np.ndarray:
    """Two planted gradients, 60 degrees apart."""
    first, second = np.linalg.qr(np.random.default_rng(1).standard_normal((CHANNELS, 2)))[0].T
    return np.stack([first, 0.5 * first + np.sqrt(0.75) * second])


def test_regression_finds_the_planted_gradient(codes, axes):
    noise = 0.1 * np.random.default_rng(2).standard_normal(len(codes))
    gradient, r_squared, _ = regress(codes, codes @ axes[0] + noise, (0.1, 1.0, 10.0))
    assert gradient @ axes[0] / np.linalg.norm(gradient) > 0.995
    assert r_squared > 0.95


def test_a_score_that_w_says_nothing_of_has_no_r_squared(codes):
    _, r_squared, _ = regress(codes, np.random.default_rng(3).standard_normal(len(codes)), (100.0,))
    assert r_squared < 0.05


def test_a_direction_leaves_the_other_attribute_alone(codes, axes):
    scores = {"first": codes @ axes[0], "second": codes @ axes[1]}
    fit = fit_directions(codes, scores, {"first": ()}, DirectionOptions())["first"]
    assert abs(fit.direction @ axes[1]) < 0.01
    assert fit.direction @ axes[0] > 0.8
    assert np.linalg.norm(fit.direction) == pytest.approx(1.0)


def test_an_attribute_that_may_change_along_is_not_taken_out(codes, axes):
    scores = {"first": codes @ axes[0], "second": codes @ axes[1]}
    fit = fit_directions(codes, scores, {"first": ("second",)}, DirectionOptions())["first"]
    assert fit.direction @ axes[0] > 0.995


def test_faces_without_a_score_are_left_out(codes, axes):
    values = codes @ axes[0]
    values[::7] = np.nan
    fit = fit_directions(codes, {"first": values}, {"first": ()}, DirectionOptions())["first"]
    assert fit.direction @ axes[0] > 0.995


def test_effects_are_changes_per_unit_of_strength(codes, axes):
    def score(picture: np.ndarray) -> dict[str, float]:
        return {"first": float(picture @ axes[0]), "second": float(picture @ axes[1])}

    changes = effects(lambda code: code, score, codes[:5], {"first": axes[0]}, strength=3.0)
    assert changes["first"] == pytest.approx({"first": 1.0, "second": 0.5})
