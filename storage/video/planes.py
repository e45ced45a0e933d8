"""Native samples of a decoded frame as writable arrays."""

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange

from storage.video.info import CONVERSION, VideoInfo, is_full_range, is_rgb

# by luma samples across and down per chroma sample
SUBSAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}


@dataclass(frozen=True)
class FramePlanes:
    """Views into `frame`: writing to them edits it."""

    frame: av.VideoFrame
    samples: tuple[np.ndarray, ...]  # Y; or Y U V; or R G B; uint8 or uint16, alpha left out
    is_rgb: bool
    depth: int  # bits
    full_range: bool
    kr: float  # weight of red in luma
    kb: float  # weight of blue
    block: tuple[int, int]  # luma samples across and down per chroma sample


def writable_planes(frame: av.VideoFrame, info: VideoInfo) -> FramePlanes:
    """Writable samples of `frame`. Afterwards use `.frame` of the result, not `frame`.

    Formats without one little-endian integer plane per component (nv12, packed, palettes) are converted to the nearest
    format with such planes: a gif becomes RGB, and nv12 becomes yuv420p with the same samples.
    """
    frame = _planar(frame, info)
    frame.make_writable()  # the decoder may need its own copy for later frames
    return _planes_of(frame, info)


def readable_planes(frame: av.VideoFrame, info: VideoInfo) -> FramePlanes:
    """Read-only samples of `frame`: do not write to them."""
    return _planes_of(_planar(frame, info), info)


def planar_format(pixel_format: av.VideoFormat) -> str:
    """Name of the nearest format with one little-endian integer plane per component.

    Usually the same format.
    """
    colors = [component for component in pixel_format.components if not component.is_alpha]
    bits = min(16, max(8, colors[0].bits))
    places = [component.plane for component in pixel_format.components]
    own_planes = len(set(places)) == len(places)
    odd = pixel_format.has_palette or pixel_format.is_big_endian or pixel_format.is_bit_stream
    if own_planes and not odd and colors[0].bits == bits:
        return pixel_format.name
    suffix = "" if bits == 8 else f"{bits}le"
    if is_rgb(pixel_format) or pixel_format.name.startswith("xyz"):
        return f"gbrp{suffix}"
    if len(colors) == 1:
        return f"gray{suffix}"
    return f"yuv{SUBSAMPLINGS.get(chroma_block(pixel_format), '444')}p{suffix}"


def chroma_block(pixel_format: av.VideoFormat) -> tuple[int, int]:
    """Luma samples across and down per chroma sample; (1, 1) without subsampling."""
    # PyAV's `is_chroma` is only true of subsampled components, which are those needed here.
    whole = av.VideoFormat(pixel_format.name, 64, 64)  # a divisible size, instead of the frame's
    chroma = [component for component in whole.components if component.is_chroma]
    return (64 // chroma[0].width, 64 // chroma[0].height) if chroma else (1, 1)


def convert(frame: av.VideoFrame, info: VideoInfo, target: str) -> av.VideoFrame:
    """Convert `frame` to another pixel format with the same matrix, each with the range of its format."""
    ranges = [
        ColorRange.JPEG if is_full_range(av.VideoFormat(name, 64, 64), info) else ColorRange.MPEG
        for name in (frame.format.name, target)
    ]
    return frame.reformat(
        format=target,
        src_colorspace=info.matrix.swscale,
        dst_colorspace=info.matrix.swscale,
        src_color_range=ranges[0],
        dst_color_range=ranges[1],
        interpolation=CONVERSION,
    )


def _planar(frame: av.VideoFrame, info: VideoInfo) -> av.VideoFrame:
    target = planar_format(frame.format)
    return frame if target == frame.format.name else convert(frame, info, target)


def _planes_of(frame: av.VideoFrame, info: VideoInfo) -> FramePlanes:
    colors = [component for component in frame.format.components if not component.is_alpha]
    dtype = np.dtype(np.uint8 if colors[0].bits <= 8 else "<u2")
    samples = []
    for component in colors:
        plane = frame.planes[component.plane]
        line_size = abs(plane.line_size)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, line_size)[: component.height]
        if plane.line_size < 0:  # stored bottom line first
            rows = rows[::-1]
        samples.append(rows[:, : component.width * dtype.itemsize].view(dtype))
    return FramePlanes(
        frame=frame,
        samples=tuple(samples),
        is_rgb=is_rgb(frame.format),
        depth=colors[0].bits,
        full_range=is_full_range(frame.format, info),
        kr=info.matrix.kr,
        kb=info.matrix.kb,
        block=chroma_block(frame.format),
    )
