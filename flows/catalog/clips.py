"""The clips that an entry of a catalog names now: files, folders, patterns, objects of a bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from flows.catalog.entries import Entry, request_of
from flows.edit_request import EditRequest
from storage.remote_clips import SCHEME, RemoteClip, remote_clips

VIDEOS = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mxf", ".gif", ".wmv", ".flv"}


@dataclass(frozen=True)
class CatalogClip:
    """One clip of a catalog."""

    source: Path
    entry: Entry
    line: int  # in the catalog's file
    remote: RemoteClip | None = None  # that `source` is, or will be, a copy of

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
        yield from (CatalogClip(path, entry, line) for path in _files(entry.source, folder))
        return
    for remote in remote_clips(entry.source):
        copy = remote.copy_in(scratch)
        if entry.source == remote.url or copy.suffix.lower() in VIDEOS:
            yield CatalogClip(copy, entry, line, remote)


def _files(source: str, folder: Path) -> list[Path]:
    whole = folder / source
    if whole.is_dir():
        return sorted(path for path in whole.iterdir() if path.suffix.lower() in VIDEOS)
    if has_magic(source):
        return sorted(path for path in map(Path, glob(str(whole), recursive=True)) if path.is_file())  # noqa: PTH207 - may be absolute
    return [whole]
