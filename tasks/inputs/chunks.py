"""Pending chunks of parallel arrays, and the frames of their rows.

A run that was cut off leaves the last chunk written in some arrays and not in others; an artifact that lost a chunk has
it pending in one array only. So a chunk is made when any array lacks it, and written to those that do.
"""

from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from storage.arrays.frame_array import FrameArray
from storage.video.index import Clip
from storage.video.info import VideoInfo, rgb
from tasks.inputs.clip import frames_at


def pending_in_any(*arrays: FrameArray) -> list[slice]:
    """Row ranges that some of `arrays` lacks, ascending. All have the same rows in the same chunks."""
    missing = {(rows.start, rows.stop) for array in arrays for rows in array.pending()}
    return [slice(*rows) for rows in sorted(missing)]


def write_pending(array: FrameArray, rows: slice, values: np.ndarray) -> None:
    """Write `rows` unless they are on the disk already."""
    if rows in array.pending():
        array.write(rows, values)


def face_frames(
    clip: Clip,
    frames: np.ndarray,
    chunks: Sequence[slice],
    pixels_of: Callable[[av.VideoFrame, VideoInfo], np.ndarray] = rgb,
) -> Iterator[np.ndarray]:
    """The RGB frame of every face of `chunks`, in coded orientation; chunks side by side are decoded in one go.

    Args:
        frames: `face`, ascending numbers of frames.
        pixels_of: makes RGB of a decoded frame: uint8, or `levels` for the depth of the source.
    """
    for stretch in _stretches(chunks):
        wanted = frames[stretch]
        decoded = frames_at(clip, wanted)
        number, image = -1, np.empty(0)
        for frame_number in wanted:
            while number != frame_number:
                number, frame = next(decoded)
                image = pixels_of(frame, clip.info)
            yield image


def with_rows_before(chunks: Sequence[slice]) -> list[slice]:
    """Rows of `chunks`, one by one, with the row before each stretch of them."""
    wanted = sorted({row for rows in chunks for row in range(max(0, rows.start - 1), rows.stop)})
    return [slice(row, row + 1) for row in wanted]


def frame_pairs(frames: Iterator[np.ndarray], chunks: Sequence[slice]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frame of the row before and of the row itself, for every row of `chunks`; row 0 is paired with itself.

    Args:
        frames: of `with_rows_before(chunks)`, in order.
    """
    last = -1
    current = np.empty(0, np.uint8)
    for rows in chunks:
        if rows.start and rows.start - 1 != last:
            current = next(frames)
        for row in range(rows.start, rows.stop):
            frame = next(frames)
            yield (current if row else frame), frame
            current, last = frame, row


def _stretches(chunks: Sequence[slice]) -> list[slice]:
    """Merge adjacent chunks."""
    merged: list[slice] = []
    for rows in chunks:
        if merged and merged[-1].stop == rows.start:
            merged[-1] = slice(merged[-1].start, rows.stop)
        else:
            merged.append(rows)
    return merged
