"""Plots of an edit's numbers over time."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

SALT = "stitchedit"  # of the ids in the file, so that the same numbers give the same file


@dataclass(frozen=True)
class Panel:
    """One plot: lines over the same frames, and bounds."""

    title: str
    lines: Mapping[str, np.ndarray]  # label -> `face`
    bounds: Mapping[str, Sequence[float]] = field(default_factory=dict)  # review or fail -> values


def plot_over_time(frames: np.ndarray, runs: np.ndarray, panels: Sequence[Panel]) -> bytes:
    """SVG of `panels` one below the other over the numbers of `frames`; a line is cut where a run ends."""
    colors = {"review": "#d09a00", "fail": "#c0392b"}
    with mpl.rc_context({"svg.hashsalt": SALT, "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 1.9 * len(panels)), layout="constrained")
        axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
        for axis, panel in zip(axes, panels, strict=True):
            for number, (label, values) in enumerate(panel.lines.items()):
                for index, run in enumerate(np.unique(runs)):
                    rows = np.flatnonzero((runs == run) & ~np.isnan(values))
                    axis.plot(
                        frames[rows], values[rows], marker=".", markersize=3, linewidth=1, color=f"C{number}",
                        label=label if index == 0 else None,
                    )  # fmt: skip
            for name, bounds in panel.bounds.items():
                for value in bounds:
                    axis.axhline(value, color=colors[name], linewidth=0.8, linestyle="--")
            axis.set_title(panel.title, loc="left", fontsize=9)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
            if len(panel.lines) > 1:
                axis.legend(fontsize=8, frameon=False, loc="best")
        axes[-1].set_xlabel("frame", fontsize=9)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return file.getvalue()
