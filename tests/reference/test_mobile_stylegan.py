"""The packaged generator against what OpenVINO computes from the same files (reference README, section 10)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tasks.runtime import networks


@pytest.fixture(scope="module")
def expected(reference: Callable[[str], Path]) -> dict[str, np.ndarray]:
    with np.load(reference("mobilestylegan_256.npz")) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def expected_1024(reference: Callable[[str], Path]) -> dict[str, np.ndarray]:
    with np.load(reference("mobilestylegan_parity.npz")) as arrays:
        return {name: arrays[name] for name in ("w_trunc05", "img1024_f32_z0_trunc05")}


def in_every_layer(w: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(w)[:, None].expand(-1, networks.generator("cpu").layers, -1)


def test_mapping_gives_the_same_w(expected):
    w = networks.generator("cpu").mapping(torch.from_numpy(expected["z"]))
    np.testing.assert_allclose(w.detach(), expected["w"], atol=1e-4)


def test_mean_over_the_same_z_is_the_same(expected):
    z = np.random.RandomState(int(expected["w_avg_seed"])).standard_normal((4096, 512)).astype(np.float32)
    with torch.no_grad():
        mean = networks.generator("cpu").mapping(torch.from_numpy(z)).mean(dim=0)
    np.testing.assert_allclose(mean, expected["w_avg"], atol=1e-4)


@torch.no_grad()
def test_image_at_1024_is_the_same(expected_1024):
    image = networks.generator("cpu")(in_every_layer(expected_1024["w_trunc05"][:1]), 1024)
    np.testing.assert_allclose(image[0], expected_1024["img1024_f32_z0_trunc05"], atol=5e-3)


@torch.no_grad()
def test_area_means_of_untruncated_images_are_the_same(expected):
    for code, image in zip(expected["w"][:2], expected["img256_f16"][:2], strict=True):
        generated = F.avg_pool2d(networks.generator("cpu")(in_every_layer(code[None]), 1024), 4)
        np.testing.assert_allclose(generated[0], image.astype(np.float32), atol=1e-2)
