"""SHA-256 of source files, kept in the store: a clip of gigabytes is hashed once, not once per run.

A digest is used again only while path, size, inode, time of modification and time of status change are equal, as Git's
index does; the latter cannot be set by a user. A file that changed in the last seconds is hashed, but not kept.
"""

import json
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from storage.artifact import Source
from storage.backends.objects import Objects
from storage.files import encodable

FOLDER = "sources"
SETTLED_NS = 2_000_000_000  # FAT and some network file systems keep times in steps of 2 s


def hash_source(objects: Objects, path: Path, *, remember: bool = True) -> Source:
    """Hash the file at `path`, or take its digest from the store if the file is unchanged.

    Args:
        remember: keep the digest. False only reads.

    Raises:
        UnreadableVideoError: there is no file, or it is empty.
    """
    name = f"{FOLDER}/{sha256(os.fsencode(path.absolute())).hexdigest()[:24]}.json"
    identity = _identity(path)
    digest = _recorded_digest(objects, name, identity) if identity else None
    if digest:
        return Source(path.absolute(), digest, (identity["size"], identity["mtime_ns"]))
    source = Source.of(path)
    if remember and identity and identity == _identity(path) and _is_settled(identity):
        record = {"path": encodable(source.path), **identity, "sha256": source.digest}
        objects.write(name, json.dumps(record, indent=1).encode())
    return source


def _identity(path: Path) -> dict[str, int]:
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return {}  # `Source.of` says what is wrong with it
    return {
        "size": facts.st_size,
        "inode": facts.st_ino,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,
    }


def _recorded_digest(objects: Objects, name: str, identity: dict[str, int]) -> str | None:
    stored = objects.read(name)
    try:
        record: Any = json.loads(stored.value) if stored else {}
    except ValueError:
        return None
    if not isinstance(record, dict) or {key: record.get(key) for key in identity} != identity:
        return None
    digest = record.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 2 * sha256().digest_size else None


def _is_settled(identity: dict[str, int]) -> bool:
    return time.time_ns() - max(identity["mtime_ns"], identity["ctime_ns"]) > SETTLED_NS
