"""Fit edit directions in W that change one score and keep the others, and measure their effects."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stitchedit.errors import InputError
from stitchedit.measure.appearance import Appearance
from stitchedit.options.edit import parse_layers

PARTS = 5  # of the cross-validation
FEWEST_SCORES = 20  # samples with a score, of which a direction is fitted


@dataclass(frozen=True)
class DirectionPlan:
    """Score and layers of one direction, and the scores that may change with it."""

    score: str = ""  # that should rise; see `score_names` in stitchedit/measure/appearance.py
    layers: str = "0-15"  # first and last row of a W+ code that it moves
    may_change: tuple[str, ...] = ()  # scores that are not kept constant
    strength: float = 1.0  # at which its effects are measured and stated

    def __post_init__(self) -> None:
        parse_layers(self.layers)
        if not self.strength > 0:
            raise ValueError(f"directions.fit.*.strength must be > 0, got {self.strength}")


@dataclass(frozen=True)
class DirectionOptions:
    samples: int = 2400  # faces whose scores are regressed on their w
    parsed: int = 384  # px at which they are parsed
    ridge: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # tried; the best held-out fit is taken
    keep_above: float = 0.05  # R² that a score's own regression must reach to be kept constant by the others
    tried: int = 24  # other faces, on which what a first fit changes besides is measured, to be taken out
    correction_ridge: float = 0.1  # how much of another direction that may cost; higher corrects less
    measured: int = 200  # still other faces, on which effects are measured
    parsed_measured: int = 256  # px at which they are parsed: a mean over many faces does not need more
    measured_seed: int = 9
    measured_truncation: float = 0.7
    fit: dict[str, DirectionPlan] = field(default_factory=dict)  # by name of the direction

    def __post_init__(self) -> None:
        if not self.ridge or min(self.ridge) <= 0:
            raise ValueError(f"directions.ridge must be positive numbers, got {self.ridge}")
        if self.samples < FEWEST_SCORES or min(self.measured, self.tried) < 2 or not self.correction_ridge > 0:
            raise ValueError(
                f"directions.samples must be >= {FEWEST_SCORES}, directions.measured and directions.tried >= 2 and "
                f"directions.correction_ridge > 0, got {self.samples}, {self.measured}, {self.tried} and "
                f"{self.correction_ridge:g}"
            )


@dataclass(frozen=True)
class Regression:
    """Linear dependence of a score on w, in standard deviations of the score."""

    gradient: np.ndarray  # `channel`
    r_squared: float  # held out
    ridge: float


@dataclass(frozen=True)
class DirectionFit:
    """A direction of unit length in W, and how well its score can be read from w at all."""

    direction: np.ndarray  # `channel`
    r_squared: float  # held out
    ridge: float
    left: float  # share of the regression's own gradient that is left after the others were taken out, 0..1


def fit_directions(
    codes: np.ndarray, scores: Mapping[str, np.ndarray], options: DirectionOptions
) -> tuple[dict[str, DirectionFit], dict[str, Regression]]:
    """A direction for each of `options.fit`, and the regressions of all scores that can be read from w at all.

    A direction is the gradient of a ridge regression of its score on w, made orthogonal to all other regressions: the
    linear prediction of every other score stays what it is. Conditional manipulation, Shen et al. 2020 (InterFaceGAN,
    arXiv 2005.09635), with regressions in place of classifiers.

    Args:
        codes: `sample channel`, w.
        scores: `sample` each; NaN where there is none.
    """
    regressions = {name: regress(codes, values, options.ridge) for name, values in scores.items()}
    readable = {name: fit for name, fit in regressions.items() if fit.r_squared >= options.keep_above}
    fits = {}
    for name, plan in options.fit.items():
        if plan.score not in regressions:
            raise InputError(f"Direction {name!r} is to follow {plan.score!r}. There are: {', '.join(regressions)}.")
        kept = [fit.gradient for other, fit in readable.items() if other not in (plan.score, *plan.may_change)]
        fits[name] = keep_constant(regressions[plan.score], kept)
    return fits, readable


def keep_constant(regression: Regression, kept: Sequence[np.ndarray]) -> DirectionFit:
    """The direction along which the score rises fastest while those with gradients `kept` stay."""
    own = regression.gradient / np.linalg.norm(regression.gradient)
    direction = own
    if kept:
        basis, _ = np.linalg.qr(np.stack(kept, axis=1))
        direction = own - basis @ (basis.T @ own)
    left = float(np.linalg.norm(direction))
    return DirectionFit(direction / left, regression.r_squared, regression.ridge, left)


def correct_directions(
    found: Mapping[str, np.ndarray],
    effects: Mapping[str, "Effects"],
    deviations: Mapping[str, float],
    options: DirectionOptions,
) -> dict[str, np.ndarray]:
    """Each direction, `layer channel`, plus a little of the others, so that what it changed besides gets less.

    A regression holds on average over all faces and in all rows of a code; a direction that moves some rows changes
    what the regression did not foresee. `effects` are those of `found` at their stated strengths. The mixture is the
    least-squares one that brings the kept scores nearest to no change, in standard deviations, with a ridge. Of another
    direction only rows are taken that both move. The root mean square of a direction's rows stays 1.
    """

    def per_unit(name: str, score: str) -> float:
        return effects[name].changes[score] / deviations[score] / options.fit[name].strength

    corrected = {}
    for name, plan in options.fit.items():
        rows = found[name].any(axis=1)
        kept = [score for score in deviations if score not in (plan.score, *plan.may_change)]
        helpers = [
            other
            for other, theirs in options.fit.items()
            if theirs.score in kept and (found[other].any(axis=1) & rows).any()
        ]
        changes = np.array([per_unit(other, score) for score in kept for other in helpers])
        changes = changes.reshape(len(kept), len(helpers))
        squares = changes.T @ changes + options.correction_ridge * np.eye(len(helpers))
        amounts = np.linalg.solve(squares, -changes.T @ np.array([per_unit(name, score) for score in kept]))
        direction = found[name].astype(np.float64)
        for amount, other in zip(amounts, helpers, strict=True):
            direction[rows] += amount * found[other][rows]
        size = np.sqrt(np.square(direction[rows]).sum(axis=1).mean())
        corrected[name] = (direction / size).astype(np.float32)
    return corrected


def regress(codes: np.ndarray, values: np.ndarray, ridges: Sequence[float]) -> Regression:
    """Ridge regression of the standardized score on w; the ridge is cross-validated.

    Raises:
        InputError: too few scores, or all the same.
    """
    known = np.isfinite(values)
    if known.sum() < FEWEST_SCORES:
        raise InputError(f"{known.sum()} scores are too few to fit a direction: give {FEWEST_SCORES}, better 200.")
    spread = float(values[known].std())
    if spread <= 1e-9 * max(1.0, float(abs(values[known]).max())):
        raise InputError(f"All {known.sum()} scores are {values[known][0]:g}: give some faces more, some less.")
    inputs = codes[known].astype(np.float64)
    targets = (values[known] - values[known].mean()) / spread
    part = np.arange(len(inputs)) % PARTS
    residual = np.empty((len(ridges), len(inputs)))
    for held_out in range(PARTS):
        test = part == held_out
        center, mean = inputs[~test].mean(axis=0), targets[~test].mean()
        weights = _ridge_solutions(inputs[~test] - center, targets[~test] - mean, ridges)
        residual[:, test] = targets[test] - mean - weights @ (inputs[test] - center).T
    r_squared = 1 - np.square(residual).mean(axis=1)
    best = int(r_squared.argmax())
    (gradient,) = _ridge_solutions(inputs - inputs.mean(axis=0), targets, [ridges[best]])
    return Regression(gradient, float(r_squared[best]), float(ridges[best]))


def _ridge_solutions(inputs: np.ndarray, targets: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """Weights for each ridge, `ridge channel`: one decomposition serves all of them."""
    squares, axes = np.linalg.eigh(inputs.T @ inputs)
    along = axes.T @ (inputs.T @ targets)
    return np.stack([axes @ (along / (squares + ridge)) for ridge in ridges])


def in_layers(direction: np.ndarray, chosen: str, layers: int) -> np.ndarray:
    """A direction in W as one in W+, float32 `layer channel`: itself in the rows `chosen`, zero in the others.

    Raises:
        InputError: a code has no such rows.
    """
    rows = parse_layers(chosen)
    if rows.stop > layers:
        raise InputError(f"Layers {chosen} do not exist: a code has rows 0 to {layers - 1}.")
    spread = np.zeros((layers, len(direction)), np.float32)
    spread[rows.start : rows.stop] = direction
    return spread


@dataclass(frozen=True)
class Effects:
    """Mean effects of a direction at one strength."""

    changes: dict[str, float]  # of every score, towards plus; half of the faces were moved the other way
    identity: float  # distance of dlib's descriptors before and after; below .6 is the same person
    faces: int  # that were there before and after


def summarize_effects(before: np.ndarray, after: np.ndarray, identity: np.ndarray, names: Sequence[str]) -> Effects:
    """Means over faces, `face score` each, where `after` is that of `signed_strength`; NaN where there is none."""
    signs = np.array([signed_strength(index, 1.0) for index in range(len(before))])
    differences = (after - before) * signs[:, None]
    means = np.nanmean(differences, axis=0)
    seen = np.isfinite(identity)
    return Effects(
        changes={name: float(mean) for name, mean in zip(names, means, strict=True)},
        identity=float(identity[seen].mean()),
        faces=int(seen.sum()),
    )


def signed_strength(face: int, strength: float) -> float:
    """Alternate the sign over faces, so that the mean covers both."""
    return strength if face % 2 == 0 else -strength


def identity_distance(before: Appearance, after: Appearance) -> float:
    """Distance of descriptors, in dlib's scale."""
    return float(np.linalg.norm(before.descriptor - after.descriptor))


def side_effects(
    changes: Mapping[str, float], deviations: Mapping[str, float], allowed: Collection[str]
) -> dict[str, float]:
    """Changes of all scores but `allowed`, in standard deviations, the largest first."""
    relative = {name: change / deviations[name] for name, change in changes.items() if name not in allowed}
    return dict(sorted(relative.items(), key=lambda entry: -abs(entry[1])))
