"""Stitched crops on disk, and the same ones after an interruption."""

import json

import numpy as np
import pytest
import torch

from stitchedit.images.conversion import to_uint8
from stitchedit.options.masks import MaskOptions
from stitchedit.options.stitch import StitchOptions
from storage.arrays.frame_array import FrameArray
from storage.store import Store
from tasks.runtime.checkpoint import WeightFiles
from tasks.stitch import stitch_faces
from tasks.tune import tuned_generator


@pytest.fixture(scope="module")
def inputs(finished):
    return [finished.artifacts[stage] for stage in ("align", "invert", "tune", "edit")]


def test_artifact_has_a_crop_per_face_and_how_its_seam_went(finished):
    artifact = finished.artifacts["stitch"]
    crops = FrameArray.open(artifact.path / "crops")
    assert (crops.shape, crops.dtype) == ((6, 3, 256, 256), np.uint8)
    steps, before, after = FrameArray.open(artifact.path / "seams").read().T
    assert steps.tolist() == [2] * 6
    assert after[0] < before[0]  # the others start warm, where there is little left to gain
    assert after.mean() < before.mean()
    assert sorted(path.name for path in artifact.path.iterdir()) == [
        "crops", "manifest.json", "matched", "quality.json", "seams",
    ]  # fmt: skip


def test_quality_is_the_mean_over_the_faces(finished):
    artifact = finished.artifacts["stitch"]
    told = json.loads((artifact.path / "quality.json").read_text())
    means = FrameArray.open(artifact.path / "seams").read().mean(axis=0)
    assert list(told) == ["ring_after", "ring_before", "steps"]
    assert [told["steps"], told["ring_before"], told["ring_after"]] == pytest.approx(means.tolist())


def test_a_warm_start_begins_where_the_frame_before_ended(finished):
    _, before, _ = FrameArray.open(finished.artifacts["stitch"].path / "seams").read().T
    assert before[5] < before[0]


def test_without_a_step_crops_are_those_of_the_tuned_generator(finished, inputs, tmp_path):
    stitched = stitch_faces.fn(Store.at(tmp_path), *inputs, StitchOptions(steps=0), MaskOptions(), "auto")
    tuned = tuned_generator(finished.artifacts["tune"], "auto")
    for array, stage in (("crops", "edit"), ("matched", "invert")):
        codes = torch.from_numpy(FrameArray.open(finished.artifacts[stage].path / "w_plus").read(3))
        generated = to_uint8(tuned(codes[None], 256))[0]
        assert np.array_equal(FrameArray.open(stitched.path / array).read(3), generated)


def test_an_interrupted_stitching_keeps_its_chunks_and_ends_in_the_same_crops(finished, inputs, tmp_path, told):
    store, config = Store.at(tmp_path), finished.config

    def cut(record):
        if record.event == "advanced" and record.label == "stitch" and record.done >= 3:  # in the second chunk of two
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        stitch_faces.fn(store, *inputs, config.stitch, config.masks, "auto")
    (staging,) = (tmp_path / "staging").iterdir()
    finished_chunks = FrameArray.open(staging / "seams").finished
    assert finished_chunks >= 1

    told.on_record, told.records[:] = lambda record: None, []
    stitched = stitch_faces.fn(store, *inputs, config.stitch, config.masks, "auto")

    assert [record.resumed for record in told.records if record.event == "started"] == [True]
    rows = stitched_rows(told)
    assert rows[0] > 2 * finished_chunks
    resumed, undisturbed = (
        FrameArray.open(each.path / "crops").read() for each in (stitched, finished.artifacts["stitch"])
    )
    assert np.array_equal(resumed, undisturbed)
    assert stitched.digest == finished.artifacts["stitch"].digest


def stitched_rows(told):
    return [record.done for record in told.records if record.event == "advanced" and record.label == "stitch"]


@pytest.mark.parametrize("array", ["crops", "matched", "seams"])
def test_a_lost_chunk_is_recomputed_from_the_start_of_its_run(
    finished, inputs, workspace, lose_chunk, rerun_stage, assert_same, told, array
):
    artifact, config = finished.artifacts["stitch"], finished.config
    folder = workspace(artifact)
    lose_chunk(folder / array, 1, "number" if array == "seams" else "image")
    rerun_stage(stitch_faces, folder, *inputs, config.stitch, config.masks, "auto")
    assert stitched_rows(told)[-1] == 4  # what comes after rows 2 and 3 is left alone
    assert_same(folder, artifact)


def test_a_repair_that_was_cut_off_resumes(finished, inputs, workspace, lose_chunk, rerun_stage, assert_same, told):
    artifact, config = finished.artifacts["stitch"], finished.config
    folder = workspace(artifact)
    lose_chunk(folder / "crops", 2, "image")

    def cut(record):
        if record.event == "advanced" and record.label == "stitch" and record.done >= 3:  # in the second chunk
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        rerun_stage(stitch_faces, folder, *inputs, config.stitch, config.masks, "auto")
    told.on_record, told.records[:] = lambda record: None, []
    rerun_stage(stitch_faces, folder, *inputs, config.stitch, config.masks, "auto")
    assert stitched_rows(told)[0] == 3
    assert_same(folder, artifact)


def test_weights_on_disk_come_back_and_are_found_by_row(tmp_path):
    files = WeightFiles(tmp_path)
    files[7] = {"weight": np.arange(6.0, dtype=np.float32)}
    assert (list(files), len(files), 7 in files, 8 in files) == ([7], 1, True, False)
    np.testing.assert_array_equal(WeightFiles(tmp_path)[7]["weight"], np.arange(6))
    del files[7]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError):
        files[7]
