"""States of optimisations on disk, so that a run that was cut off goes on from them."""

import json
from pathlib import Path

import torch

from stitchedit.optimize.descent import DescentState
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors


def save_state(path: Path, state: DescentState) -> None:
    """Write `state`; the file is there as a whole or not at all."""
    facts = {"step": str(state.step), "begun": str(state.begun), "losses": json.dumps(state.losses)}
    save_tensors(path, {name: value.cpu().numpy() for name, value in state.tensors.items()}, facts)


def saved_state(path: Path, device: torch.device) -> DescentState:
    """What `save_state` wrote at `path`; a state before the first step if it wrote nothing."""
    if not path.exists():
        return DescentState()
    facts = read_metadata(path)
    tensors = {name: torch.from_numpy(value).to(device) for name, value in load_tensors(path).items()}
    return DescentState(int(facts["step"]), json.loads(facts["losses"]), tensors, int(facts["begun"]))
