"""What a flow does first under a worker: see that it was not begun too often, and that it can be stopped at once."""

import signal
import threading

from prefect.runtime import deployment, flow_run

from flows.server.run_log import leave_out_traces
from flows.server.signals import end_now
from stitchedit.errors import StitchEditError

RUNS = 4  # times that a run is begun: once, and after three crashes


class TooManyCrashesError(StitchEditError):
    """A run that takes its process down every time."""


def begin() -> None:
    """Refuse a run that crashed too often; let SIGTERM end this process at once if a worker began it.

    What computes is a thread that nothing can interrupt; the store can take it. Prefect's worker marks the run as
    cancelled or crashed when the process is gone.

    Raises:
        TooManyCrashesError: it was begun more than RUNS times.
    """
    leave_out_traces()
    if (flow_run.run_count or 0) > RUNS:
        raise TooManyCrashesError(
            f"It crashed {RUNS} times. Look at the worker's log (memory?), then submit it again: what is done stays."
        )
    if deployment.id and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: end_now(number))
