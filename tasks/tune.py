"""Crops and their codes in; the weights of a generator that draws this very footage out."""

import json

import numpy as np
import torch

from stitchedit.metrics import psnr
from stitchedit.nets.generator import Generator
from stitchedit.stitch import fresh_copy
from stitchedit.tune import Pivots, TuneOptions, TuneState, tune_generator
from storage.artifact import Artifact, write_json
from storage.frame_array import FrameArray
from storage.state_dict import load_tensors, read_metadata, save_tensors
from storage.store import Workspace
from tasks import networks
from tasks.clip import save_rows
from tasks.faces import Faces, open_faces, to_pictures
from tasks.progress import Progress
from tasks.stage import QUALITY, stage

MEASURED = 24  # faces, evenly over the clip, on which the reconstruction is measured


@stage(*networks.GENERATOR, *networks.PERCEPTUAL)
def tune_weights(out: Workspace, faces: Artifact, codes: Artifact, options: TuneOptions, device: str) -> None:
    chosen, found = networks.choose_device(device), open_faces(faces)
    w_plus = torch.from_numpy(FrameArray.open(codes.path / "w_plus").read()).to(chosen)
    pivots = Pivots(w_plus, found.footage(chosen).crops, found.size)
    checkpoint = out.path / ".state.safetensors"
    progress = Progress("tune", "steps")

    def save(state: TuneState) -> None:
        facts = {"step": str(state.step), "losses": json.dumps(state.losses)}
        save_tensors(checkpoint, {name: value.cpu().numpy() for name, value in state.tensors.items()}, facts)

    generator = fresh_copy(networks.generator(device))
    state = tune_generator(
        generator,
        networks.perceptual(device),
        pivots,
        options,
        state=_saved_state(out, chosen),
        on_step=lambda state, total: progress(state.step, total),
        on_checkpoint=save,
    )
    weights = {name: value.detach().cpu().numpy() for name, value in generator.synthesis_parameters(found.size)}
    save_tensors(out.path / "weights.safetensors", weights, {"size": str(found.size)})
    save_rows(out.path / "losses", np.array(state.losses))
    write_json(out.path / QUALITY, _measure(generator, pivots, found, device))


def tuned_generator(weights: Artifact, device: str) -> Generator:
    """A copy of the generator with the weights that `tune` wrote."""
    generator = fresh_copy(networks.generator(device))
    tensors = load_tensors(weights.path / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in generator.synthesis_parameters(int(_size(weights))):
            parameter.copy_(torch.from_numpy(tensors[name]))
    return generator.requires_grad_(False)


def _size(weights: Artifact) -> str:
    return read_metadata(weights.path / "weights.safetensors")["size"]


def _saved_state(out: Workspace, device: torch.device) -> TuneState | None:
    path = out.path / ".state.safetensors"
    if not path.exists():
        return None
    facts = read_metadata(path)
    tensors = {name: torch.from_numpy(value).to(device) for name, value in load_tensors(path).items()}
    return TuneState(int(facts["step"]), json.loads(facts["losses"]), tensors)


@torch.no_grad()
def _measure(generator: Generator, pivots: Pivots, found: Faces, device: str) -> dict[str, float]:
    """PSNR in dB and LPIPS between crops and what the tuned generator draws, means over faces."""
    rows = np.unique(np.linspace(0, len(found) - 1, MEASURED).round().astype(int))
    scores = []
    for row in rows:
        target = pivots.crops(np.array([row]))
        drawn = generator(pivots.codes[[row]], found.size).clamp(-1, 1)
        similarity = psnr(to_pictures(drawn)[0].transpose(1, 2, 0), found.crops.read(int(row)).transpose(1, 2, 0))
        scores.append((similarity, networks.perceptual(device)(drawn, target).item()))
    mean = np.mean(scores, axis=0)
    return {"psnr_db": float(mean[0]), "lpips_alex": float(mean[1])}
