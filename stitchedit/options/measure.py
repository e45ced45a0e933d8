"""Bounds from which an edit is reviewed, or fails."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MeasureOptions:
    tl_id_review: float = 0.005  # |1 - TL-ID|
    tl_id_fail: float = 0.02
    tg_id_review: float = 0.02  # |1 - TG-ID|
    tg_id_fail: float = 0.10
    ring_review: float = 2.0  # 8-bit levels, mean of the track
    ring_fail: float = 5.0
    warp_review: float = 1.10  # warp error of the result over that of the source
    warp_fail: float = 1.50
    lpips_review: float = 0.10  # of the tuned reconstruction
    lpips_fail: float = 0.20
    outside_review: float = 0.0  # 8-bit levels; anything more is a fault of ours
    outside_fail: float = 0.0
    strength_review: float = 0.1  # standard deviations the edited score has to move, the way that was asked for
    scored_faces: int = 24  # of a track, evenly spread, on which attributes and reconstruction are measured
    worst: int = 6  # frames named of a track

    def __post_init__(self) -> None:
        for name in [field.name.removesuffix("_fail") for field in fields(self) if field.name.endswith("_fail")]:
            review, fail = getattr(self, f"{name}_review"), getattr(self, f"{name}_fail")
            if not 0 <= review <= fail:
                raise ValueError(
                    f"measure.{name}_review and measure.{name}_fail must be 0 or more and in this order, "
                    f"got {review:g} and {fail:g}"
                )
        if not self.strength_review >= 0:
            raise ValueError(f"measure.strength_review must be 0 or more, got {self.strength_review:g}")
        for name in ("scored_faces", "worst"):
            if getattr(self, name) < 1:
                raise ValueError(f"measure.{name} must be at least 1, got {getattr(self, name)}")
