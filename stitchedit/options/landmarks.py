"""How faces are searched."""

from dataclasses import dataclass
from typing import ClassVar

BACKENDS = ("auto", "dlib", "fan")


@dataclass(frozen=True)
class LandmarkOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different points

    backend: str = "auto"  # "fan" is better and needs its own weights, "dlib" always works, "auto" takes what is there
    min_confidence: float = -0.2  # HOG score of a new face: 0 is its usual threshold, plain faces score 1 to 2
    continued_confidence: float = -0.8  # HOG score of a face that was there in the frames before
    min_face_px: float = 48.0  # in the frame; smaller faces are not searched for
    max_side: int = 1280  # px, longest side of the picture searched in every frame
    boxes: int = 9  # dlib only: landmarks are averaged over so many slightly different boxes; halves their jitter
    describe_every: int = 8  # frames; between two descriptors, a face that hardly moves keeps its last one

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"landmarks.backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.continued_confidence > self.min_confidence:
            raise ValueError(
                f"landmarks.continued_confidence ({self.continued_confidence:g}) must not be above "
                f"landmarks.min_confidence ({self.min_confidence:g})"
            )
        for name in ("min_face_px", "max_side", "boxes", "describe_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"landmarks.{name} must be at least 1, got {getattr(self, name)}")
