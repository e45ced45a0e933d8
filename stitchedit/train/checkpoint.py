"""Storage of the state of a training, as the training sees it."""

from collections.abc import Mapping
from typing import Any, Protocol


class TrainingState(Protocol):
    """The last saved state of one training. Its values are tensors on the CPU, numbers, and mappings of these."""

    def load(self) -> Mapping[str, Any] | None:
        """The last saved state; None if there is none."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""
