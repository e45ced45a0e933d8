"""A few steps of the real training on a handful of real samples."""

from copy import deepcopy

import pytest
import torch

from stitchedit.errors import OptimizationError
from stitchedit.nets.occlusion import OcclusionNet
from stitchedit.train.occlusion import (
    OcclusionTraining,
    covered_batch,
    measure_occlusion_net,
    start_occlusion_net,
    train_occlusion_net,
)
from stitchedit.train.samples import Samples
from tasks.runtime import networks

FEW = OcclusionTraining(steps=4, batch=2, held_out=4, checkpoint_every=2)


@pytest.fixture(scope="module")
def samples(generated_samples) -> Samples:
    return generated_samples(12, 128)


@pytest.fixture(scope="module")
def started() -> OcclusionNet:
    return start_occlusion_net(networks.face_parser("cpu"), FEW)


def test_a_run_that_is_cut_off_ends_where_an_undisturbed_one_does(samples, started, saved):
    undisturbed = train_occlusion_net(deepcopy(started), samples, FEW, deepcopy(saved))

    def cut(step: int, losses: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_occlusion_net(deepcopy(started), samples, FEW, saved, cut)
    steps = []
    resumed = train_occlusion_net(OcclusionNet(), samples, FEW, saved, lambda step, losses: steps.append(step))
    assert steps == [3, 4]
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_it_learns_what_covers_a_face(samples, started, saved):
    options = OcclusionTraining(steps=40, batch=6, held_out=4, average=0.9)
    losses = []
    train_occlusion_net(
        deepcopy(started),
        samples,
        options,
        saved,
        lambda step, found: losses.append(sum(found.values())),
    )
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_faces_held_out_are_not_trained_on(samples):
    shown, covers = covered_batch(samples, FEW, 0)
    assert shown.shape == (2, 3, 128, 128)
    assert covers.shape == (2, 1, 64, 64)
    assert not torch.equal(shown, covered_batch(samples, FEW, 0, held_out=True)[0])


def test_the_packaged_network_sees_painted_hands(samples):
    """Its training saw other faces: these are of another seed."""
    found = measure_occlusion_net(networks.occlusion_net("cpu"), samples, FEW)
    assert found["intersection_over_union"] > 0.7
    assert found["clear_taken_for_covered"] < 0.02


def test_a_loss_that_is_not_finite_names_the_option_to_lower(samples, started, saved):
    broken = deepcopy(started)
    broken.last.bias.data.fill_(torch.nan)
    with pytest.raises(OptimizationError, match=r"became nan at step 0 of 4\. Lower occlusion\.learning_rate"):
        train_occlusion_net(broken, samples, FEW, saved)
