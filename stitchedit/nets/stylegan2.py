"""StyleGAN2-ADA: faces from W, the network that tuning and stitching were published with.

Karras et al. 2020 (arXiv 1912.04958, 2006.06676), the skip generator of stylegan2-ada-pytorch. Equalised learning
rates are kept as there: a stored weight is scaled each time it is used, so that an Adam step means the same. Plain
PyTorch operations in float32; nothing depends on `train()` or `eval()`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.errors import UnknownNameError
from stitchedit.nets.precision import mixed

MAPPING_LEARNING_RATE = 0.01  # of the mapping network, relative to the rest
FILTER_TAPS = (1.0, 3.0, 3.0, 1.0)


class Noise(Enum):
    """Noise added to the features of every layer."""

    CONSTANT = "constant"  # the image stored with the layer, so that a code always gives the same face
    NONE = "none"


@dataclass(frozen=True)
class StyleGAN2Shape:
    """Sizes of the weights, and the one number that does not follow from them."""

    z_channels: int
    w_channels: int
    mapping_layers: int
    channels: tuple[int, ...]  # of the 4 px features, the 8 px features, and so on up to the image's size
    clamp: float | None = None  # largest magnitude a layer gives; None = no limit


class ScaledLinear(nn.Module):
    """A linear layer whose weight and bias learn at `learning_rate`."""

    def __init__(self, channels_in: int, channels_out: int, learning_rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in) / learning_rate)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.weight_gain = learning_rate * channels_in**-0.5
        self.bias_gain = learning_rate

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight * self.weight_gain, self.bias * self.bias_gain)


class MappingNetwork(nn.Module):
    """z to w: `frame channel` to `frame channel`."""

    def __init__(self, shape: StyleGAN2Shape) -> None:
        super().__init__()
        widths = [shape.z_channels] + [shape.w_channels] * shape.mapping_layers
        self.layers = nn.ModuleList(
            ScaledLinear(inner, outer, MAPPING_LEARNING_RATE) for inner, outer in pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2) * 2**0.5
        return w


class StyledConv(nn.Module):
    """Modulate, convolve 3x3, demodulate, add noise and bias, leaky ReLU. `convolve` keeps the size or doubles it."""

    noise_image: Tensor

    def __init__(self, channels_in: int, channels_out: int, size: int, shape: StyleGAN2Shape) -> None:
        super().__init__()
        self.convolve: Callable[[Tensor, Tensor], Tensor] = convolve_same
        self.affine = ScaledLinear(shape.w_channels, channels_in)
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_image", torch.randn(size, size))
        self.noise = Noise.CONSTANT
        self.clamp = shape.clamp

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        features = self.convolve(features * style[:, :, None, None], self.weight)
        features = features * demodulation(self.weight, style)[:, :, None, None]
        if self.noise is Noise.CONSTANT:
            features = features + self.noise_image * self.noise_strength
        features = F.leaky_relu(features + self.bias[:, None, None], 0.2) * 2**0.5
        return _limited(features, self.clamp)


class ImageLayer(nn.Module):
    """Features to RGB: a modulated 1x1 convolution, not demodulated."""

    def __init__(self, channels: int, shape: StyleGAN2Shape) -> None:
        super().__init__()
        self.affine = ScaledLinear(shape.w_channels, channels)
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(3, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.gain = channels**-0.5
        self.clamp = shape.clamp

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        image = F.conv2d(features * (self.gain * style)[:, :, None, None], self.weight, self.bias)
        return _limited(image, self.clamp)


class SynthesisBlock(nn.Module):
    """Double the size of features and image: two styled convolutions, and what they add to the image."""

    def __init__(self, channels_in: int, channels_out: int, size: int, shape: StyleGAN2Shape) -> None:
        super().__init__()
        self.conv0 = StyledConv(channels_in, channels_out, size, shape)
        self.conv0.convolve = convolve_doubled
        self.conv1 = StyledConv(channels_out, channels_out, size, shape)
        self.image = ImageLayer(channels_out, shape)

    def styles(self, rows: Tensor) -> list[Tensor]:
        """Style codes of the three layers, from their rows of W+: `frame 3 channel`."""
        return [self.conv0.affine(rows[:, 0]), self.conv1.affine(rows[:, 1]), self.image.affine(rows[:, 2])]

    def forward(self, features: Tensor, image: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features = self.conv1(self.conv0(features, styles[0]), styles[1])
        return features, double_size(image) + self.image(features, styles[2])


class StyleGAN2(nn.Module):
    """The generator: W+ codes to faces.

    `forward(w_plus, size)` takes `frame layer channel` codes and gives `frame rgb size size` images, about [-1, 1].
    `size` is there because other generators have several; this one has the one in `sizes`.
    """

    mapping: nn.Module
    autocast_dtype: torch.dtype | None = None  # of the arithmetic inside; None = the weights' own
    w_mean: Tensor

    def __init__(self, shape: StyleGAN2Shape, noise: Noise = Noise.CONSTANT) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = MappingNetwork(shape)
        self.input = nn.Parameter(torch.randn(shape.channels[0], 4, 4))
        self.stem = StyledConv(shape.channels[0], shape.channels[0], 4, shape)
        self.stem_image = ImageLayer(shape.channels[0], shape)
        self.blocks: Sequence[SynthesisBlock] = nn.ModuleList(  # type: ignore[assignment]
            SynthesisBlock(inner, outer, 8 << index, shape)
            for index, (inner, outer) in enumerate(pairwise(shape.channels))
        )
        self.register_buffer("w_mean", torch.zeros(shape.w_channels))
        for module in self.modules():
            if isinstance(module, StyledConv):
                module.noise = noise

    @property
    def layers(self) -> int:
        """Rows of a W+ code."""
        return 2 * len(self.shape.channels)

    @property
    def channels(self) -> int:
        """Columns of a W+ code."""
        return self.shape.w_channels

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image size, in pixels."""
        return (2 << len(self.shape.channels),)

    def forward(self, w_plus: Tensor, size: int) -> Tensor:
        self._check(size)
        with mixed(self.autocast_dtype, w_plus):
            image = self.paint(self.styles(w_plus))
        return image.to(w_plus.dtype)

    def codes(self, z: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """W+ codes of `z`, `frame layer channel`, with the first `cutoff` rows (None: all) truncated towards the mean.

        `truncation` is what is left of the distance to the mean: 1 = all, 0 = the mean face.
        """
        kept = torch.ones(self.layers, 1, dtype=z.dtype, device=z.device)
        kept[:cutoff] = truncation
        return torch.lerp(self.w_mean, self.mapping(z)[:, None], kept)

    def styles(self, w_plus: Tensor) -> list[Tensor]:
        """Style codes, one `frame channel` per layer: the stem's, its image's, then three per block.

        Style space: Wu et al. 2021 (arXiv 2011.12799).
        """
        styles = [self.stem.affine(w_plus[:, 0]), self.stem_image.affine(w_plus[:, 1])]
        for index, block in enumerate(self.blocks):  # an image layer shares its row with the next convolution
            styles += block.styles(w_plus[:, 2 * index + 1 : 2 * index + 4])
        return styles

    def paint(self, styles: Sequence[Tensor]) -> Tensor:
        """Generate images from style codes."""
        features = self.input.expand(len(styles[0]), -1, -1, -1)
        features = self.stem(features, styles[0])
        image: Tensor = self.stem_image(features, styles[1])
        for index, block in enumerate(self.blocks):
            features, image = block(features, image, styles[3 * index + 2 : 3 * index + 5])
        return image

    def coarse_layers(self, size: int) -> int:
        """Number of first rows of a code that an image of `size` depends on: all of them."""
        self._check(size)
        return self.layers

    def synthesis_parameters(self, size: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and value of the weights that an image of `size` depends on; the mapping network is not among them."""
        self._check(size)
        for name, parameter in self.named_parameters():
            if not name.startswith("mapping."):
                yield name, parameter

    def _check(self, size: int) -> None:
        if size not in self.sizes:
            raise UnknownNameError("image size", str(size), map(str, self.sizes))


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Factors, `frame channel`, that give every output channel of the modulated `weight` unit norm."""
    return torch.rsqrt(style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8)


def convolve_same(features: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution that keeps the size."""
    return F.conv2d(features, weight, padding=1)


def convolve_doubled(features: Tensor, weight: Tensor) -> Tensor:
    """Transposed 3x3 convolution to twice the size, then the low-pass filter."""
    features = F.conv_transpose2d(features, weight.transpose(0, 1), stride=2)
    channels = features.shape[1]
    return F.conv2d(features, _low_pass(features).expand(channels, 1, -1, -1), padding=1, groups=channels)


def double_size(image: Tensor) -> Tensor:
    """Twice the size: zeros in between, then the low-pass filter."""
    channels = image.shape[1]
    return F.conv_transpose2d(image, _low_pass(image).expand(channels, 1, -1, -1), stride=2, padding=1, groups=channels)


def _low_pass(like: Tensor) -> Tensor:
    """The filter, 4x4; sums to 4, because three of four samples it sees are zeros."""
    taps = torch.tensor(FILTER_TAPS, dtype=like.dtype, device=like.device)
    return torch.outer(taps, taps) / taps.sum() ** 2 * 4


def _limited(features: Tensor, limit: float | None) -> Tensor:
    return features if limit is None else features.clamp(-limit, limit)
