"""What is to be pasted: patches in frame coordinates."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from stitchedit.composite import Patch, paste
from stitchedit.measure.metrics import outside_difference
from storage.arrays.frame_array import FrameArray
from storage.video.index import read_frames
from storage.video.info import rgb
from tasks.composite import composite_faces
from tasks.inputs.clip import open_clip
from tasks.inputs.faces import open_faces


@pytest.fixture(scope="module")
def patches(finished):
    folder = finished.artifacts["composite"].path
    return {name: FrameArray.open(folder / name).read() for name in ("patches", "places", "rings")}


def test_artifact_has_a_patch_a_place_and_a_ring_error_per_face(patches):
    count, layers, height, width = patches["patches"].shape
    assert (count, layers, patches["patches"].dtype) == (6, 4, np.uint8)
    assert max(height, width) < 640
    assert (patches["places"].shape, patches["rings"].shape) == ((6, 2), (6,))
    assert (patches["rings"] > 0).all()
    assert (patches["rings"] < 60).all()


def test_patches_lie_over_the_face_squares(finished, patches):
    quads = open_faces(finished.artifacts["align"]).quads
    for layers, (left, top), quad in zip(patches["patches"], patches["places"], quads, strict=True):
        down, across = np.nonzero(layers[3])
        assert (quad.min(axis=0) - 1 <= (left + across.min(), top + down.min())).all()
        assert (quad.max(axis=0) + 1 >= (left + across.max(), top + down.max())).all()


def test_patches_are_opaque_inside_soft_at_the_seam_and_empty_without(patches):
    alpha = patches["patches"][:, 3]
    assert (alpha == 255).any(axis=(1, 2)).all()
    assert ((alpha > 0) & (alpha < 255)).any(axis=(1, 2)).all()
    assert not patches["patches"][:, :3][np.broadcast_to(alpha[:, None] == 0, (6, 3, *alpha.shape[1:]))].any()


def test_the_pasted_frame_equals_the_source_outside_and_differs_inside(finished, patches):
    footage = open_clip(finished.source, finished.artifacts["decode"]).clip
    for number, frame in read_frames(footage):
        before = rgb(frame, footage.info)
        layers, (left, top) = patches["patches"][number], map(int, patches["places"][number])
        after = paste(before, Patch(np.ascontiguousarray(layers[:3].transpose(1, 2, 0)), layers[3], left, top))
        alpha = np.zeros(before.shape[:2], np.uint8)
        shown = alpha[top : top + layers.shape[1], left : left + layers.shape[2]]
        shown[...] = layers[3][: shown.shape[0], : shown.shape[1]]
        assert outside_difference(after, before, alpha) == 0
        assert np.abs(after[alpha == 255].astype(int) - before[alpha == 255]).mean() > 2


@pytest.mark.parametrize("lost", ["patches", "places", "rings"])
def test_a_lost_array_is_recomputed_unchanged(finished, workspace, rerun_stage, assert_same, lost):
    artifact, config = finished.artifacts["composite"], finished.config
    folder = workspace(artifact)
    shutil.rmtree(folder / lost)
    inputs = [finished.artifacts[stage] for stage in ("decode", "align", "occlude", "stitch")]
    rerun_stage(composite_faces, folder, finished.source, *inputs, config.composite, config.masks)
    assert_same(folder, artifact)


def test_lips_and_teeth_are_toned_down_unless_their_color_is_what_is_edited(finished, patches, workspace, rerun_stage):
    config = finished.config
    folder = workspace(finished.artifacts["composite"])
    shutil.rmtree(folder / "patches")
    inputs = [finished.artifacts[stage] for stage in ("decode", "align", "occlude", "stitch")]
    free = replace(config.composite, mouth_colors=False)
    rerun_stage(composite_faces, folder, finished.source, *inputs, free, config.masks)
    painted = FrameArray.open(folder / "patches").read()
    assert np.array_equal(painted[:, 3], patches["patches"][:, 3])
    assert spread(patches["patches"]) < spread(painted)


def spread(patches):
    """How far the colors are from grey, on average."""
    return np.ptp(patches[:, :3].astype(float), axis=1).mean()
