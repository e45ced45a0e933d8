"""Which detections are one track, and which tracks one person."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class TrackOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different tracks

    max_gap_s: float = 0.5  # a face missing for at most so long is interpolated
    min_length_s: float = 0.3  # shorter tracks are taken for false detections
    sure_confidence: float = 0.3  # a track without one frame so confident is taken for a false detection
    min_iou: float = 0.2  # boxes that overlap this much may be one face
    same_person: float = 0.54  # distance of mean descriptors: crying and smiling .48, another person .61 or more

    def __post_init__(self) -> None:
        for name in ("max_gap_s", "min_length_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"tracks.{name} must not be negative, got {getattr(self, name):g} s")
        for name in ("min_iou", "same_person"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"tracks.{name} must be in (0, 1], got {getattr(self, name):g}")
