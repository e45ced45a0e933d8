"""From the numbers of faces to those of tracks and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from stitchedit.measure.appearance import score_names
from stitchedit.measure.face import COLUMNS
from stitchedit.measure.metrics import identity_consistency, tl_ratios
from stitchedit.measure.verdict import judge
from stitchedit.options.edit import EditOptions
from stitchedit.options.measure import MeasureOptions

FaceNumbers = Float[np.ndarray, " face"]

QUALITY_NAMES = {  # number of a track -> its name among the quality numbers
    "tl_id": "tl_id",
    "tg_id": "tg_id",
    "ring": "ring_levels",
    "warp_ratio": "warp_ratio",
    "outside": "outside",
}


@dataclass(frozen=True)
class ScoreFacts:
    """Known facts of the packaged directions."""

    score_of: Mapping[str, str]  # direction -> the score that it raises
    deviations: Mapping[str, float]  # score -> its standard deviation over faces


@dataclass(frozen=True)
class MeasuredFaces:
    """The numbers of every face of one person."""

    frames: np.ndarray  # `face`, number of the frame
    runs: np.ndarray  # `face`, number of the track
    numbers: np.ndarray  # `face column`, see COLUMNS; NaN where it was not measured
    embeddings: np.ndarray  # `face 2 channel`, of source and result
    before: np.ndarray  # `face score`, of the source
    after: np.ndarray  # `face score`, of the result

    def column(self, name: str) -> FaceNumbers:
        """One of COLUMNS of every face."""
        return self.numbers[:, COLUMNS.index(name)]

    @property
    def identity(self) -> FaceNumbers:
        """TL ratio of each face and the one before it in its track."""
        ratios = np.full(len(self.frames), np.nan)
        for run in np.unique(self.runs):
            rows = self.runs == run
            ratios[rows] = tl_ratios(self.embeddings[rows, 0], self.embeddings[rows, 1])
        return ratios


@dataclass(frozen=True)
class WorstFace:
    """A face near or beyond a bound."""

    frame: int
    row: int
    why: str


@dataclass(frozen=True)
class TrackSummary:
    """The numbers of one track, and the verdict on it."""

    track: int
    frames: tuple[int, int]  # first and last
    faces: int
    numbers: dict[str, float]
    strength: dict[str, float]  # edit -> mean change of its score
    side_effects: dict[str, float]  # other score -> mean change, in standard deviations
    verdict: str
    reasons: tuple[str, ...]
    worst: list[WorstFace]


def scored_rows(runs: np.ndarray, most: int) -> Bool[np.ndarray, " face"]:
    """At most `most` faces of each track, evenly spread."""
    chosen = np.zeros(len(runs), bool)
    for run in np.unique(runs):
        rows = np.flatnonzero(runs == run)
        chosen[rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]] = True
    return chosen


def summarize_tracks(
    faces: MeasuredFaces, edits: EditOptions, options: MeasureOptions, facts: ScoreFacts
) -> list[TrackSummary]:
    """Summary of every track, in order."""
    scores = {edit: facts.score_of[edit] for edit in edits.strengths if edit in facts.score_of}
    summaries = []
    for run in np.unique(faces.runs).tolist():
        rows = np.flatnonzero(faces.runs == run)
        numbers, changes = track_numbers(faces, rows), track_changes(faces, rows)
        deviations = {name: change / facts.deviations[name] for name, change in changes.items()}
        moved = {edit: deviations[score] * np.sign(edits.strengths[edit]) for edit, score in scores.items()}
        verdict = judge(numbers | {"warp": numbers["warp_ratio"]}, moved, options)
        summaries.append(
            TrackSummary(
                track=run,
                frames=(int(faces.frames[rows[0]]), int(faces.frames[rows[-1]])),
                faces=len(rows),
                numbers=numbers,
                strength={edit: changes[score] for edit, score in scores.items()},
                side_effects={name: value for name, value in deviations.items() if name not in scores.values()},
                verdict=verdict.verdict,
                reasons=verdict.reasons,
                worst=worst_faces(faces, rows, options),
            )
        )
    return summaries


def track_numbers(faces: MeasuredFaces, rows: np.ndarray) -> dict[str, float]:
    """Identity consistency of one track, means of COLUMNS (of `outside` the maximum), and the ratio of warp errors."""
    identity = identity_consistency(faces.embeddings[rows, 0], faces.embeddings[rows, 1])
    numbers = {name: known_mean(faces.column(name)[rows]) for name in COLUMNS}
    numbers["outside"] = float(np.max(faces.column("outside")[rows]))
    source, result = numbers["warp_source"], numbers["warp_result"]
    return identity._asdict() | numbers | {"warp_ratio": result / source if source else np.nan}


def track_changes(faces: MeasuredFaces, rows: np.ndarray) -> dict[str, float]:
    """Mean change of every score, over the scored faces of one track."""
    return {
        name: known_mean(faces.after[rows, index] - faces.before[rows, index])
        for index, name in enumerate(score_names())
    }


def worst_faces(faces: MeasuredFaces, rows: np.ndarray, options: MeasureOptions) -> list[WorstFace]:
    """Faces of a track that come nearest to a review bound or exceed it most, with the number, worst first."""
    identity = faces.identity[rows]
    ring = faces.column("ring")[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        warp = faces.column("warp_result")[rows] / faces.column("warp_source")[rows]
    kinds = {  # text -> numbers, and their size relative to the bound
        "ring {:.1f} levels": (ring, ring / options.ring_review),
        "identity {:.4f} of the frame before": (identity, np.abs(1 - identity) / options.tl_id_review),
        "warp error {:.2f} of the source's": (warp, warp / options.warp_review),
    }
    texts = list(kinds)
    severity = np.nan_to_num(np.stack([share for _, share in kinds.values()]), nan=-np.inf)
    order = np.argsort(-severity.max(axis=0), kind="stable")[: options.worst]
    worst = []
    for index in order.tolist():
        text = texts[int(severity[:, index].argmax())]
        row = int(rows[index])
        worst.append(WorstFace(int(faces.frames[row]), row, text.format(kinds[text][0][index])))
    return worst


def quality_numbers(tracks: Sequence[TrackSummary]) -> dict[str, float]:
    """Means over tracks, each weighted by its faces: the numbers that the command line shows."""
    weights = np.array([track.faces for track in tracks], float)

    def over_tracks(values: list[float]) -> float:
        known = ~np.isnan(values)
        return float(np.average(np.array(values)[known], weights=weights[known])) if known.any() else float("nan")

    numbers = {label: over_tracks([track.numbers[name] for track in tracks]) for name, label in QUALITY_NAMES.items()}
    return numbers | {edit: over_tracks([track.strength[edit] for track in tracks]) for edit in tracks[0].strength}


def known_mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
