"""Packets with a changed end, for detecting damage: the end affects an intact packet's image.

After one wrong bit, an arithmetic decoder stays out of step and does not finish at the end of its data. So for an
intact packet, the last bytes affect the image and bytes appended after them do not; for a damaged packet, at least one
of the two is reversed.
"""

import re
from collections.abc import Iterator
from random import Random

# Number of changed bytes with which an intact packet always decodes to another image: the encoder's flush writes up to
# two (HEVC) or four (VP8 and VP9) bytes without effect. Other codecs detect damage, or do not use arithmetic coding.
TAIL_BYTES = {"hevc": 6, "vp8": 12, "vp9": 8}
PADDING = bytes(Random(48).randrange(1, 128) for _ in range(48))
MASKS = (0xFF, 0x5A, 0xA7, 0x01, 0x80, 0x3C)  # a packet is damaged only if none of them changes the image
SMALLEST_BYTES = 32  # of a slice; a smaller one is little more than its header
START_CODE = re.compile(rb"\x00\x00\x01")
VP9_INDEX, VP9_INDEX_MASK = 0xC0, 0xE0  # of the last byte: a packet of several frames ends in an index
HEVC_SLICES = 32  # types of units below this one hold slices


def changed_tails(data: bytes, codec: str, extradata: bytes) -> Iterator[Iterator[bytes]]:
    """For each slice, variants of the packet with the end of that slice changed."""
    for start, stop in slices(data, codec, extradata):
        if stop - start >= SMALLEST_BYTES:
            yield (_changed(data, codec, stop, mask) for mask in MASKS)


def padded(data: bytes, codec: str, extradata: bytes) -> bytes | None:
    """The packet with bytes appended to each slice; None if that is not possible."""
    if codec == "hevc":
        return _padded_units(data, extradata)
    return None if has_index(data, codec) else data + PADDING


def slices(data: bytes, codec: str, extradata: bytes) -> list[tuple[int, int]]:
    """Start and end of the coded slices of a packet.

    Of a damaged packet, those that can be parsed.
    """
    if codec == "hevc":
        size = length_bytes(extradata)
        units = _prefixed(data, size) if size else _started(data)
        return [(start, stop) for start, stop in units if stop > start and (data[start] >> 1) & 0x3F < HEVC_SLICES]
    if not has_index(data, codec):
        return [(0, len(data))]
    shown = _last_of_index(data)
    return [shown] if shown else []


def has_index(data: bytes | bytearray, codec: str) -> bool:
    """True if a VP9 packet is a superframe of several frames, of which the last is shown."""
    return codec == "vp9" and len(data) > 0 and data[-1] & VP9_INDEX_MASK == VP9_INDEX


def length_bytes(extradata: bytes) -> int:
    """Bytes of the length field before each HEVC unit; 0 = start codes instead."""
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
    """Start and end of the last frame of a VP9 superframe (bitstream specification, annex B)."""
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
