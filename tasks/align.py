"""A clip in; the faces of one person out: where they are, their crops and what every pixel of these shows."""

import json
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from stitchedit.align import AlignOptions, align_run, usable_sizes, working_size
from stitchedit.landmarks import LandmarkOptions
from stitchedit.nets.face_parsing import SIZE as PARSING
from stitchedit.nets.face_parsing import parse_faces
from stitchedit.tracks import Tracker, TrackOptions, Tracks, select_person
from stitchedit.warp import crop_face
from storage.artifact import Artifact, Source, write_json
from storage.errors import IncompleteError
from storage.frame_array import FrameArray
from storage.video import upright_to_coded
from storage.workspace import Workspace
from tasks import networks
from tasks.chunks import face_pictures, pending_in_any
from tasks.clip import ShotClip, open_clip, save_rows
from tasks.detections import find_faces
from tasks.faces import to_images
from tasks.progress import Progress, tell
from tasks.stage import stage

CHUNK = 16  # faces; at most so many are lost in a crash
TRACKS = "tracks.json"
FOUND = ("frames", "runs", "interpolated", "landmarks")  # what the search alone gives, beside the tracks


@stage(*networks.FACES, *networks.GENERATOR)
def align_faces(
    out: Workspace,
    source: Source,
    clip: Artifact,
    landmarks: LandmarkOptions,
    tracks: TrackOptions,
    options: AlignOptions,
    device: str,
) -> None:
    sizes = usable_sizes(networks.generator(device).sizes, options)  # told before the long search, if there is none
    footage = open_clip(source, clip)
    if not ((out.path / TRACKS).exists() and all(_is_complete(out.path / name) for name in FOUND)):
        found = find_tracks(out, footage, landmarks, tracks)
        person = select_person(found, options.person)  # refused before anything is kept, if there is none
        save_tracks(out, found)
        save_rows_of(out, footage, person)
    tell_operators(out, options.person)

    frames, runs, points = (FrameArray.open(out.path / name).read() for name in ("frames", "runs", "landmarks"))
    quads = np.empty((len(frames), 4, 2))
    for run in np.unique(runs):
        rows = runs == run
        quads[rows] = align_run(points[rows], footage.times_s[frames[rows]], options)
    save_rows(out.path / "quads", quads)

    write_crops(out, footage, frames, quads, working_size(quads, sizes, options), device)


def _is_complete(path: Path) -> bool:
    try:
        array = FrameArray.open(path)
    except IncompleteError:
        return False
    return array.finished == array.chunks


def find_tracks(out: Workspace, footage: ShotClip, landmarks: LandmarkOptions, options: TrackOptions) -> Tracks:
    """Every face of the clip, linked over time."""
    tracker, progress = Tracker(options), Progress("align", "frames", "align: faces")
    for number, detections in enumerate(find_faces(out.path / ".detections", footage, landmarks)):
        tracker.add(number, float(footage.times_s[number]), int(footage.shots[number]), detections)
        progress(number + 1, len(footage.shots))
    return tracker.finish()


def save_rows_of(out: Workspace, footage: ShotClip, person: Tracks) -> None:
    """Keep where one person is, in which frames."""
    order, info = np.lexsort((person.track, person.frame)), footage.clip.info
    points = upright_to_coded(person.landmarks, info.rotation, info.width, info.height)
    rows = {"frames": person.frame, "runs": person.track, "interpolated": person.interpolated, "landmarks": points}
    for name, values in rows.items():
        save_rows(out.path / name, values[order])


def write_crops(
    out: Workspace, footage: ShotClip, frames: np.ndarray, quads: np.ndarray, size: int, device: str
) -> None:
    """Crops at `size` and their parsing, chunk by chunk."""
    chosen, progress = networks.choose_device(device), Progress("align", "faces", "align: crops")
    crops = FrameArray.create(out.path / "crops", np.zeros((3, size, size), np.uint8), len(frames), CHUNK, "image")
    labels = FrameArray.create(out.path / "labels", np.zeros((512, 512), np.uint8), len(frames), CHUNK, "label")
    cut = list(crops.pending())
    pictures = face_pictures(footage.clip, frames, cut)
    for rows in pending_in_any(crops, labels):
        if rows in cut:
            made = [crop_face(next(pictures), quads[row], size).image for row in range(rows.start, rows.stop)]
            crops.write(rows, np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2)))
        if rows in labels.pending():
            images = F.interpolate(
                to_images(crops.read(rows), chosen), (PARSING, PARSING), mode="area" if size > PARSING else "bilinear"
            )
            labels.write(rows, parse_faces(networks.face_parser(device), images))
        progress(rows.stop, len(frames))


def save_tracks(out: Workspace, found: Tracks) -> None:
    """Keep who was found, and what was dropped."""
    tracks = [
        {
            "track": int(track),
            "person": int(found.person[found.track == track][0]),
            "frames": [int(found.frame[found.track == track].min()), int(found.frame[found.track == track].max())],
            "faces": int((found.track == track).sum()),
            "interpolated": int(found.interpolated[found.track == track].sum()),
        }
        for track in np.unique(found.track)
    ]
    dropped = [vars(track) for track in found.dropped]
    write_json(out.path / TRACKS, {"frames": found.frames, "tracks": tracks, "dropped": dropped})


def tell_operators(out: Workspace, person: int) -> None:
    """What they should know of `person`, and of the others."""
    found = json.loads((out.path / TRACKS).read_text())
    frames, interpolated = (FrameArray.open(out.path / name).read() for name in ("frames", "interpolated"))
    persons = {track["person"] for track in found["tracks"]}
    if len(persons) > 1:
        tell("align", "noted", text=f"{len(persons)} persons; person {person} is edited.")
    untouched = found["frames"] - len(np.unique(frames))
    if untouched:
        tell(
            "align", "noted", text=f"{untouched} of {found['frames']} frames do not show this face; they pass through."
        )
    if interpolated.any():
        tell("align", "noted", text=f"{int(interpolated.sum())} faces were not seen and are interpolated.")
