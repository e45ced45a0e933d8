"""Kill a process during tuning, and resume in the next run."""

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

# The command line, plus a line on standard output for every step of tuning; `--json` keeps other lines off it.
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
def arguments(copied):
    """Arguments of a run with all stages before tuning cached. Nine steps, a checkpoint every two."""
    request = copied.request
    places = ["--store", request.store, "--output", str(request.output)]
    return ["edit", str(request.video), *request.options, "tune.passes=3", "--edit", "smile=+2", "--json", *places]


@pytest.fixture
def stop(copied, arguments):
    """`stop(signal)` stops the command after at least three steps of tuning.

    It returns the exit code, standard error, the last step and the step of the checkpoint.
    """

    def run(number):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}
        with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment, **pipes) as child:
            done = next((step for step in map(int, child.stdout) if step >= 3), None)
            child.send_signal(number)
            rest, errors = child.communicate()
        assert done is not None, errors
        done = max([done, *map(int, rest.split())])
        (staging,) = (copied.store.folder / "staging").iterdir()
        saved = int(read_metadata(staging / ".state.safetensors")["step"])
        return child.returncode, " ".join(errors.split()), done, saved

    return run


def test_killed_tuning_is_resumed_and_earlier_stages_are_cached(copied, arguments, stop, told, capfd, monkeypatch):
    code, _, done, saved = stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert done - 2 <= saved < 9

    monkeypatch.setattr(sys, "argv", ["stitchedit", *arguments])
    capfd.readouterr()
    try:
        cli.main()
    except SystemExit as end:
        assert end.code in {0, None}  # noqa: PT017 - it may return without raising
    stages = json.loads(capfd.readouterr().out)["stages"]

    assert {stage: result["how"] for stage, result in stages.items()} == {
        **dict.fromkeys(STAGES, "ran"), **dict.fromkeys(STAGES[: STAGES.index("tune")], "cached"),
        "tune": "resumed", "edit": "cached",
    }  # fmt: skip
    steps = [record.done for record in told.records if record.stage == "tune" and record.event == "advanced"]
    assert steps[0] == saved + 1
    assert steps[-1] == 9
    assert copied.request.output.exists()


def test_ctrl_c_exits_immediately_and_prints_how_to_resume(copied, stop):
    code, errors, done, saved = stop(signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert "stopped by SIGINT; run the same command to resume" in errors
    assert "Traceback" not in errors
    assert done - 2 <= saved < 9
    assert not copied.request.output.exists()
