"""Seconds from `prefect deployment run` to the first stage, on a worker that is already running.

    python benchmarks/first_stage.py CLIP --runs 3

Uses a Prefect server, a process worker and `stitchedit deploy`, as in production. Each run has its own store, and is
cancelled once its first stage has started.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.settings import temporary_settings
from prefect.states import Cancelling

RUN = [sys.executable, "-m", "prefect", "deployment", "run", "edit-video/on-demand"]
WORKER = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu"]
WARM_S = 15  # wait for a worker to start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--query", type=int, default=2, help="s between two queries of the worker")
    words = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the servers that the tests use
    from prefect_servers import DATABASES, PrefectServer, process  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as place, ExitStack() as opened:
        folder = Path(place)
        server = PrefectServer(folder, opened.enter_context(DATABASES["sqlite"](folder)))
        server.start()
        opened.callback(server.kill)
        settings = server.settings | {"PREFECT_WORKER_QUERY_SECONDS": str(words.query), "OMP_WAIT_POLICY": "PASSIVE"}
        places = ["--catalog", str(folder / "none.yaml"), "--store", str(folder / "store")]
        deploy = [sys.executable, "-m", "flows.cli.main", "deploy", *places]
        subprocess.run(deploy, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
        opened.enter_context(process(WORKER, settings, folder / "worker.log"))
        opened.enter_context(temporary_settings(server.client_settings))
        client = opened.enter_context(get_client(sync_client=True))
        time.sleep(WARM_S)
        for number in range(words.runs):
            request = {"video": str(words.clip.absolute()), "store": str(folder / f"store{number}")}
            request |= {"output": str(folder / f"{number}.mp4"), "edits": [{"direction": "smile", "strength": 2}]}
            tell(client, request, os.environ | settings)


def tell(client: SyncPrefectClient, request: dict[str, object], environment: dict[str, str]) -> None:
    """Submit `request`, and print the waiting times."""
    before = {run.id for run in client.read_flow_runs()}
    asked = time.time()
    subprocess.run(
        [*RUN, "--param", f"request={json.dumps(request)}"], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    (run,) = (run.id for run in client.read_flow_runs() if run.id not in before)
    first = first_stage(client, run)
    flow = client.read_flow_run(run)
    assert flow.created is not None
    assert flow.start_time is not None
    steps = [moment - asked for moment in (flow.created.timestamp(), flow.start_time.timestamp(), first)]
    print("submitted after {:.1f} s, running after {:.1f} s, first stage after {:.1f} s".format(*steps), flush=True)
    client.set_flow_run_state(run, Cancelling())
    while not client.read_flow_run(run).state.is_final():  # type: ignore[union-attr]
        time.sleep(0.5)


def first_stage(client: SyncPrefectClient, run: UUID) -> float:
    """Start of the first stage of `run`, in s since 1970."""
    only = {"flow_run_filter": FlowRunFilter(id={"any_": [run]}), "task_run_filter": TaskRunFilter()}  # type: ignore[arg-type]
    while True:
        state = client.read_flow_run(run).state
        assert state is None or not state.is_final(), f"{state}: see the worker's log"
        starts = [task.start_time for task in client.read_task_runs(**only) if task.start_time]
        if starts:
            return min(starts).timestamp()
        time.sleep(0.5)


if __name__ == "__main__":
    main()
