"""Detection of occlusions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OcclusionOptions:
    look: bool = True  # false: whatever is in front is painted over, as published
    certain: float = 0.85  # probability that something must reach somewhere to be in front
    likely: float = 0.45  # what is joined to it and so likely belongs to it
    smallest: float = 0.002  # of the crop; smaller things are left to be painted over
    grow: float = 1.0  # px of 64, by which what was found is widened before it fades out over as many
    smooth_s: float = 0.03  # s, sigma, over time; as long before a frame as after it

    def __post_init__(self) -> None:
        if not 0 < self.likely <= self.certain < 1:
            raise ValueError(
                f"occlude.likely and occlude.certain must be between 0 and 1 and in this order, "
                f"got {self.likely:g} and {self.certain:g}"
            )
        for name, most, unit in (("smallest", 1, "of the crop"), ("grow", 64, "px of 64"), ("smooth_s", 60, "s")):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"occlude.{name} must be in [0, {most}] {unit}, got {getattr(self, name):g}")
