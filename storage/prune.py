"""Pruning: remove artifacts that no kept run reaches.

A rule selects runs to drop; artifacts that only dropped runs reach are removed. Artifacts that a live process computes
or reads, and those that a live run has reached, are always kept.
"""

import json
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from storage.backends.lease import is_dead, lease_owner, leased
from storage.runs import FOLDER, Run, read_run
from storage.store import Store
from storage.usage import CONNECTIONS, Contents, Name, clip_of, contents

LEASES = "leases/"
LIVE_S = 600.0  # a lease not renewed for this long has no owner; many heartbeats, because clocks of machines differ
GRACE_S = 3600.0  # age up to which an unrecorded artifact is kept: a run may be about to record it
FREE_LEASE_S = 86400.0  # age at which a lease without an owner is removed

PrunableKind = Literal["artifact", "unfinished"]


@dataclass(frozen=True)
class PruneRule:
    """Limits that select runs to drop.

    A run is dropped if any of them applies.

    Raises:
        ValueError: no limit is given, or one is negative.
    """

    keep_last: int | None = None  # runs of each clip
    older_than_s: float | None = None
    max_bytes: int | None = None  # of everything kept

    def __post_init__(self) -> None:
        given = [value for value in (self.keep_last, self.older_than_s, self.max_bytes) if value is not None]
        if not given or min(given) < 0:
            raise ValueError(f"A rule limits the number of runs, their age, or the total bytes; got {self}.")


@dataclass(frozen=True)
class PruneDecision:
    """Decision about one finished or partial artifact.

    It is in the `goes` or the `stays` list of a plan.
    """

    kind: PrunableKind
    stage: str
    key: str
    bytes: int
    why: str
    digest: str = ""

    @property
    def name(self) -> Name:
        return self.stage, self.key


@dataclass(frozen=True)
class PrunePlan:
    """Artifacts to remove (`goes`) and to keep (`stays`), with reasons."""

    goes: tuple[PruneDecision, ...]
    stays: tuple[PruneDecision, ...]
    dropped: Mapping[str, str]  # name of the run -> reason
    runs: tuple[Run, ...]  # all recorded runs when the plan was made
    leases: tuple[str, ...]  # old leases without an owner, to be removed

    @property
    def freed_bytes(self) -> int:
        return sum(decision.bytes for decision in self.goes)

    @property
    def kept_bytes(self) -> int:
        return sum(decision.bytes for decision in self.stays)


@dataclass(frozen=True)
class InUse:
    """Artifacts and runs that live processes have leased."""

    made: frozenset[Name]  # being computed
    read: frozenset[str]  # digests of inputs
    runs: frozenset[str]  # names


def in_use(store: Store, now: float) -> InUse:
    """Read from the leases what live processes compute and read, and the runs in progress."""
    listed = store.backend.objects.names(LEASES)
    owners = [lease_owner(store.backend.objects, entry.name) for entry in listed if now - entry.modified < LIVE_S]
    live = [facts for facts in owners if facts and not is_dead(facts)]
    return InUse(
        frozenset((facts["stage"], facts["key"]) for facts in live if "key" in facts),
        frozenset(digest for facts in live for digest in facts.get("inputs", [])),
        frozenset(facts["run"] for facts in live if "run" in facts),
    )


def plan_prune(store: Store, rule: PruneRule, now: float) -> PrunePlan:
    """Decide what to remove by `rule` at `now`, in s since 1970. Changes nothing."""
    planner = _Planner.of(store, rule, now)
    dropped = _unwanted(planner)
    if rule.max_bytes is not None:
        dropped |= _too_large(planner, dropped, rule.max_bytes)
    stays, goes = planner.decisions(dropped)
    needed = {_lease_of(decision.name) for decision in stays if decision.kind == "unfinished"}
    leases = [name for name in _ownerless(store, now) if name not in needed]
    return PrunePlan(tuple(goes), tuple(stays), dropped, planner.found.runs, tuple(leases))


def prune(
    store: Store, plan: PrunePlan, on_decision: Callable[[PruneDecision, bool], object] = lambda decision, done: None
) -> int:
    """Carry out `plan` and return the bytes freed.

    Artifacts that came into use since it was made are kept.

    A run that finds an artifact just before its removal recomputes it.

    Args:
        on_decision: called for each artifact of `plan.goes`, with True if it was removed.
    """
    freed = 0
    for decision in plan.goes:
        with _exclusive(store, _lease_of(decision.name)) as is_exclusive:
            done = is_exclusive and not _wanted_since(store, plan, decision)
            if done:
                freed += _remove(store, decision)
        on_decision(decision, done)
    for name in plan.dropped:
        with _exclusive(store, f"{LEASES}run-{name}.json") as is_exclusive:
            if is_exclusive:
                store.backend.objects.remove(f"{FOLDER}/{name}.json")
    for name in plan.leases:
        with _exclusive(store, name):
            pass
    return freed


@dataclass(frozen=True)
class _Planner:
    """Snapshot of a store, to decide what stays for any set of dropped runs."""

    found: Contents
    used: InUse
    rule: PruneRule
    now: float
    left: Mapping[Name, tuple[float, frozenset[str]]]  # of partial artifacts: mtime of the lease, digests of inputs
    reached: Mapping[str, set[Name]]  # by run

    @classmethod
    def of(cls, store: Store, rule: PruneRule, now: float) -> "_Planner":
        used, found = in_use(store, now), contents(store)
        changed = {listed.name: listed.modified for listed in store.backend.objects.names(LEASES)}
        left = {}
        for stage, key in found.partial:
            name = _lease_of((stage, key))
            left[stage, key] = changed.get(name, 0.0), frozenset(_facts(store, name).get("inputs", []))
        return cls(found, used, rule, now, left, {run.name: found.reached(run) for run in found.runs})

    def decisions(self, dropped: Mapping[str, str]) -> tuple[list[PruneDecision], list[PruneDecision]]:
        """Split the artifacts into those that stay and those that go without the runs `dropped`."""
        kept = [run for run in self.found.runs if run.name not in dropped]
        reasons = self._artifacts_that_stay(kept)
        unfinished = {name: why for name in self.found.partial if (why := self._unfinished_stays(name, kept))}
        stays: list[PruneDecision] = []
        goes: list[PruneDecision] = []
        for name, entry in self.found.artifacts.items():
            why = reasons.get(name) or (unfinished.get(name) if not entry.digest else None)
            decision = PruneDecision("artifact", *name, entry.bytes, why or self._why_artifact_goes(name), entry.digest)
            (stays if why else goes).append(decision)
        for name, size in self.found.partial.items():
            why = unfinished.get(name)
            decision = PruneDecision("unfinished", *name, size, why or "no kept run needs it, and no process uses it")
            (stays if why else goes).append(decision)
        return stays, goes

    def _artifacts_that_stay(self, kept: Iterable[Run]) -> dict[Name, str]:
        """Reason for each artifact that stays."""
        recorded = set().union(*self.reached.values())
        young: set[Name] = set()
        read: set[Name] = set()
        for name, entry in self.found.artifacts.items():
            if name not in recorded and self.now - entry.finished < GRACE_S:
                young.add(name)
            if entry.digest in self.used.read:
                read.add(name)
        reasons = dict.fromkeys(self.found.with_inputs(young), "it is new, and no run has recorded it yet")
        for run in kept:
            reasons |= dict.fromkeys(self.reached[run.name], f"run {run.name} needs it")
        reasons |= dict.fromkeys(self.found.with_inputs(read), "a live process reads it")
        return reasons | dict.fromkeys(self.used.made & self.found.artifacts.keys(), "a live process computes it")

    def _unfinished_stays(self, name: Name, kept: Iterable[Run]) -> str | None:
        """Reason why a partial artifact stays, or None."""
        if name in self.used.made:
            return "a live process computes it"
        changed, inputs = self.left[name]
        if self.now - changed < max(GRACE_S, self.rule.older_than_s or 0.0):
            return "it was in progress recently"
        for run in kept:
            digests = {self.found.artifacts[reached].digest for reached in self.reached[run.name]}
            if name in self.reached[run.name] or (inputs and inputs <= digests | {run.source}):
                return f"run {run.name} can resume it"
        return None

    def _why_artifact_goes(self, name: Name) -> str:
        if not self.found.artifacts[name].digest:
            return "it has no readable manifest"
        recorded = any(name in reached for reached in self.reached.values())
        return "only dropped runs need it" if recorded else "no run has recorded it"


def _unwanted(planner: _Planner) -> dict[str, str]:
    """Runs beyond the limits of number and age, with reasons."""
    rule, dropped = planner.rule, {}
    newer: dict[str, int] = {}
    for run in reversed(planner.found.runs):
        rank = newer[clip_of(run)] = newer.get(clip_of(run), 0) + 1
        age_s = planner.now - datetime.fromisoformat(run.finished or run.started).timestamp()
        if run.name in planner.used.runs:
            continue
        if rule.keep_last is not None and rank > rule.keep_last:
            dropped[run.name] = f"it is not among the last {rule.keep_last} of its clip"
        elif rule.older_than_s is not None and age_s > rule.older_than_s:
            dropped[run.name] = f"it ended {age_s / 86400:.1f} days ago"
    return dropped


def _too_large(planner: _Planner, dropped: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """The fewest of the oldest other runs to drop so that the rest fits in `max_bytes`, with reasons."""
    others = [run.name for run in planner.found.runs if run.name not in dropped and run.name not in planner.used.runs]

    def fits(count: int) -> bool:
        stays, _ = planner.decisions({**dropped, **dict.fromkeys(others[:count], "")})
        return sum(decision.bytes for decision in stays) <= max_bytes

    count = bisect_left(range(len(others)), True, key=fits)
    return dict.fromkeys(others[:count], "it is among the oldest, and the store is too large")


def _ownerless(store: Store, now: float) -> list[str]:
    """Old leases without a live owner."""
    old = [listed.name for listed in store.backend.objects.names(LEASES) if now - listed.modified > FREE_LEASE_S]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        owners = list(pool.map(lambda name: lease_owner(store.backend.objects, name), old))
    return [name for name, owner in zip(old, owners, strict=True) if owner is None or is_dead(owner)]


def _wanted_since(store: Store, plan: PrunePlan, decision: PruneDecision) -> bool:
    """True if a live process reads the artifact, or a live run or one newer than the plan reached it."""
    used = in_use(store, time.time())
    planned = {run.name for run in plan.runs}
    recorded = {
        listed.name.rpartition("/")[2].removesuffix(".json") for listed in store.backend.objects.names(f"{FOLDER}/")
    }
    since = [read_run(store, name) for name in (recorded - planned) | used.runs]
    return decision.digest in used.read or any((decision.stage, decision.key) in run.artifacts for run in since if run)


def _remove(store: Store, decision: PruneDecision) -> int:
    """Remove an artifact and return the bytes freed."""
    if decision.kind == "unfinished":
        return store.backend.remove_partial(*decision.name)
    store.backend.remove(*decision.name)
    return decision.bytes


@contextmanager
def _exclusive(store: Store, lease: str) -> Iterator[bool]:
    """Hold `lease` during the block and remove it afterwards.

    False if another process holds it.

    Waits until the lease of a dead owner expires; gives up if the owner renews it.
    """
    objects = store.backend.objects
    seen = objects.read(lease)
    with leased(objects, lease, store.patience, {}, lambda: objects.read(lease) != seen) as taken:
        yield taken is not None
        if taken is not None:
            objects.remove(lease)  # while it is held, else another owner's lease could be removed


def _lease_of(name: Name) -> str:
    return f"{LEASES}{name[0]}-{name[1]}.json"


def _facts(store: Store, lease: str) -> dict[str, Any]:
    """Content of a lease, with or without an owner.

    Empty if it is missing or unreadable.
    """
    stored = store.backend.objects.read(lease)
    try:
        facts = json.loads(stored.value) if stored else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
