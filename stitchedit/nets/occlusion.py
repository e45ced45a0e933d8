"""Occlusion network: a small U-Net, trained on synthetic hands, microphones and objects.

The trunk is the ResNet-18 of the face-parsing network up to 1/16, its batch norms folded into the convolutions, so
that training starts from features that know faces.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.errors import WeightsError
from stitchedit.nets.encoder import fold_norms
from stitchedit.nets.face_parsing import DEVIATION, MEAN, ResNet18
from stitchedit.tensors import Image

WIDTHS = {"at_2": 64, "at_4": 64, "at_8": 128, "at_16": 256}  # channels of the trunk
WIDTH = 48  # channels of what is read from it


class OcclusionNet(nn.Module):
    """`face rgb size size` in [-1, 1] to logits of occlusion, `face 1 64 64`.

    Crops may have any size that is a multiple of `seen`: they are averaged down to it.
    """

    seen = 128  # px

    def __init__(self) -> None:
        super().__init__()
        trunk = fold_norms(ResNet18())
        self.conv1, self.layer1, self.layer2, self.layer3 = trunk.conv1, trunk.layer1, trunk.layer2, trunk.layer3
        self.lateral = nn.ModuleDict({name: nn.Conv2d(width, WIDTH, 1) for name, width in WIDTHS.items()})
        self.context = nn.Linear(WIDTHS["at_16"], WIDTH)
        self.merge = nn.ModuleDict({name: nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for name in WIDTHS})
        self.last = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, crops: Image) -> Float32[Tensor, "face 1 64 64"]:
        features = self.see(crops)
        found = self.context(features["at_16"].mean(dim=(2, 3)))[:, :, None, None]
        for name in reversed(WIDTHS):
            lateral = self.lateral[name](features[name])
            found = F.leaky_relu(lateral + F.interpolate(found, lateral.shape[2:], mode="nearest"), 0.1)
            found = found + F.leaky_relu(self.merge[name](found), 0.1)
        return self.last(found)  # type: ignore[no-any-return]

    def see(self, crops: Image) -> dict[str, Tensor]:
        """The trunk's features."""
        small = F.avg_pool2d(crops, crops.shape[-1] // self.seen)
        shift, scale = (small.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        half = F.relu(self.conv1(((small + 1) / 2 - shift) / scale))
        quarter = self.layer1(F.max_pool2d(half, 3, stride=2, padding=1))
        eighth = self.layer2(quarter)
        return {"at_2": half, "at_4": quarter, "at_8": eighth, "at_16": self.layer3(eighth)}


def load_occlusion_net(weights: Mapping[str, Tensor]) -> OcclusionNet:
    """The trained network, in float32 whatever it was stored in.

    Raises:
        WeightsError: they are not its weights.
    """
    network = OcclusionNet()
    try:
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except (AttributeError, RuntimeError) as error:
        raise WeightsError(f"These are not the weights of an occlusion network: {error}") from error
    return network.eval().requires_grad_(False)


def visible_logits(network: OcclusionNet, crops: Image) -> Tensor:
    """Mean logits over crops and their mirror images."""
    mirrored = network(crops.flip(3)).flip(3)
    return torch.stack([network(crops), mirrored]).mean(dim=0)
