"""Edited codes and the tuned generator in; crops that meet their frame out."""

from pathlib import Path

import numpy as np
import torch

from stitchedit.masks import MaskOptions, resize_masks, seam_masks
from stitchedit.nets.generator import Generator
from stitchedit.stitch import SeamTarget, Stitched, StitchOptions, fresh_copy, stitch_face
from storage.artifact import Artifact, write_json
from storage.frame_array import FrameArray
from storage.state_dict import load_tensors, save_tensors
from storage.store import Workspace
from tasks import networks
from tasks.faces import Faces, open_faces, to_images, to_pictures
from tasks.progress import Progress
from tasks.stage import QUALITY, stage
from tasks.tune import tuned_generator


@stage(*networks.GENERATOR)
def stitch_faces(
    out: Workspace,
    faces: Artifact,
    codes: Artifact,
    weights: Artifact,
    edited: Artifact,
    options: StitchOptions,
    masks: MaskOptions,
    device: str,
) -> None:
    found, progress, chosen = open_faces(faces), Progress("stitch", "faces"), networks.choose_device(device)
    before, after = (
        torch.from_numpy(FrameArray.open(code.path / "w_plus").read()).to(chosen) for code in (codes, edited)
    )
    crop = np.zeros((3, found.size, found.size), np.uint8)
    crops = FrameArray.create(out.path / "crops", crop, len(found), options.chunk, "image")
    # what the border had to match; what the frame has beyond it comes back when compositing
    matched = FrameArray.create(out.path / "matched", crop, len(found), options.chunk, "image")
    # steps taken, then root mean squared error in the border before and after, in 8-bit levels
    seams = FrameArray.create(out.path / "seams", np.zeros(3, np.float32), len(found), options.chunk, "number")

    tuned = tuned_generator(weights, device)
    todo = list(seams.pending())  # written last of its chunk
    warm = _warm_copy(tuned, _warm_file(out, todo[0].start), found.size) if todo else fresh_copy(tuned)
    for rows in todo:
        results, wanted = [], []
        for row in range(rows.start, rows.stop):
            if not options.warm_start or row == 0 or found.runs[row] != found.runs[row - 1]:
                warm = fresh_copy(tuned)
            if options.toward == "source":
                wanted.append(to_images(found.crops.read(slice(row, row + 1)), chosen))
            else:
                wanted.append(tuned(before[[row]], found.size))
            target = _target(found, row, wanted[-1], tuned(after[[row]], found.size), masks)
            results.append(stitch_face(warm, after[[row]], target, options))
            progress(row + 1, len(found))
        for array, images in ((crops, [result.crop for result in results]), (matched, wanted)):
            if rows in list(array.pending()):
                array.write(rows, np.concatenate([to_pictures(image) for image in images]))
        _save_warm(warm, _warm_file(out, rows.stop), found.size)
        seams.write(rows, np.array([_facts(result) for result in results], np.float32))
        _warm_file(out, rows.start).unlink(missing_ok=True)
    steps, ring_before, ring_after = np.nanmean(seams.read(), axis=0)
    write_json(
        out.path / QUALITY, {"steps": float(steps), "ring_before": float(ring_before), "ring_after": float(ring_after)}
    )


@torch.no_grad()
def _target(found: Faces, row: int, matched: torch.Tensor, edited: torch.Tensor, masks: MaskOptions) -> SeamTarget:
    seam = seam_masks(found.labels.read(slice(row, row + 1)), masks)
    border, content = (resize_masks(mask, found.size).to(matched.device) for mask in (seam.border, seam.content))
    return SeamTarget(matched, border, edited, content)


def _warm_file(out: Workspace, row: int) -> Path:
    """Where the weights are kept with which the face before `row` was stitched."""
    return out.path / f".warm-{row}.safetensors"


def _warm_copy(tuned: Generator, path: Path, size: int) -> Generator:
    """A copy to go on stitching with: of the run that was cut off, else of the tuned generator."""
    warm = fresh_copy(tuned)
    if path.exists():
        tensors = load_tensors(path)
        with torch.no_grad():
            for name, parameter in warm.synthesis_parameters(size):
                parameter.copy_(torch.from_numpy(tensors[name]))
    return warm


def _save_warm(warm: Generator, path: Path, size: int) -> None:
    save_tensors(path, {name: value.detach().cpu().numpy() for name, value in warm.synthesis_parameters(size)}, {})


def _facts(result: Stitched) -> tuple[float, float, float]:
    return float(result.steps), result.ring_before, result.ring_after
