"""Adam on tensors by name, a step per call, that can be cut off after any step and gone on with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")  # as Adam calls its own


@dataclass
class DescentState:
    """Everything needed to go on from a step as if nothing had happened."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # one per step
    tensors: dict[str, Tensor] = field(default_factory=dict)  # weights, and Adam's two moments of each
    begun: int = 0  # step from which on the moments count


class Descent:
    """Adam (Kingma and Ba 2015) on `parameters`; goes on from `state`, bit for bit on a CPU."""

    def __init__(
        self, parameters: Mapping[str, Tensor], state: DescentState, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parameters, self.state, self.betas = dict(parameters), state, betas
        self.optimizer = torch.optim.Adam(self.parameters.values(), betas=betas)
        if state.tensors:
            self._restore()

    def __call__(self, loss: Tensor, rate: float) -> None:
        """One step down `loss` at the learning rate `rate`."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.state.step += 1
        self.state.losses.append(loss.item())

    def forget(self) -> None:
        """Go on without moments: the loss is another one from here on."""
        self.optimizer = torch.optim.Adam(self.parameters.values(), betas=self.betas)
        self.state.begun = self.state.step

    def save(self) -> None:
        """Put the present weights and moments into the state."""
        for name, parameter in self.parameters.items():
            self.state.tensors[f"weight/{name}"] = parameter.detach()
            for moment in MOMENTS:
                self.state.tensors[f"{moment}/{name}"] = self.optimizer.state[parameter][moment]

    def _restore(self) -> None:
        taken = torch.tensor(float(self.state.step - self.state.begun))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.state.tensors[f"weight/{name}"])
                moments = {moment: self.state.tensors[f"{moment}/{name}"] for moment in MOMENTS}
                moments = {moment: torch.empty_like(parameter).copy_(value) for moment, value in moments.items()}
                self.optimizer.state[parameter] = {"step": taken.clone(), **moments}
