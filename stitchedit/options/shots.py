"""What counts as a cut."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ShotOptions:
    revision: ClassVar[int] = 1

    cut: float = 27.0  # mean change of hue, saturation and value, of 255, that is always a cut
    similar_cut: float = 15.0  # the same, enough when it stands out from the frames around
    stands_out: float = 3.0  # times the mean change of the two frames before and after
    black: float = 12.0  # mean level, of 255; a fade ends below it
    shortest: int = 8  # frames; a second boundary sooner than this belongs to the first

    def __post_init__(self) -> None:
        if not 0 < self.similar_cut <= self.cut:
            raise ValueError(f"shots.similar_cut must be in (0, shots.cut = {self.cut:g}], got {self.similar_cut:g}")
        if self.stands_out <= 1:
            raise ValueError(f"shots.stands_out must be > 1, got {self.stands_out:g}")
        if not 0 <= self.black <= 255:
            raise ValueError(f"shots.black must be in [0, 255], got {self.black:g}")
        if self.shortest < 1:
            raise ValueError(f"shots.shortest must be at least 1 frame, got {self.shortest}")
