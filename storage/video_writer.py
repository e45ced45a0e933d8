"""The same video with edited frames: times, colours, rotation and every packet of sound as they were."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any, ClassVar

import av
from av.codec import Codec
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from storage.errors import UnwritableOutputError
from storage.video import FULL_RANGE, VideoInfo, is_full_range, is_rgb, open_video
from storage.video_copies import PacketCopies, add_copies, kept_metadata
from storage.video_index import Clip, read_frames
from storage.video_output import FORMATS, appearing, check_output
from storage.video_planes import chroma_block, convert

WHOLE_BLOCKS_ONLY = {"libx264", "libx265", "libsvtav1"}  # take no odd width with 4:2:0
RESETS_CLOCK = 0x0200  # AVFMT_TS_DISCONT: the clock of MPEG-TS and MPEG-PS starts anywhere
MAX_TIMESCALE = 2**31 - 1  # of the mov muxer
LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG

EditFrame = Callable[[int, av.VideoFrame], av.VideoFrame]


@dataclass(frozen=True)
class EncodeOptions:
    revision: ClassVar[int] = 1

    codec: str = "libx264"  # as FFmpeg names the encoder
    crf: float = 16.0  # constant quality; 0 = lossless with 8 bits, higher = smaller
    preset: str = "medium"  # speed against size, as the encoder names it

    def __post_init__(self) -> None:
        if self.codec not in av.codecs_available:
            raise ValueError(f"encode.codec {self.codec!r} is not built in; libx264, libx265 and ffv1 are.")
        if not 0 <= self.crf <= 63:
            raise ValueError(f"encode.crf must be in [0, 63], got {self.crf:g}")


def write_video(
    clip: Clip,
    output: Path,
    options: EncodeOptions,
    edit_frame: EditFrame = lambda number, frame: frame,
    on_frame: Callable[[int], None] = lambda number: None,
) -> tuple[str, ...]:
    """Write the frames of `clip`, each through `edit_frame`; what could not be kept comes back, a sentence each.

    Frames keep pts and time base; if the clip is a range, its first frame is at 0 and the sound moves with it.
    The output appears at once and whole; if writing fails, what was there before stays.

    Raises:
        UnwritableOutputError: the output cannot be there, or cannot hold these streams.
    """
    check_output(clip.path, output)
    notes: list[str] = []
    with ExitStack() as stack:
        source = stack.enter_context(open_video(clip.path))
        part = stack.enter_context(appearing(output))
        shift = _shift(clip, source)
        settings = _mov_settings(clip, shift) if output.suffix.lower() != ".mkv" else {}
        name = FORMATS[output.suffix.lower()]
        target = stack.enter_context(av.open(str(part), "w", format=name, container_options=settings))
        video, copies = _add_streams(clip, (source, target), output, options, notes)
        sound = PacketCopies(source, target, copies, _window(clip), shift)

        offset = round(shift / clip.info.tick)
        for number, frame in read_frames(clip):
            edited = _encodable(edit_frame(number, frame), clip.info, video)
            edited.pts, edited.duration = int(clip.index.pts[number]) - offset, int(clip.index.durations[number])
            edited.time_base = clip.info.tick
            target.mux(video.encode(edited))
            sound.until(int(clip.index.pts[number]) * clip.info.tick)
            on_frame(number)
        target.mux(video.encode(None))
        sound.until(None)
        notes += sound.notes()
    return tuple(notes)


def encoding_format(info: VideoInfo, codec: str) -> str:
    """The pixel format of `codec` that loses least: chroma detail first, then depth, then bytes wasted."""
    names = [pixel_format.name for pixel_format in Codec(codec, "w").video_formats or ()]
    fitting = [name for name in names if _fits(name, info, codec)] or names
    if info.pixel_format in fitting or not names:
        return info.pixel_format
    own = _traits(info.pixel_format, info)

    def loss(name: str) -> tuple[int, ...]:
        components, across, down, bits, full = _traits(name, info)
        return (
            max(0, own[0] - components),
            max(0, across - own[1]) + max(0, down - own[2]),
            max(0, own[3] - bits),
            full != own[4],
            abs(own[0] - components) + abs(across - own[1]) + abs(down - own[2]) + abs(bits - own[3]),
        )

    return min(fitting, key=loss)


def _fits(name: str, info: VideoInfo, codec: str) -> bool:
    across, down = chroma_block(av.VideoFormat(name, 64, 64))
    whole = info.width % across == 0 and info.height % down == 0
    return whole or codec not in WHOLE_BLOCKS_ONLY


def _traits(name: str, info: VideoInfo) -> tuple[int, int, int, int, bool]:
    pixel_format = av.VideoFormat(name, 64, 64)
    colors = 3 if pixel_format.has_palette else sum(not component.is_alpha for component in pixel_format.components)
    bits = 8 if pixel_format.has_palette else pixel_format.components[0].bits
    full = is_full_range(pixel_format, info)
    return colors, *chroma_block(pixel_format), bits, full or is_rgb(av.VideoFormat(info.pixel_format, 64, 64))


def _add_streams(
    clip: Clip,
    containers: tuple[InputContainer, OutputContainer],
    output: Path,
    options: EncodeOptions,
    notes: list[str],
) -> tuple[VideoStream, dict[int, Any]]:
    source, target = containers
    video = _add_video(clip, containers, output, options)
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
            f"{output.name}: {options.codec} and the source's sound do not go into this kind of file ({error}). "
            "Write a .mkv, or change encode.codec, encode.preset or encode.crf."
        ) from error
    notes += _not_kept(clip.info, video, source, output)
    return video, copies


def _add_video(
    clip: Clip, containers: tuple[InputContainer, OutputContainer], output: Path, options: EncodeOptions
) -> VideoStream:
    source, target = containers
    info = clip.info
    try:
        video: Any = target.add_stream(options.codec, rate=info.rate, width=info.width, height=info.height)
    except ValueError as error:
        raise UnwritableOutputError(f"{output.name}: cannot hold {options.codec}. Write a .mkv.") from error
    assert isinstance(video, VideoStream)
    context = video.codec_context
    context.pix_fmt = encoding_format(info, options.codec)
    video.time_base = context.time_base = info.tick
    context.flags |= Flags.frame_duration
    if info.sample_aspect:
        context.sample_aspect_ratio = Fraction(*info.sample_aspect)
    if info.interlaced:
        context.flags |= Flags.interlaced_dct
        context.field_order = info.field_order
    _tag_colors(video, info)
    known = {option.name for option in context.supported_options.private}
    wanted = {"crf": f"{options.crf:g}", "preset": options.preset, "x265-params": "log-level=error"}
    context.options = {name: value for name, value in wanted.items() if name in known}
    if options.codec == "libx265" and output.suffix.lower() != ".mkv":
        context.codec_tag = "hvc1"  # QuickTime plays no other
    if info.display_matrix:
        video.set_display_matrix(info.display_matrix)
    video.metadata.update(kept_metadata(source.streams[info.video_stream].metadata))
    return video


def _tag_colors(video: VideoStream, info: VideoInfo) -> None:
    """The source's tags; untagged stays untagged, because the samples are the source's too."""
    context = video.codec_context
    assert context.pix_fmt is not None
    encoded = av.VideoFormat(context.pix_fmt, 64, 64)
    context.color_primaries, context.color_trc = info.color_primaries, info.color_transfer
    context.colorspace, context.color_range = info.color_matrix, info.color_range
    if is_rgb(av.VideoFormat(info.pixel_format, 64, 64)) and not is_rgb(encoded):
        context.colorspace = 1 if info.matrix.swscale == 1 else 6  # the samples were made with this one
        context.color_range = LIMITED_RANGE
    if is_full_range(encoded, info):  # also gray, which decoders give back as luma of a limited picture
        context.color_range = FULL_RANGE


def _encodable(frame: av.VideoFrame, info: VideoInfo, video: VideoStream) -> av.VideoFrame:
    encoded = video.codec_context.pix_fmt
    if encoded is not None and frame.format.name != encoded:
        frame = convert(frame, info, encoded)
    frame.pict_type = PictureType.NONE  # or x264 repeats the source's choice of keyframes
    return frame


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
