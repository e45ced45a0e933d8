"""Faces of one person in a clip, for later stages: a row per face, ordered by frame."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stitchedit.arrays import Flags, Quads
from stitchedit.images.conversion import to_images
from stitchedit.invert import Footage
from stitchedit.tune import MaskReader
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact

PAUSE_S = 0.25  # a face that is shown so long says little about the next: codes are not smoothed across


@dataclass(frozen=True)
class Faces:
    """Arrays of the stage `align`. `crops` and `labels` are read row by row: they do not fit in memory."""

    frames: np.ndarray  # `face`, number of the frame
    times_s: np.ndarray  # `face`, from the first frame of the clip
    runs: np.ndarray  # `face`, number of the unbroken run of frames
    quads: Quads
    interpolated: Flags
    crops: FrameArray  # `face rgb size size`; uint8, or uint16 of a deep source: see stitchedit/images/depth.py
    labels: FrameArray  # `face 512 512`

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> int:
        """Side of a crop, px."""
        return self.crops.shape[-1]

    def footage(self, device: torch.device, covered: MaskReader | None = None) -> Footage:
        """Crops as tensors, in runs without a pause, with masks of occlusions."""

        def read(rows: np.ndarray) -> Tensor:
            return to_images(np.stack([self.crops.read(int(row)) for row in rows]), device)

        breaks = (np.diff(self.runs) != 0) | (np.abs(np.diff(self.times_s)) > PAUSE_S)
        return Footage(read, np.cumsum(np.r_[0, breaks]), self.size, covered)


def open_faces(faces: Artifact) -> Faces:
    """Open the arrays of the stage `align`."""
    names = ("frames", "times_s", "runs", "quads", "interpolated")
    rows = {name: FrameArray.open(faces.path / name).read() for name in names}
    return Faces(**rows, crops=FrameArray.open(faces.path / "crops"), labels=FrameArray.open(faces.path / "labels"))
