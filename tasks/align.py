"""Stage `align`: detections to the squares, crops and face parsing of one person."""

import numpy as np
from torch.nn import functional as F

from stitchedit.align import align_run, usable_sizes, working_size
from stitchedit.detect.persons import choose_person
from stitchedit.images.conversion import to_images
from stitchedit.images.depth import DEEP, SHALLOW, to_stored
from stitchedit.images.warp import crop_face
from stitchedit.nets.face_parsing import SIZE as PARSING
from stitchedit.nets.face_parsing import parse_faces
from stitchedit.options.align import AlignOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.files import write_json
from storage.video.levels import is_deep, levels
from storage.workspace import Workspace
from tasks.inputs.chunks import face_frames, pending_in_any
from tasks.inputs.clip import ShotClip, open_clip, save_rows
from tasks.inputs.persons import PERSON, person_rows, read_persons
from tasks.inputs.photo import describe_photo
from tasks.runtime import networks
from tasks.runtime.progress import Progress, report_event
from tasks.runtime.stage import stage

CHUNK = 16  # faces; at most so many are lost in a crash


@stage(*networks.LANDMARKS, *networks.PARSING, *networks.GENERATOR)
def align_faces(
    out: Workspace,
    source: Source,
    clip: Artifact,
    detected: Artifact,
    options: AlignOptions,
    device: str,
    photo: Source | None = None,
) -> None:
    """Align one person. `photo` shows that person if `options.face` is `photo`; it is keyed by its bytes."""
    sizes = usable_sizes(networks.generator(device).sizes, options)
    descriptor = describe_photo(photo.path) if photo else None
    number = choose_person(read_persons(detected), options.face, descriptor)
    write_json(out.path / PERSON, {"person": number})
    footage = open_clip(source, clip)
    found = person_rows(detected, number)
    for name in ("frames", "runs", "interpolated", "landmarks"):
        save_rows(out.path / name, found[name])
    log_faces(found, number, len(footage.shots))

    frames, runs, points = (found[name] for name in ("frames", "runs", "landmarks"))
    times_s = footage.times_s[frames]
    save_rows(out.path / "times_s", times_s)
    view, squares = footage.clip.info.view, np.empty((len(frames), 4, 2))  # squares in the view only
    for run in np.unique(runs):
        rows = runs == run
        squares[rows] = align_run(view.from_coded(points[rows]), times_s[rows], options)
    quads = view.to_coded(squares)
    save_rows(out.path / "quads", quads)

    write_crops(out, footage, frames, quads, working_size(squares, sizes, options), device)


def write_crops(
    out: Workspace, footage: ShotClip, frames: np.ndarray, quads: np.ndarray, size: int, device: str
) -> None:
    """Crops at `size` and their parsing, chunk by chunk."""
    chosen, progress = networks.choose_device(device), Progress("align", "faces")
    crop = np.zeros((3, size, size), DEEP if is_deep(footage.clip.info) else SHALLOW)
    crops = FrameArray.create(out.path / "crops", crop, len(frames), CHUNK, "image")
    labels = FrameArray.create(out.path / "labels", np.zeros((512, 512), np.uint8), len(frames), CHUNK, "label")
    cut = list(crops.pending())
    pixels = face_frames(footage.clip, frames, cut, levels)
    for rows in pending_in_any(crops, labels):
        if rows in cut:
            made = [crop_face(next(pixels), quads[row], size).image for row in range(rows.start, rows.stop)]
            crops.write(rows, np.ascontiguousarray(to_stored(np.stack(made), crop.dtype).transpose(0, 3, 1, 2)))
        if rows in labels.pending():
            images = F.interpolate(
                to_images(crops.read(rows), chosen), (PARSING, PARSING), mode="area" if size > PARSING else "bilinear"
            )
            labels.write(rows, parse_faces(networks.face_parser(device), images))
        progress(rows.stop, len(frames))


def log_faces(found: dict[str, np.ndarray], person: int, total: int) -> None:
    """Report frames without the face, and interpolated faces. `total` is the number of the clip's frames."""
    untouched, interpolated = total - len(np.unique(found["frames"])), int(found["interpolated"].sum())
    if untouched:
        report_event(
            "align", "noted",
            text=f"{untouched} of {total} frames do not show the face of person {person}; they pass through.",
        )  # fmt: skip
    if interpolated:
        report_event(
            "align", "noted", text=f"{interpolated} faces of person {person} were not seen and are interpolated."
        )
