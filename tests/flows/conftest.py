"""Fixtures: a Prefect server as an operator starts it, and a catalog to edit."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect_servers import DATABASES, PrefectServer, process
from tiny import TINY

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
    options: [decode.end=0.2, detect.backend=dlib]
  - source: phone*.mp4
    tags: [good]
"""


@pytest.fixture(scope="module")
def prefect_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A running server with its services and an empty database of the type in STITCHEDIT_TEST_DATABASE."""
    folder = tmp_path_factory.mktemp("server")
    with DATABASES[os.environ.get("STITCHEDIT_TEST_DATABASE", "sqlite")](folder) as database:
        server = PrefectServer(folder, database)
        server.start()
        yield server
        server.kill()


@pytest.fixture(scope="module")
def server_settings(prefect_service: PrefectServer) -> dict[str, str]:
    """Environment variables of clients of that server."""
    return prefect_service.settings


@pytest.fixture(scope="module")
def run_process() -> Callable[..., object]:
    """`with run_process(command, settings, log):` runs a command meanwhile."""
    return process


@pytest.fixture(scope="module")
def until() -> Callable[..., object]:
    """`until(ask, seconds)` calls `ask` until it returns a true value, and returns it."""

    def wait(ask: Callable[[], object], seconds: float = 60) -> object:
        give_up = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < give_up, f"not within {seconds:g} s"
            time.sleep(0.3)
        return answer

    return wait


@pytest.fixture(scope="session")
def make_catalog(clip: Path, packaged: Callable[[str], Path]) -> Callable[[Path], Path]:
    """`make_catalog(folder)` writes night.yaml with a good clip, a broken file, and a clip without a face."""

    def make(folder: Path) -> Path:
        (folder / "broken.mp4").write_bytes(clip.read_bytes()[:1000])
        shutil.copy(packaged("no_face.mp4"), folder / "empty.mp4")
        shutil.copy(clip, folder / "phone.mp4")
        (folder / "night.yaml").write_text(CATALOG.format(options=json.dumps(TINY)))
        return folder

    return make
