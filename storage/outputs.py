"""Output files that runs wrote outside of the store; records of them prevent overwriting any other file.

outputs/<hash of the path>.json    path, and size, mtime and SHA-256 of each version written there

A file is ours as long as its bytes are those that a run wrote there. Records of runs may be pruned; these are kept.
Files that a run with another store wrote are recognised by a mark: an extended attribute with a hash of the path and
the SHA-256, on file systems that support it. Of files older than the first record (`outputs/since.json`), those with
the bytes of an artifact's file are ours.
"""

import errno
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from storage.artifact import file_sha256
from storage.backends.lease import leased
from storage.errors import DamagedError, UnwritableOutputError
from storage.files import encodable, new_file_beside, rename_new, sync
from storage.store import Store

FOLDER = "outputs"
SINCE = f"{FOLDER}/since.json"  # ns since 1970
MARK = "user.stitchedit.output"  # extended attribute
KEPT = 20  # recorded versions of a file
CONNECTIONS = 8
COPIED_AT_ONCE = 1 << 22  # bytes


@dataclass(frozen=True)
class OutputRecord:
    """A file as a run wrote it."""

    path: str  # for display: bytes that are not UTF-8 are written as \\xe9
    size: int  # bytes
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Outputs:
    """Writes the output files of one store's runs, and recognises them later."""

    store: Store

    def foreign(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` that exist and were not written by a run.

        Links always count as foreign.
        """
        return [path for path in paths if os.path.lexists(path) and not self._is_ours(path)]

    def check(self, paths: Iterable[Path]) -> None:
        """Refuse to overwrite files that no run wrote.

        Raises:
            UnwritableOutputError: such a file is at one of `paths`.
        """
        foreign = self.foreign(paths)
        if foreign:
            names = ", ".join(map(str, foreign))
            raise UnwritableOutputError(
                f"{names}: there already, and not as a run with this store left it, so it is not overwritten. Move or "
                "delete it, or name another output with -o."
            )

    @contextmanager
    def writing(self, output: Path) -> Iterator[None]:
        """Keep other runs from writing the files of `output` during the block, so that these files match."""
        lease = f"leases/output-{_identity(output.with_suffix(''))}.json"
        with leased(self.store.backend.objects, lease, self.store.patience, {}):
            yield

    def put(self, source: Path, target: Path, digest: str) -> OutputRecord:
        """Copy `source`, whose SHA-256 is `digest`, to `target`.

        Raises:
            DamagedError: `source` has other bytes.
            UnwritableOutputError: `target` is a file that no run wrote.
        """
        with source.open("rb") as content, new_file_beside(target) as (part, file):
            if _copy(content, file) != digest:
                raise DamagedError(f"{source} changed while it was copied. Run again: it is recomputed.", source)
            written = _written(target, file, digest)
            self._place(part, target, written)
        return written

    def write(self, target: Path, content: bytes) -> None:
        """Write a file.

        Raises:
            UnwritableOutputError: `target` is a file that no run wrote.
        """
        with new_file_beside(target) as (part, file):
            self._place(part, target, _written(target, file, _copy(BytesIO(content), file)))

    def move(self, pairs: Mapping[Path, Path]) -> None:
        """Move files to other names, old -> new; skip those that do not exist.

        Raises:
            UnwritableOutputError: one of the new names is a file that no run wrote. Then nothing is moved.
        """
        there = {old: new for old, new in pairs.items() if old != new and old.is_file()}
        self.check(there.values())
        for old, new in there.items():
            new.parent.mkdir(parents=True, exist_ok=True)
            facts, digest = old.stat(), file_sha256(old)
            try:
                self._place(
                    old, new, OutputRecord(encodable(new), facts.st_size, facts.st_mtime_ns, digest), self._is_ours(old)
                )
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self.put(old, new, digest)
                old.unlink()

    def _place(self, part: Path, target: Path, written: OutputRecord, is_ours: bool = True) -> None:
        """Rename a complete file to its final name."""
        if is_ours:
            _mark(part, f"{_identity(target)} {written.sha256}")
            self._note(target, written)  # before the rename: after a kill it is still recognised as ours
        try:
            rename_new(part, target)
        except FileExistsError:
            self.check([target])
            part.replace(target)
        sync(target.parent)

    def _is_ours(self, path: Path) -> bool:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            return False
        known = [record for record in self._known(path) if record.size == facts.st_size]
        if any(record.mtime_ns == facts.st_mtime_ns for record in known):
            return True
        digest = file_sha256(path)
        if any(record.sha256 == digest for record in known) or _mark_of(path) == f"{_identity(path)} {digest}":
            return True
        since = self.store.backend.objects.read(SINCE)
        return (since is None or facts.st_mtime_ns < _number(since.value)) and self._has(digest)

    def _has(self, digest: str) -> bool:
        """True if a file of a finished artifact has this SHA-256."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            manifests = pool.map(lambda name: self.store.read_manifest(*name), self.store.backend.finished())
            files = (listed for manifest in manifests if manifest for listed in manifest["files"].values())
            return any(listed["sha256"] == digest for listed in files)

    def _known(self, path: Path) -> list[OutputRecord]:
        return _decode(self._read(path)[0])

    def _read(self, path: Path) -> tuple[bytes, str | None]:
        stored = self.store.backend.objects.read(f"{FOLDER}/{_identity(path)}.json")
        return (stored.value, stored.etag) if stored else (b"", None)

    def _note(self, path: Path, written: OutputRecord) -> None:
        name, objects = f"{FOLDER}/{_identity(path)}.json", self.store.backend.objects
        objects.create(SINCE, str(time.time_ns()).encode())
        while True:
            value, tag = self._read(path)
            earlier = [record for record in _decode(value) if record != written]
            content = json.dumps([asdict(record) for record in [*earlier, written][-KEPT:]], indent=1).encode()
            if (objects.create(name, content) if tag is None else objects.replace(name, content, tag)) is not None:
                return


def _mark(path: Path, text: str) -> None:
    """Record path and content in an extended attribute of the file, if the file system supports it."""
    with suppress(OSError, AttributeError):  # not supported by this file system, or by this platform
        os.setxattr(path, MARK, text.encode())


def _mark_of(path: Path) -> str:
    try:
        return os.getxattr(path, MARK, follow_symlinks=False).decode("ascii", "replace")
    except (OSError, AttributeError):
        return ""


def _identity(path: Path) -> str:
    """Hash of a path with the links in its folder resolved, 24 hex digits."""
    return sha256(os.fsencode(path.parent.resolve() / path.name)).hexdigest()[:24]


def _decode(value: bytes) -> list[OutputRecord]:
    try:
        return [OutputRecord(**record) for record in json.loads(value)]
    except (ValueError, TypeError, RecursionError):
        return []


def _written(target: Path, file: BinaryIO, digest: str) -> OutputRecord:
    facts = os.fstat(file.fileno())
    return OutputRecord(encodable(target), facts.st_size, facts.st_mtime_ns, digest)


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() else 0


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy to disk (with fsync) and return the SHA-256 of the bytes."""
    digest = sha256()
    while block := source.read(COPIED_AT_ONCE):
        digest.update(block)
        target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()
