"""Train the encoder on generated faces with known codes."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.errors import OptimizationError
from stitchedit.nets.encoder import Encoder, fold_norms
from stitchedit.nets.face_parsing import FaceParser
from stitchedit.nets.lpips import LPIPS
from stitchedit.nets.mobile_stylegan import MobileStyleGAN
from stitchedit.train.augment import AugmentOptions, film
from stitchedit.train.checkpoint import TrainingState
from stitchedit.train.samples import Samples

# Roots of the LPIPS at 256 px that the same step in one row of MobileStyleGAN's codes makes, mean of four faces. The
# first rows move the whole head, the last ones hardly a shade.
ROW_WEIGHTS = (0.32, 0.29, 0.25, 0.19, 0.15, 0.12, 0.11, 0.1, 0.07, 0.06, 0.08, 0.05, 0.05, 0.03, 0.03, 0.05)


@dataclass(frozen=True)
class EncoderOptions:
    steps: int = 4000
    batch: int = 8  # faces
    generated: int = 8  # of them are reconstructed from their codes and compared as images
    image_size: int = 128  # px, at which they are generated
    crop_size: int = 256  # px, of the images it learns from
    start_samples: int = 4000  # for the least-squares start of the base code
    ridge: float = 1.0  # of that start, a feature
    learning_rate: float = 5e-5  # after a warm-up; cosine to 0
    readout_rate: float = 0.2  # share of it for the layers behind the trunk, which sum over thousands of features
    rows_open: tuple[float, float] = (0.1, 0.4)  # shares of the steps between which rows get offsets, coarse ones first
    row_weights: tuple[float, ...] = ROW_WEIGHTS  # of the code distance, one a row; none = all the same
    code_weight: float = 1.0
    mse_weight: float = 1.0
    lpips_weight: float = 0.8
    offset_weight: float = 0.02  # on the mean square of the offsets: keeps codes near W
    average: float = 0.997  # of the weights, over steps: what is kept in the end
    clip: float = 1.0  # norm of the gradient
    held_out: int = 64  # the first samples
    checkpoint_every: int = 100  # steps
    bfloat16: bool = False  # autocast; for GPUs
    seed: int = 3
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.generated <= self.batch or self.batch < 1 or self.steps < 1:
            raise ValueError(
                f"encoder.steps and encoder.batch must be >= 1 and encoder.generated at most encoder.batch, "
                f"got {self.steps}, {self.batch}, {self.generated}"
            )


@dataclass(frozen=True)
class Teachers:
    """Fixed networks and samples for training and evaluation."""

    generator: MobileStyleGAN
    perceptual: LPIPS
    samples: Samples


def start_encoder(parser: FaceParser, teachers: Teachers, options: EncoderOptions) -> Encoder:
    """An encoder with the trunk of `parser`, the offsets' basis from w's main axes and a fitted base code.

    The base code is a ridge regression of w on what the untrained trunk sees: minutes instead of an hour of steps.
    """
    generator = teachers.generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        encoder = Encoder(generator.layers, generator.channels)
    encoder.trunk.load_state_dict(folded_trunk(parser))
    encoder.w_mean.copy_(generator.w_mean)
    noise = torch.Generator().manual_seed(options.seed)
    w = generator.mapping(torch.randn(4096, generator.channels, generator=noise)) - generator.w_mean
    _, spread, axes = torch.linalg.svd(w / len(w) ** 0.5, full_matrices=False)
    encoder.basis.data.copy_((spread[:, None] * axes)[: len(encoder.basis)])
    _fit_base(encoder, teachers.samples, options)
    return encoder


def folded_trunk(parser: FaceParser) -> dict[str, Tensor]:
    """The parsing network's ResNet-18 as the encoder's trunk holds it."""
    return fold_norms(deepcopy(parser.cp.resnet)).state_dict()


def train_encoder(
    encoder: Encoder,
    teachers: Teachers,
    options: EncoderOptions,
    saved: TrainingState,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> Encoder:
    """Train `encoder` in place; give the average of its weights. Resumes from the `saved` state.

    Each step samples faces and augmentations from its own number, so that a resumed run continues as the first
    one would have.

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    trainer = EncoderTrainer(encoder, teachers, options)
    if state := saved.load():
        trainer.restore(state)
    while trainer.step < options.steps:
        losses = trainer()
        on_step(trainer.step, losses)
        if trainer.step % options.checkpoint_every == 0 or trainer.step == options.steps:
            saved.save(trainer.state())
    return trainer.average


class EncoderTrainer:
    """One training of one encoder, a step per call."""

    def __init__(self, encoder: Encoder, teachers: Teachers, options: EncoderOptions) -> None:
        self.encoder, self.teachers, self.options = encoder.requires_grad_(True), teachers, options
        self.average = deepcopy(encoder).requires_grad_(False)
        trunk = list(encoder.trunk.parameters())
        known = set(map(id, trunk))
        rest = [parameter for parameter in encoder.parameters() if id(parameter) not in known]
        groups = [{"params": trunk, "share": 1.0}, {"params": rest, "share": options.readout_rate}]
        self.optimizer = torch.optim.Adam(groups, lr=options.learning_rate, betas=(0.9, 0.99), fused=True)
        weights = torch.tensor(options.row_weights or (1.0,) * encoder.layers)
        self.row_weights = (weights / weights.mean()).to(encoder.w_mean)
        self.step = 0

    def __call__(self) -> dict[str, float]:
        options, done = self.options, self.step / self.options.steps
        rate = options.learning_rate * min(1.0, (self.step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        chosen, crops = self._batch()
        device = self.encoder.w_mean.device
        codes = self.teachers.samples.codes[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            base, offsets = self.encoder.parts(crops.to(device))
        offsets = offsets.float() * self._opened(done)
        found = base.float()[:, None] + offsets
        losses = {"code": options.code_weight * self._code_distance(found, codes)}
        losses["offset"] = options.offset_weight * offsets.square().mean()
        if options.generated:
            losses |= self._image_losses(found[: options.generated], chosen[: options.generated])
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise OptimizationError(
                f"The encoder's loss became {loss.item()} at step {self.step} of {options.steps}. "
                f"Lower encoder.learning_rate (now {options.learning_rate:g})."
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), options.clip)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {name: value.item() for name, value in losses.items()}

    def state(self) -> dict[str, object]:
        """Everything needed to resume."""
        networks = {"encoder": self.encoder.state_dict(), "average": self.average.state_dict()}
        return networks | {"optimizer": self.optimizer.state_dict(), "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`."""
        self.encoder.load_state_dict(state["encoder"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Numbers of the samples, and their images as a camera would have seen them."""
        options, samples = self.options, self.teachers.samples
        noise = np.random.default_rng((options.seed, self.step))
        chosen = noise.integers(options.held_out, len(samples), options.batch)
        filmed = [film(samples.image(int(index), options.crop_size), options.augment, noise) for index in chosen]
        return torch.from_numpy(chosen), normalize_images(filmed)

    def _opened(self, done: float) -> Tensor:
        """0 to 1 for each row: how much of its offset is used; coarse rows first."""
        first, last = self.options.rows_open
        position = (done - first) / (last - first) * self.encoder.layers
        return (position - torch.arange(self.encoder.layers)).clamp(0, 1)[:, None].to(self.encoder.w_mean)

    def _code_distance(self, found: Tensor, codes: Tensor) -> Tensor:
        return ((found - codes).square().mean(dim=2) * self.row_weights).mean()

    def _image_losses(self, found: Tensor, chosen: Tensor) -> dict[str, Tensor]:
        options, size = self.options, self.options.image_size
        generated = self.teachers.generator(found, size)
        target = self.teachers.samples.images(chosen, size).to(generated)
        perceived: Tensor = self.teachers.perceptual(generated, target).mean()
        return {
            "mse": options.mse_weight * F.mse_loss(generated, target),
            "lpips": options.lpips_weight * perceived,
        }

    @torch.no_grad()
    def _average(self) -> None:
        weight = max(1 - self.options.average, 1 / (self.step + 1))
        for kept, value in zip(self.average.parameters(), self.encoder.parameters(), strict=True):
            kept.lerp_(value, weight)


@torch.no_grad()
def measure_encoder(encoder: Encoder, teachers: Teachers, options: EncoderOptions, size: int = 256) -> dict[str, float]:
    """Quality on held-out, undisturbed images: `unexplained` share of the codes' variance, `lpips`, …"""
    samples = teachers.samples
    rows = torch.arange(options.held_out)
    total = {"unexplained": 0.0, "offset": 0.0, "lpips": 0.0, "mse": 0.0}
    spread = (samples.codes[: len(samples)] - teachers.generator.w_mean.cpu()).square().mean()
    for row in rows:
        target = samples.images(row[None], options.crop_size).to(encoder.w_mean)
        found = encoder(target)
        generated = teachers.generator(found, size).clamp(-1, 1)
        target = F.avg_pool2d(target, options.crop_size // size)
        total["unexplained"] += ((found.cpu() - samples.codes[row]).square().mean() / spread).item()
        total["offset"] += (found - found.mean(dim=1, keepdim=True)).square().mean().sqrt().item()
        total["lpips"] += teachers.perceptual(generated, target).item()
        total["mse"] += F.mse_loss(generated, target).item()
    return {name: value / len(rows) for name, value in total.items()}


@torch.no_grad()
def _fit_squeeze(encoder: Encoder, images: Tensor) -> None:
    """Keep the main axes of the trunk's features, each at variance 1."""
    for squeeze, features in zip(encoder.squeeze, encoder.see(images), strict=True):
        assert isinstance(squeeze, nn.Conv2d)
        points = features.transpose(0, 1).flatten(1).T.double()
        mean = points.mean(dim=0)
        _, spread, axes = torch.linalg.svd((points - mean) / len(points) ** 0.5, full_matrices=False)
        kept = squeeze.out_channels
        weight = axes[:kept] / spread[:kept, None].clamp(min=1e-3 * float(spread[0]))  # few images have few axes
        squeeze.weight.copy_(weight[:, :, None, None])
        assert squeeze.bias is not None
        squeeze.bias.copy_(-weight @ mean)


@torch.no_grad()
def _fit_base(encoder: Encoder, samples: Samples, options: EncoderOptions) -> None:
    """Set `base` to the ridge regression of w on what the trunk sees."""
    first_row, end = options.held_out, min(options.held_out + options.start_samples, len(samples))
    noise = np.random.default_rng(options.seed)
    described: list[Tensor] = []
    for first in range(first_row, end, 64):
        rows = range(first, min(first + 64, end))
        filmed = [film(samples.image(row, options.crop_size), options.augment, noise) for row in rows]
        images = normalize_images(filmed).to(encoder.w_mean)
        if not described:
            _fit_squeeze(encoder, images)
        described.append(encoder.describe(images))
    features = torch.cat(described).double()
    targets = (samples.codes[first_row:end].mean(dim=1).to(encoder.w_mean) - encoder.w_mean).double()
    center, level = features.mean(dim=0), targets.mean(dim=0)
    features, targets = features - center, targets - level
    gram = features @ features.T  # fewer samples than features: the dual form
    gram.diagonal().add_(options.ridge * features.shape[1])
    weight = (features.T @ torch.linalg.solve(gram, targets)).T
    encoder.base.weight.copy_(weight)
    encoder.base.bias.copy_(level - weight @ center)


def normalize_images(images: Sequence[np.ndarray]) -> Tensor:
    """uint8 `size size rgb` as `image rgb size size` in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
