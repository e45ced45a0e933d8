"""Real runs in child processes that are killed: CRASH_KILLS times, by a list with the seed CRASH_SEED."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL

from storage.store import Store, open_store

OPTIONS = [
    "align.size=256", "detect.backend=dlib",
    "invert.refine_steps=4", "invert.color_steps=2", "invert.refine_passes=1", "invert.segment=2",
    "invert.checkpoint_every=2",
    "tune.passes=1", "tune.batch=1", "tune.locality_weight=0", "tune.checkpoint_every=2",
    "stitch.steps=1", "stitch.settle_steps=1", "stitch.learning_rate=3e-5", "stitch.stop_below=0", "stitch.chunk=2",
    "encode.preset=veryfast", "encode.segment=2",
]  # fmt: skip

# The command line. Writes a line to $LOG for every progress record of a stage; and, $DELAY seconds after the $COUNT-th
# "advanced" record of $STAGE, or after its end, kills itself with SIGKILL.
CHILD = """
import json, logging, os, signal, threading
import tasks.runtime.progress
import tasks.runtime.stage
tasks.runtime.progress.PERIOD = 0.0
tasks.runtime.stage.RETRY_DELAYS[:] = [1, 2, 4]
from flows.cli.main import main

log = open(os.environ["LOG"], "a", buffering=1)
stage, left, delay = os.environ.get("STAGE"), int(os.environ.get("COUNT", 0)), float(os.environ.get("DELAY", 0))

class Watch(logging.Handler):
    def emit(self, record):
        global left
        log.write(json.dumps([record.stage, record.event, record.facts], default=str) + "\\n")
        if record.stage == stage and record.event in ("advanced", "finished", "cached"):
            left = left - 1 if record.event == "advanced" else min(left, 0)
            if left == 0:
                left = -1
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

logging.getLogger("stitchedit.progress").addHandler(Watch())
main()
"""


@dataclass
class Runs:
    """Runs of one command on one store, consecutive or parallel."""

    clip: Path
    folder: Path
    store: str
    edit: str = "smile=+2"
    logs: list[Path] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / f"{self.edit}.mp4"

    def start(self, kill: tuple[str, int, float] | None = None, options: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Start a run in the background; `kill` is stage, number of its "advanced" records, and delay in s."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.append(self.folder / f"{len(self.logs):03}.log")
        self.logs[-1].touch()
        arguments = ["edit", self.clip, *OPTIONS, *options, "--end", "0.13", "--edit", self.edit, "--json"]
        places = ["--store", self.store, "--scratch", self.folder / "scratch", "--output", self.output]
        known = {"PREFECT_API_URL": PREFECT_API_URL.value(), "LOG": self.logs[-1], "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        if kill:
            known |= dict(zip(("STAGE", "COUNT", "DELAY"), kill, strict=True))
        environment = os.environ | {name: str(value) for name, value in known.items()}
        command = [sys.executable, "-c", CHILD, *map(str, [*arguments, *places])]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def run(self, kill: tuple[str, int, float] | None = None, options: Sequence[str] = ()) -> tuple[int, str]:
        """Run to the end; return exit code and standard error on one line."""
        with self.start(kill, options) as child:
            errors = child.communicate()[1]
        return child.returncode, " ".join(errors.split())

    def records(self, number: int) -> list[tuple[str, str, dict[str, object]]]:
        """Progress records of one run: stage, event, facts."""
        lines = self.logs[number].read_text().splitlines()
        return [tuple(json.loads(line)) for line in lines if line.endswith("]")]  # type: ignore[misc]

    def stages(self, number: int, event: str) -> list[str]:
        return [stage for stage, found, _ in self.records(number) if found == event]

    def opened(self) -> Store:
        return open_store(self.store, self.folder / "scratch")

    def digests(self) -> dict[str, str]:
        """Digest of each stage's one artifact, without the report, which contains durations."""
        made = {artifact.stage: artifact.digest for artifact in self.opened().artifacts()}
        made.pop("report", "")
        return made

    def frames(self) -> np.ndarray:
        """Every frame of the output, decoded, `frame height width rgb`."""
        with av.open(str(self.output)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="session")
def runs(packaged: Callable[[str], Path], prefect_server: None) -> Callable[..., Runs]:
    """`runs(folder, store)`: four frames of single_face.mp4."""

    def make(folder: Path, store: str = "", edit: str = "smile=+2") -> Runs:
        return Runs(packaged("single_face.mp4"), folder, store or str(folder / "store"), edit)

    return make


@pytest.fixture(scope="session")
def undisturbed(runs: Callable[..., Runs], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run without a kill."""

    made = runs(tmp_path_factory.mktemp("undisturbed"))
    code, errors = made.run()
    assert code == 0, errors
    return made


@pytest.fixture(scope="session")
def kills_wanted() -> tuple[int, int]:
    """Number of kills, and the seed of their list."""
    return int(os.environ.get("CRASH_KILLS", "3")), int(os.environ.get("CRASH_SEED", "0"))
