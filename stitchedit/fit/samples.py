"""Faces that the generator makes itself: what heads and directions are fitted on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.nn import functional as F

from stitchedit.nets.mobile_stylegan import MobileStyleGAN


@dataclass(frozen=True)
class SampleOptions:
    single: int = 2400  # codes with the same w in every layer: directions are fitted on these
    mixed: int = 400  # codes of two faces, crossed over at a random layer, with noise per layer: for heads
    size: int = 512  # px of the stored picture
    truncation: tuple[float, ...] = (1.0, 0.7)  # taken in turn
    layer_noise: float = 0.15  # standard deviation added to every row of a mixed code
    seed: int = 1

    def __post_init__(self) -> None:
        if self.single < 1 or self.mixed < 0:
            raise ValueError(f"samples.single must be >= 1 and samples.mixed >= 0, got {self.single} and {self.mixed}")


@torch.no_grad()
def draw_codes(generator: MobileStyleGAN, options: SampleOptions) -> Tensor:
    """W+ codes, `sample layer channel`: first the single ones, then the mixed ones."""
    noise = torch.Generator().manual_seed(options.seed)
    count = options.single + options.mixed
    psi = torch.tensor(options.truncation)[torch.arange(count) % len(options.truncation), None]

    def draw() -> Tensor:
        w: Tensor = generator.mapping(torch.randn(count, generator.channels, generator=noise))
        return (generator.w_mean + psi * (w - generator.w_mean))[:, None].expand(-1, generator.layers, -1).clone()

    codes, others = draw(), draw()
    crossover = torch.randint(1, generator.layers, (count, 1), generator=noise)
    crossed = torch.arange(generator.layers)[None] >= crossover
    crossed[: options.single] = False
    codes[crossed] = others[crossed]
    jitter = torch.randn(codes.shape, generator=noise) * options.layer_noise
    codes[options.single :] += jitter[options.single :]
    return codes


@torch.no_grad()
def render_samples(
    generator: MobileStyleGAN,
    folder: Path,
    options: SampleOptions,
    on_sample: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `codes.npy` and `pictures.npy` (uint8, `sample size size rgb`, area means of the 1024 output) to `folder`.

    Picks up where an earlier call stopped: `done` counts finished pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = draw_codes(generator, options)
    np.save(folder / "codes.npy", codes.numpy())
    counter = folder / "done"
    done = int(counter.read_text()) if counter.exists() else 0
    shape = (len(codes), options.size, options.size, 3)
    pictures = open_memmap(folder / "pictures.npy", "r+" if done else "w+", np.uint8, shape)
    for index in range(done, len(codes)):
        picture = generator(codes[index : index + 1], 1024)
        picture = F.avg_pool2d(picture, 1024 // options.size)[0].permute(1, 2, 0)
        pictures[index] = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        counter.write_text(str(index + 1))
        on_sample(index + 1, len(codes))
