"""Parity with STIT's `calc_masks`, whose sizes in pixels are those of the crop of 1024 and are halved at 512."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitchedit.images.masks import SeamMasks, resize_masks, seam_masks
from stitchedit.options.masks import MaskOptions

REFERENCE = Path(__file__).parent / "data" / "stit_masks.npz"

MAPS = ["glasses", "hat", "longhair", "touch", "bisenet_face0", "bisenet_face2"]


def load(name: str, setting: int) -> tuple[SeamMasks, dict[str, np.ndarray]]:
    """Our masks, and what STIT's file holds for the same labels and setting."""
    with np.load(REFERENCE) as stored:
        inner, outer, whole_border = stored["settings_inner_outer_wholeborder"][setting].tolist()
        options = MaskOptions(inner=inner // 2, outer=outer // 2, whole_border=bool(whole_border))
        prefix = f"{name}/set{setting}/"
        expected = {key.removeprefix(prefix): stored[key] for key in stored.files if key.startswith(prefix)}
        return seam_masks(stored[f"{name}/labels"][None], options), expected


@pytest.mark.parametrize("setting", range(4))
@pytest.mark.parametrize("name", MAPS)
def test_masks_equal_stit(name: str, setting: int) -> None:
    masks, expected = load(name, setting)

    np.testing.assert_array_equal(masks.content[0], expected["content512"])
    np.testing.assert_array_equal(masks.border[0], expected["border512"])
    np.testing.assert_array_equal(masks.full[0], expected["full512"])


@pytest.mark.parametrize("setting", range(4))
@pytest.mark.parametrize("name", MAPS)
def test_full_mask_at_1024_equals_stit(name: str, setting: int) -> None:
    masks, expected = load(name, setting)

    full = resize_masks(masks.full, 1024)[0, 0].numpy()

    levels = np.rint((full * 2 - 1 + 1) * 255 / 2).astype(np.uint8)  # as STIT counts them
    np.testing.assert_array_equal(levels, np.array(Image.open(BytesIO(expected["full1024_u8.png"].tobytes()))))


@pytest.mark.parametrize("region", ["content", "border", "full"])
def test_float_masks_at_1024_equal_stit(region: str) -> None:
    masks, expected = load("glasses", 0)

    resized = resize_masks(getattr(masks, region), 1024)[0, 0].numpy()

    np.testing.assert_allclose(resized, expected[f"{region}1024_f32"], rtol=0, atol=1e-6)
