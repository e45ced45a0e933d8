"""The packaged generator as we read it, and the heads that are ours."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stitchedit.errors import WeightsError
from stitchedit.nets.mobile_stylegan import haar, inverse_haar, load_heads
from stitchedit.nets.mobile_stylegan_ir import read_mobile_stylegan
from stitchedit.nets.openvino_ir import read_constants
from stitchedit.train.samples import SampleOptions, sample_codes
from tasks.runtime import networks
from tasks.runtime.pretrained import pretrained


def packaged(name: str) -> Path:
    return pretrained()[name].locate()


def test_inverse_haar_undoes_haar():
    image = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse_haar(haar(image)), image, atol=1e-6, rtol=0)


def test_low_band_alone_is_an_even_image():
    bands = torch.zeros(1, 12, 2, 2)
    bands[:, :3] = 1.0
    torch.testing.assert_close(inverse_haar(bands), torch.full((1, 3, 4, 4), 0.5))


@pytest.mark.parametrize(("size", "least"), [(128, 22.5), (256, 26.0), (512, 60.0)])
@torch.no_grad()
def test_a_head_makes_the_area_mean_of_the_published_image(size, least):
    generator = networks.generator("cpu")
    codes = sample_codes(generator, SampleOptions(count=3, mixed=0, seed=77, truncation=(0.7,)))
    whole = torch.cat([generator(code[None], 1024) for code in codes]).clamp(-1, 1)
    generated = generator(codes, size).clamp(-1, 1)
    error = F.mse_loss(generated, F.avg_pool2d(whole, 1024 // size)).item()
    assert 10 * math.log10(4 / error) > least


@torch.no_grad()
def test_rows_past_the_size_change_nothing():
    generator = networks.generator("cpu")
    codes = generator.w_mean.expand(1, generator.layers, -1).clone()
    before = generator(codes, 128)
    codes[:, generator.coarse_layers(128) :] += 1
    torch.testing.assert_close(generator(codes, 128), before, atol=0, rtol=0)
    codes[:, generator.coarse_layers(128) - 1] += 1
    assert not torch.equal(generator(codes, 128), before)


@pytest.mark.parametrize("size", [128, 512])
def test_synthesis_parameters_are_those_that_get_a_gradient(size):
    generator = read_mobile_stylegan(
        packaged("mobile_stylegan_mapping"), packaged("mobile_stylegan_synthesis"), sizes=(128,)
    ).requires_grad_(True)
    generator(generator.w_mean.expand(1, generator.layers, -1), size).square().mean().backward()
    touched = {name for name, parameter in generator.named_parameters() if parameter.grad is not None}
    listed = {name for name, _ in generator.synthesis_parameters(size)}
    assert touched == listed
    assert not any(name.startswith("mapping.") for name in listed)


def test_another_graph_is_refused():
    with pytest.raises(WeightsError, match="not MobileStyleGAN"):
        read_mobile_stylegan(packaged("mobile_stylegan_mapping"), packaged("mobile_stylegan_mapping"))


def test_numbers_cut_short_are_refused(tmp_path):
    graph = packaged("mobile_stylegan_mapping")
    (tmp_path / graph.name).write_bytes(graph.read_bytes())
    (tmp_path / graph.with_suffix(".bin").name).write_bytes(graph.with_suffix(".bin").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="ends at byte 1000"):
        read_constants(tmp_path / graph.name)


def test_a_head_of_another_shape_is_refused():
    generator = read_mobile_stylegan(packaged("mobile_stylegan_mapping"), packaged("mobile_stylegan_synthesis"))
    with pytest.raises(WeightsError, match="head for 256 px does not fit"):
        load_heads(generator, {"256.reduce.bias": torch.zeros(8)})


@torch.no_grad()
def test_images_equal_openvinos():
    reason = "openvino is for checking only: pip install openvino"
    openvino = pytest.importorskip("openvino", reason=reason)
    generator = networks.generator("cpu")
    w = generator.mapping(torch.randn(1, 512, generator=torch.Generator().manual_seed(5)))
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(packaged("mobile_stylegan_synthesis")), "CPU", exact)
    expected = next(iter(model([w.numpy()]).values()))
    generated = generator(w[:, None].expand(-1, generator.layers, -1), 1024)
    np.testing.assert_allclose(generated, np.asarray(expected).reshape(generated.shape), atol=1e-3)
