"""Workspaces: folders in which artifacts are computed."""

import json
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from storage.arrays import frame_array
from storage.artifact import file_sha256
from storage.errors import IncompleteError
from storage.files import remove_tree, sync, write_json
from storage.manifest import MANIFEST, Files, arrays_of, is_intact, parse_manifest

STARTED = ".started"
ATTEMPTS = ".attempts.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierResult:
    """A finished artifact whose recipe differs only in inputs that affect the result row by row.

    Row n of such an input affects only row n of the result.
    """

    path: Path
    inputs: Mapping[str, Path]  # its versions of those inputs


@dataclass(frozen=True)
class Workspace:
    """The folder in which one artifact is computed.

    Names that start with "." are scratch and are not kept.
    """

    path: Path
    resumed: bool  # `path` has the files of a killed or failed run, or the intact files of a damaged artifact
    facts: dict[str, Any] = field(default_factory=dict)  # for the artifact's lineage; not part of the key
    earlier: EarlierResult | None = None  # its rows with equal inputs can be copied


class Attempt:
    """One attempt at an artifact.

    The workspace records all attempts, so that lineage has the total time.
    """

    def __init__(self, workspace: Path) -> None:
        self._path, self._began = workspace / ATTEMPTS, time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._all: list[dict[str, Any]] = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            self._all = []
        self._all.append({"host": platform.node(), "started": started, "seconds": None})  # stays None if it is killed
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
    """Sync a filled workspace to disk, remove scratch files, and return size and SHA-256 of every file.

    Raises:
        IncompleteError: an array is not finished, or there is no file.
    """
    unfinished = frame_array.unfinished_arrays(workspace)
    if unfinished:
        names = ", ".join(path.relative_to(workspace).as_posix() for path in unfinished)
        raise IncompleteError(
            f"{len(unfinished)} of the arrays in {workspace} are not finished ({names}). "
            "The task has to write every range of `pending()` before it returns."
        )
    _drop_scratch(workspace)
    links = drop_links(workspace)
    if links:
        raise IncompleteError(f"{links[0]} in {workspace} was a link; results may not be links. Run again.")
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


def keep_intact(workspace: Path, stage: str, key: str) -> bool:
    """Reduce a damaged artifact to its intact parts; True if the workspace held one.

    Arrays lose only the damaged rows. The manifest is removed last, so that the step is repeated after a kill.
    """
    manifest = workspace / MANIFEST
    if not manifest.exists():
        return False
    try:
        known = parse_manifest(manifest.read_bytes(), stage, key)
    except ValueError as error:
        logger.warning("All of %s is recomputed. Its manifest is not valid: %s", workspace.name, error)
        for path in workspace.iterdir():
            remove_tree(path) if path.is_dir() else path.unlink()
        return False
    files: Files = known["files"]
    bad = {name for name, listed in files.items() if not is_intact(workspace, name, listed)}
    arrays = arrays_of(files)
    for array in sorted(arrays):
        if any(name.startswith(f"{array}/") for name in bad):
            pending = frame_array.reopen_damaged(workspace / array)
            units = "all" if pending is None else pending
            logger.warning("%s of %s: %s units are recomputed", array, workspace.name, units)
    for name in bad:
        if name.rpartition("/")[0] not in arrays:
            (workspace / name).unlink(missing_ok=True)
    write_json(workspace / ATTEMPTS, known["lineage"].get("attempts", []))  # total time includes earlier attempts
    manifest.unlink()
    return True


def drop_links(workspace: Path) -> list[str]:
    """Remove links, which lead out of the store and which stages never create; return their names."""
    links = [path for path in workspace.rglob("*") if path.is_symlink()]
    for path in links:
        path.unlink()
    return [path.relative_to(workspace).as_posix() for path in links]


def _drop_scratch(workspace: Path) -> None:
    for path in list(workspace.rglob(".*")):
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)  # already gone if its folder was scratch too
