"""Find the codes from which the generator draws the faces of a clip."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.nets.generator import Generator
from stitchedit.nets.lpips import LPIPS
from stitchedit.occlude import seen_only
from stitchedit.optimize.descent import Descent, DescentState, Subject
from stitchedit.optimize.gradients import Gradients
from stitchedit.options.invert import InvertOptions
from stitchedit.tensors import Latent
from stitchedit.tune import CropReader, MaskReader

SMALL = 128  # px; crops up to here have their middle enlarged
SMOOTHING = (0.25, 0.75, 1.0, 0.75, 0.25)  # over frames; Tzaban et al. 2022's successors smooth coarse codes so


@dataclass(frozen=True)
class Footage:
    """Crops of one person, by row, and the number of the unbroken run of frames of each row."""

    crops: CropReader
    runs: np.ndarray  # `face`
    size: int  # px
    covered: MaskReader | None = None  # where something is in front

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True)
class Course:
    """Start and callbacks of an optimization; `state` is updated to that of the last step."""

    state: DescentState = field(default_factory=DescentState)
    on_step: Callable[[int, int], None] = lambda done, total: None
    on_checkpoint: Callable[[DescentState], None] = lambda state: None


@dataclass(frozen=True)
class Inversion:
    """Parameters of a fit, and its faces."""

    parameters: dict[str, Tensor]
    shares: Callable[[np.ndarray], Tensor]  # what `code` needs to know of rows, `face ...`
    code: Callable[[Tensor], Tensor]  # of shares
    penalty: Callable[[], Tensor]
    rows: np.ndarray


@dataclass(frozen=True)
class Stretch:
    """Steps at one image size."""

    size: int  # px
    steps: int
    rate: float = 1.0  # of the learning rate


class Inverter:
    """Refine codes `shared + frame offset` against the crops of one person.

    Frame offsets are smoothed over time within a run before they are used, so that codes are steady by construction,
    and exist only for the layers that shape a `work_size` image: colour and texture are the person's, not a frame's.
    """

    def __init__(
        self,
        generator: Generator,
        perceptual: LPIPS,
        footage: Footage,
        options: InvertOptions,
        gradients: Callable[..., Gradients] = Gradients,
    ) -> None:
        self.generator, self.perceptual, self.footage, self.options = generator, perceptual, footage, options
        self.gradients = gradients
        self.frame_layers = generator.coarse_layers(options.work_size)

    def person(self, start: Latent, course: Course | None = None) -> Latent:
        """Refine the code shared by all frames, `1 layer channel`, against the most spread frames."""
        options = self.options
        rows = np.unique(
            np.linspace(0, len(self.footage) - 1, min(options.keyframes, len(self.footage))).round().astype(int)
        )
        move = torch.zeros_like(start[:, :1]).requires_grad_(True)
        layers = torch.zeros_like(start).requires_grad_(True)

        def shares(chosen: np.ndarray) -> Tensor:
            return start.new_ones(len(chosen))  # of the one code that all have

        def code(shares: Tensor) -> Tensor:
            return (start + move + layers).expand(len(shares), -1, -1)

        def penalty() -> Tensor:
            return options.layer_weight * layers.square().mean() * start.shape[-1]

        coarse = Stretch(options.work_size, options.refine_steps)
        fine = Stretch(self.footage.size, options.color_steps, rate=0.3)
        fit = Inversion({"move": move, "layers": layers}, shares, code, penalty, rows)
        self._minimise(fit, [coarse, fine], course or Course())
        return (start + move + layers).detach()

    def frames(self, person: Latent, own: Latent, rows: np.ndarray, course: Course | None = None) -> Latent:
        """Codes of consecutive `rows`, `face layer channel`.

        Args:
            own: what each of them starts with besides `person`; layers that belong to the person are left out.
        """
        options = self.options
        kernel = smoothing_matrix(self.footage.runs[rows]).to(person)
        start = own[:, : self.frame_layers].flatten(1)
        move = torch.zeros_like(start).requires_grad_(True)
        place = {int(row): index for index, row in enumerate(rows)}

        def shares(chosen: np.ndarray) -> Tensor:
            return kernel[torch.tensor([place[int(row)] for row in chosen])]

        def code(shares: Tensor) -> Tensor:
            offset = torch.unflatten(shares @ (start + move), 1, (self.frame_layers, -1))
            return person + F.pad(offset, (0, 0, 0, person.shape[1] - self.frame_layers))

        def penalty() -> Tensor:
            return options.frame_weight * move.square().mean() * person.shape[-1]

        stretch = Stretch(options.work_size, self.frame_steps(len(rows)))
        self._minimise(Inversion({"move": move}, shares, code, penalty, rows), [stretch], course or Course())
        with torch.no_grad():
            return code(shares(rows))

    def frame_steps(self, faces: int) -> int:
        """Number of steps for a segment of so many faces."""
        return self.options.refine_passes * math.ceil(faces / self.options.batch)

    def _minimise(self, fit: Inversion, stretches: Sequence[Stretch], course: Course) -> None:
        """Adam on the parameters of `fit`, one stretch after the other, each with moments and an order of its own."""
        state, total, first_step = course.state, sum(stretch.steps for stretch in stretches), 0
        subject = Subject("Inversion", "invert.learning_rate", self.options.learning_rate)
        descent = Descent(fit.parameters, state, subject, betas=(0.9, 0.99))
        for stretch in stretches:
            gradients = self.gradients(partial(self._loss, fit), fit.parameters.values())
            if state.step == first_step:
                descent.forget()
            batch = max(1, self.options.batch * self.options.work_size // stretch.size)  # larger images, fewer
            batches = islice(
                shuffled_batches(fit.rows, batch, self.options.seed), max(0, state.step - first_step), None
            )
            while state.step < first_step + stretch.steps:
                step = state.step - first_step
                ramp = min(1.0, (step + 1) / 10, 1.5 * (1 - step / stretch.steps))
                loss = gradients(*self._inputs(fit, next(batches), stretch.size))
                descent(loss, self.options.learning_rate * stretch.rate * ramp)
                course.on_step(state.step, total)
                if state.step % self.options.checkpoint_every == 0:
                    descent.save()
                    course.on_checkpoint(state)
            first_step += stretch.steps
        descent.losses.read()

    def _inputs(self, fit: Inversion, rows: np.ndarray, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Shares, crops and masks of `rows` at `size`, as `_loss` takes them."""
        target, covered = self.footage.crops(rows), None
        target = F.avg_pool2d(target, target.shape[-1] // size)
        if self.footage.covered:
            covered = F.interpolate(self.footage.covered(rows), (size, size), mode="area")
        return fit.shares(rows), target, covered

    def _loss(self, fit: Inversion, shares: Tensor, target: Tensor, covered: Tensor | None) -> Tensor:
        image = self.generator(fit.code(shares), target.shape[-1])
        target = target if covered is None else seen_only(target, image, covered)
        return self._distance(image, target) + self._distance(middle(image), middle(target)) + fit.penalty()

    def _distance(self, generated: Tensor, target: Tensor) -> Tensor:
        perceived: Tensor = self.perceptual(generated, target).mean()
        return self.options.mse_weight * F.mse_loss(generated, target) + self.options.lpips_weight * perceived


def shuffled_batches(rows: np.ndarray, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Endless random minibatches, epoch by epoch; the order depends on the seed only."""
    noise = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while True:
        if len(order) < batch:
            order += torch.randperm(len(rows), generator=noise).tolist()
        yield rows[order[:batch]]
        order = order[batch:]


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
