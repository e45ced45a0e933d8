"""Lossless conversion of frames to RGB at the depth of the source; PQ and HLG are mapped to SDR for editing."""

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from storage.video.info import VideoInfo, rgb
from storage.video.planes import FramePlanes, readable_planes
from storage.video.tone import ToneMap, tone_map


def is_deep(info: VideoInfo) -> bool:
    """True if the source needs more than 8 bits per channel: it has more, or is PQ or HLG."""
    bits = max(component.bits for component in av.VideoFormat(info.pixel_format, 64, 64).components)
    return bits > 8 or tone_of(info) is not None


def tone_of(info: VideoInfo) -> ToneMap | None:
    """Map of PQ or HLG footage to SDR; None for SDR footage."""
    return tone_map(info.color_transfer, info.color_primaries)


def levels(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    """The frame in SDR, as people and networks see it, `height width rgb` in 8-bit levels, coded orientation.

    uint8 for 8-bit SDR sources, else float32 with fractions and with values outside [0, 255].
    """
    if not is_deep(info):
        return rgb(frame, info)
    tone, coded = tone_of(info), coded_levels(frame, info)
    return tone.to_display(coded) if tone else coded


def coded_levels(frame: av.VideoFrame, info: VideoInfo) -> NDArray[np.float32]:
    """R'G'B' in the source's own transfer, `height width rgb` in 8-bit levels, neither rounded nor clipped: H.273.

    Chroma is interpolated bilinearly. swscale's own 16-bit RGB is darker by up to a 256th.
    """
    planes = readable_planes(frame, info)
    if planes.is_rgb:
        return np.stack([_scaled(plane, planes, 0, 255) for plane in planes.samples], axis=-1)
    luma = _scaled(planes.samples[0], planes, 16, 219)
    if len(planes.samples) < 3:
        return np.repeat(luma[..., None], 3, axis=2)
    blue_difference, red_difference = (_full_size(plane, planes) for plane in planes.samples[1:])
    result = np.empty((*luma.shape, 3), np.float32)
    result[..., 0] = luma + (2 - 2 * planes.kr) * red_difference
    result[..., 2] = luma + (2 - 2 * planes.kb) * blue_difference
    luma -= planes.kr * result[..., 0] + planes.kb * result[..., 2]
    result[..., 1] = luma / (1 - planes.kr - planes.kb)
    return result


def _full_size(plane: np.ndarray, planes: FramePlanes) -> NDArray[np.float32]:
    """Color differences of a chroma plane, upsampled to one per pixel."""
    (height, width), (across, down) = planes.samples[0].shape, planes.block
    values = _scaled(plane, planes, 128, 224)
    size = (plane.shape[1] * across, plane.shape[0] * down)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)[:height, :width], np.float32)


def _scaled(plane: np.ndarray, planes: FramePlanes, zero: int, span: int) -> NDArray[np.float32]:
    """Convert codes to 8-bit levels.

    `zero` and `span` are those of 8-bit limited range (full range: 0 or 128).
    """
    depth = planes.depth
    if planes.full_range or planes.is_rgb:
        middle = (1 << (depth - 1)) if zero == 128 else 0
        return (plane.astype(np.float32) - middle) * np.float32(255 / ((1 << depth) - 1))
    unit = 1 << (depth - 8)
    return (plane.astype(np.float32) - zero * unit) * np.float32(255 / (span * unit))
