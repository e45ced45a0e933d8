"""Compositing of crops into frames."""

from dataclasses import dataclass

SIDE = 512  # px, of the masks
LONGEST_SIGMA = 60.0  # s; see stitchedit/options/align.py


@dataclass(frozen=True)
class Seam:
    """Outline of the pasted region, in px at 512."""

    feather: int  # half the width of the soft seam
    inset: int  # by which it ends before what may be pasted does
    edge: int  # along the crop's sides, that are never pasted
    edge_fade: int  # within which a face that reaches over the crop's side, as hair does, goes back to what it was


@dataclass(frozen=True)
class CompositeOptions:
    feather: int = 8  # px of the masks at 512; twice that is the width of the soft seam
    inset: int = 13  # px of the masks at 512, by which the seam ends before what was stitched does
    detail: float = 16.0  # 8-bit levels; where the edit changes less, what the generator cannot draw stays. 0 = nothing
    mouth_colors: bool = True  # lips and new teeth no more saturated than the clip's; `lipstick` turns it off
    edge: int = 6  # px of the masks at 512, along the crop's sides, that are never pasted
    edge_fade: int = 56  # likewise, within which a face that reaches over a side goes back to what it was
    steady_s: float = 0.16  # s, sigma over time, of the pasted faces, along the motion of the source; 0 = not smoothed

    def __post_init__(self) -> None:
        if self.detail < 0:
            raise ValueError(f"composite.detail must be >= 0 levels, got {self.detail}")
        if not 0 <= self.steady_s <= LONGEST_SIGMA:
            raise ValueError(f"composite.steady_s must be in [0, {LONGEST_SIGMA:g}] s, got {self.steady_s:g}")
        for name in ("feather", "inset", "edge", "edge_fade"):
            if not 0 <= getattr(self, name) <= SIDE:
                raise ValueError(f"composite.{name} must be in [0, {SIDE}] px, got {getattr(self, name)}")

    @property
    def seam(self) -> Seam:
        """Outline of the pasted region."""
        return Seam(self.feather, self.inset, self.edge, self.edge_fade)
