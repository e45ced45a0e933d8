import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from stitchedit.align import align_run, face_quads, smooth, working_size
from stitchedit.errors import InputError, NoFaceError
from stitchedit.images.warp import square_sides
from stitchedit.options.align import AlignOptions


@pytest.fixture
def upright_face() -> np.ndarray:
    """Eyes 60 px apart at the origin, mouth 60 px below them."""
    face = np.zeros((68, 2))
    face[36:42], face[42:48] = (-30, 0), (30, 0)
    face[48], face[54] = (-20, 60), (20, 60)
    return face


@pytest.fixture
def walk(upright_face: np.ndarray) -> np.ndarray:
    """The face, moved and scaled at random over 40 frames."""
    random = np.random.default_rng(0)
    return upright_face * random.uniform(0.8, 1.2, (40, 1, 1)) + random.uniform(-20, 20, (40, 1, 2)) + 200


def test_level_face_gives_level_square(upright_face: np.ndarray) -> None:
    quad = face_quads(upright_face[None], center_sigma=0.0, axes_sigma=0.0)[0]

    # center = eyes + 0.1 * 60; half width = max(2 * 60, 1.8 * 60)
    np.testing.assert_allclose(quad, [(-120, -114), (-120, 126), (120, 126), (120, -114)], atol=1e-9)


@pytest.mark.parametrize("degrees", [-90, 10, 45, 180])
def test_square_turns_with_the_face(upright_face: np.ndarray, degrees: float) -> None:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    turned = face_quads((upright_face @ turn)[None], center_sigma=0.0, axes_sigma=0.0)[0]

    level = face_quads(upright_face[None], center_sigma=0.0, axes_sigma=0.0)[0]
    np.testing.assert_allclose(turned, level @ turn, atol=1e-9)


def test_smoothing_keeps_squares_square(walk: np.ndarray) -> None:
    quads = face_quads(walk, center_sigma=1.0, axes_sigma=3.0)

    down, right = quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 1]
    np.testing.assert_allclose((down * right).sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(down, axis=1), np.linalg.norm(right, axis=1), rtol=1e-9)


def test_center_is_smoothed_by_its_own_sigma(walk: np.ndarray) -> None:
    still = face_quads(walk, center_sigma=0.0, axes_sigma=0.0).mean(axis=1)

    smooth = face_quads(walk, center_sigma=1.5, axes_sigma=7.0).mean(axis=1)

    np.testing.assert_allclose(smooth, gaussian_filter1d(still, 1.5, axis=0), atol=1e-9)


def test_side_scales_the_square_about_its_center(walk: np.ndarray) -> None:
    quads, wide = face_quads(walk, 1.0, 3.0), face_quads(walk, 1.0, 3.0, side=1.25)

    np.testing.assert_allclose(wide.mean(axis=1), quads.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(square_sides(wide), 1.25 * square_sides(quads), rtol=1e-9)


def test_default_seconds_are_one_and_three_frames_at_25_fps(walk: np.ndarray) -> None:
    quads = align_run(walk, np.arange(len(walk)) / 25, AlignOptions())

    np.testing.assert_allclose(quads, face_quads(walk, center_sigma=1.0, axes_sigma=3.0), atol=1e-9)


def test_twice_the_frame_rate_smooths_over_twice_the_frames(walk: np.ndarray) -> None:
    quads = align_run(walk, 7 + np.arange(len(walk)) / 50, AlignOptions())

    np.testing.assert_allclose(quads, face_quads(walk, center_sigma=2.0, axes_sigma=6.0), atol=1e-9)


def test_frames_beyond_a_pause_do_not_count(walk: np.ndarray) -> None:
    times, options = np.arange(len(walk)) / 25, AlignOptions()
    times[20:] += 0.7

    quads = align_run(walk, times, options)

    moved = walk + 100 * (np.arange(len(walk)) >= 20)[:, None, None]
    np.testing.assert_allclose(align_run(moved, times, options)[:20], quads[:20], atol=1e-9)
    np.testing.assert_allclose(quads[:8], face_quads(walk, 1.0, 3.0)[:8], atol=1e-9)


@pytest.mark.parametrize("frames", [2, 3, 7, 40])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_at_even_times_smoothing_is_scipys(walk: np.ndarray, frames: int, sigma: float) -> None:
    values = walk[:frames, 0]

    smoothed = smooth(values, 3 + np.arange(frames) / 30, sigma / 30)

    np.testing.assert_allclose(smoothed, gaussian_filter1d(values, sigma, axis=0), atol=1e-9)


def test_a_frame_a_second_is_not_smoothed(walk: np.ndarray) -> None:
    quads = align_run(walk, np.arange(len(walk), dtype=float), AlignOptions())

    np.testing.assert_allclose(quads, face_quads(walk, 0.0, 0.0))


def test_many_frames_in_no_time_are_smoothed_in_bounded_memory() -> None:
    values = np.random.default_rng(0).normal(size=(3000, 2))

    smoothed = smooth(values, np.arange(3000) * 1e-7, 0.12)

    assert smoothed.std() < 0.1


def test_a_single_frame_is_a_run(upright_face: np.ndarray) -> None:
    quads = align_run(upright_face[None], np.array([3.2]), AlignOptions())

    np.testing.assert_allclose(quads, face_quads(upright_face[None], 0.0, 0.0))


def test_names_the_frames_without_a_face(walk: np.ndarray) -> None:
    walk[[3, 5]] = np.nan

    with pytest.raises(NoFaceError, match=r"No face in 2 of 40 frames of a run \(first: 3\)"):
        face_quads(walk, 1.0, 3.0)


@pytest.mark.parametrize(
    ("side", "size"), [(90, 256), (384, 256), (385, 512), (768, 512), (769, 1024), (1536, 1024), (4000, 1024)]
)
def test_working_size_follows_the_face(side: float, size: int) -> None:
    square = np.array([[0, 0], [0, side], [side, side], [side, 0]], float)

    assert working_size(square[None], (128, 256, 512, 1024), AlignOptions()) == size


def test_working_size_is_one_for_a_track() -> None:
    sides = np.array([200, 220, 2000])[:, None, None]
    squares = sides * np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)

    assert working_size(squares, (256, 512, 1024), AlignOptions()) == 256


def test_generator_without_a_usable_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"makes \[64, 128\] px, but align\.smallest_size is 256"):
        working_size(np.zeros((1, 4, 2)), (128, 64), AlignOptions())


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"align\.side must be > 0, got 0\.0"):
        AlignOptions(side=0.0)
