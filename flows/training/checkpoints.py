"""States of trainings on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from storage.files import replacing


@dataclass(frozen=True)
class StateFile:
    """A file with the last state of a training; replaced as a whole."""

    path: Path

    def load(self) -> Mapping[str, Any] | None:
        """The last saved state, on the CPU; None if there is no file."""
        if not self.path.exists():
            return None
        state: Mapping[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write `state` for `torch.load`."""
        with replacing(self.path) as file:
            torch.save(dict(state), file)
