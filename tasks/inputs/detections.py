"""Faces of every frame of a clip, written in chunks during detection."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from stitchedit.detect.finder import LOOK_SIDE, Detection, FaceFinder, recent_faces
from stitchedit.options.detect import DetectOptions
from storage.video.index import read_frames
from storage.video.info import rgb
from storage.weights.state_dict import load_tensors, save_tensors
from tasks.inputs.clip import ShotClip
from tasks.runtime import networks

CHUNK = 64  # frames; at most so many are searched again after a crash
REMEMBERED = 8  # frames before this one, of its shot, in which a face is looked for again

Recent = deque[tuple[int, list[Detection]]]  # shot and faces of the last frames


def find_faces(folder: Path, footage: ShotClip, options: DetectOptions) -> Iterator[list[Detection]]:
    """Faces of every frame, in order; resumes from the results in `folder`."""
    folder.mkdir(exist_ok=True)
    recent: Recent = deque(maxlen=REMEMBERED)
    first = 0
    for path in takewhile(Path.exists, (_file(folder, number) for number in count())):
        for detections in load_detections(path):
            recent.append((footage.shots[first], detections))
            yield detections
            first += 1

    fresh: list[list[Detection]] = []
    for number, detections in enumerate(_search(footage, options, first, recent), first):
        fresh.append(detections)
        if len(fresh) == CHUNK or number + 1 == len(footage.shots):
            save_detections(_file(folder, number // CHUNK), fresh)
            fresh = []
        yield detections


def save_detections(path: Path, frames: Sequence[Sequence[Detection]]) -> None:
    """Write the faces of some frames; the file is there as a whole or not at all.

    A descriptor that faces share is written once, so that they share it again when it comes back.
    """
    faces = [face for frame in frames for face in frame]
    descriptors = {id(face.descriptor): face.descriptor for face in faces}
    places = {identity: place for place, identity in enumerate(descriptors)}
    tensors = {
        "faces": np.array([len(frame) for frame in frames]),  # per frame
        "box": np.array([face.box for face in faces]).reshape(-1, 4),
        "confidence": np.array([face.confidence for face in faces]),
        "landmarks": np.array([face.landmarks for face in faces]).reshape(-1, 68, 2),
        "descriptor": np.array(list(descriptors.values())).reshape(len(descriptors), -1 if descriptors else 0),
        "described": np.array([places[id(face.descriptor)] for face in faces], np.int64),  # which descriptor
        "descriptor_age": np.array([face.descriptor_age for face in faces], np.int64),
        "look": np.array([face.look for face in faces], np.uint8).reshape(-1, LOOK_SIDE, LOOK_SIDE, 3),
    }
    save_tensors(path, tensors, {})


def load_detections(path: Path) -> Iterator[list[Detection]]:
    """Read detections, frame by frame."""
    stored = load_tensors(path)
    descriptors = list(stored["descriptor"])
    last = 0
    for faces in stored["faces"]:
        first, last = last, last + int(faces)
        yield [
            Detection(
                stored["box"][face],
                float(stored["confidence"][face]),
                stored["landmarks"][face],
                descriptors[stored["described"][face]],
                int(stored["descriptor_age"][face]),
                stored["look"][face],
            )
            for face in range(first, last)
        ]


def _search(footage: ShotClip, options: DetectOptions, first: int, recent: Recent) -> Iterator[list[Detection]]:
    """Detect faces from frame `first` on; `recent` are those of the frames before, and is updated."""
    if first == len(footage.shots):
        return
    finder, info = FaceFinder(networks.landmark_networks(), options), footage.clip.info
    unedited = footage.clip.index.unedited
    for number, frame in read_frames(footage.clip, first):
        shot = footage.shots[number]
        if unedited[number]:
            recent.append((shot, []))
            yield []
            continue
        expected = recent_faces([faces for shot_before, faces in recent if shot_before == shot])
        detections = finder.find(np.ascontiguousarray(info.view.show(rgb(frame, info))), expected)
        recent.append((shot, detections))
        yield detections


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.safetensors"
