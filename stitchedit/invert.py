"""Find the codes from which the generator draws the faces of a clip."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.arrays import Latent
from stitchedit.errors import OptimizationError
from stitchedit.nets.generator import Generator
from stitchedit.nets.lpips import LPIPS
from stitchedit.tune import CropReader

STARTS = ("encoder", "mean")
SMALL = 128  # px; crops up to here have their middle enlarged
SMOOTHING = (0.25, 0.75, 1.0, 0.75, 0.25)  # over frames; Tzaban et al. 2022's successors smooth coarse codes so


@dataclass(frozen=True)
class InvertOptions:
    revision: ClassVar[int] = 2

    start: str = (
        "encoder"  # `encoder`: one pass per frame; `mean`: the mean code, which takes about four times the steps
    )
    refine_steps: int = 30  # on what all frames share; 0 = as it starts
    color_steps: int = 12  # at the working size, on what is shared, for the layers that only fine pictures depend on
    refine_passes: int = 3  # over every frame, on what is its own; 0 = as it starts
    batch: int = 4  # faces of `work_size`, fewer where they are larger
    work_size: int = 128  # px; the generator's size at which the first two are done
    segment: int = 256  # frames optimised together; memory and loss in a crash are bounded by it
    keyframes: int = 48  # frames that stand for the person
    learning_rate: float = 0.03
    mse_weight: float = 1.0
    lpips_weight: float = 1.0
    layer_weight: float = 0.02  # on the mean square of a layer's move: keeps codes near W, so editable
    frame_weight: float = 0.01  # on the mean square of a frame's move from where it starts
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"invert.start must be one of {', '.join(STARTS)}, got {self.start!r}")
        for name in ("batch", "segment", "keyframes"):
            if getattr(self, name) < 1:
                raise ValueError(f"invert.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Footage:
    """The crops of one person: `crops` reads rows, `runs` numbers the unbroken run of frames each row belongs to."""

    crops: CropReader
    runs: np.ndarray  # `face`
    size: int  # px

    def __len__(self) -> int:
        return len(self.runs)


class Inverter:
    """Polishes codes `shared + frame offset` against the crops of one person.

    Frame offsets are smoothed over time within a run before they are used, so that codes are steady by construction,
    and exist only for the layers that shape a `work_size` picture: colour and texture are the person's, not a frame's.
    """

    def __init__(self, generator: Generator, perceptual: LPIPS, footage: Footage, options: InvertOptions) -> None:
        self.generator, self.perceptual, self.footage, self.options = generator, perceptual, footage, options
        self.frame_layers = generator.coarse_layers(options.work_size)

    def person(self, start: Latent, on_step: Callable[[int, int], None] = lambda done, total: None) -> Latent:
        """What all frames share, `1 layer channel`: `start` polished against the most spread frames."""
        options = self.options
        rows = np.unique(
            np.linspace(0, len(self.footage) - 1, min(options.keyframes, len(self.footage))).round().astype(int)
        )
        move = torch.zeros_like(start[:, :1]).requires_grad_(True)
        layers = torch.zeros_like(start).requires_grad_(True)

        def code(chosen: np.ndarray) -> Tensor:
            return (start + move + layers).expand(len(chosen), -1, -1)

        def penalty() -> Tensor:
            return options.layer_weight * layers.square().mean() * start.shape[-1]

        total = options.refine_steps + options.color_steps
        steps = self._minimise([move, layers], code, penalty, rows, options.work_size, options.refine_steps)
        for done in steps:
            on_step(done, total)
        for done in self._minimise([move, layers], code, penalty, rows, self.footage.size, options.color_steps, 0.3):
            on_step(options.refine_steps + done, total)
        return (start + move + layers).detach()

    def frames(
        self,
        person: Latent,
        own: Latent,
        rows: np.ndarray,
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> Latent:
        """Codes of consecutive `rows`, `face layer channel`.

        Args:
            own: what each of them starts with besides `person`; layers that belong to the person are left out.
        """
        options = self.options
        kernel = smoothing_matrix(self.footage.runs[rows]).to(person)
        start = own[:, : self.frame_layers].flatten(1)
        move = torch.zeros_like(start).requires_grad_(True)
        place = {int(row): index for index, row in enumerate(rows)}

        def code(chosen: np.ndarray) -> Tensor:
            index = torch.tensor([place[int(row)] for row in chosen])
            offset = torch.unflatten(kernel[index] @ (start + move), 1, (self.frame_layers, -1))
            return person + F.pad(offset, (0, 0, 0, person.shape[1] - self.frame_layers))

        def penalty() -> Tensor:
            return options.frame_weight * move.square().mean() * person.shape[-1]

        steps = options.refine_passes * math.ceil(len(rows) / options.batch)
        for done in self._minimise([move], code, penalty, rows, options.work_size, steps):
            on_step(done, steps)
        with torch.no_grad():
            return code(rows)

    def _minimise(  # noqa: PLR0913, PLR0917 - what, on which pictures, how long
        self,
        parameters: list[Tensor],
        code: Callable[[np.ndarray], Tensor],
        penalty: Callable[[], Tensor],
        rows: np.ndarray,
        size: int,
        steps: int,
        rate: float = 1.0,
    ) -> Iterator[int]:
        """Adam on `parameters`, minibatches of `rows` at `size`; gives the number of steps done after each."""
        options = self.options
        noise = torch.Generator().manual_seed(options.seed)  # anew, so that a resumed run draws what this one would
        optimizer = torch.optim.Adam(parameters, lr=options.learning_rate, betas=(0.9, 0.99))
        batch = max(1, options.batch * options.work_size // size)  # larger pictures, fewer: memory stays
        order: list[int] = []
        for step in range(steps):
            ramp = min(1.0, (step + 1) / 10, 1.5 * (1 - step / steps))
            optimizer.param_groups[0]["lr"] = options.learning_rate * rate * ramp
            if len(order) < batch:
                order += torch.randperm(len(rows), generator=noise).tolist()
            chosen, order = rows[order[:batch]], order[batch:]
            target = self.footage.crops(chosen)
            target = F.avg_pool2d(target, target.shape[-1] // size)
            drawn = self.generator(code(chosen), size)
            loss = self._distance(drawn, target) + self._distance(middle(drawn), middle(target)) + penalty()
            if not torch.isfinite(loss):
                raise OptimizationError(
                    f"Inversion loss became {loss.item()} at step {step} of {steps}. "
                    f"Lower invert.learning_rate (now {options.learning_rate:g})."
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield step + 1

    def _distance(self, drawn: Tensor, target: Tensor) -> Tensor:
        perceived: Tensor = self.perceptual(drawn, target).mean()
        return self.options.mse_weight * F.mse_loss(drawn, target) + self.options.lpips_weight * perceived


def middle(crops: Tensor) -> Tensor:
    """Brows to chin of FFHQ crops: what tells one expression from another, without hair and background.

    Enlarged where it is small: LPIPS sees little in 74 px.
    """
    side = crops.shape[-1]
    face = crops[..., int(0.32 * side) : int(0.9 * side), int(0.21 * side) : int(0.79 * side)]
    return F.interpolate(face, scale_factor=2, mode="bilinear", align_corners=False) if side <= SMALL else face


def smoothing_matrix(runs: np.ndarray) -> Tensor:
    """`face face` weights that smooth codes over neighbouring frames of the same run; rows sum to 1."""
    count, reach = len(runs), len(SMOOTHING) // 2
    matrix = torch.zeros(count, count)
    for shift in range(-reach, reach + 1):
        first = max(0, -shift)
        last = max(first, min(count, count - shift))  # none, where there are fewer frames than the reach
        index = torch.arange(first, last)
        same = torch.from_numpy(runs[first:last] == runs[first + shift : last + shift])
        matrix[index[same], index[same] + shift] = SMOOTHING[shift + reach]
    return matrix / matrix.sum(dim=1, keepdim=True)
