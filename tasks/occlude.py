"""Stage `occlude`: crops to masks of things in front of each face."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.images.conversion import to_images
from stitchedit.images.steady import smooth_rows
from stitchedit.nets.occlusion import visible_logits
from stitchedit.occlude import SIDE, hidden
from stitchedit.options.occlude import OcclusionOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.inputs.clip import frame_times
from tasks.inputs.faces import Faces, open_faces
from tasks.runtime import networks
from tasks.runtime.progress import Progress, report_event
from tasks.runtime.stage import stage

CHUNK = 16  # faces; at most so many are lost in a crash
HIDDEN = "hidden"  # the array: `face 64 64`, 0 = the face is seen, 255 = something is in front


@stage(*networks.OCCLUSION)
def find_occlusions(out: Workspace, clip: Artifact, faces: Artifact, options: OcclusionOptions, device: str) -> None:
    found = open_faces(faces)

    def array(name: str) -> FrameArray:
        return FrameArray.create(out.path / name, np.zeros((SIDE, SIDE), np.uint8), len(found), CHUNK, "label")

    probabilities, masks = array("probabilities"), array(HIDDEN)  # both 0 to 255
    _look(probabilities, found, options, device)

    times_s = frame_times(clip)[found.frames]
    steady = smooth_rows(lambda row: probabilities.read(row) / 255, times_s, found.runs, options.smooth_s)
    for rows in masks.pending():
        made = np.stack([hidden(steady(row), options) for row in range(rows.start, rows.stop)])
        masks.write(rows, np.rint(made * 255).astype(np.uint8))
    _report_occlusions(masks, found)


def hidden_rows(occluded: Artifact) -> Callable[[int], np.ndarray]:
    """Row number to mask: 0 = the face is seen, 1 = something is in front, float32 `64 64`."""
    masks = FrameArray.open(occluded.path / HIDDEN)
    return lambda row: masks.read(row).astype(np.float32) / 255


def hidden_images(occluded: Artifact, size: int, device: torch.device) -> Callable[[np.ndarray], Tensor]:
    """Row numbers to masks, `face 1 size size`, 1 where something is in front."""
    masks = FrameArray.open(occluded.path / HIDDEN)

    def read(rows: np.ndarray) -> Tensor:
        levels = torch.from_numpy(np.stack([masks.read(int(row)) for row in rows]))[:, None].to(device)
        return F.interpolate(levels.float() / 255, (size, size), mode="bilinear", align_corners=False)

    return read


@torch.no_grad()
def _look(probabilities: FrameArray, found: Faces, options: OcclusionOptions, device: str) -> None:
    """Fill `probabilities`, with zeros if `occlude.look` is off."""
    progress = Progress("occlude", "faces")
    for rows in probabilities.pending():
        made = np.zeros((rows.stop - rows.start, SIDE, SIDE))
        if options.look:
            crops = to_images(found.crops.read(rows), networks.choose_device(device))
            logits = visible_logits(networks.occlusion_net(device), crops)
            made = logits.sigmoid()[:, 0].cpu().numpy()
        probabilities.write(rows, np.rint(made * 255).astype(np.uint8))
        progress(rows.stop, len(found))


def _report_occlusions(masks: FrameArray, found: Faces) -> None:
    covered = [row for row in range(len(found)) if masks.read(row).any()]
    if covered:
        first, last = int(found.frames[covered[0]]), int(found.frames[covered[-1]])
        report_event(
            "occlude", "noted",
            text=f"Something is in front of {len(covered)} of {len(found)} faces, between frames {first} and {last}; "
            "it stays in front.",
        )  # fmt: skip
