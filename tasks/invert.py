"""Crops in; the code of every face out."""

import numpy as np
import torch

from stitchedit.invert import Inverter, InvertOptions
from storage.artifact import Artifact
from storage.frame_array import FrameArray
from storage.state_dict import load_tensors, save_tensors
from storage.store import Workspace
from tasks import networks
from tasks.faces import open_faces
from tasks.progress import Progress
from tasks.stage import stage


@stage(*networks.GENERATOR, *networks.PERCEPTUAL)
def invert_faces(out: Workspace, faces: Artifact, options: InvertOptions, device: str) -> None:
    chosen = networks.choose_device(device)
    footage = open_faces(faces).footage(chosen)
    inverter = Inverter(networks.generator(device), networks.perceptual(device), footage, options)

    kept = out.path / "person.safetensors"
    if not kept.exists():
        person = inverter.person(Progress("invert", "steps", "invert: person"))
        save_tensors(kept, {"w_plus": person.cpu().numpy()}, {})
    person = torch.from_numpy(load_tensors(kept)["w_plus"]).to(chosen)

    like = np.zeros(person.shape[1:], np.float32)
    codes = FrameArray.create(out.path / "w_plus", like, len(footage), options.segment, "number")
    for rows in codes.pending():
        segment = np.arange(rows.start, rows.stop)
        part = f"invert: frames {rows.start}-{rows.stop - 1}"
        codes.write(rows, inverter.frames(person, segment, Progress("invert", "steps", part)).cpu().numpy())
