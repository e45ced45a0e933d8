"""The encoder: its form with random weights, its worth with the shipped ones."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stitchedit.errors import WeightsError
from stitchedit.nets.encoder import Encoder, fold_norms, load_encoder
from stitchedit.nets.face_parsing import ResNet18
from stitchedit.train.samples import SampleOptions, sample_codes
from tasks.runtime import networks


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    made = Encoder()
    torch.nn.init.normal_(made.offsets.weight, std=0.01)
    torch.nn.init.normal_(made.basis, std=0.01)
    return made.eval().requires_grad_(False)


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_code_is_the_base_plus_what_each_row_adds(encoder, crops):
    base, offsets = encoder.parts(crops)
    codes = encoder(crops)
    assert codes.shape == (2, 16, 512)
    for row in range(16):
        torch.testing.assert_close(codes[:, row], base + offsets[:, row])


def test_offsets_lie_in_the_span_of_the_basis(encoder, crops):
    _, offsets = encoder.parts(crops)
    residual = offsets.flatten(0, 1) - offsets.flatten(0, 1) @ torch.linalg.pinv(encoder.basis) @ encoder.basis
    assert residual.norm() < 1e-3 * offsets.norm()


@pytest.mark.parametrize("times", [2, 4])
def test_larger_crops_are_averaged_down(encoder, crops, times):
    enlarged = F.interpolate(crops, scale_factor=times, mode="nearest")
    torch.testing.assert_close(encoder(enlarged), encoder(crops), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_folding_the_norms_changes_nothing_that_comes_out():
    torch.manual_seed(2)
    trunk = ResNet18()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
    trunk.eval()
    images = torch.randn(1, 3, 64, 64)
    before = [features.clone() for features in trunk(images)]
    after = fold_norms(trunk)(images)
    for ours, theirs in zip(after, before, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3 * theirs.abs().max().item(), rtol=1e-3)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in trunk.modules())


def test_weights_of_another_network_are_refused(encoder):
    state = encoder.state_dict()
    del state["trunk.conv1.weight"]
    with pytest.raises(WeightsError, match=r"trunk\.conv1\.weight"):
        load_encoder(state)
    with pytest.raises(WeightsError, match="basis"):
        load_encoder({})


def test_the_shipped_file_is_small_enough_for_a_repository():
    from tasks.runtime.pretrained import pretrained  # noqa: PLC0415

    assert pretrained()["encoder"].locate().stat().st_size <= 30e6


@torch.no_grad()
def test_the_shipped_encoder_finds_faces_it_never_saw():
    """Generated at 1024 px from other seeds than those trained on; the mean code is far worse."""
    generator, perceptual = networks.generator("cpu"), networks.perceptual("cpu")
    codes = sample_codes(generator, SampleOptions(count=6, mixed=0.0, truncation=(0.7,), seed=4321))
    faces = torch.cat([F.avg_pool2d(generator(code[None], 1024), 4) for code in codes]).clamp(-1, 1)
    found = networks.encoder("cpu")(faces)
    near = perceptual(generator(found, 256), faces)
    far = perceptual(generator(generator.w_mean.expand(6, 16, -1), 256), faces)
    assert np.median(near) < 0.3
    assert near.mean() < 0.65 * far.mean()
