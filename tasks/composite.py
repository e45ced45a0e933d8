"""Stitched crops in; what is to be pasted into each frame out, in frame coordinates."""

from functools import lru_cache

import numpy as np

from stitchedit.composite import keep_detail, kept_detail, make_patch, paste
from stitchedit.images.depth import SHALLOW, to_levels
from stitchedit.images.masks import moving_features, paste_alpha, seam_masks, soft_face
from stitchedit.images.mouth_color import MouthColor, median_color, mouth_color, within, within_finely
from stitchedit.images.steady import GeneratedFace, neighbors, smooth_rows, steady_crops
from stitchedit.images.warp import Box, patch_box, patch_size, warp_back
from stitchedit.measure.metrics import ring_error
from stitchedit.occlude import enlarged
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.masks import MaskOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.files import write_json
from storage.video.levels import levels
from storage.workspace import Workspace
from tasks.inputs.chunks import face_frames, pending_in_any, write_pending
from tasks.inputs.clip import open_clip
from tasks.inputs.faces import open_faces
from tasks.occlude import hidden_rows
from tasks.runtime.progress import Progress
from tasks.runtime.row_reuse import equal_rows, take_rows
from tasks.runtime.stage import QUALITY, stage

CHUNK = 8  # faces; at most so many are lost in a crash
SAMPLED = 8  # faces of a run, about, that the color of its mouth is learned from


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
    footage = opened.clip
    crops, matched = (FrameArray.open(stitched.path / name) for name in ("crops", "matched"))
    shape = (footage.info.height, footage.info.width)
    height, width = patch_size(found.quads, shape)

    def array(name: str, like: np.ndarray, kind: str) -> FrameArray:
        return FrameArray.create(out.path / name, like, len(found), CHUNK, kind)  # type: ignore[arg-type]

    depth = found.crops.dtype
    limited = within if depth == SHALLOW else within_finely
    patches = array("patches", np.zeros((4, height, width), depth), "image")  # RGB and alpha
    places = array("places", np.zeros(2, np.int32), "number")  # left and top, px
    rings = array("rings", np.zeros((), np.float32), "number")  # ring error in the frame, 8-bit levels
    times_s = opened.times_s[found.frames]

    def steadied_with(row: int) -> list[int]:
        return neighbors(row, times_s, found.runs, options.steady_s)

    if out.earlier:
        before = [FrameArray.open(out.earlier.inputs["stitched"] / name) for name in ("crops", "matched")]
        own = equal_rows(crops, before[0]) & equal_rows(matched, before[1])
        same = np.array([own[row] and own[steadied_with(row)].all() for row in range(len(found))])
        take_rows({"patches": patches, "places": places, "rings": rings}, out.earlier, same)
    todo = pending_in_any(patches, places, rings)
    pictures = face_frames(footage, found.frames, todo, levels)

    def wanted(row: int) -> np.ndarray:
        seam = seam_masks(found.labels.read(slice(row, row + 1)), masks)
        return paste_alpha(seam.full[0], found.size, options.seam)

    def drawn(row: int) -> GeneratedFace:
        face, before, after = (array.read(row).transpose(1, 2, 0).copy() for array in (found.crops, matched, crops))
        return GeneratedFace(face, before, after, moving_features(found.labels.read(row), found.size))

    alpha_of = smooth_rows(wanted, times_s, found.runs, options.smooth_s)
    drawing_of = steady_crops(drawn, times_s, found.runs, options.steady_s)
    hidden_of = hidden_rows(occluded)

    @lru_cache(maxsize=4)
    def mouth_of(run: int) -> MouthColor | None:
        rows = np.flatnonzero(found.runs == run)
        rows = rows[:: -(-len(rows) // SAMPLED)]
        return median_color(
            mouth_color(to_levels(found.crops.read(row)).transpose(1, 2, 0), found.labels.read(row), hidden_of(row))
            for row in rows.tolist()
        )

    for rows in todo:
        made = []
        for row in range(rows.start, rows.stop):
            picture, quad, labels = next(pictures), found.quads[row], found.labels.read(slice(row, row + 1))
            hidden, drawing = hidden_of(row), drawing_of(row)
            box, drawings = patch_box(quad, (height, width), shape), (drawing.before, drawing.after)
            if options.mouth_colors and (seen := mouth_of(int(found.runs[row]))):
                drawings = limited(seen, drawings, labels[0])
            alpha = alpha_of(row) * (1 - enlarged(hidden, found.size))
            patch = make_patch(drawings[1], alpha, quad, box, depth)
            if options.detail:
                kept = kept_detail(drawings, soft_face(labels[0], found.size), options.detail)
                patch = keep_detail(patch, picture, drawings, kept, quad)
            border = seam_masks(labels, masks).border[0] * (1 - enlarged(hidden, 512))
            made.append((patch, _ring(picture, paste(picture, patch), border, quad, box)))
        write_pending(patches, rows, np.stack([patch.layers for patch, _ in made]))
        write_pending(places, rows, np.array([(patch.left, patch.top) for patch, _ in made], np.int32))
        write_pending(rings, rows, np.array([ring for _, ring in made], np.float32))
        progress(rows.stop, len(found))
    write_json(out.path / QUALITY, {"ring_levels": float(np.nanmean(rings.read()))})


def _ring(source: np.ndarray, result: np.ndarray, border: np.ndarray, quad: np.ndarray, box: Box) -> float:
    """Ring error of one face, with `border` (at 512 px) taken into the frame."""
    weight = warp_back(border.astype(np.float32), quad, box)
    height, width = np.minimum(weight.shape, np.array(source.shape[:2]) - (box.top, box.left))
    region = np.s_[box.top : box.top + height, box.left : box.left + width]
    return ring_error(result[region], source[region], weight[:height, :width])
