"""Artifacts in S3-compatible object storage, with local workspaces.

<stage>/<key>/...                       a finished artifact; the manifest is uploaded last
partial/<stage>-<key>/<owner>/<n>       files of a partial artifact; its lease maps file names to these objects
<scratch>/<hash of the address>/...     local: workspaces, and copies of artifacts computed or needed here

Stages read and write local files, as in a folder. `storage.backends.mirror` uploads finished parts meanwhile, so that
another machine can resume a partial artifact.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.backends.bucket_objects import BucketObjects
from storage.backends.lease import Lease, facts_of
from storage.backends.mirror import Mirror, restore
from storage.files import remove_tree
from storage.manifest import MANIFEST, Files, is_artifact, is_intact, parse_copies, parse_manifest, plain_file

PARTIAL = "partial"
STAGING = "staging"
CONNECTIONS = 8


@dataclass(frozen=True)
class Bucket:
    """Artifacts in a bucket; implements `storage.store.Backend`."""

    url: str  # s3://bucket/prefix
    scratch: Path  # local

    @property
    def folder(self) -> Path:
        return self.scratch / sha256(self.url.encode()).hexdigest()[:12]

    @property
    def objects(self) -> BucketObjects:
        return BucketObjects(self.url)

    def missing(self, stage: str, key: str, files: Files) -> list[str]:
        """Those of `files` that are missing or do not have the listed size."""
        prefix = f"{stage}/{key}/"
        sizes = {listed.name.removeprefix(prefix): listed.size for listed in self.objects.names(prefix)}
        return [name for name, listed in files.items() if sizes.get(name) != listed["size"]]

    def fetch(self, artifact: Artifact, files: Files) -> None:
        """Download the files of an artifact that are not here yet.

        Files missing in the bucket are skipped.
        """
        here = self.folder / artifact.stage / artifact.key
        absent = [name for name, listed in files.items() if not _has_size(here, name, listed["size"])]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: self._download(f"{artifact.stage}/{artifact.key}/{name}", here / name), absent))

    def refetch(self, artifact: Artifact, files: Files) -> None:
        """Download every file of an artifact, replacing local copies."""
        here = self.folder / artifact.stage / artifact.key
        remove_tree(here)
        self.fetch(artifact, files)

    def partial(self, stage: str, key: str) -> Path | None:
        """Local folder with the journals of a partial artifact, or None if there is none."""
        stored = self.objects.read(f"leases/{stage}-{key}.json")
        index = _copies(facts_of(stored.value), stage, key) if stored else {}
        if not index:
            return None
        peek = self.folder / "peek" / f"{stage}-{key}"
        remove_tree(peek)
        restore(self.objects, peek, {name: entry for name, entry in index.items() if name.endswith(".done")})
        peek.mkdir(parents=True, exist_ok=True)
        return peek

    @contextmanager
    def workspace(self, stage: str, key: str, lease: Lease, left: Mapping[str, Any]) -> Iterator[Path]:
        """Local workspace with the files that an earlier owner of the lease left, on this or another machine."""
        own = self.folder / STAGING / f"{stage}-{key}.{lease.owner}"
        own.parent.mkdir(parents=True, exist_ok=True)
        index = _copies(lease.facts if lease.facts.get("files") else left, stage, key)
        for folder in sorted((self.folder / STAGING).glob(f"{stage}-{key}.*")):
            if folder == own:
                continue
            if folder.name.endswith(f".{left.get('by')}") and not own.exists():
                folder.rename(own)  # has at least the files that were mirrored
            else:
                remove_tree(folder)
        if not own.exists() and not restore(self.objects, own, index):
            remove_tree(own)
            index = {}
        own.mkdir(exist_ok=True)
        lease.renew(by=lease.owner, files=index)
        mirror = Mirror(self.objects, lease, own, f"{PARTIAL}/{stage}-{key}/{lease.owner}", index)
        with mirror.running():
            yield own

    def publish(self, lease: Lease, workspace: Path, manifest: Mapping[str, Any]) -> None:
        """Upload a workspace; the manifest last, and only if no other process published this artifact meanwhile."""
        stage, key = lease.facts["stage"], lease.facts["key"]
        prefix, index = f"{stage}/{key}", lease.facts["files"]

        def is_unchanged(name: str, listed: Mapping[str, Any]) -> bool:  # since a damaged artifact was reopened
            entry = index.get(name, {})
            return (entry.get("at"), entry.get("sha256")) == (f"{prefix}/{name}", listed["sha256"])

        changed = [name for name, listed in manifest["files"].items() if not is_unchanged(name, listed)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: self.objects.upload(f"{prefix}/{name}", workspace / name), changed))
        blob = json.dumps(manifest, indent=1, sort_keys=True).encode()
        self.objects.create(f"{prefix}/{MANIFEST}", blob)
        here = self.folder / stage / key
        remove_tree(here)
        here.parent.mkdir(parents=True, exist_ok=True)
        workspace.rename(here)
        self._remove_all(f"{PARTIAL}/{stage}-{key}/")

    def reopen(self, stage: str, key: str, lease: Lease) -> None:
        """Turn a damaged artifact back into a workspace, so that its damaged files are recomputed."""
        manifest = self.objects.read(f"{stage}/{key}/{MANIFEST}")
        assert manifest is not None
        files: Files = parse_manifest(manifest.value, stage, key)["files"]
        own = self.folder / STAGING / f"{stage}-{key}.{lease.owner}"
        self.refetch(Artifact(self.folder, stage, key, ""), files)
        own.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / stage / key).rename(own)
        (own / MANIFEST).write_bytes(manifest.value)
        for name, listed in files.items():
            if not is_intact(own, name, listed):
                self.objects.remove(f"{stage}/{key}/{name}")  # so that `publish` uploads it
        at = f"{PARTIAL}/{stage}-{key}/{lease.owner}/{MANIFEST}"
        self.objects.write(at, manifest.value)
        index = {name: {**listed, "at": f"{stage}/{key}/{name}"} for name, listed in files.items()}
        index = {name: entry for name, entry in index.items() if is_intact(own, name, entry)}
        index[MANIFEST] = {"at": at, "size": len(manifest.value), "sha256": sha256(manifest.value).hexdigest()}
        lease.renew(by=lease.owner, files=index)
        self.objects.remove(f"{stage}/{key}/{MANIFEST}")

    def refresh(self, stage: str, key: str, name: str) -> None:
        """Download one file again: the damage may be in the local copy only."""
        here = self.folder / stage / key / name
        here.unlink(missing_ok=True)
        self._download(f"{stage}/{key}/{name}", here)

    def finished(self) -> list[tuple[str, str]]:
        """Stage and key of every artifact with a manifest."""
        parts = [listed.name.split("/") for listed in self.objects.names("")]
        found = [(part[0], part[1]) for part in parts if len(part) == 3 and part[2] == MANIFEST]
        return [(stage, key) for stage, key in found if is_artifact(stage, key)]

    def remove(self, stage: str, key: str) -> None:
        """Remove a finished artifact, if it exists."""
        self.objects.remove(f"{stage}/{key}/{MANIFEST}")  # first, so that after a kill nothing looks finished
        self._remove_all(f"{stage}/{key}/")
        here = self.folder / stage / key
        remove_tree(here)

    def remove_partial(self, stage: str, key: str) -> int:
        """Remove a partial artifact, whose lease the caller holds.

        Return the bytes freed in the bucket.
        """
        for folder in (self.folder / STAGING).glob(f"{stage}-{key}.*"):
            remove_tree(folder)
        return self._remove_all(f"{PARTIAL}/{stage}-{key}/")

    def partial_artifacts(self) -> list[tuple[str, str, int]]:
        """Stage, key and bytes of every partial artifact."""
        sizes: dict[tuple[str, str], int] = {}
        for listed in self.objects.names(f"{PARTIAL}/"):
            stage, _, key = listed.name.split("/")[1].rpartition("-")
            if not is_artifact(stage, key):
                continue
            sizes[stage, key] = sizes.get((stage, key), 0) + listed.size
        return [(stage, key, size) for (stage, key), size in sorted(sizes.items())]

    def _download(self, name: str, path: Path) -> None:
        self.objects.download(name, path)

    def _remove_all(self, prefix: str) -> int:
        found = self.objects.names(prefix)
        for listed in found:
            self.objects.remove(listed.name)
        return sum(listed.size for listed in found)


def _copies(facts: Mapping[str, Any], stage: str, key: str) -> dict[str, dict[str, Any]]:
    """Objects that a lease lists as copies of a workspace's files.

    Only under this artifact's prefixes.
    """
    return parse_copies(facts.get("files") or {}, (f"{PARTIAL}/{stage}-{key}/", f"{stage}/{key}/"))


def _has_size(folder: Path, name: str, size: int) -> bool:
    facts = plain_file(folder, name)
    return facts is not None and facts.st_size == size
