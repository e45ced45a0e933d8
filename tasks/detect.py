"""Stage `detect`: a clip to all its faces, linked into tracks and persons."""

from pathlib import Path

import numpy as np

from stitchedit.detect.tracks import Tracker, Tracks
from stitchedit.errors import NoFaceError
from stitchedit.options.detect import DetectOptions
from storage.artifact import Artifact, Source
from storage.files import write_json
from storage.workspace import Workspace
from tasks.inputs.clip import ShotClip, open_clip, save_rows
from tasks.inputs.detections import find_faces
from tasks.runtime import networks
from tasks.runtime.progress import Progress, report_event
from tasks.runtime.stage import stage

TRACKS = "tracks.json"
PER_FACE = ("frame", "track", "person", "interpolated", "landmarks", "box")


@stage(*networks.LANDMARKS)
def detect_faces(out: Workspace, source: Source, clip: Artifact, options: DetectOptions) -> None:
    footage = open_clip(source, clip)
    found = find_tracks(out.path / ".detections", footage, options)
    points = footage.clip.info.view.to_coded(found.landmarks)
    for name in PER_FACE:
        save_rows(out.path / name, points if name == "landmarks" else getattr(found, name))
    save_rows(out.path / "descriptors", found.descriptors)
    save_tracks(out.path / TRACKS, found)
    log_tracks(found)


def find_tracks(folder: Path, footage: ShotClip, options: DetectOptions) -> Tracks:
    """Every face of the clip, linked over time."""
    tracker, progress = Tracker(options), Progress("detect", "frames")
    for number, detections in enumerate(find_faces(folder, footage, options)):
        tracker.add(number, float(footage.times_s[number]), int(footage.shots[number]), detections)
        progress(number + 1, len(footage.shots))
    try:
        return tracker.finish()
    except NoFaceError as error:
        index = footage.clip.index
        if index.intact:
            raise
        raise NoFaceError(f"The clip is damaged. {' '.join(index.warnings)} {error}") from error


def save_tracks(path: Path, found: Tracks) -> None:
    """Write found and dropped tracks."""
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
    write_json(path, {"frames": found.frames, "tracks": tracks, "dropped": [vars(track) for track in found.dropped]})


def log_tracks(found: Tracks) -> None:
    """Report several persons and dropped tracks."""
    if len(found.persons) > 1:
        report_event("detect", "noted", text=f"{len(found.persons)} persons, numbered by size; `--face` chooses.")
    if found.dropped:
        report_event("detect", "noted", text=f"{len(found.dropped)} tracks were taken for false detections ({TRACKS}).")
