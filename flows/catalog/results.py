"""The outcome of a finished run, read from the store."""

from dataclasses import replace
from typing import Any

from flows.catalog.outcomes import HELD, PUBLISHED, REVIEW, Outcome, StageTime
from stitchedit.measure.verdict import Verdict, worst_of
from storage.artifact import Artifact
from storage.runs import run_of
from storage.store import Store
from tasks.reporting.verdict import read_verdict
from tasks.runtime.stage_names import ON_DEVICE

STATES = {"pass": PUBLISHED, "review": REVIEW, "fail": HELD}


def with_results(store: Store, outcome: Outcome) -> Outcome:
    """`outcome` with verdict, stages and digests of its run."""
    run = run_of(store, outcome.flow_run)
    if run is None:
        return replace(outcome, state=REVIEW, reasons=["the store has no record of the run"])
    verdicts, stages, video = [], [], None
    for stage, key in run.artifacts:
        manifest = store.read_manifest(stage, key)
        if manifest is None:
            continue
        stages.append(_time_of(stage, manifest, run.started))
        if stage == "encode":
            video = manifest["digest"]
        if stage == "measure":
            artifact = Artifact(store.folder, stage, key, manifest["digest"])
            store.fetch(artifact)
            verdicts.append(read_verdict(artifact.path))
    verdict = worst_of(verdicts) if verdicts else Verdict("review", ("the result was not measured",))
    return replace(
        outcome, state=STATES[verdict.verdict], verdict=verdict.verdict, reasons=list(verdict.reasons), stages=stages,
        clip=run.source, video=video,
    )  # fmt: skip


def saved_seconds(outcome: Outcome) -> float:
    """Seconds on the device that cached stages of this clip saved."""
    return sum(time.seconds or 0.0 for time in outcome.stages if time.cached and time.stage in ON_DEVICE)


def _time_of(stage: str, manifest: dict[str, Any], run_started: str) -> StageTime:
    """Start and duration of a stage; `cached` if it ran before this run started."""
    attempts = manifest["lineage"].get("attempts", [])
    last = attempts[-1] if attempts else {}
    started, seconds = last.get("started"), last.get("seconds")
    cached = started is None or started < run_started
    spent = sum(attempt["seconds"] or 0.0 for attempt in attempts) if cached else seconds
    return StageTime(stage, cached, started, spent)
