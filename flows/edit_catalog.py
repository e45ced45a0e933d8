"""The flow `edit-catalog`: one child run per clip, so that a failed clip does not stop the others."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.catalog.children import (
    Children,
    DeployedChildren,
    LocalChildren,
    cancel_children,
    local_client,
    outcome_state,
)
from flows.catalog.clips import CatalogClip
from flows.catalog.decisions import apply_decision, request_to_run
from flows.catalog.jobs import Job, first_line, in_order, pending_outcome, prepare_job, run_name, select_clips
from flows.catalog.outcomes import CRASHED, FAILED, WITHOUT_RESULT, Outcome, outcome_id, read_outcome, write_outcome
from flows.catalog.reading import OpenCatalog, open_catalog
from flows.catalog.request import CatalogRequest, check_catalog_request
from flows.catalog.results import with_results
from flows.catalog.summary import counts_of, summary_markdown, summary_table, write_summary
from flows.server.artifacts import link_page
from flows.server.attempts import begin
from storage.errors import UnwritableOutputError
from storage.safe_text import printable, redacted
from storage.store import Store
from tasks.runtime.progress import Progress, report_event

POLL_S = 0.5

logger = logging.getLogger(__name__)


@flow(name="edit-catalog", persist_result=False, on_cancellation=[cancel_children])
def edit_catalog(request: CatalogRequest) -> State[Any]:
    """Edit the new and changed clips of a catalog. Artifacts in the store are reused."""
    begin()
    check_catalog_request(request)
    store = request.open_store()
    opened = open_catalog(request.catalog, request.scratch, store)
    catalog_run = CatalogRun(opened, request, store)
    with local_client() as client:
        slot = f"stitchedit-{request.device.replace(':', '-')}"
        children: Children = LocalChildren(client, slot)
        if request.deployment:
            children = DeployedChildren(client, request.deployment)
        else:
            client.upsert_global_concurrency_limit_by_name(slot, request.slots)
        outcomes = catalog_run.run(children)
    page = write_summary(opened, outcomes, store)
    show_catalog(opened, outcomes, page)
    counts = counts_of(outcomes)
    clips = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no clips"
    message = f"{opened.name}: {clips}; {page}"
    unsuccessful = sum(counts.get(state, 0) for state in WITHOUT_RESULT)
    return Failed(message=message) if unsuccessful else Completed(message=message)


def show_catalog(opened: OpenCatalog, outcomes: list[Outcome], page: Path) -> None:
    """Create the artifacts `catalog-summary`, `catalog-clips` and `catalog-page`; a missing server is logged."""
    try:
        create_markdown_artifact(
            summary_markdown(opened, outcomes, page), key="catalog-summary", description=opened.name
        )
        create_table_artifact(summary_table(outcomes), key="catalog-clips", description=opened.name)
        link_page(page, "catalog-page")
    except httpx.HTTPError as error:
        reason = printable(redacted(str(error)))
        logger.warning("%s is finished; its artifacts could not be created in Prefect: %s", opened.name, reason)


@dataclass
class CatalogRun:
    """One run of a catalog."""

    opened: OpenCatalog
    request: CatalogRequest
    store: Store

    def run(self, children: Children) -> list[Outcome]:
        """Edit new and changed clips; return the outcome of every clip in the catalog's order."""
        clips = select_clips(self.opened, self.request.tags)
        found: dict[int, Outcome] = {}
        progress = Progress("catalog", "clips")
        for job, outcome in self._run_all(self.jobs_by_priority(clips, found), children):
            found[id(job.clip)] = outcome
            self._record(outcome)
            progress(len(found), len(clips))
        return [found[id(clip)] for clip in clips]

    def jobs_by_priority(self, clips: Iterable[CatalogClip], found: dict[int, Outcome]) -> Iterator[list[Job]]:
        """Jobs of each priority, highest first; outcomes of clips without a job are put into `found`.

        To estimate its cost a clip is downloaded, hashed and planned. This is done one priority at a time, so that
        urgent clips do not wait for the others.
        """
        urgent_first = sorted(clips, key=lambda clip: -clip.entry.priority)
        for priority, group in groupby(urgent_first, lambda clip: clip.entry.priority):
            jobs, group_clips = [], list(group)
            for clip in group_clips:
                job = prepare_job(clip, self.opened, self.request, self.store)
                if isinstance(job, Job):
                    jobs.append(job)
                    continue
                found[id(clip)] = job
                if job.state in WITHOUT_RESULT:
                    self._record(job)
            text = f"priority {priority}: {len(jobs)} of {len(group_clips)} clips are new or changed."
            report_event("catalog", "noted", text=text)
            if jobs:
                yield in_order(jobs)

    def _record(self, outcome: Outcome) -> None:
        write_outcome(self.store, self.opened.name, outcome)
        text = f"{Path(outcome.source).name}: {outcome.state}{f', {outcome.error}' if outcome.error else ''}"
        report_event("catalog", "noted", text=text)

    def _run_all(self, batches: Iterator[list[Job]], children: Children) -> Iterator[tuple[Job, Outcome]]:
        waiting: list[Job] = []
        running: list[Job] = []
        while True:
            while len(running) < self.request.clips_at_once:
                waiting = waiting or next(batches, [])
                if not waiting:
                    break
                running.append(self._start(waiting.pop(0), children))
            if not running:
                return
            time.sleep(POLL_S)
            for job in list(running):
                state = self._final_state(job, children)
                if state is None:
                    continue
                running.remove(job)
                outcome = self._outcome(job, state)
                if outcome.state == CRASHED and job.attempts < self.request.attempts:
                    waiting.insert(0, job)  # a lost process or machine is not an error of the clip
                else:
                    yield job, outcome

    def _start(self, job: Job, children: Children) -> Job:
        job.attempts += 1
        job.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        tags = [f"catalog:{self.opened.name}", *map(printable, job.clip.entry.tags)]
        job.sent = request_to_run(job.request, job.before)
        assert job.sent.output is not None
        job.sent.output.parent.mkdir(parents=True, exist_ok=True)
        job.child = children.start(job.sent, run_name(self.opened, job), tags)
        report_event("catalog", "noted", text=f"{job.clip.source.name}: started")
        return job

    def _final_state(self, job: Job, children: Children) -> State[Any] | None:
        assert job.child is not None
        state = children.final_state(job.child)
        limit = self.request.time_limit_s
        if state is None and limit and job.child.seconds > limit:
            reason = f"It took longer than {limit:g} s. Run the catalog again to resume."
            children.stop(job.child, reason)
            return Failed(name="TimedOut", message=reason)
        return state

    def _outcome(self, job: Job, state: State[Any]) -> Outcome:
        assert job.child is not None
        assert job.sent is not None
        job.before = read_outcome(self.store, self.opened.name, outcome_id(job.request))  # with any later decision
        outcome = replace(
            pending_outcome(job),
            flow_run=str(job.child.flow_run),
            started=job.started,
            seconds=job.child.seconds,
            attempts=job.attempts,
        )
        if state.is_completed():
            try:
                return apply_decision(self.store, with_results(self.store, outcome), job.sent)
            except UnwritableOutputError as error:  # another program wrote a file there during the run
                return replace(outcome, state=FAILED, error=first_line(str(error)))
        return replace(outcome, state=outcome_state(state), error=first_line(state.message))
