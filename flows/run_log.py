"""What stages tell of themselves, as lines of Prefect's log of the run: clip, stage, what happened, and the facts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from flows.artifacts import ProgressBars


class RunLog(logging.Handler):
    """Writes every record of `stitchedit.progress` but those of counters: `clip=a.mp4 stage=tune event=finished …`."""

    def __init__(self, clip: str) -> None:
        super().__init__()
        self.clip = clip

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", "advanced")
        if event == "advanced":
            return
        words = {"clip": self.clip, "stage": record.stage, "event": event, **record.facts}  # type: ignore[attr-defined]
        try:
            get_run_logger().info(" ".join(f"{name}={written(value)}" for name, value in words.items()))
        except MissingContextError:  # a thread of its own, of no run
            return


def written(value: object) -> str:
    """A value as part of a line: short numbers, and quotes where there are spaces."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text else text


@contextmanager
def shown(clip: str) -> Iterator[None]:
    """Have the stages of this run logged, and shown as bars while they last."""
    heard = logging.getLogger("stitchedit.progress")
    heard.setLevel(logging.INFO)
    handlers = (RunLog(clip), ProgressBars())
    for handler in handlers:
        heard.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            heard.removeHandler(handler)
