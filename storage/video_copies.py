"""Sound and subtitles of the source, copied packet by packet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from storage.errors import UnwritableOutputError
from storage.video_packets import packets_of

OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER", "DURATION"}


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
        if not self.streams:
            return
        if self._waiting is None:
            chosen = [self.source.streams[index] for index in self.streams]
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


def add_copies(source: InputContainer, target: OutputContainer, output: str, notes: list[str]) -> dict[int, Stream]:
    """Streams of `target` for all sound and subtitles of `source`, by index there; others are told in `notes`.

    Raises:
        UnwritableOutputError: this kind of file cannot hold the sound.
    """
    streams: dict[int, Stream] = {}
    for stream in source.streams:
        if stream.type not in ("audio", "subtitle"):
            continue
        name = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        try:
            copy = target.add_stream_from_template(stream)
        except (ValueError, av.FFmpegError) as error:
            if stream.type == "audio":
                raise UnwritableOutputError(f"{output}: cannot hold {name} sound. Write a .mkv, which can.") from error
            notes.append(f"Subtitles (stream {stream.index}, {name}) were left out: {output} cannot hold them.")
            continue
        copy.metadata.update(kept_metadata(stream.metadata))
        copy.disposition = stream.disposition
        streams[stream.index] = copy
    return streams


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """What is about the content, not about the file it was in."""
    return {key: value for key, value in metadata.items() if key not in OF_THE_FILE}


def _start(packet: "av.Packet[Any]") -> Fraction:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return Fraction(ticks or 0) * packet.time_base
