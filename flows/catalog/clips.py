"""The clips of a catalog entry: files, folders, patterns, objects in a bucket."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flows.catalog.clip_files import FOLDER, LeftOut, clip_files
from flows.catalog.entries import CatalogEntry, request_of
from flows.catalog.outcomes import HOLD
from flows.edit_request import EditRequest
from flows.requests.output_files import exported_files
from stitchedit.errors import StitchEditError
from storage.video.output import FORMATS
from storage.video.remote_clips import SCHEME, RemoteClip, remote_clips
from storage.video.suffixes import why_no_suffix

NO_OUTPUT = (StitchEditError, ValueError)
"""Errors of an `output` template that gives no file name; `_problems` in reading.py reports them."""

RESULT = "written by this catalog or beside a result: give the full name if it is a clip"
SHOWN = 5  # files named in a note


@dataclass(frozen=True)
class CatalogClip:
    """One clip of a catalog."""

    source: Path
    entry: CatalogEntry
    line: int  # in the catalog's file
    remote: RemoteClip | None = None  # object that `source` is the local copy of
    found: bool = False  # in a folder or by a pattern, not by its full name

    @property
    def file(self) -> tuple[int, int]:
        """Size in bytes and modification time in ns, to detect a changed file without reading it."""
        if self.remote:
            return self.remote.file
        try:
            status = self.source.stat()
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def request(self, folder: Path, suffix: str) -> EditRequest:
        """The request for this clip; see `request_of`."""
        return request_of(self.entry, self.source, folder, suffix, self.remote.url if self.remote else None)


def clips_of(entry: CatalogEntry, line: int, folder: Path, scratch: Path | None) -> Iterator[CatalogClip | LeftOut]:
    """Clips that a path, folder, address or pattern names at this time, and the files left out."""
    if not entry.source.startswith(SCHEME):
        named = folder / entry.source
        for path in clip_files(entry.source, folder):
            yield path if isinstance(path, LeftOut) else CatalogClip(path, entry, line, found=path != named)
        return
    for remote in remote_clips(entry.source):
        reason = None if entry.source == remote.url else why_no_suffix(PurePosixPath(remote.url).suffix)
        if reason:
            yield LeftOut(Path(PurePosixPath(remote.url).name), reason)
        else:
            yield CatalogClip(remote.copy_in(scratch), entry, line, remote)


def without_results(
    found: Sequence[CatalogClip | LeftOut], folder: Path, store: Path, known: Iterable[Path]
) -> list[CatalogClip | LeftOut]:
    """Leave out of `found` the results of this catalog, so that a run does not edit earlier results.

    A clip named in full is always kept. Videos that are left out are reported, other own files are not.

    Args:
        folder: the catalog's folder.
        store: local folder of the store, which may be inside a watched folder.
        known: files that earlier runs wrote, possibly by removed recipes.
    """
    writers: dict[Path, set[Path]] = defaultdict(set)
    for clip in (one for one in found if isinstance(one, CatalogClip)):
        for path in _results(clip, folder):
            writers[path].add(_normalized(clip.source))
    earlier = set(map(_normalized, known))
    own = (folder / HOLD, store / "encode", store / "staging")  # only the stage encode writes videos
    parents = {parent for path in (*writers, *earlier, *own) for parent in path.parents} | {folder / HOLD, store}

    def is_result(path: Path) -> bool:
        by_others = writers.get(path, set()) - {path}  # a clip that overwrites itself is reported as a problem
        return any(map(path.is_relative_to, own)) or bool(by_others) or path in earlier or _is_beside_result(path)

    kept: list[CatalogClip | LeftOut] = []
    for one in found:
        if isinstance(one, LeftOut):
            path = _normalized(one.path)
            kept += [] if is_result(path) or (one.reason == FOLDER and path in parents) else [one]
        else:
            kept.append(LeftOut(one.source, RESULT) if one.found and is_result(_normalized(one.source)) else one)
    return kept


def notes_of(left_out: Iterable[LeftOut], folder: Path) -> list[str]:
    """One line for each reason, with up to `SHOWN` names."""
    names: dict[str, list[str]] = defaultdict(list)
    for one in left_out:
        names[one.reason].append(os.path.relpath(one.path, folder) if one.path.is_absolute() else str(one.path))
    return [_note(reason, list(dict.fromkeys(named))) for reason, named in names.items()]


def _note(reason: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"left out, {reason}: {', '.join(names[:SHOWN])}{more}"


def _results(clip: CatalogClip, folder: Path) -> set[Path]:
    """Files that an edit of the clip would write, for every suffix: the clip is not opened to find its own."""
    try:
        outputs = [clip.request(folder, suffix).output for suffix in FORMATS]
    except NO_OUTPUT:
        return set()
    return {_normalized(path) for output in outputs if output for path in exported_files(output).values()}


def _is_beside_result(path: Path) -> bool:
    """True for the preview, sheet or report beside an existing result."""
    result, mark, kind = path.stem.rpartition("_")
    is_ours = mark and f"_{kind}{path.suffix}" in {"_preview.mp4", "_sheet.png", "_report.html"}
    return bool(is_ours) and any(path.with_name(result + suffix).exists() for suffix in FORMATS)


def _normalized(path: Path) -> Path:
    """Resolve `..`, so that paths of different patterns can be compared."""
    return Path(os.path.normpath(path))
