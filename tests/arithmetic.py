"""Does this machine divide right? One core of one of ours did not, for seconds at a time: docs/decisions/0020.

A core that is caught is left alone for a while by the tests and all that they start, and a test that failed beside it
runs again. Where no core is caught, nothing is different.
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
SETTLE = 1.5  # s after a failure, in which the watch sees what it missed and moves us: a test can last a moment only
REST = 5.0  # s that a core is left alone after it last was wrong: a virtual one moves on to a sound one

# Divides on one core, twenty times a second; a line for each time that it was wrong: when, and where.
WATCH = r"""
import os, sys, time
import numpy as np

core, parent = int(sys.argv[1]), os.getppid()
os.sched_setaffinity(0, {core})
x = np.random.default_rng(0).uniform(0.01, 1000, 4096)
while os.getppid() == parent:
    if not np.array_equal(x / x, np.ones(4096)):
        os.write(1, f"{time.time()} {core}\n".encode())  # in one go: others write to that file, too
    time.sleep(0.05)
"""


class Watch:
    """A process on each core, and a thread here that keeps everything off the cores that they catch."""

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
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def wrong(self, since: float = 0.0) -> set[int]:
        """Cores that divided wrongly, since then."""
        told = self.caught.read_text() if self.caught.exists() else ""
        lines = re.findall(r"^(\d+\.\d+) (\d+)$", told, re.MULTILINE)
        return {int(core) for when, core in lines if float(when) >= since}

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        for child in self.children:
            child.kill()
            child.wait()

    def _go_on(self) -> None:
        avoided: set[int] = set()
        while not self._stopped.wait(PERIOD):
            wrong = self.wrong(time.time() - REST)
            if wrong or avoided:  # for as long as a core is wrong: more is started all the time
                self._move_to(self.cores - wrong or self.cores)
            avoided = wrong

    def _move_to(self, cores: set[int]) -> None:
        """This process and all that it started, thread by thread."""
        own = {child.pid for child in self.children}
        ours = psutil.Process()
        for process in [ours, *(child for child in ours.children(recursive=True) if child.pid not in own)]:
            with suppress(psutil.Error, OSError):  # it came to its end meanwhile
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, cores)


def usable() -> set[int]:
    """Cores that this process may use; none where they cannot be told apart."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def soundly(make: Callable[[int], T]) -> T:
    """What `make(attempt)` gives beside no core that was caught, or at the last attempt."""
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
        return  # it only hands out tests
    _folder = TemporaryDirectory()
    _watch = Watch(Path(_folder.name))


def pytest_sessionfinish() -> None:
    if _watch is not None and _folder is not None:
        _watch.stop()
        _folder.cleanup()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run `item`; if it failed and a core was caught beside it, again."""
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
