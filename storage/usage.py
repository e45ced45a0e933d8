"""Content and size of a store, by stage, clip and edit.

A run reaches the artifacts in its record, their inputs, and so on up to the clip.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from storage.manifest import MANIFEST, is_artifact
from storage.runs import Run, runs
from storage.store import Store

CONNECTIONS = 8

Name = tuple[str, str]
"""Stage and key."""


@dataclass(frozen=True)
class ArtifactUsage:
    """One artifact, or the remains of one."""

    bytes: int  # of its current files, without the manifest
    digest: str = ""  # empty if it has no readable manifest
    inputs: frozenset[Name] = frozenset()
    finished: float = 0.0  # s since 1970, by the clock of the machine that computed it


@dataclass(frozen=True)
class Contents:
    """Snapshot of a store."""

    artifacts: Mapping[Name, ArtifactUsage]
    partial: Mapping[Name, int]  # bytes of partial artifacts
    runs: tuple[Run, ...]  # oldest first

    @property
    def bytes(self) -> int:
        """Total of finished and partial artifacts."""
        return self.size(self.artifacts) + sum(self.partial.values())

    def size(self, names: Iterable[Name]) -> int:
        """Bytes of these artifacts."""
        return sum(self.artifacts[name].bytes for name in names)

    def reached(self, run: Run) -> set[Name]:
        """The artifacts in a run's record and all their inputs, recursively."""
        return self.with_inputs(run.artifacts)

    def with_inputs(self, names: Iterable[Name]) -> set[Name]:
        """The existing ones of `names`, and all their inputs, recursively."""
        found: set[Name] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name in self.artifacts and name not in found:
                found.add(name)
                left.extend(self.artifacts[name].inputs)
        return found


@dataclass(frozen=True)
class Share:
    """Disk usage of one stage, clip or edit."""

    name: str
    artifacts: int
    bytes: int  # of all artifacts that it reaches
    own_bytes: int  # of those that no other share reaches: freed if it were removed


def contents(store: Store) -> Contents:
    """Take a snapshot of a store: list all objects, read all manifests and records."""
    partial = {(stage, key): size for stage, key, size in store.backend.partial_artifacts()}
    recorded = tuple(runs(store))
    stages = {stage for stage, _ in [*store.backend.finished(), *partial]}
    stages.update(stage for run in recorded for stage, _ in run.artifacts)
    sizes = _sizes(store, stages)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        entries = pool.map(lambda name: _entry(store, name, sizes[name]), sizes)
        return Contents(dict(zip(sizes, entries, strict=True)), partial, recorded)


def stage_shares(found: Contents) -> list[Share]:
    """Disk usage of each stage, largest first."""
    groups: dict[str, set[Name]] = {}
    for name in found.artifacts:
        groups.setdefault(name[0], set()).add(name)
    return _shares(found, groups)


def clip_shares(found: Contents) -> list[Share]:
    """Disk usage of the runs of each clip, largest first.

    A clip has its file name from its latest run.
    """
    names = {clip_of(run): _file_name(run.clip) for run in found.runs}
    groups: dict[str, set[Name]] = {}
    for run in found.runs:
        groups.setdefault(_unique(names, clip_of(run)), set()).update(found.reached(run))
    return _shares(found, groups)


def edit_shares(found: Contents) -> list[Share]:
    """Disk usage of the runs of each edit of each clip, largest first."""
    names = {clip_of(run): _file_name(run.clip) for run in found.runs}
    groups: dict[str, set[Name]] = {}
    for run in found.runs:
        edit = f"{_unique(names, clip_of(run))} {run.edit}"
        groups.setdefault(edit, set()).update(found.reached(run))
    return _shares(found, groups)


def unreached(found: Contents) -> set[Name]:
    """Artifacts that no recorded run reaches."""
    return set(found.artifacts).difference(*(found.reached(run) for run in found.runs))


def clip_of(run: Run) -> str:
    """Identity of a run's clip: the SHA-256 of the file, or its path if that is unknown."""
    return run.source or run.clip


def _sizes(store: Store, stages: Iterable[str]) -> dict[Name, int]:
    """Bytes of the artifacts in the folders of `stages`, by stage and key.

    Unrelated files are skipped.
    """
    sizes: dict[Name, int] = {}
    for stage in sorted(stages):
        for listed in store.backend.objects.names(f"{stage}/"):
            _, key, *parts = listed.name.split("/")
            if parts and is_artifact(stage, key):
                size = 0 if parts == [MANIFEST] else listed.size
                sizes[stage, key] = sizes.get((stage, key), 0) + size
    return sizes


def _entry(store: Store, name: Name, size: int) -> ArtifactUsage:
    manifest = store.read_manifest(*name)
    if manifest is None:
        return ArtifactUsage(size)
    lineage = manifest["lineage"]
    origins = [origin for origin in lineage.get("inputs", {}).values() if "key" in origin]
    inputs = frozenset((origin["stage"], origin["key"]) for origin in origins)
    return ArtifactUsage(size, manifest["digest"], inputs, datetime.fromisoformat(lineage["finished"]).timestamp())


def _shares(found: Contents, groups: Mapping[str, set[Name]]) -> list[Share]:
    users: dict[Name, int] = {}
    for names in groups.values():
        for name in names:
            users[name] = users.get(name, 0) + 1
    shares = [
        Share(group, len(names), found.size(names), found.size(name for name in names if users[name] == 1))
        for group, names in groups.items()
    ]
    return sorted(shares, key=lambda share: (-share.bytes, share.name))


def _file_name(clip: str) -> str:
    return re.split(r"[/\\]", clip)[-1]


def _unique(names: Mapping[str, str], clip: str) -> str:
    """File name of a clip, with a part of its digest if another clip has the same name."""
    same = [other for other, name in names.items() if name == names[clip]]
    return names[clip] if len(same) == 1 else f"{names[clip]} ({clip[:6]})"
