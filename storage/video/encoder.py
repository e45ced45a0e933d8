"""Encoders for the frames of one clip, all with identical settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
from av.codec import Codec, CodecContext
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from storage.errors import UnwritableOutputError
from storage.video.info import FULL_RANGE, VideoInfo, is_full_range, is_rgb
from storage.video.light import LightLevels
from storage.video.packets import reason_of
from storage.video.planes import chroma_block, convert

WHOLE_BLOCKS_ONLY = {"libx264", "libx265", "libsvtav1"}  # reject an odd width with 4:2:0
LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
WITHOUT_AVX512 = "MMX2,SSE2,SSSE3,SSE4.2,LZCNT,AVX,FMA3,BMI1,BMI2,AVX2"
CPU_AVX512 = 13  # OpenCV's number of the CPU feature
PARAMETERS = {"libx264": "x264-params", "libx265": "x265-params", "libsvtav1": "svtav1-params"}
CODED_FIRST = {2: "tff", 4: "tff", 3: "bff", 5: "bff"}  # by AVFieldOrder; x264's names
THREADS = 4  # fixed: the bytes of x264 and x265 depend on it, and the default is the number of cores


@dataclass(frozen=True)
class VideoEncoder:
    """Settings of a clip's encoder. Encoders from `open` give equal packets for equal frames."""

    codec: str  # FFmpeg's name of the encoder
    wanted: Mapping[str, str]  # its private options; unknown ones are left out
    info: VideoInfo
    light: LightLevels

    @property
    def pixel_format(self) -> str:
        return encoding_format(self.info, self.codec)

    def open(self) -> VideoCodecContext:
        """Open a new encoder with the settings of the output's stream."""
        context = CodecContext.create(self.codec, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.framerate = self.info.width, self.info.height, self.info.rate
        context.bit_rate, context.bit_rate_tolerance = 0, 128000  # as PyAV sets them for a stream
        context.flags |= Flags.global_header  # as in all formats we write
        self.configure(context)
        self.start(context)
        return context

    def start(self, context: VideoCodecContext) -> None:
        """Open a configured encoder.

        Raises:
            UnwritableOutputError: it rejects its options, or these images.
        """
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            info, wanted = self.info, {name: self.wanted[name] for name in ("preset", "crf") if name in self.wanted}
            settings = " ".join(f"encode.{name}={value}" for name, value in wanted.items())
            raise UnwritableOutputError(
                f"encode.codec={self.codec} {settings}: the encoder refuses {info.width}x{info.height} "
                f"{context.pix_fmt} at {float(info.rate):g} frames per second ({reason_of(error)}). "
                "Change encode.preset or encode.crf, or set encode.codec to libx264, libx265 or ffv1."
            ) from error

    def configure(self, context: VideoCodecContext) -> None:
        """Configure an encoder of this codec, width, height and rate before it is opened."""
        info = self.info
        context.pix_fmt = self.pixel_format
        context.time_base = info.tick
        context.thread_count = THREADS
        context.flags |= Flags.frame_duration
        if info.sample_aspect:
            context.sample_aspect_ratio = Fraction(*info.sample_aspect)
        if info.interlaced:
            context.flags |= Flags.interlaced_dct
            context.field_order = info.field_order
        _tag_colors(context, info)
        known = {option.name for option in context.supported_options.private}
        context.options = {name: value for name, value in self._options().items() if name in known}

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the encoder's library that affect the packets and that FFmpeg has no option for."""
        own = {"log-level": "error"} if self.codec == "libx265" else {}
        if self.codec == "libx264" and self.info.interlaced and self.info.field_order in CODED_FIRST:
            own[CODED_FIRST[self.info.field_order]] = "1"  # else the header always says top field first
        return own | self.light.encoder_parameters(self.codec)

    def _options(self) -> dict[str, str]:
        parameters = self.parameters
        if self.codec == "libx264":
            parameters = x264_instructions() | parameters
        name = PARAMETERS.get(self.codec)
        if name is None or not parameters:
            return dict(self.wanted)
        return {**self.wanted, name: ":".join(f"{key}={value}" for key, value in parameters.items())}

    def encodable(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Convert `frame` to the encoder's pixel format."""
        if frame.format.name != self.pixel_format:
            frame = convert(frame, self.info, self.pixel_format)
        frame.pict_type = PictureType.NONE  # else x264 copies the source's keyframes
        return frame


def x264_instructions() -> dict[str, str]:
    """Parameters that make x264 give the same bytes on every run.

    Its AVX-512 code reads uninitialized memory when it weights macroblocks (mbtree) of a frame whose width is not a
    multiple of 128. Without AVX-512 the bytes are reproducible, and AVX2 is as fast. Empty on a processor without it.
    """
    return {"asm": WITHOUT_AVX512} if cv2.checkHardwareSupport(CPU_AVX512) else {}


def encoding_format(info: VideoInfo, codec: str) -> str:
    """Pixel format of `codec` with the least loss: of alpha, then chroma resolution, depth, and wasted bytes."""
    names = [pixel_format.name for pixel_format in Codec(codec, "w").video_formats or ()]
    fitting = [name for name in names if _fits(name, info, codec)] or names
    if info.pixel_format in fitting or not names:
        return info.pixel_format
    own, has_alpha = _traits(info.pixel_format, info), _has_alpha(info.pixel_format)

    def loss(name: str) -> tuple[int, ...]:
        components, across, down, bits, full = _traits(name, info)
        return (
            has_alpha and not _has_alpha(name),
            max(0, own[0] - components),
            max(0, across - own[1]) + max(0, down - own[2]),
            max(0, own[3] - bits),
            full != own[4],
            _has_alpha(name) - has_alpha,
            abs(own[0] - components) + abs(across - own[1]) + abs(down - own[2]) + abs(bits - own[3]),
        )

    return min(fitting, key=loss)


def _fits(name: str, info: VideoInfo, codec: str) -> bool:
    if codec == "libvpx-vp9" and _has_alpha(name) and name != "yuva420p":  # listed by FFmpeg, but it cannot be opened
        return False
    across, down = chroma_block(av.VideoFormat(name, 64, 64))
    whole = info.width % across == 0 and info.height % down == 0
    return whole or codec not in WHOLE_BLOCKS_ONLY


def _traits(name: str, info: VideoInfo) -> tuple[int, int, int, int, bool]:
    pixel_format = av.VideoFormat(name, 64, 64)
    colors = 3 if pixel_format.has_palette else sum(not component.is_alpha for component in pixel_format.components)
    bits = 8 if pixel_format.has_palette else pixel_format.components[0].bits
    full = is_full_range(pixel_format, info)
    return colors, *chroma_block(pixel_format), bits, full or is_rgb(av.VideoFormat(info.pixel_format, 64, 64))


def _has_alpha(name: str) -> bool:
    pixel_format = av.VideoFormat(name, 64, 64)
    return not pixel_format.has_palette and any(component.is_alpha for component in pixel_format.components)


def _tag_colors(context: VideoCodecContext, info: VideoInfo) -> None:
    """Copy the source's color tags; untagged stays untagged, because the samples are not converted."""
    assert context.pix_fmt is not None
    encoded = av.VideoFormat(context.pix_fmt, 64, 64)
    context.color_primaries, context.color_trc = info.color_primaries, info.color_transfer
    context.colorspace, context.color_range = info.color_matrix, info.color_range
    if is_rgb(av.VideoFormat(info.pixel_format, 64, 64)) and not is_rgb(encoded):
        context.colorspace = 1 if info.matrix.swscale == 1 else 6  # the matrix of the conversion
        context.color_range = LIMITED_RANGE
    if is_full_range(encoded, info):  # also gray, which decoders would return as limited-range luma
        context.color_range = FULL_RANGE
