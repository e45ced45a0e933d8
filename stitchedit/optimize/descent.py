"""Adam on tensors by name, a step per call, that can be interrupted after any step and resumed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stitchedit.errors import OptimizationError

MOMENTS = ("exp_avg", "exp_avg_sq")  # as Adam calls its own
READ_EVERY = 32  # steps between two looks at the losses on a GPU, each of which waits for the device


@dataclass
class DescentState:
    """Everything needed to resume after a step with identical results."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # one per step
    tensors: dict[str, Tensor] = field(default_factory=dict)  # weights, and Adam's two moments of each
    begun: int = 0  # step from which on the moments count


@dataclass(frozen=True)
class Subject:
    """Names for error messages: what is optimized, and the option that sets its learning rate."""

    name: str  # "Tuning"
    rate_option: str  # "tune.learning_rate"
    rate: float

    def check(self, loss: float, step: int) -> None:
        """Raise OptimizationError if the loss of `step` is not finite."""
        if not torch.isfinite(torch.tensor(loss)):
            raise OptimizationError(
                f"{self.name} loss became {loss} at step {step}. Lower {self.rate_option} (now {self.rate:g})."
            )


def adam(
    parameters: Iterable[Tensor], rate: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Adam:
    """Adam (Kingma and Ba 2015): one kernel for all parameters on a GPU, as written on a CPU."""
    listed = list(parameters)
    return torch.optim.Adam(listed, lr=rate, betas=betas, fused=True if listed[0].is_cuda else None)


def steps_between_reads(device: torch.device) -> int:
    """Steps after which losses are read from `device`: every one from a CPU, where that is free."""
    return READ_EVERY if device.type == "cuda" else 1


class Losses:
    """Losses of steps, read from the device in groups and checked to be finite."""

    def __init__(self, subject: Subject, values: list[float]) -> None:
        self._subject, self._values, self._unread = subject, values, list[Tensor]()

    def add(self, loss: Tensor) -> None:
        """Keep the loss of one step; on a CPU it is checked at once.

        Raises:
            OptimizationError: a loss is not finite.
        """
        self._unread.append(loss)
        if len(self._unread) >= steps_between_reads(loss.device):
            self.read()

    def read(self) -> None:
        """Bring all losses to the CPU.

        Raises:
            OptimizationError: a loss is not finite.
        """
        if not self._unread:
            return
        read: list[float] = torch.stack(self._unread).tolist()
        self._unread = []
        for loss in read:
            self._subject.check(loss, len(self._values))
            self._values.append(loss)


class Descent:
    """Adam on `parameters`; resumes from `state`, bit for bit on a CPU."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        state: DescentState,
        subject: Subject,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters, self.state, self.betas = dict(parameters), state, betas
        self.losses = Losses(subject, state.losses)
        self.optimizer = adam(self.parameters.values(), betas=betas)
        if state.tensors:
            self._restore()

    def __call__(self, loss: Tensor, rate: float) -> None:
        """Take one step at the learning rate `rate` along the gradients that belong to `loss`.

        Raises:
            OptimizationError: the loss stopped being finite; on a GPU up to `READ_EVERY` steps ago.
        """
        self.losses.add(loss)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.state.step += 1

    def forget(self) -> None:
        """Restart without moments: the loss is another one from here on."""
        self.optimizer = adam(self.parameters.values(), betas=self.betas)
        self.state.begun = self.state.step

    def save(self) -> None:
        """Put the present weights, moments and losses into the state."""
        self.losses.read()
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
                step = taken.to(parameter.device) if parameter.is_cuda else taken.clone()  # fused Adam counts there
                self.optimizer.state[parameter] = {"step": step, **moments}
