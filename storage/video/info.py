"""Properties of a video file, and conversion of its frames to RGB.

Coordinates are coded pixels everywhere: the image as decoded, before the container's display matrix is applied and with
pixels that need not be square. Networks and people see its `view` (storage/video/view.py).
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from storage.errors import UnreadableVideoError
from storage.files import ffmpeg_name
from storage.video.packets import frames_of
from storage.video.source import reading_options, refuse_playlist
from storage.video.tone import tone_map
from storage.video.view import MAX_ASPECT, Orientation, View, read_display_matrix

# Without the last two, swscale rounds every pixel down: 1.3 levels too dark on average.
CONVERSION = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

UNSPECIFIED = 2  # primaries, transfer and matrix as FFmpeg numbers them (ITU-T H.273)
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
LIMITED_WHITE, FULL_WHITE = 65280, 65535  # in swscale's 16-bit RGB, from samples in limited and full range
NO_TIMESTAMPS = 0x0080  # AVFMT_NOTIMESTAMPS
TAG_ERRORS = "stitchedit.latin-1"  # error handler for tags that are not UTF-8
CLOCK = re.compile(r"([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]+)?)")  # 00:00:02.776000000


@dataclass(frozen=True)
class StreamInfo:
    index: int
    type: str  # video, audio, subtitle, data, attachment
    codec: str
    time_base: tuple[int, int]  # seconds, as a fraction; (0, 1) = none
    start_pts: int | None


@dataclass(frozen=True)
class VideoInfo:
    """Properties from the container and from the first decoded frame."""

    container: str  # mp4, mov, matroska, webm, or FFmpeg's name
    codec: str
    profile: str | None
    width: int  # coded, before rotation
    height: int
    pixel_format: str
    time_base: tuple[int, int]  # seconds, as a fraction
    average_rate: tuple[int, int] | None  # frames per second, as a fraction
    display_matrix: tuple[int, ...] | None  # 9 numbers, FFmpeg's layout; None = as coded
    sample_aspect: tuple[int, int] | None  # width : height of one pixel
    color_primaries: int  # these four as FFmpeg numbers them
    color_transfer: int
    color_matrix: int
    color_range: int
    field_order: int  # as FFmpeg numbers it; 0 = unknown, 1 = progressive
    interlaced: bool
    duration: float | None  # seconds, of the video stream where known, else of the file
    declared_frames: int | None
    start_pts: int | None
    video_stream: int  # index of the selected stream
    streams: tuple[StreamInfo, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "VideoInfo":
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
        streams = [StreamInfo(**{**s, "time_base": tuple(s["time_base"])}) for s in fields.pop("streams")]
        return cls(**fields, streams=tuple(streams))

    @property
    def tick(self) -> Fraction:
        """Seconds per unit of pts."""
        return Fraction(*self.time_base)

    @property
    def view(self) -> View:
        """Map between coded pixels and the view."""
        return View(self.width, self.height, Orientation.nearest(self.display_matrix), self.sample_aspect)

    @property
    def rate(self) -> Fraction:
        """Average frames per second; 25 if the container does not state it."""
        return Fraction(*self.average_rate) if self.average_rate else Fraction(25)

    @property
    def matrix(self) -> "Matrix":
        """The matrix to decode with: untagged HD is BT.709, untagged SD is BT.601."""
        return MATRICES.get(self.color_matrix) or MATRICES[1 if self.height >= 720 else 6]


@dataclass(frozen=True)
class Matrix:
    swscale: int  # its SWS_CS number
    kr: float  # weight of red in luma
    kb: float  # weight of blue


MATRICES = {  # by AVColorSpace; ITU-T H.273 table 4
    1: Matrix(1, 0.2126, 0.0722),  # BT.709
    4: Matrix(4, 0.30, 0.11),  # FCC
    5: Matrix(5, 0.299, 0.114),  # BT.601, 625 lines
    6: Matrix(5, 0.299, 0.114),  # BT.601, 525 lines
    7: Matrix(7, 0.212, 0.087),  # SMPTE 240M
    9: Matrix(9, 0.2627, 0.0593),  # BT.2020
    10: Matrix(9, 0.2627, 0.0593),  # BT.2020 constant luminance, which swscale treats as 9
}


def probe(path: Path) -> VideoInfo:
    """Read the properties of the video at `path`.

    Decodes one frame, which alone has the display matrix.

    Raises:
        UnreadableVideoError: not a video, no frame can be decoded, or its pixels are too far from square.
    """
    with open_video(path) as container:
        stream = _used_stream(container, path)
        info = _stated(container, stream, path)
        frame = next(frames_of(container, stream), None)
        if frame is None:
            raise UnreadableVideoError(
                f"{path.name}: the {info.codec} stream has no frame that can be decoded. The file is empty or "
                "damaged: export it again, or repair it with `ffmpeg -i IN -c copy OUT`."
            )
        seen = _seen(info, frame)
        _check_aspect(seen, path)
        return seen


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open the container of `path`.

    Raises:
        UnreadableVideoError: there is no such file, or FFmpeg does not recognise it as a video.
    """
    if not path.is_file():
        raise UnreadableVideoError(f"{path}: no such file. Check the name and the folder.")
    refuse_playlist(path)
    try:
        codecs.register_error(TAG_ERRORS, _as_latin_1)
        container = av.open(ffmpeg_name(path), options=reading_options(), metadata_errors=TAG_ERRORS)
    except PermissionError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideoError(
            f"{path.name}: cannot be opened ({_reason(error)}; {path.stat().st_size} bytes). It is not a video, or it "
            "was cut off before its index was written: copy or export it again."
        ) from error
    with container:
        yield container


def video_stream(container: InputContainer, info: VideoInfo) -> VideoStream:
    """The stream that `info` describes, with multithreaded decoding."""
    stream = container.streams[info.video_stream]
    assert isinstance(stream, VideoStream)
    stream.thread_type = ThreadType.AUTO
    return stream


def rgb(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    """Convert a frame to uint8 `height width rgb`, coded orientation.

    PQ and HLG are tone-mapped.
    """
    full, tone = is_full_range(frame.format, info), tone_map(info.color_transfer, info.color_primaries)
    converted = frame.reformat(
        format="gbrp16le" if tone else "rgb24",  # its rgb48le of 4:2:0 is wrong by up to 250 levels
        src_colorspace=info.matrix.swscale,
        dst_colorspace=info.matrix.swscale,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=CONVERSION,
    ).to_ndarray()
    if tone:
        shown = tone.to_display(converted * np.float32(255 / (FULL_WHITE if full else LIMITED_WHITE)))
        converted = np.rint(shown, out=shown).clip(0, 255)
    return np.ascontiguousarray(converted, dtype=np.uint8)


def is_full_range(pixel_format: av.VideoFormat, info: VideoInfo) -> bool:
    """True if black is code 0.

    FFmpeg treats gray and RGB as full range whatever the tag says.
    """
    is_gray = sum(not component.is_alpha for component in pixel_format.components) == 1
    is_always_full = is_gray or is_rgb(pixel_format) or pixel_format.name.startswith("yuvj")
    return is_always_full or info.color_range == FULL_RANGE


def is_rgb(pixel_format: av.VideoFormat) -> bool:
    """True for RGB formats, including bgra and palettes, for which PyAV's `is_rgb` is False."""
    return pixel_format.has_palette or not pixel_format.components[0].is_luma


def _used_stream(container: InputContainer, path: Path) -> VideoStream:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    decodable = [s for s in videos if s.codec_context is not None]
    if not decodable:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
        raise UnreadableVideoError(
            f"{path.name}: no video stream that can be decoded (streams: {kinds}). Give a video file."
        )
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in decodable else decodable[0]


def _stated(container: InputContainer, stream: VideoStream, path: Path) -> VideoInfo:
    """Properties from the container alone, before the first frame is decoded."""
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    return VideoInfo(
        container=_container_name(container, path),
        codec=context.codec.canonical_name,
        profile=context.profile,
        width=context.width,
        height=context.height,
        pixel_format=context.pix_fmt or "",
        time_base=_pair(stream.time_base) or (1, 1000),
        average_rate=_pair(_trusted_rate(container, stream) or rate),
        display_matrix=None,
        sample_aspect=_pair(stream.sample_aspect_ratio),
        color_primaries=context.color_primaries,
        color_transfer=context.color_trc,
        color_matrix=context.colorspace,
        color_range=context.color_range,
        field_order=context.field_order,
        interlaced=context.field_order > 1,
        duration=_duration(container, stream),
        declared_frames=stream.frames if stream.frames > 0 else None,
        start_pts=stream.start_time,
        video_stream=stream.index,
        streams=tuple(_stream_info(s) for s in container.streams),
    )


def _seen(info: VideoInfo, frame: av.VideoFrame) -> VideoInfo:
    """Update `info` from the first frame: decoders know properties that containers omit."""
    return replace(
        info,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        display_matrix=read_display_matrix(frame),
        color_primaries=_known(frame.color_primaries, info.color_primaries),
        color_transfer=_known(frame.color_trc, info.color_transfer),
        color_matrix=_known(frame.colorspace, info.color_matrix),
        color_range=frame.color_range or info.color_range,
        interlaced=info.interlaced or frame.interlaced_frame,
    )


def _check_aspect(info: VideoInfo, path: Path) -> None:
    across, down = info.sample_aspect or (1, 1)
    if max(across, down) > MAX_ASPECT * min(across, down):
        raise UnreadableVideoError(
            f"{path.name}: its pixels are {across}:{down} (width to height); up to {MAX_ASPECT}:1 either way can be "
            "edited. If the file states it wrongly, correct it: `ffmpeg -i IN -c copy -aspect 16:9 OUT`."
        )


def _known(tag: int, fallback: int) -> int:
    return fallback if tag == UNSPECIFIED else tag


def _container_name(container: InputContainer, path: Path) -> str:
    name = container.format.name
    if name.startswith("mov,"):
        return "mov" if container.metadata.get("major_brand", "").startswith("qt") else "mp4"
    if name.startswith("matroska"):
        with path.open("rb") as file:
            return "webm" if b"webm" in file.read(64) else "matroska"
    return name


def _trusted_rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The rate stated inside a raw stream; its demuxer always reports 25."""
    return stream.guessed_rate if container.format.flags & NO_TIMESTAMPS else None


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = CLOCK.fullmatch(stream.metadata.get("DURATION", ""))  # Matroska's
    if tag:
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return container.duration / av.time_base if container.duration and container.duration > 0 else None


def _stream_info(stream: Stream) -> StreamInfo:
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    return StreamInfo(stream.index, stream.type, codec, _pair(stream.time_base) or (0, 1), stream.start_time)


def _pair(value: Fraction | None) -> tuple[int, int] | None:
    """Numerator and denominator; None if it is unknown or not positive."""
    return (value.numerator, value.denominator) if value and value > 0 else None


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Error handler of codecs: decode bytes of a tag that are not UTF-8 as Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
