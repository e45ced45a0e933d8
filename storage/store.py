"""Where results are kept, and the one truth about what is done.

<root>/<stage>/<key>/manifest.json    written last: a folder with a manifest is a finished artifact
<root>/staging/<stage>-<key>/         one being made; stays when its process dies, and is gone on with
<root>/locks/<stage>-<key>.lock       held (flock) by the process that makes it; a dead process holds nothing
"""

import fcntl
import json
import logging
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from storage.artifact import RESERVED, Artifact, Recipe, canonical_json, file_sha256, sync, write_whole
from storage.errors import DamagedError, IncompleteError, MismatchError, StorageError
from storage.frame_array import unfinished_arrays

MANIFEST = "manifest.json"
STARTED = ".started"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """The folder in which one artifact is made. Names that start with "." are scratch and are not kept."""

    path: Path
    resumed: bool  # `path` holds what a killed or failed run left


@dataclass(frozen=True)
class Store:
    """Finished artifacts by recipe, in one folder that any number of processes may share."""

    root: Path

    def find(self, recipe: Recipe) -> Artifact | None:
        """The finished artifact of `recipe`, or None when it is to be made.

        Files are counted and measured, not hashed (see `verify`): one that is gone or cut short means it is to be made.
        """
        manifest = _whole_manifest(self.root / recipe.stage / recipe.key)
        return self._ticket(recipe.stage, recipe.key, manifest) if manifest else None

    def make(
        self, recipe: Recipe, fill: Callable[[Workspace], object], software: Mapping[str, str] | None = None
    ) -> Artifact:
        """The finished artifact of `recipe`: found, or made by `fill`.

        When another process is making it, waits and returns that one's. When `fill` raises or the process is killed,
        what was written stays, and the next `fill` of this recipe goes on from there.

        Args:
            fill: writes the artifact's files; files it finds there already are from a run that was cut off.
            software: name -> version, kept in the manifest beside our own; decides nothing.

        Raises:
            IncompleteError: `fill` returned with an array unfinished, or wrote nothing.
            StorageError: the store's folder cannot be made.
        """
        done = self.find(recipe)
        if done:
            return done
        with self._locked(recipe.stage, recipe.key):
            done = self.find(recipe)
            if done:
                return done
            self._remove_damaged(recipe)
            staging = self.root / "staging" / f"{recipe.stage}-{recipe.key}"
            resumed = staging.exists()
            staging.mkdir(parents=True, exist_ok=True)
            started = _start(staging)
            fill(Workspace(staging, resumed))
            return self._commit(recipe, staging, _lineage(started, software or {}))

    def manifest(self, artifact: Artifact) -> dict[str, Any]:
        """What is known of an artifact: `recipe`, `digest`, `files` with size and SHA-256, `lineage`.

        Raises:
            DamagedError: it cannot be read, or is no longer there.
        """
        try:
            manifest: dict[str, Any] = json.loads((artifact.path / MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise DamagedError(
                f"{artifact.path / MANIFEST} is gone or unreadable. Run again: {artifact.stage} is made anew."
            ) from error
        return manifest

    def verify(self, artifact: Artifact) -> None:
        """Hash every file again.

        Raises:
            DamagedError: a file is missing or changed.
            MismatchError: the artifact was made anew with other content since the ticket was given out.
        """
        files = self.manifest(artifact)["files"]
        for name, listed in files.items():
            path = artifact.path / name
            found = file_sha256(path) if path.is_file() else "no file"
            if found != listed["sha256"]:
                raise DamagedError(
                    f"{path} is damaged: expected SHA-256 {listed['sha256']}, found {found}. "
                    f"Delete {artifact.path} and run again: {artifact.stage} is made anew."
                )
        if _content_digest(files) != artifact.digest:
            raise MismatchError(
                f"{artifact.path} holds {_content_digest(files)}, the ticket says {artifact.digest}: "
                "it was made anew with other content. Run again from the start of the flow."
            )

    def delete(self, artifact: Artifact) -> None:
        """Remove an artifact; nothing happens when it is already gone."""
        with self._locked(artifact.stage, artifact.key):
            _remove(artifact.path)

    def artifacts(self) -> Iterator[Artifact]:
        """Every finished artifact, by stage and key."""
        for path in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            folder = path.parent
            manifest = None if folder.parent.name in RESERVED else _whole_manifest(folder)
            if manifest:
                yield self._ticket(folder.parent.name, folder.name, manifest)

    def size(self, artifact: Artifact) -> int:
        """Bytes of an artifact's files."""
        return sum(listed["size"] for listed in self.manifest(artifact)["files"].values())

    def _ticket(self, stage: str, key: str, manifest: Mapping[str, Any]) -> Artifact:
        return Artifact(self.root.absolute(), stage, key, manifest["digest"])

    @contextmanager
    def _locked(self, stage: str, key: str) -> Iterator[None]:
        """Hold the lock of one artifact, waiting for whoever has it. The kernel frees it when a process dies."""
        path = self.root / "locks" / f"{stage}-{key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The store cannot be made at {self.root} ({error.strerror}). Give another folder with --store."
            ) from error
        with path.open("a") as file:  # never deleted: a process waiting on a deleted file would hold no lock
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Waiting for another process that makes %s %s", stage, key)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_damaged(self, recipe: Recipe) -> None:
        folder = self.root / recipe.stage / recipe.key
        if folder.exists():
            logger.warning("%s is damaged (a file is gone or cut short); it is made anew", folder)
            _remove(folder)

    def _commit(self, recipe: Recipe, staging: Path, lineage: Mapping[str, Any]) -> Artifact:
        """Turn a filled workspace into a finished artifact: files, then manifest, then rename, each safely on disk."""
        _check_finished(staging)
        _drop_scratch(staging)
        files = {}
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            sync(path)
            name = path.relative_to(staging).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
        if not files:
            raise IncompleteError(
                f"{recipe.stage} wrote nothing into {staging}. Its task has to write its result there."
            )

        for folder in sorted((path for path in staging.rglob("*") if path.is_dir()), reverse=True):
            sync(folder)
        manifest = {"recipe": recipe.to_json(), "digest": _content_digest(files), "files": files, "lineage": lineage}
        write_whole(staging / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())

        target = self.root / recipe.stage / recipe.key
        target.parent.mkdir(exist_ok=True)
        staging.rename(target)
        for folder in (target.parent, staging.parent, self.root):
            sync(folder)
        return self._ticket(recipe.stage, recipe.key, manifest)


def _whole_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of `folder` if every file it lists is there in full length."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        whole = all((folder / name).stat().st_size == listed["size"] for name, listed in manifest["files"].items())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        return None
    return manifest if whole else None


def _content_digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over names and hashes only: no time, host or path enters it."""
    return sha256(
        canonical_json(sorted((name, listed["sha256"]) for name, listed in files.items())).encode()
    ).hexdigest()


def _start(staging: Path) -> str:
    """When the work in `staging` was first begun, in UTC."""
    path = staging / STARTED
    if not path.exists():
        write_whole(path, datetime.now(UTC).isoformat(timespec="seconds").encode())
    return path.read_text()


def _lineage(started: str, software: Mapping[str, str]) -> dict[str, Any]:
    return {
        "started": started,  # UTC, of the first attempt
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "software": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("stitchedit", "numpy", "zarr")},
            **software,
        },
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def _check_finished(staging: Path) -> None:
    unfinished = unfinished_arrays(staging)
    if unfinished:
        names = ", ".join(path.relative_to(staging).as_posix() for path in unfinished)
        raise IncompleteError(
            f"{len(unfinished)} of the arrays in {staging} are not finished ({names}). "
            "The task has to write all that `pending()` gives before it returns."
        )


def _drop_scratch(staging: Path) -> None:
    (staging / MANIFEST).unlink(missing_ok=True)  # from a run killed between manifest and rename
    for path in list(staging.rglob(".*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # gone already when its folder was scratch too


def _remove(folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)  # first, so that a kill half way leaves nothing that looks finished
    if folder.exists():
        shutil.rmtree(folder)
