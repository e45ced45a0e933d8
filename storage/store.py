"""The artifact store: the single source of truth about finished results.

<stage>/<key>/manifest.json    an artifact with a manifest is finished; it lists every file with size and SHA-256
leases/<stage>-<key>.json      the process that computes it (storage/backends/lease.py)
runs/<run>.json                records of runs (storage/runs.py)

A store is a folder or a bucket of S3-compatible object storage: see `open_store`.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from storage.artifact import Artifact, Recipe, file_sha256
from storage.backends.bucket import Bucket
from storage.backends.folder import Folder
from storage.backends.lease import Lease, Patience, leased
from storage.backends.objects import Objects
from storage.errors import DamagedError, MismatchError, StoreAddressError
from storage.manifest import MANIFEST, Files, content_digest, is_artifact, is_intact, parse_manifest, plain_file
from storage.safe_text import redacted
from storage.workspace import STARTED, Attempt, Workspace, drop_links, finish, keep_intact, versions

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """A folder or a bucket.

    Paths are always local; a bucket's files are downloaded when they are needed.
    """

    @property
    def url(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def objects(self) -> Objects: ...
    def missing(self, stage: str, key: str, files: Files) -> list[str]: ...
    def fetch(self, artifact: Artifact, files: Files) -> None: ...
    def refetch(self, artifact: Artifact, files: Files) -> None: ...
    def partial(self, stage: str, key: str) -> Path | None: ...
    def workspace(
        self, stage: str, key: str, lease: Lease, left: Mapping[str, Any]
    ) -> AbstractContextManager[Path]: ...
    def publish(self, lease: Lease, workspace: Path, manifest: Mapping[str, Any]) -> None: ...
    def reopen(self, stage: str, key: str, lease: Lease) -> None: ...
    def refresh(self, stage: str, key: str, name: str) -> None: ...
    def remove(self, stage: str, key: str) -> None: ...
    def finished(self) -> list[tuple[str, str]]: ...
    def remove_partial(self, stage: str, key: str) -> int: ...
    def partial_artifacts(self) -> list[tuple[str, str, int]]: ...


_Seen = tuple[int, int, int, str]
"""Inode, size, mtime in ns and SHA-256 of a file."""


@dataclass(frozen=True)
class Store:
    """Finished artifacts by recipe, shared by any number of processes on any number of machines."""

    backend: Backend
    patience: Patience = field(default_factory=Patience)
    _seen: dict[str, _Seen] = field(default_factory=dict, compare=False, repr=False)  # verified files, by path

    @classmethod
    def at(cls, root: Path) -> "Store":
        """The store in a folder, which need not exist yet."""
        return cls(Folder(root.absolute()))

    @property
    def folder(self) -> Path:
        """Local folder with the artifacts' files."""
        return self.backend.folder

    def find(self, recipe: Recipe) -> Artifact | None:
        """The finished artifact of `recipe`, or None if it is missing or incomplete.

        Checks that all files exist with the listed size; does not hash them (see `verify`).
        """
        manifest = self.read_manifest(recipe.stage, recipe.key)
        if manifest is None or self.lacking(recipe.stage, recipe.key, manifest):
            return None
        return self._ticket(recipe.stage, recipe.key, manifest)

    def lacking(self, stage: str, key: str, manifest: Mapping[str, Any]) -> list[str]:
        """Files of a finished artifact that are missing, truncated, or reported as damaged."""
        return sorted({*self.backend.missing(stage, key, manifest["files"]), *manifest.get("damaged", [])})

    def make(self, recipe: Recipe, fill: Callable[[Workspace], object]) -> Artifact:
        """The finished artifact of `recipe`: found, or computed by `fill`.

        If another process is computing it, waits and returns the result of that process. If `fill` raises or the
        process is killed, the files written so far are kept, and the next `fill` of this recipe resumes from them. For
        a damaged artifact, `fill` gets all intact files.

        Args:
            fill: writes the artifact's files; files that exist already are from an interrupted run. The workspace's
                `facts` are kept as lineage.

        Raises:
            IncompleteError: `fill` returned with an array unfinished, or wrote nothing.
            LeaseLostError: another process took over, because this one did not renew its lease in time.
            StorageError: the store's folder cannot be created.
        """
        stage, key = recipe.stage, recipe.key
        done = self.find(recipe)
        if done:
            return done
        facts = {"stage": stage, "key": key, "inputs": sorted(recipe.inputs.values())}
        lease_name = f"leases/{stage}-{key}.json"
        with leased(
            self.backend.objects, lease_name, self.patience, facts, lambda: self.find(recipe) is not None
        ) as taken:
            done = self.find(recipe)
            if done or taken is None:
                return done or self.make(recipe, fill)
            lease, left = taken
            damaged = self.read_manifest(stage, key)
            if damaged is None:
                self.backend.remove(stage, key)  # files without a readable manifest cannot be verified
            else:
                logger.warning("%s %s is damaged; its intact files are kept", stage, key)
                self.backend.reopen(stage, key, lease)
            with self.backend.workspace(stage, key, lease, left) as path:
                drop_links(path)
                resumed = (path / STARTED).exists() or keep_intact(path, stage, key)
                workspace, attempt = Workspace(path, resumed), Attempt(path)
                try:
                    fill(workspace)
                finally:
                    attempt.end()
                lease.renew()
                made = self._commit(recipe, path, {**attempt.lineage(), **versions(), **workspace.facts}, lease)
            lease.release()
            return made

    def read_manifest(self, stage: str, key: str) -> dict[str, Any] | None:
        """Manifest of a finished artifact; None if it is missing or not valid."""
        stored = self.backend.objects.read(f"{stage}/{key}/{MANIFEST}") if is_artifact(stage, key) else None
        try:
            return parse_manifest(stored.value, stage, key) if stored else None
        except ValueError:
            return None

    def manifest(self, artifact: Artifact) -> dict[str, Any]:
        """Manifest of an artifact: `recipe`, `digest`, `files` with size and SHA-256, `lineage`.

        Raises:
            DamagedError: it is unreadable or missing.
        """
        manifest = self.read_manifest(artifact.stage, artifact.key)
        if manifest is None:
            raise DamagedError(
                f"{artifact.path / MANIFEST} is gone or unreadable. Run again: {artifact.stage} is recomputed.",
                artifact.path / MANIFEST,
            )
        return manifest

    def fetch(self, artifact: Artifact) -> None:
        """Download an artifact's files if needed, and check that they match the ticket.

        A file is hashed once, as long as its size, mtime and inode stay the same.

        Raises:
            DamagedError: a file is missing or changed; its `path` is in the error.
            MismatchError: the artifact was recomputed with other content since the ticket was issued.
        """
        files = self.manifest(artifact)["files"]
        self._expect(artifact, files)
        self.backend.fetch(artifact, files)
        for name, listed in files.items():
            facts = plain_file(self.folder, f"{artifact.stage}/{artifact.key}/{name}")
            path = self._path(artifact) / name
            seen = facts and (facts.st_ino, facts.st_size, facts.st_mtime_ns, listed["sha256"])
            if seen is None or self._seen.get(str(path)) != seen:
                self._check(artifact, name, listed)
                assert seen is not None
                self._seen[str(path)] = seen

    def verify(self, artifact: Artifact) -> None:
        """Hash every file again.

        Raises:
            DamagedError: a file is missing or changed; its `path` is in the error.
            MismatchError: the artifact was recomputed with other content since the ticket was issued.
        """
        files = self.manifest(artifact)["files"]
        self.backend.refetch(artifact, files)
        for name, listed in files.items():
            self._check(artifact, name, listed)
        self._expect(artifact, files)

    def report_damage(self, path: Path) -> Artifact | None:
        """Mark a file as damaged, so that the next run recomputes its content.

        Return its artifact.

        Nothing is removed: the file may hold intact rows. None if the file belongs to no artifact.
        """
        try:
            stage, key, *parts = path.relative_to(self.folder).parts
        except ValueError:
            return None
        name, objects_name = "/".join(parts), f"{stage}/{key}/{MANIFEST}"
        stored = self.backend.objects.read(objects_name)
        manifest = self.read_manifest(stage, key)
        if stored is None or manifest is None or name not in manifest["files"]:
            return None
        self.backend.refresh(stage, key, name)
        if not is_intact(self.folder, f"{stage}/{key}/{name}", manifest["files"][name]):
            manifest["damaged"] = sorted({*manifest.get("damaged", []), name})
            self.backend.objects.replace(
                objects_name, json.dumps(manifest, indent=1, sort_keys=True).encode(), stored.etag
            )
        return self._ticket(stage, key, manifest)

    def delete(self, artifact: Artifact) -> None:
        """Remove an artifact, if it exists. Waits for a process that computes it."""
        name = f"leases/{artifact.stage}-{artifact.key}.json"
        with leased(self.backend.objects, name, self.patience, {"stage": artifact.stage, "key": artifact.key}):
            self.backend.remove(artifact.stage, artifact.key)

    def artifacts(self) -> Iterator[Artifact]:
        """Every finished artifact, by stage and key; includes those that lost files since."""
        for stage, key in self.backend.finished():
            manifest = self.read_manifest(stage, key)
            if manifest:
                yield self._ticket(stage, key, manifest)

    def size(self, artifact: Artifact) -> int:
        """Bytes of an artifact's files."""
        return sum(listed["size"] for listed in self.manifest(artifact)["files"].values())

    def _check(self, artifact: Artifact, name: str, listed: Mapping[str, Any]) -> None:
        path = self._path(artifact) / name
        is_there = plain_file(self.folder, f"{artifact.stage}/{artifact.key}/{name}")
        found = file_sha256(path) if is_there else "no file"
        if found != listed["sha256"]:
            raise DamagedError(
                f"{path} is damaged: expected SHA-256 {listed['sha256']}, found {found}. "
                f"Run again: the damaged part of {artifact.stage} is recomputed.",
                path,
            )

    def _expect(self, artifact: Artifact, files: Files) -> None:
        if content_digest(files) != artifact.digest:
            raise MismatchError(
                f"{artifact.path} holds {content_digest(files)}, the ticket says {artifact.digest}: "
                "it was recomputed with other content. Run again from the start of the flow."
            )

    def _ticket(self, stage: str, key: str, manifest: Mapping[str, Any]) -> Artifact:
        return Artifact(self.folder, stage, key, manifest["digest"])

    def _path(self, artifact: Artifact) -> Path:
        """Local folder of the artifact's files, whichever machine issued the ticket."""
        return self.folder / artifact.stage / artifact.key

    def _commit(self, recipe: Recipe, workspace: Path, lineage: Mapping[str, Any], lease: Lease) -> Artifact:
        """Publish a filled workspace as a finished artifact: files, manifest and name, synced in this order."""
        files = finish(workspace)
        manifest = {"recipe": recipe.to_json(), "digest": content_digest(files), "files": files, "lineage": lineage}
        lease.renew()
        self.backend.publish(lease, workspace, manifest)
        return self._ticket(recipe.stage, recipe.key, manifest)


def open_store(url: str, scratch: Path | None = None) -> Store:
    """Open the store in a folder, or at s3://bucket/prefix.

    Files of the latter are downloaded to `scratch`.

    Raises:
        StoreAddressError: `url` is not an address of a store.
    """
    check_address(url)
    if not url.startswith("s3://"):
        return Store.at(Path(url))
    return Store(Bucket(url.rstrip("/"), scratch or Path.home() / ".cache" / "stitchedit"))


def check_address(url: str) -> None:
    """Check the address of a store.

    Raises:
        StoreAddressError: it is empty, of an unknown scheme, names no bucket, or contains a password.
    """
    scheme, separator, rest = url.partition("://" if url.startswith("s3://") else ":/")
    if not url.strip():
        raise StoreAddressError("--store is empty. Give a folder, or s3://bucket/prefix.")
    if "\0" in url:
        raise StoreAddressError(f"--store {url!r} holds a zero byte. Give a folder, or s3://bucket/prefix.")
    if separator == ":/" and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise StoreAddressError(
            f"--store {redacted(url)} is no place for a store. Give a folder, or s3://bucket/prefix."
        )
    if scheme == "s3" and separator:
        bucket = rest.partition("/")[0]
        if "@" in bucket or ":" in bucket:
            raise StoreAddressError(
                "--store holds a name or a password (before @), which would be in logs and records. Write "
                "s3://bucket/prefix, and put the keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        if not bucket or set(bucket) & set("?#"):
            raise StoreAddressError(f"--store {url} names no bucket. Write s3://bucket/prefix.")
