"""Detection of damage that decoders miss: HEVC, VP9 and VP8 decode any bits without an error.

Every packet is also decoded with a changed end (storage/video/tails.py). A decoder cannot be copied, but a process can:
this runs in separate processes, which fork before every trial. The content of images is not used: a cut, a flash or a
caption changes them as abruptly as damage.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import av
import numpy as np
from av.codec.context import CodecContext, ThreadType
from av.container import InputContainer

from storage.video.info import open_video
from storage.video.packets import packets_of
from storage.video.tails import TAIL_BYTES, changed_tails, padded

SHARES = 4  # maximum number of processes
START_S, PACKET_S = 120.0, 5.0  # timeout of the check: constant part, and part per packet
TRIAL_S = 10
GROUP_BYTES = 256 << 20  # packets kept of a keyframe's group; later packets of the group are not tested
NOT_AT_ITS_END = "decoding does not end where the data ends"

Checks = dict[int | None, int]  # CRC-32 of the samples, by pts


class IntegrityError(Exception):
    """The check itself failed; the state of the packets is unknown."""


def damaged_packets(path: Path, codec: str, stream: int, last: int) -> list[int]:
    """Numbers of the damaged packets of `stream` up to `last`, the first of every keyframe's group.

    Args:
        codec: FFmpeg's name; codecs whose decoders detect damage are not tested.

    Raises:
        IntegrityError: a testing process failed, or took too long.
    """
    if codec not in TAIL_BYTES:
        return []
    shares = min(SHARES, os.cpu_count() or 1)
    call = "from storage.video.integrity import main; main()"
    # The same import path; and no NumPy threads, because a process with threads must not fork.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", call, *map(str, (path, stream, last, share, shares))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        for share in range(shares)
    ]
    try:
        answers = [process.communicate(timeout=START_S + PACKET_S * (last + 1))[0] for process in running]
        return sorted(int(number) for answer in answers for number in json.loads(answer))
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise IntegrityError(type(error).__name__) from error
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Print the numbers of damaged packets as JSON.

    Arguments: path, stream, last packet, this share, shares.
    """
    path, (stream, last, share, shares) = Path(sys.argv[1]), map(int, sys.argv[2:])
    with open_video(path) as container:
        print(json.dumps(list(_find(container, stream, last, (share, shares)))))


@dataclass
class _Group:
    """A keyframe and the packets after it, in file order."""

    first: int  # number of the first packet in the file
    packets: list["av.Packet[Any]"] = field(default_factory=list)
    size: int = 0  # bytes

    def add(self, packet: "av.Packet[Any]") -> None:
        if self.size + packet.size <= GROUP_BYTES:
            self.packets.append(packet)
            self.size += packet.size


@dataclass(frozen=True)
class _Decoders:
    """Creates decoders for the stream, and packets with a changed end."""

    codec: str
    decoder: str
    extradata: bytes

    def open(self) -> Any:
        context = CodecContext.create(self.decoder, "r")
        if self.extradata:
            context.extradata = self.extradata
        context.thread_type, context.thread_count = ThreadType.NONE, 1
        return context

    def padded(self, packet: "av.Packet[Any]") -> "av.Packet[Any]":
        data = padded(bytes(packet), self.codec, self.extradata)
        return _copied(packet, data) if data else packet

    def changed(self, packet: "av.Packet[Any]") -> Iterator[Iterator["av.Packet[Any]"]]:
        """For each slice of the packet, packets with a changed end of that slice."""
        for variants in changed_tails(bytes(packet), self.codec, self.extradata):
            yield (_copied(packet, data) for data in variants)


def _find(container: InputContainer, stream: int, last: int, share: tuple[int, int]) -> Iterator[int]:
    """Numbers of damaged packets in this share of the groups."""
    context: Any = container.streams[stream].codec_context
    decoders = _Decoders(context.codec.canonical_name, context.codec.name, context.extradata or b"")
    used = decoders.open()
    for number, group in enumerate(_groups(container, stream, last)):
        if number % share[1] == share[0]:
            damaged = _first_damaged(group.packets, used, decoders)
            if damaged is not None:
                yield group.first + damaged


def _groups(container: InputContainer, stream: int, last: int) -> Iterator[_Group]:
    number, group = -1, _Group(0)
    for packet in packets_of(container, [container.streams[stream]]):
        if not packet.size or number == last or packet.has_sidedata("new_extradata"):
            break  # a decoder that starts later would not have the new header
        number += 1
        if packet.is_keyframe and group.packets:
            yield group
            group = _Group(number)
        group.add(packet)
    if group.packets:
        yield group


def _first_damaged(packets: list["av.Packet[Any]"], used: Any, decoders: _Decoders) -> int | None:
    """Index of the first damaged packet, or None. `used` has decoded other groups before."""
    seen = _decoded(used, packets)
    used.flush_buffers()
    fresh = decoders.open()
    unchanged: Checks = {}
    for place, packet in enumerate(packets):
        if _stops_before_the_end(packet, fresh, decoders, seen):
            packets = packets[:place]
            break
        unchanged |= _checks(_frames(fresh, packet))
    else:
        place = None
    unchanged |= _checks(_frames(fresh, None))
    changed = _decoded(decoders.open(), [decoders.padded(packet) for packet in packets])
    depends = _first_difference(packets, seen, (unchanged, changed))
    return place if depends is None else depends


def _stops_before_the_end(packet: "av.Packet[Any]", decoder: Any, decoders: _Decoders, seen: Checks) -> bool:
    """True if a slice decodes to the same image whatever its last bytes are. Does not change `decoder`."""
    if packet.pts not in seen:
        return False
    return any(
        all(_check_in_a_child(decoder, variant, packet.pts) == seen[packet.pts] for variant in variants)
        for variants in decoders.changed(packet)
    )


def _first_difference(packets: list["av.Packet[Any]"], seen: Checks, others: tuple[Checks, ...]) -> int | None:
    """Index of the first packet whose image depends on more than these packets.

    For example on bytes after its data, or on uninitialized memory because decoding stopped early.
    """
    for place, packet in enumerate(packets):
        leads = packet.pts is None or packet.pts < (packets[0].pts or 0)  # needs frames from before the group
        if not leads and packet.pts in seen:
            own = seen[packet.pts]
            if any(checks.get(packet.pts, own) != own for checks in others):
                return place
    return None


def _check_in_a_child(decoder: Any, packet: "av.Packet[Any]", pts: int | None) -> int | None:
    """CRC-32 of the frame at `pts` if `decoder` decoded `packet` next.

    None = no such frame.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(TRIAL_S)
        try:
            frames = [*_frames(decoder, packet), *_frames(decoder, None)]
            for check in _checks([frame for frame in frames if frame.pts == pts]).values():
                os.write(sender, check.to_bytes(4, "big"))
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    return int.from_bytes(content, "big") if content else None


def _decoded(decoder: Any, packets: list["av.Packet[Any]"]) -> Checks:
    checks: Checks = {}
    for packet in [*packets, None]:
        checks |= _checks(_frames(decoder, packet))
    return checks


def _frames(decoder: Any, packet: "av.Packet[Any] | None") -> list[av.VideoFrame]:
    try:
        frames: list[av.VideoFrame] = decoder.decode(packet)
    except (av.FFmpegError, EOFError):
        return []
    return frames


def _checks(frames: list[av.VideoFrame]) -> Checks:
    return {frame.pts: _check(frame) for frame in frames}


def _check(frame: av.VideoFrame) -> int:
    check = 0
    for plane in frame.planes:  # chroma too: the last bytes of a packet may affect nothing else
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))[: plane.height]
        width = plane.width * (
            1 if frame.format.components[0].bits <= 8 else 2
        )  # bytes; the rest of a line is uninitialized
        check = crc32(np.ascontiguousarray(rows[:, :width]).data, check)
    return check


def _copied(packet: "av.Packet[Any]", data: bytes) -> "av.Packet[Any]":
    copy: av.Packet[Any] = av.Packet(data)
    copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return copy
