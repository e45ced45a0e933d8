"""What an edit of a real clip is worth, measured on its faces."""

import json
import shutil

import numpy as np
import pytest

from stitchedit.measure.face import COLUMNS
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from tasks.measure import measure_edit


@pytest.fixture(scope="module")
def artifact(finished):
    return finished.artifacts["measure"]


@pytest.fixture(scope="module")
def track(artifact):
    (track,) = json.loads((artifact.path / "measures.json").read_text())["tracks"]
    return track


def inputs_of(finished, patches=None):
    stages = [finished.artifacts[stage] for stage in ("decode", "align", "occlude", "invert", "tune")]
    (target,), config = finished.job.targets, finished.job.config
    given = (patches or finished.artifacts["composite"], target.edit, config.measure, "auto")
    return finished.source, *stages, *given


def test_every_face_has_its_numbers(artifact):
    numbers = dict(zip(COLUMNS, FrameArray.open(artifact.path / "numbers").read().T, strict=True))
    assert np.isnan(numbers["warp_result"]).tolist() == [True, False, False, False, False, False]
    assert all(np.isfinite(values).all() for name, values in numbers.items() if not name.startswith("warp"))
    assert not numbers["outside"].any()
    assert (numbers["psnr_db"] > 10).all()
    embeddings = FrameArray.open(artifact.path / "embeddings").read()
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=2), 1, atol=1e-5)


def test_ring_errors_are_those_of_the_composite(finished, artifact):
    rings = FrameArray.open(finished.artifacts["composite"].path / "rings").read()
    np.testing.assert_array_equal(FrameArray.open(artifact.path / "numbers").read()[:, COLUMNS.index("ring")], rings)


def test_the_track_says_what_moved_and_why_somebody_should_look(track):
    assert track["frames"] == [0, 5]
    assert set(track["strength"]) == {"smile"}
    assert set(track["side_effects"]) >= {"age", "yaw", "beard"}
    assert track["verdict"] in {"review", "fail"}  # after two steps of tuning
    assert any("LPIPS of the reconstruction" in reason for reason in track["reasons"])
    assert {face["frame"] for face in track["worst"]} == set(range(6))


def test_identity_of_the_track_is_that_of_its_embeddings(artifact, track):
    source, edited = FrameArray.open(artifact.path / "embeddings").read().transpose(1, 0, 2).astype(float)
    ratios = (edited @ edited.T) / (source @ source.T)
    assert track["numbers"]["tl_id"] == pytest.approx(np.diagonal(ratios, 1).mean(), abs=1e-5)
    assert track["numbers"]["tg_id"] == pytest.approx(ratios[~np.eye(6, dtype=bool)].mean(), abs=1e-5)


def changed_patches(finished, folder, change):
    """The composite's artifact with `change(layers)` done to every patch."""
    before = finished.artifacts["composite"]
    shutil.copytree(before.path, folder / "composite" / "changed")
    path = folder / "composite" / "changed" / "patches"
    layers = FrameArray.open(path).read()
    shutil.rmtree(path)
    array = FrameArray.create(path, layers[0], len(layers), 8, "image")
    for rows in array.pending():
        array.write(rows, change(layers[rows]))
    return Artifact(folder, "composite", "changed", "f" * 64)


def measured(rerun_stage, finished, folder, patches):
    made = folder / "again"
    made.mkdir()
    rerun_stage(measure_edit, made, *inputs_of(finished, patches))
    return json.loads((made / "measures.json").read_text())["tracks"][0]


def test_an_untouched_clip_is_perfectly_consistent_and_not_edited(finished, tmp_path, rerun_stage):
    def untouched(layers):
        return np.concatenate([layers[:, :3], np.zeros_like(layers[:, 3:])], axis=1)

    track = measured(rerun_stage, finished, tmp_path, changed_patches(finished, tmp_path, untouched))
    assert track["numbers"]["tl_id"] == pytest.approx(1, abs=1e-6)
    assert track["numbers"]["tg_id"] == pytest.approx(1, abs=1e-6)
    assert track["numbers"]["outside"] == 0
    assert track["strength"]["smile"] == 0
    assert any(reason.startswith("smile moved +0.00") for reason in track["reasons"])


def test_an_edit_that_flickers_has_a_larger_warp_error(finished, tmp_path, rerun_stage, track):
    def flicker(layers):
        brighter = layers.copy()
        brighter[::2, :3] = np.clip(layers[::2, :3].astype(int) + 25, 0, 255)
        return brighter

    shaken = measured(rerun_stage, finished, tmp_path, changed_patches(finished, tmp_path, flicker))
    assert shaken["numbers"]["warp_result"] > track["numbers"]["warp_result"] + 10
    assert any("warp error" in reason and "fail" in reason for reason in shaken["reasons"])


@pytest.mark.parametrize("lost", ["numbers", "embeddings", "after"])
def test_what_was_lost_is_recomputed_unchanged(finished, artifact, workspace, rerun_stage, assert_same, lost):
    folder = workspace(artifact)
    shutil.rmtree(folder / lost)
    rerun_stage(measure_edit, folder, *inputs_of(finished))
    assert_same(folder, artifact)
