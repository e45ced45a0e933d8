"""Write progress events of stages to Prefect's run log as `name=value` lines."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from flows.server.artifacts import ProgressBars
from stitchedit.errors import StitchEditError
from storage.artifact import Artifact
from storage.errors import StorageError
from storage.safe_text import printable, redacted

EXPECTED_ERRORS = (StitchEditError, StorageError)  # logged without a traceback


class RunLog(logging.Handler):
    """A handler that logs every record of `stitchedit.progress` except counters.

    A line is `clip=a.mp4 face=left stage=tune event=finished …`; stages of the whole clip have no face.
    """

    def __init__(self, clip: str) -> None:
        super().__init__()
        self.clip = clip
        self._faces: dict[str, str] = {}  # key of an artifact of `align` -> name of the face

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", "advanced")
        if event == "advanced":
            return
        facts = record.facts  # type: ignore[attr-defined]
        face = self._face(facts.get("key"))
        fields = {"clip": self.clip, "stage": record.stage, "event": event, **facts}  # type: ignore[attr-defined]
        if face:
            fields = {"clip": self.clip, "face": face, **fields}
        try:
            get_run_logger().info(" ".join(f"{name}={format_value(value)}" for name, value in fields.items()))
        except MissingContextError:  # a thread outside any run
            return

    def _face(self, key: object) -> str | None:
        """The face of the current stage: from the options of `align`, or from the artifact of it that others take."""
        context = TaskRunContext.get()
        given: Mapping[str, Any] = context.parameters if context else {}
        face = getattr(given.get("options"), "face", None)
        if face:
            photo = given.get("photo")
            self._faces[str(key)] = photo.path.name if photo else face
            return self._faces[str(key)]
        aligned = [value.key for value in given.values() if isinstance(value, Artifact) and value.stage == "align"]
        return next((self._faces[key] for key in aligned if key in self._faces), None)


def omit_tracebacks() -> None:
    """Log expected errors of a run in one line, without a traceback."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)  # has no effect a second time


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], EXPECTED_ERRORS):
        record.exc_info = None
    return True


def format_value(value: object) -> str:
    """A value for a log line: numbers with 4 digits, text quoted if its end would be ambiguous."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(redacted(str(value)))
    if re.search(r'[ ="]', text) or not text:
        return '"' + text.replace('"', '\\"') + '"'
    return text


@contextmanager
def log_stages(clip: str) -> Iterator[None]:
    """Log the stages of this run and show their progress in Prefect while the context is open."""
    progress = logging.getLogger("stitchedit.progress")
    progress.setLevel(logging.INFO)
    before, progress.propagate = progress.propagate, False  # keeps each step of a counter out of the worker's log
    handlers = (RunLog(clip), ProgressBars())
    for handler in handlers:
        progress.addHandler(handler)
    try:
        yield
    finally:
        progress.propagate = before
        for handler in handlers:
            progress.removeHandler(handler)
