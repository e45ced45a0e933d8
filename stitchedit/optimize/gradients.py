"""Loss and gradients of one optimization step; on a GPU replayed as a CUDA graph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UPS = 3  # passes before a capture, so that cuDNN has chosen its algorithms

Loss = Callable[..., Tensor]
Inputs = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class _Capture:
    """One captured forward and backward pass, and the memory it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    loss: Tensor
    gradients: list[Tensor | None]


class Gradients:
    """Call with the inputs of `loss`: fill `.grad` of `parameters` and return the loss, detached.

    A step of tuning is 1,300 to 3,100 small kernels, and launching them one by one takes a GPU longer than running
    them. There the pass is captured once for each combination of input shapes and then replayed
    (`torch.cuda.CUDAGraph`), so `loss` must not read values back to the CPU and must use only its inputs and tensors
    that stay where they are. On a CPU, and with `captures=False`, the pass runs as it is written.
    """

    def __init__(self, loss: Loss, parameters: Iterable[Tensor], *, captures: bool = True) -> None:
        self._loss, self._parameters = loss, list(parameters)
        self._captures: dict[tuple[torch.Size | None, ...], _Capture] | None = {} if captures else None

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        if self._captures is None or not self._parameters[0].is_cuda:
            return self._pass(inputs)
        shapes = tuple(None if value is None else value.shape for value in inputs)
        if shapes not in self._captures:
            self._captures[shapes] = self._capture(inputs)
        return self._replay(self._captures[shapes], inputs)

    def _pass(self, inputs: Inputs) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._loss(*inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _capture(self, inputs: Inputs) -> _Capture:
        held = tuple(None if value is None else value.detach().clone() for value in inputs)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._pass(held)
        torch.cuda.current_stream().wait_stream(side)
        for parameter in self._parameters:  # so that the capture allocates gradients of its own
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._pass(held)
        return _Capture(graph, held, loss, [parameter.grad for parameter in self._parameters])

    def _replay(self, capture: _Capture, inputs: Inputs) -> Tensor:
        for held, value in zip(capture.inputs, inputs, strict=True):
            if held is not None and value is not None:
                held.copy_(value, non_blocking=True)
        capture.graph.replay()
        for parameter, gradient in zip(self._parameters, capture.gradients, strict=True):
            parameter.grad = gradient
        return capture.loss.clone()
