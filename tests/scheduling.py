"""Scheduling for pytest-xdist: tests that share a slow fixture run in one process."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]
# Tests that use the finished edit of conftest.py, which is computed once for tests/flows and once for the others.
FINISHED = re.compile(r"\bdef \w+\([^)]*\b(finished|copied)\b")


class Scheduling(LoadFileScheduling):
    """One test file at a time, as `--dist loadfile` does; the slowest files, which come first, as one group."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.startswith("tests/crash/"):
            return "crash"
        if FINISHED.search((ROOT / path).read_text(encoding="utf-8")):
            return "finished flows" if path.startswith("tests/flows/") else "finished others"
        return path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> Scheduling:
    return Scheduling(config, log)
