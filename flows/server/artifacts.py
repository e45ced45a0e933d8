"""Prefect artifacts of a run: table of measures, contact sheet, progress bars, links."""

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

SHEET_WIDTH = 640  # px; the server stores the image in its database
SHORT_S = 5.0  # shorter stages get no progress bar
PERIOD_S = 5.0  # between updates of a progress bar

logger = logging.getLogger(__name__)


def show_edit(title: str, report: Artifact, measures: list[Artifact], written: Path) -> None:
    """Create `edit-summary`, `edit-numbers`, `edit-sheet` and `edit-report`; a missing server is logged."""
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
        path, reason = map(printable, (str(written), redacted(str(error))))
        logger.warning("%s is finished; its artifacts could not be created in Prefect: %s", path, reason)


def link_page(page: Path, key: str) -> None:
    """Create a link artifact to a page on this machine."""
    page = page.absolute()
    text = markdown(page.name)
    create_link_artifact(page.as_uri(), key=key, link_text=text, description="File on the machine of the run.")


def numbers_table(measures: list[Artifact]) -> list[dict[str, Any]]:
    """One row for each track of each person."""
    rows: list[dict[str, Any]] = []
    for person, measured in enumerate(measures):
        for track in json.loads((measured.path / MEASURES).read_text(encoding="utf-8"))["tracks"]:
            first, last = track["frames"]
            row = {"face": person, "frames": f"{first}-{last}", "verdict": track["verdict"]}
            numbers = {**track["numbers"], **{f"moved {name}": value for name, value in track["strength"].items()}}
            rows.append(row | {name: None if value is None else round(value, 4) for name, value in numbers.items()})
    return rows


def image_uri(path: Path, width: int) -> str | None:
    """An image scaled to `width` px as a data URI, or None if it is missing or unreadable."""
    coded = np.frombuffer(path.read_bytes() if path.exists() else b"", np.uint8)  # cv2.imread takes UTF-8 names only
    image = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    if image is None:
        return None
    height = round(image.shape[0] * width / image.shape[1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return data_uri(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))


class ProgressBars(logging.Handler):
    """A log handler of `stitchedit.progress` that keeps a progress artifact for every long stage."""

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
        is_done = facts["done"] >= facts["total"] and name in self._bars
        if now - self._last.setdefault(name, now) < wait and not is_done:
            return
        self._last[name] = now
        self._show(record.stage, name, facts)  # type: ignore[attr-defined]

    def _show(self, stage: str, name: str, facts: dict[str, Any]) -> None:
        percent = 100 * facts["done"] / max(facts["total"], 1)
        text = f"{markdown(name)}: {facts['done']} of {facts['total']} {facts['unit']}"
        try:
            if name in self._bars:
                update_progress_artifact(self._bars[name], percent, text)
            else:
                bar = create_progress_artifact(percent, f"progress-{stage}", text)
                assert isinstance(bar, UUID)  # outside an event loop
                self._bars[name] = bar
        except Exception as error:
            logger.warning("No progress artifact for %s: %s", stage, printable(redacted(str(error))))
