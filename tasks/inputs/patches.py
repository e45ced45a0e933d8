"""The patches that the stage `composite` wrote, row by row."""

from dataclasses import dataclass

import numpy as np

from stitchedit.composite import Patch, patch_from
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact


@dataclass(frozen=True)
class PatchRows:
    """Patches of one person; read when needed."""

    layers: FrameArray  # `face 4 height width`, RGB and alpha
    places: np.ndarray  # `face 2`, left and top in px

    @classmethod
    def open(cls, patches: Artifact) -> "PatchRows":
        """Open the arrays of a composite."""
        return cls(FrameArray.open(patches.path / "patches"), FrameArray.open(patches.path / "places").read())

    def __getitem__(self, row: int) -> Patch:
        left, top = map(int, self.places[row])
        return patch_from(self.layers.read(row), (left, top))
