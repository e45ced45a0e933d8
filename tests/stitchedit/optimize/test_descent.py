"""Steps of Adam, interrupted and resumed."""

import numpy as np
import pytest
import torch

from stitchedit.errors import OptimizationError
from stitchedit.optimize.descent import Descent, DescentState, Losses, Subject
from stitchedit.optimize.gradients import Gradients

TARGET = torch.tensor([[3.0, -1.0], [0.5, 2.0]])


def descend(steps, state=None, forget_at=None):
    """`steps` of descent to `TARGET` from zero; the place come to and the state there."""
    place, state = torch.zeros(2, 2, requires_grad=True), state or DescentState()
    descent = Descent({"place": place}, state, Subject("Test", "test.rate", 0.1), betas=(0.9, 0.99))
    gradients = Gradients(lambda: (place - TARGET).square().sum(), [place])
    while state.step < steps:
        if state.step == forget_at:
            descent.forget()
        descent(gradients(), rate=0.1)
    descent.save()
    return place.detach(), state


def test_steps_are_those_of_adam():
    """Kingma and Ba 2015, algorithm 1."""
    value, mean, square = np.zeros((2, 2)), 0.0, 0.0
    for step in range(1, 8):
        slope = 2 * (value - TARGET.numpy())
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        value -= 0.1 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    np.testing.assert_allclose(descend(7)[0].numpy(), value, rtol=1e-5)


@pytest.mark.parametrize("forget_at", [None, 5])
@pytest.mark.parametrize("cut", [1, 5, 8])
def test_a_descent_that_was_cut_off_comes_to_the_same_place(cut, forget_at):
    undisturbed, end = descend(12, forget_at=forget_at)
    _, state = descend(cut, forget_at=forget_at)
    kept = {name: value.clone() for name, value in state.tensors.items()}
    resumed, again = descend(12, DescentState(cut, list(state.losses), kept, state.begun), forget_at)
    assert torch.equal(resumed, undisturbed)
    assert again.losses == end.losses


def test_without_its_moments_a_descent_goes_another_way():
    assert not torch.equal(descend(12, forget_at=5)[0], descend(12)[0])


@pytest.fixture
def lazily_read(monkeypatch):
    """Losses stay on the device for many steps, as on a GPU."""
    monkeypatch.setattr("stitchedit.optimize.descent.steps_between_reads", lambda device: 32)


def test_losses_that_are_read_late_are_all_there_in_the_end(monkeypatch):
    at_once = descend(7)[1].losses
    monkeypatch.setattr("stitchedit.optimize.descent.steps_between_reads", lambda device: 32)
    assert descend(7)[1].losses == at_once
    assert at_once[0] == TARGET.square().sum()


def test_a_loss_that_is_read_late_is_reported_with_its_step(lazily_read):
    losses = Losses(Subject("Test", "test.rate", 0.1), values := [])
    for loss in (3.0, 2.0, float("nan"), 1.0):
        losses.add(torch.tensor(loss))
    with pytest.raises(OptimizationError, match=r"Test loss became nan at step 2\. Lower test\.rate \(now 0\.1\)"):
        losses.read()
    assert values == [3.0, 2.0]
