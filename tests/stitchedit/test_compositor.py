"""Patches of a synthetic track in synthetic frames."""

from dataclasses import replace

import numpy as np
import pytest

from stitchedit.composite import Compositor, StitchedTrack, paste
from stitchedit.images.depth import DEEP, SHALLOW, to_stored
from stitchedit.images.warp import crop_face
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.masks import MaskOptions

SHAPE, SIZE, ROWS = (180, 240), 128, 5
PLAIN = CompositeOptions(detail=0, steady_s=0, mouth_colors=False)


def frame_of(row):
    """A smooth frame, a pixel further to the left with every row."""
    y, x = np.indices(SHAPE)
    waves = [np.sin((x + row) / 9), np.cos(y / 7), np.sin((x + y + row) / 11)]
    return np.rint(128 + 60 * np.stack(waves, axis=2)).astype(np.uint8)


QUADS = np.array([[(60, 30), (60, 150), (180, 150), (180, 30)]] * ROWS, float) - np.arange(ROWS)[:, None, None] * (1, 0)


def labels():
    y, x = np.indices((512, 512)) - 255.5
    return np.where(x**2 + y**2 < 150**2, 1, 0).astype(np.uint8)[None]


@pytest.fixture
def track():
    """The face of every row is its own crop, so that there is no edit."""

    def crop(row):
        return to_stored(crop_face(frame_of(row), QUADS[row], SIZE).image, SHALLOW).transpose(2, 0, 1)

    return StitchedTrack(
        QUADS, np.arange(ROWS) / 25, np.array([0, 0, 0, 1, 1]), SIZE, SHALLOW, crop, crop, crop,
        labels_of=lambda row: labels(), hidden_of=lambda row: np.zeros((64, 64), np.float32),
    )  # fmt: skip


def brighter(track, levels):
    return replace(track, stitched_of=lambda row: track.source_of(row) + np.uint8(levels))


@pytest.mark.parametrize("options", [CompositeOptions(), PLAIN])
def test_without_an_edit_the_frame_comes_back(track, options):
    patch, ring = Compositor(track, SHAPE, options, MaskOptions()).composite(1, frame_of(1))
    difference = np.abs(paste(frame_of(1), patch).astype(int) - frame_of(1))
    assert (patch.alpha == 255).any()
    assert difference.max() <= (1 if options.detail else 4)  # without detail, what a crop of half the size keeps
    assert ring < 1.5


def test_an_opaque_edit_has_its_own_levels_and_the_rest_stays(track):
    patch, _ = Compositor(brighter(track, 40), SHAPE, PLAIN, MaskOptions()).composite(2, frame_of(2))
    change = paste(frame_of(2), patch).astype(int) - frame_of(2)
    opaque = np.zeros(SHAPE, bool)
    covered = np.zeros(SHAPE, bool)
    height, width = patch.alpha.shape
    region = np.s_[patch.top : patch.top + height, patch.left : patch.left + width]
    opaque[region], covered[region] = patch.alpha == 255, patch.alpha > 0
    assert change[opaque].mean() == pytest.approx(40, abs=0.5)
    assert not change[~covered].any()


def test_the_ring_error_grows_with_the_difference_in_the_border(track):
    rings = [
        Compositor(brighter(track, levels), SHAPE, PLAIN, MaskOptions()).composite(0, frame_of(0)).ring
        for levels in (0, 20, 40)
    ]
    assert rings[0] < rings[1] < rings[2] < 40


def test_a_hidden_face_is_not_pasted(track):
    hidden = replace(brighter(track, 40), hidden_of=lambda row: np.ones((64, 64), np.float32))
    patch, ring = Compositor(hidden, SHAPE, CompositeOptions(), MaskOptions()).composite(0, frame_of(0))
    assert not patch.alpha.any()
    assert np.isnan(ring)


def test_rows_do_not_depend_on_the_order_of_calls(track):
    edited = brighter(track, 30)
    in_order, alone = (Compositor(edited, SHAPE, CompositeOptions(), MaskOptions()) for _ in range(2))
    faces = [in_order.composite(row, frame_of(row)) for row in range(ROWS)]
    face = alone.composite(3, frame_of(3))
    np.testing.assert_array_equal(face.patch.layers, faces[3].patch.layers)
    assert face.ring == faces[3].ring


def test_neighbors_are_of_the_same_run(track):
    compositor = Compositor(track, SHAPE, CompositeOptions(), MaskOptions())
    assert [compositor.neighbors(row) for row in range(ROWS)] == [[1, 2], [0, 2], [0, 1], [4], [3]]


def test_every_patch_has_the_same_size_and_holds_its_square(track):
    compositor = Compositor(track, SHAPE, PLAIN, MaskOptions())
    for row in range(ROWS):
        patch = compositor.composite(row, frame_of(row)).patch
        assert patch.alpha.shape == compositor.patch_size
        assert patch.left <= QUADS[row, 0, 0]
        assert patch.left + compositor.patch_size[1] > QUADS[row, 2, 0]


def test_a_deep_track_gives_deep_patches(track):
    def deep(row):
        return to_stored(track.source_of(row).astype(np.float32), DEEP)

    compositor = Compositor(
        replace(track, depth=DEEP, source_of=deep, matched_of=deep, stitched_of=deep),
        SHAPE,
        CompositeOptions(),
        MaskOptions(),
    )
    frame = frame_of(1).astype(np.float32)
    patch, _ = compositor.composite(1, frame)
    assert patch.rgb.dtype == np.uint16
    assert np.abs(paste(frame, patch) - frame).max() < 0.1
