"""Plan an edit without computing it: stages to run, reasons and estimated cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from statistics import median
from typing import Any

from flows.edit_job import EditJob
from flows.edit_request import EditRequest
from flows.edit_video import edit_stages
from flows.planning.recipe_changes import Change, changes, nearest
from flows.requests.any_text import to_json
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Recipe, Source
from storage.backends.lease import is_dead, lease_owner
from storage.errors import StorageError
from storage.manifest import is_intact
from storage.runs import runs
from storage.store import Store
from storage.video.info import probe
from storage.weights.state_dict import read_metadata
from tasks.runtime.code_digest import code_digests

RATES = 5  # latest results of a stage whose median is the estimate
BYTES_STAY = {"code", "revision"}  # changes after which a stage may give the same bytes


@dataclass(frozen=True)
class StagePlan:
    """The planned state of one stage and its estimated cost."""

    stage: str
    state: str  # cached, partial or to run
    reasons: list[str]
    key: str | None = None
    done: int = 0  # of a partial stage, in `unit`
    total: int = 0
    unit: str = ""
    condition: str | None = None  # earlier stages that must give the same bytes as before for this state to hold
    seconds: float | None = None  # estimated time left; None if no earlier result is recorded
    bytes: int | None = None  # estimated size left to write
    seconds_saved: float | None = None


@dataclass(frozen=True)
class Plan:
    """The planned stages of one edit."""

    clip: str
    output: str
    stages: list[StagePlan]

    @property
    def unknown(self) -> list[str]:
        """Stages to run without a recorded cost."""
        return [stage.stage for stage in self.stages if stage.state != "cached" and stage.seconds is None]

    @property
    def seconds(self) -> float | None:
        """Estimated time of all stages to run, s; None if no cost is recorded for any of them."""
        return self._total([stage.seconds for stage in self.stages if stage.state != "cached"])

    @property
    def bytes(self) -> float | None:
        """Estimated size of all stages to run; None if no cost is recorded for any of them."""
        return self._total([stage.bytes for stage in self.stages if stage.state != "cached"])

    @staticmethod
    def _total(costs: Sequence[float | None]) -> float | None:
        known = [cost for cost in costs if cost is not None]
        return None if costs and not known else sum(known)

    @property
    def seconds_saved(self) -> float:
        return sum(stage.seconds_saved or 0 for stage in self.stages)


def plan_edit(job: EditJob, *, verify: bool = False) -> Plan:
    """Plan the stages of a job.

    Args:
        verify: hash cached files. Otherwise changed bytes are found only by the stage that reads them.
    """
    planner = Planner(job.store, job.source, _frames(job.request), verify)
    edit_stages(planner, job)
    return Plan(to_json(job.source.path), to_json(job.output), planner.stages)


@dataclass(frozen=True)
class Expected:
    """The expected artifact of a stage, passed to later stages in its place."""

    stage: str
    artifact: Artifact | None  # None if its digest cannot be known before the stage runs
    conditions: tuple[str, ...] = ()  # earlier stages that must give the same bytes as before for this to hold


@dataclass
class Planner:
    """A `call` for `edit_stages` that plans each stage instead of running it."""

    store: Store
    source: Source
    frames: int
    verify: bool
    stages: list[StagePlan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._manifests: dict[str, list[dict[str, Any]]] = {}
        for stage, key in self.store.backend.finished():
            manifest = self.store.read_manifest(stage, key)
            if manifest:
                self._manifests.setdefault(stage, []).append({**manifest, "key": key})
        self._digests = _recorded_digests([one for found in self._manifests.values() for one in found])
        own_runs = [
            run for run in runs(self.store) if self.source.digest == run.source or run.clip == str(self.source.path)
        ]
        self._own = {name for run in own_runs for name in run.artifacts}

    def __call__(self, task: Any, *arguments: Any) -> Expected:
        stage = task.name
        expected = [one for value in arguments for one in (value if isinstance(value, tuple) else [value])]
        expected = [one for one in expected if isinstance(one, Expected)]
        pending = [one for one in expected if one.artifact is None]
        conditions = dict.fromkeys(condition for one in expected for condition in one.conditions)
        if pending:
            names = " and ".join(dict.fromkeys(one.stage for one in pending))
            plan, result = (
                self._to_run(stage, None, [f"waits for {names}, which will be recomputed"], None),
                Expected(stage, None),
            )
        else:
            recipe: Recipe = task.fn.describe([_artifact(value) for value in arguments], {})
            plan, result = self._known(recipe, dict(code_digests(unwrap(task.fn))), tuple(conditions))
        self.stages.append(plan)
        return result

    def _known(
        self, recipe: Recipe, code: Mapping[str, str], conditions: tuple[str, ...]
    ) -> tuple[StagePlan, Expected]:
        stage, key, condition = recipe.stage, recipe.key, " and ".join(conditions) or None
        manifest = self.store.read_manifest(stage, key)
        if manifest:
            artifact = Artifact(self.store.folder, stage, key, manifest["digest"])
            if "frames" in manifest["lineage"]:
                self.frames = manifest["lineage"]["frames"]
            bad = sorted({*self.store.lacking(stage, key, manifest), *self._changed(artifact, manifest)})
            if not bad:
                saved = _seconds(manifest)
                return StagePlan(stage, "cached", [], key, condition=condition, seconds_saved=saved), Expected(
                    stage, artifact, conditions
                )
            return self._damaged(recipe, manifest, bad, condition), Expected(stage, artifact, (stage,))
        partial = self._partial(recipe, condition)
        before = nearest(recipe, self._candidates(stage))
        differences = changes(recipe, code, before) if before else []
        plan = partial or self._to_run(stage, key, self._reasons(stage, key, before, differences), before, condition)
        digest = self._digests.get((stage, key))  # computed before: it gives the same bytes
        if digest is None and before and {change.part for change in differences} <= BYTES_STAY:
            digest = before["digest"]
        if digest is None:
            return plan, Expected(stage, None)
        return plan, Expected(stage, Artifact(self.store.folder, stage, key, digest), (stage,))

    def _reasons(
        self, stage: str, key: str, before: Mapping[str, Any] | None, differences: Sequence[Change]
    ) -> list[str]:
        if (stage, key) in self._digests or (stage, key) in self._own:
            return ["its result is no longer in the store"]
        if before is None:
            return [f"the store has no result of {stage}"]
        if (stage, before["key"]) not in self._own and any(change.part == "inputs" for change in differences):
            return ["first run of this clip"]
        return [change.text for change in differences]

    def _candidates(self, stage: str) -> list[dict[str, Any]]:
        """Manifests of a stage for this clip if there are any, else for all clips."""
        found = self._manifests.get(stage, [])
        own = [manifest for manifest in found if (stage, manifest["key"]) in self._own]
        return own or found

    def _changed(self, artifact: Artifact, manifest: Mapping[str, Any]) -> list[str]:
        if not self.verify:
            return []
        self.store.backend.refetch(artifact, manifest["files"])
        return [name for name, listed in manifest["files"].items() if not is_intact(artifact.path, name, listed)]

    def _damaged(self, recipe: Recipe, manifest: Mapping[str, Any], bad: list[str], condition: str | None) -> StagePlan:
        total = len(manifest["files"])
        listed = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        share = sum(manifest["files"][name]["size"] for name in bad) / max(1, _bytes(manifest))
        seconds = _seconds(manifest)
        return StagePlan(
            recipe.stage, "partial",
            [f"{len(bad)} of {total} files missing or damaged ({listed}): their content will be recomputed"],
            recipe.key, total - len(bad), total, "files", condition,
            seconds=None if seconds is None else seconds * share, bytes=int(_bytes(manifest) * share),
        )  # fmt: skip

    def _partial(self, recipe: Recipe, condition: str | None) -> StagePlan | None:
        folder = self.store.backend.partial(recipe.stage, recipe.key)
        if folder is None:
            return None
        done, total, unit = progress_in(folder)
        owner = lease_owner(self.store.backend.objects, f"leases/{recipe.stage}-{recipe.key}.json")
        reason = "an earlier run was interrupted and will be resumed"
        if owner and not is_dead(owner):
            reason = f"process {owner['process']} on {owner['host']} is computing it"
        whole = self._to_run(recipe.stage, recipe.key, [reason], None, condition)
        left = 1 - done / total if total else 1.0
        return StagePlan(
            recipe.stage, "partial", [reason], recipe.key, done, total, unit, condition,
            seconds=None if whole.seconds is None else whole.seconds * left,
            bytes=None if whole.bytes is None else int(whole.bytes * left),
        )  # fmt: skip

    def _to_run(
        self,
        stage: str,
        key: str | None,
        reasons: list[str],
        before: Mapping[str, Any] | None,
        condition: str | None = None,
    ) -> StagePlan:
        latest = sorted(self._candidates(stage), key=lambda manifest: manifest["lineage"]["finished"])[-RATES:]
        known = [before] if before else latest
        timed = [(_seconds(m), _frame_count(m)) for m in known]
        rates = [seconds / frames for seconds, frames in timed if seconds is not None and frames]
        sizes = [_bytes(m) / _frame_count(m) for m in known if _frame_count(m)]
        return StagePlan(
            stage, "to run", reasons, key, condition=condition,
            seconds=median(rates) * self.frames if rates and self.frames else None,
            bytes=int(median(sizes) * self.frames) if sizes and self.frames else None,
        )  # fmt: skip


def _artifact(value: Any) -> Any:
    """Replace each `Expected` in `value` by its artifact."""
    if isinstance(value, tuple):
        return tuple(map(_artifact, value))
    return value.artifact if isinstance(value, Expected) else value


def progress_in(folder: Path) -> tuple[int, int, str]:
    """Progress of an unfinished workspace as (done, total, unit): chunks of its arrays, or steps of tuning."""
    done = total = 0
    for journal in folder.rglob(".*.done"):
        marks = journal.read_bytes()
        done, total = done + marks.count(b"1"), total + len(marks)
    for metadata in folder.rglob("[!.]*/zarr.json"):
        if not metadata.parent.with_name(f".{metadata.parent.name}.done").exists():
            try:
                chunks = FrameArray.open(metadata.parent).chunks
            except StorageError:
                continue
            done, total = done + chunks, total + chunks
    states = sorted(folder.glob(".state*.safetensors"))
    if not total and states:
        try:
            return int(read_metadata(states[0])["step"]), 0, "steps"
        except (StorageError, KeyError, ValueError):
            return 0, 0, ""
    return done, total, "chunks"


def _frames(request: EditRequest) -> int:
    """Number of frames in the edited range according to the container; 0 = unknown."""
    info = probe(request.video)
    rate = float(info.rate)
    declared = info.declared_frames or round((info.duration or 0) * rate)
    if not declared:
        return 0
    first, last = (request.start or 0) * rate, declared if request.end is None else request.end * rate
    return max(1, round(min(last, declared) - first))


def _recorded_digests(manifests: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Digests by stage and key from the recipes of dependent artifacts, also of artifacts no longer in the store."""
    return {
        (origin["stage"], origin["key"]): manifest["recipe"]["inputs"][name]
        for manifest in manifests
        for name, origin in manifest["lineage"].get("inputs", {}).items()
        if "key" in origin and name in manifest["recipe"]["inputs"]
    }


def _seconds(manifest: Mapping[str, Any]) -> float | None:
    """Total seconds of the recorded attempts at an artifact, or None if there are none."""
    known = [a["seconds"] for a in manifest["lineage"].get("attempts", []) if a["seconds"] is not None]
    return sum(known) if known else None


def _frame_count(manifest: Mapping[str, Any]) -> int:
    return int(manifest["lineage"].get("frames") or 0)


def _bytes(manifest: Mapping[str, Any]) -> int:
    return sum(listed["size"] for listed in manifest["files"].values())


def as_json(plan: Plan) -> str:
    """The plan as printed by `--json`."""
    totals = {"seconds": plan.seconds, "bytes": plan.bytes, "seconds_saved": plan.seconds_saved}
    facts = {"clip": plan.clip, "output": plan.output, **totals, "unknown": plan.unknown}
    return json.dumps({**facts, "stages": [vars(stage) for stage in plan.stages]}, indent=1)
