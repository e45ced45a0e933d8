"""Stage `encode`: patches to the edited video, a side-by-side preview and a contact sheet."""

import json
from pathlib import Path

import cv2
import numpy as np

from storage.artifact import Artifact, Source
from storage.files import write_atomic, write_json
from storage.video.index import Clip
from storage.video.preview import Panels, write_side_by_side
from storage.video.segments import EditFrame
from storage.video.writer import EncodeOptions, write_video
from storage.workspace import Workspace
from tasks.inputs.clip import open_clip
from tasks.inputs.edited_frames import before_and_after, frame_editor
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
        image = sheet_of(footage, np.unique(np.concatenate(frames)), edit_frame)
        written, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
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


def sheet_of(footage: Clip, frames: np.ndarray, edit_frame: EditFrame) -> np.ndarray:
    """Frames evenly spread over those that show the face, before and after, upright."""
    info = footage.info
    chosen = np.unique(frames[np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)])
    return contact_sheet(
        [
            (f"frame {number}", info.view.show(before), info.view.show(after))
            for number, before, after in before_and_after(footage, edit_frame, chosen)
        ]
    )
