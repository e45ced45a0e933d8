"""Arrays on disk with one row per frame, which record which of their units are finished.

Zarr alone does not record it: a chunk whose file is missing reads as zeros, and a new chunk is not yet on disk when the
call that wrote it returns. storage/arrays/units.py stores units and tracks which are finished; this file encodes values
as units and decodes them. A finished array is a plain sharded Zarr array.
"""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from storage.arrays.layout import METADATA, UNIT, ArrayKind, encode_unit, is_metadata_intact, lay_out, open_unit, quiet
from storage.arrays.units import Units, journal_of, loose_of
from storage.errors import DamagedError, IncompleteError, MismatchError
from storage.files import remove_tree, sync, write_atomic

__all__ = ["ArrayKind", "FrameArray", "damaged_files", "reopen_damaged", "unfinished_arrays"]

logger = logging.getLogger(__name__)


class FrameArray:
    """A `row ...` array that records which of its units are finished.

    The public interface calls units chunks. Writers own whole units, so parallel writers never touch the same file. A
    unit is finished only after its data is on disk: a killed run loses at most the unit in flight.
    """

    def __init__(self, path: Path, values: zarr.Array[Any]) -> None:
        self.path = path
        self._values = values
        unit: Any = values.attrs[UNIT]
        per_shard = (values.shards or values.chunks)[0] // unit
        self._units = Units(path, values.shape[0], unit, unit // values.chunks[0], per_shard, values.ndim)

    @classmethod
    def open(cls, path: Path) -> "FrameArray":
        """Open the array at `path`, to read it or to resume writing.

        Raises:
            IncompleteError: there is no array.
            DamagedError: its metadata is damaged.
        """
        metadata = path / METADATA
        if not metadata.exists():
            raise IncompleteError(f"There is no array at {path}. Run the stage that computes it.")
        if not is_metadata_intact(metadata):
            raise DamagedError(
                f"{metadata} is damaged: its checksum is wrong. Delete {path} and run again: the array is recomputed.",
                metadata,
            )
        with quiet():
            return cls(path, zarr.open_array(path, mode="r"))

    @classmethod
    def create(cls, path: Path, like: np.ndarray, rows: int, chunk: int, kind: ArrayKind) -> "FrameArray":
        """Open the array at `path`, creating it if it does not exist, and recover from a kill.

        Call it once, before any unit is written; parallel writers `open` the same path.

        Args:
            like: one row's value; sets shape and dtype.
            rows: length of the clip.
            chunk: rows per unit of work and of loss.
            kind: see `ArrayKind`.

        Raises:
            MismatchError: an array exists with another shape, dtype or chunk length.
            ValueError: no rows, no chunk length, or an image that is not planar uint8 or uint16.
        """
        if rows < 1 or chunk < 1:
            raise ValueError(f"An array needs at least one row, and one row per chunk; got {rows} and {chunk}.")
        if kind == "image" and (like.dtype not in (np.uint8, np.uint16) or like.ndim != 3 or like.shape[0] > 4):
            raise ValueError(f"Images are uint8 or uint16 (channel, height, width), got {like.dtype}{like.shape}.")
        chunk = min(chunk, rows)
        if not (path / METADATA).exists():
            _begin(path, like, rows, chunk, kind)

        array = cls.open(path)
        found, wanted = (array.shape, array.dtype, array.chunk), ((rows, *like.shape), like.dtype, chunk)
        if found != wanted:
            raise MismatchError(
                f"{path} holds {_describe(*found)}, but now {_describe(*wanted)} is made there. "
                f"Delete {path}; it is recomputed."
            )
        array._units.recover()
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._values.dtype)

    @property
    def chunk(self) -> int:
        """Rows per unit."""
        return self._units.length

    @property
    def chunks(self) -> int:
        """Number of units."""
        return self._units.count

    @property
    def finished(self) -> int:
        """Number of finished units."""
        return int(self._units.done().sum())

    def __len__(self) -> int:
        return self.shape[0]

    def pending(self) -> Iterator[slice]:
        """Row ranges to be written, one per unit."""
        return (self._units.rows_of(int(unit)) for unit in np.flatnonzero(~self._units.done()))

    def write(self, rows: slice, values: np.ndarray) -> None:
        """Write one whole range from `pending`; it is on disk when this returns.

        Raises:
            ValueError: `rows` is not a pending range.
            MismatchError: `values` do not have the array's shape and dtype; nothing is cast.
            DamagedError: another unit of the same shard changed on disk meanwhile; that unit is pending again.
        """
        if rows not in self.pending():
            raise ValueError(f"Rows {rows.start}:{rows.stop} of {self.path} are not one chunk that is pending.")
        shape = (rows.stop - rows.start, *self.shape[1:])
        if (values.shape, values.dtype) != (shape, self.dtype):
            raise MismatchError(
                f"{self.path} takes {self.dtype}{shape} for rows {rows.start}:{rows.stop}, "
                f"got {values.dtype}{values.shape}."
            )
        self._units.add(rows.start // self.chunk, encode_unit(self.path / METADATA, values))

    def read(self, rows: slice | int = slice(None)) -> np.ndarray:
        """Read the values of `rows`, all by default.

        A number gives one row without the row axis.

        Raises:
            IncompleteError: some of these rows are not written yet.
            DamagedError: a file of these rows is missing or its checksum is wrong.
            IndexError: there is no such row.
        """
        selected = range(len(self))[rows]
        numbers = range(selected, selected + 1) if isinstance(selected, int) else selected
        needed = list(dict.fromkeys(row // self.chunk for row in numbers))
        if not self._units.done()[needed].all():
            raise IncompleteError(
                f"{self.path} has {self.chunks - self.finished} of {self.chunks} chunks left to write. "
                f"Run the stage that computes {self.path.name} again; it resumes where it stopped."
            )
        try:
            if self._units.partial() and needed:
                parts = [self._read_unit(unit, np.array(numbers)) for unit in needed]
                return np.asarray(np.concatenate(parts) if isinstance(rows, slice) else parts[0][0])
            self._expect_shards(needed)
            return np.asarray(self._values[rows])
        except (RuntimeError, ValueError, FileNotFoundError) as error:  # the first two: bytes that cannot be decoded
            raise self._units.damage(needed) from error

    def _read_unit(self, unit: int, numbers: np.ndarray) -> np.ndarray:
        """Read the rows of `numbers` that are in `unit`, while the array is partial."""
        whole = self._units.rows_of(unit)
        numbers = numbers[(numbers >= whole.start) & (numbers < whole.stop)]
        first, stop = numbers.min(), numbers.max() + 1
        try:
            content = (self._units.loose / str(unit)).read_bytes()
        except FileNotFoundError:  # already moved into its shard
            self._expect_shards([unit])
            values = self._values[first:stop]
        else:
            loose = open_unit(self.path / METADATA, whole.stop - whole.start, content)
            values = loose[first - whole.start : stop - whole.start]
        return np.asarray(np.asarray(values)[numbers - first])

    def _expect_shards(self, units: list[int]) -> None:
        """Check that shard files exist and are not empty: Zarr would read zeros."""
        for file in {self._units.shard_of(unit) for unit in units}:
            if file.stat().st_size == 0:
                raise ValueError(f"{file} is empty")


def unfinished_arrays(folder: Path) -> list[Path]:
    """Arrays anywhere below `folder` that have units left to write."""
    return sorted(path.with_name(path.name[1 : -len(".done")]) for path in folder.rglob(".*.done"))


def damaged_files(path: Path) -> list[Path]:
    """Files of the array at `path` that are missing or changed.

    Reads all finished units.
    """
    try:
        array = FrameArray.open(path)
    except (DamagedError, IncompleteError):
        return [path / METADATA]
    return sorted(set(array._units.faults().values()))


def reopen_damaged(path: Path) -> int | None:
    """Make the damaged units of a finished array pending again and return their number.

    Nothing is moved: `create` and `write` resume as after a kill, and the new shards have the same bytes as before the
    damage. 0 = the array is intact. None = its metadata is lost: the array is removed and has to be recomputed from its
    first row.
    """
    try:
        array = FrameArray.open(path)
    except (DamagedError, IncompleteError) as error:
        logger.warning("%s is removed, because its content is unknown: %s", path, error)
        _remove(path)
        return None
    faults = array._units.faults()
    if faults:
        array._units.reopen(faults)
    return len(list(array.pending()))


def _begin(path: Path, like: np.ndarray, rows: int, chunk: int, kind: ArrayKind) -> None:
    """Create an empty array: journal first, so that a partial array never looks finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(journal_of(path), b"0" * -(-rows // chunk))
    draft = path.with_name(f".{path.name}.new")
    for left in (path, draft, loose_of(path)):
        remove_tree(left)
    draft.mkdir()  # fails if it is a link, which must not be followed
    lay_out(draft, like, rows, chunk, kind)
    sync(draft / METADATA)
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def _remove(path: Path) -> None:
    (path / METADATA).unlink(missing_ok=True)  # first, so that after a kill nothing looks finished
    for left in (path, loose_of(path)):
        shutil.rmtree(left, ignore_errors=True)
    journal_of(path).unlink(missing_ok=True)


def _describe(shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int) -> str:
    return f"{dtype}{shape} in chunks of {chunk}"
