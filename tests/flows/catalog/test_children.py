"""Child runs of a catalog on a real server."""

import os
import signal
import subprocess
import sys
import time
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Running, Scheduled

from flows.catalog import children
from flows.catalog.children import UNFINISHED, Child, DeployedChildren, cancel_children, children_of


@flow
def catalog():
    pass


@flow
def edit():
    pass


@task
def start():
    pass


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def parent(client, monkeypatch):
    """A catalog run whose id this process has."""
    run = client.create_flow_run(catalog, state=Running())
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(run.id))
    return run


@pytest.fixture
def started(client, parent):
    """`started(name, state)` creates a child run of `parent`."""
    link = client.create_task_run(start, parent.id, dynamic_key="0").id

    def make(name, state) -> UUID:
        return client.create_flow_run(edit, name=name, state=state, parent_task_run_id=link).id

    return make


def test_children_on_several_pages_are_all_cancelled(client, parent, started, monkeypatch):
    monkeypatch.setattr(children, "PAGE", 5)
    ended = {started(f"ended-{number}", Completed()) for number in range(7)}
    unfinished = {started(f"unfinished-{number}", Running() if number % 3 else Scheduled()) for number in range(12)}
    assert {run.id for run in children_of(client, parent.id, UNFINISHED)} == unfinished

    cancel_children(catalog, client.read_flow_run(parent.id), parent.state)
    states = [client.read_flow_run(run).state.type for run in unfinished]
    assert set(states) == {StateType.CANCELLING, StateType.CANCELLED}
    assert {client.read_flow_run(run).state.type for run in ended} == {StateType.COMPLETED}


def test_stopping_a_command_cancels_its_run_and_children(client, parent, started):
    child = started("night-a-1", Running())
    children.cancel_this_run()
    assert client.read_flow_run(child).state.type == StateType.CANCELLING
    assert client.read_flow_run(parent.id).state.is_cancelled()


def test_ctrl_c_cancels_the_catalog_run(client, clip, tmp_path):
    entry = f"{{source: {clip}, edits: {{smile: 2}}, output: a.mp4}}"
    (tmp_path / "night.yaml").write_text(f"catalog: night\nconsent_required: false\nclips: [{entry}]\n")
    command = [
        sys.executable,
        "-m",
        "flows.cli.main",
        "run",
        str(tmp_path / "night.yaml"),
        "--store",
        str(tmp_path / "store"),
    ]
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}

    def own_runs():
        found = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=10)
        return [run.id for run in found if run.state.is_running() and str(tmp_path) in str(run.parameters)]

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        give_up = time.monotonic() + 120
        while not own_runs():
            assert time.monotonic() < give_up
            time.sleep(0.2)
        (run,) = own_runs()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "run the same command to resume" in output
    assert client.read_flow_run(run).state.is_cancelled()


def test_a_server_refuses_more_runs_per_request_than_a_page(client):
    with pytest.raises(Exception, match="limit"):
        client.read_flow_runs(limit=children.PAGE + 1)
    client.read_flow_runs(limit=children.PAGE)


def test_a_resumed_catalog_adopts_unfinished_and_crashed_runs_until_they_are_abandoned(client, started, monkeypatch):
    monkeypatch.setattr(children, "RESTART_S", 0.0)
    started("night-a-1", Completed())
    crashed, running = started("night-a-1", Crashed()), started("night-b-1", Running())
    runs = DeployedChildren(client, "edit-video/on-demand")
    assert runs.find_unfinished("night-b-1") == running
    assert runs.find_unfinished("night-c-1") is None
    assert runs.find_unfinished("night-a-1") == crashed

    child = Child(crashed)
    states = [runs.final_state(child) for _ in range(2)]
    assert states[-1].is_crashed()
    assert runs.find_unfinished("night-a-1") is None
