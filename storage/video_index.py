"""Which frames a video has and when they are shown; any of them again, without keeping the others."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from storage.errors import UnreadableVideoError, VideoError
from storage.video import VideoInfo, open_video, video_stream
from storage.video_packets import decode, frames_of, packets_of
from storage.video_shape import ShapeWatch, fitted
from storage.video_tone import tone_map

THUMBNAIL_PX = 160  # longer side


@dataclass(frozen=True)
class DecodeOptions:
    revision: ClassVar[int] = 1

    start: float | None = None  # s from the first frame; None = from the beginning
    end: float | None = None  # s from the first frame; None = to the end

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise ValueError(f"decode.start must be 0 s or more, got {self.start:g} s")
        if self.end is not None and self.end <= 0:
            raise ValueError(f"decode.end must be > 0 s, got {self.end:g} s")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"decode.end ({self.end:g} s) must lie after decode.start ({self.start:g} s)")


@dataclass(frozen=True)
class FrameIndex:
    """The selected frames. Frame numbers count from the first selected one."""

    pts: np.ndarray  # int64, strictly increasing, in the stream's time base
    durations: np.ndarray  # int64, until the next frame; the last as the file says
    keyframes: np.ndarray  # bool
    skipped: int  # frames of the file before the first selected one
    partial: bool  # a range was asked for
    seekable: bool  # pts are the file's own, so a frame is found by them
    truncated: bool  # decoding stopped clearly before the end that the container promises
    warnings: tuple[str, ...]  # what a user should know: truncation, damage, times made up

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class Clip:
    """A video file and the frames of it that are worked on."""

    path: Path
    info: VideoInfo
    index: FrameIndex


def index_frames(
    path: Path,
    info: VideoInfo,
    start_s: float | None = None,
    end_s: float | None = None,
    on_frame: Callable[[int, np.ndarray], None] = lambda number, thumbnail: None,
) -> FrameIndex:
    """Times of all frames, or of those shown in [start_s, end_s). One pass of decoding.

    Args:
        start_s: seconds from the first frame, as is `end_s`.
        on_frame: gets frame number and a uint8 RGB thumbnail, coded orientation, longer side 160 px.

    Raises:
        UnreadableVideoError: no frame can be decoded.
        VideoError: no frame lies in the range.
    """
    first_s = -np.inf if start_s is None else start_s
    stop_s = np.inf if end_s is None else end_s
    clock, health, shapes = _Clock(info), _Health(info), ShapeWatch(path.name, info)
    rows: list[tuple[int, int, bool]] = []
    skipped = 0
    for frame, context in _watched_frames(path, info, health):
        shapes.begin(context)
        pts, duration = clock.time_of(frame)
        seconds = float((pts - clock.first) * info.tick)
        health.saw_frame(float((pts + duration) * info.tick))
        if seconds >= stop_s:
            health.finished = False
            break
        if seconds < first_s:
            skipped += 1
            continue
        shapes.saw(frame, context, len(rows), seconds)
        on_frame(len(rows), _thumbnail(frame, info))
        rows.append((pts, duration, frame.key_frame))

    if not clock.frames:
        raise UnreadableVideoError(f"{path.name}: not one frame can be decoded. Export the video again.")
    if not rows:
        raise VideoError(
            f"{path.name}: no frame between {first_s:g} s and {stop_s:g} s; the video lasts "
            f"{float((clock.last - clock.first + clock.step) * info.tick):.3f} s. Give times inside it."
        )
    times, lasting, keyframes = (np.array(column) for column in zip(*rows, strict=True))
    lasting[:-1] = np.diff(times)
    truncation = health.truncation(clock.frames)
    return FrameIndex(
        pts=times.astype(np.int64),
        durations=lasting.astype(np.int64),
        keyframes=keyframes.astype(bool),
        skipped=skipped,
        partial=start_s is not None or end_s is not None,
        seekable=not clock.made_up,
        truncated=bool(truncation),
        warnings=(*truncation, *health.damage(), *shapes.warnings(), *clock.changes()),
    )


def read_frames(clip: Clip, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames start..stop with their numbers, one at a time, with pts and duration of the index.

    Raises:
        UnreadableVideoError: the file no longer holds a frame of the index.
    """
    stop = len(clip.index) if stop is None else min(stop, len(clip.index))
    entry = _entry(clip.index, start)
    wanted = start
    if entry is not None:
        wanted = yield from _read(clip, entry, wanted, stop)
    if wanted < stop:  # no entry, or the format's seeking landed too late
        wanted = yield from _read(clip, None, wanted, stop)
    if wanted < stop:
        raise UnreadableVideoError(
            f"{clip.path.name}: frame {wanted} of {len(clip.index)} is not there any more. The file changed, or its "
            "disk fails: run the decode stage again."
        )


def _read(clip: Clip, entry: int | None, wanted: int, stop: int) -> Generator[tuple[int, av.VideoFrame], None, int]:
    """Frames wanted..stop while they come one after the other; returns the first one that did not come."""
    index = clip.index
    for number, frame in _numbered(clip, entry):
        if number > wanted or wanted >= stop:
            break
        if number == wanted:
            frame.pts, frame.duration = int(index.pts[number]), int(index.durations[number])
            frame.time_base = clip.info.tick
            yield number, fitted(frame, clip.info)
            wanted += 1
    return wanted


def _numbered(clip: Clip, entry: int | None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames with their numbers, -1 outside the index; from the pts `entry`, or from the beginning."""
    index = clip.index
    with open_video(clip.path) as container:
        stream = video_stream(container, clip.info)
        if entry is not None:
            depth = stream.codec_context.reorder_depth
            try:
                container.seek(entry, stream=stream)
            except av.FFmpegError:
                return
            stream.codec_context.reorder_depth = depth  # or the decoder may drop frames while it learns it again
        for order, frame in enumerate(frames_of(container, stream)):
            pts = _stated_pts(frame)
            if entry is not None and order == 0 and (not frame.key_frame or pts is None or pts > entry):
                return
            if not index.seekable:
                yield order - index.skipped, frame
            elif pts is not None:
                place = int(np.searchsorted(index.pts, pts))
                found = place < len(index) and index.pts[place] == pts
                yield (place if found else -1), frame


def _entry(index: FrameIndex, number: int) -> int | None:
    """The pts to seek to for this frame: of the keyframe at or before it; None = decode from the beginning."""
    keys = np.flatnonzero(index.keyframes[: number + 1])
    key = int(keys[-1]) if keys.size else 0
    if not index.seekable or number >= len(index) or (key == 0 and index.skipped == 0):
        return None
    return int(index.pts[key])


def _watched_frames(
    path: Path, info: VideoInfo, health: "_Health"
) -> Iterator[tuple[av.VideoFrame, VideoCodecContext]]:
    """Every frame, and its decoder."""
    with open_video(path) as container:
        stream = video_stream(container, info)
        for packet in packets_of(container, container.streams.get(), health.saw_damage):
            health.saw_packet(packet)
            if packet.stream is stream:  # the flushing packet's own stream_index is 0, whatever it flushes
                yield from ((frame, stream.codec_context) for frame in decode(packet, health.saw_damage))


def _stated_pts(frame: av.VideoFrame) -> int | None:
    return frame.pts if frame.pts is not None else frame.dts


def _thumbnail(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    scale = THUMBNAIL_PX / max(info.width, info.height)
    width, height = (max(1, round(side * scale)) for side in (info.width, info.height))
    small: np.ndarray = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    tone = tone_map(info.color_transfer, info.color_primaries)
    return np.rint(tone.to_display(small)).clip(0, 255).astype(np.uint8) if tone else small


@dataclass
class _Clock:
    """Gives every frame a pts above the last one's, and counts those it had to make up."""

    info: VideoInfo
    frames: int = 0
    first: int = 0
    last: int = 0
    made_up: int = 0

    @property
    def step(self) -> int:
        return max(1, round(1 / (self.info.rate * self.info.tick)))

    def time_of(self, frame: av.VideoFrame) -> tuple[int, int]:
        """pts and duration in the stream's time base."""
        stated = _stated_pts(frame)
        if stated is not None and (self.frames == 0 or stated > self.last):
            pts = stated
        else:
            pts = self.last + self.step if self.frames else 0
            self.made_up += 1
        self.first = self.first if self.frames else pts
        self.last = pts
        self.frames += 1
        return pts, frame.duration or self.step

    def changes(self) -> list[str]:
        if not self.made_up:
            return []
        return [
            f"{self.made_up} of {self.frames} frames have no usable time: placed one after the other at "
            f"{float(self.info.rate):g} frames per second."
        ]


@dataclass
class _Health:
    """What went wrong while decoding, and whether the file was there to its end."""

    info: VideoInfo
    finished: bool = True
    damaged: int = 0
    reason: str = ""
    video_end: float = 0.0  # seconds, of the decoded frames
    ends: dict[int, float] = field(default_factory=dict)  # seconds, of the packets of each stream

    def saw_damage(self, reason: str) -> None:
        self.damaged += 1
        self.reason = reason

    def saw_packet(self, packet: "av.Packet[Any]") -> None:
        if packet.pts is not None and packet.time_base:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.ends[packet.stream.index] = max(end, self.ends.get(packet.stream.index, end))

    def saw_frame(self, end_s: float) -> None:
        self.video_end = max(self.video_end, end_s)

    def truncation(self, frames: int) -> list[str]:
        """One sentence if the promised duration is missed by three frames and a tenth of a second."""
        if not self.finished or self.info.duration is None:
            return []
        start = float((self.info.start_pts or 0) * self.info.tick)
        # Matroska without a duration per stream counts from 0 to the end of the longest stream.
        end = self.video_end if self.info.declared_frames else max([self.video_end, *self.ends.values()])
        missing = min(self.info.duration, start + self.info.duration) - end
        if missing <= max(0.1, float(3 / self.info.rate)):
            return []
        promised = f"{self.info.declared_frames} frames" if self.info.declared_frames else "more"
        return [
            f"The file ends early: {frames} frames ({end - start:.2f} s) can be decoded, but the container promises "
            f"{promised} ({self.info.duration:.2f} s). It was cut off or not copied whole; only what is there is used."
        ]

    def damage(self) -> list[str]:
        return [f"{self.damaged} damaged packets were skipped ({self.reason})."] if self.damaged else []
