"""Stage `stitch`: edited codes and the tuned generator to crops whose border meets their frame."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stitchedit.images.conversion import images_to_stored, to_images
from stitchedit.options.masks import MaskOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch import Stitched
from stitchedit.stitch_chain import StitchChain, StitchTrack
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.files import write_json
from storage.workspace import Workspace
from tasks.inputs.chunks import pending_in_any, write_pending
from tasks.inputs.faces import Faces, open_faces
from tasks.runtime import networks
from tasks.runtime.checkpoint import WeightFiles
from tasks.runtime.progress import Progress
from tasks.runtime.row_reuse import equal_rows, take_rows
from tasks.runtime.stage import QUALITY, stage
from tasks.tune import tuned_generator


@stage(*networks.GENERATOR, by_row="edited")
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
    found, progress = open_faces(faces), Progress("stitch", "faces")
    track = _open_track(found, codes, weights, edited, device)
    chain = StitchChain(track, options, masks, WeightFiles(out.path), _settling_progress(options.settle_steps))
    arrays = _open_arrays(out.path, found, options.chunk)
    if out.earlier:
        edited_then = FrameArray.open(out.earlier.inputs["edited"] / "w_plus").read()
        take_rows(arrays, out.earlier, chain.unchanged(equal_rows(track.after.cpu().numpy(), edited_then)))
    for rows in pending_in_any(*arrays.values()):
        chain.stitch(rows, partial(_write, arrays, rows), lambda row: progress(row + 1, len(found)))
    steps, before, after = np.nanmean(arrays["seams"].read(), axis=0).tolist()
    write_json(out.path / QUALITY, {"steps": steps, "ring_before": before, "ring_after": after})


def _open_track(found: Faces, codes: Artifact, weights: Artifact, edited: Artifact, device: str) -> StitchTrack:
    chosen = networks.choose_device(device)
    before, after = (
        torch.from_numpy(FrameArray.open(code.path / "w_plus").read()).to(chosen) for code in (codes, edited)
    )
    return StitchTrack(
        tuned_generator(weights, device),
        found.size,
        found.runs,
        before,
        after,
        crop_of=lambda row: to_images(found.crops.read(slice(row, row + 1)), chosen),
        labels_of=lambda row: found.labels.read(slice(row, row + 1)),
    )


def _open_arrays(folder: Path, found: Faces, chunk: int) -> dict[str, FrameArray]:
    """Crops, the images that their border had to match, and per face: steps, border error before and after (levels)."""
    crop = np.zeros((3, found.size, found.size), found.crops.dtype)
    return {
        "crops": FrameArray.create(folder / "crops", crop, len(found), chunk, "image"),
        "matched": FrameArray.create(folder / "matched", crop, len(found), chunk, "image"),
        "seams": FrameArray.create(folder / "seams", np.zeros(3, np.float32), len(found), chunk, "number"),
    }


def _write(arrays: Mapping[str, FrameArray], rows: slice, faces: list[Stitched]) -> None:
    dtype = arrays["crops"].dtype
    write_pending(arrays["crops"], rows, np.concatenate([images_to_stored(face.crop, dtype) for face in faces]))
    write_pending(arrays["matched"], rows, np.concatenate([images_to_stored(face.matched, dtype) for face in faces]))
    seams = [(face.steps, face.ring_before, face.ring_after) for face in faces]
    write_pending(arrays["seams"], rows, np.array(seams, np.float32))


def _settling_progress(steps: int) -> Callable[[range, int], None]:
    """Counter of settling steps, with a label for each run."""
    counters: dict[range, Progress] = {}

    def report(rows: range, step: int) -> None:
        label = f"stitch: all of {rows.start}-{rows.stop - 1}"
        counters.setdefault(rows, Progress("stitch", "steps", label))(step + 1, steps)

    return report
