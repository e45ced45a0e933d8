"""Distance between crops and their unedited reconstruction by the tuned generator."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stitchedit.images.conversion import to_uint8
from stitchedit.measure.metrics import ms_ssim, mse, psnr, ssim
from stitchedit.nets.generator import Generator
from stitchedit.tensors import Image
from stitchedit.tune import Pivots

SAMPLES = 24  # faces, evenly over the clip, on which tuning is measured

Perceptual = Callable[[Image, Image], Tensor]  # LPIPS


@torch.no_grad()
def reconstruct(generator: Generator, pivots: Pivots, row: int) -> tuple[Image, Image]:
    """Reconstruction of one face, and its crop; they agree where something is in front of the face."""
    image = generator(pivots.codes[[row]], pivots.size).clamp(-1, 1)
    return image, pivots.target(np.array([row]), image)


@torch.no_grad()
def reconstruction_numbers(image: Image, target: Image, perceptual: Perceptual) -> dict[str, float]:
    """LPIPS, PSNR in dB, SSIM, MS-SSIM and mean squared error of [0, 1] between a reconstruction and its crop."""
    lpips = perceptual(image, target).item()
    generated, wanted = (np.ascontiguousarray(to_uint8(one)[0].transpose(1, 2, 0)) for one in (image, target))
    metrics = {"psnr_db": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "mse": mse}
    return {"lpips": lpips} | {name: metric(generated, wanted) for name, metric in metrics.items()}


@torch.no_grad()
def tuning_quality(generator: Generator, pivots: Pivots, perceptual: Perceptual) -> dict[str, float]:
    """PSNR in dB and LPIPS of the reconstructions, where faces are visible; means over sampled faces."""
    rows = np.unique(np.linspace(0, len(pivots) - 1, SAMPLES).round().astype(int))
    scores = []
    for row in rows.tolist():
        image, target = reconstruct(generator, pivots, row)
        similarity = psnr(*(to_uint8(one)[0].transpose(1, 2, 0) for one in (image, target)))
        scores.append((similarity, perceptual(image, target).item()))
    mean = np.mean(scores, axis=0)
    return {"psnr_db": float(mean[0]), "lpips_alex": float(mean[1])}
