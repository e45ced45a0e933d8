"""Short clips in many codecs and containers, and ways to damage them, reproducible from a seed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random

import av
import numpy as np

WIDTH, HEIGHT, FRAMES, GROUP = 192, 112, 36, 12


@dataclass(frozen=True)
class Kind:
    """Encoding of one clip."""

    codec: str
    suffix: str
    options: dict[str, str] = field(default_factory=dict)
    bit_rate: int = 0
    with_sound: bool = False


X264, X265 = {"preset": "fast", "crf": "20"}, {"preset": "fast", "crf": "22"}
VPX = {"crf": "24", "b:v": "0", "deadline": "realtime", "cpu-used": "6"}
KINDS = {
    "h264": Kind("libx264", ".mp4", X264, with_sound=True),
    "h264-cavlc": Kind("libx264", ".mkv", {**X264, "x264-params": "cabac=0"}, with_sound=True),
    "h264-ts": Kind("libx264", ".ts", X264, with_sound=True),
    "hevc": Kind("libx265", ".mp4", {**X265, "x265-params": f"log-level=error:keyint={GROUP}"}, with_sound=True),
    "hevc-mkv": Kind("libx265", ".mkv", {**X265, "x265-params": f"log-level=error:keyint={GROUP}"}),
    "vp9": Kind("libvpx-vp9", ".webm", VPX),
    "vp8": Kind("libvpx", ".webm", {**VPX, "b:v": "600k"}),
    "mpeg2": Kind("mpeg2video", ".mpg", {"bf": "2"}, 500_000),
    "mpeg2-ts": Kind("mpeg2video", ".ts", {"bf": "2"}, 500_000, with_sound=True),
    "mpeg4": Kind("mpeg4", ".mp4", {}, 500_000, with_sound=True),
    "mpeg4-avi": Kind("mpeg4", ".avi", {}, 500_000),
}


def encode_clip(kind: Kind, source: Path, target: Path) -> None:
    """Encode the first frames of `source`, small, a keyframe every twelve, with a tone if the kind has sound."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = writer.add_stream(kind.codec, rate=25, width=WIDTH, height=HEIGHT, options=kind.options)
        video.pix_fmt, video.codec_context.gop_size = "yuv420p", GROUP
        video.codec_context.thread_count = 1
        if kind.bit_rate:
            video.bit_rate = kind.bit_rate
        sound = writer.add_stream("aac" if kind.suffix != ".mpg" else "mp2", rate=48_000) if kind.with_sound else None
        for number, frame in enumerate(islice(reader.decode(video=0), FRAMES)):
            small = frame.reformat(width=WIDTH, height=HEIGHT, format="yuv420p")
            small.pts, small.time_base, small.pict_type = number, Fraction(1, 25), 0
            writer.mux(video.encode(small))
        writer.mux(video.encode(None))
        if sound is not None:
            samples = (0.1 * np.sin(np.arange(48_000 * FRAMES // 25) * 2 * np.pi * 440 / 48_000)).astype(np.float32)
            tone = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 48_000, 0
            writer.mux(sound.encode(tone))
            writer.mux(sound.encode(None))


Damage = Callable[[bytes, Random], bytes]


def flip_bits(content: bytes, random: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice([1, 1, 3, 20, 100])):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def flip_bits_of_the_header(content: bytes, random: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice([1, 3])):
        damaged[random.randrange(min(len(damaged), 1500))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def cut_off(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) // 10, len(content))]


def overwrite_with_zeros(content: bytes, random: Random) -> bytes:
    return _overwritten(content, random, bytes)


def overwrite_with_noise(content: bytes, random: Random) -> bytes:
    return _overwritten(content, random, random.randbytes)


def leave_bytes_out(content: bytes, random: Random) -> bytes:
    size = random.choice([1, 188, 1000, 4000])
    start = random.randrange(max(1, len(content) - size))
    return content[:start] + content[start + size :]


def _overwritten(content: bytes, random: Random, make: Callable[[int], bytes]) -> bytes:
    size = random.choice([16, 200, 2000])
    start = random.randrange(max(1, len(content) - size))
    return content[:start] + make(size) + content[start + size :]


def leave_packets_out(source: Path, target: Path, random: Random) -> None:
    """Remux the clip without some packets of its video."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        video = reader.streams.video[0].index
        dropped = {random.randrange(1, FRAMES) for _ in range(random.choice([1, 1, 2, 5]))}
        number = 0
        for packet in reader.demux():
            if packet.dts is None:
                continue
            if packet.stream.index == video:
                number += 1
                if number - 1 in dropped:
                    continue
            packet.stream = copies[packet.stream.index]
            writer.mux(packet)


OF_BYTES: list[Damage] = [
    flip_bits,
    overwrite_with_zeros,
    overwrite_with_noise,
    cut_off,
    leave_bytes_out,
    flip_bits_of_the_header,
]


def damage_clip(source: Path, target: Path, seed: str) -> str:
    """Write a damaged copy of `source`; return the name of the damaging function."""
    random = Random(seed)
    chosen = random.randrange(len(OF_BYTES) + 1)
    if chosen == len(OF_BYTES):
        leave_packets_out(source, target, random)
        return leave_packets_out.__name__
    target.write_bytes(OF_BYTES[chosen](source.read_bytes(), random))
    return OF_BYTES[chosen].__name__
