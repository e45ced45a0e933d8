"""Numbers reported for every edit."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from stitchedit.arrays import Alpha, Frame, Pixels

BLOCK = 512  # rows of the similarity matrix at a time, so that memory does not grow with the square of the clip
WINDOW, WINDOW_SIGMA = 11, 1.5  # px, of SSIM's Gaussian
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, from the full size to a sixteenth

EmbeddingRows = Float[np.ndarray, "frame channel"]  # of unit length; NaN where a frame has no face
ImagePixels = UInt8[np.ndarray, "height width rgb"]


class IdentityConsistency(NamedTuple):
    """Similarity of the edited faces of a shot relative to the source's: 1 is best, NaN without a pair."""

    tl_id: float  # neighboring frames
    tg_id: float  # all pairs of frames
    tl_pairs: int  # that were compared
    tg_pairs: int  # likewise, in either order


def identity_consistency(
    source: EmbeddingRows, edited: EmbeddingRows, min_similarity: float = 0.2
) -> IdentityConsistency:
    """TL-ID and TG-ID of one shot: Tzaban et al. 2022 (arXiv 2201.08361).

    Both are means of ratios `edited similarity / source similarity`. Pairs of frames that are less alike than
    `min_similarity` in the source (a profile, say) are left out: there the ratio is noise.
    """
    source, edited = source.astype(np.float64), edited.astype(np.float64)
    seen = ~(np.isnan(source).any(axis=1) | np.isnan(edited).any(axis=1))

    neighbors = seen[:-1] & seen[1:]
    similarity = (source[:-1] * source[1:]).sum(axis=1)[neighbors]
    ratios = (edited[:-1] * edited[1:]).sum(axis=1)[neighbors] / similarity
    ratios = ratios[abs(similarity) >= min_similarity]

    total, pairs = _sum_of_ratios(source[seen], edited[seen], min_similarity)
    return IdentityConsistency(
        tl_id=float(ratios.mean()) if ratios.size else float("nan"),
        tg_id=total / pairs if pairs else float("nan"),
        tl_pairs=ratios.size,
        tg_pairs=pairs,
    )


def tl_ratios(source: EmbeddingRows, edited: EmbeddingRows, min_similarity: float = 0.2) -> np.ndarray:
    """Ratio of each face to the one before it, whose mean is TL-ID, `frame`; NaN where there is none."""
    similarity = (source[1:] * source[:-1]).sum(axis=1)
    ratios = np.full(len(source), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        compared = np.where(
            np.abs(similarity) >= min_similarity, (edited[1:] * edited[:-1]).sum(axis=1) / similarity, np.nan
        )
    ratios[1:] = compared
    return ratios


def _sum_of_ratios(source: EmbeddingRows, edited: EmbeddingRows, min_similarity: float) -> tuple[float, int]:
    """Sum and number of the ratios of all ordered pairs of different rows."""
    total, pairs = 0.0, 0
    for start in range(0, len(source), BLOCK):
        rows = slice(start, start + BLOCK)
        similarity = source[rows] @ source.T
        compared = abs(similarity) >= min_similarity
        compared[np.arange(len(similarity)), np.arange(len(similarity)) + start] = False
        total += float(((edited[rows] @ edited.T)[compared] / similarity[compared]).sum())
        pairs += int(compared.sum())
    return total, pairs


def psnr(image: ImagePixels, reference: ImagePixels) -> float:
    """Peak signal-to-noise ratio, in dB; infinite for equal images."""
    error = np.mean(np.square(image.astype(np.float64) - reference))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def mse(image: ImagePixels, reference: ImagePixels) -> float:
    """Mean squared error of images taken as [0, 1]."""
    return float(np.mean(np.square((image.astype(np.float64) - reference) / 255)))


def ssim(image: ImagePixels, reference: ImagePixels) -> float:
    """Structural similarity, mean over the color channels: Wang et al. 2004, Gaussian window of 11 px."""
    luminance, structure = _similarities(image.astype(np.float64), reference.astype(np.float64))
    return float((luminance * structure).mean())


def ms_ssim(image: ImagePixels, reference: ImagePixels) -> float:
    """Structural similarity over five scales, mean over the color channels: Wang et al. 2003.

    Raises:
        ValueError: a side is shorter than 176 px, so that the smallest scale holds no window.
    """
    smallest = WINDOW * 2 ** (len(SCALES) - 1)
    if min(image.shape[:2]) < smallest:
        raise ValueError(f"MS-SSIM needs {smallest} px or more a side, got {image.shape[1]}x{image.shape[0]}")
    x, y = image.astype(np.float64), reference.astype(np.float64)
    total = np.ones(image.shape[2])
    for scale, weight in enumerate(SCALES):
        luminance, structure = _similarities(x, y)
        last = scale == len(SCALES) - 1
        value = (luminance * structure if last else structure).mean(axis=(0, 1))
        total *= np.maximum(value, 0) ** weight  # a negative one has no root
        x, y = _halved(x), _halved(y)
    return float(total.mean())


def _similarities(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of luminance, and of contrast and structure, per window and channel."""
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x, variance_y = _window_mean(x * x) - mean_x**2, _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_x + variance_y + c2)


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 by 2 pixels; an odd last row or column is left out."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return np.asarray(image[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean(axis=(1, 3)))


def _window_mean(values: np.ndarray) -> np.ndarray:
    """Weighted means of the windows that lie in the image as a whole."""
    reach = WINDOW // 2
    return cv2.GaussianBlur(values, (WINDOW, WINDOW), WINDOW_SIGMA)[reach:-reach, reach:-reach]


def ring_error(result: Pixels, source: Pixels, border: Alpha) -> float:
    """RMSE between `result` and `source`, in 8-bit levels, weighted by `border`; NaN where there is no border."""
    weight = float(border.sum())
    if not weight:
        return float("nan")
    squares = np.square(result.astype(np.float64) - source).mean(axis=2)
    return float(np.sqrt((squares * border).sum() / weight))


def outside_difference(result: Frame, source: Frame, alpha: Shaped[np.ndarray, "height width"]) -> int:
    """Largest difference between `result` and `source`, in 8-bit levels, where `alpha` is 0."""
    outside = alpha == 0
    difference = cv2.absdiff(result, source)[outside]
    return int(difference.max()) if difference.size else 0
