"""One pass forward and backward on a CPU, where nothing is captured."""

import torch

from stitchedit.optimize.gradients import Gradients


def test_gradients_are_those_of_autograd():
    weight = torch.tensor([2.0, -1.0], requires_grad=True)
    loss = Gradients(lambda x: (weight * x).square().sum(), [weight])(torch.tensor([3.0, 5.0]))
    assert loss == 61.0
    assert not loss.requires_grad
    assert weight.grad.tolist() == [36.0, -50.0]  # 2 w x^2


def test_gradients_of_an_earlier_call_are_not_added_to():
    weight = torch.tensor(1.5, requires_grad=True)
    gradients = Gradients(lambda x: weight * x, [weight])
    gradients(torch.tensor(4.0))
    gradients(torch.tensor(7.0))
    assert weight.grad == 7.0


def test_an_input_may_be_missing():
    weight = torch.tensor(1.5, requires_grad=True)
    gradients = Gradients(lambda x, mask: weight * (x if mask is None else x * mask), [weight])
    assert gradients(torch.tensor(4.0), None) == 6.0
    assert gradients(torch.tensor(4.0), torch.tensor(0.5)) == 3.0
