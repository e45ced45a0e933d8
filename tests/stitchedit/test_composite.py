import numpy as np
import pytest

from stitchedit.composite import Patch, keep_detail, kept_detail, make_patch, paste, patch_from
from stitchedit.images.depth import DEEP, SHALLOW, to_levels, to_stored
from stitchedit.images.masks import paste_alpha
from stitchedit.images.warp import crop_face, patch_box, patch_size
from stitchedit.measure.metrics import outside_difference
from stitchedit.options.composite import CompositeOptions

SEAM = CompositeOptions().seam


@pytest.fixture(params=[(330.0, 160.0), (40.0, 330.0)], ids=["inside", "leaving"])
def quad(request: pytest.FixtureRequest) -> np.ndarray:
    right, down = np.array([88.0, 31.0]), np.array([-31.0, 88.0])
    return np.array(request.param) + np.array([-right - down, -right + down, right + down, right - down])


def patch_for(image: np.ndarray, quad: np.ndarray) -> Patch:
    y, x = np.indices((512, 512)) - 255.5
    round_mask = (x**2 + y**2 < 220**2).astype(np.uint8)
    options = CompositeOptions()
    alpha = paste_alpha(round_mask, len(image), options.seam)
    return make_patch(image, alpha, quad, patch_box(quad, patch_size(quad[None], (360, 640)), (360, 640)))


def in_frame(patch: Patch) -> np.ndarray:
    alpha = np.zeros((360, 640), np.uint8)
    height, width = patch.alpha.shape
    alpha[patch.top : patch.top + height, patch.left : patch.left + width] = patch.alpha
    return alpha


@pytest.mark.parametrize("size", [256, 1024])
def test_nothing_outside_the_mask_changes(frame: np.ndarray, quad: np.ndarray, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    patch = patch_for(noise, quad)

    result = paste(frame, patch)

    assert outside_difference(result, frame, in_frame(patch)) == 0
    assert (result != frame).any()


def test_only_the_mask_is_pasted(frame: np.ndarray, quad: np.ndarray) -> None:
    green = np.full((512, 512, 3), (0, 255, 0), np.uint8)
    patch = patch_for(green, quad)

    result = paste(frame, patch)

    alpha = in_frame(patch)
    assert (result[alpha == 255] == (0, 255, 0)).all()
    y, x = np.nonzero(alpha)
    radius = 220 * 2 * np.hypot(88, 31) / 512
    assert np.hypot(*(np.column_stack([x, y]) - quad.mean(axis=0)).T).max() < radius


def test_colors_do_not_darken_where_alpha_fades(quad: np.ndarray) -> None:
    patch = patch_for(np.full((512, 512, 3), (10, 200, 90), np.uint8), quad)

    assert (patch.rgb[patch.alpha > 0] == (10, 200, 90)).all()
    assert (patch.rgb[patch.alpha == 0] == 0).all()


def test_pasting_the_source_crop_changes_next_to_nothing(frame: np.ndarray, quad: np.ndarray) -> None:
    result = paste(frame, patch_for(crop_face(frame, quad, 512).image, quad))

    assert np.sqrt(np.mean((result.astype(float) - frame) ** 2)) < 1.0


def test_an_opaque_patch_shows_even_where_the_crop_ends(quad: np.ndarray) -> None:
    box = patch_box(quad, patch_size(quad[None], (360, 640)), (360, 640))

    patch = make_patch(np.full((256, 256, 3), 77, np.uint8), np.ones((256, 256)), quad, box)

    assert set(np.unique(patch.alpha)) == {0, 255}


def test_a_patch_over_the_end_of_an_odd_frame_is_cut() -> None:
    frame = np.zeros((9, 7, 3), np.uint8)
    patch = Patch(np.full((4, 4, 3), 9, np.uint8), np.full((4, 4), 255, np.uint8), left=4, top=6)

    result = paste(frame, patch)

    assert (result[6:, 4:] == 9).all()
    assert result.sum() == 9 * 9 * 3


@pytest.mark.parametrize("alpha", [0, 1, 100, 254, 255])
def test_blend_is_rounded(alpha: int) -> None:
    levels = np.arange(256, dtype=np.uint8)
    frame = np.broadcast_to(levels[:, None, None], (256, 256, 3))
    rgb = np.broadcast_to(levels[None, :, None], (256, 256, 3)).copy()

    result = paste(frame, Patch(rgb, np.full((256, 256), alpha, np.uint8), 0, 0))

    exact = frame + (rgb.astype(float) - frame) * alpha / 255
    assert np.abs(result - exact).max() <= 0.5 + 1e-9


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"composite\.feather must be in \[0, 512\] px, got -1"):
        CompositeOptions(feather=-1)
    with pytest.raises(ValueError, match=r"composite\.steady_s must be in \[0, 60\] s, got nan"):
        CompositeOptions(steady_s=float("nan"))


def detailed(patch: Patch, frame: np.ndarray, crops: tuple[np.ndarray, np.ndarray], quad: np.ndarray) -> Patch:
    kept = kept_detail(crops, np.ones(crops[0].shape[:2], np.float32), CompositeOptions().detail)
    return keep_detail(patch, frame, crops, kept, quad)


def test_an_unchanged_crop_gives_the_frame_back_however_coarse_it_is(frame, quad):
    crop = crop_face(frame, quad, 32).image
    patch = detailed(patch_for(crop, quad), frame, (crop, crop), quad)
    difference = np.abs(paste(frame, patch).astype(int) - frame)
    assert difference.max() <= 1
    assert np.abs(paste(frame, patch_for(crop, quad)).astype(int) - frame).max() > 40  # what the detail was worth


def test_nothing_of_the_frame_shows_through_a_strong_change(frame, quad):
    crop = crop_face(frame, quad, 64).image
    changed = np.where(crop > 127, crop - 100, crop + 100).astype(np.uint8)
    plain, crops = patch_for(changed, quad), (crop, changed)
    here, elsewhere = (detailed(plain, seen, crops, quad) for seen in (frame, 255 - frame))
    np.testing.assert_array_equal(here.rgb, elsewhere.rgb)


def test_detail_does_not_reach_beyond_the_patch(frame, quad):
    crop = crop_face(frame, quad, 64).image
    patch = detailed(patch_for(crop, quad), frame, (crop, crop // 2), quad)
    assert outside_difference(paste(frame, patch), frame, in_frame(patch)) == 0


def test_a_change_takes_the_detail_round_about_within_the_face_and_only_its_own_around_the_face():
    before = np.full((256, 256, 3), 100, np.uint8)
    after = before.copy()
    after[:, :128] += 80  # hair that turned grey, up to where the background begins
    beside = np.s_[64:192, 131]

    def kept(face: float) -> np.ndarray:
        return kept_detail((before, after), np.full((256, 256), face, np.float32), 16.0)

    assert kept(1.0)[beside].max() < 0.3
    assert kept(0.0)[beside].min() > 0.7
    assert max(kept(face)[:, :120].max() for face in (0.0, 1.0)) < 1e-3
    assert min(kept(face)[:, 150:].min() for face in (0.0, 1.0)) > 0.999


@pytest.fixture(scope="module")
def deep_frame() -> np.ndarray:
    """A ramp of 1,024 steps over 360 by 640 pixels, a little beyond black and white, in 8-bit levels."""
    ramp = np.linspace(-4, 1027, 360 * 640).round().reshape(360, 640)
    return np.repeat(ramp[..., None] * np.float32(255 / 1023), 3, axis=2).astype(np.float32)


def deep_patch(image: np.ndarray, quad: np.ndarray) -> Patch:
    box = patch_box(quad, patch_size(quad[None], (360, 640)), (360, 640))
    return make_patch(image, paste_alpha(np.ones((512, 512), np.uint8), len(image), SEAM), quad, box, DEEP)


def test_a_deep_patch_of_an_unchanged_crop_gives_the_frame_back_to_a_hundredth(deep_frame, quad):
    crop = crop_face(deep_frame, quad, 64).image
    patch = detailed(deep_patch(crop, quad), deep_frame, (crop, crop), quad)
    assert patch.rgb.dtype == patch.alpha.dtype == np.uint16
    result = paste(deep_frame, patch)
    assert np.abs(result - deep_frame).max() <= 0.0051
    alpha = np.zeros((360, 640), np.uint16)
    height, width = patch.alpha.shape
    alpha[patch.top : patch.top + height, patch.left : patch.left + width] = patch.alpha
    assert np.array_equal(result[alpha == 0], deep_frame[alpha == 0])


def test_a_deep_blend_has_no_steps_of_8_bits():
    levels = np.linspace(50, 51, 256, dtype=np.float32)
    frame = np.broadcast_to(levels[:, None, None], (256, 256, 3)).copy()
    rgb = to_stored(np.broadcast_to(levels[None, :, None] + 10, (256, 256, 3)), DEEP)

    result = paste(frame, Patch(rgb, np.full((256, 256), 16384, np.uint16), 0, 0))

    np.testing.assert_allclose(result, frame + (levels[None, :, None] + 10 - frame) * 16384 / 65535, atol=0.0026)


def test_a_deep_patch_is_looked_at_in_8_bits(frame, quad):
    crop = crop_face(frame.astype(np.float32), quad, 256).image
    box = patch_box(quad, patch_size(quad[None], (360, 640)), (360, 640))
    alpha = paste_alpha(np.ones((512, 512), np.uint8), 256, SEAM)
    shallow, deep = (make_patch(crop, alpha, quad, box, dtype) for dtype in (SHALLOW, DEEP))

    seen = deep.shallow()

    assert shallow.shallow() is shallow
    assert np.abs(seen.alpha.astype(int) - shallow.alpha).max() <= 1
    both = (seen.alpha > 0) & (shallow.alpha > 0)
    assert np.abs(seen.rgb.astype(int) - shallow.rgb)[both].max() <= 1
    assert not seen.rgb[seen.alpha == 0].any()


def test_a_patch_is_made_of_its_layers(quad):
    patch = deep_patch(np.full((64, 64, 3), 77.25, np.float32), quad)

    again = patch_from(patch.layers, (patch.left, patch.top))

    assert np.array_equal(again.rgb, patch.rgb)
    assert np.array_equal(again.alpha, patch.alpha)
    assert to_levels(again.rgb)[again.alpha > 0].min() == pytest.approx(77.25)
