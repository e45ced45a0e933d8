"""Decoding with detection of damage: from codec messages, flags of packets and frames, and errors.

Decoding is single-threaded here, so that a codec message refers to the packet that was just decoded, and so that no
codec thread waits for Python's lock to log it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import av
from av.codec.context import ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from storage.video.info import VideoInfo, open_video, video_stream
from storage.video.packets import decode, packets_of

LISTENING = RLock()  # FFmpeg's log level is global to the process
PLACEHOLDER_BYTES = 8  # of MPEG-4; a packet up to this size is a placeholder for a frame packed into the previous one
VP8_SHOWN = 0x10  # bit of the first byte
HELD_BACK = 16  # packets, the maximum delay that the codecs allow without threads

CHECKS = "crccheck+bitstream+buffer"  # intact packets pass these; other checks reject valid streams, or stop decoding
QUIET_SIGNS = ("Frame num gap",)  # of a missing reference frame; FFmpeg logs it at debug level only

Message = tuple[int, str, str]  # level, part of FFmpeg, text


@dataclass
class Watched:
    """Packets of the selected stream in file order, with signs of damage."""

    pts: list[int | None] = field(default_factory=list)
    keyframe: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)  # it should give a frame
    frames: list[tuple[int, int]] = field(default_factory=list)  # by frame: first and last packet it may come from
    evidence: dict[int, str] = field(default_factory=dict)  # by packet number, the first sign of damage
    marked: list[int] = field(default_factory=list)  # packet numbers that the container marks as corrupt
    refused: int = 0  # packets on which the demuxer or the decoder failed
    reason: str = ""  # of the last failure
    pending: str = ""  # sign of damage from the demuxer, about the next packet
    ends_s: dict[int, float] = field(default_factory=dict)  # by stream index, of all streams

    def add_packet(self, packet: "av.Packet[Any]", codec: str) -> None:
        """Record a packet of the selected stream, before it is decoded."""
        self.pts.append(packet.pts)
        self.keyframe.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard and not _is_hidden(packet, codec))
        if self.pending:
            self.add_evidence(self.pending)
            self.pending = ""
        if packet.is_corrupt:
            self.marked.append(len(self.pts) - 1)

    def add_end(self, packet: "av.Packet[Any]") -> None:
        """Record the end of a packet of any stream."""
        if packet.pts is not None and packet.time_base:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.ends_s[packet.stream.index] = max(end_s, self.ends_s.get(packet.stream.index, end_s))

    def add_frame(self, frame: av.VideoFrame) -> None:
        """Record the packet of a frame: the one with its pts, or the range that the decoder may hold back."""
        last = len(self.pts) - 1
        held = range(last, max(-1, last - HELD_BACK), -1)
        own = next((number for number in held if frame.pts is not None and self.pts[number] == frame.pts), None)
        self.frames.append((max(0, last - HELD_BACK), last) if own is None else (own, own))

    def add_error(self, reason: str) -> None:
        """Record an error of the decoder."""
        self.refused += 1
        self.reason = reason
        self.add_evidence(reason)

    def add_gap(self, reason: str) -> None:
        """Record an error or a message of the demuxer: it refers to the next packet."""
        self.pending = self.pending or reason

    def add_evidence(self, sign: str) -> None:
        """Record a sign of damage in the last packet."""
        self.evidence.setdefault(max(0, len(self.pts) - 1), sign)

    def errors(self) -> list[str]:
        """One sentence if packets could not be read or decoded, else nothing."""
        return [f"{self.refused} damaged packets were skipped ({self.reason})."] if self.refused else []


@contextmanager
def codec_log() -> Iterator[list[Message]]:
    """Capture FFmpeg's messages of this thread. Only one thread can capture at a time."""
    with LISTENING:
        level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.DEBUG)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture() as messages:
                yield messages
        finally:
            av.logging.set_skip_repeated(skips)
            av.logging.set_level(level)


def watched_frames(
    path: Path, info: VideoInfo, watched: Watched, messages: list[Message]
) -> Iterator[tuple[av.VideoFrame, VideoCodecContext]]:
    """Decode frames in presentation order, with their decoder; record their packets in `watched`.

    Args:
        messages: the list that `codec_log` fills.
    """
    with open_video(path) as container:
        stream = single_threaded(video_stream(container, info))
        messages.clear()  # opening already read the first packets, which are read again now

        def add_demuxer_error(reason: str) -> None:
            watched.refused, watched.reason = watched.refused + 1, reason
            watched.add_gap(reason)

        for packet in packets_of(container, container.streams.get(), add_demuxer_error):
            watched.add_end(packet)
            if packet.stream is not stream:  # the flushing packet's own stream_index is 0, whatever it flushes
                continue
            if sign := _first_sign(messages):
                watched.add_gap(sign)
            if packet.size:
                watched.add_packet(packet, info.codec)
            for frame in decode(packet, watched.add_error):
                watched.add_frame(frame)
                if frame.is_corrupt:
                    watched.evidence.setdefault(watched.frames[-1][0], "the decoder marks its frame as damaged")
                yield frame, stream.codec_context
            if sign := _first_sign(messages):
                watched.add_evidence(sign)
        if watched.pending:
            watched.add_evidence(watched.pending)


def _first_sign(messages: list[Message]) -> str:
    """Return the first message about damage, and clear the list."""
    signs = [text.strip() for level, _, text in messages if level <= av.logging.ERROR or text.startswith(QUIET_SIGNS)]
    messages.clear()
    return signs[0] if signs else ""


def single_threaded(stream: VideoStream) -> VideoStream:
    """Set the stream to decode without threads and with all checks, so that damage has reproducible effects."""
    stream.thread_type = ThreadType.NONE
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": CHECKS}
    return stream


def _is_hidden(packet: "av.Packet[Any]", codec: str) -> bool:
    """True if a packet gives no frame although it is intact."""
    if codec == "vp8":
        return not bytes(packet)[0] & VP8_SHOWN
    return codec == "mpeg4" and packet.size <= PLACEHOLDER_BYTES
