"""Crops to codes in one pass: a base code and small offsets of its rows.

The form is e4e's, Tov et al. 2021 (arXiv 2102.02766): small offsets from one w keep codes near W, so editable. The
trunk is the ResNet-18 of the face-parsing network, so that training starts from features that know faces, with its
batch norms folded into the convolutions: a frozen norm would cost memory traffic and do nothing else.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stitchedit.errors import WeightsError
from stitchedit.nets.face_parsing import DEVIATION, MEAN, ResidualBlock, ResNet18
from stitchedit.tensors import Latent

SQUEEZED = {128: 4, 256: 24, 512: 96}  # channels kept of the features at 1/8, 1/16 and 1/32 of the image
PIXELS = 16  # px; the image itself at this size is read too: a parsing network's features know little of color


class Encoder(nn.Module):
    """`face rgb size size` in [-1, 1] to W+ codes, `face layer channel`.

    Crops may have any size that is a multiple of `seen`: they are averaged down to it.
    """

    seen = 128  # px
    w_mean: Tensor

    def __init__(self, layers: int = 16, channels: int = 512, hidden: int = 192, rank: int = 64) -> None:
        super().__init__()
        self.trunk = fold_norms(ResNet18())
        self.squeeze = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in SQUEEZED.items())
        places = [(self.seen // stride) ** 2 for stride in (8, 16, 32)]
        inputs = 3 * PIXELS**2 + sum(narrow * count for narrow, count in zip(SQUEEZED.values(), places, strict=True))
        self.base = nn.Linear(inputs, channels)
        self.hidden = nn.Linear(inputs, hidden)
        self.offsets = nn.Linear(hidden, layers * rank)
        self.basis = nn.Parameter(torch.zeros(rank, channels))
        self.layers = layers
        self.register_buffer("w_mean", torch.zeros(channels))
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, crops: Tensor) -> Latent:
        base, offsets = self.parts(crops)
        return base[:, None] + offsets

    def parts(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Base code, `face channel`, and offsets of its rows, `face layer channel`."""
        features = self.describe(crops)
        hidden = F.leaky_relu(self.hidden(features), 0.2)
        rows: Tensor = torch.unflatten(self.offsets(hidden), 1, (self.layers, -1)) @ self.basis
        return self.w_mean + self.base(features), rows

    def describe(self, crops: Tensor) -> Tensor:
        """Squeezed features of the trunk and a small copy of the image, flattened: `face feature`."""
        scales = zip(self.squeeze, self.see(crops), strict=True)
        pixels = F.avg_pool2d(crops, crops.shape[-1] // PIXELS)
        return torch.cat([pixels.flatten(1), *(squeeze(features).flatten(1) for squeeze, features in scales)], dim=1)

    def see(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's features at 1/8, 1/16 and 1/32 of `seen`."""
        small = F.avg_pool2d(crops, crops.shape[-1] // self.seen)
        shift, scale = (small.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return self.trunk(((small + 1) / 2 - shift) / scale)  # type: ignore[no-any-return]


def fold_norms(trunk: ResNet18) -> ResNet18:
    """Fold every batch norm of `trunk` into the convolution before it, in place."""
    trunk.eval()
    _fold(trunk, "conv1", "bn1")
    for block in trunk.modules():
        if isinstance(block, ResidualBlock):
            _fold(block, "conv1", "bn1")
            _fold(block, "conv2", "bn2")
            if isinstance(block.downsample, nn.Sequential):
                block.downsample = fuse_conv_bn_eval(*block.downsample)
    return trunk


def load_encoder(weights: Mapping[str, Tensor]) -> Encoder:
    """The trained encoder, in float32 whatever it was stored in.

    Raises:
        WeightsError: they are not an encoder's.
    """
    try:
        rank, channels = weights["basis"].shape
        hidden = len(weights["hidden.bias"])
        encoder = Encoder(len(weights["offsets.bias"]) // rank, channels, hidden, rank)
        encoder.load_state_dict({name: value.float() for name, value in weights.items()})
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"These are not the weights of an encoder: {error}") from error
    return encoder.eval().requires_grad_(False)


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
    setattr(module, norm, nn.Identity())
