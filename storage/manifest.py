"""Validation of manifests.

Other programs can write to the store too, so a manifest must be consistent: the key is the hash of its recipe, the
digest that of the listed files, and no file lies outside of the artifact.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from storage.arrays.layout import METADATA
from storage.artifact import RESERVED, canonical_json, file_sha256

MANIFEST = "manifest.json"
STAGE = re.compile(r"[a-z][a-z0-9_]*")
KEY = re.compile(r"[0-9a-f]{16}")

Files = Mapping[str, Mapping[str, Any]]
"""Name -> `size` in bytes and `sha256`, as a manifest lists them."""

StageName = Annotated[str, StringConstraints(pattern=rf"^{STAGE.pattern}$")]
Key = Annotated[str, StringConstraints(pattern=rf"^{KEY.pattern}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Listed(BaseModel):
    size: int = Field(ge=0)
    sha256: Hash


class _Copied(_Listed):
    at: str


class _Recipe(BaseModel):
    stage: StageName
    revision: int
    options: dict[str, Any]
    networks: dict[str, str]
    inputs: dict[str, str]
    code: str


class _Origin(BaseModel):
    stage: StageName
    key: Key


class _File(BaseModel):
    file: str


class _Attempt(BaseModel):
    host: str
    started: str
    seconds: float | None


class _Lineage(BaseModel):
    inputs: dict[str, _Origin | _File] = {}
    attempts: list[_Attempt] = []
    frames: int = 0


class _Manifest(BaseModel):
    recipe: _Recipe
    digest: Hash
    files: dict[str, _Listed]
    lineage: _Lineage
    damaged: list[str] = []


def parse_manifest(blob: bytes, stage: str, key: str) -> dict[str, Any]:
    """Parse and validate the manifest of an artifact.

    Raises:
        ValueError: it is not a valid manifest of this artifact.
    """
    try:
        manifest = json.loads(blob)
        _Manifest.model_validate(manifest)
        named = sha256(canonical_json(manifest["recipe"]).encode()).hexdigest()[: len(key)]
    except (ValueError, RecursionError) as error:
        raise ValueError("it cannot be read, so the expected files are unknown") from error
    if named != key or manifest["recipe"]["stage"] != stage:
        raise ValueError("it belongs to another artifact: its recipe does not give this name")
    outside = [name for name in manifest["files"] if not is_inside(name) or name.split("/")[0] == MANIFEST]
    if outside:
        raise ValueError(f"it names {outside[0]!r}, which is no file of this artifact")
    if content_digest(manifest["files"]) != manifest["digest"]:
        raise ValueError("it was changed after it was written: its digest does not match")
    return dict(manifest)


def parse_copies(index: object, prefixes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Copies in a bucket that a lease lists: name -> `at`, `size` and `sha256`.

    Empty if the list is not valid.

    Args:
        prefixes: allowed prefixes of the objects' names.
    """
    try:
        copies = TypeAdapter(dict[str, _Copied]).validate_python(index)
    except ValidationError:
        return {}
    if not all(
        is_inside(name) and is_inside(copy.at) and copy.at.startswith(prefixes) for name, copy in copies.items()
    ):
        return {}
    return {name: copy.model_dump() for name, copy in copies.items()}


def is_artifact(stage: str, key: str) -> bool:
    """Check that the two words are a valid stage and key of an artifact."""
    return bool(STAGE.fullmatch(stage) and KEY.fullmatch(key)) and stage not in RESERVED


def is_inside(name: str) -> bool:
    """Check that a relative name cannot lead out of the folder it starts in.

    Does not look at the disk.
    """
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def plain_file(folder: Path, name: str) -> os.stat_result | None:
    """`lstat` of a regular file below `folder`.

    None if there is none, or if the path has a link in it.
    """
    path = folder
    try:
        for part in name.split("/"):
            path /= part
            facts = path.lstat()
            if stat.S_ISLNK(facts.st_mode):
                return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts if stat.S_ISREG(facts.st_mode) else None


def is_intact(folder: Path, name: str, listed: Mapping[str, Any]) -> bool:
    """Check that the file `name` in `folder` has the listed size and SHA-256."""
    facts = plain_file(folder, name)
    return facts is not None and facts.st_size == listed["size"] and file_sha256(folder / name) == listed["sha256"]


def arrays_of(files: Files) -> set[str]:
    """Names of the arrays among `files`."""
    return {name.rpartition("/")[0] for name in files if name.endswith(f"/{METADATA}")}


def content_digest(files: Files) -> str:
    """SHA-256 over names and hashes only; independent of time, host and path."""
    return sha256(
        canonical_json(sorted((name, listed["sha256"]) for name, listed in files.items())).encode()
    ).hexdigest()
