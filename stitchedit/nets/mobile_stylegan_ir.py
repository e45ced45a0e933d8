"""MobileStyleGAN from its two published OpenVINO IR graphs, as they come in the PyPI package `random-face`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stitchedit.errors import WeightsError
from stitchedit.nets.mobile_stylegan import STYLE_CHANNELS, MobileStyleGAN, mean_code
from stitchedit.nets.openvino_ir import Constant, read_constants


def read_mobile_stylegan(mapping: Path, synthesis: Path, sizes: Sequence[int] = ()) -> MobileStyleGAN:
    """The published network from its two IR graphs (`MappingNetwork.xml`, `SynthesisNetwork.xml`).

    It draws 512 and 1024 px; heads for other `sizes` are made too, untrained: fill them with `load_heads`.

    Raises:
        WeightsError: a graph is not that network.
    """
    generator = MobileStyleGAN((*sizes, 1024))
    state = {f"mapping.{name}": value for name, value in _mapping_weights(read_constants(mapping)).items()}
    state |= _synthesis_weights(read_constants(synthesis))
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    missing, unexpected = generator.load_state_dict(tensors, strict=False)
    missing = [
        name for name in missing if name != "w_mean" and not name.startswith(tuple(f"heads.{size}." for size in sizes))
    ]
    if missing or unexpected:
        raise WeightsError(f"{synthesis} is not MobileStyleGAN: it lacks {missing}, has {unexpected} besides.")
    generator.w_mean.copy_(mean_code(generator.mapping))
    return generator.eval().requires_grad_(False)


def _mapping_weights(constants: Sequence[Constant]) -> dict[str, np.ndarray]:
    """Weights of the eight layers. Published as `input output`, and already scaled by the learning-rate multiplier."""
    matrices = [constant.value for constant in constants if constant.value.shape == (STYLE_CHANNELS, STYLE_CHANNELS)]
    biases = [constant.value for constant in constants if constant.value.shape == (STYLE_CHANNELS,)]
    weights = {f"layers.{index}.weight": matrix for index, matrix in enumerate(matrices)}
    return weights | {f"layers.{index}.bias": bias for index, bias in enumerate(biases)}


def _synthesis_weights(constants: Sequence[Constant]) -> dict[str, np.ndarray]:
    """Published names to ours. A pointwise weight and a noise have none: they stand right before their layer's bias."""
    maps = [constant for constant in constants if constant.value.ndim == 4 and constant.value.size > 1]
    state: dict[str, np.ndarray] = {}
    for index, (name, value) in enumerate(maps):
        if name.endswith(".bias"):
            state[_our_name(name)] = value.reshape(-1)
            if "to_img" not in name:
                layer = _our_name(name).removesuffix("bias")
                state[f"{layer}pointwise.weight"], state[f"{layer}noise"] = maps[index - 2].value, maps[index - 1].value
    for name, value in constants:
        if name.endswith("weight_dw"):
            state[_our_name(name)] = value.reshape(-1, 1, 3, 3)
        elif ".modulation." in name:
            state[_our_name(name)] = value.reshape(-1) if name.endswith("bias") else value
        elif name.endswith(("input.input", "to_img.conv.weight")):
            state[_our_name(name)] = value
    return state


RENAMED = {
    "m.input.input": "input",
    "m.layers.6.to_img.conv.weight": "m.layers.6.to_img.bands.weight",
    "m.layers.6.to_img.bias": "m.layers.6.to_img.bands.bias",
}
RENAMED_PARTS = {
    "m.layers.6.to_img.": "heads.1024.",
    "m.conv1.": "stem.",
    "m.layers.": "blocks.",
    "conv.modulation.": "modulation.",
    "conv.weight_dw": "depthwise.weight",
    "modulation.": "modulation.affine.",
    "up.modulation.": "up.",
}


def _our_name(name: str) -> str:
    name = RENAMED.get(name, name)
    for published, ours in RENAMED_PARTS.items():
        name = name.replace(published, ours)
    return name
