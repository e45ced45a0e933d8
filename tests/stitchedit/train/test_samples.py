"""Codes and images of samples."""

import numpy as np
import torch

from stitchedit.train.samples import SampleOptions, Samples, sample_codes
from tasks.runtime import networks


def draw(**options):
    return sample_codes(networks.generator("cpu"), SampleOptions(**options))


def test_more_samples_leave_the_first_ones_as_they_were():
    assert torch.equal(draw(count=9)[:4], draw(count=4))


def test_another_seed_gives_other_faces():
    assert not torch.allclose(draw(count=2, seed=5)[0], draw(count=2, seed=6)[0])


def test_without_mixing_every_row_is_the_same_w():
    codes = draw(count=5, mixed=0.0)
    assert torch.equal(codes, codes[:, :1].expand_as(codes))


def test_mixed_codes_differ_between_rows():
    codes = draw(count=5, mixed=1.0)
    assert ((codes - codes[:, :1]).abs().amax(dim=(1, 2)) > 0).all()


def test_truncation_pulls_towards_the_mean():
    mean = networks.generator("cpu").w_mean
    far, near = (draw(count=3, mixed=0.0, truncation=(psi,))[:, 0] - mean for psi in (1.0, 0.5))
    torch.testing.assert_close(near, far / 2, atol=1e-5, rtol=1e-5)


def test_images_are_area_means_of_the_stored_ones():
    stored = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    samples = Samples(torch.zeros(3, 16, 512), stored, lambda: 2)
    assert len(samples) == 2
    means = stored[1].reshape(2, 4, 2, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(samples.image(1, 2), means, atol=0.5)
    images = samples.images(torch.tensor([1]), 2)[0].permute(1, 2, 0)
    np.testing.assert_allclose((images + 1) * 127.5, means, atol=1e-4)
