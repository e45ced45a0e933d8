import numpy as np
import pytest

from stitchedit.train.augment import AugmentOptions, camera
from stitchedit.train.occluders import KINDS, cover_face


@pytest.fixture(scope="module")
def faces():
    noise = np.random.default_rng(0)
    smooth = np.linspace(60, 200, 128)[:, None, None] + np.linspace(-20, 20, 128)[None, :, None]
    return [np.clip(smooth + noise.normal(0, 4, (128, 128, 3)), 0, 255).astype(np.uint8) for _ in range(2)]


@pytest.fixture(scope="module")
def covered(faces):
    return [cover_face(*faces, np.random.default_rng((1, number))) for number in range(300)]


def test_where_nothing_covers_the_face_it_is_the_face_or_its_shadow(faces, covered):
    """But for rows and columns that repeat the outermost one, as beyond a frame."""
    same = [(image, cover) for image, cover in covered if (image == faces[0]).all()]
    assert all(cover.max() == 0 for _, cover in same)
    for image, cover in covered[:40]:
        clear = cover[40:88, 40:88] < 0.02
        darker = faces[0][40:88, 40:88][clear].astype(int) - image[40:88, 40:88][clear]
        assert darker.size == 0 or darker.min() >= -6


def test_one_face_in_five_has_nothing_in_front(covered):
    bare = np.mean([cover.max() == 0 for _, cover in covered])
    assert bare == pytest.approx(1 - sum(KINDS.values()), abs=0.1)


def test_covers_are_shares_of_the_image(covered):
    covers = np.stack([cover for _, cover in covered])
    assert covers.min() >= 0
    assert covers.max() <= 1 + 1e-5
    shares = (covers > 0.5).mean(axis=(1, 2))
    assert 0.05 < shares[shares > 0].mean() < 0.5


def test_the_same_number_paints_the_same(faces):
    one, other = (cover_face(*faces, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_a_camera_moves_no_outline(faces):
    step = np.full((128, 128, 3), 40, np.uint8)
    step[:, 64:] = 200
    for number in range(20):
        seen = camera(step, AugmentOptions(), np.random.default_rng(number)).astype(float).mean(axis=(0, 2))
        edge = np.abs(np.diff(seen)).argmax()
        assert edge == pytest.approx(63, abs=4)
