"""How the crop of a face is laid."""

from dataclasses import dataclass
from typing import ClassVar

from stitchedit.persons import check_choice


@dataclass(frozen=True)
class AlignOptions:
    revision: ClassVar[int] = 1  # bump when the same options give different pixels

    center_sigma: float = 0.04  # seconds, 1 frame at the method's 25 fps; 0 = no smoothing
    axes_sigma: float = 0.12  # seconds, 3 frames at 25 fps; 0 = no smoothing
    side: float = 1.0  # of the square; 1 = FFHQ, more shows more around the face
    face: str = "largest"  # or a person's number (by area, 0 = the largest), smallest, left, right, top, bottom, photo
    size: int = 0  # px, of the crop; 0 = by the face's size in the frame
    smallest_size: int = 256  # px, of the crop
    max_shrink: float = 1.5  # source px per crop px; a face that would shrink more gets the next larger size

    def __post_init__(self) -> None:
        check_choice(self.face)
        if self.center_sigma < 0 or self.axes_sigma < 0:
            raise ValueError(f"align sigmas must be >= 0 s, got {self.center_sigma} and {self.axes_sigma}")
        if self.side <= 0:
            raise ValueError(f"align.side must be > 0, got {self.side}")
        if self.max_shrink <= 0:
            raise ValueError(f"align.max_shrink must be > 0, got {self.max_shrink}")
