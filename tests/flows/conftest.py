"""A Prefect server as an operator starts it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

START_S = 180
CATALOG = """
catalog: night
consent_required: false
defaults:
  edits: {{smile: 2}}
  output: "done/{{stem}}_{{edit}}{{suffix}}"
  options: {options}
clips:
  - source: broken.mp4
  - source: empty.mp4
    options: [decode.end=0.2, landmarks.backend=dlib]
  - source: phone*.mp4
    tags: [good]
"""


@contextmanager
def process(command: list[str], settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file, ended with the block."""
    with log.open("w") as file, subprocess.Popen(command, env=os.environ | settings, stdout=file, stderr=file) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


@pytest.fixture(scope="module")
def server_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of whoever talks to a server that runs, services and all, with an empty database."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    with process(command, settings, folder / "server.log") as server:
        _wait(f"{settings['PREFECT_API_URL']}/health", server, folder / "server.log")
        yield settings


@pytest.fixture(scope="module")
def run_process() -> Callable[..., object]:
    """`with run_process(command, settings, log):` has it run."""
    return process


@pytest.fixture(scope="module")
def until() -> Callable[..., object]:
    """`until(ask, seconds)` asks until there is an answer that is true, and gives it."""

    def wait(ask: Callable[[], object], seconds: float = 60) -> object:
        give_up = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < give_up, f"not within {seconds:g} s"
            time.sleep(0.3)
        return answer

    return wait


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.fail(f"no answer from {url} in {START_S} s\n{log.read_text()}")


@pytest.fixture(scope="session")
def make_night(clip: Path, packaged: Callable[[str], Path], finished: Any) -> Callable[[Path], Path]:
    """`make_night(folder)` puts night.yaml there: a good clip, one that is no video, and one without a face."""

    def make(folder: Path) -> Path:
        (folder / "broken.mp4").write_bytes(clip.read_bytes()[:1000])
        shutil.copy(packaged("no_face.mp4"), folder / "empty.mp4")
        shutil.copy(clip, folder / "phone.mp4")
        (folder / "night.yaml").write_text(CATALOG.format(options=json.dumps(finished.request.options)))
        return folder

    return make
