"""Sound and subtitles of the source, copied packet by packet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from storage.video_packets import packets_of
from storage.video_streams import has_packets


@dataclass
class PacketCopies:
    """Copies packets in step with the video, so that the muxer never waits for one of them."""

    source: InputContainer
    target: OutputContainer
    streams: dict[int, Stream]  # of the target, by stream index in the source
    window: tuple[Fraction, Fraction] | None  # seconds in the source; None = all
    shift: Fraction  # seconds taken from every time
    _waiting: Iterator["av.Packet[Any]"] | None = None
    _held: "av.Packet[Any] | None" = None
    _last: dict[int, int] = field(default_factory=dict)
    _skipped: Counter[str] = field(default_factory=Counter)

    def until(self, seconds: Fraction | None) -> None:
        """Copy what starts up to this time of the source; None = all that is left."""
        chosen = [stream for stream in map(self.source.streams.__getitem__, self.streams) if has_packets(stream)]
        if not chosen:
            return
        if self._waiting is None:
            self._waiting = (p for p in packets_of(self.source, chosen, self._saw_damage) if p.dts is not None)
        while True:
            packet = self._held or next(self._waiting, None)
            if packet is None:
                return
            self._held = packet
            if seconds is not None and _start(packet) > seconds:
                return
            self._held = None
            self._copy(packet)

    def notes(self) -> list[str]:
        return [f"{count} {what}." for what, count in self._skipped.items()]

    def _copy(self, packet: "av.Packet[Any]") -> None:
        index = packet.stream.index
        if self.window and not self.window[0] <= _start(packet) < self.window[1]:
            return
        if packet.dts is None or packet.dts <= self._last.get(index, packet.dts - 1):
            self._skipped["packets of sound or subtitles with a time not after the last one's were left out"] += 1
            return
        self._last[index] = packet.dts
        ticks = round(self.shift / packet.time_base)
        packet.dts -= ticks
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.stream = self.streams[index]
        self.target.mux(packet)

    def _saw_damage(self, reason: str) -> None:
        self._skipped[f"damaged stretches of sound were left out ({reason})"] += 1


def _start(packet: "av.Packet[Any]") -> Fraction:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return Fraction(ticks or 0) * packet.time_base
