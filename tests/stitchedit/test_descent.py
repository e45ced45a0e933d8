"""Steps of Adam that are cut off and gone on with."""

import numpy as np
import pytest
import torch

from stitchedit.descent import Descent, DescentState

TARGET = torch.tensor([[3.0, -1.0], [0.5, 2.0]])


def descend(steps, state=None, forget_at=None):
    """`steps` of descent to `TARGET` from zero; the place come to and the state there."""
    place, state = torch.zeros(2, 2, requires_grad=True), state or DescentState()
    descent = Descent({"place": place}, state, betas=(0.9, 0.99))
    while state.step < steps:
        if state.step == forget_at:
            descent.forget()
        descent((place - TARGET).square().sum(), rate=0.1)
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
