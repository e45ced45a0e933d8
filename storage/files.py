"""Atomic writes, and file names that every file system, JSON and FFmpeg accept.

A file is written under an unpredictable name in the same folder, opened exclusively and without following links, and
renamed when all of it is on disk.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import BinaryIO

PART = ".part"  # suffix of a file that is being written; its name begins with a dot
NAME_BYTES, PATH_BYTES = 255, 4096  # of a file name and a path on common systems
FULL = {errno.ENOSPC, errno.EDQUOT}
NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file atomically: it exists complete or not at all."""
    with replacing(path) as file:
        file.writelines(parts)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path` when the block ends.

    On an error it is removed.
    """
    with new_file_beside(path) as (part, file):
        yield file
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
        sync(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Same as `replacing`, for writers that need a path, as FFmpeg does: yields that of a new, empty file."""
    with new_file_beside(path) as (part, _):
        yield part
        sync(part)
        part.replace(path)
        sync(path.parent)


@contextmanager
def new_file_beside(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Create a file in the folder of `path`.

    It is removed after the block unless it was renamed.
    """
    part = path.with_name(fitted_name(f".{path.name.removeprefix('.')}", f".{token_hex(8)}{PART}"))
    descriptor = os.open(part, _NEW_FILE, 0o666)  # the umask applies
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def rename_new(part: Path, path: Path) -> None:
    """Rename `part` to a name that must not exist yet.

    Raises:
        FileExistsError: the name exists, even if only as a broken link.
    """
    try:
        os.link(part, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        part.rename(path)
    else:
        part.unlink()


def remove_parts(path: Path) -> None:
    """Remove the partial files that killed writers of `path` left.

    No writer may be active.
    """
    for part in path.parent.glob(f"{escape('.' + path.name.removeprefix('.'))}.{16 * '[0-9a-f]'}{PART}"):
        part.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and its content, if it exists.

    For a link, remove only the link.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ffmpeg_name(path: Path) -> str:
    """Mark `path` as a file for FFmpeg, which would parse `take-12:30.mp4` as a protocol."""
    return f"file:{path}"


def encodable(text: str | Path) -> str:
    r"""Text without lone surrogates: bytes of a name that are not UTF-8 become escapes, as in `caf\xe9`."""
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that encode no byte, from a JSON or YAML escape
        return str(text).encode("utf-8", "backslashreplace").decode()


def why_not_writable(folder: Path) -> str | None:
    """Reason why no file can be created in an existing folder, or None. A full disk does not count: it may be emptied.

    Creates a temporary file, because permissions do not tell about read-only and special file systems (/proc).
    """
    try:
        with TemporaryFile(dir=folder):  # unnamed, so never visible
            return None
    except OSError as error:
        return None if error.errno in FULL else error.strerror


def name_bytes(name: str) -> int:
    """Length of a file name in bytes, as file systems count it."""
    return len(os.fsencode(name))


def fitted_name(stem: str, ending: str) -> str:
    """`stem` + `ending`; a name too long for a file system gets a shortened stem and a hash."""
    if name_bytes(stem + ending) <= NAME_BYTES:
        return stem + ending
    ending = f"~{sha256(os.fsencode(stem)).hexdigest()[:8]}{ending}"
    while stem and name_bytes(stem + ending) > NAME_BYTES:
        stem = stem[:-1]
    return stem + ending
