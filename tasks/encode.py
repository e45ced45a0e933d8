"""Stage `encode`: patches to the edited video, a side-by-side preview and a contact sheet."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from stitchedit.composite import Patch, patch_from
from stitchedit.images.depth import DEEP, SHALLOW, to_levels, to_stored
from stitchedit.images.planes import paste_patch
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.files import write_atomic, write_json
from storage.video.index import Clip
from storage.video.info import VideoInfo, rgb
from storage.video.levels import coded_levels, tone_of
from storage.video.planes import writable_planes
from storage.video.preview import Panels, write_side_by_side
from storage.video.segments import EditFrame
from storage.video.writer import EncodeOptions, write_video
from storage.workspace import Workspace
from tasks.inputs.clip import frames_at, open_clip
from tasks.inputs.faces import open_faces
from tasks.reporting.sheet import contact_sheet
from tasks.runtime.progress import Progress, report_event
from tasks.runtime.stage import stage

SHEET_FRAMES = 6


@stage()
def encode_video(
    out: Workspace,
    source: Source,
    clip: Artifact,
    faces: tuple[Artifact, ...],
    patches: tuple[Artifact, ...],
    options: EncodeOptions,
    suffix: str,
) -> None:
    """Encode the edited clip. `faces` and `patches` are of every edited person, in the same order."""
    footage, frames = open_clip(source, clip).clip, [open_faces(one).frames for one in faces]
    total, edit_frame = len(footage.index), frame_editor(footage, frames, patches)
    video, preview, sheet = (out.path / name for name in (f"video{suffix}", "preview.mp4", "sheet.png"))

    for note in _write_video(out, footage, video, options, edit_frame):
        report_event("encode", "noted", text=note)
    if not preview.exists():
        progress = Progress("encode", "frames", "encode: preview")
        write_side_by_side(footage, video, preview, Panels(), lambda number: progress(number + 1, total))
    if not sheet.exists():
        written, png = cv2.imencode(
            ".png", cv2.cvtColor(draw_sheet(footage, np.unique(np.concatenate(frames)), edit_frame), cv2.COLOR_RGB2BGR)
        )
        assert written
        write_atomic(sheet, png.tobytes())


def _write_video(
    out: Workspace, footage: Clip, video: Path, options: EncodeOptions, edit_frame: EditFrame
) -> list[str]:
    """Write the video unless it is complete; return notes on properties of the source that were lost."""
    notes = out.path / "notes.json"
    if not (video.exists() and notes.exists()):
        progress, total = Progress("encode", "frames"), len(footage.index)
        lost = write_video(
            footage,
            video,
            options,
            edit_frame,
            lambda number: progress(number + 1, total),
            scratch=out.path / ".segments",
        )
        write_json(notes, list(lost))
    texts: list[str] = json.loads(notes.read_bytes())
    return texts


def frame_editor(footage: Clip, frames: Sequence[np.ndarray], patches: Sequence[Artifact]) -> EditFrame:
    """Make a function that pastes the patches of all persons into a decoded frame."""
    images = [FrameArray.open(one.path / "patches") for one in patches]
    places = [FrameArray.open(one.path / "places").read() for one in patches]
    rows_of = defaultdict(list)
    for person, numbers in enumerate(frames):
        for row, frame in enumerate(numbers):
            rows_of[int(frame)].append((person, row))

    def edit(number: int, frame: av.VideoFrame) -> av.VideoFrame:
        for person, row in rows_of[number]:
            left, top = map(int, places[person][row])
            patch, planes = patch_from(images[person].read(row), (left, top)), writable_planes(frame, footage.info)
            source, wanted = as_coded(planes.frame, footage.info, patch)
            paste_patch(planes, source, wanted, patch.opacity, (left, top))
            frame = planes.frame
        return frame

    return edit


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


def draw_sheet(footage: Clip, frames: np.ndarray, edit_frame: EditFrame) -> np.ndarray:
    """Frames evenly spread over those that show the face, before and after, upright."""
    info = footage.info
    chosen = np.unique(frames[np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)])
    pairs = []
    for number, frame in frames_at(footage, chosen):
        before = rgb(frame, info)  # first: the editor writes into the frame it is given
        after = rgb(edit_frame(number, frame), info)
        pairs.append((f"frame {number}", info.view.show(before), info.view.show(after)))
    return contact_sheet(pairs)
