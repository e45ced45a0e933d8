"""What of a store nobody needs any more, by reachability from the recorded runs, and its removal.

A rule says which runs are no longer wanted. What only they reach goes. What a live process makes or reads, and what a
live run has reached, stays whatever the rule says.
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
LIVE_S = 600.0  # a lease not renewed for so long belongs to nobody; many beats, for clocks of machines differ
GRACE_S = 3600.0  # what no run has recorded may be about to be
FREE_LEASE_S = 86400.0  # a lease that nobody holds is kept so long

PrunableKind = Literal["artifact", "unfinished"]


@dataclass(frozen=True)
class PruneRule:
    """Which runs are no longer wanted: those of which one of these says so.

    Raises:
        ValueError: nothing is given, or something negative.
    """

    keep_last: int | None = None  # runs of each clip
    older_than_s: float | None = None
    max_bytes: int | None = None  # of all that stays

    def __post_init__(self) -> None:
        given = [value for value in (self.keep_last, self.older_than_s, self.max_bytes) if value is not None]
        if not given or min(given) < 0:
            raise ValueError(f"A rule keeps so many runs, so old ones, or so many bytes; got {self}.")


@dataclass(frozen=True)
class PruneDecision:
    """Whether one artifact, or unfinished one, stays or goes, is said by the list that it is in."""

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
    """What goes and what stays."""

    goes: tuple[PruneDecision, ...]
    stays: tuple[PruneDecision, ...]
    dropped: Mapping[str, str]  # name of the run -> why
    runs: tuple[Run, ...]  # all there were
    leases: tuple[str, ...]  # that nobody holds any more

    @property
    def freed_bytes(self) -> int:
        return sum(verdict.bytes for verdict in self.goes)

    @property
    def kept_bytes(self) -> int:
        return sum(verdict.bytes for verdict in self.stays)


@dataclass(frozen=True)
class InUse:
    """What live processes hold."""

    made: frozenset[Name]
    read: frozenset[str]  # digests
    runs: frozenset[str]  # names


def in_use(store: Store, now: float) -> InUse:
    """What live processes make and read, and which runs are going on."""
    listed = store.backend.objects.names(LEASES)
    said = [lease_owner(store.backend.objects, entry.name) for entry in listed if now - entry.modified < LIVE_S]
    live = [facts for facts in said if facts and not is_dead(facts)]
    return InUse(
        frozenset((facts["stage"], facts["key"]) for facts in live if "key" in facts),
        frozenset(digest for facts in live for digest in facts.get("inputs", [])),
        frozenset(facts["run"] for facts in live if "run" in facts),
    )


def plan_prune(store: Store, rule: PruneRule, now: float) -> PrunePlan:
    """What goes and what stays by `rule` at `now`, in s since 1970. Changes nothing."""
    judge = _Judge.of(store, rule, now)
    dropped = _unwanted(judge)
    if rule.max_bytes is not None:
        dropped |= _too_large(judge, dropped, rule.max_bytes)
    stays, goes = judge.decisions(dropped)
    needed = {_lease_of(verdict.name) for verdict in stays if verdict.kind == "unfinished"}
    leases = [name for name in _ownerless(store, now) if name not in needed]
    return PrunePlan(tuple(goes), tuple(stays), dropped, judge.found.runs, tuple(leases))


def prune(
    store: Store, plan: PrunePlan, on_verdict: Callable[[PruneDecision, bool], object] = lambda verdict, done: None
) -> int:
    """Remove what goes by `plan`; bytes freed. What came into use since it was made stays.

    A run that finds an artifact in the moment before it goes makes it again.

    Args:
        on_verdict: told of each artifact that was to go, and whether it is gone.
    """
    freed = 0
    for verdict in plan.goes:
        with _alone(store, _lease_of(verdict.name)) as alone:
            done = alone and not _wanted_since(store, plan, verdict)
            if done:
                freed += _remove(store, verdict)
        on_verdict(verdict, done)
    for name in plan.dropped:
        with _alone(store, f"{LEASES}run-{name}.json") as alone:
            if alone:
                store.backend.objects.remove(f"{FOLDER}/{name}.json")
    for name in plan.leases:
        with _alone(store, name):
            pass
    return freed


@dataclass(frozen=True)
class _Judge:
    """All that decides what stays, for any set of dropped runs."""

    found: Contents
    used: InUse
    rule: PruneRule
    now: float
    left: Mapping[Name, tuple[float, frozenset[str]]]  # of what is unfinished: when its lease changed, and its inputs
    reached: Mapping[str, set[Name]]  # by run

    @classmethod
    def of(cls, store: Store, rule: PruneRule, now: float) -> "_Judge":
        used, found = in_use(store, now), contents(store)
        changed = {listed.name: listed.modified for listed in store.backend.objects.names(LEASES)}
        left = {}
        for stage, key in found.partial:
            name = _lease_of((stage, key))
            left[stage, key] = changed.get(name, 0.0), frozenset(_facts(store, name).get("inputs", []))
        return cls(found, used, rule, now, left, {run.name: found.reached(run) for run in found.runs})

    def decisions(self, dropped: Mapping[str, str]) -> tuple[list[PruneDecision], list[PruneDecision]]:
        """What stays and what goes without the runs `dropped`."""
        kept = [run for run in self.found.runs if run.name not in dropped]
        reasons = self._artifacts_that_stay(kept)
        unfinished = {name: why for name in self.found.partial if (why := self._unfinished_stays(name, kept))}
        stays: list[PruneDecision] = []
        goes: list[PruneDecision] = []
        for name, entry in self.found.artifacts.items():
            why = reasons.get(name) or (unfinished.get(name) if not entry.digest else None)
            verdict = PruneDecision("artifact", *name, entry.bytes, why or self._why_artifact_goes(name), entry.digest)
            (stays if why else goes).append(verdict)
        for name, size in self.found.partial.items():
            why = unfinished.get(name)
            verdict = PruneDecision("unfinished", *name, size, why or "no kept run needs it, and nobody works on it")
            (stays if why else goes).append(verdict)
        return stays, goes

    def _artifacts_that_stay(self, kept: Iterable[Run]) -> dict[Name, str]:
        """Why each of them does."""
        recorded = set().union(*self.reached.values())
        young: set[Name] = set()
        read: set[Name] = set()
        for name, entry in self.found.artifacts.items():
            if name not in recorded and self.now - entry.finished < GRACE_S:
                young.add(name)
            if entry.digest in self.used.read:
                read.add(name)
        reasons = dict.fromkeys(self.found.with_inputs(young), "it was made just now, no run has recorded it yet")
        for run in kept:
            reasons |= dict.fromkeys(self.reached[run.name], f"run {run.name} needs it")
        reasons |= dict.fromkeys(self.found.with_inputs(read), "a live process reads it")
        return reasons | dict.fromkeys(self.used.made & self.found.artifacts.keys(), "a live process makes it")

    def _unfinished_stays(self, name: Name, kept: Iterable[Run]) -> str | None:
        """Why, or None."""
        if name in self.used.made:
            return "a live process makes it"
        changed, inputs = self.left[name]
        if self.now - changed < max(GRACE_S, self.rule.older_than_s or 0.0):
            return "it was worked on lately"
        for run in kept:
            digests = {self.found.artifacts[reached].digest for reached in self.reached[run.name]}
            if name in self.reached[run.name] or (inputs and inputs <= digests | {run.source}):
                return f"run {run.name} can go on with it"
        return None

    def _why_artifact_goes(self, name: Name) -> str:
        if not self.found.artifacts[name].digest:
            return "it has no readable manifest"
        recorded = any(name in reached for reached in self.reached.values())
        return "only dropped runs need it" if recorded else "no run has recorded it"


def _unwanted(judge: _Judge) -> dict[str, str]:
    """Runs that are too many or too old, and why."""
    rule, dropped = judge.rule, {}
    newer: dict[str, int] = {}
    for run in reversed(judge.found.runs):
        rank = newer[clip_of(run)] = newer.get(clip_of(run), 0) + 1
        age_s = judge.now - datetime.fromisoformat(run.finished or run.started).timestamp()
        if run.name in judge.used.runs:
            continue
        if rule.keep_last is not None and rank > rule.keep_last:
            dropped[run.name] = f"it is not among the last {rule.keep_last} of its clip"
        elif rule.older_than_s is not None and age_s > rule.older_than_s:
            dropped[run.name] = f"it ended {age_s / 86400:.1f} days ago"
    return dropped


def _too_large(judge: _Judge, dropped: Mapping[str, str], max_bytes: int) -> dict[str, str]:
    """The oldest of the other runs, as many as have to go for the rest to fit, and why."""
    others = [run.name for run in judge.found.runs if run.name not in dropped and run.name not in judge.used.runs]

    def fits(count: int) -> bool:
        stays, _ = judge.decisions({**dropped, **dict.fromkeys(others[:count], "")})
        return sum(verdict.bytes for verdict in stays) <= max_bytes

    count = bisect_left(range(len(others)), True, key=fits)
    return dict.fromkeys(others[:count], "it is among the oldest, and the store is too large")


def _ownerless(store: Store, now: float) -> list[str]:
    """Old leases that nobody holds."""
    old = [listed.name for listed in store.backend.objects.names(LEASES) if now - listed.modified > FREE_LEASE_S]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        holders = list(pool.map(lambda name: lease_owner(store.backend.objects, name), old))
    return [name for name, said in zip(old, holders, strict=True) if said is None or is_dead(said)]


def _wanted_since(store: Store, plan: PrunePlan, verdict: PruneDecision) -> bool:
    """Whether a live process reads what is to go, or a run reached it that goes on or began after the plan was made."""
    used = in_use(store, time.time())
    planned = {run.name for run in plan.runs}
    recorded = {
        listed.name.rpartition("/")[2].removesuffix(".json") for listed in store.backend.objects.names(f"{FOLDER}/")
    }
    since = [read_run(store, name) for name in (recorded - planned) | used.runs]
    return verdict.digest in used.read or any((verdict.stage, verdict.key) in run.artifacts for run in since if run)


def _remove(store: Store, verdict: PruneDecision) -> int:
    """Bytes freed."""
    if verdict.kind == "unfinished":
        return store.backend.remove_partial(*verdict.name)
    store.backend.remove(*verdict.name)
    return verdict.bytes


@contextmanager
def _alone(store: Store, lease: str) -> Iterator[bool]:
    """Whether nobody else holds `lease`: then this process does as long as the block lasts, and nothing is left of it.

    One whose holder is gone is waited for as long as it is valid; one whose holder shows up is left alone.
    """
    objects = store.backend.objects
    seen = objects.read(lease)
    with leased(objects, lease, store.patience, {}, lambda: objects.read(lease) != seen) as taken:
        yield taken is not None
        if taken is not None:
            objects.remove(lease)  # while it is held, or somebody else's would be removed


def _lease_of(name: Name) -> str:
    return f"{LEASES}{name[0]}-{name[1]}.json"


def _facts(store: Store, lease: str) -> dict[str, Any]:
    """What a lease says, held or not."""
    stored = store.backend.objects.read(lease)
    try:
        said = json.loads(stored.value) if stored else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
