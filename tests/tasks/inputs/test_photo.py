"""A photo is read as an image, or refused with its size."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stitchedit.errors import InputError
from tasks.inputs.photo import MAX_SIDE, read_photo


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a"])
def test_an_image_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    image = np.zeros((40, 30, 3), np.uint8)
    image[:20] = (10, 100, 200)
    coded = cv2.imencode(Path(name).suffix or ".png", image[..., ::-1])[1]
    (tmp_path / name).write_bytes(coded.tobytes())

    read = read_photo(tmp_path / name)

    assert (read.shape, read.dtype) == ((40, 30, 3), np.uint8)
    assert np.abs(read[5, 5].astype(int) - (10, 100, 200)).max() < 12


def test_a_large_image_is_made_smaller(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 2 * MAX_SIDE, 3), np.uint8))

    assert read_photo(tmp_path / "a.png").shape == (50, MAX_SIDE, 3)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no")
    whole = cv2.imencode(".png", np.zeros((40, 30, 3), np.uint8))[1].tobytes()
    (tmp_path / "head.png").write_bytes(whole[:20])
    for name, size in (("empty.jpg", 0), ("text.jpg", 2), ("head.png", 20)):
        with pytest.raises(InputError, match=rf"{name} cannot be read as an image \({size} bytes\)"):
            read_photo(tmp_path / name)
    for name in ("gone.jpg", "."):
        with pytest.raises(InputError, match="There is no photo"):
            read_photo(tmp_path / name)


def test_an_image_of_more_pixels_than_opencv_takes_is_refused(tmp_path: Path) -> None:
    """A header that promises 2^17 by 2^17: nothing of that size may be allocated."""
    header = b"P6\n131072 131072\n255\n"
    (tmp_path / "bomb.ppm").write_bytes(header + bytes(100))

    with pytest.raises(InputError, match=r"bomb\.ppm cannot be read as an image"):
        read_photo(tmp_path / "bomb.ppm")
