"""View of a frame, upright, not mirrored and with square pixels, and the map back to coded pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import av
import cv2
import numpy as np

MAX_ASPECT = 4  # of a pixel, either way; above it, a view would be far larger than the frame
UPRIGHT_MATRIX = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # identity


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of an image: transposed first, then flipped."""

    transposed: bool = False
    flipped_x: bool = False  # left and right of the view
    flipped_y: bool = False

    @property
    def matrix(self) -> np.ndarray:
        """`2 2`: maps a direction (x, y) of the coded frame to that of the view."""
        signs = np.diag([-1 if self.flipped_x else 1, -1 if self.flipped_y else 1])
        return np.asarray(signs @ np.eye(2, dtype=int)[[1, 0]] if self.transposed else signs)

    @classmethod
    def nearest(cls, display_matrix: Sequence[int] | None) -> "Orientation":
        """The orientation nearest to a display matrix in FFmpeg's layout; None means upright."""
        if display_matrix is None:
            return cls()
        a, b, _, c, d, *_ = display_matrix  # x' = a x + c y, y' = b x + d y
        shown = np.array([[a, c], [b, d]], dtype=float)
        return max((cls(*flags) for flags in product([False, True], repeat=3)), key=lambda o: (o.matrix * shown).sum())


@dataclass(frozen=True)
class View:
    """Affine map between the coded pixels of one clip and those of its view.

    Points are (x, y), whole numbers are pixel centers on both sides. Pixels become square by enlarging the image, so
    that no detail is lost.
    """

    width: int  # coded, as is `height`
    height: int
    orientation: Orientation
    sample_aspect: tuple[int, int] | None = None  # width : height of a coded pixel

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the view."""
        width, height = self._square_size(self.width, self.height)
        return (height, width) if self.orientation.transposed else (width, height)

    def show(self, image: np.ndarray) -> np.ndarray:
        """Transform a coded frame, or a part of one, to the view."""
        height, width = image.shape[:2]
        square = self._square_size(width, height)
        if square != (width, height):
            image = cv2.resize(np.ascontiguousarray(image), square, interpolation=cv2.INTER_LINEAR)
        return self.turn(image)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """Turn `image` upright and unmirrored without resizing; a NumPy view."""
        if self.orientation.transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.orientation.flipped_y else 1, :: -1 if self.orientation.flipped_x else 1]

    def to_coded(self, points: np.ndarray) -> np.ndarray:
        """Map points (`... xy`) of the view to coded pixels."""
        places = np.asarray((points - self._corner) @ self.orientation.matrix)  # orthogonal: inverse = transpose
        scale = self._scale
        return np.asarray(places / scale + (0.5 / scale - 0.5))

    def from_coded(self, points: np.ndarray) -> np.ndarray:
        """Map points (`... xy`) of the coded frame to pixels of the view."""
        scale = self._scale
        return np.asarray((points * scale + (scale - 1) / 2) @ self.orientation.matrix.T + self._corner)

    @property
    def _scale(self) -> np.ndarray:
        """Pixels of the view per coded pixel, across and down in the coded frame."""
        return np.array(self._square_size(self.width, self.height)) / (self.width, self.height)

    @property
    def _corner(self) -> np.ndarray:
        """Position in the view of the first coded pixel, once square."""
        flipped = np.array([self.orientation.flipped_x, self.orientation.flipped_y])
        return np.where(flipped, np.array(self.size) - 1, 0)

    def _square_size(self, width: int, height: int) -> tuple[int, int]:
        across, down = self.sample_aspect or (1, 1)
        if across >= down:
            return max(1, round(width * across / down)), height
        return width, max(1, round(height * down / across))


def read_display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The display matrix of a frame in FFmpeg's layout; None if it changes nothing."""
    try:
        side_data: Any = frame.side_data  # PyAV's stub knows motion vectors only
        stored = bytes(side_data["DISPLAYMATRIX"]) if "DISPLAYMATRIX" in side_data else b""
    except (ValueError, UnicodeDecodeError):  # PyAV cannot list any if it does not know the kind of one, such as EXIF
        return _turn_matrix(frame.rotation) if frame.rotation else None
    matrix = tuple(np.frombuffer(stored, np.int32).tolist())
    return matrix if len(matrix) == len(UPRIGHT_MATRIX) and matrix != UPRIGHT_MATRIX else None


def _turn_matrix(degrees: int) -> tuple[int, ...]:
    """Display matrix of a counter-clockwise rotation."""
    cosine, sine = (round(65536 * float(function(np.deg2rad(degrees)))) for function in (np.cos, np.sin))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
