"""A generator for this very footage, and the same one after an interruption."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

from storage.arrays.frame_array import FrameArray
from storage.store import Store
from storage.weights.state_dict import load_tensors, read_metadata
from tasks.runtime import networks
from tasks.tune import tune_weights, tuned_generator


@pytest.fixture(scope="module")
def artifact(finished):
    return finished.artifacts["tune"]


def test_artifact_has_the_weights_that_draw_this_size(artifact):
    used = dict(networks.generator("auto").synthesis_parameters(256))
    weights = load_tensors(artifact.path / "weights.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {n: tuple(v.shape) for n, v in used.items()}
    facts = read_metadata(artifact.path / "weights.safetensors")
    assert facts.pop("size") == "256"
    assert json.loads(facts.pop("losses")) == FrameArray.open(artifact.path / "losses").read().tolist()
    assert facts == {}


def test_artifact_has_a_loss_per_step_and_the_quality_reached(artifact):
    losses = FrameArray.open(artifact.path / "losses").read()
    assert losses.shape == (6,)  # two passes over six faces in pairs
    assert losses[3:].mean() < losses[:3].mean()
    quality = json.loads((artifact.path / "quality.json").read_text())
    assert set(quality) == {"psnr_db", "lpips_alex"}
    assert 5 < quality["psnr_db"] < 60
    assert 0 < quality["lpips_alex"] < 1


def test_artifact_has_no_checkpoint(artifact):
    assert sorted(path.name for path in artifact.path.iterdir()) == [
        "losses", "manifest.json", "quality.json", "weights.safetensors",
    ]  # fmt: skip


def test_tuned_generator_is_a_frozen_copy_with_these_weights(artifact):
    tuned, original = tuned_generator(artifact, "auto"), networks.generator("auto")
    weights = load_tensors(artifact.path / "weights.safetensors")
    before = dict(original.named_parameters())
    for name, parameter in tuned.named_parameters():
        expected = torch.from_numpy(weights[name]) if name in weights else before[name]
        assert torch.equal(parameter, expected), name
        assert not parameter.requires_grad
    moved = [name for name, value in weights.items() if not np.array_equal(value, before[name].numpy())]
    assert len(moved) > len(weights) / 2


def test_an_interrupted_tuning_resumes_from_its_checkpoint_to_the_same_weights(finished, artifact, tmp_path, told):
    store, options = Store.at(tmp_path), finished.config.tune
    inputs = [finished.artifacts[stage] for stage in ("align", "occlude", "invert")]

    def cut(record):
        if record.event == "advanced" and record.done >= 3:
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        tune_weights.fn(store, *inputs, options, "auto")
    done = [record.done for record in told.records if record.event == "advanced"][-1]
    (staging,) = (tmp_path / "staging").iterdir()
    saved = int(read_metadata(staging / ".state.safetensors")["step"])
    assert done - options.checkpoint_every <= saved < done

    told.on_record, told.records[:] = lambda record: None, []
    weights = tune_weights.fn(store, *inputs, options, "auto")

    assert [record.resumed for record in told.records if record.event == "started"] == [True]
    steps = [record.done for record in told.records if record.event == "advanced"]
    assert steps[0] > saved
    assert all(later > earlier for earlier, later in pairwise(steps))
    resumed, undisturbed = (load_tensors(each.path / "weights.safetensors") for each in (weights, artifact))
    assert all(np.array_equal(resumed[name], undisturbed[name]) for name in undisturbed)
    assert weights.digest == artifact.digest


@pytest.mark.parametrize("lost", ["losses", "quality.json", "weights.safetensors"])
def test_only_lost_weights_take_training_to_come_back(
    finished, artifact, workspace, rerun_stage, assert_same, told, lost
):
    folder = workspace(artifact)
    shutil.move(folder / lost, folder.parent / "lost")
    inputs = [finished.artifacts[stage] for stage in ("align", "occlude", "invert")]
    rerun_stage(tune_weights, folder, *inputs, finished.config.tune, "auto")
    trained = any(record.event == "advanced" for record in told.records)
    assert trained == (lost == "weights.safetensors")
    assert_same(folder, artifact)
