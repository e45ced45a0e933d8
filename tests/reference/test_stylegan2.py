"""StyleGAN2 against NVIDIA's stylegan2-ada-pytorch (shared/reference/README.md §1)."""

import numpy as np
import pytest
import torch

from stitchedit.nets.nvidia_pickle import read_stylegan2
from stitchedit.nets.stylegan2 import Noise

NETWORKS = ["s64", "s64clamp", "full256"]
TRUNCATIONS = {"w_psi1": (1.0, None), "w_psi07": (0.7, None), "w_psi07_cutoff4": (0.7, 4)}
NOISES = {"const": Noise.CONSTANT, "none": Noise.NONE}


@pytest.mark.parametrize("network", NETWORKS)
def test_codes_equal_the_published_ones_at_every_truncation(reference, network):
    published = np.load(reference(f"sg2ada_{network}.npz"))
    generator = read_stylegan2(reference(f"sg2ada_{network}.pkl"))
    for key, truncation in TRUNCATIONS.items():
        with torch.no_grad():
            codes = generator.codes(torch.from_numpy(published["z"]), *truncation)
        np.testing.assert_allclose(codes.numpy(), published[key], rtol=1e-5, atol=1e-5, err_msg=key)
    np.testing.assert_array_equal(generator.w_mean.numpy(), published["w_avg"])


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("network", NETWORKS)
def test_images_equal_the_published_ones(reference, network, noise):
    published = np.load(reference(f"sg2ada_{network}.npz"))
    generator = read_stylegan2(reference(f"sg2ada_{network}.pkl"), NOISES[noise])
    keys = [key for key in published.files if key.startswith("img_") and key.endswith(noise)]
    assert keys
    for key in keys:
        code = key.split("_")[1]
        codes = torch.from_numpy(published["wplus" if code == "wplus" else f"w_{code}"])
        with torch.no_grad():
            images = generator(codes[: len(published[key])], generator.sizes[0])
        np.testing.assert_allclose(images.numpy(), published[key], rtol=0, atol=1e-4, err_msg=key)


def test_style_codes_equal_the_published_ones_layer_by_layer(reference):
    published = np.load(reference("stit_stitching.npz"))
    generator = read_stylegan2(reference("sg2ada_s64.pkl"))
    styles = generator.styles(torch.from_numpy(published["w_edit"]))
    assert len(styles) == sum(key.startswith("style_") and key != "style_image" for key in published.files)
    for index, style in enumerate(styles):
        np.testing.assert_allclose(style.numpy(), published[f"style_{index:02d}"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(generator.paint(styles).numpy(), published["style_image"], rtol=0, atol=1e-4)
