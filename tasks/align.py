"""A clip in; the faces of one person out: where they are, their crops and what every pixel of these shows."""

from collections import deque

import numpy as np
from torch.nn import functional as F

from stitchedit.align import AlignOptions, align_run, usable_sizes, working_size
from stitchedit.landmarks import Detection, FaceFinder, LandmarkOptions, recent_faces
from stitchedit.nets.face_parsing import SIZE as PARSING
from stitchedit.nets.face_parsing import parse_faces
from stitchedit.tracks import Tracker, TrackOptions, Tracks, select_person
from stitchedit.warp import crop_face
from storage.artifact import Artifact, Source, write_json
from storage.frame_array import FrameArray
from storage.store import Workspace
from storage.video import rgb, upright, upright_to_coded
from storage.video_index import read_frames
from tasks import networks
from tasks.clip import ShotClip, frames_at, open_clip, save_rows
from tasks.faces import to_images
from tasks.progress import Progress, tell
from tasks.stage import stage

CHUNK = 16  # faces; at most so many are lost in a crash
REMEMBERED = 8  # frames before this one in which a face is looked for again


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
    found = find_tracks(footage, landmarks, tracks)
    person = select_person(found, options.person)
    report(out, found, person)

    order = np.lexsort((person.track, person.frame))
    info = footage.clip.info
    points = upright_to_coded(person.landmarks, info.rotation, info.width, info.height)
    quads = np.empty((len(order), 4, 2))
    for track in np.unique(person.track):
        rows = person.track == track
        quads[rows] = align_run(points[rows], footage.times_s[person.frame[rows]], options)
    quads, frames = quads[order], person.frame[order]
    rows = {"frames": frames, "runs": person.track[order], "quads": quads, "interpolated": person.interpolated[order]}
    for name, values in (rows | {"landmarks": points[order]}).items():
        save_rows(out.path / name, values)

    write_crops(out, footage, frames, quads, working_size(quads, sizes, options), device)


def find_tracks(footage: ShotClip, landmarks: LandmarkOptions, options: TrackOptions) -> Tracks:
    """Every face of the clip, linked over time."""
    finder, tracker = FaceFinder(networks.landmark_networks(), landmarks), Tracker(options)
    progress, info = Progress("align", "frames", "align: faces"), footage.clip.info
    recent: deque[list[Detection]] = deque(maxlen=REMEMBERED)
    for number, frame in read_frames(footage.clip):
        if number and footage.shots[number] != footage.shots[number - 1]:
            recent.clear()
        detections = finder.find(np.ascontiguousarray(upright(rgb(frame, info), info.rotation)), recent_faces(recent))
        recent.append(detections)
        tracker.add(number, float(footage.times_s[number]), int(footage.shots[number]), detections)
        progress(number + 1, len(footage.shots))
    return tracker.finish()


def write_crops(
    out: Workspace, footage: ShotClip, frames: np.ndarray, quads: np.ndarray, size: int, device: str
) -> None:
    """Crops at `size` and their parsing, chunk by chunk."""
    parser, progress = networks.face_parser(device), Progress("align", "faces", "align: crops")
    crops = FrameArray.create(out.path / "crops", np.zeros((3, size, size), np.uint8), len(frames), CHUNK, "image")
    labels = FrameArray.create(out.path / "labels", np.zeros((512, 512), np.uint8), len(frames), CHUNK, "label")
    todo = list(labels.pending())  # written after the crops of its chunk
    if not todo:
        return
    decoded = frames_at(footage.clip, frames[todo[0].start :])
    number, picture = -1, np.empty(0)
    for rows in todo:
        cut = np.empty((rows.stop - rows.start, 3, size, size), np.uint8)
        for row in range(rows.start, rows.stop):
            while number != frames[row]:
                number, frame = next(decoded)
                picture = rgb(frame, footage.clip.info)
            cut[row - rows.start] = crop_face(picture, quads[row], size).image.transpose(2, 0, 1)
        if rows in list(crops.pending()):
            crops.write(rows, cut)
        images = to_images(cut, networks.choose_device(device))
        labels.write(
            rows,
            parse_faces(
                parser, F.interpolate(images, (PARSING, PARSING), mode="area" if size > PARSING else "bilinear")
            ),
        )
        progress(rows.stop, len(frames))


def report(out: Workspace, found: Tracks, person: Tracks) -> None:
    """Keep what was found, and tell what an operator should know of it."""
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
    write_json(out.path / "tracks.json", {"frames": found.frames, "tracks": tracks, "dropped": dropped})
    if len(found.persons) > 1:
        tell("align", "noted", text=f"{len(found.persons)} persons; person {int(person.person[0])} is edited.")
    untouched = found.frames - len(np.unique(person.frame))
    if untouched:
        tell("align", "noted", text=f"{untouched} of {found.frames} frames do not show this face; they pass through.")
    if person.interpolated.any():
        tell("align", "noted", text=f"{int(person.interpolated.sum())} faces were not seen and are interpolated.")
