"""What Prefect's page of a run shows: numbers as a table, the contact sheet, how far a long stage is, links."""

import json
import logging
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import httpx
import numpy as np
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.requests.output_files import exported_files
from storage.artifact import Artifact
from storage.safe_text import printable, redacted
from tasks.reporting.markdown import markdown
from tasks.reporting.report_page import SUMMARY, data_uri
from tasks.reporting.verdict import MEASURES

SHEET_WIDTH = 640  # px; the server keeps the picture in its database
SHORT_S = 5.0  # a stage that is done by then needs no bar
PERIOD_S = 5.0  # between two updates of a bar

logger = logging.getLogger(__name__)


def show_edit(title: str, report: Artifact, measures: list[Artifact], written: Path) -> None:
    """Make `edit-summary`, `edit-numbers`, `edit-sheet` and `edit-report` for this run, if the server is there."""
    files, title = exported_files(written), markdown(title)
    try:
        create_markdown_artifact(
            (report.path / SUMMARY).read_text(encoding="utf-8"), key="edit-summary", description=title
        )
        create_table_artifact(numbers_table(measures), key="edit-numbers", description=title)
        sheet = image_uri(files["sheet"], SHEET_WIDTH)
        if sheet:
            create_image_artifact(sheet, key="edit-sheet", description=title)
        link_page(files["report"], "edit-report")
    except httpx.HTTPError as error:
        told = map(printable, (str(written), redacted(str(error))))
        logger.warning("%s is done; Prefect's page does not show it: %s", *told)


def link_page(page: Path, key: str) -> None:
    """Link a page that lies on this machine."""
    page = page.absolute()
    text = markdown(page.name)
    create_link_artifact(page.as_uri(), key=key, link_text=text, description="Where this machine has it.")


def numbers_table(measures: list[Artifact]) -> list[dict[str, Any]]:
    """A row for each track of each person."""
    rows: list[dict[str, Any]] = []
    for person, measured in enumerate(measures):
        for track in json.loads((measured.path / MEASURES).read_text(encoding="utf-8"))["tracks"]:
            first, last = track["frames"]
            row = {"face": person, "frames": f"{first}-{last}", "verdict": track["verdict"]}
            numbers = {**track["numbers"], **{f"moved {name}": value for name, value in track["strength"].items()}}
            rows.append(row | {name: None if value is None else round(value, 4) for name, value in numbers.items()})
    return rows


def image_uri(path: Path, width: int) -> str | None:
    """A picture, made smaller, as a data URI; None where there is none that can be read."""
    coded = np.frombuffer(path.read_bytes() if path.exists() else b"", np.uint8)  # OpenCV takes UTF-8 names only
    picture = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    if picture is None:
        return None
    height = round(picture.shape[0] * width / picture.shape[1])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return data_uri(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))


class ProgressBars(logging.Handler):
    """A progress artifact for every stage that lasts, from what `stitchedit.progress` hears."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[str, UUID] = {}
        self._last: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") != "advanced":
            return
        facts = record.facts  # type: ignore[attr-defined]
        name, now = facts["label"], time.monotonic()
        wait = PERIOD_S if name in self._bars else SHORT_S
        done = facts["done"] >= facts["total"] and name in self._bars
        if now - self._last.setdefault(name, now) < wait and not done:
            return
        self._last[name] = now
        self._show(record.stage, name, facts)  # type: ignore[attr-defined]

    def _show(self, stage: str, name: str, facts: dict[str, Any]) -> None:
        percent = 100 * facts["done"] / max(facts["total"], 1)
        told = f"{markdown(name)}: {facts['done']} of {facts['total']} {facts['unit']}"
        try:
            if name in self._bars:
                update_progress_artifact(self._bars[name], percent, told)
            else:
                made = create_progress_artifact(percent, f"progress-{stage}", told)
                assert isinstance(made, UUID)  # outside of an event loop
                self._bars[name] = made
        except Exception as error:
            logger.warning("No bar for %s: %s", stage, printable(redacted(str(error))))
