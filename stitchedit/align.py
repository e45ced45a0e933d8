"""Where is the face? Turns landmarks into smooth, oriented crop squares."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from stitchedit.arrays import Landmarks, Quads
from stitchedit.errors import InputError, NoFaceError
from stitchedit.options.align import AlignOptions
from stitchedit.warp import square_sides

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
MOUTH_CORNERS = [48, 54]


def align_run(landmarks: Landmarks, times: Float[np.ndarray, " face"], options: AlignOptions) -> Quads:
    """Crop squares in source pixels, smoothed over one run: a track, within a shot, without gaps.

    `times` are in seconds; what the options say in seconds becomes frames by their median interval.

    Raises:
        NoFaceError: some frame has no face.
    """
    fps = 1 / np.median(np.diff(times)) if len(times) > 1 else 0.0  # a single frame has nothing to be smoothed with
    return face_quads(landmarks, options.center_sigma * fps, options.axes_sigma * fps, options.side)


def face_quads(landmarks: Landmarks, center_sigma: float, axes_sigma: float, side: float = 1.0) -> Quads:
    """Crop squares in source pixels, smoothed over time; sigmas are in frames, 0 = no smoothing.

    FFHQ alignment, with center and axes smoothed before the corners are taken: Tzaban et al. 2022
    (arXiv 2201.08361).

    Raises:
        NoFaceError: some frame has no face.
    """
    missing = np.flatnonzero(np.isnan(landmarks).any(axis=(1, 2)))
    if missing.size:
        raise NoFaceError(
            f"No face in {missing.size} of {len(landmarks)} frames of a run (first: {missing[0]}). "
            "A run has no gaps: split it there, or fill the gap first."
        )
    center, right = _oriented_squares(landmarks)
    center = _smooth(center, center_sigma)
    right = _smooth(right * side, axes_sigma)
    down = _quarter_turn(right)
    corners = [center - right - down, center - right + down, center + right + down, center + right - down]
    return np.stack(corners, axis=1)


def usable_sizes(sizes: Sequence[int], options: AlignOptions) -> list[int]:
    """Those of the generator's `sizes` that the options allow, ascending.

    Raises:
        InputError: there is none.
    """
    if options.size and options.size not in sizes:
        raise InputError(f"The generator makes {sorted(sizes)} px, but align.size is {options.size}. Choose one.")
    usable = [options.size] if options.size else sorted(size for size in sizes if size >= options.smallest_size)
    if not usable:
        raise InputError(
            f"The generator makes {sorted(sizes)} px, but align.smallest_size is {options.smallest_size}. Lower it."
        )
    return usable


def working_size(quads: Quads, sizes: Sequence[int], options: AlignOptions) -> int:
    """The smallest of the generator's `sizes` that loses no detail of a track; the largest if they all do.

    Raises:
        InputError: the generator has no size that the options allow.
    """
    usable = usable_sizes(sizes, options)
    side = float(np.median(square_sides(quads)))
    return next((size for size in usable if side <= options.max_shrink * size), usable[-1])


def _oriented_squares(landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """Center and half-width axis of the square, each `face xy`."""
    left, right = landmarks[:, LEFT_EYE].mean(axis=1), landmarks[:, RIGHT_EYE].mean(axis=1)
    eyes, mouth = (left + right) / 2, landmarks[:, MOUTH_CORNERS].mean(axis=1)
    across, along = right - left, mouth - eyes

    direction = across - _quarter_turn(along)
    direction /= np.hypot(*direction.T)[:, None]
    half_width = np.maximum(2.0 * np.hypot(*across.T), 1.8 * np.hypot(*along.T))
    return eyes + 0.1 * along, direction * half_width[:, None]


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma, axis=0) if sigma else values  # SciPy divides by sigma


def _quarter_turn(vectors: np.ndarray) -> np.ndarray:
    """Turn right into down: (x, y) -> (-y, x) with y pointing down."""
    return np.asarray(np.flip(vectors, axis=1) * np.array([-1.0, 1.0]))
