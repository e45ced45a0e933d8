"""Small named values with atomic compare-and-swap, for processes on any number of machines.

The store's metadata (manifests, leases, records of runs) is kept in such objects, in a folder or in a bucket.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from storage.errors import StorageError
from storage.files import write_atomic

GUARD = ".guard"


@dataclass(frozen=True)
class StoredObject:
    """A value and the ETag of its version."""

    value: bytes
    etag: str


@dataclass(frozen=True)
class ListedObject:
    """One entry of a listing."""

    name: str
    size: int  # bytes
    modified: float  # s since 1970, by the clock of the file system or of the object storage


class Objects(Protocol):
    """Values by name; names may contain "/". Every change is atomic."""

    def read(self, name: str) -> StoredObject | None:
        """The current value, or None if there is none."""
        ...

    def create(self, name: str, value: bytes) -> str | None:
        """Write a value that must not exist yet.

        Return its ETag, or None if one exists.
        """
        ...

    def replace(self, name: str, value: bytes, tag: str) -> str | None:
        """Replace the version with the ETag `tag`.

        Return the new ETag, or None if the value has changed.
        """
        ...

    def write(self, name: str, value: bytes) -> None:
        """Write a value, whether or not one exists."""
        ...

    def remove(self, name: str) -> None:
        """Remove a value, if it exists."""
        ...

    def names(self, prefix: str) -> list[ListedObject]:
        """List all values below `prefix`, a folder's name that ends in "/", or all values if it is empty."""
        ...


@dataclass(frozen=True)
class FolderObjects:
    """Values as files below one folder.

    Compare-and-swap holds a lock that the kernel frees when a process dies.
    """

    root: Path

    def read(self, name: str) -> StoredObject | None:
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:  # ELOOP: it is a link
                return None
            raise
        with os.fdopen(descriptor, "rb") as file:
            value = file.read()
        return StoredObject(value, _etag(value))

    def create(self, name: str, value: bytes) -> str | None:
        with self._guarded():
            if os.path.lexists(self._path(name)):
                return None
            return self._put(name, value)

    def replace(self, name: str, value: bytes, tag: str) -> str | None:
        with self._guarded():
            now = self.read(name)
            return self._put(name, value) if now and now.etag == tag else None

    def write(self, name: str, value: bytes) -> None:
        with self._guarded():
            self._put(name, value)

    def remove(self, name: str) -> None:
        with self._guarded():
            self._path(name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[ListedObject]:
        found = sorted(entry for entry in files_below(self.root / prefix) if not entry[0].name.startswith("."))
        return [ListedObject(path.relative_to(self.root).as_posix(), size, modified) for path, size, modified in found]

    def _put(self, name: str, value: bytes) -> str:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, value)
        return _etag(value)

    def _path(self, name: str) -> Path:
        """Path of a value's file: below the root, without links on the way, which could lead out of it."""
        path = self.root
        for part in name.split("/"):
            if part in {"", ".", ".."} or (path != self.root and path.is_symlink()):
                raise StorageError(f"{path / part} is not below {self.root} for sure. Remove that name, or the link.")
            path /= part
        return path

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The store cannot be made at {self.root} ({error.strerror}). Give another folder with --store."
            ) from error
        guard = os.open(self.root / GUARD, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(guard, "w") as file:  # never deleted: a lock on a deleted file locks nobody out
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def files_below(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, bytes and mtime of every file below `folder`; files removed meanwhile are skipped."""
    for parent, _, names in os.walk(folder) if not folder.is_symlink() else ():
        for name in names:
            path = Path(parent, name)
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue
            yield path, facts.st_size, facts.st_mtime


def _etag(value: bytes) -> str:
    return sha256(value).hexdigest()
