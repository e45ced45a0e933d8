"""States of optimizations on disk, to resume interrupted runs."""

import json
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

import numpy as np
import torch

from stitchedit.optimize.descent import DescentState
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors


def save_state(path: Path, state: DescentState) -> None:
    """Write `state`; the file is there as a whole or not at all."""
    facts = {"step": str(state.step), "begun": str(state.begun), "losses": json.dumps(state.losses)}
    save_tensors(path, {name: value.cpu().numpy() for name, value in state.tensors.items()}, facts)


def saved_state(path: Path, device: torch.device) -> DescentState:
    """Read the state at `path`; an initial state if there is none."""
    if not path.exists():
        return DescentState()
    facts = read_metadata(path)
    tensors = {name: torch.from_numpy(value).to(device) for name, value in load_tensors(path).items()}
    return DescentState(int(facts["step"]), json.loads(facts["losses"]), tensors, int(facts["begun"]))


class WeightFiles(MutableMapping[int, Mapping[str, np.ndarray]]):
    """Weights by row, each a hidden file of the workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, row: int) -> Path:
        return self.folder / f".warm-{row}.safetensors"

    def __getitem__(self, row: int) -> Mapping[str, np.ndarray]:
        if not self.path(row).exists():
            raise KeyError(row)
        return load_tensors(self.path(row))

    def __setitem__(self, row: int, weights: Mapping[str, np.ndarray]) -> None:
        save_tensors(self.path(row), dict(weights), {})

    def __delitem__(self, row: int) -> None:
        self.path(row).unlink()

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and self.path(row).exists()

    def __iter__(self) -> Iterator[int]:
        return iter([int(path.stem.removeprefix(".warm-")) for path in self.folder.glob(".warm-*.safetensors")])

    def __len__(self) -> int:
        return len(list(iter(self)))
