"""Images on disk: nothing lost at 8 bits, and hundredths of a level beyond."""

import numpy as np
import pytest

from stitchedit.images.depth import DEEP, SHALLOW, to_levels, to_stored, to_stored_alpha


def test_8_bits_stay_what_they_are():
    levels = np.arange(256, dtype=np.uint8)
    assert to_stored(levels, SHALLOW) is levels
    assert to_levels(levels) is levels


def test_fractions_are_rounded_to_8_bits_and_kept_in_16():
    levels = np.array([-3.0, 0.49, 99.5, 100.004, 254.51, 270.0], np.float32)
    assert to_stored(levels, SHALLOW).tolist() == [0, 0, 100, 100, 255, 255]
    np.testing.assert_allclose(to_levels(to_stored(levels, DEEP)), levels, atol=0.005 + 1e-4)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_every_code_of_the_source_has_a_code_of_its_own(bits):
    levels = np.arange(1 << bits, dtype=np.float32) * 255 / ((1 << bits) - 1)
    codes = to_stored(levels, DEEP)
    assert len(np.unique(codes)) == 1 << bits
    np.testing.assert_array_equal(np.rint(to_levels(codes) * ((1 << bits) - 1) / 255), np.arange(1 << bits))


def test_what_no_image_holds_stops_at_the_last_code():
    assert to_stored(np.array([-1e6, 1e6]), DEEP).tolist() == [0, 65535]


def test_an_opaque_patch_is_opaque_at_either_depth():
    assert to_stored_alpha(np.array([0.0, 0.5, 1.0]), SHALLOW).tolist() == [0, 128, 255]
    assert to_stored_alpha(np.array([0.0, 0.5, 1.0]), DEEP).tolist() == [0, 32768, 65535]
