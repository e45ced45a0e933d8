"""Detection of CPU cores that divide wrongly, as one of ours did for seconds at a time: docs/decisions/0020.

The tests and all their processes avoid a faulty core for a while, and a test that failed meanwhile runs again. Without
a faulty core, nothing changes.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil
import pytest
from _pytest.runner import runtestprotocol

T = TypeVar("T")

TRIES = 3
PERIOD = 0.5  # s
SETTLE = 1.5  # s after a failure, for the watch to detect a fault and move us: a test can be shorter than its period
REST = 5.0  # s that a core is avoided after its last fault: a virtual core moves on to a sound physical one

# Divides on one core, twenty times a second; prints a line for each fault: time and core.
WATCH = r"""
import os, sys, time
import numpy as np

core, parent = int(sys.argv[1]), os.getppid()
os.sched_setaffinity(0, {core})
x = np.random.default_rng(0).uniform(0.01, 1000, 4096)
while os.getppid() == parent:
    if not np.array_equal(x / x, np.ones(4096)):
        os.write(1, f"{time.time()} {core}\n".encode())  # atomically: other processes write to this file
    time.sleep(0.05)
"""


class Watch:
    """A process on each core, and a thread here that moves all our processes off faulty cores."""

    def __init__(self, folder: Path) -> None:
        self.caught = folder / "caught.txt"
        self.children: list[subprocess.Popen[bytes]] = []
        self.cores = usable()
        for core in self.cores:
            with self.caught.open("ab") as file:
                environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
                command = [sys.executable, "-c", WATCH, str(core)]
                self.children.append(subprocess.Popen(command, stdout=file, env=environment))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._avoid_faulty_cores, daemon=True)
        self._thread.start()

    def wrong(self, since: float = 0.0) -> set[int]:
        """Cores that divided wrongly since a time, in s since 1970."""
        text = self.caught.read_text() if self.caught.exists() else ""
        lines = re.findall(r"^(\d+\.\d+) (\d+)$", text, re.MULTILINE)
        return {int(core) for when, core in lines if float(when) >= since}

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        for child in self.children:
            child.kill()
            child.wait()

    def _avoid_faulty_cores(self) -> None:
        avoided: set[int] = set()
        while not self._stopped.wait(PERIOD):
            wrong = self.wrong(time.time() - REST)
            if wrong or avoided:  # repeatedly while a core is faulty: new processes are started all the time
                self._move_to(self.cores - wrong or self.cores)
            avoided = wrong

    def _move_to(self, cores: set[int]) -> None:
        """Move this process and all its children to these cores, thread by thread."""
        own = {child.pid for child in self.children}
        ours = psutil.Process()
        for process in [ours, *(child for child in ours.children(recursive=True) if child.pid not in own)]:
            with suppress(psutil.Error, OSError):  # the process ended meanwhile
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores)


def usable() -> set[int]:
    """Cores that this process may use; empty on systems without CPU affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def soundly(make: Callable[[int], T]) -> T:
    """Result of the first `make(attempt)` during which no core was faulty, or of the last attempt."""
    for attempt in range(TRIES):
        cores, began = usable(), time.time()
        made = make(attempt)
        if _watch is None or not _watch.wrong(began) & cores:
            break
    return made


_watch: Watch | None = None
_folder: "TemporaryDirectory[str] | None" = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global _watch, _folder  # noqa: PLW0603 - one for the session
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        return  # the controller of pytest-xdist runs no tests
    _folder = TemporaryDirectory()
    _watch = Watch(Path(_folder.name))


def pytest_sessionfinish() -> None:
    if _watch is not None and _folder is not None:
        _watch.stop()
        _folder.cleanup()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run `item`, and again if it failed while a core was faulty."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(TRIES):
        cores, began = usable(), time.time()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if _watch is None or not any(report.failed for report in reports):
            break
        time.sleep(SETTLE)
        wrong = _watch.wrong(began - SETTLE) & cores
        if not wrong:
            break
        item.warn(pytest.PytestWarning(f"x / x was not 1 on core {min(wrong)} while this failed; it ran again"))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
