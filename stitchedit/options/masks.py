"""Regions of a crop for stitching."""

from dataclasses import dataclass

SIDE = 512  # px, of the masks


@dataclass(frozen=True)
class MaskOptions:
    inner: int = 0  # px at 512, by which the face grows before its border is taken
    outer: int = 25  # px at 512, width of the border around it
    whole_border: bool = False  # match everything around the face, not only `outer` px of it

    def __post_init__(self) -> None:
        for name in ("inner", "outer"):
            if not 0 <= getattr(self, name) <= SIDE:
                raise ValueError(f"masks.{name} must be in [0, {SIDE}] px, got {getattr(self, name)}")
