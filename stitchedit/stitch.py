"""Make the edited face meet the frame it goes back into."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float32
from torch import Tensor

from stitchedit.arrays import Image, Latent, Mask
from stitchedit.errors import OptimizationError
from stitchedit.losses import levels, masked_squared_error
from stitchedit.nets.generator import Generator

TOWARD = ("reconstruction", "source")


@dataclass(frozen=True)
class StitchOptions:
    revision: ClassVar[int] = 1

    toward: str = "reconstruction"  # what the border is to match; "source" as published, or the unedited drawing of it
    steps: int = 12  # at most, per frame; 0 = paste the edited face as it is
    learning_rate: float = 5e-5  # MobileStyleGAN's folded weights: from 1e-4 on it overshoots (docs/decisions/0008)
    content_weight: float = 0.1
    stop_below: float = 0.0012  # border term; 0.0012 = 2.5 levels in the ring
    warm_start: bool = True  # from the weights of the frame before, within a run
    chunk: int = 8  # frames; at most this many are lost in a crash

    def __post_init__(self) -> None:
        if self.toward not in TOWARD:
            raise ValueError(f"stitch.toward must be one of {', '.join(TOWARD)}, got {self.toward!r}")
        if self.steps < 0 or self.chunk < 1:
            raise ValueError(f"stitch.steps must be >= 0 and stitch.chunk >= 1, got {self.steps} and {self.chunk}")
        if self.learning_rate <= 0:
            raise ValueError(f"stitch.learning_rate must be > 0, got {self.learning_rate}")


@dataclass(frozen=True)
class SeamTarget:
    """What one stitched crop has to match, and where."""

    source: Image  # matched inside `border`
    border: Mask
    edited: Image  # matched inside `content`
    content: Mask


@dataclass(frozen=True)
class Stitched:
    """One stitched crop, in [-1, 1], and how it went."""

    crop: Image
    steps: int
    ring_before: float  # root mean squared error in the border, 8-bit levels
    ring_after: float


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
    optimizer = torch.optim.Adam(parameters, lr=options.learning_rate)

    ring_before, step = float("nan"), 0
    while True:
        with torch.set_grad_enabled(step < options.steps):
            crop: Float32[Tensor, "1 rgb size size"] = generator(latent, size)
            border = masked_squared_error(crop, target.source, target.border)
        if step == 0:
            ring_before = levels(border.item())
        if step == options.steps or border.item() < options.stop_below:
            return Stitched(crop.detach(), step, ring_before, levels(border.item()))
        content = masked_squared_error(crop, target.edited, target.content)
        loss = border + options.content_weight * content
        if not torch.isfinite(loss):
            raise OptimizationError(
                f"Stitching loss became {loss.item()} at step {step} of {options.steps}. "
                f"Lower stitch.learning_rate (now {options.learning_rate:g})."
            )
        on_step(step, border.item(), content.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1


def fresh_copy(generator: Generator) -> Generator:
    """A copy whose weights may be tuned."""
    return deepcopy(generator).requires_grad_(True)
