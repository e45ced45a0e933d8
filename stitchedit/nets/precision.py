"""Arithmetic inside a network: float32, or bfloat16 for what autocast deems safe."""

import torch
from torch import Tensor


def mixed(dtype: torch.dtype | None, like: Tensor) -> torch.autocast:
    """Autocast to `dtype` on the device of `like`; None = arithmetic as the tensors are.

    Weights stay float32 and are cast at every use: between two uses an optimizer may have changed them.
    """
    return torch.autocast(like.device.type, dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=False)
