"""Stage `composite`: stitched crops to the patch of every face, in frame coordinates."""

from collections.abc import Sequence

import numpy as np

from stitchedit.composite import CompositedFace, Compositor, StitchedTrack
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.masks import MaskOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.files import write_json
from storage.video.levels import levels
from storage.workspace import EarlierResult, Workspace
from tasks.inputs.chunks import face_frames, pending_in_any, write_pending
from tasks.inputs.clip import open_clip
from tasks.inputs.faces import Faces, open_faces
from tasks.occlude import hidden_rows
from tasks.runtime.progress import Progress
from tasks.runtime.row_reuse import equal_rows, take_rows
from tasks.runtime.stage import QUALITY, stage

CHUNK = 8  # faces; at most so many are lost in a crash
CROPS = ("crops", "matched")  # arrays of the stage `stitch`


@stage(by_row="stitched")
def composite_faces(
    out: Workspace,
    source: Source,
    clip: Artifact,
    faces: Artifact,
    occluded: Artifact,
    stitched: Artifact,
    options: CompositeOptions,
    masks: MaskOptions,
) -> None:
    found, opened, progress = open_faces(faces), open_clip(source, clip), Progress("composite", "faces")
    crops = [FrameArray.open(stitched.path / name) for name in CROPS]
    track = _stitched_track(found, opened.times_s[found.frames], crops, occluded)
    info = opened.clip.info
    compositor = Compositor(track, (info.height, info.width), options, masks)
    arrays = _open_arrays(out, found, compositor.patch_size)
    if out.earlier:
        take_rows(arrays, out.earlier, _unchanged(compositor, crops, out.earlier))
    todo = pending_in_any(*arrays.values())
    frames = face_frames(opened.clip, found.frames, todo, levels)
    for rows in todo:
        _write(arrays, rows, [compositor.composite(row, next(frames)) for row in range(rows.start, rows.stop)])
        progress(rows.stop, len(found))
    write_json(out.path / QUALITY, {"ring_levels": float(np.nanmean(arrays["rings"].read()))})


def _stitched_track(
    found: Faces, times_s: np.ndarray, stitched: Sequence[FrameArray], occluded: Artifact
) -> StitchedTrack:
    crops, matched = stitched
    return StitchedTrack(
        found.quads,
        times_s,
        found.runs,
        found.size,
        found.crops.dtype,
        source_of=found.crops.read,
        matched_of=matched.read,
        stitched_of=crops.read,
        labels_of=lambda row: found.labels.read(slice(row, row + 1)),
        hidden_of=hidden_rows(occluded),
    )


def _open_arrays(out: Workspace, found: Faces, patch_size: tuple[int, int]) -> dict[str, FrameArray]:
    """Patches as RGB and alpha, their left and top in px, and ring errors in the frame in 8-bit levels."""
    layers = np.zeros((4, *patch_size), found.crops.dtype)
    return {
        "patches": FrameArray.create(out.path / "patches", layers, len(found), CHUNK, "image"),
        "places": FrameArray.create(out.path / "places", np.zeros(2, np.int32), len(found), CHUNK, "number"),
        "rings": FrameArray.create(out.path / "rings", np.zeros((), np.float32), len(found), CHUNK, "number"),
    }


def _unchanged(compositor: Compositor, crops: Sequence[FrameArray], earlier: EarlierResult) -> np.ndarray:
    """Rows whose crops, and those of their neighbors, equal the earlier ones, `face`."""
    before = [FrameArray.open(earlier.inputs["stitched"] / name) for name in CROPS]
    own = equal_rows(crops[0], before[0]) & equal_rows(crops[1], before[1])
    return np.array([own[row] and own[compositor.neighbors(row)].all() for row in range(len(own))])


def _write(arrays: dict[str, FrameArray], rows: slice, faces: Sequence[CompositedFace]) -> None:
    write_pending(arrays["patches"], rows, np.stack([face.patch.layers for face in faces]))
    write_pending(arrays["places"], rows, np.array([(face.patch.left, face.patch.top) for face in faces], np.int32))
    write_pending(arrays["rings"], rows, np.array([face.ring for face in faces], np.float32))
