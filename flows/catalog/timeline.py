"""A timeline of a catalog run: a row for each clip, a bar for each stage."""

import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flows.catalog.outcomes import Outcome
from storage.safe_text import printable
from tasks.runtime.stage_names import ON_DEVICE

LABELLED = 0.035  # share of the total time; shorter bars have no room for a label
COLORS = {"on the device": "#3b6fb6", "beside it": "#c9b26a"}
INKS = {"on the device": "#ffffff", "beside it": "#000000"}


def plot_timeline(outcomes: Sequence[Outcome]) -> str | None:
    """Timeline as SVG, or None if no stage ran. Cached stages are not shown."""
    ran = sorted((outcome for outcome in outcomes if _bars(outcome)), key=lambda outcome: _bars(outcome)[0])
    if not ran:
        return None
    first = min(start for outcome in ran for start, *_ in _bars(outcome))
    span = max(start + seconds for outcome in ran for start, seconds, _ in _bars(outcome)) - first
    with mpl.rc_context({"svg.hashsalt": "stitchedit", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 0.9 + 0.32 * len(ran)), layout="constrained")
        axis = figure.subplots()
        for row, outcome in enumerate(ran):
            for start, seconds, stage in _bars(outcome):
                kind = "on the device" if stage in ON_DEVICE else "beside it"
                axis.broken_barh([(start - first, max(seconds, 0.2))], (row - 0.36, 0.72), color=COLORS[kind])
                if seconds > LABELLED * span:
                    middle = start - first + seconds / 2
                    axis.text(middle, row, stage, fontsize=6, ha="center", va="center", color=INKS[kind])
        names = [printable(Path(outcome.source).name) for outcome in ran]
        axis.set_yticks(range(len(ran)), names, fontsize=8, parse_math=False)  # a name may contain $
        axis.invert_yaxis()
        axis.set_xlabel("s", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        handles = [Patch(color=color, label=kind) for kind, color in COLORS.items()]
        figure.legend(handles=handles, fontsize=8, frameon=False, ncols=2, loc="outside upper right")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    text = file.getvalue().decode()
    return text[text.index("<svg") :]


def overlap_seconds(outcomes: Sequence[Outcome]) -> float:
    """Time during which at least two clips were processed at once, s."""
    edges = []
    for outcome in outcomes:
        for start, seconds, _ in _bars(outcome):
            edges += [(start, 1), (start + seconds, -1)]
    together, open_bars, last = 0.0, 0, 0.0
    for moment, step in sorted(edges):
        together += (moment - last) * (open_bars > 1)
        open_bars, last = open_bars + step, moment
    return together


def _bars(outcome: Outcome) -> list[tuple[float, float, str]]:
    """Start in s since the epoch, duration in s and name of the stages that ran."""
    return [
        (datetime.fromisoformat(time.started).timestamp(), time.seconds or 0.0, time.stage)
        for time in outcome.stages
        if not time.cached and time.started
    ]
