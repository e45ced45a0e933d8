"""StyleGAN2 from the pickles that NVIDIA publishes, read without running anything that is in them.

A file of stylegan2-ada-pytorch is a pickle of whole networks, each with the source code that is to be executed to
rebuild it. Here a network becomes the name of its class and its state, the source is left where it is, and a pickle
may name nothing but what is in `ALLOWED`.
"""

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stitchedit.errors import WeightsError
from stitchedit.nets.stylegan2 import FILTER_TAPS, MAPPING_LEARNING_RATE, Noise, StyleGAN2, StyleGAN2Shape

RENAMED = {
    r"^mapping\.w_avg$": "w_mean",
    r"^mapping\.fc": "mapping.layers.",
    r"^synthesis\.b4\.const$": "input",
    r"^synthesis\.b4\.conv1\.": "stem.",
    r"^synthesis\.b4\.torgb\.": "stem_image.",
    r"\.torgb\.": ".image.",
    r"noise_const$": "noise_image",
}


@dataclass(frozen=True)
class PickledModule:
    """One network module of a pickle."""

    class_name: str
    state: Mapping[str, Any]

    def walk(self, prefix: str = "") -> Iterator[tuple[str, "PickledModule"]]:
        """This module and those inside it, each with the prefix of its tensors' names."""
        yield prefix, self
        for name, module in self.state["_modules"].items():
            yield from module.walk(f"{prefix}{name}.")

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, as `state_dict` names them."""
        found = {}
        for prefix, module in self.walk():
            for name, value in (*module.state["_parameters"].items(), *module.state["_buffers"].items()):
                if value is not None:
                    found[prefix + name] = value.detach()
        return found


def read_stylegan2(path: Path, noise: Noise = Noise.CONSTANT) -> StyleGAN2:
    """The averaged generator (`G_ema`) of a StyleGAN2-ADA pickle.

    Raises:
        WeightsError: the file is missing, damaged, asks for something that is not a network, or holds a network of
            another kind (with labels, not the skip architecture).
    """
    networks = read_pickle(path)
    published = networks.get("G_ema") if isinstance(networks, Mapping) else None
    if not isinstance(published, PickledModule):
        raise WeightsError(f"{path} holds no network 'G_ema', so it is not a StyleGAN2-ADA pickle.")
    try:
        tensors = published.tensors()
        generator = StyleGAN2(_shape(published, tensors), noise)
        ours = {our_name(name): value for name, value in tensors.items() if not name.endswith("resample_filter")}
        generator.load_state_dict(ours)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"'G_ema' of {path} is not the StyleGAN2 that stitchedit knows: {error}") from error
    return generator.eval().requires_grad_(False)


def our_name(name: str) -> str:
    """The name in `StyleGAN2` of a published tensor."""
    for published, ours in RENAMED.items():
        name = re.sub(published, ours, name)
    return re.sub(r"^synthesis\.b(\d+)\.", lambda size: f"blocks.{int(size[1]).bit_length() - 4}.", name)


def read_pickle(path: Path) -> Any:
    """Read a pickle, with every module as a `PickledModule`.

    Raises:
        WeightsError: the file is missing, damaged, or asks for something that is not in `ALLOWED`.
    """
    try:
        with path.open("rb") as file:
            return _RestrictedUnpickler(file).load()
    except FileNotFoundError:
        raise WeightsError(f"There is no network file {path}.") from None
    except _RefusedError as refusal:
        raise WeightsError(f"{path} asks for {refusal}, which no network needs. It was not read.") from refusal
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise WeightsError(f"{path} cannot be read as a pickle of networks: {error!r}") from error


class _RefusedError(Exception):
    """The name of a global that a pickle may not have."""


@dataclass
class _NumberType:
    """Stands in for numpy.dtype, whose instances are shared and must not be changed by a file."""

    code: str
    byte_order: str = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = state[1].replace("|", "=")


def _number(kind: _NumberType, value: bytes) -> Any:
    return np.frombuffer(value, dtype=np.dtype(kind.byte_order + kind.code), count=1)[0].item()


def _storage(stream: bytes) -> Any:
    """The storage in a nested `torch.save` stream, read by PyTorch's own allow-list."""
    try:
        return torch.load(io.BytesIO(stream), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise
        raise _RefusedError(f"{refused[1]} (inside a tensor)") from error


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A view of `storage`; unlike PyTorch's own function it refuses to go beyond its end."""
    return torch.empty(0, dtype=storage.dtype).set_(storage).as_strided(size, stride, offset)


ALLOWED: Mapping[str, Callable[..., Any]] = {
    "builtins.set": set,
    "__builtin__.set": set,
    "collections.OrderedDict": OrderedDict,
    "dnnlib.util.EasyDict": dict,
    "numpy.dtype": lambda code, *_: _NumberType(code),
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage,
    "torch_utils.persistence._reconstruct_persistent_obj": lambda meta: PickledModule(
        meta["class_name"], meta["state"]
    ),
}


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows only the globals in `ALLOWED`, each by our stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = ALLOWED.get(f"{module}.{name}")
        if allowed is None:
            raise _RefusedError(f"{module}.{name}")
        # A pickle can set attributes on whatever it gets: built-in types refuse that, the rest is a throwaway.
        return allowed if isinstance(allowed, type) else partial(allowed)


def _shape(published: PickledModule, tensors: Mapping[str, Tensor]) -> StyleGAN2Shape:
    """Shape of the network from its tensors and attributes.

    Raises:
        ValueError: an attribute that no tensor shows is another than `StyleGAN2` has.
    """
    modules = dict(published.walk())
    clamps = {module.state["conv_clamp"] for module in modules.values() if "conv_clamp" in module.state}
    activations = {module.state["activation"] for name, module in modules.items() if re.search(r"(fc|conv)\d\.$", name)}
    rates = {module.state["bias_gain"] for name, module in modules.items() if name.startswith("mapping.fc")}
    if len(clamps) != 1 or activations != {"lrelu"} or rates != {MAPPING_LEARNING_RATE}:
        raise ValueError(f"clamps {clamps}, activations {activations}, learning rates of the mapping {rates}")
    taps = torch.tensor(FILTER_TAPS)
    low_pass = torch.outer(taps, taps) / taps.sum() ** 2
    for name, value in tensors.items():
        if name.endswith("resample_filter") and not torch.allclose(value, low_pass):
            raise ValueError(f"{name} is {value.tolist()}")
    sizes = sorted(int(match[1]) for name in modules if (match := re.fullmatch(r"synthesis\.b(\d+)\.", name)))
    return StyleGAN2Shape(
        z_channels=tensors["mapping.fc0.weight"].shape[1],
        w_channels=len(tensors["mapping.w_avg"]),
        mapping_layers=sum(name.startswith("mapping.fc") for name in modules),
        channels=tuple(len(tensors[f"synthesis.b{size}.conv1.weight"]) for size in sizes),
        clamp=clamps.pop(),
    )
