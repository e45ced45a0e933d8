"""Edited codes on disk."""

import numpy as np
import pytest

from stitchedit.errors import UnknownNameError
from stitchedit.options.edit import EditOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Source
from storage.store import Store
from storage.weights.state_dict import save_tensors
from tasks.edit import edit_faces
from tasks.runtime import networks


def codes_of(artifact):
    return FrameArray.open(artifact.path / "w_plus").read()


def inputs_of(finished):
    return [finished.artifacts[stage] for stage in ("decode", "align", "invert")]


def test_codes_move_by_strength_times_direction_in_every_layer(finished):
    codes, edited = (codes_of(finished.artifacts[stage]) for stage in ("invert", "edit"))
    assert edited.shape == codes.shape == (6, 16, 512)
    expected = np.broadcast_to(2 * networks.directions()["smile"].numpy(), codes.shape)
    np.testing.assert_allclose(edited - codes, expected, atol=1e-5)


def test_no_edit_leaves_the_codes_as_they_are(finished, tmp_path):
    edited = edit_faces.fn(Store.at(tmp_path), *inputs_of(finished), EditOptions())
    assert np.array_equal(codes_of(edited), codes_of(finished.artifacts["invert"]))


def test_an_unknown_direction_is_refused_and_nothing_is_kept(finished, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'smile'"):
        edit_faces.fn(Store.at(tmp_path), *inputs_of(finished), EditOptions({"smiel": 1.0}))
    assert list(Store.at(tmp_path).artifacts()) == []


def test_an_own_direction_is_known_by_its_bytes_and_used_beside_the_packaged_ones(finished, tmp_path):
    codes, options = finished.artifacts["invert"], EditOptions({"mine": 2.0, "smile": 1.0})
    for folder, level in (("one", 1.0), ("two", 1.0), ("other", 3.0)):
        (tmp_path / folder).mkdir()
        save_tensors(tmp_path / folder / "own.safetensors", {"mine": np.full((16, 512), level, np.float32)}, {})

    def edited(folder):
        own = Source.of(tmp_path / folder / "own.safetensors")
        return edit_faces.fn(Store.at(tmp_path / "store"), *inputs_of(finished), options, own)

    made = edited("one")

    moved = codes_of(made) - codes_of(codes)
    np.testing.assert_allclose(moved, np.broadcast_to(2 + networks.directions()["smile"], moved.shape), atol=1e-5)
    assert edited("two").data == made
    assert edited("other").key != made.key


def test_a_ramp_is_of_the_frames_own_times(finished, tmp_path):
    options = EditOptions({"smile": 2.0}, ramps={"smile": "0:0,0.1:1"})  # frames at 0, 1/30, 2/30, 4/30, ... s
    edited = edit_faces.fn(Store.at(tmp_path), *inputs_of(finished), options)

    moved = codes_of(edited) - codes_of(finished.artifacts["invert"])
    smile = networks.directions()["smile"].numpy()
    expected = 2 * np.array([0, 1 / 3, 2 / 3, 1, 1, 1])[:, None, None] * smile
    np.testing.assert_allclose(moved, expected, atol=1e-5)
