"""Which part of a crop is stitched."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class MaskOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different pixels

    inner: int = 0  # px at 512, by which the face grows before its border is taken
    outer: int = 25  # px at 512, width of the border around it
    whole_border: bool = False  # match everything around the face, not only `outer` px of it

    def __post_init__(self) -> None:
        if self.inner < 0 or self.outer < 0:
            raise ValueError(f"masks.inner and masks.outer must be >= 0, got {self.inner} and {self.outer}")
