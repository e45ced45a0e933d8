"""Pivotal tuning: fit the generator's weights to the footage of one person."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.nets.generator import Generator
from stitchedit.nets.lpips import LPIPS
from stitchedit.occlude import in_colors_of, seen_only
from stitchedit.optimize.descent import Descent, DescentState, Subject
from stitchedit.optimize.gradients import Gradients
from stitchedit.options.tune import TuneOptions
from stitchedit.tensors import Latent

CropReader = Callable[[np.ndarray], Tensor]  # row numbers to crops, `face rgb size size` in [-1, 1]
MaskReader = Callable[[np.ndarray], Tensor]  # row numbers to masks, `face 1 size size` in [0, 1]


@dataclass(frozen=True)
class Pivots:
    """Codes and crops of one person for tuning."""

    codes: Latent
    crops: CropReader
    size: int  # px
    covered: MaskReader | None = None  # where something is in front, which is not learned
    behind: CropReader | None = None  # image behind it; without, the generator is free there

    def __len__(self) -> int:
        return len(self.codes)

    def wanted(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Training images of `rows`, and a mask of the pixels left out, if any.

        The crops; behind what covers a face, what `behind` shows there.
        """
        crops = self.crops(rows)
        covered = self.covered(rows) if self.covered else None
        if covered is None or self.behind is None:
            return crops, covered
        if not covered.any():
            return crops, None
        return torch.lerp(crops, in_colors_of(self.behind(rows), crops, covered), covered), None

    def target(self, rows: np.ndarray, generated: Tensor) -> Tensor:
        """Crops of `rows`, with the `generated` images where something covers the face."""
        crops = self.crops(rows)
        return seen_only(crops, generated, self.covered(rows)) if self.covered else crops


def tune_generator(  # noqa: PLR0913, PLR0917 - two of them are callbacks
    generator: Generator,
    perceptual: LPIPS,
    pivots: Pivots,
    options: TuneOptions,
    state: DescentState | None = None,
    on_step: Callable[[DescentState, int], None] = lambda state, total: None,
    on_checkpoint: Callable[[DescentState], None] = lambda state: None,
) -> DescentState:
    """Tune `generator` in place to reconstruct `pivots`; return the state after the last step.

    Pivotal tuning: Roich et al. 2021 (arXiv 2106.05744), all frames sharing one generator: Tzaban et al. 2022
    (arXiv 2201.08361). `state` continues an earlier call, bit for bit on a CPU.

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    keyframes = farthest_codes(pivots.codes, options.keyframes)
    batches = epoch_batches(keyframes, options)
    total = options.passes * math.ceil(len(keyframes) / options.batch)
    per_pass = total // options.passes
    step = Tuner(generator, perceptual, pivots, options, state)

    def done() -> bool:
        if options.patience and step.state.step % per_pass == 0:
            step.descent.losses.read()
        return step.state.step == total or _stalled(step.state.losses, per_pass, options.patience)

    rows = batches(step.state.step)
    while not done():  # asked first: an earlier call may have come to its end
        step(next(rows))
        on_step(step.state, total)
        if done() or step.state.step % options.checkpoint_every == 0:
            step.save()
            on_checkpoint(step.state)
    generator.requires_grad_(False)
    return step.state


class Tuner:
    """One optimization of one generator, a step per call."""

    def __init__(  # noqa: PLR0913, PLR0917 - the last two are for resuming and for benchmarks
        self,
        generator: Generator,
        perceptual: LPIPS,
        pivots: Pivots,
        options: TuneOptions,
        state: DescentState | None = None,
        gradients: Callable[..., Gradients] = Gradients,
    ) -> None:
        self.generator, self.perceptual, self.pivots, self.options = generator, perceptual, pivots, options
        self.original = fresh_frozen_copy(generator) if options.locality_weight else None
        generator.requires_grad_(True)
        self.parameters = dict(generator.synthesis_parameters(pivots.size))
        self.state = state or DescentState()
        subject = Subject("Tuning", "tune.learning_rate", options.learning_rate)
        self.descent = Descent(self.parameters, self.state, subject)
        self.pivot_gradients = gradients(self._pivot_loss, self.parameters.values())
        self.all_gradients = gradients(self._loss_with_locality, self.parameters.values())

    def __call__(self, rows: np.ndarray) -> None:
        """Take one step of Adam on the faces in `rows`."""
        codes, (target, unlearned) = self.pivots.codes[rows], self.pivots.wanted(rows)
        if self.original is not None and self.state.step % self.options.locality_every == 0:
            noise = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.state.step)
            z = torch.randn(1, codes.shape[-1], generator=noise)  # on the CPU: the same numbers on every device
            loss = self.all_gradients(codes, target, unlearned, z.to(codes))
        else:
            loss = self.pivot_gradients(codes, target, unlearned)
        warmth = min(1.0, (self.state.step + 1) / max(1, self.options.warm_up))
        self.descent(loss, self.options.learning_rate * warmth)

    def save(self) -> None:
        """Put the present weights and moments into the state."""
        self.descent.save()

    def _pivot_loss(self, codes: Latent, target: Tensor, unlearned: Tensor | None) -> Tensor:
        image = self.generator(codes, self.pivots.size)
        target = target if unlearned is None else seen_only(target, image, unlearned)
        loss: Tensor = self.options.mse_weight * F.mse_loss(image, target)
        if self.options.lpips_weight:
            loss = loss + self.options.lpips_weight * self.perceptual(image, target).mean()
        return loss

    def _loss_with_locality(self, codes: Latent, target: Tensor, unlearned: Tensor | None, z: Tensor) -> Tensor:
        loss = self._pivot_loss(codes, target, unlearned)
        return loss + self.options.locality_weight * self._locality_loss(codes[:1], z)

    def _locality_loss(self, code: Latent, z: Tensor) -> Tensor:
        """Difference to the untuned generator at a code `locality_distance` away, towards the face of `z`."""
        assert self.original is not None
        other = self.generator.mapping(z)[:, None] - code
        near = code + self.options.locality_distance * other / other.norm()
        with torch.no_grad():
            before = self.original(near, self.pivots.size)
        after = self.generator(near, self.pivots.size)
        loss: Tensor = F.mse_loss(after, before) + self.perceptual(after, before).mean()
        return loss


def fresh_frozen_copy(generator: Generator) -> Generator:
    """A frozen copy of `generator`."""
    return deepcopy(generator).requires_grad_(False)


def epoch_batches(rows: np.ndarray, options: TuneOptions) -> Callable[[int], Iterator[np.ndarray]]:
    """Random minibatches, pass after pass; call with the step to start from. An order depends on seed and pass only."""

    def batches(first: int) -> Iterator[np.ndarray]:
        per_pass = math.ceil(len(rows) / options.batch)
        for number in range(first // per_pass, options.passes):
            order = np.random.default_rng([options.seed, number]).permutation(rows)
            parts = [order[start : start + options.batch] for start in range(0, len(order), options.batch)]
            yield from parts[first % per_pass if number == first // per_pass else 0 :]

    return batches


def farthest_codes(codes: Latent, count: int) -> np.ndarray:
    """Rows of the `count` codes that differ most: farthest-point sampling in W+, from the first row on."""
    if len(codes) <= count:
        return np.arange(len(codes))
    flat = codes.flatten(1)
    chosen = [0]
    distance = (flat - flat[0]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (flat - flat[chosen[-1]]).norm(dim=1))
    return np.array(sorted(chosen))


def _stalled(losses: list[float], per_pass: int, patience: int) -> bool:
    """True if the mean loss of a pass has not fallen by 1 % for `patience` passes."""
    passes = [float(np.mean(losses[start : start + per_pass])) for start in range(0, len(losses), per_pass)]
    if not patience or len(losses) % per_pass or len(passes) <= patience:
        return False
    return min(passes[-patience:]) > 0.99 * min(passes[:-patience])
