"""Frames with the patches of all persons, before the codec."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import av
import numpy as np

from stitchedit.arrays import Frame
from stitchedit.composite import Patch
from stitchedit.images.depth import DEEP, SHALLOW, to_levels, to_stored
from stitchedit.images.planes import paste_patch
from storage.artifact import Artifact
from storage.video.index import Clip
from storage.video.info import VideoInfo, rgb
from storage.video.levels import coded_levels, tone_of
from storage.video.planes import writable_planes
from storage.video.segments import EditFrame
from tasks.inputs.clip import frames_at
from tasks.inputs.patches import PatchRows


def frame_editor(footage: Clip, frames: Sequence[np.ndarray], patches: Sequence[Artifact]) -> EditFrame:
    """Make a function that pastes the patches of all persons into a decoded frame."""
    pasted = [PatchRows.open(one) for one in patches]
    rows_of = defaultdict(list)
    for person, numbers in enumerate(frames):
        for row, frame in enumerate(numbers):
            rows_of[int(frame)].append((person, row))

    def edit(number: int, frame: av.VideoFrame) -> av.VideoFrame:
        for person, row in rows_of[number]:
            patch, planes = pasted[person][row], writable_planes(frame, footage.info)
            source, wanted = as_coded(planes.frame, footage.info, patch)
            paste_patch(planes, source, wanted, patch.opacity, (patch.left, patch.top))
            frame = planes.frame
        return frame

    return edit


def before_and_after(
    footage: Clip, edit_frame: EditFrame, numbers: Sequence[int] | np.ndarray
) -> Iterator[tuple[int, Frame, Frame]]:
    """Number and RGB of frames without and with the patches, in coded orientation."""
    for number, frame in frames_at(footage, numbers):
        before = rgb(frame, footage.info)  # first: the editor writes into the frame it is given
        yield number, before, rgb(edit_frame(number, frame), footage.info)


def as_coded(frame: av.VideoFrame, info: VideoInfo, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Frame and patch in RGB of the frame's own transfer, rounded alike: what was not edited has no difference."""
    if patch.rgb.dtype == SHALLOW:
        return rgb(frame, info), patch.rgb
    source, wanted, tone = coded_levels(frame, info), to_levels(patch.rgb), tone_of(info)
    height, width = patch.alpha.shape
    region = np.s_[patch.top : patch.top + height, patch.left : patch.left + width]
    if tone:
        source[region] = tone.to_coded(to_levels(to_stored(tone.to_display(source[region]), DEEP)))
        return source, tone.to_coded(wanted)
    source[region] = to_levels(to_stored(source[region], DEEP))
    return source, wanted
