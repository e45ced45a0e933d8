"""Stitching tuning: fit the border of an edited face to its frame."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from stitchedit.nets.generator import Generator
from stitchedit.optimize.descent import Losses, Subject, adam
from stitchedit.optimize.gradients import Gradients
from stitchedit.optimize.losses import border_levels, masked_squared_error
from stitchedit.options.stitch import StitchOptions
from stitchedit.tensors import Image, Latent, Mask


@dataclass(frozen=True)
class SeamTarget:
    """Images that one stitched crop has to match, and their masks."""

    source: Image  # matched inside `border`
    border: Mask
    edited: Image  # matched inside `content`
    content: Mask


@dataclass(frozen=True)
class Stitched:
    """One stitched crop, in [-1, 1], with its border error."""

    crop: Image
    matched: Image  # the image that its border had to match
    steps: int
    ring_before: float  # root mean squared error in the border, 8-bit levels
    ring_after: float


StitchInput = tuple[Latent, SeamTarget]
"""An edited code and what its crop has to match."""


def settle(
    generator: Generator,
    seams: Sequence[StitchInput],
    options: StitchOptions,
    on_step: Callable[[int], None] = lambda step: None,
    gradients: Callable[..., Gradients] = Gradients,
) -> None:
    """Tune `generator`, in place, on faces of an entire run.

    A frame that starts from there needs few steps of its own, or none: what is tuned from one frame to the next is
    what flickers.

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    size = seams[0][1].source.shape[-1]
    parameters = [parameter for _, parameter in generator.synthesis_parameters(size)]
    optimizer, losses = adam(parameters), Losses(_subject(options), [])

    def loss_of(latent: Latent, *target: Tensor) -> Tensor:
        border, content = _terms(generator(latent, size), SeamTarget(*target))
        return border + options.content_weight * content

    pass_of = gradients(loss_of, parameters)
    for step in range(options.settle_steps):
        latent, target = seams[step % len(seams)]
        losses.add(pass_of(latent, target.source, target.border, target.edited, target.content))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * min(1.0, 2 * (1 - step / options.settle_steps))
        optimizer.step()
        on_step(step)
    losses.read()


def stitch_face(
    generator: Generator,
    latent: Latent,
    target: SeamTarget,
    options: StitchOptions,
    on_step: Callable[[int, float, float], None] = lambda step, border, content: None,
) -> Stitched:
    """Tune `generator`, in place, until its crop of `latent` meets the source in the border.

    Stitching tuning: Tzaban et al. 2022 (arXiv 2201.08361). Give it a copy: `fresh_copy(generator)`, or the copy
    tuned for the frame before (a warm start).

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    size = target.source.shape[-1]
    parameters = [parameter for _, parameter in generator.synthesis_parameters(size)]
    optimizer, subject = adam(parameters, options.learning_rate), _subject(options)

    ring_before, step = float("nan"), 0
    while True:
        with torch.set_grad_enabled(step < options.steps):
            crop: Float32[Tensor, "1 rgb size size"] = generator(latent, size)
            border, content = _terms(crop, target)
        if step == 0:
            ring_before = border_levels(border.item())
        if step == options.steps or border.item() < options.stop_below:
            return Stitched(crop.detach(), target.source, step, ring_before, border_levels(border.item()))
        loss = border + options.content_weight * content
        subject.check(loss.item(), step)
        on_step(step, border.item(), content.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1


def _terms(crop: Image, target: SeamTarget) -> tuple[Tensor, Tensor]:
    """Errors in the border and in the content."""
    border = masked_squared_error(crop, target.source, target.border)
    return border, masked_squared_error(crop, target.edited, target.content)


def _subject(options: StitchOptions) -> Subject:
    return Subject("Stitching", "stitch.learning_rate", options.learning_rate)


def fresh_copy(generator: Generator) -> Generator:
    """A copy whose weights may be tuned."""
    return deepcopy(generator).requires_grad_(True)
