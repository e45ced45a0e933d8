"""What a power cut costs: a process killed in the middle of tuning, and the run after it."""

import json
import os
import signal
import subprocess
import sys

import pytest
from prefect.settings import PREFECT_API_URL

from flows.cli import main as cli
from storage.weights.state_dict import read_metadata
from tasks.runtime.stage_names import STAGES

# The command line, and a line for every step of tuning on top. `--json` keeps the rest off standard output.
CHILD = """
import logging
from flows.cli.main import main

class Steps(logging.Handler):
    def emit(self, record):
        if (record.stage, record.event) == ("tune", "advanced"):
            print(record.facts["done"], flush=True)

logging.getLogger("stitchedit.progress").addHandler(Steps())
main()
"""


@pytest.fixture
def words(copied):
    """The command: all but the tuning and what follows from it is in the store. Nine steps, a checkpoint every two."""
    request = copied.request
    where = ["--store", request.store, "--output", str(request.output)]
    return ["edit", str(request.video), *request.options, "tune.passes=3", "--edit", "smile=+2", "--json", *where]


@pytest.fixture
def stop(copied, words):
    """`stop(signal)` runs the command to the third step of tuning at least; gives how it ended and how far it was."""

    def run(number):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}
        with subprocess.Popen([sys.executable, "-c", CHILD, *words], env=environment, **pipes) as child:
            done = next((step for step in map(int, child.stdout) if step >= 3), None)
            child.send_signal(number)
            rest, told = child.communicate()
        assert done is not None, told
        done = max([done, *map(int, rest.split())])
        (staging,) = (copied.store.folder / "staging").iterdir()
        saved = int(read_metadata(staging / ".state.safetensors")["step"])
        return child.returncode, " ".join(told.split()), done, saved

    return run


def test_a_killed_tuning_is_resumed_and_what_came_before_is_cached(copied, words, stop, told, capfd, monkeypatch):
    code, _, done, saved = stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert done - 2 <= saved < 9

    monkeypatch.setattr(sys, "argv", ["stitchedit", *words])
    capfd.readouterr()
    try:
        cli.main()
    except SystemExit as end:
        assert end.code in {0, None}  # noqa: PT017 - it may come to its end without
    stages = json.loads(capfd.readouterr().out)["stages"]

    assert {stage: result["how"] for stage, result in stages.items()} == {
        **dict.fromkeys(STAGES, "ran"), **dict.fromkeys(STAGES[: STAGES.index("tune")], "cached"),
        "tune": "resumed", "edit": "cached",
    }  # fmt: skip
    steps = [record.done for record in told.records if record.stage == "tune" and record.event == "advanced"]
    assert steps[0] == saved + 1
    assert steps[-1] == 9
    assert copied.request.output.exists()


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(copied, stop):
    code, told, done, saved = stop(signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert "stopped by SIGINT; run the same command to go on" in told
    assert "Traceback" not in told
    assert done - 2 <= saved < 9
    assert not copied.request.output.exists()
