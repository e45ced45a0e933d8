"""Training states and samples in memory."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from stitchedit.train.samples import SampleOptions, Samples, generate_image, sample_codes
from tasks.runtime import networks


class MemoryState:
    """The last state of a training, in memory."""

    def __init__(self) -> None:
        self.state: Mapping[str, Any] | None = None

    def load(self) -> Mapping[str, Any] | None:
        return self.state

    def save(self, state: Mapping[str, Any]) -> None:
        self.state = deepcopy(dict(state))


@pytest.fixture
def saved() -> MemoryState:
    return MemoryState()


@pytest.fixture(scope="session")
def generated_samples() -> Callable[[int, int], Samples]:
    """`generated_samples(count, size)`: that many samples, all available."""

    def generate(count: int, size: int) -> Samples:
        generator = networks.generator("cpu")
        codes = sample_codes(generator, SampleOptions(count=count, seed=6))
        images = np.stack([generate_image(generator, code, size, size) for code in codes])
        return Samples(codes, images, lambda: count)

    return generate
