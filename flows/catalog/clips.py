"""The clips that an entry of a catalog names now: files, folders, patterns, objects of a bucket."""

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
"""What a pattern for `output` raises that names no file; `_problems` in reading.py tells why."""

RESULT = "written by this catalog or beside a result: name it in full if it is a clip"
SHOWN = 5  # files of a note


@dataclass(frozen=True)
class CatalogClip:
    """One clip of a catalog."""

    source: Path
    entry: CatalogEntry
    line: int  # in the catalog's file
    remote: RemoteClip | None = None  # that `source` is, or will be, a copy of
    found: bool = False  # in a folder, or by a pattern; not named in full

    @property
    def file(self) -> tuple[int, int]:
        """Size and time of change in ns: enough to see that a file is another one, without reading it."""
        if self.remote:
            return self.remote.file
        try:
            status = self.source.stat()
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def request(self, folder: Path, suffix: str) -> EditRequest:
        """What to do; see `request_of`."""
        return request_of(self.entry, self.source, folder, suffix, self.remote.url if self.remote else None)


def clips_of(entry: CatalogEntry, line: int, folder: Path, scratch: Path | None) -> Iterator[CatalogClip | LeftOut]:
    """The clips that a path, a folder, an address or a pattern names now, and what lies beside them."""
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
    """`found` without what the catalog itself has written or would write: a night does not edit the one before.

    A clip that is named in full is always meant; a video that is left out is told, other files of ours are not.

    Args:
        folder: the catalog's.
        store: where the store's files are on this machine; it may lie in a folder that is watched.
        known: what earlier nights wrote, by recipes that may be gone.
    """
    writers: dict[Path, set[Path]] = defaultdict(set)
    for clip in (one for one in found if isinstance(one, CatalogClip)):
        for path in _results(clip, folder):
            writers[path].add(_plain(clip.source))
    earlier = set(map(_plain, known))
    own = (folder / HOLD, store / "encode", store / "staging")  # the stage encode alone makes videos
    parents = {parent for path in (*writers, *earlier, *own) for parent in path.parents} | {folder / HOLD, store}

    def is_result(path: Path) -> bool:
        by_others = writers.get(path, set()) - {path}  # one that writes itself is a mistake, and told as one
        return any(map(path.is_relative_to, own)) or bool(by_others) or path in earlier or _is_beside_result(path)

    kept: list[CatalogClip | LeftOut] = []
    for one in found:
        if isinstance(one, LeftOut):
            path = _plain(one.path)
            kept += [] if is_result(path) or (one.reason == FOLDER and path in parents) else [one]
        else:
            kept.append(LeftOut(one.source, RESULT) if one.found and is_result(_plain(one.source)) else one)
    return kept


def notes_of(left_out: Iterable[LeftOut], folder: Path) -> list[str]:
    """A line for each reason, with the first few names."""
    names: dict[str, list[str]] = defaultdict(list)
    for one in left_out:
        names[one.reason].append(os.path.relpath(one.path, folder) if one.path.is_absolute() else str(one.path))
    return [_note(reason, list(dict.fromkeys(named))) for reason, named in names.items()]


def _note(reason: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"left out, {reason}: {', '.join(names[:SHOWN])}{more}"


def _results(clip: CatalogClip, folder: Path) -> set[Path]:
    """What an edit of the clip would write, with whatever suffix: the clip is not opened for that."""
    try:
        outputs = [clip.request(folder, suffix).output for suffix in FORMATS]
    except NO_OUTPUT:
        return set()
    return {_plain(path) for output in outputs if output for path in exported_files(output).values()}


def _is_beside_result(path: Path) -> bool:
    """Whether it is what `stitchedit edit` puts beside a result."""
    result, mark, kind = path.stem.rpartition("_")
    is_ours = mark and f"_{kind}{path.suffix}" in {"_preview.mp4", "_sheet.png", "_report.html"}
    return bool(is_ours) and any(path.with_name(result + suffix).exists() for suffix in FORMATS)


def _plain(path: Path) -> Path:
    """Without `..`, so that what one pattern finds is seen to be what another one writes."""
    return Path(os.path.normpath(path))
