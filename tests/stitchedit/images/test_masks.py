import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from stitchedit.images.masks import (
    BACKGROUND,
    CLOTH,
    HAT,
    MOVING,
    moving_features,
    paste_alpha,
    resize_masks,
    seam_masks,
)
from stitchedit.options.composite import Seam
from stitchedit.options.masks import MaskOptions

SKIN = 1


@pytest.fixture
def labels() -> np.ndarray:
    """A round face under a hat, on a shirt that reaches the bottom."""
    y, x = np.indices((512, 512))
    labels = np.full((512, 512), BACKGROUND, np.uint8)
    labels[(y > 400) & (abs(x - 256) < 200)] = CLOTH
    labels[(x - 256) ** 2 + (y - 260) ** 2 < 140**2] = SKIN
    labels[(y < 150) & (abs(x - 256) < 90)] = HAT
    return labels


def test_hat_shirt_and_background_are_not_the_face(labels: np.ndarray) -> None:
    masks = seam_masks(labels[None], MaskOptions(outer=0))

    np.testing.assert_array_equal(masks.full[0] == 1, labels == SKIN)


def test_full_mask_is_the_face_grown_by_a_square(labels: np.ndarray) -> None:
    masks = seam_masks(labels[None], MaskOptions(inner=3, outer=8))

    grown = binary_dilation(labels == SKIN, np.ones((7, 7)))
    np.testing.assert_array_equal(masks.full[0] == 1, binary_dilation(grown, np.ones((17, 17))))
    np.testing.assert_array_equal(masks.border[0] == 1, (masks.full[0] == 1) & ~grown)


def test_content_and_border_make_up_the_full_mask(labels: np.ndarray) -> None:
    masks = seam_masks(labels[None], MaskOptions())

    np.testing.assert_array_equal(masks.content + masks.border, masks.full)


def test_a_face_cut_by_the_crop_is_matched_along_the_cut() -> None:
    masks = seam_masks(np.full((1, 512, 512), SKIN, np.uint8), MaskOptions(outer=25))

    assert masks.border[0, :, :25].all()
    assert masks.content.sum() == 462**2


def test_whole_border_is_everything_but_the_face(labels: np.ndarray) -> None:
    masks = seam_masks(labels[None], MaskOptions(whole_border=True))

    np.testing.assert_array_equal(masks.border[0] == 1, labels != SKIN)


def test_faces_do_not_mix(labels: np.ndarray) -> None:
    both = seam_masks(np.stack([labels, labels[::-1]]), MaskOptions())

    np.testing.assert_array_equal(both.full[1], both.full[0, ::-1])


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_resized_masks_keep_their_corners(labels: np.ndarray, size: int) -> None:
    masks = seam_masks(labels[None], MaskOptions()).full
    masks[0, 0, 0] = masks[0, -1, -1] = 1

    resized = resize_masks(masks, size)

    assert resized.shape == (1, 1, size, size)
    assert resized[0, 0, 0, 0] == resized[0, 0, -1, -1] == 1
    assert resized.mean() == pytest.approx(masks.mean(), rel=0.02)


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_alpha_is_one_over_the_face_and_zero_outside_the_full_mask(labels: np.ndarray, size: int) -> None:
    full = seam_masks(labels[None], MaskOptions()).full

    alpha = paste_alpha(full[0], size, Seam(8, 9, 6, 0))

    face = resize_masks((labels == SKIN).astype(np.uint8)[None], size)[0, 0].numpy()
    assert alpha[face == 1].min() > 1 - 1e-6
    assert not alpha[resize_masks(full, size)[0, 0].numpy() == 0].any()


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_alpha_is_zero_along_the_sides_of_the_crop(size: int) -> None:
    alpha = paste_alpha(np.ones((512, 512), np.uint8), size, Seam(8, 9, 6, 0))

    inner = np.zeros((size, size), bool)
    inner[2:-2, 2:-2] = True
    assert not alpha[~inner].any()
    assert alpha[size // 2, size // 2] == pytest.approx(1)


def test_alpha_falls_smoothly(labels: np.ndarray) -> None:
    alpha = paste_alpha(seam_masks(labels[None], MaskOptions()).full[0], 512, Seam(8, 9, 6, 0))

    assert max(abs(np.diff(alpha, axis=axis)).max() for axis in (0, 1)) < 0.15


def test_a_face_over_the_side_of_the_crop_goes_back_little_by_little() -> None:
    alpha = paste_alpha(np.ones((512, 512), np.uint8), 512, Seam(8, 9, 6, 56))

    down = alpha[:256, 256]
    assert (np.diff(down) >= 0).all()
    assert np.diff(down).max() < 0.05
    assert down[:6].max() == 0
    assert down[6 + 56 :].min() == pytest.approx(1)


def test_without_feather_and_edge_alpha_is_the_full_mask(labels: np.ndarray) -> None:
    full = seam_masks(labels[None], MaskOptions()).full[0]

    np.testing.assert_array_equal(paste_alpha(full, 512, Seam(0, 0, 0, 0)), full)


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"masks\.outer must be in \[0, 512\] px, got -1"):
        MaskOptions(outer=-1)


@pytest.mark.parametrize("feature", MOVING)
def test_what_moves_by_itself_is_a_feature_and_as_far_round_it_as_it_opens(labels, feature):
    labels[250:262, 240:280] = feature
    moving = moving_features(labels, 256)
    assert moving.shape == (256, 256)
    assert moving[128, 130] > 0.99  # within it
    assert moving[119, 130] > 0.5  # a lid's height above
    assert moving[90, 130] < 0.01  # a cheek
    assert not moving_features(np.where(labels == feature, SKIN, labels), 256).any()
