"""Creation of a result's container: format, streams and header."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from storage.errors import UnwritableOutputError
from storage.files import ffmpeg_name
from storage.video.encoder import VideoEncoder
from storage.video.info import VideoInfo
from storage.video.output import FORMATS
from storage.video.packets import reason_of
from storage.video.span import Span
from storage.video.streams import add_copies, kept_metadata, kind_of

ALPHA_TAG = "alpha_mode"  # of Matroska
MAX_TIMESCALE = 2**31 - 1  # of the mov muxer


@dataclass(frozen=True)
class Result:
    """An output container whose header is written, and its streams."""

    container: OutputContainer
    video: VideoStream
    copies: dict[int, Stream]  # by stream index in the source


@contextmanager
def open_result(
    file: Path | IO[bytes], output: str, encoder: VideoEncoder, source: InputContainer, span: Span
) -> Iterator[Result]:
    """Write the header of a result of `source` to `file`.

    Leaving the context writes the trailer.

    Args:
        output: name of the result; its suffix selects the format, and errors name it.

    Raises:
        UnwritableOutputError: the encoder rejects its options, or the format cannot hold the streams.
    """
    suffix = Path(output).suffix.lower()
    settings = {"fflags": "+bitexact"}  # else Matroska writes a random number into every file
    if suffix == ".mkv":
        settings |= _matroska_settings(source)
    else:
        settings |= _mov_settings(encoder.info, source, span, isinstance(file, Path))
    target = ffmpeg_name(file) if isinstance(file, Path) else file
    with av.open(target, "w", format=FORMATS[suffix], container_options=settings) as container:
        video = _add_video((source, container), output, encoder)
        video.metadata.update(span.tags(_video_tags(source, encoder), encoder.info))
        encoder.start(video.codec_context)
        copies = add_copies(source, container, encoder.info, output)
        container.metadata.update(span.tags(kept_metadata(source.metadata), encoder.info))
        container.set_chapters(span.chapters(source))
        _write_header(container, output, encoder)
        yield Result(container, video, copies)


def _write_header(container: OutputContainer, output: str, encoder: VideoEncoder) -> None:
    try:
        container.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # of the disk
            raise
        raise UnwritableOutputError(
            f"{output}: {encoder.codec} and the source's sound do not go into this kind of file ({reason_of(error)}). "
            "Write a .mkv, or change encode.codec."
        ) from error


def _matroska_settings(source: InputContainer) -> dict[str, str]:
    has_default = any(stream.disposition & Disposition.default for stream in source.streams)
    # without it, the muxer flags the first stream of each kind as default
    return {"default_mode": "passthrough"} if has_default else {}


def _mov_settings(info: VideoInfo, source: InputContainer, span: Span, has_name: bool) -> dict[str, str]:
    """Options of the mov and mp4 muxer, whose default time scales would round our times."""
    flags = ["faststart"] if has_name else []  # it reopens the file by its name
    if any("." in key for key in source.metadata):  # com.apple.quicktime.make: only kept in this set of tags
        flags.append("use_metadata_tags")
    settings = {"movflags": "".join(f"+{flag}" for flag in flags)} if flags else {}
    settings["video_track_timescale"] = str(info.tick.denominator)
    clocks = [info.tick] + [Fraction(*s.time_base) for s in info.streams if s.type == "audio"]
    starts = [Fraction(*s.time_base) * (s.start_pts or 0) for s in info.streams]
    late = span.window is not None or any(start > span.shift for start in starts)
    common = lcm(*(clock.denominator for clock in clocks))
    if late and common <= MAX_TIMESCALE:  # a late start is written in the movie's time scale
        settings["movie_timescale"] = str(common)
    return settings


def _add_video(containers: tuple[InputContainer, OutputContainer], output: str, encoder: VideoEncoder) -> VideoStream:
    """Add the video stream.

    Its encoder only writes the header; the encoders of the segments encode the frames.
    """
    source, target = containers
    info = encoder.info
    try:
        video: Any = target.add_stream(encoder.codec, rate=info.rate, width=info.width, height=info.height)
    except ValueError as error:
        raise UnwritableOutputError(f"{output}: cannot hold {encoder.codec}. Write a .mkv.") from error
    if not isinstance(video, VideoStream):
        raise UnwritableOutputError(f"{output}: encode.codec={encoder.codec} encodes no video. Use libx264.")
    encoder.configure(video.codec_context)
    video.time_base = info.tick
    if encoder.codec == "libx265" and Path(output).suffix.lower() != ".mkv":
        video.codec_context.codec_tag = "hvc1"  # required by QuickTime
    if info.display_matrix:
        video.set_display_matrix(info.display_matrix)
    video.disposition = source.streams[info.video_stream].disposition
    return video


def _video_tags(source: InputContainer, encoder: VideoEncoder) -> dict[str, str]:
    tags = kept_metadata(source.streams[encoder.info.video_stream].metadata)
    tags = {key: value for key, value in tags.items() if key.lower() != ALPHA_TAG}
    pixel_format = av.VideoFormat(encoder.pixel_format, 64, 64)
    if encoder.codec.startswith("libvpx") and any(component.is_alpha for component in pixel_format.components):
        tags[ALPHA_TAG] = "1"  # else decoders ignore the alpha
    for stream in source.streams:
        if kind_of(stream) == "timecode":  # the muxer writes the track from the tag
            tags.setdefault("timecode", stream.metadata["timecode"])
    return tags
