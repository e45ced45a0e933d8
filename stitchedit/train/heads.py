"""Fit the generator's heads for 128 and 256 px, sizes that the published network lacks.

A head reads the features of an earlier block and has to draw what the full network would, seen from farther away:
the area mean of its 1024 px image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.nets.mobile_stylegan import HEAD_BLOCK, MobileStyleGAN, haar, head_layer
from stitchedit.train.checkpoint import TrainingState
from stitchedit.train.samples import Samples


@dataclass(frozen=True)
class HeadOptions:
    sizes: tuple[int, ...] = (128, 256)  # px
    steps: int = 1500
    batch: int = 2
    start_samples: int = 24  # for the least-squares start
    learning_rate: float = 1e-3  # cosine to 0, after a short warm-up
    held_out: int = 40  # the first samples, for measuring
    window: int = 128  # side of the feature window a step looks at
    checkpoint_every: int = 100  # steps
    seed: int = 2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"heads.steps and heads.batch must be >= 1, got {self.steps} and {self.batch}")


def fit_heads(
    generator: MobileStyleGAN,
    samples: Samples,
    options: HeadOptions,
    saved: TrainingState,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, loss: None,
) -> None:
    """Train `generator.heads` of `options.sizes` in place. Resumes from the `saved` state."""
    heads = nn.ModuleDict({str(size): generator.heads[str(size)] for size in options.sizes}).requires_grad_(True)
    optimizer = torch.optim.Adam(_parameter_groups(heads), betas=(0.9, 0.99))
    noise = torch.Generator().manual_seed(options.seed)
    first = 0
    if state := saved.load():
        heads.load_state_dict(state["heads"])
        optimizer.load_state_dict(state["optimizer"])
        noise.set_state(state["noise"])
        first = state["step"]

    for step in range(first, options.steps):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 50)
            rate = options.learning_rate * group["share"]
            group["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        chosen = torch.randint(options.held_out, len(samples), (options.batch,), generator=noise)
        features = block_features(generator, samples.codes[chosen], options.sizes)
        optimizer.zero_grad()
        losses = {}
        for size in options.sizes:
            window, top, left = _window(features[size].shape[-1], options.window, noise)
            rows, columns = slice(top, top + window), slice(left, left + window)
            generated = heads[str(size)](features[size][..., rows, columns], samples.codes[chosen][:, head_layer(size)])
            target = samples.images(chosen, size)
            target = target[..., 2 * top : 2 * (top + window), 2 * left : 2 * (left + window)]
            loss = F.mse_loss(generated, target)
            loss.backward()  # type: ignore[no-untyped-call]
            losses[f"mse {size}"] = loss.item()
        optimizer.step()
        on_step(step + 1, losses)
        if (step + 1) % options.checkpoint_every == 0 or step + 1 == options.steps:
            weights = {"heads": heads.state_dict(), "optimizer": optimizer.state_dict()}
            saved.save(weights | {"noise": noise.get_state(), "step": step + 1})
    heads.requires_grad_(False)


@torch.no_grad()
def least_squares_start(generator: MobileStyleGAN, samples: Samples, options: HeadOptions) -> None:
    """Set each head's 1x1 to the least-squares fit of the targets' Haar bands on the features, without style."""
    gram, moment = dict.fromkeys(options.sizes, torch.zeros(())), dict.fromkeys(options.sizes, torch.zeros(()))
    for index in range(options.held_out, options.held_out + options.start_samples):
        features = block_features(generator, samples.codes[index][None], options.sizes)
        for size in options.sizes:
            style = samples.codes[index][None, head_layer(size)]
            modulated = generator.head(size).modulation(features[size], style)
            inputs = F.pad(modulated.flatten(2)[0], (0, 0, 0, 1), value=1.0)  # a row of ones for the bias
            bands = haar(samples.images(torch.tensor([index]), size)).flatten(2)[0]
            gram[size] = gram[size] + (inputs @ inputs.T).double()
            moment[size] = moment[size] + (inputs @ bands.T).double()
    for size in options.sizes:
        ridge = 1e-5 * gram[size].diagonal().mean() * torch.eye(len(gram[size]), dtype=torch.float64)
        solution = torch.linalg.solve(gram[size] + ridge, moment[size]).T.float()
        convolution = generator.head(size).bands
        convolution.weight.copy_(solution[:, :-1, None, None])
        assert convolution.bias is not None
        convolution.bias.copy_(solution[:, -1])


@torch.no_grad()
def measure_heads(generator: MobileStyleGAN, samples: Samples, options: HeadOptions) -> dict[int, float]:
    """Mean PSNR in dB on the held-out samples, for each size."""
    total = dict.fromkeys(options.sizes, 0.0)
    held_out = torch.arange(options.held_out)
    for index in held_out:
        features = block_features(generator, samples.codes[index][None], options.sizes)
        for size in options.sizes:
            code = samples.codes[index][None, head_layer(size)]
            generated = generator.heads[str(size)](features[size], code).clamp(-1, 1)
            error = F.mse_loss(generated, samples.images(index[None], size)).item()
            total[size] += 10 * math.log10(4 / error) / len(held_out)
    return total


@torch.no_grad()
def block_features(generator: MobileStyleGAN, codes: Tensor, sizes: tuple[int, ...]) -> dict[int, Tensor]:
    """Features that the head of each size reads, from one pass through the network."""
    read_at = {HEAD_BLOCK[size]: size for size in sizes}
    found = {}
    features = generator.stem(generator.input.expand(len(codes), -1, -1, -1), codes[:, 0])
    for index, block in enumerate(generator.blocks[: max(read_at) + 1]):
        features = block(features, codes[:, 2 * index + 1], codes[:, 2 * index + 2])
        if index in read_at:
            found[read_at[index]] = features
    return found


def _parameter_groups(heads: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: style weights, which sum over 512 channels of w, at a twentieth of the rate."""
    styles = [parameter for name, parameter in heads.named_parameters() if name.endswith("affine.weight")]
    others = [parameter for name, parameter in heads.named_parameters() if not name.endswith("affine.weight")]
    return [{"params": others, "share": 1.0}, {"params": styles, "share": 0.05}]


def _window(side: int, window: int, noise: torch.Generator) -> tuple[int, int, int]:
    window = min(window, side)
    top, left = torch.randint(0, side - window + 1, (2,), generator=noise).tolist()
    return window, top, left
