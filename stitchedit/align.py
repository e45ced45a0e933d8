"""Smooth, oriented crop squares from landmarks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from stitchedit.arrays import Landmarks, Quads
from stitchedit.errors import InputError, NoFaceError
from stitchedit.images.warp import square_sides
from stitchedit.options.align import AlignOptions

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
MOUTH_CORNERS = [48, 54]
REACH = 4.0  # standard deviations, of smoothing
MOST_NEIGHBORS = 1000  # rows on either side; of footage beyond 2000 frames per second no more are weighed

FrameTimes = Float[np.ndarray, " frame"]
Points = Float[np.ndarray, "frame xy"]


def align_run(landmarks: Landmarks, times_s: FrameTimes, options: AlignOptions) -> Quads:
    """Crop squares smoothed over one run: a track, within a shot, without gaps.

    Landmarks and squares are in pixels that are square, of an image that is not mirrored.

    Raises:
        NoFaceError: some frame has no face.
    """
    return face_quads(landmarks, options.center_sigma, options.axes_sigma, options.side, times_s)


def face_quads(
    landmarks: Landmarks, center_sigma: float, axes_sigma: float, side: float = 1.0, times: FrameTimes | None = None
) -> Quads:
    """Crop squares smoothed over time.

    FFHQ alignment, with center and axes smoothed before the corners are taken: Tzaban et al. 2022
    (arXiv 2201.08361).

    Args:
        center_sigma: in the unit of `times`, as is `axes_sigma`; 0 = no smoothing.
        times: of the frames; None = one apart.

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
    times = np.arange(len(landmarks), dtype=float) if times is None else times
    center = smooth(center, times, center_sigma)
    right = smooth(right * side, times, axes_sigma)
    down = _quarter_turn(right)
    corners = [center - right - down, center - right + down, center + right + down, center + right - down]
    return np.stack(corners, axis=1)


def smooth(values: Points, times: FrameTimes, sigma: float) -> Points:
    """Smooth rows over time with a Gaussian.

    At even times this is SciPy's `gaussian_filter1d`, ends mirrored as there. Rows on the other side of a pause count
    little or nothing.
    """
    frames = len(times)
    if not sigma or frames < 2:
        return values
    reach, steps = REACH * sigma, np.diff(times)
    most = (np.searchsorted(times, times + reach, side="right") - np.arange(frames)).max()
    most = int(min(max(most, np.ceil(reach / np.median(steps))), MOST_NEIGHBORS))
    rows = np.pad(np.arange(frames), most, mode="symmetric")
    between = steps[np.minimum(np.minimum(rows[:-1], rows[1:]), frames - 2)]
    moments = np.concatenate([[0.0], np.cumsum(between)])
    total, weights = np.zeros(np.shape(values)), np.zeros((frames, 1))
    for shift in range(2 * most + 1):
        near = slice(shift, shift + frames)
        apart = (moments[near] - moments[most : most + frames]) / sigma
        weight = np.where(np.abs(apart) <= REACH + 1e-6, np.exp(-0.5 * np.square(apart)), 0)[:, None]
        total += weight * values[rows[near]]
        weights += weight
    return np.asarray(total / weights, dtype=values.dtype)  # as SciPy's, of the type that came in


def usable_sizes(sizes: Sequence[int], options: AlignOptions) -> list[int]:
    """The generator's `sizes` that the options allow, ascending.

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

    Squares are in pixels that are square.

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


def _quarter_turn(vectors: np.ndarray) -> np.ndarray:
    """Turn right into down: (x, y) -> (-y, x) with y pointing down."""
    return np.asarray(np.flip(vectors, axis=1) * np.array([-1.0, 1.0]))
