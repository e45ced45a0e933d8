"""Pivotal tuning of a whole generator at toy size."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stitchedit.errors import OptimizationError
from stitchedit.optimize.descent import DescentState
from stitchedit.options.tune import TuneOptions
from stitchedit.tune import Pivots, epoch_batches, farthest_codes, tune_generator

TOY = {"passes": 4, "batch": 2, "learning_rate": 2e-3, "lpips_weight": 0.05, "checkpoint_every": 3}  # 12 steps


@pytest.fixture
def pivots(toy_generator, toy_codes):
    """Five codes, and images that the generator draws of slightly other ones."""
    codes = toy_codes(5)
    images = toy_generator(codes + 0.3 * toy_codes(5, seed=1), 32)
    return Pivots(codes, lambda rows: images[rows], 32)


@pytest.fixture
def tune(toy_generator, toy_perceptual, pivots):
    """`tune(...)` tunes a copy and gives it with its last state."""

    def run(state=None, on_step=lambda state, total: None, on_checkpoint=lambda state: None, **options):
        generator = deepcopy(toy_generator)
        chosen = TuneOptions(**(TOY | options))
        return generator, tune_generator(generator, toy_perceptual, pivots, chosen, state, on_step, on_checkpoint)

    return run


def kept(state):
    """A state as it comes back from the disk."""
    return DescentState(state.step, list(state.losses), {name: value.clone() for name, value in state.tensors.items()})


def weights_of(generator):
    return dict(generator.named_parameters())


def test_farthest_codes_are_the_extremes():
    places = torch.tensor([0.0, 1.0, -9.0, 2.0, 10.0, 0.5])
    assert farthest_codes(places[:, None, None].expand(-1, 8, 10), 3).tolist() == [0, 2, 4]


def test_farthest_codes_pick_one_of_each_group():
    groups = torch.tensor([0.0, 0.1, 0.0, 50.0, 50.1, 90.0, 90.1])
    chosen = farthest_codes(groups[:, None, None].expand(-1, 8, 10), 3)
    assert len({round(groups[row].item()) for row in chosen}) == 3


def test_all_codes_are_taken_when_they_are_few():
    assert farthest_codes(torch.zeros(3, 8, 10), 3).tolist() == [0, 1, 2]
    assert farthest_codes(torch.zeros(3, 8, 10), 48).tolist() == [0, 1, 2]


def test_every_pass_covers_every_row_once_in_an_order_of_its_own():
    rows = np.array([3, 5, 8, 13, 21, 34, 55])
    batches = list(epoch_batches(rows, TuneOptions(passes=3, batch=2))(0))
    assert [len(batch) for batch in batches] == [2, 2, 2, 1] * 3
    passes = [np.concatenate(batches[4 * number : 4 * number + 4]).tolist() for number in range(3)]
    assert all(sorted(order) == rows.tolist() for order in passes)
    assert len({tuple(order) for order in passes}) == 3


@pytest.mark.parametrize("first", [1, 3, 4, 7, 11, 12])
def test_batches_from_a_later_step_on_are_the_same(first):
    batches = epoch_batches(np.arange(7), TuneOptions(passes=3, batch=2))
    undisturbed, resumed = (np.concatenate([[], *batches(step)]) for step in (0, first))
    assert np.array_equal(undisturbed[len(undisturbed) - len(resumed) :], resumed)
    assert len(list(batches(first))) == 12 - first


def test_another_seed_is_another_order():
    first, second = (
        np.concatenate(list(epoch_batches(np.arange(40), TuneOptions(passes=1, seed=seed))(0))) for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_tuning_improves_the_reconstructions(tune, toy_generator, pivots):
    generator, state = tune(passes=12)
    target = pivots.crops(np.arange(5))
    before, after = (F.mse_loss(each(pivots.codes, 32), target).item() for each in (toy_generator, generator))
    assert after < 0.7 * before
    assert np.mean(state.losses[-3:]) < np.mean(state.losses[:3])
    assert (state.step, len(state.losses)) == (36, 36)


def test_the_mapping_network_stays_and_nothing_asks_for_gradients(tune, toy_generator):
    generator, _ = tune()
    before = weights_of(toy_generator)
    for name, value in weights_of(generator).items():
        assert torch.equal(value, before[name]) == name.startswith("mapping."), name
        assert not value.requires_grad


@pytest.mark.parametrize("locality_weight", [0.0, 0.5])
def test_a_tuning_that_resumes_from_any_checkpoint_ends_in_the_same_weights(tune, locality_weight):
    checkpoints = []
    locality = {"locality_weight": locality_weight, "locality_every": 2}
    undisturbed, state = tune(on_checkpoint=lambda state: checkpoints.append(kept(state)), **locality)
    assert [checkpoint.step for checkpoint in checkpoints] == [3, 6, 9, 12]

    for checkpoint in checkpoints:
        resumed, end = tune(state=checkpoint, **locality)
        assert end.losses == state.losses
        for name, value in weights_of(undisturbed).items():
            assert torch.equal(weights_of(resumed)[name], value), name


def test_patience_ends_a_tuning_that_gains_nothing(tune):
    _, state = tune(passes=20, batch=1, learning_rate=1e-9, patience=2)
    assert state.step == 3 * 5  # one pass to compare with, two without a gain


def test_without_patience_all_passes_are_made(tune):
    _, state = tune(passes=6, learning_rate=1e-9, patience=0)
    assert state.step == 18


def test_a_tuning_that_came_to_its_end_goes_no_further(tune):
    """Killed after the last checkpoint and before its result was kept."""
    ends = []
    options = {"passes": 20, "batch": 1, "learning_rate": 1e-9, "patience": 2}
    _, stopped = tune(on_checkpoint=lambda state: ends.append(kept(state)), **options)
    assert ends[-1].step == stopped.step
    _, again = tune(state=kept(ends[-1]), on_step=lambda state, total: pytest.fail("one more step"), **options)
    assert again.step == stopped.step


def test_locality_keeps_other_faces_as_they_were(tune, toy_generator, toy_codes):
    others = toy_codes(20, seed=5)
    before = toy_generator(others, 32)

    def change(**options):
        generator, _ = tune(passes=12, **options)
        return F.mse_loss(generator(others, 32), before).item()

    assert change(locality_weight=20.0, locality_distance=1.0, locality_every=1) < 0.8 * change()


def test_steps_are_reported_with_the_number_there_will_be(tune):
    reported = []
    tune(on_step=lambda state, total: reported.append((state.step, total)))
    assert reported == [(step, 12) for step in range(1, 13)]


def test_a_loss_that_is_not_finite_names_the_option_to_lower(toy_generator, toy_perceptual, pivots):
    broken = Pivots(pivots.codes, lambda rows: torch.full((len(rows), 3, 32, 32), torch.nan), 32)
    with pytest.raises(OptimizationError, match=r"became nan at step 0\. Lower tune\.learning_rate \(now "):
        tune_generator(toy_generator, toy_perceptual, broken, TuneOptions())


@pytest.mark.parametrize("name", ["passes", "keyframes", "batch", "checkpoint_every", "locality_every"])
def test_options_name_what_is_wrong(name):
    with pytest.raises(ValueError, match=rf"tune\.{name} must be >= 1, got 0"):
        TuneOptions(**{name: 0})
