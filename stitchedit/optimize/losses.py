"""The distances that inversion, tuning and stitching minimise. Images are RGB in [-1, 1]."""

from torch import Tensor


def masked_squared_error(image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error inside `mask`, summed over channels, per unit of mask: `sum((image - target)² mask²) / sum(mask)`.

    Border and content terms of stitching tuning: Tzaban et al. 2022 (arXiv 2201.08361). With a mask of zeros and
    ones this is three times the mean squared error inside it.
    """
    return ((image - target).square() * mask.square()).sum() / mask.sum().clamp(min=1e-8)


def border_levels(border_term: float) -> float:
    """A border term as root mean squared error in 8-bit levels."""
    return float((border_term / 3) ** 0.5 * 127.5)
