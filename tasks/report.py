"""Stage `report`: an edit and its measures to one page."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stitchedit.arrays import Frame
from stitchedit.images.warp import Quad
from stitchedit.measure.verdict import VERDICTS
from storage.artifact import Artifact, Source
from storage.files import encodable, write_atomic
from storage.store import Store
from storage.video.index import Clip
from storage.video.info import rgb
from storage.workspace import Workspace
from tasks.encode import frame_editor
from tasks.inputs.clip import frames_at, open_clip
from tasks.inputs.faces import Faces, open_faces
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
from tasks.runtime.stage import stage

PAGE = "report.html"
SHOWN = 6  # frames for the slider
WORST = 4  # frames of each person on the sheet of the worst
MARGIN = 0.15  # of the crop's side, around it
FACE_PX, FRAME_PX = 720, 960  # longest side of an image of a face, and of a whole frame
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
    footage, found = open_clip(source, clip).clip, [open_faces(one) for one in faces]
    edit, *persons = titles.splitlines()
    measured = [json.loads((one.path / MEASURES).read_text()) for one in measures]
    shown = np.unique(np.concatenate([one.frames for one in found]))
    shown = shown[np.unique(np.linspace(0, len(shown) - 1, SHOWN).round().astype(int))]
    worst = [_worst(one) for one in measured]
    numbers = sorted({int(number) for number in shown} | {face["frame"] for one in worst for face in one})
    frames: list[Pair] = []
    sheets: list[list[Pair]] = [[] for _ in persons]
    for number, before, after in _before_and_after(footage, found, patches, numbers):
        if number in shown:
            frames += _slides(footage, found, number, (before, after))
        for index, person in enumerate(found):
            for face in worst[index]:
                if face["frame"] == number:
                    parts = _around(footage, person.quads[face["row"]], (before, after))
                    old, new, change = map(data_uri, (*parts, magnified_difference(*parts)))
                    sheets[index].append(Pair(f"frame {number}", old, new, change, face["why"]))
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
        stages=list(_lineage([video, *measures])),
        settings=_settings([video, *measures]),
        warnings=_warnings(clip, video),
    )
    write_atomic(out.path / PAGE, report_page(report).encode())
    write_atomic(out.path / SUMMARY, markdown_summary(report).encode())


def _worst(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """A few of the worst faces, of the first tracks first; every frame once."""
    named = [face for track in measured["tracks"] for face in track["worst"]]
    return list({face["frame"]: face for face in reversed(named[:WORST])}.values())


def _before_and_after(
    footage: Clip, found: Sequence[Faces], patches: Sequence[Artifact], numbers: Sequence[int]
) -> Iterator[tuple[int, Frame, Frame]]:
    """Frames without and with the patches, in coded orientation, before the codec."""
    edit = frame_editor(footage, [one.frames for one in found], patches)
    for number, frame in frames_at(footage, numbers):
        before = rgb(frame, footage.info)  # first: the editor writes into the frame it is given
        yield number, before, rgb(edit(number, frame), footage.info)


def _slides(footage: Clip, found: Sequence[Faces], number: int, pair: tuple[Frame, Frame]) -> list[Pair]:
    """Slides of each face of the frame, and of the full frame."""
    slides = []
    for person in found:
        for row in np.flatnonzero(person.frames == number):
            parts = _around(footage, person.quads[row], pair)
            slides.append(Pair(f"frame {number}, face", *map(data_uri, parts)))
    whole = [_fitted(footage.info.view.show(frame), FRAME_PX) for frame in pair]
    return [*slides, Pair(f"frame {number}, whole", *map(data_uri, whole))]


def _around(footage: Clip, quad: Quad, pair: tuple[Frame, Frame]) -> tuple[Frame, Frame]:
    """The part of both frames around a face, upright, at the source's own resolution unless that is too large."""
    margin = MARGIN * np.ptp(quad, axis=0).max()
    height, width = pair[0].shape[:2]
    left, top = np.clip(np.floor(quad.min(axis=0) - margin), 0, (width - 2, height - 2)).astype(int)
    right, bottom = np.clip(np.ceil(quad.max(axis=0) + margin), (left + 2, top + 2), (width, height)).astype(int)
    old, new = (_fitted(footage.info.view.show(frame[top:bottom, left:right]), FACE_PX) for frame in pair)
    return old, new


def _fitted(image: Frame, side: int) -> Frame:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _preview(video: Artifact) -> str:
    path = video.path / "preview.mp4"
    if path.stat().st_size > EMBEDDED_BYTES:
        return ""
    return f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"


def _lineage(artifacts: Sequence[Artifact]) -> Iterator[tuple[str, str, str, str]]:
    """Stage, key, seconds and host of all artifacts behind `artifacts`, oldest first, as far as known."""
    seen: dict[tuple[str, str], tuple[str, str, str, str]] = {}

    visited: set[tuple[str, str]] = set()  # before its inputs: a manifest may name itself

    def visit(store: Path, stage: str, key: str) -> None:
        manifest = Store.at(store).read_manifest(stage, key)
        if (stage, key) in visited or manifest is None:
            return
        visited.add((stage, key))
        lineage = manifest["lineage"]
        for origin in lineage.get("inputs", {}).values():
            if "key" in origin:
                visit(store, origin["stage"], origin["key"])
        known = [attempt["seconds"] for attempt in lineage.get("attempts", []) if attempt["seconds"] is not None]
        seen[stage, key] = (stage, key, f"{sum(known):.1f}" if known else "–", str(lineage.get("host", "–")))

    for artifact in artifacts:
        visit(artifact.store, artifact.stage, artifact.key)
    yield from seen.values()


def _settings(artifacts: Sequence[Artifact]) -> list[tuple[str, str]]:
    """Every option of every stage behind `artifacts`, once."""
    told: dict[str, str] = {}
    for stage_name, key, *_ in _lineage(artifacts):
        manifest = Store.at(artifacts[0].store).read_manifest(stage_name, key)
        assert manifest is not None  # or `_lineage` would not have told of it
        for argument, options in manifest["recipe"]["options"].items():
            named = options if isinstance(options, dict) else {"": options}
            for option, value in named.items():
                told[".".join(filter(None, (stage_name, argument, option)))] = str(value)
    return sorted(told.items())


def _warnings(clip: Artifact, video: Artifact) -> list[str]:
    facts = json.loads((clip.path / "clip.json").read_text())
    notes = json.loads((video.path / "notes.json").read_text())
    return [*facts["warnings"], *notes]
