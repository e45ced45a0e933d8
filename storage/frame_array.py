"""Arrays with a row per frame, on disk, that know which of their chunks are finished.

Zarr alone does not: a chunk whose file is missing reads back as zeros, and a new chunk is not on the disk yet when the
call that wrote it returns. So an array under way has a journal beside it, `.<name>.done`, with a "0" or "1" for every
chunk, and the journal goes when the last chunk is done: no journal, a finished array.
"""

import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta
from zarr.errors import ZarrUserWarning

from storage.artifact import sync, write_whole
from storage.errors import DamagedError, IncompleteError, MismatchError

METADATA = "zarr.json"

Kind = Literal["image", "label", "number"]
"""What the values are, which decides how they are packed:

image   uint8 (row, channel, height, width): planes compress 1.6 times better than interleaved pixels
label   classes and masks
number  landmarks, latents, losses
"""


class FrameArray:
    """A `row ...` array that knows which of its chunks are finished.

    Writers own whole chunks, so parallel writers never touch the same file. A chunk is finished only after its data is
    on disk: a killed run loses at most the chunk in flight.
    """

    def __init__(self, path: Path, values: zarr.Array[Any]) -> None:
        self.path = path
        self._values = values
        self._journal = _journal(path)

    @classmethod
    def open(cls, path: Path) -> "FrameArray":
        """The array at `path`, to read or to go on writing.

        Raises:
            IncompleteError: there is none.
            DamagedError: it cannot be opened.
        """
        if not (path / METADATA).exists():
            raise IncompleteError(f"There is no array at {path}. Run the stage that makes it.")
        try:
            with _quiet():
                values = zarr.open_array(path, mode="r+")
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{path / METADATA} is damaged ({error}). Delete {path} and run again: the array is made anew."
            ) from error
        return cls(path, values.with_config({"write_empty_chunks": True}))

    @classmethod
    def create(cls, path: Path, like: np.ndarray, rows: int, chunk: int, kind: Kind) -> "FrameArray":
        """Open the array at `path`, first making it if it is not there, and clear away what a kill left half written.

        Call it once, before anything is written; parallel writers `open` the same path.

        Args:
            like: one row's value; sets shape and dtype.
            rows: length of the clip.
            chunk: rows per chunk, the unit of work and of loss.
            kind: see `Kind`.

        Raises:
            MismatchError: there is an array, of another shape, dtype or chunk length.
            ValueError: no rows, no chunk length, or an image that is not planar uint8.
        """
        if rows < 1 or chunk < 1:
            raise ValueError(f"An array needs at least one row, and one row per chunk; got {rows} and {chunk}.")
        if kind == "image" and (like.dtype != np.uint8 or like.ndim != 3 or like.shape[0] > 4):
            raise ValueError(f"Images are uint8 (channel, height, width), got {like.dtype}{like.shape}.")
        chunk = min(chunk, rows)
        if not (path / METADATA).exists():
            _lay_out(path, like, rows, chunk, kind)

        array = cls.open(path)
        found, wanted = (array.shape, array.dtype, array.chunk), ((rows, *like.shape), like.dtype, chunk)
        if found != wanted:
            raise MismatchError(
                f"{path} holds {_describe(*found)}, but now {_describe(*wanted)} is made there. "
                f"Delete {path} and bump the stage's revision."
            )
        array._sweep()
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._values.dtype)

    @property
    def chunk(self) -> int:
        """Rows per chunk."""
        return self._values.chunks[0]

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self) // self.chunk)

    @property
    def finished(self) -> int:
        """How many chunks are finished."""
        return int(self._done().sum())

    def __len__(self) -> int:
        return self.shape[0]

    def pending(self) -> Iterator[slice]:
        """Row ranges still to be written, one per chunk."""
        return (self._rows(int(index)) for index in np.flatnonzero(~self._done()))

    def write(self, rows: slice, values: np.ndarray) -> None:
        """Write one whole range given by `pending`; when this returns, it is on the disk.

        Raises:
            ValueError: `rows` is no such range.
            MismatchError: `values` do not have the array's shape and dtype; nothing is cast.
        """
        if rows not in self.pending():
            raise ValueError(f"Rows {rows.start}:{rows.stop} of {self.path} are not one chunk that is pending.")
        shape = (rows.stop - rows.start, *self.shape[1:])
        if (values.shape, values.dtype) != (shape, self.dtype):
            raise MismatchError(
                f"{self.path} takes {self.dtype}{shape} for rows {rows.start}:{rows.stop}, "
                f"got {values.dtype}{values.shape}."
            )
        index = rows.start // self.chunk
        self._values[rows] = values
        sync(self._file(index))
        sync(self.path)
        self._finish(index)

    def read(self, rows: slice | int = slice(None)) -> np.ndarray:
        """Values of `rows`, all by default; one row without the row axis if `rows` is a number.

        Raises:
            IncompleteError: some of these rows are not written yet.
            DamagedError: their chunk is missing or its checksum is wrong.
            IndexError: there is no such row.
        """
        picked = range(len(self))[rows]
        needed = sorted({row // self.chunk for row in ([picked] if isinstance(picked, int) else picked)})
        if not self._done()[needed].all():
            raise IncompleteError(
                f"{self.path} has {self.chunks - self.finished} of {self.chunks} chunks left to write. "
                f"Run the stage that makes {self.path.name} again; it resumes where it stopped."
            )
        for index in needed:
            if not self._file(index).exists():
                raise self._damage(index, "is missing")
        try:
            return np.asarray(self._values[rows])
        except (RuntimeError, ValueError) as error:  # what Zarr's codecs raise for bytes they cannot take
            raise self._damage(self._first_unreadable(needed), f"cannot be decoded: {error}") from error

    def _rows(self, index: int) -> slice:
        return slice(index * self.chunk, min((index + 1) * self.chunk, len(self)))

    def _file(self, index: int) -> Path:
        return self.path / self._values.metadata.encode_chunk_key((index, *(0 for _ in self.shape[1:])))

    def _done(self) -> np.ndarray:
        """Which chunks are finished."""
        try:
            marks = np.frombuffer(self._journal.read_bytes(), np.uint8)
        except FileNotFoundError:
            return np.ones(self.chunks, bool)
        return np.equal(marks, ord("1"))

    def _finish(self, index: int) -> None:
        """Mark one chunk; a single byte, so that neither a kill nor a parallel writer can garble it."""
        journal = os.open(self._journal, os.O_WRONLY)
        try:
            os.pwrite(journal, b"1", index)
            os.fsync(journal)
        finally:
            os.close(journal)
        if self._done().all():
            self._journal.unlink(missing_ok=True)
            sync(self._journal.parent)

    def _sweep(self) -> None:
        """Remove what a kill left half written, so that the folder holds finished chunks only."""
        keep = {METADATA, *(self._file(int(index)).name for index in np.flatnonzero(self._done()))}
        for path in self.path.iterdir():
            if path.name not in keep:
                path.unlink()

    def _first_unreadable(self, indices: Iterable[int]) -> int:
        for index in indices:
            try:
                self._values[self._rows(index)]
            except (RuntimeError, ValueError):
                return index
        raise AssertionError("no chunk fails alone")

    def _damage(self, index: int, what: str) -> DamagedError:
        rows = self._rows(index)
        return DamagedError(
            f"Chunk {index} of {self.path} (rows {rows.start}:{rows.stop}, file {self._file(index).name}) {what}. "
            f"Delete {self.path} and run again: the array is made anew."
        )


def unfinished_arrays(folder: Path) -> list[Path]:
    """Arrays anywhere below `folder` that have chunks left to write."""
    return sorted(path.with_name(path.name[1 : -len(".done")]) for path in folder.rglob(".*.done"))


def _journal(path: Path) -> Path:
    return path.with_name(f".{path.name}.done")


def _lay_out(path: Path, like: np.ndarray, rows: int, chunk: int, kind: Kind) -> None:
    """Make an array with nothing in it: journal first, so that an array never looks finished before it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(_journal(path), b"0" * -(-rows // chunk))
    draft = path.with_name(f".{path.name}.new")
    for left in (path, draft):
        if left.exists():
            shutil.rmtree(left)
    with _quiet():
        zarr.create_array(
            draft,
            shape=(rows, *like.shape),
            chunks=(chunk, *like.shape),
            dtype=like.dtype,
            chunk_key_encoding={"name": "default", "separator": "."},  # one folder, so one fsync per chunk for its name
            **_packing(kind),
        )
    sync(draft / METADATA)
    sync(draft)
    draft.rename(path)
    sync(path.parent)


def _packing(kind: Kind) -> dict[str, Any]:
    """Codecs for values of one kind, each with a checksum: without one, flipped bits read back as values."""
    if kind == "image":
        return {"filters": [Delta(dtype="|u1")], "compressors": [ZstdCodec(level=1, checksum=True)]}
    if kind == "label":
        return {"filters": [], "compressors": [ZstdCodec(level=1, checksum=True)]}
    packed = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    return {"filters": [], "compressors": [packed, Crc32cCodec()]}


def _describe(shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int) -> str:
    return f"{dtype}{shape} in chunks of {chunk}"


def _quiet() -> AbstractContextManager[Any]:
    """Silence Zarr about Delta being its own extension of the format: only Zarr-Python has to read these arrays."""
    return warnings.catch_warnings(action="ignore", category=ZarrUserWarning)
