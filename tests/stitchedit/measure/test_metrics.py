import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stitchedit.measure import metrics
from stitchedit.measure.metrics import (
    identity_consistency,
    ms_ssim,
    mse,
    outside_difference,
    psnr,
    ring_error,
    ssim,
    tl_ratios,
)


@pytest.fixture
def embeddings() -> np.ndarray:
    """One person over 30 frames."""
    random = np.random.default_rng(0)
    rows = random.normal(size=128) + 0.3 * random.normal(size=(30, 128))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (60, 75, 3), np.uint8)
    return image, (image * 0.8 + random.uniform(0, 40, image.shape)).astype(np.uint8)


def test_an_untouched_video_is_consistent(embeddings: np.ndarray) -> None:
    assert identity_consistency(embeddings, embeddings) == pytest.approx((1, 1, 29, 30 * 29))


def test_consistency_does_not_see_a_change_all_frames_share(embeddings: np.ndarray) -> None:
    mirror = np.where(np.arange(128) < 64, -1, 1)

    assert identity_consistency(embeddings, embeddings * mirror)[:2] == pytest.approx((1, 1))


def test_slow_drift_lowers_global_consistency_more_than_local(embeddings: np.ndarray) -> None:
    drift = embeddings + np.linspace(0, 0.5, 30)[:, None] * np.eye(128)[0]
    drift /= np.linalg.norm(drift, axis=1, keepdims=True)

    consistency = identity_consistency(embeddings, drift)

    assert consistency.tg_id != pytest.approx(1, abs=1e-3)
    assert abs(consistency.tg_id - 1) > 0.5 * abs(consistency.tl_id - 1)


def test_frames_that_differ_in_the_source_are_left_out(embeddings: np.ndarray) -> None:
    profile = embeddings.copy()
    profile[10] = np.eye(128)[5]  # nearly orthogonal to every other row

    consistency = identity_consistency(profile, embeddings)

    assert (consistency.tl_pairs, consistency.tg_pairs) == (27, 29 * 28)
    assert consistency[:2] == pytest.approx((1, 1))


def test_pairs_do_not_bridge_a_gap(embeddings: np.ndarray) -> None:
    edited = embeddings.copy()
    edited[4] = np.nan

    assert identity_consistency(embeddings, edited)[2:] == (27, 29 * 28)


@pytest.mark.parametrize("frames", [0, 1])
def test_nothing_to_compare_is_nan(embeddings: np.ndarray, frames: int) -> None:
    consistency = identity_consistency(embeddings[:frames], embeddings[:frames])

    assert np.isnan(consistency[:2]).all()
    assert consistency[2:] == (0, 0)


def test_blocks_do_not_change_the_result(embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = identity_consistency(embeddings, embeddings[::-1])
    monkeypatch.setattr(metrics, "BLOCK", 7)

    assert identity_consistency(embeddings, embeddings[::-1]) == pytest.approx(whole, rel=1e-12)


def test_ssim_agrees_with_skimage(images: tuple[np.ndarray, np.ndarray]) -> None:
    expected = structural_similarity(
        *images, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )

    assert ssim(*images) == pytest.approx(expected, abs=1e-12)


def test_psnr_agrees_with_skimage(images: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(*images) == pytest.approx(peak_signal_noise_ratio(*images), rel=1e-12)


def test_equal_images_are_perfect(images: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(images[0], images[0]) == np.inf
    assert ssim(images[0], images[0]) == pytest.approx(1)


def test_ring_error_is_the_offset_of_the_ring_and_nothing_else() -> None:
    source = np.full((20, 30, 3), 100, np.uint8)
    border = np.zeros((20, 30))
    border[5:9, 5:9] = 1
    result = source.copy()
    result[5:9, 5:9] = 93
    result[10:] = 255

    assert ring_error(result, source, border) == pytest.approx(7)


def test_ring_error_weighs_by_the_border() -> None:
    source, result = np.zeros((1, 2, 3), np.uint8), np.array([[[10] * 3, [20] * 3]], np.uint8)

    assert ring_error(result, source, np.array([[0.75, 0.25]])) == pytest.approx((0.75 * 100 + 0.25 * 400) ** 0.5)


def test_no_ring_has_no_error() -> None:
    blank = np.zeros((4, 4, 3), np.uint8)

    assert np.isnan(ring_error(blank, blank, np.zeros((4, 4))))


def test_outside_difference_is_the_largest_outside() -> None:
    source = np.full((4, 4, 3), 100, np.uint8)
    result, alpha = source.copy(), np.zeros((4, 4), np.uint8)
    result[0, 0], alpha[0, 0] = 255, 1
    result[3, 2, 1] = 96

    assert outside_difference(result, source, alpha) == 4
    assert outside_difference(result, source, np.ones((4, 4), np.uint8)) == 0


def test_tl_id_is_the_mean_of_the_ratios_of_neighbours(embeddings: np.ndarray) -> None:
    random = np.random.default_rng(1)
    edited = embeddings + 0.05 * random.normal(size=embeddings.shape)
    edited[7] = np.nan
    edited /= np.linalg.norm(edited, axis=1, keepdims=True)

    ratios = tl_ratios(embeddings, edited)

    assert np.flatnonzero(np.isnan(ratios)).tolist() == [0, 7, 8]
    assert np.nanmean(ratios) == pytest.approx(identity_consistency(embeddings, edited).tl_id)


def test_mse_is_of_images_in_0_to_1(images: tuple[np.ndarray, np.ndarray]) -> None:
    image, other = images
    assert mse(image, other) == pytest.approx(10 ** (-psnr(image, other) / 10))


@pytest.fixture
def large() -> tuple[np.ndarray, np.ndarray]:
    """A smooth image of 192x200 and a noisy copy."""
    random = np.random.default_rng(0)
    image = np.kron(random.integers(0, 256, (24, 25, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return image, np.clip(image + random.normal(0, 20, image.shape), 0, 255).astype(np.uint8)


def test_ms_ssim_weighs_the_scales_of_ssim(large: tuple[np.ndarray, np.ndarray]) -> None:
    """Against scikit-image: where the means agree, contrast times structure is SSIM itself."""
    x, y = (one.astype(np.float64) for one in large)
    scales = []
    for _ in range(5):
        options = {"channel_axis": 2, "data_range": 255, "gaussian_weights": True, "use_sample_covariance": False}
        whole = structural_similarity(x, y, full=True, **options)[1][5:-5, 5:-5].mean(axis=(0, 1))
        scales.append(whole)
        height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
        x, y = (sum(one[a:height:2, b:width:2] for a in (0, 1) for b in (0, 1)) / 4 for one in (x, y))
    weighed = np.prod([scale**weight for scale, weight in zip(scales, metrics.SCALES, strict=True)], axis=0).mean()
    assert ms_ssim(*large) == pytest.approx(weighed, abs=0.01)  # luminance counts at the last scale only
    assert ms_ssim(large[0], large[0]) == pytest.approx(1)


def test_ms_ssim_needs_room_for_its_smallest_scale() -> None:
    small = np.zeros((175, 300, 3), np.uint8)
    with pytest.raises(ValueError, match="176 px or more a side, got 300x175"):
        ms_ssim(small, small)
