"""Artifacts in a folder that processes of one or several machines share.

<root>/<stage>/<key>/manifest.json      written last: a folder with a manifest is a finished artifact
<root>/staging/<stage>-<key>.<owner>/   one being made; stays when its process dies, and is gone on with
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.artifact import RESERVED, Artifact, sync, write_json
from storage.lease import Lease
from storage.objects import FolderObjects, files_below
from storage.workspace import MANIFEST, STARTED, Files

STAGING = "staging"


@dataclass(frozen=True)
class Folder:
    """A place for artifacts: see `storage.store.Place`."""

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
        """Which of `files` (name -> size) are not there in full length."""
        folder = self.root / stage / key
        return [name for name, listed in files.items() if _size(folder / name) != listed["size"]]

    def fetch(self, artifact: Artifact, files: Files) -> None:
        """Nothing: files in a folder can be opened where they are."""

    fetch_anew = fetch

    def under_way(self, stage: str, key: str) -> Path | None:
        """The workspace that somebody left or works in."""
        found = self._workspaces(stage, key)
        return found[-1] if found else None

    @contextmanager
    def workspace(self, stage: str, key: str, lease: Lease, left: Mapping[str, Any]) -> Iterator[Path]:
        """A folder to work in, with what an earlier holder of the lease left.

        It is named for its holder: one who lost the lease without knowing writes where nobody looks.
        """
        own = self.root / STAGING / f"{stage}-{key}.{lease.owner}"
        *strays, last = [None, *self._workspaces(stage, key)]
        for stray in strays:
            if stray is not None:
                shutil.rmtree(stray)
        own.parent.mkdir(parents=True, exist_ok=True)
        if last is None:
            own.mkdir()
        else:
            last.rename(own)
        yield own

    def publish(self, lease: Lease, workspace: Path, manifest: Mapping[str, Any]) -> None:
        """Turn a workspace whose files are on the disk into a finished artifact."""
        write_json(workspace / MANIFEST, manifest)
        target = self.root / lease.facts["stage"] / lease.facts["key"]
        target.parent.mkdir(exist_ok=True)
        workspace.rename(target)
        for folder in (target.parent, workspace.parent, self.root):
            sync(folder)

    def reopen(self, stage: str, key: str, lease: Lease) -> None:
        """Make a workspace again of a finished artifact, for its damaged files to be made anew."""
        target = self.root / STAGING / f"{stage}-{key}.{lease.owner}"
        target.parent.mkdir(exist_ok=True)
        (self.root / stage / key).rename(target)

    def refresh(self, stage: str, key: str, name: str) -> None:
        """Nothing: a file in a folder has no second copy."""

    def finished(self) -> list[tuple[str, str]]:
        """Stage and key of everything that has a manifest."""
        found = [path.parent for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]
        return [(path.parent.name, path.name) for path in found if path.parent.name not in RESERVED]

    def remove(self, stage: str, key: str) -> None:
        """Remove a finished artifact; nothing happens when there is none."""
        folder = self.root / stage / key
        self.objects.remove(f"{stage}/{key}/{MANIFEST}")  # first, so that a kill leaves nothing that looks finished
        if folder.exists():
            shutil.rmtree(folder)

    def remove_under_way(self, stage: str, key: str) -> int:
        """Remove what was left of an unfinished artifact, whose lease the caller holds; bytes freed."""
        freed = 0
        for folder in self._workspaces(stage, key):
            freed += sum(size for _, size, _ in files_below(folder))
            shutil.rmtree(folder)
        return freed

    def all_under_way(self) -> list[tuple[str, str, int]]:
        """Stage, key and bytes of everything unfinished."""
        found = []
        for path in sorted((self.root / STAGING).glob("*-*.*")):
            stage, _, key = path.name.partition(".")[0].rpartition("-")
            found.append((stage, key, sum(size for _, size, _ in files_below(path))))
        return found

    def _workspaces(self, stage: str, key: str) -> list[Path]:
        """Workspaces of one artifact, that which was begun properly last."""
        found = sorted((self.root / STAGING).glob(f"{stage}-{key}.*"))
        return sorted(found, key=lambda path: (path / STARTED).exists())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1
