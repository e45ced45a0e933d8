"""What a camera does to an image, each kind by itself."""

import numpy as np
import pytest

from stitchedit.train.augment import AugmentOptions, film

NOTHING = {"shift": 0, "turn": 0, "zoom": 0, "exposure": 0, "cast": 0, "saturation": 0, "blur": 0.11, "shrink": 1.0}
NOTHING |= {"noise": 0, "jpeg": (99, 100), "occluder": 0.08}


@pytest.fixture
def image():
    rows, columns = np.mgrid[:128, :128]
    smooth = np.stack([rows, columns, 255 - rows], axis=2) + 20 * np.sin(columns / 3)[..., None]
    return np.clip(smooth, 0, 255).astype(np.uint8)


def test_without_chance_nothing_happens(image):
    assert np.array_equal(film(image, AugmentOptions(chance=0), np.random.default_rng(0)), image)


def test_the_same_draw_gives_the_same_image(image):
    first, second = (film(image, AugmentOptions(), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", [{"blur": 4.0}, {"shrink": 6.0}, {"jpeg": (1, 2)}])
def test_detail_is_lost(image, kind):
    def detail(seen):
        return np.abs(np.diff(seen.astype(int), axis=1)).mean()

    options = AugmentOptions(chance=1.0, **(NOTHING | kind))
    plain = AugmentOptions(chance=1.0, **NOTHING)
    seen = [detail(film(image, options, np.random.default_rng(seed))) for seed in range(5)]
    still = [detail(film(image, plain, np.random.default_rng(seed))) for seed in range(5)]
    assert np.mean(seen) != pytest.approx(np.mean(still), rel=0.03)


def test_an_occluder_hides_a_part_and_no_more(image):
    options = AugmentOptions(chance=2.0, **(NOTHING | {"occluder": 0.4}))
    changed = np.abs(film(image, options, np.random.default_rng(3)).astype(int) - image).max(axis=2) > 30
    assert 0.001 < changed.mean() < 0.3


def test_it_stays_a_image(image):
    for seed in range(20):
        seen = film(image, AugmentOptions(chance=1.0), np.random.default_rng(seed))
        assert seen.shape == image.shape
        assert seen.dtype == np.uint8
