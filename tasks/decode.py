"""Stage `decode`: a file to its description, frame times and shots. No decoded frame is stored."""

import numpy as np

from stitchedit.options.shots import ShotOptions
from stitchedit.shots import ShotFinder
from storage.artifact import Source
from storage.video.decode_options import DecodeOptions, check_limits
from storage.video.index import Clip, index_frames
from storage.video.info import probe
from storage.workspace import Workspace
from tasks.inputs.clip import save_clip
from tasks.runtime.progress import Progress, report_event
from tasks.runtime.stage import stage


@stage()
def decode_video(out: Workspace, source: Source, options: DecodeOptions, shots: ShotOptions) -> None:
    info = probe(source.path)
    check_limits(source.path, info, options)
    finder, progress = ShotFinder(shots), Progress("decode", "frames")
    is_full = options.start is None and options.end is None
    expected = info.declared_frames or 0 if is_full else 0

    def on_frame(number: int, thumbnail: np.ndarray) -> None:
        finder.add(number, thumbnail)
        progress(number + 1, max(expected, number + 1))

    index = index_frames(source.path, info, options, on_frame)
    for warning in index.warnings:
        report_event("decode", "noted", text=warning)
    out.facts["frames"] = len(index)
    save_clip(out.path, Clip(source.path, info, index), separate_shots(finder.shots(), index.unedited))


def separate_shots(shots: np.ndarray, unedited: np.ndarray) -> np.ndarray:
    """Shot numbers with every run of `unedited` frames a shot of its own, so that no face is followed through it."""
    begins = np.zeros(len(shots), bool)
    begins[1:] = (np.diff(shots) != 0) | (np.diff(unedited.astype(np.int8)) != 0)
    return np.cumsum(begins, dtype=np.int32)
