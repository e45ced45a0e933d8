"""Artifacts in a folder that processes on one or several machines share.

<root>/<stage>/<key>/manifest.json      written last: a folder with a manifest is a finished artifact
<root>/staging/<stage>-<key>.<owner>/   workspace of a partial artifact; kept when its process dies, then resumed
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.backends.lease import Lease
from storage.backends.objects import FolderObjects, files_below
from storage.files import remove_tree, sync, write_json
from storage.manifest import MANIFEST, Files, is_artifact, plain_file
from storage.workspace import STARTED

STAGING = "staging"


@dataclass(frozen=True)
class Folder:
    """Artifacts in a folder; implements `storage.store.Backend`."""

    root: Path

    @property
    def url(self) -> str:
        return str(self.root)

    @property
    def folder(self) -> Path:
        return self.root

    @property
    def objects(self) -> FolderObjects:
        return FolderObjects(self.root)

    def missing(self, stage: str, key: str, files: Files) -> list[str]:
        """Those of `files` that are missing or do not have the listed size."""
        found = {name: plain_file(self.root, f"{stage}/{key}/{name}") for name in files}
        return [name for name, facts in found.items() if facts is None or facts.st_size != files[name]["size"]]

    def fetch(self, artifact: Artifact, files: Files) -> None:
        """Do nothing: files in a folder are local."""

    refetch = fetch

    def partial(self, stage: str, key: str) -> Path | None:
        """Workspace of a partial artifact, in use or not, or None."""
        found = self._workspaces(stage, key)
        return found[-1] if found else None

    @contextmanager
    def workspace(self, stage: str, key: str, lease: Lease, left: Mapping[str, Any]) -> Iterator[Path]:
        """Workspace with the files that an earlier owner of the lease left.

        Its name has the owner, so that an owner that lost the lease unnoticed cannot write into it.
        """
        own = self.root / STAGING / f"{stage}-{key}.{lease.owner}"
        *strays, last = [None, *self._workspaces(stage, key)]
        for stray in strays:
            if stray is not None:
                remove_tree(stray)
        own.parent.mkdir(parents=True, exist_ok=True)
        if last is None:
            own.mkdir()
        else:
            last.rename(own)
        yield own

    def publish(self, lease: Lease, workspace: Path, manifest: Mapping[str, Any]) -> None:
        """Turn a workspace whose files are synced to disk into a finished artifact."""
        write_json(workspace / MANIFEST, manifest)
        target = self.root / lease.facts["stage"] / lease.facts["key"]
        target.parent.mkdir(exist_ok=True)
        workspace.rename(target)
        for folder in (target.parent, workspace.parent, self.root):
            sync(folder)

    def reopen(self, stage: str, key: str, lease: Lease) -> None:
        """Turn a damaged artifact back into a workspace, so that its damaged files are recomputed."""
        target = self.root / STAGING / f"{stage}-{key}.{lease.owner}"
        target.parent.mkdir(exist_ok=True)
        (self.root / stage / key).rename(target)

    def refresh(self, stage: str, key: str, name: str) -> None:
        """Do nothing: a file in a folder has no second copy."""

    def finished(self) -> list[tuple[str, str]]:
        """Stage and key of every artifact with a manifest."""
        found = [(path.parent.parent.name, path.parent.name) for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]
        return [name for name in found if is_artifact(*name) and plain_file(self.root, "/".join([*name, MANIFEST]))]

    def remove(self, stage: str, key: str) -> None:
        """Remove a finished artifact, if it exists."""
        folder = self.root / stage / key
        self.objects.remove(f"{stage}/{key}/{MANIFEST}")  # first, so that after a kill nothing looks finished
        remove_tree(folder)

    def remove_partial(self, stage: str, key: str) -> int:
        """Remove a partial artifact, whose lease the caller holds; return the bytes freed."""
        freed = 0
        for folder in self._workspaces(stage, key):
            freed += sum(size for _, size, _ in files_below(folder))
            remove_tree(folder)
        return freed

    def partial_artifacts(self) -> list[tuple[str, str, int]]:
        """Stage, key and bytes of every partial artifact."""
        found = []
        for path in sorted((self.root / STAGING).glob("*-*.*")):
            stage, _, key = path.name.partition(".")[0].rpartition("-")
            if is_artifact(stage, key):
                found.append((stage, key, sum(size for _, size, _ in files_below(path))))
        return found

    def _workspaces(self, stage: str, key: str) -> list[Path]:
        """Workspaces of one artifact; those in which a stage has started come last."""
        found = sorted((self.root / STAGING).glob(f"{stage}-{key}.*"))
        return sorted(found, key=lambda path: (path / STARTED).exists())
