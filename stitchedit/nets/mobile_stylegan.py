"""MobileStyleGAN: FFHQ faces up to 1024 px from StyleGAN2's own W space, with 7.3 M parameters.

Belousov 2021 (arXiv 2104.04767), as distilled from StyleGAN2-FFHQ and published as OpenVINO IR in the PyPI package
`random-face`. Demodulation is folded into the published weights and noise is a constant, so that a code
always gives the same image.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.errors import WeightsError
from stitchedit.nets.precision import mixed

STYLE_CHANNELS = 512
CHANNELS = (512, 512, 512, 512, 256, 128, 64)  # after block 0 (8x8) to block 6 (512x512)
IMAGE_CHANNELS = 12  # four Haar bands of RGB
HEAD_BLOCK = {128: 3, 256: 4, 512: 6, 1024: 6}  # image size -> the block whose features its head reads
HALF = 512  # px: the low Haar band of the published 1024 px, so that size has no head of its own


class MobileMapping(nn.Module):
    """z to w: StyleGAN2's mapping network, eight layers."""

    def __init__(self, layers: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(STYLE_CHANNELS, STYLE_CHANNELS) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2) * 2**0.5
        return w


class Modulation(nn.Module):
    """Channel gains from a style: `gain * (A w + b)`."""

    def __init__(self, channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.affine = nn.Linear(STYLE_CHANNELS, channels)
        self.gain = gain

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        gains: Tensor = self.gain * self.affine(w)
        return features * gains[:, :, None, None]


class MobileStyledConv(nn.Module):
    """Modulate, convolve, add the noise constant and the bias, leaky ReLU.

    The convolution is depthwise 3x3 then 1x1; the stem alone has a full 3x3 (`depthwise=False`).
    """

    noise: Tensor

    def __init__(self, channels_in: int, channels_out: int, size: int, *, depthwise: bool = True) -> None:
        super().__init__()
        self.modulation = Modulation(channels_in, gain=1 / (channels_in * 9) ** 0.5)
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, padding=1, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        if not depthwise:
            self.depthwise = nn.Identity()  # type: ignore[assignment]
            self.pointwise = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        features = self.pointwise(self.depthwise(self.modulation(features, w)))
        return F.leaky_relu(features + self.noise + self.bias[:, None, None], 0.2)


class MobileBlock(nn.Module):
    """Double the size: modulated inverse Haar, then two styled convolutions. Takes two styles, the first one twice."""

    def __init__(self, channels_in: int, channels_out: int, size: int) -> None:
        super().__init__()
        self.up = Modulation(channels_in)
        self.conv1 = MobileStyledConv(channels_in // 4, channels_out, size)
        self.conv2 = MobileStyledConv(channels_out, channels_out, size)

    def forward(self, features: Tensor, w_first: Tensor, w_second: Tensor) -> Tensor:
        features = inverse_haar(self.up(features, w_first))
        return self.conv2(self.conv1(features, w_first), w_second)  # type: ignore[no-any-return]


class ImageHead(nn.Module):
    """Features to RGB at twice their size: a styled, small convolution to Haar bands.

    `hidden` = 0 is the published 1024 head, a modulated 1x1. The heads for 128 and 256 px are ours: the published
    network makes no such image, so they have to stand in for the blocks they skip and get one hidden layer.
    """

    def __init__(self, channels: int, hidden: int = 0) -> None:
        super().__init__()
        self.modulation = Modulation(channels, gain=channels**-0.5)
        self.bands = nn.Conv2d(channels, IMAGE_CHANNELS, 1)
        self.hidden = hidden
        if hidden:
            self.reduce = nn.Conv2d(channels, hidden, 1)
            self.mix = nn.Conv2d(hidden, hidden, 3, padding=1)
            self.detail = nn.Conv2d(hidden, IMAGE_CHANNELS, 3, padding=1)
            nn.init.zeros_(self.detail.weight)
        nn.init.zeros_(self.modulation.affine.weight)
        nn.init.ones_(self.modulation.affine.bias)

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        features = self.modulation(features, w)
        bands = self.bands(features)
        if self.hidden:
            mixed = F.leaky_relu(self.reduce(features), 0.2)
            mixed = F.leaky_relu(self.mix(mixed), 0.2)
            bands = bands + self.detail(mixed)
        return inverse_haar(bands)

    def low_band(self, features: Tensor, w: Tensor) -> Tensor:
        """The area mean of the image over 2x2 pixels, exactly. `hidden` has to be 0."""
        low = slice(0, IMAGE_CHANNELS // 4)
        bias = None if self.bands.bias is None else self.bands.bias[low]
        return 0.5 * F.conv2d(self.modulation(features, w), self.bands.weight[low], bias)


def inverse_haar(bands: Tensor) -> Tensor:
    """Inverse 2-D Haar transform: `n (4 c) h w` to `n c (2 h) (2 w)`.

    The first quarter of the channels is the low band; the rest is (channel, band) with bands lh, hl, hh.
    """
    count, channels, height, width = bands.shape
    low, high = torch.split(bands, [channels // 4, channels - channels // 4], dim=1)
    lh, hl, hh = high.reshape(count, channels // 4, 3, height, width).unbind(dim=2)
    top, bottom, top_high, bottom_high = low + lh, low - lh, hl + hh, hl - hh
    corners = [top + top_high, top - top_high, bottom + bottom_high, bottom - bottom_high]
    return F.pixel_shuffle(0.5 * torch.stack(corners, dim=2).flatten(1, 2), 2)


def haar(image: Tensor) -> Tensor:
    """2-D Haar transform, the exact inverse of `inverse_haar`: `n c (2 h) (2 w)` to `n (4 c) h w`."""
    corners = torch.unflatten(F.pixel_unshuffle(image, 2), 1, (-1, 4))
    a, b, c, d = corners.unbind(dim=2)
    low, rest = a + b + c + d, [a + b - c - d, a - b + c - d, a - b - c + d]
    return 0.5 * torch.cat([low, torch.stack(rest, dim=2).flatten(1, 2)], dim=1)


class MobileStyleGAN(nn.Module):
    """The generator: W+ codes to faces.

    `forward(w_plus, size)` takes `frame layer channel` codes and gives `frame rgb size size` images, about [-1, 1].
    """

    layers = 16  # rows of a W+ code
    channels = STYLE_CHANNELS
    autocast_dtype: torch.dtype | None = None  # of the arithmetic inside; None = the weights' own
    w_mean: Tensor

    def __init__(self, sizes: Sequence[int] = (1024,), head_channels: int = 64) -> None:
        super().__init__()
        self.mapping = MobileMapping()
        self.input = nn.Parameter(torch.zeros(1, CHANNELS[0], 4, 4))
        self.stem = MobileStyledConv(CHANNELS[0], CHANNELS[0], 4, depthwise=False)
        widths = zip((CHANNELS[0], *CHANNELS), CHANNELS, strict=False)
        self.blocks = nn.ModuleList(
            MobileBlock(inner, outer, 8 << index) for index, (inner, outer) in enumerate(widths)
        )
        self.heads = nn.ModuleDict(
            {
                str(size): ImageHead(CHANNELS[HEAD_BLOCK[size]], 0 if size == 1024 else head_channels)
                for size in sizes
                if size != HALF
            }
        )
        self.register_buffer("w_mean", torch.zeros(STYLE_CHANNELS))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Image sizes in pixels."""
        return tuple(sorted({int(size) for size in self.heads} | ({HALF} if "1024" in self.heads else set())))

    def forward(self, w_plus: Tensor, size: int) -> Tensor:
        with mixed(self.autocast_dtype, w_plus):
            features, style = self.features(w_plus, HEAD_BLOCK[size]), w_plus[:, head_layer(size)]
            head = self.head(size)
            image: Tensor = head.low_band(features, style) if size == HALF else head(features, style)
        return image.to(w_plus.dtype)

    def head(self, size: int) -> ImageHead:
        """Head that makes images of `size`."""
        head = self.heads[_head_name(size)]
        assert isinstance(head, ImageHead)
        return head

    def features(self, w_plus: Tensor, last_block: int) -> Tensor:
        """Features after `last_block`, `frame channel side side`."""
        features = self.input.expand(len(w_plus), -1, -1, -1)
        features = self.stem(features, w_plus[:, 0])
        for index, block in enumerate(self.blocks[: last_block + 1]):
            features = block(features, w_plus[:, 2 * index + 1], w_plus[:, 2 * index + 2])
        return features  # type: ignore[no-any-return]

    def coarse_layers(self, size: int) -> int:
        """Number of first rows of a code that an image of `size` depends on."""
        return head_layer(size) + 1

    def synthesis_parameters(self, size: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and value of the weights that an image of `size` depends on; the mapping network is not among them."""
        used = (
            "input",
            "stem.",
            f"heads.{_head_name(size)}.",
            *(f"blocks.{block}." for block in range(HEAD_BLOCK[size] + 1)),
        )
        for name, parameter in self.named_parameters():
            if name.startswith(used):
                yield name, parameter


def head_layer(size: int) -> int:
    """The row of a W+ code that styles the head for `size`: the one after its features' last row."""
    return 2 * HEAD_BLOCK[size] + 3


def _head_name(size: int) -> str:
    return "1024" if size == HALF else str(size)


@torch.no_grad()
def mean_code(mapping: nn.Module, samples: int = 16_384, seed: int = 0) -> Tensor:
    """Mean w over `samples` random z."""
    noise = torch.Generator().manual_seed(seed)
    total = torch.zeros(STYLE_CHANNELS, dtype=torch.float64)
    for _ in range(samples // 4096):
        total += mapping(torch.randn(4096, STYLE_CHANNELS, generator=noise)).double().sum(dim=0)
    return (total / (samples // 4096 * 4096)).float()


def load_heads(generator: MobileStyleGAN, weights: dict[str, Tensor]) -> None:
    """Give `generator` the heads in `weights` (`SIZE.name`), beside those it has.

    Raises:
        WeightsError: they are not heads of this network.
    """
    for size in sorted({int(name.partition(".")[0]) for name in weights}):
        state = {name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{size}.")}
        head = ImageHead(CHANNELS[HEAD_BLOCK[size]], hidden=len(state.get("reduce.bias", ())))
        try:
            head.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"The head for {size} px does not fit: {error}") from error
        generator.heads[str(size)] = head.eval().requires_grad_(False)
