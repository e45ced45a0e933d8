"""Stage `edit`: codes to edited codes."""

import torch

from stitchedit.edit import Moments, edit_codes
from stitchedit.options.edit import EditOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.workspace import Workspace
from tasks.inputs.clip import frame_times, save_rows
from tasks.runtime import networks
from tasks.runtime.stage import stage


@stage(*networks.DIRECTIONS)
def edit_faces(
    out: Workspace, clip: Artifact, faces: Artifact, codes: Artifact, options: EditOptions, own: Source | None = None
) -> None:
    """Edit codes. `own` is the user's file of directions, keyed by its bytes; `options.directions` has to be None."""
    frames = FrameArray.open(faces.path / "frames").read()
    moments = Moments(frames, frame_times(clip), FrameArray.open(clip.path / "shots").read())
    w_plus = torch.from_numpy(FrameArray.open(codes.path / "w_plus").read())
    directions = networks.directions() | (networks.own_directions(own.path) if own else {})
    save_rows(out.path / "w_plus", edit_codes(w_plus, directions, options, moments).numpy())
