"""Atomic writes, and file names that every file system, JSON and FFmpeg can take.

A file is written under an unpredictable name in the same folder, opened exclusively and without following links, and
gets its name when all of it is on the disk.
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

PART = ".part"  # ends the name of a file that is being written; the name begins with a dot
NAME_BYTES, PATH_BYTES = 255, 4096  # of a file name and a path on common systems
FULL = {errno.ENOSPC, errno.EDQUOT}
NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file so that, whatever happens, it is there as a whole or not at all."""
    with replacing(path) as file:
        file.writelines(parts)


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON; the file is there as a whole or not at all."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block ends; after an error nothing of it stays."""
    with new_file_beside(path) as (part, file):
        yield file
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
        sync(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """The same for writers that want a name, as FFmpeg does: that of a new, empty file beside `path`."""
    with new_file_beside(path) as (part, _):
        yield part
        sync(part)
        part.replace(path)
        sync(path.parent)


@contextmanager
def new_file_beside(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Name and content of a new file in the folder of `path`; gone after the block unless it was renamed."""
    part = path.with_name(fitted_name(f".{path.name.removeprefix('.')}", f".{token_hex(8)}{PART}"))
    descriptor = os.open(part, _NEW_FILE, 0o666)  # less what the umask takes
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield part, file
    finally:
        part.unlink(missing_ok=True)


def rename_new(part: Path, path: Path) -> None:
    """Rename `part` to a name that must not exist yet.

    Raises:
        FileExistsError: the name exists by now, be it a link that leads nowhere.
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
    """Remove what killed writers of `path` left; nobody may be writing it."""
    for part in path.parent.glob(f"{escape('.' + path.name.removeprefix('.'))}.{16 * '[0-9a-f]'}{PART}"):
        part.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there; of a link, the link."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ffmpeg_name(path: Path) -> str:
    """`path` as FFmpeg takes it for a file: it would read `take-12:30.mp4` as a protocol."""
    return f"file:{path}"


def encodable(text: str | Path) -> str:
    r"""Text without lone surrogates: the bytes `caf\xe9` of a name that is not UTF-8 are written like this."""
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte, from an escape of JSON or YAML
        return str(text).encode("utf-8", "backslashreplace").decode()


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be made in a folder that is there, if so; a full disk is no reason, as it may be emptied.

    Tried, not asked for: permissions say nothing of file systems that are read-only, or no place for files (/proc).
    """
    try:
        with TemporaryFile(dir=folder):  # it has no name, so nobody sees it
            return None
    except OSError as error:
        return None if error.errno in FULL else error.strerror


def name_bytes(name: str) -> int:
    """Length of a file name as file systems count it."""
    return len(os.fsencode(name))


def fitted_name(stem: str, ending: str) -> str:
    """`stem` + `ending`, with the stem cut and told apart by a hash where the name would be too long for a disk."""
    if name_bytes(stem + ending) <= NAME_BYTES:
        return stem + ending
    ending = f"~{sha256(os.fsencode(stem)).hexdigest()[:8]}{ending}"
    while stem and name_bytes(stem + ending) > NAME_BYTES:
        stem = stem[:-1]
    return stem + ending
