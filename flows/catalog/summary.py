"""The summary page of a catalog: verdict, cost and saved time of every clip."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.catalog.outcomes import WITH_RESULT, Outcome
from flows.catalog.reading import OpenCatalog
from flows.catalog.results import saved_seconds
from flows.catalog.timeline import overlap_seconds, plot_timeline
from flows.requests.output_files import exported_files
from flows.server.artifacts import image_uri
from storage.files import fitted_name
from storage.outputs import Outputs
from storage.safe_text import redacted
from storage.store import Store
from tasks.reporting.markdown import markdown
from tasks.reporting.report_page import page_environment
from tasks.runtime.stage_names import ON_DEVICE

THUMBNAIL = 360  # px, width of a contact sheet


@dataclass(frozen=True)
class Row:
    """One clip on the page."""

    outcome: Outcome
    thumbnail: str | None  # data URI
    report: str | None  # link to the clip's own report
    spent: float  # s on the device in this run
    saved: float  # s on the device saved by cached stages

    @property
    def name(self) -> str:
        return Path(self.outcome.source).name

    @property
    def why(self) -> list[str]:
        return list(map(redacted, self.outcome.why))


def page_path(opened: OpenCatalog, store: Store) -> Path:
    """Path of the page: the first name that no file of the user has."""
    numbers = ("" if number == 1 else f"-{number}" for number in count(1))
    names = (fitted_name(opened.name, f"_summary{number}.html") for number in numbers)
    return next(page for name in names if not Outputs(store).foreign([page := opened.path.with_name(name)]))


def write_summary(opened: OpenCatalog, outcomes: Sequence[Outcome], store: Store) -> Path:
    """Write the page beside the catalog and return its path."""
    page = page_path(opened, store)
    rows = [_row(outcome, page.parent) for outcome in outcomes]
    text = (
        page_environment(Path(__file__).parent)
        .get_template("summary.html.j2")
        .render(
            catalog=opened.name,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            rows=rows,
            notes=opened.notes,
            left_out=opened.left_out,
            counts=counts_of(outcomes),
            spent=sum(row.spent for row in rows),
            saved=sum(row.saved for row in rows),
            together=overlap_seconds(outcomes),
            timeline=plot_timeline(outcomes),
        )
    )
    Outputs(store).write(page, text.encode())
    return page


def counts_of(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Number of clips in each state."""
    return dict(Counter(outcome.state for outcome in outcomes))


def summary_markdown(opened: OpenCatalog, outcomes: Sequence[Outcome], page: Path) -> str:
    """A short summary for the run's page in Prefect."""
    lines = [
        f"**{markdown(opened.name)}** · "
        + ", ".join(f"{count} {markdown(state)}" for state, count in counts_of(outcomes).items())
    ]
    lines += ["", *(f"* {markdown(note)}" for note in opened.notes)] if opened.notes else []
    lines += ["", "| clip | edit | state | why | s |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        seconds = "–" if outcome.seconds is None else f"{outcome.seconds:.0f}"
        cells = (Path(outcome.source).name, outcome.edit, outcome.state, "; ".join(outcome.why))
        lines.append(f"| {' | '.join(map(markdown, cells))} | {seconds} |")
    return "\n".join([*lines, "", f"Page: {markdown(page)}"]) + "\n"


def summary_table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row for each clip, for Prefect's table artifact, which renders cells as Markdown."""
    return [
        {
            "clip": markdown(Path(outcome.source).name),
            "edit": markdown(outcome.edit),
            "state": markdown(outcome.state),
            "why": markdown("; ".join(outcome.why)),
            "seconds": outcome.seconds,
            "saved on the device, s": round(saved_seconds(outcome), 1),
        }
        for outcome in outcomes
    ]


def _row(outcome: Outcome, folder: Path) -> Row:
    files = exported_files(outcome.place)
    has_result = outcome.state in WITH_RESULT
    ran = [time for time in outcome.stages if not time.cached and time.stage in ON_DEVICE]
    report = files["report"] if has_result and files["report"].exists() else None
    return Row(
        outcome=outcome,
        thumbnail=image_uri(files["sheet"], THUMBNAIL) if has_result else None,
        report=_link(report, folder) if report else None,
        spent=sum(time.seconds or 0.0 for time in ran),
        saved=saved_seconds(outcome),
    )


def _link(path: Path, folder: Path) -> str:
    """A percent-encoded path relative to the page if possible, else a file URI."""
    return quote(os.fsencode(path.relative_to(folder))) if path.is_relative_to(folder) else path.as_uri()
