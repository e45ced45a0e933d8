"""Chunking, sharding and compression of arrays, by kind of values.

chunk (of Zarr)   smallest decodable part: a row of images or labels, a unit of numbers
unit              rows that are written together
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
CHECKSUM = "metadata_crc32c"  # attribute: checksum of the file, computed with zeros in place of the checksum
SHARD_ROWS = 256  # of images and labels
NUMBER_SHARD_ROWS = 2048  # a damaged index costs this many rows
NUMBER_SHARD_BYTES = 64 << 20  # before compression
SEPARATOR = "."  # of the parts of a file name: all files are in one folder, so a new name needs one fsync

ArrayKind = Literal["image", "label", "number"]
"""Kind of values, which selects the layout and the codecs (docs/decisions/0011):

image   uint8 or uint16 (row, channel, height, width): planes compress better than interleaved pixels
label   classes and masks
number  landmarks, latents, losses
"""


def lay_out(folder: Path, like: np.ndarray, rows: int, unit: int, kind: ArrayKind) -> None:
    """Create an array without values: write its metadata to `folder`."""
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
    """Check the checksum of an array's metadata: most damaged files would still open, with other values."""
    content = metadata.read_bytes()
    return content == _with_checksum(content)


def units_per_shard(like: np.ndarray, rows: int, unit: int, kind: ArrayKind) -> int:
    """Number of units in one shard file."""
    wanted = SHARD_ROWS
    if kind == "number":
        wanted = min(NUMBER_SHARD_ROWS, NUMBER_SHARD_BYTES // max(1, like.nbytes))
    return min(max(1, wanted // unit), math.ceil(rows / unit))


def encode_unit(metadata: Path, values: np.ndarray) -> bytes:
    """Encode the values of one unit of the array of `metadata` as a separate shard file."""
    files = _unit_files(metadata, len(values))
    _open_files(files)[:] = values
    return files[file_name(0, values.ndim)].to_bytes()


def open_unit(metadata: Path, rows: int, content: bytes) -> zarr.Array[Any]:
    """Open `content`, which `encode_unit` returned, as an array."""
    files = _unit_files(metadata, rows)
    unit = _open_files(files)
    files[file_name(0, unit.ndim)] = cpu.Buffer.from_bytes(content)
    return unit


def file_name(shard: int, dimensions: int) -> str:
    return SEPARATOR.join(["c", str(shard), *["0"] * (dimensions - 1)])


def quiet() -> AbstractContextManager[Any]:
    """Silence Zarr's warning that Delta is not in the specification: only Zarr-Python reads these arrays."""
    return warnings.catch_warnings(action="ignore", category=ZarrUserWarning)


def _with_checksum(metadata: bytes) -> bytes:
    place = re.compile(rb'(?<="%s": ")[0-9a-f]{8}(?=")' % CHECKSUM.encode())
    if len(place.findall(metadata)) != 1:
        return b""
    found = checksum(place.sub(b"0" * 8, metadata))
    return place.sub(found.hex().encode(), metadata)


def _unit_files(metadata: Path, rows: int) -> dict[str, Buffer]:
    """Metadata of one unit as a separate array, derived from the array's, so that a partial array can be resumed."""
    facts = json.loads(metadata.read_bytes())
    facts["shape"][0] = rows
    facts["chunk_grid"]["configuration"]["chunk_shape"][0] = facts["attributes"][UNIT]
    return {METADATA: cpu.Buffer.from_bytes(json.dumps(facts).encode())}


def _open_files(files: dict[str, Buffer]) -> zarr.Array[Any]:
    with quiet():
        unit = zarr.open_array(MemoryStore(files), mode="r+")
    return unit.with_config({"write_empty_chunks": True})  # else zeros would look like missing chunks


def _packing(kind: ArrayKind, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Codecs of one kind.

    The last is a checksum, because zstd's own misses one bit of each header.
    """
    if kind == "image":
        return {"filters": [Delta(dtype=dtype.str)], "compressors": [ZstdCodec(level=1), Crc32cCodec()]}
    if kind == "label":
        return {"filters": [], "compressors": [ZstdCodec(level=1), Crc32cCodec()]}
    packed = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    return {"filters": [], "compressors": [packed, Crc32cCodec()]}
