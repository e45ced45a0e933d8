"""Fit edit directions in W: along which way does an attribute change, and the others stay?"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 5  # of the cross-validation


@dataclass(frozen=True)
class DirectionOptions:
    ridge: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # tried; the best held-out fit is taken
    keep_above: float = 0.05  # R² that an attribute's own regression must reach to be kept constant by the others

    def __post_init__(self) -> None:
        if not self.ridge or min(self.ridge) <= 0:
            raise ValueError(f"directions.ridge must be positive numbers, got {self.ridge}")


@dataclass(frozen=True)
class Fit:
    """A direction of unit length in W, and how well its attribute can be read from w at all."""

    direction: np.ndarray  # `channel`
    r_squared: float  # held out
    ridge: float
    gradient: np.ndarray  # `channel`, the regression's own, before others were taken out


def fit_directions(
    codes: np.ndarray,
    scores: Mapping[str, np.ndarray],
    names: Mapping[str, Collection[str]],
    options: DirectionOptions,
) -> dict[str, Fit]:
    """A direction for each of `names`: ridge regression of its score on w, made orthogonal to all other regressions.

    Along such a direction the linear prediction of every other attribute stays what it is: conditional manipulation,
    Shen et al. 2020 (InterFaceGAN, arXiv 2005.09635), with regressions in place of classifiers.

    Args:
        codes: `sample channel`, w.
        scores: `sample` each; NaN where a face was not found. More attributes than `names` may be given: they are kept.
        names: the directions wanted, each with the attributes that may change along with it.
    """
    regressions = {name: regress(codes, values, options.ridge) for name, values in scores.items()}
    fits = {}
    for name, free in names.items():
        gradient, r_squared, ridge = regressions[name]
        kept = {other: fit for other, fit in regressions.items() if other not in (name, *free)}
        others = [other_gradient for other_gradient, r, _ in kept.values() if r >= options.keep_above]
        direction = gradient
        if others:
            basis, _ = np.linalg.qr(np.stack(others, axis=1))
            direction = gradient - basis @ (basis.T @ gradient)
        fits[name] = Fit(direction / np.linalg.norm(direction), r_squared, ridge, gradient / np.linalg.norm(gradient))
    return fits


def regress(codes: np.ndarray, values: np.ndarray, ridges: Sequence[float]) -> tuple[np.ndarray, float, float]:
    """Gradient of the standardised score, held-out R² and the ridge that gave it, by cross-validation."""
    known = np.isfinite(values)
    inputs = codes[known].astype(np.float64)
    targets = (values[known] - values[known].mean()) / values[known].std()
    part = np.arange(len(inputs)) % PARTS

    def r_squared(ridge: float) -> float:
        residual = np.empty(len(inputs))
        for held_out in range(PARTS):
            test = part == held_out
            center = inputs[~test].mean(axis=0)
            weights = _solve(inputs[~test] - center, targets[~test] - targets[~test].mean(), ridge)
            residual[test] = targets[test] - targets[~test].mean() - (inputs[test] - center) @ weights
        return 1 - float(np.square(residual).mean())

    best = max(ridges, key=r_squared)
    return _solve(inputs - inputs.mean(axis=0), targets, best), r_squared(best), best


def _solve(inputs: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    return np.asarray(np.linalg.solve(inputs.T @ inputs + ridge * np.eye(inputs.shape[1]), inputs.T @ targets))


Scorer = Callable[[np.ndarray], dict[str, float]]  # uint8 picture to its scores; empty where there is no face


def effects(  # noqa: PLR0913, PLR0917 - every one of them is another thing
    draw: Callable[[np.ndarray], np.ndarray],
    score: Scorer,
    codes: np.ndarray,
    directions: Mapping[str, np.ndarray],
    strength: float,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Mean change of every attribute from -`strength` to +`strength` along each direction, per unit of strength.

    Codes and directions are both w, or both `layer channel`.

    Args:
        draw: a code to a uint8 picture.
    """
    changes: dict[str, dict[str, float]] = {}
    done, total = 0, len(directions) * len(codes)
    for name, direction in directions.items():
        rows = []
        for code in codes:
            minus, plus = (score(draw(code + sign * strength * direction)) for sign in (-1, 1))
            if minus and plus:
                rows.append({attribute: (plus[attribute] - minus[attribute]) / (2 * strength) for attribute in plus})
            done += 1
            on_step(done, total)
        changes[name] = {attribute: float(np.mean([row[attribute] for row in rows])) for attribute in rows[0]}
    return changes
