"""Packets and frames of an open container; damaged ones are skipped."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

GIVE_UP_AFTER = 50  # errors in a row


def packets_of(
    container: InputContainer,
    streams: Sequence[Any],
    on_damage: Callable[[str], None] = lambda reason: None,
) -> Iterator["av.Packet[Any]"]:
    """Packets of `streams` in file order; damaged ones are reported and skipped.

    The last packet of every stream is empty: decoding it flushes the decoder.
    """
    errors = 0
    while errors < GIVE_UP_AFTER:
        try:
            for packet in container.demux(*streams):
                errors = 0
                yield packet
        except av.FFmpegError as error:
            on_damage(str(error.strerror))
            errors += 1
        else:
            return


def frames_of(
    container: InputContainer,
    stream: VideoStream,
    on_damage: Callable[[str], None] = lambda reason: None,
) -> Generator[av.VideoFrame, None, None]:
    """Frames of `stream` in presentation order.

    Packets that cannot be decoded are reported and skipped.
    """
    for packet in packets_of(container, [stream], on_damage):
        yield from decode(packet, on_damage)


def decode(packet: "av.Packet[Any]", on_damage: Callable[[str], None]) -> list[av.VideoFrame]:
    """Frames that `packet` completes; none if it is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError as error:
        on_damage(str(error.strerror))
        return []


def reason_of(error: Exception) -> str:
    """FFmpeg's message of an error, without PyAV's additions."""
    return getattr(error, "strerror", None) or str(error)
