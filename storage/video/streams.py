"""The source's streams other than the edited video: adding them to a result."""

import io
import mimetypes
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, DataStream, Disposition, Stream

from storage.errors import UnwritableOutputError
from storage.video.info import VideoInfo

OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "DURATION"}
# Statistics that mkvmerge and HandBrake write, which are wrong for a result.
COUNTS = ("BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "DURATION", "_STATISTICS_")
HOSTS = {"audio": "pcm_s16le", "subtitle": "ass", "data": "bin_data"}  # initial codec, replaced by the copied one
LOSSLESS = {"matroska": "flac", "mp4": "alac", "mov": "alac"}  # by muxer; widely supported by players
COVER_SUFFIXES = {"mjpeg": ".jpg", "png": ".png", "bmp": ".bmp", "gif": ".gif", "webp": ".webp", "tiff": ".tif"}


def kind_of(stream: Stream) -> str:
    """FFmpeg's type of a stream, or `cover`, `timecode` or `chapters`."""
    if stream.type == "video" and stream.disposition & Disposition.attached_pic:
        return "cover"
    if stream.type == "data" and stream.codec_context is None:
        if "timecode" in stream.metadata:
            return "timecode"
        if stream.discard == av.stream.Discard.all:  # set by the mov demuxer
            return "chapters"
    return stream.type


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the codec, even without a decoder for it."""
    if stream.codec_context is not None:
        return str(stream.codec_context.codec.canonical_name)
    return (stream.name if isinstance(stream, DataStream) else None) or "unknown"


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata that describes the content, not the file."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in {name.lower() for name in OF_THE_FILE} and not key.startswith(COUNTS)
    }


def add_copies(source: InputContainer, target: OutputContainer, info: VideoInfo, output: str) -> dict[int, Stream]:
    """Add streams to `target` for all streams of `source` that it can hold, except the video.

    Returns the new streams by stream index in the source. The muxer itself writes a timecode track (from the tag) and
    chapters. Sound that no output format can hold gets a stream with a lossless encoder.

    Raises:
        UnwritableOutputError: this format cannot hold the sound, but another can.
    """
    streams: dict[int, Stream] = {}
    for stream in source.streams:
        kind = kind_of(stream)
        if stream.index == info.video_stream or kind in ("video", "timecode", "chapters"):
            continue
        if holds(target.format.name, stream):
            streams[stream.index] = _added(target, stream)
        elif kind == "audio" and target.format.name != "matroska" and holds("matroska", stream):
            raise UnwritableOutputError(
                f"{output}: cannot hold {codec_of(stream)} sound (stream {stream.index}). Write a .mkv, which can."
            )
        elif isinstance(stream, AudioStream) and stream.codec_context is not None:
            streams[stream.index] = _lossless(target, stream)
    return streams


def is_encoded(copy: Stream) -> bool:
    """True if a stream of a result is encoded sound in another codec, not a copy of packets."""
    return copy.codec_context is not None and copy.codec_context.is_encoder


def _lossless(target: OutputContainer, stream: AudioStream) -> Stream:
    """Add a stream with a lossless encoder for the sound of `stream`, which no output format can hold."""
    copy: Any = target.add_stream(LOSSLESS[target.format.name], rate=stream.codec_context.sample_rate)
    assert isinstance(copy, AudioStream)
    copy.codec_context.layout = stream.codec_context.layout
    copy.metadata.update(kept_metadata(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def holds(container: str, stream: Stream) -> bool:
    """True if FFmpeg's muxer `container` accepts `stream`; tried with a file in memory."""
    content = io.BytesIO()
    try:
        with av.open(content, "w", format=container) as trial:
            copy = _added(trial, stream)
            trial.start_encoding()
            if isinstance(stream, DataStream):
                trial.mux(_any_packet(copy))
    except (ValueError, av.FFmpegError):
        return False
    return not isinstance(stream, DataStream) or _reads_back(content, stream)


def _any_packet(copy: Stream) -> "av.Packet[Any]":
    packet: av.Packet[Any] = av.Packet(bytes(16))
    packet.pts = packet.dts = 0
    packet.duration, packet.time_base, packet.stream = 1, copy.time_base or Fraction(1, 1000), copy
    return packet


def _reads_back(content: io.BytesIO, stream: Stream) -> bool:
    """True if the written `stream` can be read: muxers accept data that no demuxer recognises."""
    content.seek(0)
    with av.open(content, "r") as container:
        return [codec_of(found) for found in container.streams] == [codec_of(stream)]


def _added(target: OutputContainer, stream: Stream) -> Stream:
    """Add a stream like `stream` to `target`.

    Raises:
        ValueError: the muxer does not accept it; `av.FFmpegError` means the same.
    """
    if isinstance(stream, AttachmentStream):
        name = stream.name or f"attachment_{stream.index}"
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        copy: Stream = target.add_attachment(name, stream.mimetype or guessed, stream.data)
    elif kind_of(stream) == "cover" and target.format.name == "matroska":  # which stores it as an attachment
        suffix = COVER_SUFFIXES.get(codec_of(stream), "")
        name = stream.metadata.get("filename", f"cover{suffix}")
        copy = target.add_attachment(name, mimetypes.guess_type(name)[0] or "image/jpeg", _cover(stream))
        copy.metadata.update(kept_metadata(stream.metadata))
        return copy
    else:
        copy = _packet_stream(target, stream)
    copy.metadata.update(kept_metadata(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _cover(stream: Stream) -> bytes:
    """Image of a cover, which demuxers return as a packet."""
    with av.open(stream.container.name) as container:
        packets = container.demux(container.streams[stream.index])
        return next((bytes(packet) for packet in packets if packet.size), b"")


def _packet_stream(target: OutputContainer, stream: Stream) -> Stream:
    try:
        return target.add_stream_from_template(stream, opaque=True)
    except ValueError:
        # PyAV only accepts codecs that are standard in the format. Matroska's muxer and demuxers accept more (WMA).
        if stream.type not in HOSTS or target.format.name != "matroska":
            raise
    copy = target.add_mux_stream(HOSTS[stream.type])
    BitStreamFilterContext("null", stream, copy)
    copy.time_base = stream.time_base
    return copy


def has_packets(stream: Stream) -> bool:
    """True unless `stream` is only an entry in the header."""
    return not isinstance(stream, AttachmentStream)
