"""What stages tell of themselves, as lines of Prefect's log of the run: clip, face, stage, what happened, the facts."""

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

TOLD = (StitchEditError, StorageError)  # errors whose message says it all


class RunLog(logging.Handler):
    """Writes every record of `stitchedit.progress` but those of counters.

    As `clip=a.mp4 face=left stage=tune event=finished …`; stages of the whole clip have no face.
    """

    def __init__(self, clip: str) -> None:
        super().__init__()
        self.clip = clip
        self._faces: dict[str, str] = {}  # key of an artifact of `align` -> who that is

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", "advanced")
        if event == "advanced":
            return
        facts = record.facts  # type: ignore[attr-defined]
        face = self._face(facts.get("key"))
        words = {"clip": self.clip, "stage": record.stage, "event": event, **facts}  # type: ignore[attr-defined]
        if face:
            words = {"clip": self.clip, "face": face, **words}
        try:
            get_run_logger().info(" ".join(f"{name}={format_value(value)}" for name, value in words.items()))
        except MissingContextError:  # a thread of its own, of no run
            return

    def _face(self, key: object) -> str | None:
        """Whom the stage that speaks is about: `align` is told, all others are given what it made."""
        context = TaskRunContext.get()
        given: Mapping[str, Any] = context.parameters if context else {}
        face = getattr(given.get("options"), "face", None)
        if face:
            photo = given.get("photo")
            self._faces[str(key)] = photo.path.name if photo else face
            return self._faces[str(key)]
        made = [value.key for value in given.values() if isinstance(value, Artifact) and value.stage == "align"]
        return next((self._faces[key] for key in made if key in self._faces), None)


def leave_out_traces() -> None:
    """Have Prefect's log of a run tell errors of ours in a line, without a traceback."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_trace)  # the same one again is not added


def _without_trace(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], TOLD):
        record.exc_info = None
    return True


def format_value(value: object) -> str:
    """A value as part of a line: short numbers, and quotes where it would not be seen where it ends."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(redacted(str(value)))
    if re.search(r'[ ="]', text) or not text:
        return '"' + text.replace('"', '\\"') + '"'
    return text


@contextmanager
def log_stages(clip: str) -> Iterator[None]:
    """Have the stages of this run logged, and shown as bars while they last."""
    heard = logging.getLogger("stitchedit.progress")
    heard.setLevel(logging.INFO)
    before, heard.propagate = heard.propagate, False  # or the worker's log has every step of every counter
    handlers = (RunLog(clip), ProgressBars())
    for handler in handlers:
        heard.addHandler(handler)
    try:
        yield
    finally:
        heard.propagate = before
        for handler in handlers:
            heard.removeHandler(handler)
