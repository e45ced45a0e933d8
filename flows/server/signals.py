"""End a command immediately on Ctrl-C and SIGTERM.

The computing thread cannot be interrupted; ending the process leaves the store consistent.
"""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import active_children
from typing import NoReturn

from rich.console import Console


def end_now(number: int) -> NoReturn:
    """End this process and its child processes."""
    for child in active_children():
        child.kill()
    sys.stdout.flush()
    os._exit(128 + number)


def stop_on_signal(console: Console, first: Callable[[], object] = lambda: None) -> None:
    """On Ctrl-C and SIGTERM, stop the temporary Prefect server, print how to resume, and exit.

    Args:
        first: called once before that; a second signal does not wait for it.
    """
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - takes seconds

    def stop(number: int, frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, lambda number, frame: end_now(number))
        first()
        for server in list(SubprocessASGIServer._instances.values()):  # Prefect has no public API for it
            server.stop()
        console.print(f"[yellow]stopped by {signal.Signals(number).name}; run the same command to resume[/yellow]")
        end_now(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
