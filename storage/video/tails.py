"""Packets with another end: what a sound packet does not survive, and a damaged one does not notice.

An arithmetic decoder that read one bit wrongly stays wrong, and is done somewhere else than at the end of its data. So
of a sound packet the last bytes matter and what is put behind them does not; of a damaged one it is the other way
around, in one or the other respect.
"""

import re
from collections.abc import Iterator
from random import Random

# With as many bytes changed a sound packet always decodes to another image: the encoder's flushing fills up to two
# (HEVC) or four (VP8 and VP9), which decide nothing. Other codecs notice by themselves, or do not code arithmetically.
TAIL_BYTES = {"hevc": 6, "vp8": 12, "vp9": 8}
PADDING = bytes(Random(48).randrange(1, 128) for _ in range(48))
MASKS = (0xFF, 0x5A, 0xA7, 0x01, 0x80, 0x3C)  # a sound packet would have to survive all of them
SMALLEST_BYTES = 32  # of a slice; less is hardly more than its header
START_CODE = re.compile(rb"\x00\x00\x01")
VP9_INDEX, VP9_INDEX_MASK = 0xC0, 0xE0  # of the last byte: a packet of several frames ends in an index
HEVC_SLICES = 32  # types of units below this one hold slices


def changed_tails(data: bytes, codec: str, extradata: bytes) -> Iterator[Iterator[bytes]]:
    """For each slice, the packet with the end of that slice changed in different ways."""
    for start, stop in slices(data, codec, extradata):
        if stop - start >= SMALLEST_BYTES:
            yield (_changed(data, codec, stop, mask) for mask in MASKS)


def padded(data: bytes, codec: str, extradata: bytes) -> bytes | None:
    """The packet with bytes behind each slice; None if it has no place for them."""
    if codec == "hevc":
        return _padded_units(data, extradata)
    return None if has_index(data, codec) else data + PADDING


def slices(data: bytes, codec: str, extradata: bytes) -> list[tuple[int, int]]:
    """Where the coded slices of a packet begin and end; of a damaged packet, those that can be told apart."""
    if codec == "hevc":
        size = length_bytes(extradata)
        units = _prefixed(data, size) if size else _started(data)
        return [(start, stop) for start, stop in units if stop > start and (data[start] >> 1) & 0x3F < HEVC_SLICES]
    if not has_index(data, codec):
        return [(0, len(data))]
    shown = _last_of_index(data)
    return [shown] if shown else []


def has_index(data: bytes | bytearray, codec: str) -> bool:
    """Whether a packet of VP9 holds several frames, of which the last is shown."""
    return codec == "vp9" and len(data) > 0 and data[-1] & VP9_INDEX_MASK == VP9_INDEX


def length_bytes(extradata: bytes) -> int:
    """Bytes of the length before each unit of HEVC; 0 = start codes instead."""
    return (extradata[21] & 3) + 1 if len(extradata) > 22 and extradata[0] == 1 else 0


def _changed(data: bytes, codec: str, stop: int, mask: int) -> bytes:
    start = stop - TAIL_BYTES[codec]
    changed = bytearray(data)
    changed[start:stop] = bytes(byte ^ mask for byte in data[start:stop])
    if stop == len(data) and has_index(changed, codec):
        changed[-1] ^= 0x20
    return bytes(changed)


def _padded_units(data: bytes, extradata: bytes) -> bytes | None:
    parts, done, prefix = [], 0, length_bytes(extradata)
    for start, stop in slices(data, "hevc", extradata):
        if prefix:
            parts += [data[done : start - prefix], (stop - start + len(PADDING)).to_bytes(prefix, "big")]
            done = start
        parts += [data[done:stop], PADDING]
        done = stop
    return b"".join([*parts, data[done:]]) if parts else None


def _prefixed(data: bytes, prefix: int) -> Iterator[tuple[int, int]]:
    place = 0
    while place + prefix <= len(data):
        start = place + prefix
        place = start + int.from_bytes(data[place:start], "big")
        if place > len(data):
            return
        yield start, place


def _started(data: bytes) -> Iterator[tuple[int, int]]:
    starts = [match.end() for match in START_CODE.finditer(data)]
    for start, following in zip(starts, [*(place - 3 for place in starts[1:]), len(data)], strict=True):
        yield start, start + len(data[start:following].rstrip(b"\x00"))


def _last_of_index(data: bytes) -> tuple[int, int] | None:
    """Place of the last frame of a VP9 superframe (bitstream specification, annex B)."""
    frames, size_bytes = (data[-1] & 7) + 1, ((data[-1] >> 3) & 3) + 1
    index = 2 + frames * size_bytes
    stop = len(data) - index
    if stop <= 0 or data[stop] != data[-1]:
        return None
    sizes = [
        int.from_bytes(data[place : place + size_bytes], "little")
        for place in range(stop + 1, len(data) - 1, size_bytes)
    ]
    start = sum(sizes[:-1])
    return (start, min(stop, start + sizes[-1])) if start + sizes[-1] <= stop else None
