"""Child runs of a catalog: `edit-video` in local processes, or on the workers of a deployment."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, Protocol
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.flow_engine import run_flow_in_subprocess
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Cancelling, Crashed, Failed, Pending

from flows.edit_request import EditRequest
from flows.edit_video import edit_video
from tasks.runtime.device_slot import SLOT

RESTART_S = 60.0  # time for an automation to restart a crashed run
PAGE = 200  # runs per request, the server's limit
UNFINISHED = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
GRACE_S = 20.0  # time for a worker to end a cancelled run


@dataclass
class Child:
    """A child run in progress."""

    flow_run: UUID
    began: float = field(default_factory=time.monotonic)
    process: BaseProcess | None = None
    crashed: float | None = None  # monotonic time at which the crash was first seen

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Children(Protocol):
    """Start, poll and stop the child runs of a catalog."""

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child: ...
    def final_state(self, child: Child) -> State[Any] | None: ...
    def stop(self, child: Child, reason: str) -> None: ...


@dataclass(frozen=True)
class LocalChildren:
    """Child runs in processes of their own, isolated from each other's memory use and hangs."""

    client: SyncPrefectClient
    slot: str  # concurrency limit of stages on the device

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child:
        parameters = {"request": request.model_dump(mode="json")}
        run = self.client.create_flow_run(edit_video, name=name, parameters=parameters, tags=tags, state=Pending())
        env = {SLOT: self.slot, "PREFECT_API_URL": str(self.client.api_url).rstrip("/")}
        process = run_flow_in_subprocess(edit_video, flow_run=run, parameters={"request": request}, env=env)  # type: ignore[arg-type]
        return Child(run.id, process=process)

    def final_state(self, child: Child) -> State[Any] | None:
        assert child.process is not None
        if child.process.is_alive():
            return None
        state = self.client.read_flow_run(child.flow_run).state
        if state is None or not state.is_final():
            code = child.process.exitcode
            killed = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
            state = Crashed(message=f"Its process ended {killed}. Finished stages are kept.")
            self.client.set_flow_run_state(child.flow_run, state, force=True)
        return state

    def stop(self, child: Child, reason: str) -> None:
        assert child.process is not None
        child.process.kill()
        child.process.join()
        self.client.set_flow_run_state(child.flow_run, Failed(name="TimedOut", message=reason), force=True)


@dataclass(frozen=True)
class DeployedChildren:
    """Child runs of a deployment, executed by its workers."""

    client: SyncPrefectClient
    deployment: str
    abandoned: set[UUID] = field(default_factory=set)  # crashed, and not restarted within RESTART_S

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child:
        unfinished = self.find_unfinished(name)
        if unfinished:
            return Child(unfinished)
        parameters = {"request": request.model_dump(mode="json")}
        run: Any = run_deployment(self.deployment, parameters=parameters, flow_run_name=name, timeout=0, tags=tags)
        return Child(run.id)

    def find_unfinished(self, name: str) -> UUID | None:
        """An unfinished child of that name, started before this catalog run crashed and restarted."""
        wanted = {"name": {"any_": [name]}}
        runs = children_of(self.client, this_run.id, [*UNFINISHED, StateType.CRASHED], wanted)
        return next((run.id for run in runs if run.id not in self.abandoned), None)

    def final_state(self, child: Child) -> State[Any] | None:
        run = self.client.read_flow_run(child.flow_run)
        if run.state and run.state.is_running() and run.start_time:  # the time limit excludes queueing
            child.began = time.monotonic() - run.estimated_run_time.total_seconds()
        elif run.state and not run.state.is_final():
            child.began = time.monotonic()
        if run.state and run.state.is_crashed():  # an automation may restart it (deploy/automations)
            child.crashed = child.crashed or time.monotonic()
            if time.monotonic() - child.crashed <= RESTART_S:
                return None
            self.abandoned.add(child.flow_run)
            return run.state
        child.crashed = None
        return run.state if run.state and run.state.is_final() else None

    def stop(self, child: Child, reason: str) -> None:
        self.client.set_flow_run_state(child.flow_run, Cancelling(message=reason))
        until = time.monotonic() + GRACE_S
        while self.final_state(child) is None and time.monotonic() < until:
            time.sleep(1)
        if self.final_state(child) is None:
            self.client.set_flow_run_state(child.flow_run, Cancelled(message=reason), force=True)


def children_of(
    client: SyncPrefectClient,
    parent: UUID | str | None,
    states: Sequence[StateType],
    others: dict[str, Any] | None = None,
) -> list[FlowRun]:
    """Runs in one of `states` that `parent` started on workers, read in pages of `PAGE`."""
    if parent is None:
        return []
    conditions = {"parent_flow_run_id": {"any_": [str(parent)]}, "state": {"type": {"any_": states}}}
    wanted = FlowRunFilter.model_validate(conditions | (others or {}))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return found


def cancel_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the children of a cancelled catalog run (a Prefect hook). Finished stages are kept."""
    with local_client() as client:
        _cancel_all(client, flow_run.id, f"{flow_run.name} of {flow.name} was cancelled.")


def cancel_this_run() -> None:
    """Cancel the flow run of this process and its children on workers."""
    if this_run.id is None:
        return
    reason = "Its command was stopped. Run the command again to resume."
    with suppress(httpx.HTTPError), local_client() as client:  # without a server there is nothing to stop
        _cancel_all(client, UUID(this_run.id), reason)
        client.set_flow_run_state(UUID(this_run.id), Cancelled(message=reason), force=True)


def _cancel_all(client: SyncPrefectClient, parent: UUID, reason: str) -> None:
    cancelled: set[UUID] = set()
    while unfinished := [run for run in children_of(client, parent, UNFINISHED) if run.id not in cancelled]:
        for run in unfinished:  # repeated: a run that ends shifts others to a page already read
            cancelled.add(run.id)
            assert run.state is not None
            begun = run.state.is_running() or run.state.is_pending()
            client.set_flow_run_state(run.id, (Cancelling if begun else Cancelled)(message=reason), force=not begun)


def outcome_state(state: State[Any]) -> str:
    """The state of an outcome without a result, from the final state of its run."""
    names = {StateType.CRASHED: "crashed", StateType.CANCELLED: "cancelled"}
    return "timed out" if state.name == "TimedOut" else names.get(state.type, "failed")


def local_client() -> SyncPrefectClient:
    """A client of the server that this run reports to."""
    return get_client(sync_client=True)
