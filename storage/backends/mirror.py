"""Upload of a workspace's finished files while its stage runs, so that a lost machine loses little work."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from storage.artifact import file_sha256
from storage.backends.bucket_objects import BucketObjects
from storage.backends.lease import Lease
from storage.errors import LeaseLostError, UnreachableStoreError

PERIOD = 2.0  # s between scans of the workspace
UNFINISHED = (".part", ".new", ".partial", ".tmp")  # suffixes of files that are being written

logger = logging.getLogger(__name__)


class Mirror:
    """Copies of a workspace's files in the bucket.

    The lease's `files` map file names to objects.
    """

    def __init__(
        self, objects: BucketObjects, lease: Lease, workspace: Path, prefix: str, index: Mapping[str, Any]
    ) -> None:
        self.objects, self.lease, self.workspace, self.prefix = objects, lease, workspace, prefix
        self._index = dict(index)
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._count = 0
        self._turn = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mirror in a thread during the block, and once more if the block fails."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._run, args=(stopped,), daemon=True, name=f"mirror {self.prefix}")
        thread.start()
        try:
            yield
        except UnreachableStoreError:
            raise  # a last update would fail too
        except BaseException:
            if not self.lease.lost:
                self._try()
            raise
        finally:
            stopped.set()
            thread.join()

    def update(self) -> None:
        """Upload all files that are finished now.

        Journals are read first and uploaded last, so that every chunk that a journal lists is uploaded before it.
        """
        journals = {path: path.read_bytes() for path in kept_files(self.workspace) if path.name.endswith(".done")}
        found = [path for path in kept_files(self.workspace) if not path.name.endswith(".done")]
        before = dict(self._index)
        for path in found:
            self._copy(path)
        for path, value in journals.items():
            name = self._name(path)
            if self._index.get(name, {}).get("sha256") != sha256(value).hexdigest():
                self._index[name] = self._entry(len(value), sha256(value).hexdigest())
                self.objects.write(self._index[name]["at"], value)
        present = {self._name(path) for path in [*found, *journals]}
        self._index = {name: entry for name, entry in self._index.items() if name in present}
        if self._index != before:
            self.lease.renew(files=self._index)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(PERIOD):
            if not self._try():
                return

    def _try(self) -> bool:
        """Update the bucket; False if the lease is lost, so that further updates are useless."""
        try:
            with self._turn:
                self.update()
        except LeaseLostError:
            return False
        except Exception as error:  # it may be transient; the stage itself reports fatal errors
            logger.warning("Not mirrored this time: %s", error)
        return True

    def _copy(self, path: Path) -> None:
        name = self._name(path)
        try:
            facts = path.stat()
            state = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
            if self._seen.get(name) == state:
                return
            digest = file_sha256(path)
            if self._index.get(name, {}).get("sha256") != digest:
                entry = self._entry(facts.st_size, digest)
                self.objects.upload(entry["at"], path)
                self._index[name] = entry
            self._seen[name] = state
        except FileNotFoundError:  # renamed to its final name, or removed
            return

    def _entry(self, size: int, digest: str) -> dict[str, Any]:
        self._count += 1
        return {"at": f"{self.prefix}/{self._count:06}", "size": size, "sha256": digest}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.workspace).as_posix()


def kept_files(workspace: Path) -> list[Path]:
    """Files of a workspace that are not being written."""
    return sorted(
        p for p in workspace.rglob("*") if p.is_file() and not p.is_symlink() and not p.name.endswith(UNFINISHED)
    )


def restore(objects: BucketObjects, workspace: Path, index: Mapping[str, Any]) -> bool:
    """Download mirrored files into a new workspace; True if all of them are intact."""
    workspace.mkdir(parents=True, exist_ok=True)
    for name, entry in index.items():
        objects.download(entry["at"], workspace / name)
        if not (workspace / name).is_file() or file_sha256(workspace / name) != entry["sha256"]:
            logger.warning("The copy of %s of %s is damaged; all of it is recomputed", name, workspace.name)
            return False
    return True
