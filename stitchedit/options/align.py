"""Alignment of the crops."""

from dataclasses import dataclass

from stitchedit.detect.persons import check_choice

SIZES = (128, 256, 512, 1024)  # px; what the packaged generator makes
LONGEST_SIGMA = 60.0  # s; a Gaussian of hours is a mistake, and its kernel would fill the memory


@dataclass(frozen=True)
class AlignOptions:
    center_sigma: float = 0.04  # seconds, 1 frame at the method's 25 fps; 0 = no smoothing
    axes_sigma: float = 0.12  # seconds, 3 frames at 25 fps; 0 = no smoothing
    side: float = 1.0  # of the square; 1 = FFHQ, more shows more around the face
    face: str = "largest"  # or a person's number (by area, 0 = the largest), smallest, left, right, top, bottom, photo
    size: int = 0  # px, of the crop; 0 = by the face's size in the frame
    smallest_size: int = 256  # px, of the crop
    max_shrink: float = 1.5  # source px per crop px; a face that would shrink more gets the next larger size

    def __post_init__(self) -> None:
        check_choice(self.face)
        for name in ("center_sigma", "axes_sigma"):
            if not 0 <= getattr(self, name) <= LONGEST_SIGMA:
                raise ValueError(f"align.{name} must be in [0, {LONGEST_SIGMA:g}] s, got {getattr(self, name):g}")
        if self.size not in (0, *SIZES):
            listed = ", ".join(map(str, SIZES))
            raise ValueError(f"align.size must be 0 (by the face's size in the frame), {listed} px, got {self.size}")
        if not 1 <= self.smallest_size <= SIZES[-1]:
            raise ValueError(f"align.smallest_size must be in [1, {SIZES[-1]}] px, got {self.smallest_size}")
        if self.side <= 0:
            raise ValueError(f"align.side must be > 0, got {self.side}")
        if self.max_shrink <= 0:
            raise ValueError(f"align.max_shrink must be > 0, got {self.max_shrink}")
