"""Warps between a frame and the square crop of a face.

Points are (x, y) with whole numbers at pixel centers, in the frame and in the crop alike. A quad is a square where the
frame's pixels are square, a parallelogram where they are not, and runs the other way round where the frame is mirrored.
`crop_to_frame` is the only
place that knows a crop to reach half a pixel beyond its outermost centers; STIT and FFHQ get the same map by adding
0.5 to the quad and warping from corner to corner.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped

from stitchedit.arrays import Pixels, Quads

Quad = Float[np.ndarray, "4 xy"]
Homography = Float[np.ndarray, "3 3"]  # takes (x, y, 1)
Warped = Shaped[np.ndarray, "rows columns *channel"]  # likewise, of another shape
Inside = Bool[np.ndarray, "height width"]
Shrinks = tuple[float, float]  # how many pixels become one, across and down

NO_BLUR = 1e-18  # px², a variance: OpenCV takes 0 for "as along the other axis"


@dataclass(frozen=True)
class FaceCrop:
    """Crop of a face for a network."""

    image: Pixels
    valid: Inside  # False = outside the frame, where `image` repeats the frame's edge


class Box(NamedTuple):
    """A rectangle of whole pixels in the frame."""

    left: int
    top: int
    width: int
    height: int


def square_sides(quads: Quads) -> Float[np.ndarray, " face"]:
    """Side of each square, in its own pixels; the mean side where pixels are not square."""
    sides = np.linalg.norm(quads - np.roll(quads, 1, axis=1), axis=2)
    return np.asarray(sides.mean(axis=1))


def crop_to_frame(quad: Quad, size: int) -> Homography:
    """The perspective map from crop pixels to source pixels."""
    first, last = -0.5, size - 0.5
    square = [(first, first), (first, last), (last, last), (last, first)]
    rows, targets = [], []
    for (x, y), (u, v) in zip(square, quad, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(targets)), 1.0).reshape(3, 3)


def frame_to_crop(quad: Quad, size: int) -> Homography:
    """The inverse of `crop_to_frame`."""
    inverse = np.linalg.inv(crop_to_frame(quad, size))
    return np.asarray(inverse / inverse[2, 2])


def crop_face(frame: Pixels, quad: Quad, size: int) -> FaceCrop:
    """Crop the square `quad` of `frame` to `size` by `size` pixels, without aliasing when it shrinks."""
    height, width = frame.shape[:2]
    to_frame = crop_to_frame(quad, size)
    shrink = shrinks(quad, size)

    reach = np.ceil(2 * np.array(shrink)) + 2  # beyond the blur's reach, so that cutting the frame changes nothing
    start = np.clip(np.floor(quad.min(axis=0)) - reach, 0, (width - 1, height - 1))
    end = np.clip(np.ceil(quad.max(axis=0)) + reach, start + 1, (width, height))
    (left, top), (right, bottom) = start.astype(int).tolist(), end.astype(int).tolist()

    region = low_pass(np.ascontiguousarray(frame[top:bottom, left:right]), shrink)
    image = resample(region, translation(-left, -top) @ to_frame, (size, size))
    return FaceCrop(image, inside(to_frame, (size, size), (height, width)))


def warp_back(image: Pixels, quad: Quad, box: Box) -> Warped:
    """Warp `image`, a square crop taken at `quad`, into `box` of the frame, without aliasing when it shrinks.

    Outside the square `image`'s edge is repeated: `covered` tells where that is.
    """
    size = image.shape[0]
    softened = low_pass(image, _inverse_shrinks(quad, size))
    to_crop = frame_to_crop(quad, size) @ translation(box.left, box.top)
    return resample(softened, to_crop, (box.height, box.width))


def covered(quad: Quad, size: int, box: Box) -> Inside:
    """Mask of the square `quad` in `box`."""
    to_crop = frame_to_crop(quad, size) @ translation(box.left, box.top)
    return inside(to_crop, (box.height, box.width), (size, size))


def resample(image: Pixels, to_image: Homography, shape: tuple[int, int]) -> Warped:
    """Resample `image` to `shape` (height, width), bilinear, edges repeated; `to_image` maps pixels to `image`."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, to_image, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def inside(to_image: Homography, shape: tuple[int, int], image_shape: tuple[int, int]) -> Inside:
    """Mask of `shape` (height, width): the pixels that `to_image` maps into an image of `image_shape`."""
    x, y = np.arange(shape[1])[None, :], np.arange(shape[0])[:, None]
    across, down, depth = (row[0] * x + (row[1] * y + row[2]) for row in to_image)
    height, width = image_shape
    horizontally = (across >= -0.5 * depth) & (across < (width - 0.5) * depth)
    return np.asarray(horizontally & (down >= -0.5 * depth) & (down < (height - 0.5) * depth))


def shrinks(quad: Quad, size: int) -> Shrinks:
    """Source pixels per crop pixel: side of the quad by `size`, where source pixels are square.

    Where they are not, a square that is turned in the view still becomes an ellipse along the source's own axes.
    """
    return _lengths(_sides(quad).T / size)


def _inverse_shrinks(quad: Quad, size: int) -> Shrinks:
    """Crop pixels per source pixel along the crop's axes; of the ellipse that a turned one is, its extent."""
    return _lengths(np.linalg.inv(_sides(quad).T) * size)


def _sides(quad: Quad) -> Float[np.ndarray, "side xy"]:
    """The vectors along the upper and the left side of a parallelogram, as means with those opposite."""
    top_left, bottom_left, bottom_right, top_right = quad
    return (
        np.array([top_right - top_left + bottom_right - bottom_left, bottom_left - top_left + bottom_right - top_right])
        / 2
    )


def _lengths(jacobian: Float[np.ndarray, "xy axis"]) -> Shrinks:
    across, down = np.linalg.norm(jacobian, axis=1).tolist()
    return across, down


def low_pass(image: Pixels, shrink: Shrinks) -> Pixels:
    """Remove the detail that is lost when `shrink` pixels become one.

    A Gaussian as wide as a box of `shrink` pixels, less the box that a pixel is already: of the widths tried, the
    closest to Pillow's filters. It does nothing up to a shrink of 1 and sets in smoothly, so that a face that comes
    nearer does not change sharpness from one frame to the next.
    """
    if max(shrink) <= 1:
        return image
    across, down = (max((max(one, 1.0) ** 2 - 1) / 12, NO_BLUR) ** 0.5 for one in shrink)
    return cv2.GaussianBlur(image, (0, 0), across, sigmaY=down, borderType=cv2.BORDER_REPLICATE)


def translation(x: int | float, y: int | float) -> Homography:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def patch_size(quads: Quads, frame_shape: tuple[int, int]) -> tuple[int, int]:
    """Even height and width that hold the visible part of each square of a track."""
    starts, ends = _even_bounds(quads)
    extents = np.minimum(ends, _even_shape(frame_shape)) - np.maximum(starts, 0)
    width, height = np.clip(extents.max(axis=0), 2, _even_shape(frame_shape))
    return int(height), int(width)


def patch_box(quad: Quad, size: tuple[int, int], frame_shape: tuple[int, int]) -> Box:
    """Box of a patch of `size` (height, width) that holds `quad`; starts at even pixels.

    It lies in the frame, but for one row or column beyond the end of a frame of odd height or width.
    """
    starts, _ = _even_bounds(quad[None])
    left, top = np.clip(starts[0], 0, _even_shape(frame_shape) - np.array(size[::-1]))
    return Box(int(left), int(top), width=size[1], height=size[0])


def _even_bounds(quads: Quads) -> tuple[np.ndarray, np.ndarray]:
    """First pixel and first pixel beyond, each `face xy`, widened to even numbers."""
    starts = np.floor(quads.min(axis=1)).astype(int)
    ends = np.floor(quads.max(axis=1)).astype(int) + 1
    return starts // 2 * 2, (ends + 1) // 2 * 2


def _even_shape(frame_shape: tuple[int, int]) -> np.ndarray:
    """Width and height of the frame, rounded up to even numbers."""
    height, width = frame_shape
    return np.array([width + width % 2, height + height % 2])
