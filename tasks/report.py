"""Stage `report`: an edit and its measures to one page."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from stitchedit.measure.verdict import VERDICTS
from storage.artifact import Artifact, Source
from storage.files import encodable, write_atomic
from storage.video.index import Clip
from storage.workspace import Workspace
from tasks.inputs.clip import open_clip
from tasks.inputs.edited_frames import before_and_after, frame_editor
from tasks.inputs.faces import open_faces
from tasks.reporting.lineage import lineage_of, settings_of
from tasks.reporting.measures import PLOTS
from tasks.reporting.report_page import (
    SUMMARY,
    Pair,
    PersonReport,
    Report,
    data_uri,
    magnified_difference,
    markdown_summary,
    report_page,
)
from tasks.reporting.verdict import MEASURES
from tasks.reporting.views import around, slides
from tasks.runtime.stage import stage

PAGE = "report.html"
SLIDER_FRAMES = 6
WORST = 4  # frames of each person on the sheet of the worst
EMBEDDED_BYTES = 24_000_000  # of the preview; a larger one stays beside the page


@stage()
def write_report(
    out: Workspace,
    source: Source,
    clip: Artifact,
    faces: tuple[Artifact, ...],
    patches: tuple[Artifact, ...],
    measures: tuple[Artifact, ...],
    video: Artifact,
    titles: str,
) -> None:
    """Write the report. `titles` has a line for the edit, then one for each person."""
    edit, *persons = titles.splitlines()
    measured = [json.loads((one.path / MEASURES).read_text()) for one in measures]
    frames, sheets = _frame_pairs(open_clip(source, clip).clip, faces, patches, [_worst(one) for one in measured])
    report = Report(
        clip=encodable(source.path.name),
        edit=edit,
        verdict=max((one["verdict"] for one in measured), key=VERDICTS.index),
        frames=frames,
        persons=[
            PersonReport(title, words, (artifact.path / PLOTS).read_text(), sheet)
            for title, words, artifact, sheet in zip(persons, measured, measures, sheets, strict=True)
        ],
        preview=_preview(video),
        stages=list(lineage_of([video, *measures])),
        settings=settings_of([video, *measures]),
        warnings=_warnings(clip, video),
    )
    write_atomic(out.path / PAGE, report_page(report).encode())
    write_atomic(out.path / SUMMARY, markdown_summary(report).encode())


def _frame_pairs(
    footage: Clip, faces: Sequence[Artifact], patches: Sequence[Artifact], worst: list[list[dict[str, Any]]]
) -> tuple[list[Pair], list[list[Pair]]]:
    """Pairs for the slider, and for the sheet of each person, decoded in one pass."""
    found = [open_faces(one) for one in faces]
    chosen = np.unique(np.concatenate([one.frames for one in found]))
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, SLIDER_FRAMES).round().astype(int))]
    numbers = sorted({int(number) for number in chosen} | {face["frame"] for one in worst for face in one})
    editor = frame_editor(footage, [one.frames for one in found], patches)
    frames: list[Pair] = []
    sheets: list[list[Pair]] = [[] for _ in found]
    for number, before, after in before_and_after(footage, editor, numbers):
        if number in chosen:
            frames += slides(footage, found, number, (before, after))
        for person, sheet, named in zip(found, sheets, worst, strict=True):
            for face in named:
                if face["frame"] == number:
                    parts = around(footage, person.quads[face["row"]], (before, after))
                    old, new, change = map(data_uri, (*parts, magnified_difference(*parts)))
                    sheet.append(Pair(f"frame {number}", old, new, change, face["why"]))
    return frames, sheets


def _worst(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """A few of the worst faces, of the first tracks first; every frame once."""
    named = [face for track in measured["tracks"] for face in track["worst"]]
    return list({face["frame"]: face for face in reversed(named[:WORST])}.values())


def _preview(video: Artifact) -> str:
    path = video.path / "preview.mp4"
    if path.stat().st_size > EMBEDDED_BYTES:
        return ""
    return f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"


def _warnings(clip: Artifact, video: Artifact) -> list[str]:
    facts = json.loads((clip.path / "clip.json").read_text())
    notes = json.loads((video.path / "notes.json").read_text())
    return [*facts["warnings"], *notes]
