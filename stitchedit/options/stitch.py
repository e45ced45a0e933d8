"""Stitching of edited faces to their frames."""

from dataclasses import dataclass, replace
from typing import Self

TOWARD = ("reconstruction", "source")


@dataclass(frozen=True)
class StitchOptions:
    toward: str = "reconstruction"  # target of the border: the unedited reconstruction, or "source" as published
    steps: int = 12  # at most, per frame; 0 = paste the edited face as it is
    learning_rate: float = 5e-5  # MobileStyleGAN's folded weights: from 1e-4 on it overshoots (docs/decisions/0008)
    content_weight: float = 0.3  # with less, stitching takes back some of the edit
    stop_below: float = 0.0019  # border term; 0.0019 = 3.2 levels in the ring of a crop
    warm_start: bool = True  # from the weights of the frame before, within a run
    settle_steps: int = 48  # before a run's first frame, on frames of all of it; 0 = none. Needs `warm_start`
    settle_faces: int = 8  # at most, evenly over the run
    follow_rate: float = 1e-5  # learning rate of a frame once the run has settled; small, so that nothing jumps
    chunk: int = 8  # frames; at most this many are lost in a crash

    def __post_init__(self) -> None:
        if self.toward not in TOWARD:
            raise ValueError(f"stitch.toward must be one of {', '.join(TOWARD)}, got {self.toward!r}")
        if self.steps < 0 or self.chunk < 1:
            raise ValueError(f"stitch.steps must be >= 0 and stitch.chunk >= 1, got {self.steps} and {self.chunk}")
        if self.settle_steps < 0 or self.settle_faces < 1:
            raise ValueError(
                "stitch.settle_steps must be >= 0 and stitch.settle_faces >= 1, "
                f"got {self.settle_steps} and {self.settle_faces}"
            )
        for name in ("content_weight", "stop_below"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"stitch.{name} must be >= 0, got {getattr(self, name):g}")
        for name in ("learning_rate", "follow_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"stitch.{name} must be > 0, got {getattr(self, name)}")

    @property
    def settles(self) -> bool:
        """True if the generator is settled on an entire run before its frames are stitched."""
        return self.warm_start and self.settle_steps > 0 and self.steps > 0

    def of_frames(self) -> Self:
        """Options for the frames of a settled run."""
        return replace(self, learning_rate=self.follow_rate) if self.settles else self
