"""Find damage that a decoder does not notice: HEVC, VP9 and VP8 decode any bits without a word.

Packets of keyframes and of frames where the content jumps are decoded with another end (storage/video_tails.py). What
the images alone say is no verdict: a cut, a flash or a caption jumps too.

A decoder cannot be copied, but a process can: this runs in one of its own, which forks before every trial.
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
import cv2
import numpy as np
from av.codec.context import CodecContext, ThreadType
from av.container import InputContainer

from storage.video import open_video
from storage.video_packets import packets_of
from storage.video_tails import TAIL_BYTES, changed_tails, padded

BLOCK_PX = 8
JUMP = 1.0  # levels that a block may change beyond what lay around it before
GROUP_BYTES = 256 << 20  # packets kept of a keyframe and what follows it; what lies after them is not tested
TRIAL_S = 10  # seconds
START_S, PACKET_S = 120, 5  # seconds that the check may take, to begin with and for each packet
NOT_AT_ITS_END = "decoding does not end where the data ends"

Checks = dict[int | None, int]  # CRC-32 of the samples, by pts


class IntegrityError(Exception):
    """The check itself failed; nothing is known of the packets."""


def damaged_packets(path: Path, codec: str, stream: int, last: int) -> list[int]:
    """Numbers of the damaged packets of `stream` up to `last`, the first of every keyframe's group.

    Args:
        codec: FFmpeg's name; of codecs that notice damage themselves nothing is tested.

    Raises:
        IntegrityError: the process that tests them failed, or took too long.
    """
    if codec not in TAIL_BYTES:
        return []
    call = "from storage.video_integrity import main; main()"
    # The modules that this process has; and no threads of NumPy, with which a process cannot fork.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", call, str(path), str(stream), str(last)],
            capture_output=True,
            env=environment,
            timeout=START_S + PACKET_S * (last + 1),
            check=True,
        )
        return [int(number) for number in json.loads(done.stdout)]
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise IntegrityError(type(error).__name__) from error


def main() -> None:
    """Print the numbers of the damaged packets as JSON. Arguments: path, index of the stream, last packet."""
    path, stream, last = Path(os.fsdecode(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    cv2.setNumThreads(1)  # a process with threads must not fork
    with open_video(path) as container:
        print(json.dumps(list(_find(container, stream, last))))


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
    """Makes decoders like that of the stream, and packets with another end."""

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
        """For each slice of the packet, packets that end it differently."""
        for variants in changed_tails(bytes(packet), self.codec, self.extradata):
            yield (_copied(packet, data) for data in variants)


@dataclass
class _Seen:
    """What the stream shows, decoded from its beginning."""

    checks: Checks = field(default_factory=dict)
    jumps: dict[int | None, float] = field(default_factory=dict)  # levels, against the frame shown before
    before: np.ndarray | None = None

    def add(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            luma = _samples(frame, 0)
            small = _reduced(luma, frame.format.components[0].bits)
            comparable = self.before is not None and self.before.shape == small.shape
            self.jumps[frame.pts] = _jump(self.before, small) if comparable and self.before is not None else 0.0
            self.checks[frame.pts] = _check(frame)
            self.before = small

    def forget(self, group: _Group) -> None:
        for packet in group.packets:
            self.checks.pop(packet.pts, None)
            self.jumps.pop(packet.pts, None)


def _find(container: InputContainer, stream_index: int, last: int) -> Iterator[int]:
    """Numbers of damaged packets, while the stream is decoded once from the beginning."""
    stream = container.streams[stream_index]
    context: Any = stream.codec_context
    decoders = _Decoders(context.codec.canonical_name, context.codec.name, context.extradata or b"")
    linear, seen = decoders.open(), _Seen()
    groups: list[_Group] = []
    number = -1
    for packet in packets_of(container, [stream]):
        if packet.size:
            number += 1
            if packet.has_sidedata("new_extradata"):  # a decoder that begins later would not know it
                return
            if packet.is_keyframe or not groups:
                groups.append(_Group(number))
            groups[-1].add(packet)
        at_end = not packet.size or number >= last
        seen.add(_frames(linear, packet))
        if at_end and packet.size:
            seen.add(_frames(linear, None))
        while groups and (len(groups) > 2 or at_end):  # frames of the last but one may not be out yet
            group = groups.pop(0)
            damaged = _first_damaged(group, decoders, seen)
            if damaged is not None:
                yield group.first + damaged
            seen.forget(group)
        if at_end:
            return


def _first_damaged(group: _Group, decoders: _Decoders, seen: _Seen) -> int | None:
    """The place in `group` of the first packet that is found damaged."""
    suspects = _suspects(group, seen)
    decoder, unchanged, stops = decoders.open(), Checks(), None
    for place, packet in enumerate(group.packets[: suspects[-1] + 1]):
        if place in suspects and _stops_before_the_end(packet, decoder, decoders, seen.checks):
            stops = place
            break
        unchanged |= _checks(_frames(decoder, packet))
    unchanged |= _checks(_frames(decoder, None))
    packets = group.packets[: suspects[-1] + 1 if stops is None else stops]
    depends = _depends_on_more(packets, decoders, unchanged, seen.checks)
    return stops if depends is None else depends


def _suspects(group: _Group, seen: _Seen) -> list[int]:
    """The keyframe, packets of frames where the content jumps, and those decoded before them but shown later."""
    shown = {packet.pts: place for place, packet in enumerate(group.packets) if packet.pts in seen.checks}
    suspects = {0}
    for pts, place in shown.items():
        if pts is not None and seen.jumps[pts] >= JUMP:
            suspects |= {
                place,
                *(one for later, one in shown.items() if later is not None and later > pts and one < place),
            }
    return sorted(suspects)


def _stops_before_the_end(packet: "av.Packet[Any]", decoder: Any, decoders: _Decoders, seen: Checks) -> bool:
    """Whether some slice decodes to the same image whatever its last bytes are. `decoder` stays as it is."""
    if packet.pts not in seen:
        return False
    return any(
        all(_check_in_a_child(decoder, one, packet.pts) == seen[packet.pts] for one in variants)
        for variants in decoders.changed(packet)
    )


def _depends_on_more(
    packets: list["av.Packet[Any]"], decoders: _Decoders, unchanged: Checks, seen: Checks
) -> int | None:
    """The first of `packets` whose image depends on more than these packets.

    That is on bytes behind its data, or on memory that was never written because decoding stopped early.
    """
    decoder, changed = decoders.open(), Checks()
    for packet in packets:
        changed |= _checks(_frames(decoder, decoders.padded(packet)))
    changed |= _checks(_frames(decoder, None))
    for place, packet in enumerate(packets):
        leads = packet.pts is None or packet.pts < (packets[0].pts or 0)  # needs frames from before the group
        if not leads and packet.pts in seen:
            own = seen[packet.pts]
            if unchanged.get(packet.pts, own) != own or changed.get(packet.pts, own) != own:
                return place
    return None


def _check_in_a_child(decoder: Any, packet: "av.Packet[Any]", pts: int | None) -> int | None:
    """CRC-32 of the frame at `pts` if `decoder` were given `packet` next; None = no such frame comes."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(TRIAL_S)
        try:
            checks = _checks([*_frames(decoder, packet), *_frames(decoder, None)])
            os.write(sender, checks[pts].to_bytes(4, "big") if pts in checks else b"")
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    return int.from_bytes(content, "big") if content else None


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
    for plane in range(len(frame.planes)):  # color too: the last bytes of a packet may be about nothing else
        check = crc32(_samples(frame, plane).data, check)
    return check


def _copied(packet: "av.Packet[Any]", data: bytes) -> "av.Packet[Any]":
    copy: av.Packet[Any] = av.Packet(data)
    copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return copy


def _samples(frame: av.VideoFrame, number: int) -> np.ndarray:
    """One plane without what lies between its rows. The three codecs decode to planes of one component each."""
    plane, bits = frame.planes[number], frame.format.components[0].bits
    dtype = np.dtype(np.uint8 if bits <= 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))[: plane.height]
    return np.ascontiguousarray(rows[:, : plane.width * dtype.itemsize].view(dtype))


def _reduced(luma: np.ndarray, bits: int) -> np.ndarray:
    """Means of blocks, as 8-bit levels."""
    height, width = (max(1, side // BLOCK_PX) for side in luma.shape)
    small = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small.astype(np.float32) / (1 << max(0, bits - 8)))


def _jump(before: np.ndarray, now: np.ndarray) -> float:
    """The largest change of a block that motion by one block does not explain."""
    around = np.ones((3, 3), np.uint8)
    return float(np.maximum(now - cv2.dilate(before, around), cv2.erode(before, around) - now).max())
