"""Reconstructions by a toy generator."""

import numpy as np
import pytest
import torch

from stitchedit.measure.reconstruction import reconstruct, reconstruction_numbers, tuning_quality
from stitchedit.tune import Pivots


@pytest.fixture
def pivots(toy_generator, toy_codes):
    """Faces that the generator reconstructs, some levels brighter."""
    codes = toy_codes(3)
    images = toy_generator(codes, 32).clamp(-1, 0.8)
    return Pivots(codes, lambda rows: images[torch.from_numpy(rows)], 32)


def test_the_target_is_the_crop_of_the_row(toy_generator, pivots):
    image, target = reconstruct(toy_generator, pivots, 1)
    assert torch.equal(image, toy_generator(pivots.codes[[1]], 32).clamp(-1, 1))
    assert torch.equal(target, pivots.crops(np.array([1])))


def test_a_covered_face_agrees_with_its_target(toy_generator, toy_perceptual, pivots):
    covered = Pivots(pivots.codes, lambda rows: -pivots.crops(rows), 32, lambda rows: torch.ones(len(rows), 1, 32, 32))
    assert tuning_quality(toy_generator, covered, toy_perceptual) == {"psnr_db": np.inf, "lpips_alex": 0}


def test_tuning_quality_is_the_mean_over_faces(toy_generator, toy_perceptual, pivots):
    pairs = [reconstruct(toy_generator, pivots, row) for row in range(3)]
    quality = tuning_quality(toy_generator, pivots, toy_perceptual)
    assert quality["lpips_alex"] == pytest.approx(np.mean([toy_perceptual(*pair).item() for pair in pairs]), rel=1e-5)


def test_numbers_agree_with_their_definitions(toy_perceptual):
    random = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 192, 192, generator=random) * 2 - 1
    target = (image + 0.1).clamp(-1, 1)
    numbers = reconstruction_numbers(image, target, toy_perceptual)
    error = ((image - target) / 2).square().mean().item()
    assert numbers["mse"] == pytest.approx(error, rel=0.02)  # 8-bit rounding
    assert numbers["psnr_db"] == pytest.approx(-10 * np.log10(numbers["mse"]))
    assert numbers["lpips"] == pytest.approx(toy_perceptual(image, target).item())
    assert 0 < numbers["ssim"] < 1
    same = reconstruction_numbers(image, image, toy_perceptual)
    assert (same["lpips"], same["mse"], same["ssim"], same["ms_ssim"]) == pytest.approx((0, 0, 1, 1))
