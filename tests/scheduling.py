"""Which tests go to one process: those that share something that takes a minute to make."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[1]
# Asks for fixtures of conftest.py: one edit, which is made for the first that asks, once for flows and once for others.
FINISHED = re.compile(r"\bdef \w+\([^)]*\b(finished|copied)\b")


class Scheduling(LoadFileScheduling):
    """A file of tests at a time, as `--dist loadfile` does; the longest, which come first, in one piece."""

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
