"""Index of a video's frames and their times, and reading of any range of them."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from storage.errors import UnreadableVideoError, VideoError
from storage.video.damage import assess
from storage.video.decode_options import DecodeOptions, check_limit
from storage.video.info import VideoInfo, open_video, video_stream
from storage.video.integrity import NOT_AT_ITS_END, IntegrityError, damaged_packets
from storage.video.packets import frames_of
from storage.video.shape import ShapeWatch, fitted
from storage.video.times import Clock, Length, stated_pts
from storage.video.tone import tone_map
from storage.video.watch import Watched, codec_log, single_threaded, watched_frames

THUMBNAIL_PX = 160  # longer side
WHOLE = DecodeOptions()


@dataclass(frozen=True)
class FrameIndex:
    """The selected frames. Frame numbers count from the first selected one."""

    pts: np.ndarray  # int64, strictly increasing, in the stream's time base
    durations: np.ndarray  # int64, until the next frame; the last from the file
    keyframes: np.ndarray  # bool
    skipped: int  # frames of the file before the first selected one
    partial: bool  # a range is selected
    seekable: bool  # pts are the file's own, so that frames can be found by pts
    truncated: bool  # decoding stopped clearly before the end that the container states
    warnings: tuple[str, ...]  # for the user: truncation, damage, invented times
    damaged: np.ndarray  # bool: damaged, or predicted from a damaged frame
    intact: bool  # nothing is damaged or missing, so that decoding may begin anywhere and use threads
    skips_damaged: bool  # damaged frames stay unedited

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def unedited(self) -> np.ndarray:
        """Mask of the frames that are not edited."""
        return self.damaged & self.skips_damaged


@dataclass(frozen=True)
class Clip:
    """A video file and its selected frames."""

    path: Path
    info: VideoInfo
    index: FrameIndex


def index_frames(
    path: Path,
    info: VideoInfo,
    options: DecodeOptions = WHOLE,
    on_frame: Callable[[int, np.ndarray], None] = lambda number, thumbnail: None,
) -> FrameIndex:
    """Index times and damage of all frames, or of those shown in [start, end).

    Decodes once, on one core.

    Args:
        on_frame: gets frame number and a uint8 RGB thumbnail, coded orientation, longer side 160 px.

    Raises:
        UnreadableVideoError: no frame can be decoded, or the shape of the image changes.
        VideoError: no frame lies in the range, a limit is exceeded, or the file is damaged and `damaged` is refuse.
    """
    seen = _Pass(path, info, options)
    seen.watch(on_frame)
    times, lasting, keyframes = (np.array(column) for column in zip(*seen.rows, strict=True))
    lasting[:-1] = np.diff(times)
    if len(times) > 1:
        fps = float(1 / (np.median(np.diff(times)) * info.tick))
        check_limit(path, "frames per second", fps, "max_fps", options)
    unchecked = _add_unnoticed(path, info, seen.watched) if options.test_packets else []
    damage = assess(seen.watched, times, slice(seen.skipped, seen.skipped + len(seen.rows)), info)
    truncation = seen.length.truncation(seen.clock.frames, seen.watched)
    found = [*truncation, *seen.watched.errors(), *damage.sentences(times, info), *unchecked]
    if options.damaged == "refuse" and (truncation or damage.is_any):
        raise VideoError(
            f"{path.name} is damaged, and decode.damaged is refuse. {' '.join(found)} Get an intact copy of the file, "
            "or set decode.damaged to warn or skip."
        )
    if options.damaged == "skip" and damage.frames.all():
        raise VideoError(
            f"{path.name}: all {len(times)} frames are damaged, so that decode.damaged = skip leaves none to edit. "
            f"{' '.join(found)} Get an intact copy of the file, or set decode.damaged to warn."
        )
    return FrameIndex(
        pts=times.astype(np.int64),
        durations=lasting.astype(np.int64),
        keyframes=keyframes.astype(bool),
        skipped=seen.skipped,
        partial=options.start is not None or options.end is not None,
        seekable=not seen.clock.made_up,
        truncated=bool(truncation),
        warnings=(*found, *seen.shapes.warnings(), *seen.clock.changes()),
        damaged=damage.frames,
        intact=not (seen.watched.evidence or damage.is_any),
        skips_damaged=options.damaged == "skip",
    )


def read_frames(clip: Clip, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Read frames start..stop with their numbers, one at a time, with pts and duration of the index.

    Raises:
        UnreadableVideoError: the file no longer has a frame of the index.
    """
    stop = len(clip.index) if stop is None else min(stop, len(clip.index))
    entry = _entry(clip.index, start)
    wanted = start
    if entry is not None:
        wanted = yield from _read(clip, entry, wanted, stop)
    if wanted < stop:  # no entry, or the seek landed too late
        wanted = yield from _read(clip, None, wanted, stop)
    if wanted < stop:
        raise UnreadableVideoError(
            f"{clip.path.name}: frame {wanted} of {len(clip.index)} can no longer be decoded. The file changed, or its "
            "disk fails: run the decode stage again."
        )


def _read(clip: Clip, entry: int | None, wanted: int, stop: int) -> Generator[tuple[int, av.VideoFrame], None, int]:
    """Yield frames wanted..stop as long as they are consecutive; return the first missing number."""
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
    """Decode frames with their numbers, -1 outside the index, from the pts `entry` or from the beginning."""
    index = clip.index
    with open_video(clip.path) as container:
        stream = video_stream(container, clip.info)
        if not index.intact:
            single_threaded(stream)  # else damaged and lost frames would differ from the index
        if entry is not None:
            depth = stream.codec_context.reorder_depth
            try:
                container.seek(entry, stream=stream)
            except av.FFmpegError:
                return
            stream.codec_context.reorder_depth = (
                depth  # else the decoder may drop frames until it detects the depth again
            )
        for order, frame in enumerate(frames_of(container, stream)):
            pts = stated_pts(frame)
            if entry is not None and order == 0 and (not frame.key_frame or pts is None or pts > entry):
                return
            if not index.seekable:
                yield order - index.skipped, frame
            elif pts is not None:
                place = int(np.searchsorted(index.pts, pts))
                found = place < len(index) and index.pts[place] == pts
                yield (place if found else -1), frame


def _entry(index: FrameIndex, number: int) -> int | None:
    """Pts of the keyframe to seek to for this frame; None = decode from the beginning."""
    keys = np.flatnonzero(index.keyframes[: number + 1])
    key = int(keys[-1]) if keys.size else 0
    if not (index.seekable and index.intact) or number >= len(index) or (key == 0 and index.skipped == 0):
        return None
    return int(index.pts[key])


def _add_unnoticed(path: Path, info: VideoInfo, watched: Watched) -> list[str]:
    """Add damage that the decoder missed; return a message if the check failed."""
    try:
        damaged = damaged_packets(path, info.codec, info.video_stream, len(watched.pts) - 1)
    except IntegrityError as error:
        return [f"The {info.codec} packets could not be checked for damage ({error})."]
    for number in damaged:
        watched.evidence.setdefault(number, NOT_AT_ITS_END)
    return []


def _thumbnail(frame: av.VideoFrame, info: VideoInfo) -> np.ndarray:
    scale = THUMBNAIL_PX / max(info.width, info.height)
    width, height = (max(1, round(side * scale)) for side in (info.width, info.height))
    small: np.ndarray = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    tone = tone_map(info.color_transfer, info.color_primaries)
    return np.rint(tone.to_display(small)).clip(0, 255).astype(np.uint8) if tone else small


class _Pass:
    """Results of one pass of decoding."""

    def __init__(self, path: Path, info: VideoInfo, options: DecodeOptions) -> None:
        self.path, self.info, self.options = path, info, options
        self.watched, self.clock, self.length = Watched(), Clock(info), Length(info)
        self.shapes = ShapeWatch(path.name, info)
        self.rows: list[tuple[int, int, bool]] = []  # pts, duration and keyframe flag of the selected frames
        self.skipped = 0  # frames before the first selected one

    def watch(self, on_frame: Callable[[int, np.ndarray], None]) -> None:
        """Decode up to the end of the range.

        Raises:
            UnreadableVideoError: no frame can be decoded, or the shape of the image changes.
            VideoError: no frame lies in the range, or a limit is exceeded.
        """
        first_s = -np.inf if self.options.start is None else self.options.start
        stop_s = np.inf if self.options.end is None else self.options.end
        with codec_log() as messages:
            for frame, context in watched_frames(self.path, self.info, self.watched, messages):
                self.shapes.begin(context)
                pts, duration = self.clock.time_of(frame)
                seconds = float((pts - self.clock.first) * self.info.tick)
                self.length.saw_end(float((pts + duration) * self.info.tick))
                if seconds >= stop_s:
                    self.length.finished = False
                    break
                check_limit(self.path, "seconds", seconds, "max_seconds", self.options)
                check_limit(self.path, "frames", self.clock.frames, "max_frames", self.options)
                if seconds < first_s:
                    self.skipped += 1
                    continue
                self.shapes.saw(frame, context, len(self.rows), seconds)
                on_frame(len(self.rows), _thumbnail(frame, self.info))
                self.rows.append((pts, duration, frame.key_frame))
        if not self.clock.frames:
            raise UnreadableVideoError(f"{self.path.name}: no frame can be decoded. Export the video again.")
        if not self.rows:
            raise VideoError(
                f"{self.path.name}: no frame between {first_s:g} s and {stop_s:g} s; the video lasts "
                f"{self.clock.lasts_s:.3f} s. Give times inside it."
            )
