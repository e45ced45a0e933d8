"""Whether the files of an artifact are what its manifest says, file by file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.artifact import Artifact, file_sha256
from storage.store import Store
from storage.workspace import MANIFEST, content_digest


@dataclass(frozen=True)
class Examined:
    """One file, read from its first to its last byte."""

    artifact: Artifact
    file: str
    bytes: int  # as listed
    fault: str | None  # None = whole


def examine(store: Store, artifact: Artifact) -> Iterator[Examined]:
    """Every file of an artifact. None that is pruned, or made again, while it is read."""
    manifest = store.read_manifest(artifact.stage, artifact.key)
    if manifest is None:
        if store.place.objects.read(f"{artifact.stage}/{artifact.key}/{MANIFEST}"):
            yield Examined(artifact, MANIFEST, 0, "it cannot be read, so nobody knows what the files should be")
        return
    files = manifest["files"]
    if content_digest(files) != manifest["digest"]:
        yield Examined(artifact, MANIFEST, 0, "it is not what was written: its digest is another one")
        return
    store.place.fetch_anew(artifact, files)
    for name, listed in files.items():
        fault = _fault(store.folder / artifact.stage / artifact.key / name, listed)
        if fault and (store.read_manifest(artifact.stage, artifact.key) or {}).get("files") != files:
            return
        yield Examined(artifact, name, listed["size"], fault)


def note_damage(store: Store, examined: Examined) -> None:
    """Have the next run make again what a damaged file held; the whole artifact if that is its manifest."""
    if examined.file == MANIFEST:
        store.delete(examined.artifact)
    else:
        store.report_damage(store.folder / examined.artifact.stage / examined.artifact.key / examined.file)


def _fault(path: Path, listed: Mapping[str, Any]) -> str | None:
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != listed["size"]:
        return f"{size} bytes, should be {listed['size']}"
    return None if file_sha256(path) == listed["sha256"] else "its bytes changed"
