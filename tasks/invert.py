"""Stage `invert`: crops to the code of every face."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stitchedit.invert import Course, Footage, Inverter
from stitchedit.options.invert import InvertOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.weights.state_dict import load_tensors, save_tensors
from storage.workspace import Workspace
from tasks.inputs.faces import open_faces
from tasks.occlude import hidden_images
from tasks.runtime import networks
from tasks.runtime.checkpoint import save_state, saved_state
from tasks.runtime.progress import Progress
from tasks.runtime.stage import stage


@stage(*networks.GENERATOR, *networks.PERCEPTUAL, *networks.ENCODER)
def invert_faces(out: Workspace, faces: Artifact, occluded: Artifact, options: InvertOptions, device: str) -> None:
    chosen, opened = networks.choose_device(device), open_faces(faces)
    footage = opened.footage(chosen, hidden_images(occluded, opened.size, chosen))
    inverter = Inverter(networks.generator(device), networks.perceptual(device), footage, options)
    started = start_codes(out, footage, options, device)

    kept = out.path / "person.safetensors"
    if not kept.exists():
        shared = torch.from_numpy(mean_row(started)).to(chosen)
        with resumable(out, "person", chosen) as course:
            found = {"shared": shared, "w_plus": inverter.person(shared, course)}
            losses = np.array(course.state.losses)  # one per step
            save_tensors(kept, {name: code.cpu().numpy() for name, code in found.items()} | {"losses": losses}, {})
    shared, person = (torch.from_numpy(load_tensors(kept)[name]).to(chosen) for name in ("shared", "w_plus"))

    codes = FrameArray.create(out.path / "w_plus", person[0].cpu().numpy(), len(footage), options.segment, "number")
    for rows in codes.pending():
        segment = np.arange(rows.start, rows.stop)
        own = torch.from_numpy(started.read(rows)).to(chosen) - shared
        with resumable(out, f"frames {rows.start}-{rows.stop - 1}", chosen) as course:
            codes.write(rows, inverter.frames(person, own, segment, course).cpu().numpy())


@contextmanager
def resumable(out: Workspace, part: str, device: torch.device) -> Iterator[Course]:
    """Resumable optimization of `part`. Its state stays on disk until the result is written."""
    kept = out.path / f".state-{part.replace(' ', '-')}.safetensors"
    progress = Progress("invert", "steps", f"invert: {part}")
    yield Course(saved_state(kept, device), progress, partial(save_state, kept))
    kept.unlink(missing_ok=True)


def start_codes(out: Workspace, footage: Footage, options: InvertOptions, device: str) -> FrameArray:
    """Initial code of every face, `face layer channel`."""
    generator = networks.generator(device)
    like = np.zeros((generator.layers, len(generator.w_mean)), np.float32)
    codes = FrameArray.create(out.path / "start", like, len(footage), options.segment, "number")
    report = Progress("invert", "faces", "invert: start")
    for rows in codes.pending():
        found = []
        for first in range(rows.start, rows.stop, options.batch):
            batch = np.arange(first, min(first + options.batch, rows.stop))
            found.append(_start_code(footage.crops(batch), options.start, device).cpu().numpy())
            report(int(batch[-1]) + 1, len(footage))
        codes.write(rows, np.concatenate(found))
    return codes


@torch.no_grad()
def _start_code(crops: Tensor, start: str, device: str) -> Tensor:
    if start == "encoder":
        return networks.encoder(device)(crops)  # type: ignore[no-any-return]
    generator = networks.generator(device)
    return generator.w_mean.expand(len(crops), generator.layers, -1)


def mean_row(array: FrameArray) -> np.ndarray:
    """Mean over the rows of `array`, `1 ...`, a chunk at a time."""
    total = np.zeros(array.shape[1:])
    for first in range(0, len(array), array.chunk):
        total += array.read(slice(first, min(first + array.chunk, len(array)))).sum(axis=0, dtype=np.float64)
    return (total / len(array))[None].astype(np.float32)
