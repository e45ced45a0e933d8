"""Interface of generators. Nothing outside a generator's own file knows its layer count or sizes."""

from collections.abc import Iterable
from typing import Protocol, Self

from torch import Tensor, nn


class Generator(Protocol):
    """Codes to images, about [-1, 1]. An `nn.Module` whose weights a stage may copy and tune."""

    @property
    def mapping(self) -> nn.Module:
        """z to w."""

    @property
    def w_mean(self) -> Tensor:
        """Mean w, `channel`."""

    @property
    def layers(self) -> int:
        """Rows of a W+ code."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Image sizes in pixels, ascending."""

    def coarse_layers(self, size: int) -> int:
        """Number of first rows of a code that an image of `size` depends on."""

    def synthesis_parameters(self, size: int) -> Iterable[tuple[str, nn.Parameter]]:
        """Names and values of the weights that an image of `size` depends on."""

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...

    def __call__(self, w_plus: Tensor, size: int) -> Tensor: ...
