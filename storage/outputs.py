"""Files that runs wrote for people, outside of the store: remembered, so that no other file is ever overwritten.

outputs/<hash of the path>.json    path, and size, time of change and SHA-256 of all that was written there

A file is ours as long as its bytes are those that a run wrote there. Records of runs may be pruned; these stay. What a
run with another store wrote there is known by a mark: an extended attribute with place and SHA-256, where the file
system has them. Of the time before anything was remembered (`outputs/since.json`), what an artifact has is ours.
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
KEPT = 20  # versions of a file that are remembered
CONNECTIONS = 8
COPIED_AT_ONCE = 1 << 22  # bytes


@dataclass(frozen=True)
class OutputRecord:
    """A file as a run wrote it."""

    path: str  # for people: bytes that are not UTF-8 are written as \\xe9
    size: int  # bytes
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Outputs:
    """Writes outputs of the runs of one store, and knows them again."""

    store: Store

    def foreign(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` where something is that would be lost if it were overwritten. Links always would."""
        return [path for path in paths if os.path.lexists(path) and not self._is_ours(path)]

    def check(self, paths: Iterable[Path]) -> None:
        """Refuse to overwrite what no run wrote.

        Raises:
            UnwritableOutputError: something else is at one of `paths`.
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
        """Let no other run write what belongs to `output` meanwhile, so that its files belong together."""
        lease = f"leases/output-{_identity(output.with_suffix(''))}.json"
        with leased(self.store.backend.objects, lease, self.store.patience, {}):
            yield

    def put(self, source: Path, target: Path, digest: str) -> OutputRecord:
        """Copy `source`, whose SHA-256 is `digest`, to `target`.

        Raises:
            DamagedError: `source` has other bytes.
            UnwritableOutputError: something that no run wrote is at `target`.
        """
        with source.open("rb") as content, new_file_beside(target) as (part, file):
            if _copy(content, file) != digest:
                raise DamagedError(f"{source} changed while it was copied. Run again: it is made anew.", source)
            written = _written(target, file, digest)
            self._place(part, target, written)
        return written

    def write(self, target: Path, content: bytes) -> None:
        """Write a file.

        Raises:
            UnwritableOutputError: something that no run wrote is at `target`.
        """
        with new_file_beside(target) as (part, file):
            self._place(part, target, _written(target, file, _copy(BytesIO(content), file)))

    def move(self, pairs: Mapping[Path, Path]) -> None:
        """Move files to other names, old -> new; those that are not there are left out.

        Raises:
            UnwritableOutputError: something that no run wrote is at one of the new names. Nothing is moved then.
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
        """Give a whole file its name."""
        if is_ours:
            _mark(part, f"{_identity(target)} {written.sha256}")
            self._note(target, written)  # before it has the name: after a kill it is still known to be ours
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
        known = [one for one in self._known(path) if one.size == facts.st_size]
        if any(one.mtime_ns == facts.st_mtime_ns for one in known):
            return True
        digest = file_sha256(path)
        if any(one.sha256 == digest for one in known) or _mark_of(path) == f"{_identity(path)} {digest}":
            return True
        since = self.store.backend.objects.read(SINCE)
        return (since is None or facts.st_mtime_ns < _number(since.value)) and self._has(digest)

    def _has(self, digest: str) -> bool:
        """Whether a file of an artifact has these bytes."""
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
            earlier = [one for one in _decode(value) if one != written]
            words = json.dumps([asdict(one) for one in [*earlier, written][-KEPT:]], indent=1).encode()
            if (objects.create(name, words) if tag is None else objects.replace(name, words, tag)) is not None:
                return


def _mark(path: Path, text: str) -> None:
    """Note on the file itself what it is and where it belongs, if the file system can."""
    with suppress(OSError, AttributeError):  # there are none there, or on this system
        os.setxattr(path, MARK, text.encode())


def _mark_of(path: Path) -> str:
    try:
        return os.getxattr(path, MARK, follow_symlinks=False).decode("ascii", "replace")
    except (OSError, AttributeError):
        return ""


def _identity(path: Path) -> str:
    """A path as one word, the same through whatever links its folder is named."""
    return sha256(os.fsencode(path.parent.resolve() / path.name)).hexdigest()[:24]


def _decode(value: bytes) -> list[OutputRecord]:
    try:
        return [OutputRecord(**one) for one in json.loads(value)]
    except (ValueError, TypeError, RecursionError):
        return []


def _written(target: Path, file: BinaryIO, digest: str) -> OutputRecord:
    facts = os.fstat(file.fileno())
    return OutputRecord(encodable(target), facts.st_size, facts.st_mtime_ns, digest)


def _number(value: bytes) -> int:
    return int(value) if value.isdigit() else 0


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    """SHA-256 of what was copied; it is on the disk then."""
    digest = sha256()
    while block := source.read(COPIED_AT_ONCE):
        digest.update(block)
        target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()
