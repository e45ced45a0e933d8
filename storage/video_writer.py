"""The same video with edited frames: times, colours, rotation and every packet of sound as they were."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from storage.errors import UnwritableOutputError
from storage.video import VideoInfo, open_video
from storage.video_copies import PacketCopies, add_copies, kept_metadata
from storage.video_encoder import Encoder
from storage.video_index import Clip
from storage.video_output import FORMATS, appearing, check_output
from storage.video_segments import EditFrame, Segments

RESETS_CLOCK = 0x0200  # AVFMT_TS_DISCONT: the clock of MPEG-TS and MPEG-PS starts anywhere
MAX_TIMESCALE = 2**31 - 1  # of the mov muxer


@dataclass(frozen=True)
class EncodeOptions:
    revision: ClassVar[int] = 2

    codec: str = "libx264"  # as FFmpeg names the encoder
    crf: float = 16.0  # constant quality; 0 = lossless with 8 bits, higher = smaller
    preset: str = "medium"  # speed against size, as the encoder names it
    segment: int = 240  # frames encoded in one go; what a crash can lose

    def __post_init__(self) -> None:
        if self.codec not in av.codecs_available:
            raise ValueError(f"encode.codec {self.codec!r} is not built in; libx264, libx265 and ffv1 are.")
        if not 0 <= self.crf <= 63:
            raise ValueError(f"encode.crf must be in [0, 63], got {self.crf:g}")
        if self.segment < 1:
            raise ValueError(f"encode.segment must be at least 1 frame, got {self.segment}")


def write_video(  # noqa: PLR0913 - two of them are callbacks
    clip: Clip,
    output: Path,
    options: EncodeOptions,
    edit_frame: EditFrame = lambda number, frame: frame,
    on_frame: Callable[[int], None] = lambda number: None,
    *,
    scratch: Path | None = None,
) -> tuple[str, ...]:
    """Write the frames of `clip`, each through `edit_frame`; what could not be kept comes back, a sentence each.

    Frames keep pts and time base; if the clip is a range, its first frame is at 0 and the sound moves with it.
    The output appears at once and whole; if writing fails, what was there before stays.

    Pictures are encoded in segments of `options.segment` frames. Called again with the same `scratch` after a failure
    or a kill, it goes on with the first segment that is missing there, and the output is the same byte for byte; other
    codecs than `storage.video_segments.DIVISIBLE` begin anew.

    Args:
        on_frame: gets the number of each frame that was encoded in this call.
        scratch: a folder for the segments of this clip with this edit, which stays; None = they go when this ends.

    Raises:
        UnwritableOutputError: the output cannot be there, or cannot hold these streams.
    """
    check_output(clip.path, output)
    notes: list[str] = []
    encoder = Encoder(options.codec, _encoder_options(options), clip.info)
    with ExitStack() as stack:
        source = stack.enter_context(open_video(clip.path))
        part = stack.enter_context(appearing(output))
        folder = stack.enter_context(_folder(scratch, output))
        shift = _shift(clip, source)
        settings = {"fflags": "+bitexact"}  # or Matroska draws a number for every file
        if output.suffix.lower() != ".mkv":
            settings |= _mov_settings(clip, shift)
        name = FORMATS[output.suffix.lower()]
        target = stack.enter_context(av.open(str(part), "w", format=name, container_options=settings))
        video, copies = _add_streams(clip, (source, target), output, encoder, notes)
        sound = PacketCopies(source, target, copies, _window(clip), shift)

        offset = round(shift / clip.info.tick)
        header = video.codec_context.extradata
        segments = Segments(folder, clip, encoder, header, offset, options.segment)
        segments.encode(edit_frame, on_frame)
        for packet in segments.packets():
            decoded_at = (packet.dts or 0) + offset  # before muxing, which counts it in the file's own ticks
            packet.stream = video
            target.mux(packet)
            sound.until(decoded_at * clip.info.tick)
        sound.until(None)
        notes += sound.notes()
    return tuple(notes)


@contextmanager
def _folder(scratch: Path | None, output: Path) -> Iterator[Path]:
    if scratch is not None:
        yield scratch
        return
    with TemporaryDirectory(prefix=f".{output.stem}.", dir=output.parent) as folder:
        yield Path(folder)


def _encoder_options(options: EncodeOptions) -> dict[str, str]:
    return {"crf": f"{options.crf:g}", "preset": options.preset, "x265-params": "log-level=error"}


def _add_streams(
    clip: Clip,
    containers: tuple[InputContainer, OutputContainer],
    output: Path,
    encoder: Encoder,
    notes: list[str],
) -> tuple[VideoStream, dict[int, Any]]:
    source, target = containers
    video = _add_video(containers, output, encoder)
    copies = add_copies(source, target, output.name, notes)
    target.metadata.update(kept_metadata(source.metadata))
    if not clip.index.partial:
        target.set_chapters(source.chapters())
    try:
        target.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise UnwritableOutputError(
            f"{output.name}: {encoder.codec} and the source's sound do not go into this kind of file ({error}). "
            "Write a .mkv, or change encode.codec, encode.preset or encode.crf."
        ) from error
    notes += _not_kept(clip.info, video, source, output)
    return video, copies


def _add_video(containers: tuple[InputContainer, OutputContainer], output: Path, encoder: Encoder) -> VideoStream:
    """The stream of the pictures. Its own encoder only writes the header: that of a segment does the work."""
    source, target = containers
    info = encoder.info
    try:
        video: Any = target.add_stream(encoder.codec, rate=info.rate, width=info.width, height=info.height)
    except ValueError as error:
        raise UnwritableOutputError(f"{output.name}: cannot hold {encoder.codec}. Write a .mkv.") from error
    assert isinstance(video, VideoStream)
    encoder.configure(video.codec_context)
    video.time_base = info.tick
    if encoder.codec == "libx265" and output.suffix.lower() != ".mkv":
        video.codec_context.codec_tag = "hvc1"  # QuickTime plays no other
    if info.display_matrix:
        video.set_display_matrix(info.display_matrix)
    video.metadata.update(kept_metadata(source.streams[info.video_stream].metadata))
    return video


def _shift(clip: Clip, source: InputContainer) -> Fraction:
    """Seconds that all times move towards 0."""
    if clip.index.partial:
        return int(clip.index.pts[0]) * clip.info.tick
    if not source.format.flags & RESETS_CLOCK:
        return Fraction(0)
    starts = [s.start_pts * Fraction(*s.time_base) for s in clip.info.streams if s.start_pts is not None]
    first = int(clip.index.pts[0]) * clip.info.tick
    return round(min([first, *starts]) / clip.info.tick) * clip.info.tick


def _window(clip: Clip) -> tuple[Fraction, Fraction] | None:
    pts, tick = clip.index.pts, clip.info.tick
    end = int(pts[-1]) + int(clip.index.durations[-1])
    return (int(pts[0]) * tick, end * tick) if clip.index.partial else None


def _mov_settings(clip: Clip, shift: Fraction) -> dict[str, str]:
    """Options of the mov and mp4 muxer: its default clocks would round our times."""
    settings = {"movflags": "+faststart", "video_track_timescale": str(clip.info.tick.denominator)}
    clocks = [clip.info.tick] + [Fraction(*s.time_base) for s in clip.info.streams if s.type == "audio"]
    starts = [Fraction(*s.time_base) * (s.start_pts or 0) for s in clip.info.streams]
    late = clip.index.partial or any(start > shift for start in starts)
    common = lcm(*(clock.denominator for clock in clocks))
    if late and common <= MAX_TIMESCALE:  # a late start is written in the clock of the movie
        settings["movie_timescale"] = str(common)
    return settings


def _not_kept(info: VideoInfo, video: VideoStream, source: InputContainer, output: Path) -> list[str]:
    notes = []
    encoded = video.codec_context.pix_fmt
    if encoded != info.pixel_format:
        reason = f"the nearest that {video.codec_context.name} encodes at {info.width}x{info.height}"
        notes.append(f"The pixel format {info.pixel_format} became {encoded}, {reason}.")
    if info.interlaced and video.codec_context.name != "libx264":
        notes.append(f"The video is interlaced; {video.codec_context.name} encodes it as progressive. Use libx264.")
    if output.suffix.lower() == ".mkv" and (info.tick * 1000).denominator != 1:
        notes.append(
            f"Matroska counts in 1 ms and from 0, the source in {info.tick} s: times are rounded, and all move later "
            "together by what the sound starts before 0."
        )
    others = [s for s in source.streams if s.type not in ("audio", "subtitle") and s.index != info.video_stream]
    notes += [f"Stream {s.index} ({s.type}) was left out: one picture, sound and subtitles are kept." for s in others]
    return notes
