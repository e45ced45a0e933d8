import pytest
import torch

from stitchedit.optimize.losses import border_levels, masked_squared_error


def test_error_is_that_of_the_pixels_inside() -> None:
    torch.manual_seed(0)
    image, target, mask = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 3:7] = 1
    inside = (image - target)[..., 2:5, 3:7]

    torch.testing.assert_close(masked_squared_error(image, target, mask), 3 * inside.square().mean())


def test_pixels_outside_do_not_count() -> None:
    image, mask = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., 0] = 1
    changed = image.clone()
    changed[..., 1:] = 5

    assert masked_squared_error(changed, image, mask) == 0


def test_an_empty_mask_gives_zero() -> None:
    image = torch.randn(1, 3, 4, 4)

    assert masked_squared_error(image, image + 1, torch.zeros(1, 1, 4, 4)) == 0


def test_levels_of_images_that_are_seven_levels_apart_are_seven() -> None:
    image, mask = torch.zeros(1, 3, 6, 6), torch.ones(1, 1, 6, 6)

    assert border_levels(masked_squared_error(image + 7 / 127.5, image, mask).item()) == pytest.approx(7)
