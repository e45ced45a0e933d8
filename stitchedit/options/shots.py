"""Detection of cuts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShotOptions:
    cut: float = 27.0  # mean change of hue, saturation and value, of 255, that is always a cut
    similar_cut: float = 15.0  # the same, enough when it stands out from the frames around
    stands_out: float = 3.0  # times the mean change of the two frames before and after
    slight_cut: float = 6.0  # likewise, enough amid stillness: two people before one backdrop make 10 to 20
    stillness: float = 4.0  # times the largest change of the `shortest` frames before and after
    black: float = 12.0  # mean level, of 255; a fade ends below it
    shortest: int = 8  # frames; a second boundary sooner than this belongs to the first

    def __post_init__(self) -> None:
        if not 0 < self.similar_cut <= self.cut:
            raise ValueError(f"shots.similar_cut must be in (0, shots.cut = {self.cut:g}], got {self.similar_cut:g}")
        if not 0 < self.slight_cut <= self.similar_cut:
            raise ValueError(
                f"shots.slight_cut must be in (0, shots.similar_cut = {self.similar_cut:g}], got {self.slight_cut:g}"
            )
        for name in ("stands_out", "stillness"):
            if not getattr(self, name) > 1:
                raise ValueError(f"shots.{name} must be > 1, got {getattr(self, name):g}")
        if not 0 <= self.black <= 255:
            raise ValueError(f"shots.black must be in [0, 255], got {self.black:g}")
        if self.shortest < 1:
            raise ValueError(f"shots.shortest must be at least 1 frame, got {self.shortest}")
