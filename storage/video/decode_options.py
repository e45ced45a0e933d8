"""Options of decoding: range, handling of damage, and limits of size."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import ClassVar

import av

from storage.errors import VideoError
from storage.video.info import VideoInfo, open_video

DAMAGE_CHOICES = ("warn", "refuse", "skip")


@dataclass(frozen=True)
class DecodeOptions:
    # The limits are not part of the key: they reject a file, and do not change the result of an accepted one.
    decide_nothing: ClassVar[frozenset[str]] = frozenset(
        {"max_pixels", "max_frames", "max_seconds", "max_fps", "max_tags"}
    )

    start: float | None = None  # s from the first frame; None = from the beginning
    end: float | None = None  # s from the first frame; None = to the end
    damaged: str = "warn"  # of damaged frames: warn, refuse the clip, or skip = leave them unedited
    test_packets: bool = True  # of HEVC, VP9 and VP8, whose decoders miss damage; takes 5 times as long as decoding
    max_pixels: int = 67_108_864  # of a frame, width × height; 8192 × 8192
    max_frames: int = 2_000_000  # 22 hours at 25 frames per second
    max_seconds: float = 86_400.0  # of the video
    max_fps: float = 1_000.0  # frames per second
    max_tags: int = 10_000  # metadata entries of the file and all its streams

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise ValueError(f"decode.{name} must be a number of seconds, got {value}")
        if self.start is not None and self.start < 0:
            raise ValueError(f"decode.start must be 0 s or more, got {self.start:g} s")
        if self.end is not None and self.end <= 0:
            raise ValueError(f"decode.end must be > 0 s, got {self.end:g} s")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"decode.end ({self.end:g} s) must lie after decode.start ({self.start:g} s)")
        if self.damaged not in DAMAGE_CHOICES:
            raise ValueError(f"decode.damaged must be one of {', '.join(DAMAGE_CHOICES)}, got {self.damaged!r}")
        for name in sorted(self.decide_nothing):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"decode.{name} must be > 0, got {value}")


def check_limits(path: Path, info: VideoInfo, options: DecodeOptions) -> None:
    """Check the limits against the container's metadata; no frame is decoded.

    Raises:
        VideoError: a limit is exceeded.
    """
    check_limit(path, "pixels in a frame", info.width * info.height, "max_pixels", options)
    check_limit(path, "frames", info.declared_frames or 0, "max_frames", options)
    check_limit(path, "frames per second", float(info.rate), "max_fps", options)
    if options.end is None:
        check_limit(path, "seconds", info.duration or 0.0, "max_seconds", options)
    with open_video(path) as container:
        check_limit(path, "tags", _tags(container), "max_tags", options)


def check_limit(path: Path, what: str, number: float, name: str, options: DecodeOptions) -> None:
    """Check that `number` does not exceed the limit `name`.

    Raises:
        VideoError: it does.
    """
    limit = getattr(options, name)
    if number > limit:
        raise VideoError(
            f"{path.name}: {number:,.10g} {what}, more than decode.{name} = {limit:,.10g} allows. If the file is "
            f"correct, set decode.{name} higher; else export it again."
        )


def _tags(container: av.container.InputContainer) -> int:
    return len(container.metadata) + sum(len(stream.metadata) for stream in container.streams)
