"""Inversion with a whole generator at toy size, of images that it drew itself."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stitchedit.errors import OptimizationError
from stitchedit.invert import SMOOTHING, Course, Footage, Inverter, shuffled_batches, smoothing_matrix
from stitchedit.optimize.descent import DescentState
from stitchedit.options.invert import InvertOptions

TOY = {"work_size": 32, "refine_steps": 40, "color_steps": 0, "refine_passes": 15, "batch": 3, "lpips_weight": 0.1}
RUNS = np.array([4, 4, 4, 4, 7, 7])


@pytest.fixture
def footage(toy_generator, toy_codes):
    """Six faces between two codes, in two runs."""
    ends = toy_codes(2)
    codes = torch.lerp(ends[0], ends[1], torch.linspace(0, 0.3, 6)[:, None, None])
    images = toy_generator(codes, 32)
    return Footage(lambda rows: images[rows], RUNS, 32)


@pytest.fixture
def inverter(toy_generator, toy_perceptual, footage):
    def make(**options):
        return Inverter(toy_generator, toy_perceptual, footage, InvertOptions(**(TOY | options)))

    return make


@pytest.fixture
def mean(toy_generator):
    return toy_generator.w_mean.expand(1, 8, -1).clone()


NONE = torch.zeros(6, 8, 10)  # of the faces starts with anything of its own


def error(generator, footage, codes):
    return F.mse_loss(generator(codes, 32), footage.crops(np.arange(len(footage)))).item()


@pytest.mark.parametrize("runs", [[3], [3, 3], [0] * 9, [0, 0, 0, 1, 2, 2], [0, 1, 0, 1]])
def test_smoothing_weights_sum_to_one_and_never_cross_a_run(runs):
    runs = np.array(runs)
    weights = smoothing_matrix(runs).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert (weights[runs[:, None] != runs[None]] == 0).all()
    assert (np.diag(weights) > 0).all()


def test_smoothing_within_a_run_is_a_normalised_convolution():
    signal = np.random.default_rng(0).normal(size=9)
    direct = np.convolve(signal, SMOOTHING, "same") / np.convolve(np.ones(9), SMOOTHING, "same")
    np.testing.assert_allclose(smoothing_matrix(np.zeros(9)).double().numpy() @ signal, direct, rtol=1e-6)


def test_a_single_frame_is_smoothed_with_nothing():
    assert smoothing_matrix(np.array([5])).tolist() == [[1.0]]


def test_the_person_is_nearer_to_the_faces_than_the_mean_code(inverter, toy_generator, footage, mean):
    person = inverter().person(mean)
    assert person.shape == (1, 8, 10)
    near, far = (error(toy_generator, footage, code.expand(6, -1, -1)) for code in (person, mean))
    assert near < 0.7 * far


def test_frames_are_nearer_to_their_faces_than_the_person(inverter, toy_generator, footage, mean):
    toy = inverter()
    person = toy.person(mean)
    codes = toy.frames(person, NONE, np.arange(6))
    assert codes.shape == (6, 8, 10)
    assert error(toy_generator, footage, codes) < 0.9 * error(toy_generator, footage, person.expand(6, -1, -1))


def test_codes_of_one_run_do_not_depend_on_those_of_another(inverter, mean):
    """Batches as large as the segment: what is generated together is all there is in both cases."""
    toy = inverter(batch=6, frame_weight=0.0)
    person = toy.person(mean)
    parts = torch.cat([toy.frames(person, NONE[:4], np.arange(4)), toy.frames(person, NONE[4:], np.arange(4, 6))])
    assert torch.isfinite(parts).all()
    weights = smoothing_matrix(RUNS)
    assert (weights[:4, 4:] == 0).all()
    assert (weights[4:, :4] == 0).all()


def test_frames_do_not_depend_on_what_this_object_did_before(inverter, mean):
    """So that a run that was cut off after the person ends in the same codes."""
    fresh, used = inverter(), inverter()
    person = used.person(mean)
    used.frames(person, NONE[:4], np.arange(4))
    assert torch.equal(used.frames(person, NONE[2:], np.arange(2, 6)), fresh.frames(person, NONE[2:], np.arange(2, 6)))


def test_the_weights_on_offsets_keep_codes_together(inverter, mean):
    def spread(**weights):
        toy = inverter(**weights)
        person = toy.person(mean)
        return person.std(dim=1).norm().item(), (toy.frames(person, NONE, np.arange(6)) - person).norm().item()

    loose, tight = spread(layer_weight=0.0, frame_weight=0.0), spread(layer_weight=5.0, frame_weight=5.0)
    assert tight[0] < loose[0]
    assert tight[1] < loose[1]


def test_the_generator_stays_as_it_is(inverter, toy_generator, mean):
    before = {name: value.clone() for name, value in toy_generator.state_dict().items()}
    inverter(refine_steps=3).person(mean)
    assert all(torch.equal(value, before[name]) for name, value in toy_generator.state_dict().items())


def test_steps_are_reported_up_to_the_last(inverter, mean):
    reported = []
    toy = inverter(refine_steps=3, color_steps=2, refine_passes=2)
    course = Course(on_step=lambda done, total: reported.append((done, total)))
    person = toy.person(mean, course)
    assert reported == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    reported.clear()
    toy.frames(person, NONE[:4], np.arange(4), Course(on_step=course.on_step))
    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]  # two passes over four faces, three at a time


def test_losses_that_stay_on_the_device_are_all_read_in_the_end(inverter, mean, monkeypatch):
    at_once, late = Course(), Course()
    inverter(refine_steps=3, color_steps=2).person(mean, at_once)
    monkeypatch.setattr("stitchedit.optimize.descent.steps_between_reads", lambda device: 32)  # as on a GPU
    inverter(refine_steps=3, color_steps=2).person(mean, late)
    assert len(late.state.losses) == 5
    assert late.state.losses == at_once.state.losses


def test_a_loss_that_is_not_finite_names_the_option_to_lower(toy_generator, toy_perceptual, mean):
    broken = Footage(lambda rows: torch.full((len(rows), 3, 32, 32), torch.nan), RUNS, 32)
    with pytest.raises(OptimizationError, match=r"became nan at step 0\. Lower invert\.learning_rate"):
        Inverter(toy_generator, toy_perceptual, broken, InvertOptions(**TOY)).person(mean)


@pytest.mark.parametrize("name", ["batch", "segment", "keyframes", "checkpoint_every"])
def test_options_name_what_is_wrong(name):
    with pytest.raises(ValueError, match=rf"invert\.{name} must be >= 1, got 0"):
        InvertOptions(**{name: 0})


def test_without_steps_codes_are_as_they_start_steady_in_time(inverter, mean):
    """Own parts smoothed within a run, and only in the layers that shape the small image."""
    toy = inverter(refine_steps=0, refine_passes=0)
    own = torch.randn(6, 8, 10, generator=torch.Generator().manual_seed(1))
    codes = toy.frames(toy.person(mean), own, np.arange(6))
    smoothed = smoothing_matrix(RUNS) @ own.flatten(1)
    coarse = toy.frame_layers
    torch.testing.assert_close(codes[:, :coarse], (mean + smoothed.view(6, 8, 10))[:, :coarse])
    assert torch.equal(codes[:, coarse:], mean[:, coarse:].expand(6, -1, -1))


def test_a_better_start_is_as_good_with_fewer_steps(inverter, toy_generator, toy_codes, footage, mean):
    near = toy_codes(2)[:1].lerp(mean, 0.3)
    toy = inverter(refine_steps=8)
    far, close = toy.person(mean), toy.person(near)
    assert error(toy_generator, footage, close.expand(6, -1, -1)) < error(toy_generator, footage, far.expand(6, -1, -1))


def test_a_start_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="one of encoder, mean, got 'middle'"):
        InvertOptions(start="middle")


def test_every_row_comes_once_before_any_comes_again():
    """Seven rows by threes: the first two batches, and one row of the third, are six different ones and the seventh."""
    rows = np.array([3, 5, 8, 13, 21, 34, 55])
    batches = list(islice(shuffled_batches(rows, 3, seed=0), 14))
    assert {len(batch) for batch in batches} == {3}
    order = np.concatenate(batches).reshape(6, 7)
    assert (np.sort(order, axis=1) == rows).all()
    assert len(set(map(tuple, order))) == 6


def kept(state):
    """A state as it comes back from the disk."""
    tensors = {name: value.clone() for name, value in state.tensors.items()}
    return DescentState(state.step, list(state.losses), tensors, state.begun)


@pytest.mark.parametrize("every", [1, 3])
def test_codes_are_the_same_from_any_checkpoint_on(inverter, mean, every):
    toy = inverter(refine_steps=5, color_steps=4, refine_passes=3, checkpoint_every=every)
    states = []
    person = toy.person(mean, Course(on_checkpoint=lambda state: states.append(kept(state))))
    assert [state.step for state in states] == list(range(every, 10, every))
    for state in states:
        assert torch.equal(toy.person(mean, Course(state)), person)

    states.clear()
    codes = toy.frames(person, NONE, np.arange(6), Course(on_checkpoint=lambda state: states.append(kept(state))))
    assert [state.step for state in states] == list(range(every, 7, every))
    for state in states:
        assert torch.equal(toy.frames(person, NONE, np.arange(6), Course(state)), codes)
