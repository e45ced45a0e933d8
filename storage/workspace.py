"""The folder in which one artifact is made, from the first file to the last."""

import json
import logging
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from storage import frame_array
from storage.array_layout import METADATA
from storage.artifact import canonical_json, file_sha256, sync, write_json
from storage.errors import IncompleteError

MANIFEST = "manifest.json"
STARTED = ".started"
ATTEMPTS = ".attempts.json"

Files = Mapping[str, Mapping[str, Any]]
"""Name -> `size` in bytes and `sha256`, as a manifest lists them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """A finished artifact whose recipe differs in inputs only of which a row decides the same row of the result."""

    path: Path
    inputs: Mapping[str, Path]  # those inputs as they were then


@dataclass(frozen=True)
class Workspace:
    """The folder in which one artifact is made. Names that start with "." are scratch and are not kept."""

    path: Path
    resumed: bool  # `path` holds what a killed or failed run left, or what is whole of a damaged artifact
    facts: dict[str, Any] = field(default_factory=dict)  # for the artifact's lineage; decides nothing
    earlier: Earlier | None = None  # to take rows from that would be made the same


class Attempt:
    """One go at an artifact. What all of them took is kept in the workspace, so that lineage tells the whole cost."""

    def __init__(self, workspace: Path) -> None:
        self._path, self._began = workspace / ATTEMPTS, time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._all: list[dict[str, Any]] = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            self._all = []
        self._all.append({"host": platform.node(), "started": started, "seconds": None})  # None: it was killed
        write_json(self._path, self._all)
        if not (workspace / STARTED).exists():
            (workspace / STARTED).touch()

    def end(self) -> None:
        self._all[-1]["seconds"] = round(time.monotonic() - self._began, 3)
        if self._path.parent.exists():  # else another process took it over
            write_json(self._path, self._all)

    def lineage(self) -> dict[str, Any]:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        return {
            "started": self._all[0]["started"],
            "finished": finished,
            "host": platform.node(),
            "attempts": self._all,
        }


def versions() -> dict[str, Any]:
    software = {name: _version(name) for name in ("stitchedit", "numpy", "zarr", "av", "opencv-python", "torch")}
    return {"software": {"python": platform.python_version(), **software}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def finish(workspace: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a filled workspace, which is on the disk then and holds nothing else.

    Raises:
        IncompleteError: an array is not finished, or there is no file.
    """
    unfinished = frame_array.unfinished_arrays(workspace)
    if unfinished:
        names = ", ".join(path.relative_to(workspace).as_posix() for path in unfinished)
        raise IncompleteError(
            f"{len(unfinished)} of the arrays in {workspace} are not finished ({names}). "
            "The task has to write all that `pending()` gives before it returns."
        )
    _drop_scratch(workspace)
    files = {}
    for path in sorted(path for path in workspace.rglob("*") if path.is_file()):
        sync(path)
        name = path.relative_to(workspace).as_posix()
        files[name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
    if not files:
        raise IncompleteError(f"Nothing was written into {workspace}. The task has to write its result there.")
    for folder in sorted((path for path in workspace.rglob("*") if path.is_dir()), reverse=True):
        sync(folder)
    return files


def keep_whole(workspace: Path) -> bool:
    """Leave what is whole of an artifact that was finished once; whether it is such a one.

    Arrays lose only the rows that are damaged. The manifest goes last: a kill half way, and it is done again.
    """
    manifest = workspace / MANIFEST
    if not manifest.exists():
        return False
    known = json.loads(manifest.read_bytes())
    files: Files = known["files"]
    bad = {name for name, listed in files.items() if not is_whole(workspace / name, listed)}
    arrays = arrays_of(files)
    for array in sorted(arrays):
        if any(name.startswith(f"{array}/") for name in bad):
            pending = frame_array.reopen_damaged(workspace / array)
            units = "all" if pending is None else pending
            logger.warning("%s of %s: %s units are made anew", array, workspace.name, units)
    for name in bad:
        if name.rpartition("/")[0] not in arrays:
            (workspace / name).unlink(missing_ok=True)
    write_json(workspace / ATTEMPTS, known["lineage"].get("attempts", []))  # what it cost is what it cost in all
    manifest.unlink()
    return True


def arrays_of(files: Files) -> set[str]:
    """Names of the arrays among `files`."""
    return {name.rpartition("/")[0] for name in files if name.endswith(f"/{METADATA}")}


def is_whole(path: Path, listed: Mapping[str, Any]) -> bool:
    """Whether a file has the listed size and SHA-256."""
    return path.is_file() and path.stat().st_size == listed["size"] and file_sha256(path) == listed["sha256"]


def content_digest(files: Files) -> str:
    """SHA-256 over names and hashes only: no time, host or path enters it."""
    return sha256(
        canonical_json(sorted((name, listed["sha256"]) for name, listed in files.items())).encode()
    ).hexdigest()


def _drop_scratch(workspace: Path) -> None:
    for path in list(workspace.rglob(".*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # gone already when its folder was scratch too
