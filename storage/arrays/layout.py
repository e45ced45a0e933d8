"""How the values of one kind are packed, and in what pieces.

chunk (of Zarr)   what is decoded at once: a row of images or labels, a unit of numbers
unit              rows written at once
shard             rows of one file: whole units
"""

import json
import math
import re
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from storage.arrays.shards import checksum

METADATA = "zarr.json"
UNIT = "unit"  # attribute: rows per unit
CHECKSUM = "metadata_crc32c"  # attribute: of the file itself, taken with zeros in this place
SHARD_ROWS = 256  # of images and labels
NUMBER_SHARD_ROWS = 2048  # a damaged index costs this many rows
NUMBER_SHARD_BYTES = 64 << 20  # before packing
SEPARATOR = "."  # between the parts of a file's name: one folder, so one fsync for a new name

ArrayKind = Literal["image", "label", "number"]
"""What the values are, which decides how they are packed (docs/decisions/0011):

image   uint8 or uint16 (row, channel, height, width): planes compress better than interleaved pixels
label   classes and masks
number  landmarks, latents, losses
"""


def lay_out(folder: Path, like: np.ndarray, rows: int, unit: int, kind: ArrayKind) -> None:
    """Make an array without values: its metadata in `folder`."""
    inner = unit if kind == "number" else 1
    with quiet():
        zarr.create_array(
            folder,
            shape=(rows, *like.shape),
            shards=(units_per_shard(like, rows, unit, kind) * unit, *like.shape),
            chunks=(inner, *like.shape),
            dtype=like.dtype,
            chunk_key_encoding={"name": "default", "separator": SEPARATOR},
            attributes={UNIT: unit, CHECKSUM: "0" * 8},
            **_packing(kind, like.dtype),
        )
    metadata = folder / METADATA
    metadata.write_bytes(_with_checksum(metadata.read_bytes()))


def is_metadata_intact(metadata: Path) -> bool:
    """Whether not a bit of an array's metadata changed: most changes still open as an array, of other values."""
    content = metadata.read_bytes()
    return content == _with_checksum(content)


def units_per_shard(like: np.ndarray, rows: int, unit: int, kind: ArrayKind) -> int:
    """How many units go into one file."""
    wanted = SHARD_ROWS
    if kind == "number":
        wanted = min(NUMBER_SHARD_ROWS, NUMBER_SHARD_BYTES // max(1, like.nbytes))
    return min(max(1, wanted // unit), math.ceil(rows / unit))


def encode_unit(metadata: Path, values: np.ndarray) -> bytes:
    """Values of one unit of the array of `metadata`, as a shard file of their own."""
    files = _unit_files(metadata, len(values))
    _open_files(files)[:] = values
    return files[file_name(0, values.ndim)].to_bytes()


def open_unit(metadata: Path, rows: int, content: bytes) -> zarr.Array[Any]:
    """The array that `encode_unit` made `content` of."""
    files = _unit_files(metadata, rows)
    unit = _open_files(files)
    files[file_name(0, unit.ndim)] = cpu.Buffer.from_bytes(content)
    return unit


def file_name(shard: int, dimensions: int) -> str:
    return SEPARATOR.join(["c", str(shard), *["0"] * (dimensions - 1)])


def quiet() -> AbstractContextManager[Any]:
    """Silence Zarr about Delta being its own extension of the format: only Zarr-Python has to read these arrays."""
    return warnings.catch_warnings(action="ignore", category=ZarrUserWarning)


def _with_checksum(metadata: bytes) -> bytes:
    place = re.compile(rb'(?<="%s": ")[0-9a-f]{8}(?=")' % CHECKSUM.encode())
    if len(place.findall(metadata)) != 1:
        return b""
    found = checksum(place.sub(b"0" * 8, metadata))
    return place.sub(found.hex().encode(), metadata)


def _unit_files(metadata: Path, rows: int) -> dict[str, Buffer]:
    """Metadata of one unit as an array of its own. Made of the array's, so that what was begun is gone on with."""
    facts = json.loads(metadata.read_bytes())
    facts["shape"][0] = rows
    facts["chunk_grid"]["configuration"]["chunk_shape"][0] = facts["attributes"][UNIT]
    return {METADATA: cpu.Buffer.from_bytes(json.dumps(facts).encode())}


def _open_files(files: dict[str, Buffer]) -> zarr.Array[Any]:
    with quiet():
        unit = zarr.open_array(MemoryStore(files), mode="r+")
    return unit.with_config({"write_empty_chunks": True})  # or zeros could not be told from what is missing


def _packing(kind: ArrayKind, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Codecs of one kind, the last of them a checksum: of zstd's own, one bit of each header goes unnoticed."""
    if kind == "image":
        return {"filters": [Delta(dtype=dtype.str)], "compressors": [ZstdCodec(level=1), Crc32cCodec()]}
    if kind == "label":
        return {"filters": [], "compressors": [ZstdCodec(level=1), Crc32cCodec()]}
    packed = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    return {"filters": [], "compressors": [packed, Crc32cCodec()]}
