"""The view of frames in all eight orientations, and with pixels that are not square."""

from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from storage.errors import UnreadableVideoError
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import VideoInfo, probe, rgb
from storage.video.preview import Panels, write_side_by_side
from storage.video.view import Orientation, View
from storage.video.writer import EncodeOptions, write_video

ONE = 1 << 16
# a b c d of a display matrix (x' = a x + c y, y' = b x + d y), and what NumPy does to the coded image instead
ORIENTATIONS = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # a phone held upright
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),  # a front camera held upright
    (0, -1, -1, 0): lambda image: np.rot90(image, 2).swapaxes(0, 1),
}


def display_matrix(signs: tuple[int, int, int, int]) -> tuple[int, ...]:
    a, b, c, d = (sign * ONE for sign in signs)
    return (a, b, 0, c, d, 0, 0, 0, 1 << 30)


def scene() -> np.ndarray:
    """An upright 96x64 image of four colors, a different one in each corner."""
    image = np.zeros((64, 96, 3), np.uint8)
    for (row, column), color in zip(
        product((0, 1), repeat=2), ((220, 40, 40), (40, 200, 40), (40, 40, 220), (200, 200, 40)), strict=True
    ):
        image[32 * row : 32 * row + 32, 48 * column : 48 * column + 48] = color
    return image


def write(path: Path, image: np.ndarray, matrix: tuple[int, ...] | None = None, aspect: Fraction | None = None) -> Path:
    """Three frames of `image`."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25, width=image.shape[1], height=image.shape[0], options={"crf": "4"})
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 25)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if matrix:
            video.set_display_matrix(matrix)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.pts = number
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def opened(path: Path) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info))


def first_frame(clip: Clip) -> np.ndarray:
    return rgb(next(read_frames(clip))[1], clip.info)


def coded_for(signs: tuple[int, int, int, int], upright: np.ndarray) -> np.ndarray:
    """The image that is `upright` when shown by the matrix `signs`."""
    turn = ORIENTATIONS[signs]
    return next(
        candidate
        for other in ORIENTATIONS.values()
        if np.array_equal(turn(candidate := other(upright)), upright)
    )  # fmt: skip


@pytest.mark.parametrize("signs", ORIENTATIONS)
def test_every_orientation_is_turned_upright(signs: tuple[int, int, int, int]) -> None:
    coded = np.arange(12).reshape(3, 4)
    view = View(4, 3, Orientation.nearest(display_matrix(signs)))

    shown = view.show(coded)

    assert shown.tolist() == ORIENTATIONS[signs](coded).tolist()
    assert view.size == shown.shape[::-1]


@pytest.mark.parametrize("signs", ORIENTATIONS)
def test_points_of_the_view_map_to_their_coded_pixel(signs: tuple[int, int, int, int]) -> None:
    coded = np.arange(12).reshape(3, 4)
    view = View(4, 3, Orientation.nearest(display_matrix(signs)))
    shown = view.show(coded)
    points = np.array([(x, y) for y in range(shown.shape[0]) for x in range(shown.shape[1])])

    places = view.to_coded(points)

    assert [coded[y, x] for x, y in places.astype(int)] == [shown[y, x] for x, y in points]
    np.testing.assert_array_equal(view.from_coded(places), points)


@pytest.mark.parametrize("signs", ORIENTATIONS)
@pytest.mark.parametrize("aspect", [(2, 1), (1, 2), (16, 15), (3, 4)])
def test_a_dot_is_at_its_mapped_point(signs: tuple[int, int, int, int], aspect: tuple[int, int]) -> None:
    coded = np.zeros((60, 80), np.float32)
    coded[20, 30] = 1
    coded = cv2.GaussianBlur(coded, (0, 0), 3)
    view = View(80, 60, Orientation.nearest(display_matrix(signs)), aspect)

    shown = view.show(coded)

    rows, columns = np.indices(shown.shape)
    middle = np.array([(columns * shown).sum(), (rows * shown).sum()]) / shown.sum()
    np.testing.assert_allclose(view.from_coded(np.array([30.0, 20.0])), middle, atol=0.02)
    np.testing.assert_allclose(view.to_coded(middle), (30, 20), atol=0.02)


@pytest.mark.parametrize(("aspect", "size"), [((2, 1), (640, 360)), ((1, 2), (320, 720)), ((4, 3), (427, 360))])
def test_pixels_become_square_by_making_the_image_larger(aspect: tuple[int, int], size: tuple[int, int]) -> None:
    assert View(320, 360, Orientation(), aspect).size == size
    assert View(320, 360, Orientation(transposed=True), aspect).size == size[::-1]


def test_without_a_matrix_points_are_bit_identical() -> None:
    points = np.random.default_rng(0).uniform(0, 1000, (68, 2))
    view = View(1920, 1080, Orientation())

    assert np.array_equal(view.to_coded(points), points)
    assert np.array_equal(view.from_coded(points), points)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (None, (1, 0, 0, 1)),
        ((0,) * 9, (1, 0, 0, 1)),  # no matrix at all
        ((60000, 26000, 0, -26000, 60000, 0, 0, 0, 1 << 30), (1, 0, 0, 1)),  # by 23 degrees
        ((2000, 60000, 0, -60000, 2000, 0, 5, 5, 1 << 30), (0, 1, -1, 0)),
        ((-2 * ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), (-1, 0, 0, 1)),  # flipped, and twice as wide
    ],
)
def test_other_matrices_map_to_the_nearest_orientation(
    matrix: tuple[int, ...] | None, expected: tuple[int, int, int, int]
) -> None:
    assert Orientation.nearest(matrix) == Orientation.nearest(display_matrix(expected))


@pytest.mark.parametrize("signs", ORIENTATIONS)
def test_the_orientation_of_a_file_is_read_and_kept(signs: tuple[int, int, int, int], tmp_path: Path) -> None:
    upright = scene()
    clip = opened(write(tmp_path / "in.mp4", coded_for(signs, upright), display_matrix(signs)))

    shown = clip.info.view.show(first_frame(clip)).astype(int)
    write_video(clip, tmp_path / "out.mp4", EncodeOptions(preset="ultrafast"))
    write_side_by_side(clip, tmp_path / "out.mp4", tmp_path / "preview.mp4", Panels())

    assert np.abs(shown - upright).mean() < 4
    assert probe(tmp_path / "out.mp4").display_matrix == clip.info.display_matrix
    panels = first_frame(opened(tmp_path / "preview.mp4")).astype(int)[28:]
    assert np.abs(panels[:, :96] - upright).mean() < 6
    assert np.abs(panels[:, 96:] - upright).mean() < 6


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2)])
def test_the_pixel_aspect_is_applied_in_the_view_and_kept(aspect: Fraction, tmp_path: Path) -> None:
    clip = opened(write(tmp_path / "in.mp4", scene(), aspect=aspect))
    write_video(clip, tmp_path / "out.mp4", EncodeOptions(preset="ultrafast"))
    write_side_by_side(clip, tmp_path / "out.mp4", tmp_path / "preview.mp4", Panels())

    size = (192, 64) if aspect > 1 else (96, 128)
    assert clip.info.view.size == size
    assert probe(tmp_path / "out.mp4").sample_aspect == (aspect.numerator, aspect.denominator)
    preview: VideoInfo = probe(tmp_path / "preview.mp4")
    assert (preview.width, preview.height) == (2 * size[0], size[1] + 28)


def test_pixels_far_from_square_are_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "in.mp4", scene(), aspect=Fraction(9, 2))

    with pytest.raises(UnreadableVideoError, match=r"in\.mp4: its pixels are 9:2 .* up to 4:1 .* -aspect"):
        probe(path)


def test_an_orientation_beside_unknown_side_data_is_kept(tmp_path: Path) -> None:
    """FFmpeg gives a JPEG's EXIF as side data that PyAV does not know, in addition to the matrix derived from it."""
    coded, tag = cv2.imencode(".jpg", scene()[..., ::-1])[1].tobytes(), bytes.fromhex("0112000300000001000600000000")
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + tag[:8] + tag[8:12] + b"\x00\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(coded[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + coded[2:])

    info = probe(path)

    assert info.view.orientation == Orientation.nearest(display_matrix((0, 1, -1, 0)))
