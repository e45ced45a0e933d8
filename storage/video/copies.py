"""Copies of the source's sound, subtitles, covers and data: by packet, or encoded losslessly."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from storage.video.packets import decode, packets_of
from storage.video.span import Span
from storage.video.streams import has_packets, is_encoded, kind_of

Extent = tuple[Fraction, Fraction]  # start and end, s


@dataclass
class PacketCopies:
    """Copies packets in step with the video, so that the muxer can interleave them without buffering."""

    source: InputContainer
    target: OutputContainer
    streams: dict[int, Stream]  # of the target, by stream index in the source
    span: Span
    extents: dict[int, Extent | None] = field(init=False)  # of the packets inside the span, in the result's time
    _waiting: Iterator["av.Packet[Any]"] | None = None
    _held: "av.Packet[Any] | None" = None
    _last: dict[int, int] = field(default_factory=dict)
    _is_finished: bool = False
    _skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.extents = dict.fromkeys(self.streams)

    def until(self, seconds: Fraction | None) -> None:
        """Copy the packets that start up to this time of the source; None = all remaining packets."""
        if self._waiting is None:
            chosen = [self.source.streams[index] for index, copy in self.streams.items() if has_packets(copy)]
            packets = packets_of(self.source, chosen, self._saw_damage) if chosen else iter(())
            self._waiting = (packet for packet in packets if packet.dts is not None or packet.size)
        while True:
            packet = self._held or next(self._waiting, None)
            if packet is None:
                self._finish()
                return
            self._held = packet
            if seconds is not None and start_of(packet) > seconds:
                return
            self._held = None
            if kind_of(packet.stream) == "cover":
                self._copy_cover(packet)
            elif self._is_inside(packet):
                self.extents[packet.stream.index] = self._extent(packet)
                self._copy(packet)

    def notes(self) -> list[str]:
        return [f"{count} {text}." for text, count in self._skipped.items()]

    def _is_inside(self, packet: "av.Packet[Any]") -> bool:
        if self.span.window is None:
            return True
        first, stop = self.span.window
        start = start_of(packet)
        if packet.stream.type == "subtitle" and start < first < start + (packet.duration or 0) * packet.time_base:
            late = round((first - start) / packet.time_base)  # a subtitle visible at the start is kept from there
            packet.pts, packet.dts = (packet.pts or 0) + late, (packet.dts or 0) + late
            packet.duration = (packet.duration or 0) - late
            return True
        if is_encoded(self.streams[packet.stream.index]):  # decoded from the beginning, and trimmed by samples
            return start < stop
        return first <= start < stop

    def _extent(self, packet: "av.Packet[Any]") -> Extent:
        start = start_of(packet) - self.span.shift
        end = start + (packet.duration or 0) * packet.time_base
        if self.span.window is not None:
            start = max(start, self.span.window[0] - self.span.shift)
        first, last = self.extents[packet.stream.index] or (start, end)
        return min(first, start), max(last, end)

    def _copy(self, packet: "av.Packet[Any]") -> None:
        index = packet.stream.index
        if packet.dts is None or packet.dts <= self._last.get(index, packet.dts - 1):
            self._skipped["packets of sound or subtitles with non-increasing times were left out"] += 1
            return
        self._last[index] = packet.dts
        if is_encoded(self.streams[index]):
            for frame in decode(packet, self._saw_damage):
                self._encode_inside(index, frame)
            return
        ticks = round(self.span.shift / packet.time_base)
        packet.dts -= ticks
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.stream = self.streams[index]
        try:
            self.target.mux(packet)
        except av.FFmpegError as error:  # its header is damaged, and this format stores the header elsewhere
            if isinstance(error, OSError):
                raise
            self._saw_damage(str(error.strerror))

    def _copy_cover(self, packet: "av.Packet[Any]") -> None:
        """Copy the single image of a cover, at time 0."""
        index = packet.stream.index
        if index not in self._last:
            self._last[index] = packet.pts = packet.dts = 0
            packet.stream = self.streams[index]
            self.target.mux(packet)

    def _encode_inside(self, index: int, frame: Any) -> None:
        """Encode `frame` without its samples before the span."""
        early = 0
        if self.span.window is not None and frame.pts is not None:
            early = math.ceil((self.span.window[0] - frame.pts * frame.time_base) * frame.sample_rate)
        if early >= frame.samples:
            return
        self._encode(index, _later_samples(frame, early) if early > 0 else frame)

    def _encode(self, index: int, frame: Any) -> None:
        copy: Any = self.streams[index]
        for packet in copy.encode(frame):
            if packet.pts is None or packet.dts is None:  # the last packet of FLAC, which only updates the header
                continue
            ticks = round(self.span.shift / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            self.target.mux(packet)

    def _finish(self) -> None:
        """Flush the sound encoders."""
        for index, copy in self.streams.items() if not self._is_finished else ():
            if is_encoded(copy):
                stream: Any = self.source.streams[index]
                for frame in stream.decode(None):
                    self._encode(index, frame)
                self._encode(index, None)
        self._is_finished = True

    def _saw_damage(self, reason: str) -> None:
        self._skipped[f"damaged stretches of sound were left out ({reason})"] += 1


def _later_samples(frame: Any, first: int) -> av.AudioFrame:
    interleaved = 1 if frame.format.is_planar else frame.layout.nb_channels
    samples = np.ascontiguousarray(frame.to_ndarray()[:, first * interleaved :])
    rest = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
    rest.sample_rate, rest.time_base = frame.sample_rate, frame.time_base
    rest.pts = frame.pts + round(first / (frame.sample_rate * frame.time_base))
    return rest


def start_of(packet: "av.Packet[Any]") -> Fraction:
    """Presentation time of `packet`, in seconds."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    return Fraction(ticks or 0) * packet.time_base
