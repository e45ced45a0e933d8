"""Stage `tune`: crops and codes to the weights of a generator that reconstructs the footage."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stitchedit.measure.reconstruction import tuning_quality
from stitchedit.nets.generator import Generator
from stitchedit.optimize.descent import DescentState
from stitchedit.options.tune import TuneOptions
from stitchedit.stitch import fresh_copy
from stitchedit.tune import Pivots, tune_generator
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.files import write_json
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors
from storage.workspace import Workspace
from tasks.inputs.clip import save_rows
from tasks.inputs.faces import Faces, open_faces
from tasks.occlude import hidden_images
from tasks.runtime import networks
from tasks.runtime.checkpoint import save_state, saved_state
from tasks.runtime.progress import Progress
from tasks.runtime.stage import QUALITY, stage

WEIGHTS = "weights.safetensors"


@stage(*networks.GENERATOR, *networks.PERCEPTUAL)
def tune_weights(
    out: Workspace, faces: Artifact, occluded: Artifact, codes: Artifact, options: TuneOptions, device: str
) -> None:
    found = open_faces(faces)
    pivots = open_pivots(found, occluded, codes, device)

    kept = out.path / WEIGHTS
    if not kept.exists():
        generator, state = _tune(out, pivots, options, device)
        weights = {name: value.detach().cpu().numpy() for name, value in generator.synthesis_parameters(found.size)}
        # losses are in here too, so that a lost array of them takes no training to come back
        save_tensors(kept, weights, {"size": str(found.size), "losses": json.dumps(state.losses)})
    save_rows(out.path / "losses", np.array(json.loads(read_metadata(kept)["losses"])))
    if not (out.path / QUALITY).exists():
        write_json(
            out.path / QUALITY, tuning_quality(_read_generator(kept, device), pivots, networks.perceptual(device))
        )


def open_pivots(found: Faces, occluded: Artifact, codes: Artifact, device: str) -> Pivots:
    """Faces of a person with their codes and visible parts."""
    chosen = networks.choose_device(device)
    w_plus = torch.from_numpy(FrameArray.open(codes.path / "w_plus").read()).to(chosen)
    footage = found.footage(chosen, hidden_images(occluded, found.size, chosen))

    @torch.no_grad()
    def behind(rows: np.ndarray) -> torch.Tensor:
        return networks.generator(device)(w_plus[rows], found.size)  # type: ignore[no-any-return]

    return Pivots(w_plus, footage.crops, found.size, footage.covered, behind)


def tuned_generator(weights: Artifact, device: str) -> Generator:
    """A copy of the generator with the weights that `tune` wrote."""
    return _read_generator(weights.path / WEIGHTS, device)


def _read_generator(path: Path, device: str) -> Generator:
    generator, tensors = fresh_copy(networks.generator(device)), load_tensors(path)
    with torch.no_grad():
        for name, parameter in generator.synthesis_parameters(int(read_metadata(path)["size"])):
            parameter.copy_(torch.from_numpy(tensors[name]))
    return generator.requires_grad_(False)


def _tune(out: Workspace, pivots: Pivots, options: TuneOptions, device: str) -> tuple[Generator, DescentState]:
    """A tuned copy of the generator and its last state; resumes from the checkpoint in `out`."""
    checkpoint, progress = out.path / ".state.safetensors", Progress("tune", "steps")
    generator = fresh_copy(networks.generator(device))
    state = tune_generator(
        generator,
        networks.perceptual(device),
        pivots,
        options,
        state=saved_state(checkpoint, networks.choose_device(device)),
        on_step=lambda state, total: progress(state.step, total),
        on_checkpoint=partial(save_state, checkpoint),
    )
    return generator, state
