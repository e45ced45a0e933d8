"""Zarr's shard files as bytes: check, split and join them without decoding values.

chunk 0, chunk 1, ...    each ends with the CRC-32C of its own bytes (its last codec)
index                    offset and size of each chunk, uint64 little-endian; all bits set where there is no chunk
CRC-32C of the index

The format is Zarr 3's `sharding_indexed`. Chunks are stored in the order of the index without gaps, so that equal
chunks give equal files.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from storage.files import replacing

CHECKSUM_BYTES = 4
ABSENT = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class ShardSlots:
    """Location of encoded chunks: the `slots` of a shard file with `capacity` slots."""

    file: Path
    slots: range
    capacity: int

    def chunks(self) -> Iterator[bytes | None]:
        """Read the encoded chunks; None for an empty slot.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the index or a chunk is damaged.
        """
        with self.file.open("rb") as file:
            index = _read_index(file, self.capacity)
            for slot in self.slots:
                offset, size = index[slot]
                if offset == ABSENT:
                    yield None
                    continue
                file.seek(int(offset))
                content = file.read(int(size))
                if not _is_whole(content):
                    raise ValueError(f"the checksum of chunk {slot} is wrong")
                yield content

    def fault(self) -> str | None:
        """Description of the damage, or None if all chunks are intact."""
        try:
            for _ in self.chunks():
                pass
        except FileNotFoundError:
            return "is missing"
        except ValueError as error:
            return f"is damaged ({error})"
        return None


def write_shard(path: Path, chunks: Iterable[bytes | None]) -> None:
    """Write encoded chunks as one shard file, atomically and synced."""
    index, end = [], 0
    with replacing(path) as file:
        for chunk in chunks:
            index.append((end, len(chunk)) if chunk is not None else (ABSENT, ABSENT))
            end += file.write(chunk or b"")
        places = np.array(index, "<u8").tobytes()
        file.write(places + checksum(places))


def checksum(content: bytes) -> bytes:
    """CRC-32C as stored, 4 bytes little-endian."""
    return int(google_crc32c.value(content)).to_bytes(CHECKSUM_BYTES, "little")


def _read_index(file: BinaryIO, capacity: int) -> np.ndarray:
    """Offset and size of each chunk, `slot 2`."""
    length = capacity * 16 + CHECKSUM_BYTES
    end = file.seek(0, os.SEEK_END) - length
    file.seek(max(0, end))
    content = file.read(length)
    if end < 0 or not _is_whole(content):
        raise ValueError("the checksum of its index is wrong")
    index = np.frombuffer(content[:-CHECKSUM_BYTES], "<u8").reshape(capacity, 2)
    offsets, sizes = index[index[:, 0] != ABSENT].T
    if sizes.sum() != end or (offsets != np.cumsum(sizes) - sizes).any():
        raise ValueError("its chunks do not lie where its index says")
    return index


def _is_whole(content: bytes) -> bool:
    return checksum(content[:-CHECKSUM_BYTES]) == content[-CHECKSUM_BYTES:]
