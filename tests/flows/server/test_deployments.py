"""The tasks of an operator: deploy, start workers, run a catalog, recover from a crash, cancel a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.events import Event
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import temporary_settings
from prefect.states import Cancelled, Cancelling, Running
from tiny import TINY

from flows.edit_video import edit_video

pytestmark = pytest.mark.server
DEPLOY = Path(__file__).parents[3] / "deploy"
NIGHTLY = {"deployment": "edit-video/on-demand"}  # parameters of edit-catalog/nightly besides paths
PREFECT = [sys.executable, "-m", "prefect"]
WAIT = 600  # s, upper limit: the machine may be busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_catalog):
    folder = make_catalog(tmp_path_factory.mktemp("catalog"))
    text = (folder / "night.yaml").read_text()
    text = text.replace('"stitch.steps=2"', '"stitch.steps=8"')  # long enough to restart the server meanwhile
    (folder / "night.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def chat():
    """Messages received by a webhook, and its address."""
    messages = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield messages, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def client(prefect_service, server_settings, folder, run_process, chat):
    """Client of a server after two deployments, with a worker for each pool."""
    deploy = [sys.executable, "-m", "flows.cli.main", "deploy", "--catalog", str(folder / "night.yaml")]
    for _ in range(2):
        command = [*deploy, "--store", str(folder / "store"), "--cron", "30 22 * * *", "--time-limit", "900"]
        settings = server_settings | {"STITCHEDIT_NOTIFY": chat[1]}
        subprocess.run(command, env=os.environ | settings, check=True, capture_output=True)
    settings = server_settings | {"PREFECT_WORKER_QUERY_SECONDS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with ExitStack() as stack:
        for pool, slot in {"cpu": "", "gpu": "stitchedit-cpu"}.items():
            command = [*PREFECT, "worker", "start", "--pool", pool, "--no-create-pool-if-not-found"]
            own = settings | {"STITCHEDIT_SLOT": slot}
            stack.enter_context(run_process(command, own, folder / f"{pool}.log"))
        stack.enter_context(temporary_settings(prefect_service.client_settings))
        yield stack.enter_context(get_client(sync_client=True))


@pytest.fixture
def start(client, folder, until):
    """`start(deployment, **request)` submits a run and returns its id. The store is empty; runs are cancelled later."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    runs = []

    def submit(name, **request):
        parameters = {"parameters": {"request": request}} if request else {}
        runs.append(run_deployment(name, timeout=0, as_subflow=False, **parameters).id)
        return runs[-1]

    yield submit
    for run in runs:
        if not (state := state_of(client, run)).is_final():
            client.set_flow_run_state(run, Cancelling() if state.is_running() else Cancelled(), force=True)
            until(lambda run=run: state_of(client, run).is_final(), WAIT)


def state_of(client, run: UUID):
    return client.read_flow_run(run).state


def states(client, run: UUID) -> list[str]:
    """Names of all states of a run in order, including short ones."""
    return [state.name for state in client.read_flow_run_states(run)]


def task_states(client, run: UUID) -> dict[str, str]:
    """Name of the last state of each stage."""
    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run]}))
    ordered = sorted(found, key=lambda task: task.created)
    return {task.name.partition("-")[0]: task.state.name for task in ordered if task.state}


def children(client, parent: UUID) -> list:
    """Runs that a catalog run started."""
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id={"any_": [parent]}))


def is_computing(client, run: UUID, stage: str) -> bool:
    return task_states(client, run).get(stage) == "Running"


def process_of(client, run: UUID) -> int:
    """Id of the process of a run."""
    return int(client.read_flow_run(run).infrastructure_pid.rpartition(":")[2])


def unfinished_tuning(folder: Path) -> list[Path]:
    return list((folder / "store" / "staging").glob("tune-*"))


def test_a_second_deployment_changes_nothing(client):
    found = sorted(deployment.name for deployment in client.read_deployments())
    assert found == ["nightly", "on-demand", "weekly", "weekly"]
    files = sorted(path.stem for path in (DEPLOY / "automations").glob("*.yaml"))
    assert sorted(automation.name for automation in client.read_automations()) == files
    (nightly,) = [deployment for deployment in client.read_deployments() if deployment.name == "nightly"]
    assert [schedule.schedule.cron for schedule in nightly.schedules] == ["30 22 * * *"]
    assert nightly.parameters["request"] | {"clips_at_once": 2, "time_limit_s": 900} == nightly.parameters["request"]
    assert nightly.global_concurrency_limit.limit == 1
    assert nightly.pull_steps == [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(DEPLOY.parent)}}
    ]
    assert client.read_work_pool("gpu").concurrency_limit == 2


def test_the_address_of_the_webhook_is_stored_as_a_secret(client, chat):
    shown = client.read_block_document_by_name("stitchedit-notify", "custom-webhook", include_secrets=False)
    assert chat[1] not in str(shown.data)


def test_a_catalog_run_survives_a_killed_process_and_a_server_restart(client, folder, start, prefect_service, until):
    catalog_run = start("edit-catalog/nightly")
    phone = until(lambda: [run for run in children(client, catalog_run) if "phone" in run.name], WAIT)[0].id
    until(lambda: is_computing(client, phone, "tune"), WAIT)
    os.kill(process_of(client, phone), signal.SIGKILL)
    until(lambda: "Crashed" in states(client, phone), WAIT)
    until(
        lambda: is_computing(client, phone, "stitch"), WAIT
    )  # the slot of a killed process is released after a minute
    prefect_service.kill()
    time.sleep(8)
    prefect_service.start()

    state = until(lambda: (now := state_of(client, catalog_run)).is_final() and now, WAIT)
    assert state.type == StateType.FAILED
    assert "2 failed" in state.message
    assert state_of(client, phone).is_completed()
    assert client.read_flow_run(phone).run_count == 2
    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [phone]}))
    assert {"align", "invert"} <= {task.name.partition("-")[0] for task in found if task.state.name == "Cached"}
    outcomes = [json.loads(path.read_text()) for path in (folder / "store" / "catalogs" / "night").glob("*.json")]
    states_by_clip = {Path(one["source"]).name: one["state"] for one in outcomes}
    assert (states_by_clip["broken.mp4"], states_by_clip["empty.mp4"]) == ("failed", "failed")
    assert states_by_clip["phone.mp4"] in {"published", "review", "held"}
    assert len(children(client, catalog_run)) == 2  # none for the file that is not a video
    assert (folder / "night_summary.html").exists()


def test_a_killed_catalog_run_resumes_and_can_be_cancelled(client, folder, start, until):
    text = (folder / "night.yaml").read_text().replace("catalog: night", "catalog: long")
    (folder / "long.yaml").write_text(text.replace('"tune.passes=2"', '"tune.passes=200", "tune.patience=0"'))
    fields = {"catalog": str(folder / "long.yaml"), "store": str(folder / "store"), "tags": ["good"]}
    catalog_run = start("edit-catalog/nightly", **NIGHTLY, **fields)
    (child,) = until(lambda: children(client, catalog_run), WAIT)
    until(lambda: unfinished_tuning(folder), WAIT)
    os.kill(process_of(client, catalog_run), signal.SIGKILL)
    until(lambda: "Crashed" in states(client, catalog_run), WAIT)
    until(lambda: state_of(client, catalog_run).is_running(), WAIT)  # its concurrency slot was released
    time.sleep(10)  # time to read the catalog
    assert client.read_flow_run(catalog_run).run_count == 2
    assert [run.id for run in children(client, catalog_run)] == [child.id]

    second = start("edit-catalog/nightly")
    until(lambda: state_of(client, second).name == "AwaitingConcurrencySlot", WAIT)
    client.set_flow_run_state(second, Cancelled(), force=True)
    assert state_of(client, catalog_run).is_running()

    number = process_of(client, child.id)
    client.set_flow_run_state(catalog_run, Cancelling())
    until(lambda: not Path(f"/proc/{number}").exists(), WAIT)
    until(lambda: state_of(client, catalog_run).is_cancelled(), WAIT)
    until(lambda: state_of(client, child.id).is_cancelled(), WAIT)
    assert unfinished_tuning(folder)  # for the next run to resume


def test_a_failed_catalog_run_is_sent_to_the_webhook(folder, chat, start, until):
    lines = [
        "catalog: bad",
        "consent_required: false",
        "defaults: {edits: {smile: 2}}",
        "clips: [{source: broken.mp4}]",
    ]
    (folder / "bad.yaml").write_text("\n".join(lines))
    start("edit-catalog/nightly", **NIGHTLY, catalog=str(folder / "bad.yaml"), store=str(folder / "store"))
    until(lambda: any("edit-catalog failed" in text and "bad: 1 failed" in text for text in chat[0]), WAIT)


def test_a_cancelled_run_ends_within_seconds(client, folder, start, until):
    edit = {"direction": "smile", "strength": 1}
    paths = {"store": str(folder / "store"), "output": str(folder / "cancelled.mp4")}
    run = start("edit-video/on-demand", video=str(folder / "phone.mp4"), edits=[edit], options=TINY, **paths)
    until(lambda: task_states(client, run), WAIT)
    number = process_of(client, run)
    client.set_flow_run_state(run, Cancelling())

    until(lambda: not Path(f"/proc/{number}").exists(), 60)
    until(lambda: state_of(client, run).is_cancelled(), WAIT)


def test_a_run_without_heartbeats_is_marked_as_crashed(client, until):
    definition = yaml.safe_load((DEPLOY / "automations" / "silent-runs-are-crashed.yaml").read_text())
    soon = AutomationCore.model_validate(
        definition | {"name": "soon", "trigger": definition["trigger"] | {"within": 10}}
    )
    automation = client.create_automation(soon)
    run = client.create_flow_run(edit_video, state=Running())
    heartbeat = Event(
        event="prefect.flow-run.heartbeat", resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    )
    client.request("POST", "/events", json=[heartbeat.model_dump(mode="json")])

    until(lambda: state_of(client, run.id).is_crashed(), WAIT)
    assert "no heartbeat" in state_of(client, run.id).message
    client.delete_automation(automation)


def test_metrics_require_the_password(prefect_service):
    url, (user, _, password) = f"{prefect_service.url}/metrics", prefect_service.login.partition(":")
    assert httpx.get(url, timeout=10).status_code == 401
    assert "# TYPE" in httpx.get(url, auth=(user, password), timeout=10).text
