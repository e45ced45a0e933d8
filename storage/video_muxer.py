"""The file of a result before its first packet: its format, its streams and their headers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from storage.errors import UnwritableOutputError
from storage.video import VideoInfo
from storage.video_encoder import Encoder
from storage.video_output import FORMATS
from storage.video_packets import reason_of
from storage.video_streams import add_copies, kept_metadata

RESETS_CLOCK = 0x0200  # AVFMT_TS_DISCONT: the clock of MPEG-TS and MPEG-PS starts anywhere
MAX_TIMESCALE = 2**31 - 1  # of the mov muxer


@dataclass(frozen=True)
class Span:
    """Where the times of a result lie in its source, in seconds."""

    shift: Fraction  # taken from every time
    window: tuple[Fraction, Fraction] | None = None  # the part of the source that is kept; None = all

    @classmethod
    def of(cls, info: VideoInfo, source: InputContainer, first_pts: int, stop_pts: int | None) -> "Span":
        """The span of a result that starts with the frame at `first_pts`.

        Args:
            stop_pts: end of the last frame where only a range is kept, else None.
        """
        first = first_pts * info.tick
        if stop_pts is not None:
            return cls(first, (first, stop_pts * info.tick))
        if not source.format.flags & RESETS_CLOCK:
            return cls(Fraction(0))
        starts = [s.start_pts * Fraction(*s.time_base) for s in info.streams if s.start_pts is not None]
        return cls(round(min([first, *starts]) / info.tick) * info.tick)


@dataclass(frozen=True)
class Result:
    """An output container whose header is written, and its streams."""

    container: OutputContainer
    video: VideoStream
    copies: dict[int, Stream]  # by stream index in the source


@contextmanager
def open_result(
    file: Path | IO[bytes], output: str, encoder: Encoder, source: InputContainer, span: Span
) -> Iterator[Result]:
    """Write the header of a result of `source` into `file`; leaving the context writes the end.

    Args:
        output: name of the result, which says the kind of file; errors name it.

    Raises:
        UnwritableOutputError: the encoder refuses its options, or this kind of file cannot hold the streams.
    """
    suffix = Path(output).suffix.lower()
    settings = _settings(suffix, encoder.info, span)
    target = str(file) if isinstance(file, Path) else file
    if isinstance(file, Path) and suffix != ".mkv":
        settings["movflags"] = "+faststart"  # which opens the file once more by its name
    with av.open(target, "w", format=FORMATS[suffix], container_options=settings) as container:
        video = _add_video((source, container), output, encoder)
        encoder.start(video.codec_context)
        copies = add_copies(source, container, encoder.info, output)
        container.metadata.update(kept_metadata(source.metadata))
        if span.window is None:
            container.set_chapters(source.chapters())
        _write_header(container, output, encoder)
        yield Result(container, video, copies)


def _write_header(container: OutputContainer, output: str, encoder: Encoder) -> None:
    try:
        container.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):  # of the disk
            raise
        raise UnwritableOutputError(
            f"{output}: {encoder.codec} and the source's sound do not go into this kind of file ({reason_of(error)}). "
            "Write a .mkv, or change encode.codec."
        ) from error


def _settings(suffix: str, info: VideoInfo, span: Span) -> dict[str, str]:
    """Options of the muxer."""
    settings = {"fflags": "+bitexact"}  # or Matroska draws a number for every file
    if suffix == ".mkv":
        return settings | {"default_mode": "passthrough"}  # or the first stream of each kind is flagged as default
    settings["video_track_timescale"] = str(info.tick.denominator)
    clocks = [info.tick] + [Fraction(*s.time_base) for s in info.streams if s.type == "audio"]
    starts = [Fraction(*s.time_base) * (s.start_pts or 0) for s in info.streams]
    late = span.window is not None or any(start > span.shift for start in starts)
    common = lcm(*(clock.denominator for clock in clocks))
    if late and common <= MAX_TIMESCALE:  # a late start is written in the clock of the movie
        settings["movie_timescale"] = str(common)
    return settings


def _add_video(containers: tuple[InputContainer, OutputContainer], output: str, encoder: Encoder) -> VideoStream:
    """The stream of the images. Its own encoder only writes the header: that of a segment does the work."""
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
        video.codec_context.codec_tag = "hvc1"  # QuickTime plays no other
    if info.display_matrix:
        video.set_display_matrix(info.display_matrix)
    own = source.streams[info.video_stream]
    video.disposition = own.disposition
    video.metadata.update(kept_metadata(own.metadata))
    return video
