"""Which clips of a catalog have to be edited, which are as they were, and which cannot be."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from configs.schema import RunConfig
from flows.catalog.children import Child
from flows.catalog.clips import CatalogClip
from flows.catalog.outcomes import LOST, MADE, REJECTED, Outcome, hold_folder, outcome_id, read_outcome, recipe_of
from flows.catalog.output_names import check_place
from flows.catalog.reading import OpenCatalog
from flows.catalog.request import CatalogRequest
from flows.edit_job import EditJob, Target, check_outputs, resolve
from flows.edit_request import EditRequest
from flows.edit_video import edit_stages
from flows.planning.plan import Plan, plan_edit
from stitchedit.errors import StitchEditError
from storage.artifact import Source
from storage.errors import StorageError
from storage.safe_text import redacted
from storage.store import Store
from storage.video.info import probe
from storage.video.output import FORMATS, output_suffix
from storage.video.remote_clips import fetch
from tasks.runtime.code_digest import code_digest

ERRORS = (StitchEditError, StorageError, OSError)


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
    sent: EditRequest | None = None  # what the run was asked for
    started: str = ""


def select_clips(opened: OpenCatalog, tags: list[str]) -> list[CatalogClip]:
    """Those with one of `tags`; all, if there is none."""
    return [clip for clip in opened.clips if not tags or set(tags) & set(clip.entry.tags)]


def prepare_job(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> Job | Outcome:
    """A job for the clip; or its outcome, because nothing changed since, or because it cannot be edited at all.

    A clip of a bucket is brought only if there is something to do with it.
    """
    job, unreadable = _job(clip, opened, request, store)
    if is_done(job):
        assert job.before is not None
        return unchanged(job.before)
    try:
        if clip.remote:
            fetch(clip.remote.url, clip.source)
            job, unreadable = _job(clip, opened, request, store)
        if unreadable:
            return replace(pending_outcome(job), error=unreadable)
        assert job.request.output is not None
        for output in (job.request.output, _held(job.request)):
            check_place(output, opened.allowed)  # again: a link may lead elsewhere since the catalog was read
        here = {"device": "auto"} if request.deployment else {}  # its workers have the device
        edit = resolve(_placeable(job.request).model_copy(update=here))
        check_outputs(job.request, edit.config, edit.store, job.request.output)
        plan = plan_edit(edit)
    except ERRORS as error:
        return replace(pending_outcome(job), error=first_line(str(error)))
    cost = plan.seconds or 0.0
    if plan.unknown:
        cost = max(cost, float(clip.source.stat().st_size))
    return replace(job, cost=cost, plan=plan)


def _held(request: EditRequest) -> Path:
    assert request.hold is not None
    assert request.output is not None
    return request.hold / request.output.name


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Higher priority first; of one priority, what is expected to cost less."""
    return sorted(jobs, key=lambda job: (-job.clip.entry.priority, job.cost))


def _placeable(request: EditRequest) -> EditRequest:
    """The request with a result in the folder that is there already, so that it can be checked and nothing is made."""
    output = request.output
    assert output is not None
    if output.parent.exists():
        return request
    there = next(folder for folder in output.parents if folder.exists())
    return request.model_copy(update={"output": there / f".{outcome_id(request)}{output.suffix}"})


def current_outcome(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> Outcome:
    """What is known of a clip now: its last outcome, or that it is `new` or `changed`."""
    job, _ = _job(clip, opened, request, store)
    if job.before is None:
        return replace(pending_outcome(job), state="new")
    holds = is_done(job) or (job.before.state in LOST and is_same(job))
    return job.before if holds else replace(pending_outcome(job), state="changed")


def unchanged(before: Outcome) -> Outcome:
    """A result of an earlier run, that cost nothing in this one."""
    return replace(before, seconds=None, stages=[replace(time, cached=True) for time in before.stages])


def _job(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> tuple[Job, str | None]:
    """The clip with its request and its last outcome; and why it cannot be read, if so.

    What suffix the result has follows from the clip; from what is known of it, where the clip is not here to be read.
    """
    places = {"store": request.store, "scratch": request.scratch, "device": request.device}
    suffixes, unreadable = [clip.source.suffix, *FORMATS], None
    try:
        suffixes = [output_suffix(probe(clip.source))]
    except ERRORS as error:
        unreadable = first_line(str(error))
    jobs = []
    for suffix in dict.fromkeys(suffixes):
        wanted = clip.request(opened.folder, suffix)
        assert wanted.output is not None
        wanted = wanted.model_copy(update={**places, "hold": hold_folder(opened.folder, wanted.output)})
        jobs.append(Job(clip, wanted, read_outcome(store, opened.name, outcome_id(wanted)), 0.0))
        if jobs[-1].before:
            return jobs[-1], unreadable
    return jobs[0], unreadable


def is_done(job: Job) -> bool:
    """Whether the same was made of the same file by the same code, and lies where it should.

    A rejected result need not lie anywhere: who throws it away does not ask for it again.
    """
    before = job.before
    return (
        before is not None
        and before.state in MADE
        and is_same(job)
        and before.code == stages_code()
        and (before.state == REJECTED or before.place.exists())
    )


def is_same(job: Job) -> bool:
    """Whether the last run was about the same file and the same recipe."""
    before = job.before
    return (
        before is not None
        and recipe_of(before.request) == recipe_of(job.request.model_dump(mode="json"))
        and before.file == job.clip.file
    )


@cache
def stages_code() -> str:
    """Digest of the code of every stage."""
    stages: dict[str, str] = {}

    def note(stage: Any, *_: Any) -> None:
        stages[stage.name] = code_digest(stage.fn.__wrapped__)

    request = EditRequest.model_validate({"video": "x", "edits": [{"direction": "smile", "strength": 1}]})
    config, source = RunConfig(), Source(Path("x"), "")
    target = Target(config.align, None, config.edit)
    edit_stages(note, EditJob(request, source, Path("x.mp4"), config, (target,), None, Store.at(Path("x"))))
    return sha256(repr(sorted(stages.items())).encode()).hexdigest()[:16]


def pending_outcome(job: Job) -> Outcome:
    entry = job.clip.entry
    return Outcome(
        id=outcome_id(job.request),
        source=str(job.clip.source),
        output=str(job.request.output),
        edit=job.request.describe(),
        state="failed",
        request=job.request.model_dump(mode="json"),
        file=job.clip.file,
        code=stages_code(),
        tags=entry.tags,
        consent=entry.consent.model_dump(mode="json") if entry.consent else None,
        decision=job.before.decision if job.before else None,
    )


def run_name(opened: OpenCatalog, job: Job) -> str:
    """What its run is called: `night-take1_smile+2-1a2b3c`, as two folders may have a take1."""
    assert job.request.output is not None
    stem = re.sub(r"[^\w.+\- ]", "_", job.request.output.stem)  # it is told to chats, which have marks of their own
    return f"{opened.name}-{stem}-{outcome_id(job.request)[:6]}"


def first_line(text: str | None) -> str:
    words = redacted((text or "").strip().partition("\n")[0]) or "no reason was given"
    return re.sub(r"^Flow run encountered an exception: (\w+: )?", "", words)
