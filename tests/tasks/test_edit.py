"""Edited codes on disk."""

import numpy as np
import pytest

from stitchedit.edit import EditOptions
from stitchedit.errors import UnknownNameError
from storage.frame_array import FrameArray
from storage.store import Store
from tasks import networks
from tasks.edit import edit_faces


def codes_of(artifact):
    return FrameArray.open(artifact.path / "w_plus").read()


def test_codes_move_by_strength_times_direction_in_every_layer(finished):
    codes, edited = (codes_of(finished.artifacts[stage]) for stage in ("invert", "edit"))
    assert edited.shape == codes.shape == (6, 16, 512)
    expected = np.broadcast_to(2 * networks.directions()["smile"].numpy(), codes.shape)
    np.testing.assert_allclose(edited - codes, expected, atol=1e-5)


def test_no_edit_leaves_the_codes_as_they_are(finished, tmp_path):
    edited = edit_faces.fn(Store(tmp_path), finished.artifacts["invert"], EditOptions())
    assert np.array_equal(codes_of(edited), codes_of(finished.artifacts["invert"]))


def test_an_unknown_direction_is_refused_and_nothing_is_kept(finished, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'smile'"):
        edit_faces.fn(Store(tmp_path), finished.artifacts["invert"], EditOptions({"smiel": 1.0}))
    assert list(Store(tmp_path).artifacts()) == []
