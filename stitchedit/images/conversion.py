"""Conversions between stored images and the tensors of networks."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stitchedit.images.depth import SHALLOW, StoredLevels, to_levels, to_stored


def to_images(stored: StoredLevels, device: torch.device) -> Tensor:
    """Convert stored images, uint8 or uint16 `face rgb size size`, to float32 in [-1, 1]."""
    images = torch.from_numpy(to_levels(stored)).to(device).float() / 127.5 - 1
    return images if stored.dtype == SHALLOW else images.clamp(-1, 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images in [-1, 1] to uint8 `face rgb size size`."""
    return ((images.detach().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def images_to_stored(images: Tensor, dtype: np.dtype[Any]) -> StoredLevels:
    """Convert images in [-1, 1] to stored `face rgb size size`: uint8, or uint16 without the rounding to 8 bits."""
    if dtype == SHALLOW:
        return to_uint8(images)
    return to_stored(((images.detach().clamp(-1, 1) + 1) * 127.5).cpu().numpy(), dtype)
