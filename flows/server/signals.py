"""Ctrl-C and SIGTERM end a command at once: nothing can interrupt the thread that computes; the store can take it."""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import active_children
from typing import NoReturn

from rich.console import Console


def end_now(number: int) -> NoReturn:
    """End this process and the runs that it has under way in processes of their own."""
    for child in active_children():
        child.kill()
    sys.stdout.flush()
    os._exit(128 + number)


def stop_on_signal(console: Console, first: Callable[[], object] = lambda: None) -> None:
    """Have Ctrl-C and SIGTERM stop the temporary Prefect server too, and say how to go on.

    Args:
        first: called before that, once; a second Ctrl-C does not wait for it.
    """
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - takes seconds

    def stop(number: int, frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, lambda number, frame: end_now(number))
        first()
        for server in list(SubprocessASGIServer._instances.values()):  # Prefect has no public way
            server.stop()
        console.print(f"[yellow]stopped by {signal.Signals(number).name}; run the same command to go on[/yellow]")
        end_now(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
