"""States of an array's units on disk: loose, marked, sealed into shards, pending again when damaged.

NAME/zarr.json, NAME/c.*    a plain Zarr array in shards (storage/arrays/shards.py), a few hundred rows per file
.NAME.loose/N               of a partial array: unit N, until all units of its shard are written
.NAME.done                  of a partial array: the journal, "0" or "1" for every unit

A unit is written loose, then marked in the journal, and stays loose until its shard is on disk. The journal is removed
after the last shard is written: an array without a journal is finished. A finished array that is damaged gets a journal
again, and its rewritten shards copy the intact chunks of the old ones, byte for byte.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from storage.arrays.layout import METADATA, file_name
from storage.arrays.shards import ShardSlots, write_shard
from storage.errors import DamagedError
from storage.files import remove_parts, sync, write_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Units:
    """The units of the array at `path`.

    Each has its own file until it is finished.
    """

    path: Path
    rows: int
    length: int  # rows per unit
    slots: int  # Zarr's chunks per unit
    per_shard: int  # units
    dimensions: int

    @property
    def count(self) -> int:
        return -(-self.rows // self.length)

    @property
    def journal(self) -> Path:
        return journal_of(self.path)

    @property
    def loose(self) -> Path:
        return loose_of(self.path)

    def partial(self) -> bool:
        return self.journal.exists()

    def done(self) -> np.ndarray:
        """Mask of the finished units, `unit`."""
        try:
            marks = np.frombuffer(self.journal.read_bytes(), np.uint8)
        except FileNotFoundError:
            return np.ones(self.count, bool)
        return np.equal(marks, ord("1"))

    def rows_of(self, unit: int) -> slice:
        return slice(unit * self.length, min((unit + 1) * self.length, self.rows))

    def shard_of(self, unit: int) -> Path:
        return self.path / file_name(unit // self.per_shard, self.dimensions)

    def place(self, unit: int) -> ShardSlots:
        """Location of the bytes of a finished unit."""
        loose = self.loose / str(unit)
        if self.partial() and loose.exists():
            return ShardSlots(loose, range(self.slots), self.slots)
        position = unit % self.per_shard
        slots = range(position * self.slots, (position + 1) * self.slots)
        return ShardSlots(self.shard_of(unit), slots, self.per_shard * self.slots)

    def add(self, unit: int, content: bytes) -> None:
        """Write one unit to disk, then mark it.

        Write its shard when all units of it are finished.

        Raises:
            DamagedError: another unit of the same shard changed on disk meanwhile; that unit is pending again.
        """
        # A shard of a single unit is the same file as the unit.
        file = self.shard_of(unit) if self.per_shard == 1 else self.loose / str(unit)
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, content)
        with self.journal.open("r+b") as journal:
            _mark(journal, unit, b"1")
            if self.done()[self._beside(unit)].all():
                self._seal(journal)

    def recover(self) -> None:
        """Restore a consistent state after a kill or a disk error."""
        if not self.partial():
            self._sweep()
            return
        with self.journal.open("r+b") as journal:
            for unit in map(int, np.flatnonzero(self.done())):
                place = self.place(unit)
                if not place.file.exists() or (place.file.parent == self.loose and place.fault()):
                    logger.warning("%s", self.damage([unit]))
                    _mark(journal, unit, b"0")
            self._sweep()
            self._seal(journal)

    def faults(self) -> dict[int, Path]:
        """Finished units whose bytes are missing or changed, with the damaged file."""
        places = {int(unit): self.place(int(unit)) for unit in np.flatnonzero(self.done())}
        return {unit: place.file for unit, place in places.items() if place.fault()}

    def reopen(self, units: Iterable[int]) -> None:
        """Make finished units pending again. Only the journal changes, atomically."""
        done = self.done()
        done[list(units)] = False
        if not self.partial():
            shutil.rmtree(self.loose, ignore_errors=True)  # left by a kill after the journal was removed
        write_atomic(self.journal, b"".join(b"1" if whole else b"0" for whole in done))

    def damage(self, units: Iterable[int]) -> DamagedError:
        """Error that describes the first damaged one of `units`."""
        for unit in units:
            place, rows = self.place(unit), self.rows_of(unit)
            fault = place.fault()
            if fault:
                return DamagedError(
                    f"Rows {rows.start}:{rows.stop} of {self.path} are lost: {place.file.name} {fault}. "
                    "Verify the store and run again: only the lost rows are recomputed.",
                    place.file,
                )
        metadata = self.path / METADATA
        return DamagedError(
            f"{metadata} is damaged: it does not match the other files, which are intact. "
            f"Delete {self.path} and run again: the array is recomputed.",
            metadata,
        )

    def _beside(self, unit: int) -> range:
        """All units in the shard of `unit`."""
        first = unit - unit % self.per_shard
        return range(first, min(first + self.per_shard, self.count))

    def _seal(self, journal: BinaryIO) -> None:
        """Join loose units into shards that are complete; remove the journal when all shards are.

        Idempotent: after a kill at any point, the next call gives the same result.
        """
        fcntl.flock(journal, fcntl.LOCK_EX)  # two writers may finish at the same time; closing releases the lock
        done, loose = self.done(), [int(file.name) for file in self.loose.glob("[0-9]*")]
        for first in sorted({self._beside(unit).start for unit in loose}):
            if done[self._beside(first)].all():
                write_shard(self.shard_of(first), self._joined(first, journal))
                for unit in self._beside(first):
                    (self.loose / str(unit)).unlink(missing_ok=True)
        if done.all():
            self.journal.unlink(missing_ok=True)
            sync(self.journal.parent)
            shutil.rmtree(self.loose, ignore_errors=True)

    def _joined(self, first: int, journal: BinaryIO) -> Iterator[bytes | None]:
        """Read the encoded chunks of a shard.

        A unit that turns out damaged becomes pending.
        """
        units = self._beside(first)
        for unit in units:
            try:
                yield from self.place(unit).chunks()
            except (FileNotFoundError, ValueError) as error:
                damage = self.damage([unit])
                _mark(journal, unit, b"0")
                raise damage from error
        yield from [None] * (self.slots * (self.per_shard - len(units)))

    def _sweep(self) -> None:
        """Remove every file without a finished unit."""
        done = [int(unit) for unit in np.flatnonzero(self.done())]
        remove_parts(self.journal)
        _keep_only(self.path, {METADATA, *(self.shard_of(unit).name for unit in done)})
        if self.partial():
            _keep_only(self.loose, set(map(str, done)))
        else:
            shutil.rmtree(self.loose, ignore_errors=True)


def journal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.done")


def loose_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.loose")


def _keep_only(folder: Path, names: set[str]) -> None:
    for file in folder.glob("*"):
        if file.name not in names:
            file.unlink()


def _mark(journal: BinaryIO, unit: int, mark: bytes) -> None:
    """Write a single byte of the journal, which neither a kill nor a parallel writer can corrupt."""
    os.pwrite(journal.fileno(), mark, unit)
    os.fsync(journal.fileno())
