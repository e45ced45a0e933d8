"""Search for faces, and their linking into tracks and persons."""

from dataclasses import dataclass

BACKENDS = ("auto", "dlib", "fan")


@dataclass(frozen=True)
class DetectOptions:
    backend: str = "auto"  # of landmarks; "fan" is better and needs its own weights, "auto" prefers it
    min_confidence: float = -0.2  # HOG score of a new face: 0 is its usual threshold, plain faces score 1 to 2
    continued_confidence: float = -0.8  # HOG score of a face that was there in the frames before
    min_face_px: float = 48.0  # in the frame; smaller faces are not searched for
    max_side: int = 1280  # px, longest side of the image searched in every frame
    boxes: int = 9  # dlib only: landmarks are averaged over so many slightly different boxes; halves their jitter
    describe_every: int = 8  # frames; between two descriptors, a face that hardly moves keeps its last one
    max_gap_s: float = 0.5  # a face missing for at most so long is interpolated
    min_length_s: float = 0.3  # shorter tracks are dropped as false detections
    sure_confidence: float = 0.3  # a track without one frame so confident is dropped as a false detection
    min_iou: float = 0.2  # boxes that overlap this much may be one face
    same_person: float = 0.54  # distance of mean descriptors: crying and smiling .48, another person .61 or more

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"detect.backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.continued_confidence > self.min_confidence:
            raise ValueError(
                f"detect.continued_confidence ({self.continued_confidence:g}) must not be above "
                f"detect.min_confidence ({self.min_confidence:g})"
            )
        for name in ("min_face_px", "max_side", "boxes", "describe_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"detect.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_gap_s", "min_length_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"detect.{name} must not be negative, got {getattr(self, name):g} s")
        for name in ("min_iou", "same_person"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"detect.{name} must be in (0, 1], got {getattr(self, name):g}")
