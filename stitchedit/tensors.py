"""Tensor types of networks; separate from `arrays`, which needs no PyTorch."""

from jaxtyping import Float32
from torch import Tensor

Image = Float32[Tensor, "face rgb size size"]
Mask = Float32[Tensor, "face 1 size size"]  # 0 = outside, 1 = inside
Latent = Float32[Tensor, "face layer channel"]  # W+
Direction = Float32[Tensor, "layer channel"]  # in W+; zero in the layers it leaves alone
