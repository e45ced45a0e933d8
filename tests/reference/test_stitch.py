"""Stitching tuning against STIT's own `optimize_border` (shared/reference/README.md §6)."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from stitchedit.nets.nvidia_pickle import read_stylegan2
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch import SeamTarget, fresh_copy, stitch_face


class Published(NamedTuple):
    border: np.ndarray
    content: np.ndarray
    image: np.ndarray
    steps: int
    content_weight: float
    threshold: float


class Tolerance(NamedTuple):
    loss_rtol: float
    loss_atol: float
    image_atol: float


KEYS = ("content_image", "border_mask", "content_mask")
TEN_STEPS = Tolerance(1e-4, 1e-6, 1e-3)
HUNDRED_STEPS = Tolerance(1e-2, 1e-3, 1e-2)  # rounding grows along the way, as it does between two published runs


@pytest.fixture(scope="module")
def arrays(reference):
    return np.load(reference("stit_stitching.npz"))


@pytest.fixture
def generator(reference):
    return fresh_copy(read_stylegan2(reference("sg2ada_s64.pkl")))


@pytest.fixture
def target(arrays):
    crop = torch.from_numpy(arrays["crop_uint8"]).permute(2, 0, 1)[None].float() / 127.5 - 1
    edited, border, content = (torch.from_numpy(arrays[key]) for key in (KEYS))
    return SeamTarget(source=crop, border=border, edited=edited, content=content)


class OfStyles:
    """A generator that draws given style codes whatever the code: what is tuned lies behind the affine layers."""

    def __init__(self, generator, styles):
        self.generator, self.styles = generator, styles
        self.synthesis_parameters = generator.synthesis_parameters

    def __call__(self, w_plus, size):
        return self.generator.paint(self.styles)


def published_case(arrays, case):
    parameters = next(key for key in arrays.files if key.startswith(f"{case}/params_"))
    _, content_weight, steps, threshold, _ = arrays[parameters]
    losses = (arrays[f"{case}/{name}"] for name in ("border_loss", "content_loss", "final_image"))
    return Published(*losses, int(steps), content_weight, threshold)


def stitch(generator, arrays, target, published):
    """The stitched crop and the losses of every step that changed a weight."""
    options = StitchOptions(
        steps=published.steps,
        learning_rate=3e-4,
        content_weight=published.content_weight,
        stop_below=published.threshold,
    )
    latent, losses = torch.from_numpy(arrays["w_edit"]), []
    stitched = stitch_face(generator, latent, target, options, lambda _, *terms: losses.append(terms))
    return stitched, np.array(losses)


def assert_equal(stitched, losses, published, tolerance):
    for ours, theirs in ((losses[:, 0], published.border), (losses[:, 1], published.content)):
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=tolerance.loss_rtol, atol=tolerance.loss_atol)
    np.testing.assert_allclose(stitched.crop.numpy(), published.image, rtol=0, atol=tolerance.image_atol)


@pytest.mark.parametrize(
    ("case", "tolerance"), [("l2", TEN_STEPS), ("l2_lambda1", TEN_STEPS), ("l2_100", HUNDRED_STEPS)]
)
def test_losses_and_crop_equal_the_published_ones(generator, arrays, target, case, tolerance):
    published = published_case(arrays, case)
    stitched, losses = stitch(generator, arrays, target, published)
    assert stitched.steps == len(losses) == len(published.border)
    assert_equal(stitched, losses, published, tolerance)


def test_threshold_stops_at_the_published_step_without_an_update(generator, arrays, target):
    published = published_case(arrays, "threshold")
    stitched, losses = stitch(generator, arrays, target, published)
    assert stitched.steps == len(losses) == len(published.border) - 1  # theirs lists the step that stops, too
    assert_equal(stitched, losses, published, TEN_STEPS)


def test_style_codes_stitch_as_the_published_ones(generator, arrays, target):
    published = published_case(arrays, "style")
    names = sorted(key for key in arrays.files if key.startswith("style_") and key != "style_image")
    styles = [torch.from_numpy(arrays[name]) for name in names]
    stitched, losses = stitch(OfStyles(generator, styles), arrays, target, published)
    assert_equal(stitched, losses, published, TEN_STEPS)
