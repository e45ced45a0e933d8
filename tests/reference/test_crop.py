"""Parity with STIT's `crop_image`: its perspective map in every case, its way of shrinking within a stated tolerance.

STIT shrinks a frame by a whole number with a Lanczos filter before it warps, and forgets half a pixel on the way: its
crop lies (factor - 1) / 2 px further right and down. Ours blurs as much as the shrink needs and stays in place. STIT
can also pad with a reflected, blurred frame (`enable_padding`, off in its pipeline), which ours never does.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitchedit.images.warp import crop_face, crop_to_frame, inside, resample

REFERENCE = Path(__file__).parent / "data" / "stit_align_crop.npz"


def load(case: str) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Frame, quad, size and STIT's crop."""
    with np.load(REFERENCE) as stored:
        frame = decoded(stored[f"{stored[f'{case}/frame_key']}.png"])
        return frame, stored[f"{case}/quad"], int(stored[f"{case}/output_size"]), decoded(stored[f"{case}/crop.png"])


def decoded(png: np.ndarray) -> np.ndarray:
    return np.array(Image.open(BytesIO(png.tobytes())))


@pytest.mark.parametrize("case", ["plain", "edge_nopad", "up1024"])
def test_crop_is_within_one_level_of_stit(case: str) -> None:
    frame, quad, size, expected = load(case)

    crop = crop_face(frame, quad, size)

    black_outside = crop.image * crop.valid[..., None]
    assert np.abs(black_outside.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("case", "factor"), [("shrink_a", 3), ("shrink_b", 5)])
def test_the_map_is_stits_after_its_own_shrink(case: str, factor: int) -> None:
    frame, quad, size, expected = load(case)
    shrunk_size = (round(frame.shape[1] / factor), round(frame.shape[0] / factor))
    shrunk = np.array(Image.fromarray(frame).resize(shrunk_size, Image.Resampling.LANCZOS))
    to_shrunk = crop_to_frame(quad / factor, size)

    image = resample(shrunk, to_shrunk, (size, size))

    image[~inside(to_shrunk, (size, size), shrunk.shape[:2])] = 0
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("case", "factor"), [("shrink_a", 3), ("shrink_b", 5)])
def test_shrunk_crops_are_close_to_stits_in_its_place(case: str, factor: int) -> None:
    frame, quad, size, expected = load(case)

    image = crop_face(frame, quad + (factor - 1) / 2, size).image

    assert np.sqrt(np.mean((image.astype(float) - expected) ** 2)) < 1.1
