"""Runs of `edit-video` for a catalog: processes of this machine, or runs of a deployment that workers take up."""

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

RESTART_S = 60.0  # that a crashed run has to be restarted by somebody else
PAGE = 200  # runs that a server gives at once
UNFINISHED = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
GRACE_S = 20.0  # for a worker to end a run that is to be cancelled


@dataclass
class Child:
    """One run under way."""

    flow_run: UUID
    began: float = field(default_factory=time.monotonic)
    process: BaseProcess | None = None
    crashed: float | None = None  # when it was first seen crashed, monotonic

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Children(Protocol):
    """Where the runs of a catalog go."""

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child: ...
    def ended(self, child: Child) -> State[Any] | None: ...
    def stop(self, child: Child, reason: str) -> None: ...


@dataclass(frozen=True)
class LocalChildren:
    """A process for each run: one that takes all memory, or never ends, harms no other."""

    client: SyncPrefectClient
    slot: str  # concurrency limit that stages on the device share

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child:
        words = {"request": request.model_dump(mode="json")}
        made = self.client.create_flow_run(edit_video, name=name, parameters=words, tags=tags, state=Pending())
        env = {SLOT: self.slot, "PREFECT_API_URL": str(self.client.api_url).rstrip("/")}
        process = run_flow_in_subprocess(edit_video, flow_run=made, parameters={"request": request}, env=env)  # type: ignore[arg-type]
        return Child(made.id, process=process)

    def ended(self, child: Child) -> State[Any] | None:
        assert child.process is not None
        if child.process.is_alive():
            return None
        state = self.client.read_flow_run(child.flow_run).state
        if state is None or not state.is_final():
            code = child.process.exitcode
            killed = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
            state = Crashed(message=f"Its process ended {killed}. What was finished stays.")
            self.client.set_flow_run_state(child.flow_run, state, force=True)
        return state

    def stop(self, child: Child, reason: str) -> None:
        assert child.process is not None
        child.process.kill()
        child.process.join()
        self.client.set_flow_run_state(child.flow_run, Failed(name="TimedOut", message=reason), force=True)


@dataclass(frozen=True)
class DeployedChildren:
    """A run of a deployment for each clip; whichever worker takes it."""

    client: SyncPrefectClient
    deployment: str
    given_up: set[UUID] = field(default_factory=set)  # crashed, and nobody restarted them

    def start(self, request: EditRequest, name: str, tags: list[str]) -> Child:
        left = self.left_behind(name)
        if left:
            return Child(left)
        words = {"request": request.model_dump(mode="json")}
        made: Any = run_deployment(self.deployment, parameters=words, flow_run_name=name, timeout=0, tags=tags)
        return Child(made.id)

    def left_behind(self, name: str) -> UUID | None:
        """The run of that name that goes on, or is about to: this catalog's run crashed after it had started it."""
        wanted = {"name": {"any_": [name]}}
        runs = children_of(self.client, this_run.id, [*UNFINISHED, StateType.CRASHED], wanted)
        return next((run.id for run in runs if run.id not in self.given_up), None)

    def ended(self, child: Child) -> State[Any] | None:
        run = self.client.read_flow_run(child.flow_run)
        if run.state and run.state.is_running() and run.start_time:  # the limit counts from here, not from the queue
            child.began = time.monotonic() - run.estimated_run_time.total_seconds()
        elif run.state and not run.state.is_final():
            child.began = time.monotonic()
        if run.state and run.state.is_crashed():  # an automation may restart it (deploy/automations)
            child.crashed = child.crashed or time.monotonic()
            if time.monotonic() - child.crashed <= RESTART_S:
                return None
            self.given_up.add(child.flow_run)
            return run.state
        child.crashed = None
        return run.state if run.state and run.state.is_final() else None

    def stop(self, child: Child, reason: str) -> None:
        self.client.set_flow_run_state(child.flow_run, Cancelling(message=reason))
        until = time.monotonic() + GRACE_S
        while self.ended(child) is None and time.monotonic() < until:
            time.sleep(1)
        if self.ended(child) is None:
            self.client.set_flow_run_state(child.flow_run, Cancelled(message=reason), force=True)


def children_of(
    client: SyncPrefectClient,
    parent: UUID | str | None,
    states: Sequence[StateType],
    others: dict[str, Any] | None = None,
) -> list[FlowRun]:
    """Runs in one of `states` that `parent` started on workers, page by page: a server gives 200 at a time."""
    if parent is None:
        return []
    words = {"parent_flow_run_id": {"any_": [str(parent)]}, "state": {"type": {"any_": states}}}
    wanted = FlowRunFilter.model_validate(words | (others or {}))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return found


def cancel_children(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of a catalog's run: what it started on workers does not outlive its cancellation. What is done stays."""
    with local_client() as client:
        _cancel_all(client, flow_run.id, f"{flow_run.name} of {flow.name} was cancelled.")


def cancel_this_run() -> None:
    """Cancel the run that this process is, and what it started on workers: who stops a command stops what it began."""
    if this_run.id is None:
        return
    reason = "The command that ran it was stopped. Run it again: it goes on from there."
    with suppress(httpx.HTTPError), local_client() as client:  # without a server there is nothing to be stopped
        _cancel_all(client, UUID(this_run.id), reason)
        client.set_flow_run_state(UUID(this_run.id), Cancelled(message=reason), force=True)


def _cancel_all(client: SyncPrefectClient, parent: UUID, reason: str) -> None:
    told: set[UUID] = set()
    while left := [run for run in children_of(client, parent, UNFINISHED) if run.id not in told]:
        for run in left:  # those that end meanwhile move others to a page that was read: so until there is none
            told.add(run.id)
            assert run.state is not None
            begun = run.state.is_running() or run.state.is_pending()
            client.set_flow_run_state(run.id, (Cancelling if begun else Cancelled)(message=reason), force=not begun)


def outcome_state(state: State[Any]) -> str:
    """How a run that made no result is called in a catalog."""
    names = {StateType.CRASHED: "crashed", StateType.CANCELLED: "cancelled"}
    return "timed out" if state.name == "TimedOut" else names.get(state.type, "failed")


def local_client() -> SyncPrefectClient:
    """Of the server that this run reports to."""
    return get_client(sync_client=True)
