"""Progress of stages: records of the logger `stitchedit.progress`, with the facts as attributes.

Whoever wants to see them adds a handler: the command line draws bars, a worker writes lines. No stage knows which.
"""

import logging
import time
from typing import Literal

Event = Literal["started", "advanced", "finished", "cached", "failed", "noted", "measured"]

PERIOD = 0.1  # s between two records of one counter

logger = logging.getLogger("stitchedit.progress")


def report_event(stage: str, event: Event, **facts: object) -> None:
    """Send one record: `stage`, `event` and `facts` are its attributes."""
    logger.info("%s %s", stage, event, extra={"stage": stage, "event": event, "facts": facts})


class Progress:
    """A counter to hand to a stage function as its callback. Tells once in `PERIOD` at most, and its end."""

    def __init__(self, stage: str, unit: str, label: str = "") -> None:
        self.stage, self.unit, self.label = stage, unit, label or stage
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last > PERIOD or done >= total:
            self._last = now
            report_event(self.stage, "advanced", done=done, total=total, unit=self.unit, label=self.label)
