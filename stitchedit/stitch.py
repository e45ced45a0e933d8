"""Make the edited face meet the frame it goes back into."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar, Self

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
    revision: ClassVar[int] = 2

    toward: str = "reconstruction"  # what the border is to match; "source" as published, or the unedited drawing of it
    steps: int = 12  # at most, per frame; 0 = paste the edited face as it is
    learning_rate: float = 5e-5  # MobileStyleGAN's folded weights: from 1e-4 on it overshoots (docs/decisions/0008)
    content_weight: float = 0.3  # with less, stitching takes back some of the edit
    stop_below: float = 0.0019  # border term; 0.0019 = 3.2 levels in the ring of a crop
    warm_start: bool = True  # from the weights of the frame before, within a run
    settle_steps: int = 48  # before a run's first frame, on frames of all of it; 0 = none. Needs `warm_start`
    settle_faces: int = 8  # at most, evenly over the run
    follow_rate: float = 1e-5  # learning rate of a frame once the run has settled; small, so that nothing jumps
    chunk: int = 8  # frames; at most this many are lost in a crash

    def __post_init__(self) -> None:
        if self.toward not in TOWARD:
            raise ValueError(f"stitch.toward must be one of {', '.join(TOWARD)}, got {self.toward!r}")
        if self.steps < 0 or self.chunk < 1:
            raise ValueError(f"stitch.steps must be >= 0 and stitch.chunk >= 1, got {self.steps} and {self.chunk}")
        if self.settle_steps < 0 or self.settle_faces < 1:
            raise ValueError(
                "stitch.settle_steps must be >= 0 and stitch.settle_faces >= 1, "
                f"got {self.settle_steps} and {self.settle_faces}"
            )
        for name in ("learning_rate", "follow_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"stitch.{name} must be > 0, got {getattr(self, name)}")

    @property
    def settles(self) -> bool:
        """Whether a run is stitched as a whole before its frames are."""
        return self.warm_start and self.settle_steps > 0 and self.steps > 0

    def of_frames(self) -> Self:
        """What each frame is stitched with after that."""
        return replace(self, learning_rate=self.follow_rate) if self.settles else self


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


Seam = tuple[Latent, SeamTarget]
"""An edited code and what its crop has to match."""


def settle(
    generator: Generator,
    seams: Sequence[Seam],
    options: StitchOptions,
    on_step: Callable[[int, float, float], None] = lambda step, border, content: None,
) -> None:
    """Tune `generator`, in place, until its crops of a whole run meet their sources, on average.

    A frame that starts from there needs few steps of its own, or none: what is tuned from one frame to the next is
    what flickers.

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    size = seams[0][1].source.shape[-1]
    parameters = [parameter for _, parameter in generator.synthesis_parameters(size)]
    optimizer = torch.optim.Adam(parameters, lr=options.learning_rate)
    for step in range(options.settle_steps):
        latent, target = seams[step % len(seams)]
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * min(1.0, 2 * (1 - step / options.settle_steps))
        crop = generator(latent, size)
        border, content = _terms(crop, target)
        _step(optimizer, border + options.content_weight * content, (step, options.settle_steps), options)
        on_step(step, border.item(), content.item())


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
            border, content = _terms(crop, target)
        if step == 0:
            ring_before = levels(border.item())
        if step == options.steps or border.item() < options.stop_below:
            return Stitched(crop.detach(), step, ring_before, levels(border.item()))
        on_step(step, border.item(), content.item())
        _step(optimizer, border + options.content_weight * content, (step, options.steps), options)
        step += 1


def _terms(crop: Image, target: SeamTarget) -> tuple[Tensor, Tensor]:
    """What is off in the border, and in the content."""
    border = masked_squared_error(crop, target.source, target.border)
    return border, masked_squared_error(crop, target.edited, target.content)


def _step(optimizer: torch.optim.Adam, loss: Tensor, progress: tuple[int, int], options: StitchOptions) -> None:
    if not torch.isfinite(loss):
        raise OptimizationError(
            f"Stitching loss became {loss.item()} at step {progress[0]} of {progress[1]}. "
            f"Lower stitch.learning_rate (now {options.learning_rate:g})."
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def fresh_copy(generator: Generator) -> Generator:
    """A copy whose weights may be tuned."""
    return deepcopy(generator).requires_grad_(True)
