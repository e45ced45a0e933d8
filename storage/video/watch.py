"""Decode a file while watching for damage: messages of the codec, flags of packets and frames, errors.

Decoding is single-threaded here, so that a message of the codec is about the packet that was just given to it, and so
that no thread of the codec waits for Python's lock to tell it.
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

LISTENING = RLock()  # FFmpeg's log level is one for the whole process
PLACEHOLDER_BYTES = 8  # of MPEG-4; a packet no larger stands for a frame that was packed with the one before
VP8_SHOWN = 0x10  # bit of the first byte
HELD_BACK = 16  # packets, as the codecs allow it; more only where the decoder has threads

CHECKS = "crccheck+bitstream+buffer"  # that sound packets pass; others are about style, or stop decoding
QUIET_SIGNS = ("Frame num gap",)  # of a reference frame that is missing; FFmpeg tells it to developers only

Message = tuple[int, str, str]  # level, part of FFmpeg, text


@dataclass
class Watched:
    """Packets of the stream that is used, in file order, and what was seen of them."""

    pts: list[int | None] = field(default_factory=list)
    keyframe: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)  # a frame should come of it
    frames: list[tuple[int, int]] = field(default_factory=list)  # by frame: the packet it is of, from which to which
    evidence: dict[int, str] = field(default_factory=dict)  # by packet number, the first sign of damage
    marked: list[int] = field(default_factory=list)  # packet numbers that the container says are not whole
    refused: int = 0  # packets for which the demuxer or the decoder gave an error
    reason: str = ""  # of the last of them
    pending: str = ""  # what the demuxer said of the packet to come
    ends_s: dict[int, float] = field(default_factory=dict)  # by stream index, of all streams

    def add_packet(self, packet: "av.Packet[Any]", codec: str) -> None:
        """Note a packet of the stream that is used, before it is decoded."""
        self.pts.append(packet.pts)
        self.keyframe.append(packet.is_keyframe)
        self.shown.append(not packet.is_discard and not _is_hidden(packet, codec))
        if self.pending:
            self.add_evidence(self.pending)
            self.pending = ""
        if packet.is_corrupt:
            self.marked.append(len(self.pts) - 1)

    def add_end(self, packet: "av.Packet[Any]") -> None:
        """Note when a packet of any stream ends."""
        if packet.pts is not None and packet.time_base:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.ends_s[packet.stream.index] = max(end_s, self.ends_s.get(packet.stream.index, end_s))

    def add_frame(self, frame: av.VideoFrame) -> None:
        """Note which packet a frame is of: that of its time, or one of those that the decoder may hold back."""
        last = len(self.pts) - 1
        held = range(last, max(-1, last - HELD_BACK), -1)
        own = next((number for number in held if frame.pts is not None and self.pts[number] == frame.pts), None)
        self.frames.append((max(0, last - HELD_BACK), last) if own is None else (own, own))

    def add_error(self, reason: str) -> None:
        """Note an error of the decoder."""
        self.refused += 1
        self.reason = reason
        self.add_evidence(reason)

    def add_gap(self, reason: str) -> None:
        """Note an error or a message of the demuxer: it is about what comes next."""
        self.pending = self.pending or reason

    def add_evidence(self, sign: str) -> None:
        """Note a sign of damage in the last packet."""
        self.evidence.setdefault(max(0, len(self.pts) - 1), sign)

    def errors(self) -> list[str]:
        """A sentence if packets could not be read or decoded."""
        return [f"{self.refused} damaged packets were skipped ({self.reason})."] if self.refused else []


@contextmanager
def codec_log() -> Iterator[list[Message]]:
    """FFmpeg's messages of this thread, as they come. One thread listens at a time."""
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
    """Frames in presentation order with their decoder; what is seen of their packets goes to `watched`.

    Args:
        messages: the list that `codec_log` fills.
    """
    with open_video(path) as container:
        stream = single_threaded(video_stream(container, info))
        messages.clear()  # those of opening are about what is read again now

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
    """The first of the messages that is about damage; they are used up by that."""
    signs = [text.strip() for level, _, text in messages if level <= av.logging.ERROR or text.startswith(QUIET_SIGNS)]
    messages.clear()
    return signs[0] if signs else ""


def single_threaded(stream: VideoStream) -> VideoStream:
    """The stream, set to decode packet after packet, with all checks: damage has the same effect every time."""
    stream.thread_type = ThreadType.NONE
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": CHECKS}
    return stream


def _is_hidden(packet: "av.Packet[Any]", codec: str) -> bool:
    """Whether no frame comes of a packet that is whole."""
    if codec == "vp8":
        return not bytes(packet)[0] & VP8_SHOWN
    return codec == "mpeg4" and packet.size <= PLACEHOLDER_BYTES
