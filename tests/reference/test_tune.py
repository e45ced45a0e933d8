"""Pivotal tuning against STIT's own coach (shared/reference/README.md §7)."""

import numpy as np
import pytest
import torch

from stitchedit.nets.lpips import LPIPS, AlexTrunk
from stitchedit.nets.nvidia_pickle import our_name, read_stylegan2
from stitchedit.options.tune import TuneOptions
from stitchedit.tune import Pivots, Tuner


@pytest.fixture(scope="module")
def published(reference):
    return np.load(reference("pti_tuning.npz"))


@pytest.fixture(scope="module")
def untuned(reference):
    return read_stylegan2(reference("sg2ada_s64.pkl"))


@pytest.fixture(scope="module")
def tuned(reference, published):
    """The generator after the published steps, frames in order, and the state with a loss per step."""
    targets = torch.from_numpy(published["targets_uint8"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    pivots = Pivots(torch.from_numpy(published["pivots"]), lambda rows: targets[rows], targets.shape[-1])
    options = TuneOptions(
        batch=1, learning_rate=3e-5, warm_up=0, mse_weight=10.0, lpips_weight=0.0, locality_weight=0.0
    )
    generator = read_stylegan2(reference("sg2ada_s64.pkl"))
    step = Tuner(generator, LPIPS(AlexTrunk()), pivots, options)
    passes, frames = published["loss"].shape
    for frame in list(range(frames)) * passes:
        step(np.array([frame]))
    return generator, step.state


def test_every_loss_equals_the_published_one(tuned, published):
    _, state = tuned
    np.testing.assert_allclose(state.losses, published["loss"].ravel(), rtol=1e-4)


def test_tuned_images_equal_the_published_ones(tuned, published):
    generator, _ = tuned
    with torch.no_grad():
        images = generator(torch.from_numpy(published["pivots"]), generator.sizes[0])
    np.testing.assert_allclose(images.numpy(), published["final_images"], rtol=0, atol=1e-3)


def test_every_weight_moves_as_far_as_the_published_one(tuned, untuned, published):
    after = dict(tuned[0].named_parameters())
    before = dict(untuned.named_parameters())
    assert {our_name(name) for name in published["param_names"]} == set(before)
    for name, distance in zip(published["param_names"], published["param_delta_norm"], strict=True):
        moved = (after[our_name(name)] - before[our_name(name)]).norm().item()
        assert moved == pytest.approx(distance, rel=2e-2), name
