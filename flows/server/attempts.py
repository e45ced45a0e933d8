"""Prepare a flow run: limit restarts after crashes, and exit on SIGTERM."""

import signal
import threading

from prefect.runtime import deployment, flow_run

from flows.server.run_log import omit_tracebacks
from flows.server.signals import end_now
from stitchedit.errors import StitchEditError

RUNS = 4  # attempts of a run: the first, and one after each of three crashes


class TooManyCrashesError(StitchEditError):
    """A run whose process crashed in every attempt."""


def begin() -> None:
    """Refuse a run that crashed too often; on a worker, make SIGTERM end this process immediately.

    The computing thread cannot be interrupted; ending the process leaves the store consistent. Prefect's worker marks
    the run as cancelled or crashed when its process has ended.

    Raises:
        TooManyCrashesError: this is attempt RUNS + 1 or later.
    """
    omit_tracebacks()
    if (flow_run.run_count or 0) > RUNS:
        raise TooManyCrashesError(
            f"It crashed {RUNS} times. Check the worker's log (memory?), then submit it again; finished stages stay."
        )
    if deployment.id and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: end_now(number))
