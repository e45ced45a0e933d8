import numpy as np
import pytest
import torch

from stitchedit.occlude import SIDE, enlarged, hidden, in_colors_of, seen_only
from stitchedit.options.occlude import OcclusionOptions


def probability(*boxes):
    """0.02, but for boxes `(top, bottom, left, right, value)`."""
    made = np.full((SIDE, SIDE), 0.02)
    for top, bottom, left, right, value in boxes:
        made[top:bottom, left:right] = value
    return made


def test_what_is_certain_brings_along_what_is_likely_and_joined_to_it():
    probabilities = probability((10, 20, 10, 14, 0.95), (10, 20, 14, 24, 0.5), (40, 50, 40, 50, 0.6))
    found = hidden(probabilities, OcclusionOptions())
    assert found[10:20, 10:24].min() == 1
    assert found[38:52, 38:52].max() == 0


def test_it_fades_out_round_about_what_was_found():
    found = hidden(probability((30, 40, 30, 40, 0.9)), OcclusionOptions(grow=2.0))
    assert found[35, 28:32].tolist() == [1, 1, 1, 1]
    assert found[35, 24:28].tolist() == [0, 0, 0, 0.5]


@pytest.mark.parametrize("options", [OcclusionOptions(certain=0.95), OcclusionOptions(smallest=0.03)])
def test_too_unlikely_or_too_small_is_nothing(options):
    assert hidden(probability((30, 40, 30, 40, 0.9)), options).max() == 0


def test_nothing_likely_is_nothing():
    assert hidden(probability(), OcclusionOptions()).max() == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"likely": 0.9}, r"likely and occlude\.certain .* got 0\.9 and 0\.85"),
        ({"certain": 1.0}, r"got 0\.45 and 1"),
        ({"grow": -1.0}, "got .*-1"),
    ],
)
def test_options_out_of_range_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        OcclusionOptions(**wrong)


def test_a_mask_is_enlarged_evenly():
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, 32:] = 1
    large = enlarged(mask, 256)
    assert large.shape == (256, 256)
    assert (large[:, :124].max(), large[:, 132:].min()) == (0, 1)


def test_what_is_covered_is_not_learned():
    generated = torch.rand(1, 3, 8, 8, requires_grad=True)
    covered = torch.zeros(1, 1, 8, 8)
    covered[..., 4:] = 1
    target = seen_only(torch.rand(1, 3, 8, 8), generated, covered)
    (generated - target).square().sum().backward()
    assert generated.grad[..., 4:].abs().max() == 0
    assert generated.grad[..., :4].abs().min() > 0


def test_a_face_that_is_seen_whole_is_learned_to_the_last_bit():
    crops = torch.rand(2, 3, 8, 8)
    assert torch.equal(seen_only(crops, torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)), crops)


def test_what_is_behind_takes_its_colors_from_what_is_seen():
    covered = torch.zeros(1, 1, 8, 8)
    covered[..., 4:] = 1
    seen, generated = torch.rand(1, 3, 8, 8) * 0.4 - 0.5, torch.rand(1, 3, 8, 8) * 0.2
    made = in_colors_of(generated, seen, covered)
    torch.testing.assert_close(made[..., :4].mean(dim=(2, 3)), seen[..., :4].mean(dim=(2, 3)))
    spreads = [one[..., :4].std(dim=(2, 3), correction=0) for one in (made, seen)]
    torch.testing.assert_close(*spreads)
    assert torch.corrcoef(torch.stack([made[0, 0].flatten(), generated[0, 0].flatten()]))[0, 1] > 0.999
