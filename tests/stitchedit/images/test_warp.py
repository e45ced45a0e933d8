import cv2
import numpy as np
import pytest
from skimage.transform import resize

from stitchedit.images.warp import (
    Box,
    covered,
    crop_face,
    crop_to_frame,
    frame_to_crop,
    patch_box,
    patch_size,
    shrinks,
    square_sides,
    warp_back,
)


def square(center: tuple[float, float], side: float, degrees: float = 0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    right = side / 2 * np.array([np.cos(angle), np.sin(angle)])
    down = np.array([-right[1], right[0]])
    return np.array(center) + np.array([-right - down, -right + down, right + down, right - down])


def level_square(left: int, top: int, size: int) -> np.ndarray:
    """The square that covers `size` whole pixels from `left`, `top` on."""
    return square((left + (size - 1) / 2, top + (size - 1) / 2), size)


def moved(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


@pytest.mark.parametrize("quad", [square((90, 70), 50, 30), np.array([[0.0, 1], [-5, 80], [90, 70], [60, -9]])])
def test_outer_edges_of_the_crop_land_on_the_quad(quad: np.ndarray) -> None:
    edges = np.array([(-0.5, -0.5), (-0.5, 63.5), (63.5, 63.5), (63.5, -0.5)])

    np.testing.assert_allclose(moved(crop_to_frame(quad, 64), edges), quad, atol=1e-9)
    np.testing.assert_allclose(moved(frame_to_crop(quad, 64), quad), edges, atol=1e-9)


def test_crop_of_whole_pixels_is_those_pixels(frame: np.ndarray) -> None:
    crop = crop_face(frame, level_square(300, 40, 200), 200)

    np.testing.assert_array_equal(crop.image, frame[40:240, 300:500])
    assert crop.valid.all()


def test_quarter_turn_of_the_face_turns_the_crop(frame: np.ndarray) -> None:
    quad = level_square(300, 40, 200)

    turned = crop_face(frame, np.roll(quad, 1, axis=0), 200)

    np.testing.assert_array_equal(turned.image, np.rot90(frame[40:240, 300:500]))


def test_outside_the_frame_its_edge_is_repeated_and_marked(frame: np.ndarray) -> None:
    crop = crop_face(frame, level_square(-50, 300, 100), 100)

    np.testing.assert_array_equal(crop.image, np.pad(frame, ((0, 60), (50, 0), (0, 0)), mode="edge")[300:400, :100])
    np.testing.assert_array_equal(crop.valid, np.pad(np.ones((60, 50), bool), ((0, 40), (50, 0))))


def test_square_beyond_the_frame_is_nowhere_valid(frame: np.ndarray) -> None:
    assert not crop_face(frame, level_square(5000, -900, 100), 64).valid.any()


@pytest.mark.parametrize("shrink", [2, 4, 7])
def test_detail_too_fine_for_the_crop_turns_gray(shrink: int) -> None:
    checkers = (np.indices((560, 560)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = np.dstack([checkers] * 3)

    image = crop_face(frame, level_square(0, 0, 560), 560 // shrink).image

    assert abs(image[8:-8, 8:-8].astype(float) - 127.5).max() < 16


@pytest.mark.parametrize("shrink", [1.25, 2, 4])
def test_shrinking_is_as_good_as_a_careful_resize(frame: np.ndarray, shrink: float) -> None:
    size = int(320 / shrink)
    expected = resize(frame[20:340, 100:420] / 255, (size, size), anti_aliasing=True) * 255

    image = crop_face(frame, level_square(100, 20, 320), size).image

    assert np.sqrt(np.mean((image - expected) ** 2)) < 2.5


def test_sharpness_does_not_jump_where_shrinking_begins(frame: np.ndarray) -> None:
    below, above = (crop_face(frame, square((320.0, 180.0), 200 * zoom), 200).image for zoom in (0.9995, 1.0005))

    assert np.abs(below.astype(float) - above).mean() < 0.5


@pytest.mark.parametrize("degrees", [0, 25, -70])
def test_a_crop_warped_back_restores_the_frame(frame: np.ndarray, degrees: float) -> None:
    quad = square((330.3, 170.8), 180, degrees)
    height, width = patch_size(quad[None], (360, 640))
    box = patch_box(quad, (height, width), (360, 640))

    back = warp_back(crop_face(frame, quad, 512).image, quad, box)

    inner = covered(square((330.3, 170.8), 176, degrees), 512, box)
    source = frame[box.top : box.top + height, box.left : box.left + width]
    assert np.sqrt(np.mean((back[inner].astype(float) - source[inner]) ** 2)) < 2.5


def test_warping_a_large_crop_back_does_not_alias() -> None:
    checkers = (np.indices((1024, 1024)).sum(axis=0) % 2).astype(np.float32)
    quad = square((100.0, 100.0), 150, 11)

    back = warp_back(checkers, quad, Box(60, 60, 80, 80))

    assert abs(back - 0.5).max() < 0.02


def test_covered_counts_the_area_of_the_square() -> None:
    quad = square((100.2, 90.7), 81.3, 33)

    assert covered(quad, 256, Box(0, 0, 200, 200)).sum() == pytest.approx(81.3**2, rel=0.01)


def test_square_sides_are_in_source_pixels() -> None:
    np.testing.assert_allclose(square_sides(np.stack([square((0, 0), 10, 5), square((9, 3), 70.5)])), [10, 70.5])


@pytest.mark.parametrize("frame_shape", [(360, 640), (361, 641), (200, 150)])
def test_patches_of_a_track_have_one_size_and_hold_every_square(frame_shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    quads = np.stack(
        [square((x, y), s, d) for x, y, s, d in random.uniform([0, 0, 40, -90], [640, 360, 200, 90], (60, 4))]
    )

    size = patch_size(quads, frame_shape)
    boxes = [patch_box(quad, size, frame_shape) for quad in quads]

    whole = Box(0, 0, frame_shape[1], frame_shape[0])
    for quad, box in zip(quads, boxes, strict=True):
        assert (box.height, box.width) == size
        assert not any(value % 2 for value in box)
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= frame_shape[1] + 1
        assert box.top + box.height <= frame_shape[0] + 1
        assert (
            covered(quad, 64, box)[: frame_shape[0] - box.top, : frame_shape[1] - box.left].sum()
            == covered(quad, 64, whole).sum()
        )


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 200])
@pytest.mark.parametrize("mirrored", [1, -1])
def test_shrink_is_along_the_axes_of_the_frame_however_the_face_is_turned(degrees: float, mirrored: int) -> None:
    """Of a frame whose pixels are twice as wide as high: half as many across."""
    to_coded = np.array([0.5 * mirrored, 1.0])

    np.testing.assert_allclose(shrinks(square((300, 200), 100, degrees) * to_coded, 50), (1.0, 2.0))


@pytest.mark.parametrize("mirrored", [1, -1])
@pytest.mark.parametrize("side", [60.0, 180.0])
def test_crop_of_oblong_or_mirrored_pixels_is_that_of_the_image_as_shown(mirrored: int, side: float) -> None:
    """At 180 px the crop has to be shrunk, by 2.8 down and by 1.4 across."""
    coded = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 120, 3), np.uint8), (0, 0), 2)
    shown = cv2.resize(coded, (240, 240), interpolation=cv2.INTER_LINEAR)
    shown = np.ascontiguousarray(shown[:, ::mirrored])
    quad = square((118, 121), side, 10)
    x = quad[:, 0] if mirrored > 0 else 239 - quad[:, 0]
    in_coded = np.stack([x / 2 - 0.25, quad[:, 1]], axis=1)

    ours, theirs = (crop_face(frame, place, 64) for frame, place in ((coded, in_coded), (shown, quad)))

    assert np.abs(ours.image.astype(int) - theirs.image).mean() < 1.5
    assert (ours.valid == theirs.valid).mean() > 0.99


def test_a_crop_goes_back_to_a_mirrored_frame_of_oblong_pixels() -> None:
    coded = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (240, 120, 3), np.uint8), (0, 0), 4)
    quad = square((118, 121), 100, 25)
    in_coded = np.stack([(239 - quad[:, 0]) / 2 - 0.25, quad[:, 1]], axis=1)
    box = patch_box(in_coded, patch_size(in_coded[None], coded.shape[:2]), coded.shape[:2])

    back = warp_back(crop_face(coded, in_coded, 256).image, in_coded, box)

    inside_quad = covered(in_coded, 256, box)
    region = coded[box.top : box.top + box.height, box.left : box.left + box.width]
    assert inside_quad.sum() == pytest.approx(100 * 100 / 2, rel=0.03)
    assert np.abs(back.astype(int) - region)[inside_quad].mean() < 3
