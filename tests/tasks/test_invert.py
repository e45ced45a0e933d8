"""Codes of every face, and what is left of them after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from storage.arrays.frame_array import FrameArray
from storage.store import Store
from storage.weights.state_dict import load_tensors
from tasks.inputs.faces import open_faces
from tasks.invert import invert_faces
from tasks.runtime import networks


def test_artifact_has_a_code_per_face_and_the_persons(finished):
    artifact = finished.artifacts["invert"]
    codes = FrameArray.open(artifact.path / "w_plus").read()
    assert (codes.shape, codes.dtype) == ((6, 16, 512), np.float32)
    assert np.isfinite(codes).all()
    assert load_tensors(artifact.path / "person.safetensors")["w_plus"].shape == (1, 16, 512)


def test_frames_differ_from_the_person_in_the_coarse_layers_only(finished):
    artifact = finished.artifacts["invert"]
    offsets = (
        FrameArray.open(artifact.path / "w_plus").read() - load_tensors(artifact.path / "person.safetensors")["w_plus"]
    )
    moved = np.abs(offsets).max(axis=(0, 2)) > 0
    coarse = networks.generator("auto").coarse_layers(finished.config.invert.work_size)
    assert 0 < coarse < 16
    assert moved.tolist() == [True] * coarse + [False] * (16 - coarse)


def test_an_interrupted_inversion_keeps_the_person_and_ends_in_the_same_codes(finished, tmp_path, told):
    store, config = Store.at(tmp_path), finished.config

    def cut(record):
        if record.event == "advanced" and record.label == "invert: frames 4-5":
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        invert_faces.fn(store, *inputs(finished), config.invert, "auto")
    (staging,) = (tmp_path / "staging").iterdir()
    assert FrameArray.open(staging / "w_plus").finished == 1
    person = (staging / "person.safetensors").stat()

    told.on_record, told.records[:] = lambda record: None, []
    codes = invert_faces.fn(store, *inputs(finished), config.invert, "auto")

    assert [record.resumed for record in told.records if record.event == "started"] == [True]
    labels = {record.label for record in told.records if record.event == "advanced"}
    assert labels == {"invert: frames 4-5"}
    assert (codes.path / "person.safetensors").stat().st_mtime_ns == person.st_mtime_ns
    assert codes.digest == finished.artifacts["invert"].digest


def test_crops_are_read_as_networks_take_them(finished):
    faces = open_faces(finished.artifacts["align"])
    images = faces.footage(torch.device("cpu")).crops(np.array([5, 0]))
    assert images.shape == (2, 3, 256, 256)
    np.testing.assert_allclose(images[0].numpy(), faces.crops.read(5) / 127.5 - 1, atol=1e-6)


def inputs(finished):
    return [finished.artifacts[stage] for stage in ("align", "occlude")]


def labels(told):
    return {record.label for record in told.records if record.event == "advanced"}


@pytest.mark.parametrize(
    ("array", "number", "work"), [("start", 0, "invert: start"), ("w_plus", 1, "invert: frames 4-5")]
)
def test_a_lost_chunk_is_recomputed_alone(
    finished, workspace, lose_chunk, rerun_stage, assert_same, told, array, number, work
):
    artifact = finished.artifacts["invert"]
    folder = workspace(artifact)
    lose_chunk(folder / array, number, "number")
    rerun_stage(invert_faces, folder, *inputs(finished), finished.config.invert, "auto")
    assert labels(told) == {work}
    assert_same(folder, artifact)


def test_a_lost_person_is_found_again_and_no_frame_is(finished, workspace, rerun_stage, assert_same, told):
    artifact = finished.artifacts["invert"]
    folder = workspace(artifact)
    (folder / "person.safetensors").unlink()
    rerun_stage(invert_faces, folder, *inputs(finished), finished.config.invert, "auto")
    assert labels(told) == {"invert: person"}
    assert_same(folder, artifact)


def cut_at(told, label, step):
    """The stage is to be cut off at this step."""

    def cut(record):
        if record.event == "advanced" and record.label == label and record.done == step:
            raise KeyboardInterrupt

    told.on_record = cut


def steps_told(told):
    return [record.done for record in told.records if record.event == "advanced"]


@pytest.mark.parametrize(("step", "every"), [(3, 2), (5, 2), (6, 1)])  # four coarse steps, then two fine ones
def test_a_person_cut_off_resumes_from_the_checkpoint(finished, workspace, rerun_stage, assert_same, told, step, every):
    artifact, options = finished.artifacts["invert"], replace(finished.config.invert, checkpoint_every=every)
    folder = workspace(artifact)
    (folder / "person.safetensors").unlink()
    cut_at(told, "invert: person", step)
    with pytest.raises(KeyboardInterrupt):
        rerun_stage(invert_faces, folder, *inputs(finished), options, "auto")
    told.on_record, told.records[:] = lambda record: None, []
    rerun_stage(invert_faces, folder, *inputs(finished), options, "auto")
    assert steps_told(told)[0] == (step - 1) // every * every + 1
    assert_same(folder, artifact)
    assert list(folder.glob(".state*")) == []


def test_a_segment_cut_off_resumes_from_the_checkpoint(finished, workspace, lose_chunk, rerun_stage, told):
    options = replace(finished.config.invert, refine_passes=4, checkpoint_every=2)
    folder = workspace(finished.artifacts["invert"])

    def again():
        lose_chunk(folder / "w_plus", 1, "number")
        rerun_stage(invert_faces, folder, *inputs(finished), options, "auto")
        return FrameArray.open(folder / "w_plus").read()

    undisturbed = again()
    cut_at(told, "invert: frames 4-5", 4)
    with pytest.raises(KeyboardInterrupt):
        again()
    told.on_record, told.records[:] = lambda record: None, []
    rerun_stage(invert_faces, folder, *inputs(finished), options, "auto")
    assert steps_told(told)[0] == 3
    assert np.array_equal(FrameArray.open(folder / "w_plus").read(), undisturbed)


def test_the_person_is_kept_with_a_loss_per_step(finished):
    losses = load_tensors(finished.artifacts["invert"].path / "person.safetensors")["losses"]
    assert losses.shape == (4 + 2,)
    assert losses[3] < losses[0]
