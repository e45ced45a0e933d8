"""The view of a frame: upright, not mirrored, with square pixels; and the way back to coded pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import av
import cv2
import numpy as np

MAX_ASPECT = 4  # of a pixel, either way; beyond, a view would be far larger than the frame
UPRIGHT_MATRIX = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # changes nothing


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which an image can lie: transposed first, then flipped."""

    transposed: bool = False
    flipped_x: bool = False  # left and right of the view
    flipped_y: bool = False

    @property
    def matrix(self) -> np.ndarray:
        """`2 2`: takes a direction (x, y) of the coded frame to that of the view."""
        signs = np.diag([-1 if self.flipped_x else 1, -1 if self.flipped_y else 1])
        return np.asarray(signs @ np.eye(2, dtype=int)[[1, 0]] if self.transposed else signs)

    @classmethod
    def nearest(cls, display_matrix: Sequence[int] | None) -> "Orientation":
        """The orientation nearest to a display matrix in FFmpeg's layout; none stands for upright."""
        if display_matrix is None:
            return cls()
        a, b, _, c, d, *_ = display_matrix  # x' = a x + c y, y' = b x + d y
        shown = np.array([[a, c], [b, d]], dtype=float)
        return max((cls(*flags) for flags in product([False, True], repeat=3)), key=lambda o: (o.matrix * shown).sum())


@dataclass(frozen=True)
class View:
    """An affine map between the coded pixels of one clip and the pixels that are looked at.

    Points are (x, y), whole numbers are pixel centers on both sides. Pixels become square by making the image larger,
    so that no detail is lost.
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
        """A coded frame, or a part of one, as it is looked at."""
        height, width = image.shape[:2]
        square = self._square_size(width, height)
        if square != (width, height):
            image = cv2.resize(np.ascontiguousarray(image), square, interpolation=cv2.INTER_LINEAR)
        return self.turn(image)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """`image` upright and not mirrored, its pixels as they are; a NumPy view."""
        if self.orientation.transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.orientation.flipped_y else 1, :: -1 if self.orientation.flipped_x else 1]

    def to_coded(self, points: np.ndarray) -> np.ndarray:
        """Points (`... xy`) of the view in coded pixels."""
        places = np.asarray((points - self._corner) @ self.orientation.matrix)  # orthogonal: its inverse, transposed
        scale = self._scale
        return np.asarray(places / scale + (0.5 / scale - 0.5))

    def from_coded(self, points: np.ndarray) -> np.ndarray:
        """Points (`... xy`) of the coded frame in pixels of the view."""
        scale = self._scale
        return np.asarray((points * scale + (scale - 1) / 2) @ self.orientation.matrix.T + self._corner)

    @property
    def _scale(self) -> np.ndarray:
        """Pixels of the view per coded pixel, across and down in the coded frame."""
        return np.array(self._square_size(self.width, self.height)) / (self.width, self.height)

    @property
    def _corner(self) -> np.ndarray:
        """Where the first coded pixel, once square, lies in the view."""
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
    except (ValueError, UnicodeDecodeError):  # PyAV gives none if one is of a kind that it does not know, such as EXIF
        return _turn_matrix(frame.rotation) if frame.rotation else None
    matrix = tuple(np.frombuffer(stored, np.int32).tolist())
    return matrix if len(matrix) == len(UPRIGHT_MATRIX) and matrix != UPRIGHT_MATRIX else None


def _turn_matrix(degrees: int) -> tuple[int, ...]:
    """The display matrix of a turn, counter-clockwise."""
    cosine, sine = (round(65536 * float(function(np.deg2rad(degrees)))) for function in (np.cos, np.sin))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)
