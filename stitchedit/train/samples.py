"""Generated faces for training."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.nets.mobile_stylegan import MobileStyleGAN


@dataclass(frozen=True)
class SampleOptions:
    count: int = 2400
    mixed: float = 0.5  # share of codes that go over to another face's w at a random layer, by a random part
    layer_noise: float = 0.05  # standard deviation added to every row of a mixed code; w's own is .44
    truncation: tuple[float, ...] = (1.0, 0.85, 0.7)  # taken in turn
    size: int = 512  # px of the stored image
    seed: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.mixed <= 1:
            raise ValueError(f"samples.count must be >= 1 and samples.mixed in 0..1, got {self.count}, {self.mixed}")


@torch.no_grad()
def sample_codes(generator: MobileStyleGAN, options: SampleOptions) -> Tensor:
    """W+ codes, `sample layer channel`. The first ones stay what they are when `count` grows."""
    psi = torch.tensor(options.truncation)
    codes = torch.empty(options.count, generator.layers, generator.channels)
    for index in range(options.count):
        noise = torch.Generator().manual_seed(options.seed * 1_000_003 + index)
        pair: Tensor = generator.mapping(torch.randn(2, generator.channels, generator=noise))
        first, second = generator.w_mean + psi[index % len(psi)] * (pair - generator.w_mean)
        codes[index] = first
        if float(torch.rand(1, generator=noise)) < options.mixed:
            crossover = int(torch.randint(1, generator.layers, (1,), generator=noise))
            codes[index, crossover:] += torch.rand(1, generator=noise) * (second - first)
            codes[index] += torch.randn(codes.shape[1:], generator=noise) * options.layer_noise
    return codes


@torch.no_grad()
def generate_image(generator: MobileStyleGAN, code: Tensor, generated: int, stored: int) -> np.ndarray:
    """Area mean at `stored` px of an image generated at `generated` px from `layer channel`; uint8 `size size rgb`."""
    image = F.avg_pool2d(generator(code[None], generated), generated // stored)[0].permute(1, 2, 0)
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


@dataclass(frozen=True)
class Samples:
    """Codes and their images; more images may become available while these are in use."""

    codes: Tensor  # `sample layer channel`
    stored: np.ndarray  # uint8 `sample size size rgb`
    available: Callable[[], int]  # number of finished images

    def __len__(self) -> int:
        return self.available()

    def image(self, index: int, size: int) -> np.ndarray:
        """One image at `size`, uint8 `size size rgb`."""
        stored = np.asarray(self.stored[index])
        return stored if size == len(stored) else cv2.resize(stored, (size, size), interpolation=cv2.INTER_AREA)

    def images(self, indices: Tensor, size: int) -> Tensor:
        """Area means at `size`, `sample rgb size size` in [-1, 1]."""
        stored = torch.from_numpy(np.stack([self.stored[int(index)] for index in indices]))
        images = stored.permute(0, 3, 1, 2).float() / 127.5 - 1
        return F.avg_pool2d(images, images.shape[-1] // size)
