"""Transfer of an RGB edit to the native samples of a frame, at any depth and subsampling.

The edit is a difference, so it goes through the linear part of ITU-T H.273 (section 8.3) only: offsets cancel, and
where nothing was edited the samples stay bit-equal.
"""

from typing import Protocol

import numpy as np


class Planes(Protocol):
    """Writable samples of one frame: `Y`, `Y U V` or `R G B`, each `height width`, uint8 or uint16."""

    @property
    def samples(self) -> tuple[np.ndarray, ...]: ...
    @property
    def is_rgb(self) -> bool: ...
    @property
    def depth(self) -> int: ...  # bits
    @property
    def full_range(self) -> bool: ...
    @property
    def kr(self) -> float: ...  # weight of red in luma
    @property
    def kb(self) -> float: ...  # weight of blue
    @property
    def block(self) -> tuple[int, int]: ...  # luma samples across and down per chroma sample


def paste_patch(
    planes: Planes, source: np.ndarray, patch: np.ndarray, alpha: np.ndarray, corner: tuple[int, int]
) -> None:
    """Blend `patch` over the frame, in place. Samples that no pixel with alpha > 0 belongs to stay bit-identical.

    Args:
        source: the whole frame in RGB, converted from these planes: uint8, clipped to [0, 255], or float, not clipped.
        patch: RGB in 8-bit levels, uint8 or float, `height width rgb`, in the transfer of the planes.
        alpha: `height width`; uint8 in [0, 255] or float in [0, 1].
        corner: left and top of the patch in coded pixels; any value, the patch may be partly outside.
    """
    weight = alpha.astype(np.float32) / (255 if alpha.dtype == np.uint8 else 1)
    window = _seen_part(weight, source.shape[:2], corner)
    if window is None:
        return
    inner, outer = window
    original, wanted = source[outer].astype(np.float32), patch[inner].astype(np.float32)
    if source.dtype == np.uint8:
        original = _with_clipped(planes, outer, original, wanted)
    edited = original + weight[inner][..., None] * (wanted - original)
    apply_edit(planes, original, edited, (outer[1].start, outer[0].start))


def apply_edit(planes: Planes, source: np.ndarray, edited: np.ndarray, corner: tuple[int, int]) -> None:
    """Add the difference of two RGB regions to the planes, in place, rounded once, inside the legal codes.

    Args:
        source: RGB in [0, 255] of the region, `height width rgb`.
        edited: likewise, after the edit.
        corner: left and top of the region in the frame; the region lies inside it.
    """
    difference = edited.astype(np.float32) - source.astype(np.float32)
    if planes.is_rgb:
        for plane, channel in zip(planes.samples, np.moveaxis(difference, -1, 0), strict=True):
            _add(plane, channel * _code_per_level(planes, 255), corner, _legal(planes, 0, 255))
        return
    luma, chroma = _color_difference(difference, planes)
    _add(planes.samples[0], luma * _code_per_level(planes, 219), corner, _legal(planes, 16, 235))
    for plane, values in zip(planes.samples[1:], chroma, strict=False):  # gray has none
        mean, place = _block_mean(values, planes, corner)
        _add(plane, mean * _code_per_level(planes, 224), place, _legal(planes, 16, 240))


def _with_clipped(planes: Planes, window: tuple[slice, slice], original: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`original`, with the excess beyond [0, 255] of those pixels that differ from `wanted`."""
    clipped = ((original <= 0) | (original >= 255)).any(axis=-1) & (wanted != original).any(axis=-1)
    return np.where(clipped[..., None], _unclipped(planes, window, original), original) if clipped.any() else original


def _unclipped(planes: Planes, window: tuple[slice, slice], clipped: np.ndarray) -> np.ndarray:
    """RGB of the window, also outside [0, 255], where codecs often put dark and saturated pixels.

    A difference to the clipped color would leave that excess in the result.
    """
    if planes.is_rgb or len(planes.samples) < 3:
        return clipped
    rows, columns = (np.arange(span.start, span.stop) for span in window)
    (across, down), middle = planes.block, 128 << (planes.depth - 8)
    black = _legal(planes, 16, 235)[0]
    luma = (planes.samples[0][window].astype(np.float32) - black) / _code_per_level(planes, 219)
    blue_difference, red_difference = (
        (plane[rows[:, None] // down, columns // across].astype(np.float32) - middle) / _code_per_level(planes, 224)
        for plane in planes.samples[1:]
    )
    red = luma + (2 - 2 * planes.kr) * red_difference
    blue = luma + (2 - 2 * planes.kb) * blue_difference
    green = (luma - planes.kr * red - planes.kb * blue) / (1 - planes.kr - planes.kb)
    return np.stack([red, green, blue], axis=-1)


def _color_difference(difference: np.ndarray, planes: Planes) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Luma, then blue and red chroma, of an RGB difference; in 8-bit levels."""
    red, green, blue = np.moveaxis(difference, -1, 0)
    luma = planes.kr * red + (1 - planes.kr - planes.kb) * green + planes.kb * blue
    return luma, ((blue - luma) / (2 - 2 * planes.kb), (red - luma) / (2 - 2 * planes.kr))


def _block_mean(values: np.ndarray, planes: Planes, corner: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Mean of `values` over each chroma sample's pixels, and the first one's place in the chroma plane.

    Pixels outside the region are unchanged and count as 0. A block cut by the frame's edge has fewer pixels: the
    last one is repeated, so that the mean is that of the pixels there are.
    """
    (left, top), (across, down) = corner, planes.block
    bottom, right = top + values.shape[0], left + values.shape[1]
    height, width = planes.samples[0].shape
    padded = np.pad(values, ((top % down, 0), (left % across, 0)))
    padded = np.pad(padded, ((0, -bottom % down), (0, 0)), mode="edge" if bottom == height else "constant")
    padded = np.pad(padded, ((0, 0), (0, -right % across)), mode="edge" if right == width else "constant")
    rows, columns = padded.shape[0] // down, padded.shape[1] // across
    mean: np.ndarray = padded.reshape(rows, down, columns, across).mean(axis=(1, 3))
    return mean, (left // across, top // down)


def _add(plane: np.ndarray, difference: np.ndarray, corner: tuple[int, int], legal: tuple[int, int]) -> None:
    """Add in place. A sample outside the legal codes may stay there, but is not pushed further out."""
    left, top = corner
    region = plane[top : top + difference.shape[0], left : left + difference.shape[1]]
    before = region.astype(np.float32)
    low, high = np.minimum(before, legal[0]), np.maximum(before, legal[1])
    region[...] = np.clip(np.rint(before + difference), low, high).astype(plane.dtype)


def _code_per_level(planes: Planes, limited_span: int) -> float:
    """Codes of this plane per 8-bit RGB level."""
    if planes.full_range:
        return ((1 << planes.depth) - 1) / 255
    return limited_span / 255 * (1 << (planes.depth - 8))


def _legal(planes: Planes, low: int, high: int) -> tuple[int, int]:
    """First and last code allowed, of which `low` and `high` are those of 8-bit limited range."""
    if planes.full_range:
        return 0, (1 << planes.depth) - 1
    return low << (planes.depth - 8), high << (planes.depth - 8)


def _seen_part(
    weight: np.ndarray, frame_shape: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Visible part of the patch, as slices of patch and frame; None if there is none."""
    inner, outer = [], []
    for axis, offset in enumerate(corner[::-1]):
        visible = np.flatnonzero(weight.any(axis=1 - axis))
        visible = visible[(visible + offset >= 0) & (visible + offset < frame_shape[axis])]
        if not visible.size:
            return None
        first, last = int(visible[0]), int(visible[-1])
        inner.append(slice(first, last + 1))
        outer.append(slice(first + offset, last + offset + 1))
    return (inner[0], inner[1]), (outer[0], outer[1])
