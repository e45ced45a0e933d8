"""Small named values that several processes, perhaps on several machines, change without losing each other's changes.

What a store says of itself (manifests, leases, records of runs) is kept in such objects, in a folder or in a bucket.
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
    """A value and the tag of this version of it."""

    value: bytes
    etag: str


@dataclass(frozen=True)
class ListedObject:
    """One object of a listing."""

    name: str
    size: int  # bytes
    modified: float  # s since 1970, by the clock of whoever keeps it


class Objects(Protocol):
    """Values by name; names have "/" in them. Every change is there as a whole or not at all."""

    def read(self, name: str) -> StoredObject | None:
        """The value now, or None when there is none."""
        ...

    def create(self, name: str, value: bytes) -> str | None:
        """Write a value that must not be there yet; its tag, or None when there is one."""
        ...

    def replace(self, name: str, value: bytes, tag: str) -> str | None:
        """Write over the version `tag`; the new tag, or None when the value is another one by now."""
        ...

    def write(self, name: str, value: bytes) -> None:
        """Write, whatever is there."""
        ...

    def remove(self, name: str) -> None:
        """Nothing happens when it is gone already."""
        ...

    def names(self, prefix: str) -> list[ListedObject]:
        """Everything whose name begins with `prefix`, a folder's name with "/" at its end, or all."""
        ...


@dataclass(frozen=True)
class FolderObjects:
    """Files below one folder. Changes are compared and made under a lock that the kernel frees when a process dies."""

    root: Path

    def read(self, name: str) -> StoredObject | None:
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:  # the last: it is a link
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
        """Where a value lies: below the root, and not behind a link, which would lead out of it."""
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
        with os.fdopen(guard, "w") as file:  # never deleted: who waits on a deleted file holds no lock
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def files_below(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, bytes and time of change of every file; one that others remove meanwhile is left out."""
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
