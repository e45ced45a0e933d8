"""From numbers of faces to those of tracks, and a verdict: what `measure` leaves for people to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stitchedit.measure.appearance import score_names
from stitchedit.measure.metrics import identity_consistency, tl_ratios
from stitchedit.measure.verdict import Verdict, judge, worst_of
from stitchedit.options.edit import EditOptions
from stitchedit.options.measure import MeasureOptions
from storage.files import write_atomic, write_json
from tasks.reporting.plots import Panel, plot_over_time
from tasks.reporting.verdict import MEASURES
from tasks.runtime.pretrained import pretrained
from tasks.runtime.progress import report_event
from tasks.runtime.stage import QUALITY

COLUMNS = (
    "ring", "outside", "warp_source", "warp_result", "psnr_db", "ssim", "ms_ssim", "lpips", "mse",
)  # fmt: skip
PLOTS = "plots.svg"


@dataclass(frozen=True)
class Measured:
    """What was measured of every face."""

    frames: np.ndarray  # `face`, number of the frame
    runs: np.ndarray  # `face`, number of the track
    numbers: np.ndarray  # `face column`, see COLUMNS; NaN where it was not measured
    embeddings: np.ndarray  # `face 2 channel`, of source and result
    before: np.ndarray  # `face score`, of the source
    after: np.ndarray  # `face score`, of the result

    def column(self, name: str) -> np.ndarray:
        return self.numbers[:, COLUMNS.index(name)]

    @property
    def identity(self) -> np.ndarray:
        """TL ratio of each face and the one before it in its track, `face`."""
        ratios = np.full(len(self.frames), np.nan)
        for run in np.unique(self.runs):
            rows = self.runs == run
            ratios[rows] = tl_ratios(self.embeddings[rows, 0], self.embeddings[rows, 1])
        return ratios


def scored_rows(runs: np.ndarray, most: int) -> np.ndarray:
    """At most `most` faces of each track, evenly spread, `face`."""
    chosen = np.zeros(len(runs), bool)
    for run in np.unique(runs):
        rows = np.flatnonzero(runs == run)
        chosen[rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]] = True
    return chosen


def save_measures(folder: Path, measured: Measured, edits: EditOptions, options: MeasureOptions) -> None:
    """Write the numbers of every track with its verdict, plots over time, and what the command line shows."""
    facts = directions_measured()
    tracks = [track_of(measured, int(run), edits, options, facts) for run in np.unique(measured.runs)]
    verdict = worst_of(Verdict(track["verdict"], tuple(track["reasons"])) for track in tracks)
    words = {"verdict": verdict.verdict, "reasons": list(verdict.reasons)}
    content = {"columns": COLUMNS, "scores": score_names(), "tracks": tracks, **words}
    write_json(folder / MEASURES, _without_nan(content))
    write_atomic(folder / PLOTS, plot_measures(measured, edits, options, facts))
    write_json(folder / QUALITY, _without_nan(summary(tracks)))
    if verdict.verdict != "pass":
        report_event("measure", "noted", text=f"{verdict.verdict}: {'; '.join(dict.fromkeys(verdict.reasons))}")


def track_of(
    measured: Measured, run: int, edits: EditOptions, options: MeasureOptions, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything of one track."""
    rows = np.flatnonzero(measured.runs == run)
    identity = identity_consistency(measured.embeddings[rows, 0], measured.embeddings[rows, 1])
    means = {name: mean(measured.column(name)[rows]) for name in COLUMNS}
    means["outside"] = float(np.max(measured.column("outside")[rows]))
    ratio = means["warp_result"] / means["warp_source"] if means["warp_source"] else np.nan
    numbers = identity._asdict() | means | {"warp_ratio": ratio}
    changes = {
        name: mean(measured.after[rows, index] - measured.before[rows, index])
        for index, name in enumerate(score_names())
    }
    scores = {edit: facts["directions"][edit]["score"] for edit in edits.strengths if edit in facts["directions"]}
    deviations = {name: change / facts["deviations"][name] for name, change in changes.items()}
    moved = {edit: deviations[score] * np.sign(edits.strengths[edit]) for edit, score in scores.items()}
    verdict = judge(numbers | {"warp": ratio}, moved, options)
    return {
        "track": run,
        "frames": [int(measured.frames[rows[0]]), int(measured.frames[rows[-1]])],
        "faces": len(rows),
        "numbers": numbers,
        "strength": {edit: changes[score] for edit, score in scores.items()},
        "side_effects": {name: value for name, value in deviations.items() if name not in scores.values()},
        "verdict": verdict.verdict,
        "reasons": list(verdict.reasons),
        "worst": worst_frames(measured, rows, options),
    }


def worst_frames(measured: Measured, rows: np.ndarray, options: MeasureOptions) -> list[dict[str, Any]]:
    """The faces that come nearest to a bound or exceed it most, with the number that says so, the worst first."""
    tl = measured.identity[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        warp = measured.column("warp_result")[rows] / measured.column("warp_source")[rows]
    kinds = {
        "ring {:.1f} levels": (measured.column("ring")[rows], measured.column("ring")[rows] / options.ring_review),
        "identity {:.4f} of the frame before": (tl, np.abs(1 - tl) / options.tl_id_review),
        "warp error {:.2f} of the source's": (warp, warp / options.warp_review),
    }
    severity = np.nan_to_num(np.stack([share for _, share in kinds.values()]), nan=-np.inf)
    order = np.argsort(-severity.max(axis=0), kind="stable")[: options.worst]
    texts = list(kinds)
    named = []
    for index in order:
        kind = texts[int(severity[:, index].argmax())]
        why = kind.format(kinds[kind][0][index])
        named.append({"frame": int(measured.frames[rows[index]]), "row": int(rows[index]), "why": why})
    return named


def plot_measures(measured: Measured, edits: EditOptions, options: MeasureOptions, facts: Mapping[str, Any]) -> bytes:
    """The numbers over time, SVG."""
    identity = {
        "review": [1 - options.tl_id_review, 1 + options.tl_id_review],
        "fail": [1 - options.tl_id_fail, 1 + options.tl_id_fail],
    }
    ring = {"review": [options.ring_review], "fail": [options.ring_fail]}
    warp = {"source": measured.column("warp_source"), "result": measured.column("warp_result")}
    panels = [
        Panel("identity, each frame to the one before (TL ratio)", {"result": measured.identity}, identity),
        Panel("ring error, 8-bit levels", {"result": measured.column("ring")}, ring),
        Panel("warp error inside the face, 8-bit levels", warp),
    ]
    for edit in edits.strengths:
        if edit in facts["directions"]:
            index = score_names().index(facts["directions"][edit]["score"])
            lines = {"source": measured.before[:, index], "result": measured.after[:, index]}
            panels.append(Panel(f"score of {facts['directions'][edit]['score']}", lines))
    return plot_over_time(measured.frames, measured.runs, panels)


def summary(tracks: list[dict[str, Any]]) -> dict[str, float]:
    """What the command line shows: means over tracks, each by its faces."""
    faces = np.array([track["faces"] for track in tracks], float)

    def over_tracks(values: list[float]) -> float:
        known = ~np.isnan(values)
        return float(np.average(np.array(values)[known], weights=faces[known])) if known.any() else float("nan")

    shown = {
        "tl_id": "tl_id",
        "tg_id": "tg_id",
        "ring": "ring_levels",
        "warp_ratio": "warp_ratio",
        "outside": "outside",
    }
    numbers = {label: over_tracks([track["numbers"][name] for track in tracks]) for name, label in shown.items()}
    return numbers | {
        edit: over_tracks([track["strength"][edit] for track in tracks]) for edit in tracks[0]["strength"]
    }


def directions_measured() -> Any:
    """What is known of the packaged directions: their scores and units, and how much each score varies."""
    return json.loads(pretrained()["directions"].verified().with_suffix(".json").read_text(encoding="utf-8"))


def mean(values: np.ndarray) -> float:
    """Over what was measured; NaN where nothing was."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _without_nan(value: Any) -> Any:
    """For JSON, which has no NaN: null."""
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
