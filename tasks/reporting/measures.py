"""Files of the stage `measure`: numbers and verdicts as JSON, plots over time."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stitchedit.measure.appearance import score_names
from stitchedit.measure.face import COLUMNS
from stitchedit.measure.summary import MeasuredFaces, ScoreFacts, quality_numbers, summarize_tracks
from stitchedit.measure.verdict import Verdict, worst_of
from stitchedit.options.edit import EditOptions
from stitchedit.options.measure import MeasureOptions
from storage.files import write_atomic, write_json
from tasks.reporting.plots import Panel, plot_over_time
from tasks.reporting.verdict import MEASURES
from tasks.runtime.pretrained import pretrained
from tasks.runtime.progress import report_event
from tasks.runtime.stage import QUALITY

PLOTS = "plots.svg"


def save_measures(
    folder: Path, faces: MeasuredFaces, edits: EditOptions, options: MeasureOptions, footage: Verdict
) -> None:
    """Write the numbers of every track with its verdict, plots over time, and the quality of the artifact.

    Args:
        footage: verdict on the source, see `judge_footage`.
    """
    facts = read_score_facts()
    tracks = summarize_tracks(faces, edits, options, facts)
    verdict = worst_of([footage, *(Verdict(track.verdict, track.reasons) for track in tracks)])
    content = {"columns": COLUMNS, "scores": score_names(), "tracks": [asdict(track) for track in tracks]}
    write_json(folder / MEASURES, _without_nan(content | asdict(verdict)))
    write_atomic(folder / PLOTS, plot_measures(faces, edits, options, facts))
    write_json(folder / QUALITY, _without_nan(quality_numbers(tracks)))
    if verdict.verdict != "pass":
        report_event("measure", "noted", text=f"{verdict.verdict}: {'; '.join(dict.fromkeys(verdict.reasons))}")


def plot_measures(faces: MeasuredFaces, edits: EditOptions, options: MeasureOptions, facts: ScoreFacts) -> bytes:
    """The numbers over time, SVG."""
    identity = {
        "review": [1 - options.tl_id_review, 1 + options.tl_id_review],
        "fail": [1 - options.tl_id_fail, 1 + options.tl_id_fail],
    }
    ring = {"review": [options.ring_review], "fail": [options.ring_fail]}
    warp = {"source": faces.column("warp_source"), "result": faces.column("warp_result")}
    panels = [
        Panel("identity, each frame to the one before (TL ratio)", {"result": faces.identity}, identity),
        Panel("ring error, 8-bit levels", {"result": faces.column("ring")}, ring),
        Panel("warp error inside the face, 8-bit levels", warp),
    ]
    for score in [facts.score_of[edit] for edit in edits.strengths if edit in facts.score_of]:
        index = score_names().index(score)
        lines = {"source": faces.before[:, index], "result": faces.after[:, index]}
        panels.append(Panel(f"score of {score}", lines))
    return plot_over_time(faces.frames, faces.runs, panels)


def read_score_facts() -> ScoreFacts:
    """Scores of the packaged directions, and the spread of every score."""
    facts = json.loads(pretrained()["directions"].verified().with_suffix(".json").read_text(encoding="utf-8"))
    return ScoreFacts({name: known["score"] for name, known in facts["directions"].items()}, facts["deviations"])


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, with null."""
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
