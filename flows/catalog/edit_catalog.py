"""A catalog, every night: each clip in a run of its own, so that one that fails stops no other."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flows.attempts import begin
from flows.catalog.children import Child, Children, DeployedChildren, LocalChildren, local_client, outcome_state
from flows.catalog.made import made_by
from flows.catalog.outcomes import CRASHED, LOST, MADE, Outcome, outcome_id, read_outcome, write_outcome
from flows.catalog.reading import CatalogClip, OpenCatalog, open_catalog
from flows.catalog.summary import counts_of, summary_markdown, write_summary
from flows.edit_request import EditRequest, check_request
from flows.edit_video import edit_stages
from flows.plan import Plan, plan_edit
from stitchedit.errors import StitchEditError
from storage.artifact import Source
from storage.errors import StorageError
from storage.store import Store, open_store
from storage.video import probe
from storage.video_output import output_suffix
from tasks.code import code_digest
from tasks.progress import Progress, tell

HOLD = "held"  # folder beside the catalog for results judged `fail`
POLL_S = 0.5
ERRORS = (StitchEditError, StorageError, OSError)


class CatalogRequest(BaseModel):
    """What a caller asks for."""

    model_config = ConfigDict(extra="forbid")

    catalog: Path = Field(examples=["/clips/nightly.yaml"])  # absolute, if a worker is to find it
    store: Annotated[str, BeforeValidator(str)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: Path | None = None
    device: str = "auto"
    clips_at_once: int = Field(default=2, ge=1)  # runs under way
    slots: int = Field(default=1, ge=1)  # stages on the device at once, of all runs on this machine
    time_limit_s: float | None = Field(default=None, gt=0)  # for a clip; one that takes longer is stopped
    attempts: int = Field(default=2, ge=1)  # of a clip whose run crashed; a clip that fails is not tried again
    deployment: str | None = Field(default=None, examples=["edit-video/on-demand"])  # its workers; else processes here
    tags: list[str] = []  # clips that have one of these; all unless given

    def open_store(self) -> Store:
        return open_store(self.store, self.scratch)


@dataclass
class Job:
    """A clip that is to be edited."""

    clip: CatalogClip
    request: EditRequest
    before: Outcome | None
    cost: float  # s expected; what is cheap goes first
    plan: Plan | None = None
    attempts: int = 0
    child: Child | None = None
    started: str = ""


@flow(name="edit-catalog", persist_result=False)
def edit_catalog(request: CatalogRequest) -> State[Any]:
    """Edit the clips of a catalog that are new or changed. What is in the store is not computed again."""
    begin()
    opened, store = open_catalog(request.catalog), request.open_store()
    night = Night(opened, request, store)
    with local_client() as client:
        slot = f"stitchedit-{request.device.replace(':', '-')}"
        children: Children = LocalChildren(client, slot)
        if request.deployment:
            children = DeployedChildren(client, request.deployment)
        else:
            client.upsert_global_concurrency_limit_by_name(slot, request.slots)
        outcomes = night.run(children)
    page = write_summary(opened, outcomes)
    create_markdown_artifact(summary_markdown(opened, outcomes), key="catalog-summary", description=opened.name)
    create_link_artifact(page.as_uri(), key="catalog-page", link_text=page.name, description=opened.name)
    counts = counts_of(outcomes)
    clips = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no clip is there"
    told = f"{opened.name}: {clips}; {page}"
    lost = sum(counts.get(state, 0) for state in LOST)
    return Failed(message=told) if lost else Completed(message=told)


@dataclass
class Night:
    """One run of a catalog."""

    opened: OpenCatalog
    request: CatalogRequest
    store: Store

    def run(self, children: Children) -> list[Outcome]:
        """Edit what has to be edited, and give what became of every clip, in the catalog's order."""
        found: dict[str, Outcome] = {}
        jobs = []
        for clip in wanted_clips(self.opened, self.request.tags):
            job = prepared(clip, self.opened, self.request, self.store)
            if isinstance(job, Outcome):
                found[job.id] = job
                if job.state in LOST:
                    self._keep(job)
            else:
                found[outcome_id(job.request)] = job.before or _nothing_yet(job)
                jobs.append(job)
        tell("catalog", "noted", text=f"{len(jobs)} of {len(found)} clips are new or changed.")
        jobs.sort(key=lambda job: (-job.clip.entry.priority, job.cost))
        progress = Progress("catalog", "clips")
        for done, outcome in enumerate(self._run_all(jobs, children), 1):
            found[outcome.id] = outcome
            self._keep(outcome)
            progress(done, len(jobs))
        return list(found.values())

    def _keep(self, outcome: Outcome) -> None:
        write_outcome(self.store, self.opened.name, outcome)
        text = f"{Path(outcome.source).name}: {outcome.state}{f', {outcome.error}' if outcome.error else ''}"
        tell("catalog", "noted", text=text)

    def _run_all(self, waiting: list[Job], children: Children) -> Iterator[Outcome]:
        running: list[Job] = []
        while waiting or running:
            while waiting and len(running) < self.request.clips_at_once:
                running.append(self._started(waiting.pop(0), children))
            time.sleep(POLL_S)
            for job in list(running):
                state = self._ended(job, children)
                if state is None:
                    continue
                running.remove(job)
                outcome = self._outcome(job, state)
                if outcome.state == CRASHED and job.attempts < self.request.attempts:
                    waiting.insert(0, job)  # a lost process or machine is no fault of the clip's
                else:
                    yield outcome

    def _started(self, job: Job, children: Children) -> Job:
        job.attempts += 1
        job.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        tags = [f"catalog:{self.opened.name}", *job.clip.entry.tags]
        output = job.request.output
        assert output is not None
        output.parent.mkdir(parents=True, exist_ok=True)
        job.child = children.start(job.request, f"{self.opened.name}-{output.stem}", tags)
        tell("catalog", "noted", text=f"{job.clip.source.name}: started")
        return job

    def _ended(self, job: Job, children: Children) -> State[Any] | None:
        assert job.child is not None
        state = children.ended(job.child)
        limit = self.request.time_limit_s
        if state is None and limit and job.child.seconds > limit:
            reason = f"It took longer than {limit:g} s. Run the catalog again: it goes on from there."
            children.stop(job.child, reason)
            return Failed(name="TimedOut", message=reason)
        return state

    def _outcome(self, job: Job, state: State[Any]) -> Outcome:
        assert job.child is not None
        outcome = replace(
            _nothing_yet(job),
            flow_run=str(job.child.flow_run),
            started=job.started,
            seconds=job.child.seconds,
            attempts=job.attempts,
        )
        if state.is_completed():
            return made_by(self.store, outcome)
        return replace(outcome, state=outcome_state(state), error=_first_line(state.message))


def wanted_clips(opened: OpenCatalog, tags: list[str]) -> list[CatalogClip]:
    """Those with one of `tags`; all, if there is none."""
    return [clip for clip in opened.clips if not tags or set(tags) & set(clip.entry.tags)]


def prepared(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> Job | Outcome:
    """A job for the clip; or its outcome, because nothing changed since, or because it cannot be edited at all."""
    job, unreadable = _job(clip, opened, request, store)
    if unreadable:
        return replace(_nothing_yet(job), error=unreadable)
    if is_done(job):
        assert job.before is not None
        return unchanged(job.before)
    assert job.request.output is not None
    job.request.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        check_request(job.request)
        plan = plan_edit(job.request)
    except ERRORS as error:
        return replace(_nothing_yet(job), error=_first_line(str(error)))
    known = all(stage.seconds is not None for stage in plan.stages if stage.state != "cached")
    cost = plan.seconds if known else max(plan.seconds, float(clip.source.stat().st_size))
    return replace(job, cost=cost, plan=plan)


def standing(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> Outcome:
    """What is known of a clip now: its last outcome, or that it is `new` or `changed`."""
    job, _ = _job(clip, opened, request, store)
    if job.before is None:
        return replace(_nothing_yet(job), state="new")
    holds = is_done(job) or (job.before.state in LOST and job.before.file == file_of(clip.source))
    return job.before if holds else replace(_nothing_yet(job), state="changed")


def unchanged(before: Outcome) -> Outcome:
    """A result of an earlier run, that cost nothing in this one."""
    return replace(before, seconds=None, stages=[replace(time, cached=True) for time in before.stages])


def _job(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> tuple[Job, str | None]:
    """The clip with its request and its last outcome; and why it cannot be read, if so."""
    changes = {
        "store": request.store,
        "scratch": request.scratch,
        "device": request.device,
        "hold": opened.folder / HOLD,
    }
    suffix, unreadable = clip.source.suffix, None
    try:
        suffix = output_suffix(probe(clip.source))
    except ERRORS as error:
        unreadable = _first_line(str(error))
    wanted = clip.request(opened.folder, suffix).model_copy(update=changes)
    return Job(clip, wanted, read_outcome(store, opened.name, outcome_id(wanted)), 0.0), unreadable


def is_done(job: Job) -> bool:
    """Whether the same was made of the same file by the same code, and lies where it should."""
    before = job.before
    return (
        before is not None
        and before.state in MADE
        and before.request == job.request.model_dump(mode="json")
        and before.file == file_of(job.clip.source)
        and before.code == stages_code()
        and before.place.exists()
    )


def file_of(path: Path) -> tuple[int, int]:
    """Size and time of change: enough to see that a file is another one, without reading it."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def stages_code() -> str:
    """Digest of the code of every stage."""
    stages: dict[str, str] = {}

    def note(stage: Any, *_: Any) -> None:
        stages[stage.name] = code_digest(stage.fn.__wrapped__)

    probe_request = EditRequest.model_validate({"video": "x", "edits": [{"direction": "smile", "strength": 1}]})
    edit_stages(note, probe_request, Source(Path("x"), ""), Path("x.mp4"))
    return sha256(repr(sorted(stages.items())).encode()).hexdigest()[:16]


def _nothing_yet(job: Job) -> Outcome:
    entry = job.clip.entry
    return Outcome(
        id=outcome_id(job.request),
        source=str(job.clip.source),
        output=str(job.request.output),
        edit=job.request.describe(),
        state="failed",
        request=job.request.model_dump(mode="json"),
        file=file_of(job.clip.source),
        code=stages_code(),
        tags=entry.tags,
        consent=entry.consent.model_dump(mode="json") if entry.consent else None,
    )


def _first_line(text: str | None) -> str:
    words = (text or "").strip().partition("\n")[0] or "no reason was given"
    return re.sub(r"^Flow run encountered an exception: (\w+: )?", "", words)
