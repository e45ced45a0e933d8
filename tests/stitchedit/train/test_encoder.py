"""A few steps of the real training on a handful of real samples."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from stitchedit.errors import OptimizationError
from stitchedit.nets.encoder import Encoder
from stitchedit.train.encoder import (
    EncoderOptions,
    EncoderTrainer,
    Teachers,
    measure_encoder,
    start_encoder,
    train_encoder,
)
from tasks.runtime import networks

FEW = EncoderOptions(steps=4, batch=2, generated=1, held_out=4, start_samples=12, checkpoint_every=2)


@pytest.fixture(scope="module")
def teachers(generated_samples) -> Teachers:
    return Teachers(networks.generator("cpu"), networks.perceptual("cpu"), generated_samples(16, 256))


@pytest.fixture(scope="module")
def started(teachers) -> Encoder:
    return start_encoder(networks.face_parser("cpu"), teachers, FEW)


def test_the_start_is_nearer_than_the_mean_code(teachers, started):
    """Of the samples it was fitted to: with twelve of them nothing more can be asked."""
    chosen = torch.arange(4, 16)
    found = started(teachers.samples.images(chosen, 256))
    codes = teachers.samples.codes[chosen]
    mean = teachers.generator.w_mean
    assert (found - codes).square().mean() < 0.5 * (mean - codes).square().mean()


def test_a_run_that_is_cut_off_ends_where_an_undisturbed_one_does(teachers, started, saved):
    undisturbed = train_encoder(deepcopy(started), teachers, FEW, deepcopy(saved))

    def cut(step: int, losses: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(deepcopy(started), teachers, FEW, saved, cut)
    steps = []
    resumed = train_encoder(Encoder(), teachers, FEW, saved, lambda step, losses: steps.append(step))
    assert steps == [3, 4]
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_rows_get_their_offsets_one_after_the_other(teachers, started):
    trainer = EncoderTrainer(deepcopy(started), teachers, FEW)
    assert trainer._opened(0.0).sum() == 0
    half = trainer._opened(sum(FEW.rows_open) / 2).flatten()
    assert half[:8].tolist() == [1.0] * 8
    assert half[8:].sum() == pytest.approx(0.0, abs=1e-5)
    assert trainer._opened(1.0).min() == 1


def test_a_step_makes_the_same_faces_come_out_nearer(teachers, started):
    """The same faces again and again: their code distance falls."""
    options = EncoderOptions(**(vars(FEW) | {"steps": 200, "generated": 0}))
    trainer = EncoderTrainer(deepcopy(started), teachers, options)
    first = []
    for _ in range(12):
        first.append(trainer()["code"])
        trainer.step = 100  # draws the same faces every time, at half the rate
    assert np.mean(first[-3:]) < 0.8 * first[1]


def test_a_loss_that_is_not_finite_names_the_option_to_lower(teachers, started):
    broken = deepcopy(started)
    broken.base.bias.data.fill_(torch.nan)
    with pytest.raises(OptimizationError, match=r"became nan at step 0 of 4\. Lower encoder\.learning_rate"):
        EncoderTrainer(broken, teachers, FEW)()


def test_measures_are_of_the_held_out_samples(teachers, started):
    found = measure_encoder(started, teachers, FEW)
    assert set(found) == {"unexplained", "offset", "lpips", "mse"}
    assert found["offset"] == pytest.approx(0.0, abs=1e-5)  # not trained yet
    assert found["lpips"] > 0.1
