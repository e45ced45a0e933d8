"""Small generated clips, and functions that read a file to compare it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, index_frames
from storage.video.info import probe
from storage.video.writer import EncodeOptions, write_video

FRAMES, RATE = 12, 25


def box_image(number: int) -> np.ndarray:
    image = np.full((64, 96, 3), 40 + 10 * number, np.uint8)
    image[20:40, 4 * number : 4 * number + 30] = (200, 90, 30)
    return image


def make(
    path: Path,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    options: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
    before: Callable[[Any, Any], None] = lambda container, video: None,
    after: Callable[[Any], None] = lambda container: None,
    frame: Callable[[int], av.VideoFrame] | None = None,
    packet: Callable[[Any], Any] = lambda packet: packet,
) -> Path:
    """Write a clip of a moving box. `before` adds streams and tags, `after` their packets."""
    with av.open(str(path), "w", container_options=settings or {}) as container:
        video: Any = container.add_stream(codec, rate=RATE, width=96, height=64, options=options or {})
        video.pix_fmt = pixel_format
        before(container, video)
        for number in range(FRAMES):
            image = frame(number) if frame else av.VideoFrame.from_ndarray(box_image(number), "rgb24")
            image = image.reformat(format=pixel_format)
            image.pts, image.time_base = number, Fraction(1, RATE)
            for encoded in video.encode(image):
                container.mux(packet(encoded))
        for encoded in video.encode(None):
            container.mux(packet(encoded))
        after(container)
    return path


def opened(path: Path, start_s: float | None = None, end_s: float | None = None) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info, DecodeOptions(start=start_s, end=end_s)))


def written(clip: Clip, output: Path, codec: str = "libx264", preset: str = "ultrafast") -> list[str]:
    return list(write_video(clip, output, EncodeOptions(codec=codec, preset=preset, segment=5)))


def silence(stream: Any, seconds: float = 0.48) -> list[Any]:
    """Packets of a barely audible tone."""
    rate = stream.codec_context.sample_rate
    samples = (50 * np.sin(np.arange(int(rate * seconds)) / 20)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
    frame.sample_rate = rate
    return [*stream.encode(frame), *stream.encode(None)]


def add_sound(container: Any, codec: str = "aac", rate: int = 44100, **tags: str) -> Any:
    stream = container.add_stream(codec, rate=rate, layout="mono", bit_rate=64000)
    stream.metadata.update(tags)
    return stream


def tags(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return dict(container.metadata)


def streams(path: Path) -> list[tuple[str, str | None, int]]:
    """Type, codec and flags of every stream."""
    with av.open(str(path)) as container:
        return [
            (stream.type, stream.codec_context and stream.codec_context.codec.canonical_name, int(stream.disposition))
            for stream in container.streams
        ]
