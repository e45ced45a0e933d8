"""A decoded clip for later stages: the file, its frame index and its shots. Frames are decoded when needed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.files import write_json
from storage.video.damage import ranges
from storage.video.index import Clip, FrameIndex, read_frames
from storage.video.info import VideoInfo

PER_FRAME = ("pts", "durations", "keyframes", "damaged", "shots")
FLAGS = ("skipped", "partial", "seekable", "truncated", "intact", "skips_damaged")


@dataclass(frozen=True)
class ShotClip:
    """A clip and the number of the shot that each of its frames belongs to."""

    clip: Clip
    shots: np.ndarray  # `frame`

    @property
    def times_s(self) -> np.ndarray:
        """Seconds from the first frame, `frame`."""
        return _seconds(self.clip.index.pts, self.clip.info)


def save_clip(folder: Path, clip: Clip, shots: np.ndarray) -> None:
    """Write all but the frames."""
    index = clip.index
    for name in PER_FRAME:
        save_rows(folder / name, shots if name == "shots" else getattr(index, name))
    facts = {"info": json.loads(clip.info.to_json()), "frames": len(index), "shots": int(shots[-1]) + 1}
    facts |= {name: getattr(index, name) for name in (*FLAGS, "warnings")}
    facts["damaged"] = ranges(index.damaged)  # first and last frame of each
    write_json(folder / "clip.json", facts)


def open_clip(source: Source, clip: Artifact) -> ShotClip:
    """Read a clip written by `save_clip`; frames come from `source`."""
    facts = json.loads((clip.path / "clip.json").read_text())
    info = VideoInfo.from_json(json.dumps(facts["info"]))
    arrays = {name: FrameArray.open(clip.path / name).read() for name in PER_FRAME}
    shots = arrays.pop("shots")
    kept: dict[str, Any] = {**arrays, **{name: facts[name] for name in FLAGS}}
    index = FrameIndex(**kept, warnings=tuple(facts["warnings"]))
    return ShotClip(Clip(source.path, info, index), shots)


def frame_times(clip: Artifact) -> np.ndarray:
    """Seconds from the first frame, `frame`; needs no video file."""
    facts = json.loads((clip.path / "clip.json").read_text())
    return _seconds(FrameArray.open(clip.path / "pts").read(), VideoInfo.from_json(json.dumps(facts["info"])))


def frames_at(clip: Clip, numbers: Sequence[int] | np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of the given ascending numbers, decoded in one go from the first to the last."""
    wanted = set(map(int, numbers))
    if wanted:
        for number, frame in read_frames(clip, min(wanted), max(wanted) + 1):
            if number in wanted:
                yield number, frame


def save_rows(path: Path, values: np.ndarray) -> None:
    """Write a whole small array in one chunk."""
    array = FrameArray.create(path, values[0], rows=len(values), chunk=len(values), kind="number")
    for rows in array.pending():
        array.write(rows, values[rows])


def _seconds(pts: np.ndarray, info: VideoInfo) -> np.ndarray:
    return np.asarray((pts - pts[0]) * float(info.tick))
