"""The clips that an entry of a catalog names now: files, folders, patterns, objects of a bucket."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from flows.catalog.entries import Entry, request_of
from flows.catalog.outcomes import HOLD
from flows.edit_request import EditRequest
from flows.output_files import exported_files
from stitchedit.errors import StitchEditError
from storage.remote_clips import SCHEME, RemoteClip, remote_clips
from storage.video_output import FORMATS

NO_OUTPUT = (StitchEditError, LookupError, ValueError, AttributeError, TypeError)
"""What a pattern for `output` raises that names no file; `_problems` in reading.py tells why."""

VIDEOS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mxf", ".gif", ".wmv", ".flv"}


@dataclass(frozen=True)
class CatalogClip:
    """One clip of a catalog."""

    source: Path
    entry: Entry
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


def clips_of(entry: Entry, line: int, folder: Path, scratch: Path | None) -> Iterator[CatalogClip]:
    """The clips that a path, a folder, an address or a pattern names now."""
    if not entry.source.startswith(SCHEME):
        named = [folder / entry.source]
        found = _files(entry.source, folder)
        yield from (CatalogClip(path, entry, line, found=found != named) for path in found)
        return
    for remote in remote_clips(entry.source):
        copy = remote.copy_in(scratch)
        if entry.source == remote.url or copy.suffix.lower() in VIDEOS:
            yield CatalogClip(copy, entry, line, remote)


def without_results(clips: list[CatalogClip], folder: Path, store: Path, known: Iterable[Path]) -> list[CatalogClip]:
    """`clips` but for files that the catalog itself has written or would write: a night does not edit the one before.

    A clip that is named in full is always meant.

    Args:
        folder: the catalog's.
        store: where the store's files are on this machine; it may lie in a folder that is watched.
        known: what earlier nights wrote, by recipes that may be gone.
    """
    writers: dict[Path, set[Path]] = {}
    for clip in clips:
        for path in _results(clip, folder):
            writers.setdefault(path, set()).add(_plain(clip.source))
    earlier = set(map(_plain, known))
    own = (folder / HOLD, store / "encode", store / "staging")  # the stage encode alone makes videos

    def is_result(clip: CatalogClip) -> bool:
        path = _plain(clip.source)
        by_others = writers.get(path, set()) - {path}  # one that writes itself is a mistake, and told as one
        return any(map(path.is_relative_to, own)) or bool(by_others) or path in earlier or _is_preview(path)

    return [clip for clip in clips if not clip.found or not is_result(clip)]


def _results(clip: CatalogClip, folder: Path) -> set[Path]:
    """What an edit of the clip would write, with whatever suffix: the clip is not opened for that."""
    try:
        outputs = [clip.request(folder, suffix).output for suffix in FORMATS]
    except NO_OUTPUT:
        return set()
    return {_plain(path) for output in outputs if output for path in exported_files(output).values()}


def _is_preview(path: Path) -> bool:
    """Whether it is what `stitchedit edit` puts beside a result."""
    result = path.stem.removesuffix("_preview")
    return result != path.stem and any(path.with_name(result + suffix).exists() for suffix in FORMATS)


def _files(source: str, folder: Path) -> list[Path]:
    whole = folder / source
    if whole.is_dir():
        return sorted(path for path in whole.iterdir() if path.suffix.lower() in VIDEOS and path.name[0] != ".")
    if has_magic(source):
        own = whole.suffix.lower()  # `*.vob` means it, `*` does not mean the catalog itself
        wanted = VIDEOS if has_magic(own) else VIDEOS | {own}
        found = map(Path, glob(str(whole), recursive=True))  # noqa: PTH207 - may be absolute
        return sorted(path for path in found if path.suffix.lower() in wanted - {""} and path.is_file())
    return [whole]


def _plain(path: Path) -> Path:
    """Without `..`, so that what one pattern finds is seen to be what another one writes."""
    return Path(os.path.normpath(path))
