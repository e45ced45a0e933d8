"""Faces of a real clip: where they are, their crops and what every pixel of these shows."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from stitchedit.errors import UnknownNameError
from stitchedit.images.warp import crop_face, square_sides
from stitchedit.nets.face_parsing import CLASSES
from storage.arrays.frame_array import FrameArray
from storage.store import Store
from storage.video.info import rgb
from tasks.align import align_faces
from tasks.inputs.clip import frames_at, open_clip
from tasks.inputs.faces import open_faces


@pytest.fixture(scope="module")
def artifact(finished):
    return finished.artifacts["align"]


@pytest.fixture(scope="module")
def faces(artifact):
    return open_faces(artifact)


def test_artifact_has_a_row_per_face(artifact):
    shapes = {path.parent.name: FrameArray.open(path.parent) for path in artifact.path.glob("*/zarr.json")}
    assert {name: (array.shape, array.dtype.kind) for name, array in shapes.items()} == {
        "frames": ((6,), "i"),
        "times_s": ((6,), "f"),
        "runs": ((6,), "i"),
        "quads": ((6, 4, 2), "f"),
        "interpolated": ((6,), "b"),
        "landmarks": ((6, 68, 2), "f"),
        "crops": ((6, 3, 256, 256), "u"),
        "labels": ((6, 512, 512), "u"),
    }


def test_the_face_is_in_every_frame_in_one_run(faces):
    assert faces.frames.tolist() == list(range(6))
    assert len(set(faces.runs.tolist())) == 1
    assert not faces.interpolated.any()


def test_squares_are_squares_around_the_landmarks(artifact, faces):
    points = FrameArray.open(artifact.path / "landmarks").read()
    down, across = faces.quads[:, 1] - faces.quads[:, 0], faces.quads[:, 3] - faces.quads[:, 0]
    np.testing.assert_allclose((down * across).sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.hypot(*down.T), np.hypot(*across.T))
    center = faces.quads.mean(axis=1)
    farthest = np.hypot(*np.moveaxis(points - center[:, None], -1, 0)).max(axis=1)
    assert (farthest < square_sides(faces.quads) / 2**0.5).all()


def test_crops_are_cut_at_the_squares(finished, faces):
    footage = open_clip(finished.source, finished.artifacts["decode"]).clip
    for number, frame in frames_at(footage, [0, 5]):
        cut = crop_face(rgb(frame, footage.info), faces.quads[number], 256).image
        assert np.array_equal(faces.crops.read(number), cut.transpose(2, 0, 1))


def test_crops_are_upright_though_the_clip_lies_on_its_side(faces):
    for labels in faces.labels.read():
        height = {name: np.argwhere(labels == CLASSES.index(name))[:, 0].mean() for name in ("hair", "nose", "neck")}
        assert height["hair"] < height["nose"] < height["neck"]


def test_a_person_who_is_not_there_is_refused(finished, tmp_path):
    source, decode, detected, options, device = inputs_of(finished)
    with pytest.raises(UnknownNameError, match="No person '7'"):
        align_faces.fn(Store.at(tmp_path), source, decode, detected, replace(options, face="7"), device)


def test_a_size_the_generator_does_not_generate_is_refused(finished):
    *_, options, _ = inputs_of(finished)
    with pytest.raises(ValueError, match=r"align\.size must be 0 .*, 128, 256, 512, 1024 px, got 300"):
        replace(options, size=300)


def inputs_of(finished):
    artifacts = [finished.artifacts[stage] for stage in ("decode", "detect")]
    return finished.source, *artifacts, finished.config.align, "auto"


@pytest.mark.parametrize("lost", [["quads"], ["crops"], ["labels"], ["crops", "labels"], ["landmarks"], ["frames"]])
def test_what_was_lost_is_recomputed_unchanged(finished, artifact, workspace, rerun_stage, assert_same, lost):
    folder = workspace(artifact)
    for name in lost:
        shutil.rmtree(folder / name)
    rerun_stage(align_faces, folder, *inputs_of(finished))
    assert_same(folder, artifact)


def test_codes_are_not_smoothed_across_a_pause(faces):
    slow = replace(faces, times_s=np.array([0, 0.03, 0.07, 1.1, 2.1, 2.13]), runs=np.array([3, 3, 3, 3, 3, 4]))
    assert slow.footage(torch.device("cpu")).runs.tolist() == [0, 0, 0, 1, 2, 3]
