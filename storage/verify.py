"""Verification of an artifact's files against the size and SHA-256 in its manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.artifact import Artifact, file_sha256
from storage.manifest import MANIFEST, parse_manifest, plain_file
from storage.store import Store


@dataclass(frozen=True)
class VerifiedFile:
    """Outcome for one file, which was read completely."""

    artifact: Artifact
    file: str
    bytes: int  # as listed
    fault: str | None  # None = intact


def verify_files(store: Store, artifact: Artifact) -> Iterator[VerifiedFile]:
    """Verify every file of an artifact.

    Stops if the artifact is pruned or recomputed meanwhile.
    """
    stored = store.backend.objects.read(f"{artifact.stage}/{artifact.key}/{MANIFEST}")
    if stored is None:
        return
    try:
        files = parse_manifest(stored.value, artifact.stage, artifact.key)["files"]
    except ValueError as error:
        yield VerifiedFile(artifact, MANIFEST, 0, str(error))
        return
    store.backend.refetch(artifact, files)
    for name, listed in files.items():
        fault = _fault(store.folder, f"{artifact.stage}/{artifact.key}/{name}", listed)
        if fault and (store.read_manifest(artifact.stage, artifact.key) or {}).get("files") != files:
            return
        yield VerifiedFile(artifact, name, listed["size"], fault)


def note_damage(store: Store, examined: VerifiedFile) -> None:
    """Mark a damaged file, so that the next run recomputes it.

    If it is the manifest, the whole artifact is removed and recomputed.
    """
    if examined.file == MANIFEST:
        store.delete(examined.artifact)
    else:
        store.report_damage(store.folder / examined.artifact.stage / examined.artifact.key / examined.file)


def _fault(folder: Path, name: str, listed: Mapping[str, Any]) -> str | None:
    facts = plain_file(folder, name)
    if facts is None:
        return "a link, which is not followed" if (folder / name).is_symlink() else "missing"
    if facts.st_size != listed["size"]:
        return f"{facts.st_size} bytes, should be {listed['size']}"
    return None if file_sha256(folder / name) == listed["sha256"] else "its bytes changed"
