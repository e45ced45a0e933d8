"""Jobs of a catalog: one for each new or changed clip."""

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
from flows.catalog.outcomes import (
    REJECTED,
    WITH_RESULT,
    WITHOUT_RESULT,
    Outcome,
    hold_folder,
    outcome_id,
    read_outcome,
    recipe_of,
)
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
    """A clip to be edited."""

    clip: CatalogClip
    request: EditRequest
    before: Outcome | None
    cost: float  # estimated s; cheaper jobs start first
    plan: Plan | None = None
    attempts: int = 0
    child: Child | None = None
    sent: EditRequest | None = None  # the request that its run received
    started: str = ""


def select_clips(opened: OpenCatalog, tags: list[str]) -> list[CatalogClip]:
    """Clips with at least one of `tags`; all clips if `tags` is empty."""
    return [clip for clip in opened.clips if not tags or set(tags) & set(clip.entry.tags)]


def prepare_job(
    clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store, *, remember: bool = True
) -> Job | Outcome:
    """The job of a clip, or its outcome if it is unchanged or cannot be edited.

    A clip in a bucket is downloaded only if it is new or changed. `remember` is that of `resolve`.
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
        for output in (job.request.output, _held_output(job.request)):
            check_place(output, opened.allowed)  # checked again: a link may have changed since the catalog was read
        changes = {"device": "auto"} if request.deployment else {}  # the device is on its workers
        edit = resolve(_with_existing_folder(job.request).model_copy(update=changes), remember=remember)
        check_outputs(job.request, edit.config, edit.store, job.request.output)
        plan = plan_edit(edit)
    except ERRORS as error:
        return replace(pending_outcome(job), error=first_line(str(error)))
    cost = plan.seconds or 0.0
    if plan.unknown:
        cost = max(cost, float(clip.source.stat().st_size))
    return replace(job, cost=cost, plan=plan)


def _held_output(request: EditRequest) -> Path:
    assert request.hold is not None
    assert request.output is not None
    return request.hold / request.output.name


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Jobs by descending priority, then by ascending estimated cost."""
    return sorted(jobs, key=lambda job: (-job.clip.entry.priority, job.cost))


def _with_existing_folder(request: EditRequest) -> EditRequest:
    """The request with its output moved up to an existing folder, so that checks create none."""
    output = request.output
    assert output is not None
    if output.parent.exists():
        return request
    existing = next(folder for folder in output.parents if folder.exists())
    return request.model_copy(update={"output": existing / f".{outcome_id(request)}{output.suffix}"})


def current_outcome(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> Outcome:
    """The last outcome of a clip if it still holds, else one in state `new` or `changed`."""
    job, _ = _job(clip, opened, request, store)
    if job.before is None:
        return replace(pending_outcome(job), state="new")
    holds = is_done(job) or (job.before.state in WITHOUT_RESULT and has_same_input(job))
    return job.before if holds else replace(pending_outcome(job), state="changed")


def unchanged(before: Outcome) -> Outcome:
    """The outcome of an earlier run, with all stages cached and no seconds of this run."""
    return replace(before, seconds=None, stages=[replace(time, cached=True) for time in before.stages])


def _job(clip: CatalogClip, opened: OpenCatalog, request: CatalogRequest, store: Store) -> tuple[Job, str | None]:
    """The job of a clip with its last outcome, and the reason if the clip cannot be read.

    The suffix of the result follows from the clip. If the clip cannot be read here, each suffix is tried until a
    recorded outcome is found.
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
    """True if file, recipe and code are those of the last result and it exists.

    A rejected result may be deleted; that does not trigger a new run.
    """
    before = job.before
    return (
        before is not None
        and before.state in WITH_RESULT
        and has_same_input(job)
        and before.code == stages_code()
        and (before.state == REJECTED or before.place.exists())
    )


def has_same_input(job: Job) -> bool:
    """True if the last run had the same file and the same recipe."""
    before = job.before
    return (
        before is not None
        and recipe_of(before.request) == recipe_of(job.request.model_dump(mode="json"))
        and before.file == job.clip.file
    )


@cache
def stages_code() -> str:
    """Digest of the code of all stages."""
    stages: dict[str, str] = {}

    def note(stage: Any, *_: Any) -> None:
        stages[stage.name] = code_digest(stage.fn.__wrapped__)

    request = EditRequest.model_validate({"video": "x", "edits": [{"direction": "smile", "strength": 1}]})
    config, source = RunConfig(), Source(Path("x"), "")
    target = Target(config.align, None, config.edit)
    edit_stages(note, EditJob(request, source, Path("x.mp4"), config, (target,), None, Store.at(Path("x"))))
    return sha256(repr(sorted(stages.items())).encode()).hexdigest()[:16]


def pending_outcome(job: Job) -> Outcome:
    """The outcome of a job without a result yet, in state `failed`."""
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
    """Name of the job's flow run, such as `nightly-take1_smile+2-1a2b3c`.

    The suffix is unique to the output: two folders may each have a take1.
    """
    assert job.request.output is not None
    stem = re.sub(r"[^\w.+\- ]", "_", job.request.output.stem)  # chats interpret other characters in notifications
    return f"{opened.name}-{stem}-{outcome_id(job.request)[:6]}"


def first_line(text: str | None) -> str:
    """The first line of an error message, without secrets and Prefect's prefix."""
    line = redacted((text or "").strip().partition("\n")[0]) or "no reason was given"
    return re.sub(r"^Flow run encountered an exception: (\w+: )?", "", line)
