"""Runs that a catalog's run started on workers, of a real server."""

from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
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
