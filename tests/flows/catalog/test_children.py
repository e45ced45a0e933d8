"""Runs that a catalog's run started on workers, of a real server."""

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
def night():
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
    """A catalog's run, as which this process goes on."""
    run = client.create_flow_run(night, state=Running())
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(run.id))
    return run


@pytest.fixture
def started(client, parent):
    """`started(name, state)` is a run that it started."""
    link = client.create_task_run(start, parent.id, dynamic_key="0").id

    def make(name, state) -> UUID:
        return client.create_flow_run(edit, name=name, state=state, parent_task_run_id=link).id

    return make


def test_more_children_than_a_page_are_all_cancelled(client, parent, started, monkeypatch):
    monkeypatch.setattr(children, "PAGE", 5)
    ended = {started(f"ended-{number}", Completed()) for number in range(7)}
    going = {started(f"going-{number}", Running() if number % 3 else Scheduled()) for number in range(12)}
    assert {run.id for run in children_of(client, parent.id, UNFINISHED)} == going

    cancel_children(night, client.read_flow_run(parent.id), parent.state)
    states = [client.read_flow_run(run).state.type for run in going]
    assert set(states) == {StateType.CANCELLING, StateType.CANCELLED}
    assert {client.read_flow_run(run).state.type for run in ended} == {StateType.COMPLETED}


def test_a_command_that_is_stopped_stops_what_it_started(client, parent, started):
    going = started("night-a-1", Running())
    children.cancel_this_run()
    assert client.read_flow_run(going).state.type == StateType.CANCELLING
    assert client.read_flow_run(parent.id).state.is_cancelled()


def test_ctrl_c_ends_the_run_of_the_catalog(client, clip, tmp_path):
    entry = f"{{source: {clip}, edits: {{smile: 2}}, output: a.mp4}}"
    (tmp_path / "night.yaml").write_text(f"catalog: night\nconsent_required: false\nclips: [{entry}]\n")
    words = [
        sys.executable,
        "-m",
        "flows.cli.main",
        "run",
        str(tmp_path / "night.yaml"),
        "--store",
        str(tmp_path / "store"),
    ]
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}

    def mine():
        found = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=10)
        return [run.id for run in found if run.state.is_running() and str(tmp_path) in str(run.parameters)]

    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as command:
        give_up = time.monotonic() + 120
        while not mine():
            assert time.monotonic() < give_up
            time.sleep(0.2)
        (run,) = mine()
        command.send_signal(signal.SIGINT)
        told, _ = command.communicate(timeout=60)
    assert command.returncode == 128 + signal.SIGINT
    assert "run the same command to go on" in told
    assert client.read_flow_run(run).state.is_cancelled()


def test_a_server_gives_no_more_than_a_page_at_once(client):
    with pytest.raises(Exception, match="limit"):
        client.read_flow_runs(limit=children.PAGE + 1)
    client.read_flow_runs(limit=children.PAGE)


def test_a_catalog_that_goes_on_takes_up_runs_that_crashed_too_until_they_are_given_up(client, started, monkeypatch):
    monkeypatch.setattr(children, "RESTART_S", 0.0)
    started("night-a-1", Completed())
    crashed, running = started("night-a-1", Crashed()), started("night-b-1", Running())
    runs = DeployedChildren(client, "edit-video/on-demand")
    assert runs.left_behind("night-b-1") == running
    assert runs.left_behind("night-c-1") is None
    assert runs.left_behind("night-a-1") == crashed

    child = Child(crashed)
    states = [runs.ended(child) for _ in range(2)]
    assert states[-1].is_crashed()
    assert runs.left_behind("night-a-1") is None
