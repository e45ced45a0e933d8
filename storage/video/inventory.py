"""Inventory of everything in a video file except samples, for comparing source and result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.stream import AttachmentStream, Disposition, Stream

from storage.errors import UnreadableVideoError
from storage.video.copies import Extent, start_of
from storage.video.index import Clip, read_frames
from storage.video.info import VideoInfo, open_video, probe, video_stream
from storage.video.light import LightLevels, side_data
from storage.video.packets import frames_of, packets_of
from storage.video.span import Span
from storage.video.streams import codec_of, has_packets, kept_metadata, kind_of

SAMPLE = 24  # first frames whose side data is read
FIELDS = {"top": "TOPFIRST", "bottom": "BOTTOMFIRST"}
ALPHA_TAG = "alpha_mode"  # of Matroska: VP8 and VP9 store transparency separately
# UUIDs at the start of messages in which encoders such as x264 and x265 describe themselves.
ENCODER_MARKS = {bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"), bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e")}
UUID_LENGTH = 16
OPAQUE = 255
# Side data that describes the coding and not the content, or that has its own field here.
NOT_CONTENT = {
    "DISPLAYMATRIX",
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
    "GOP_TIMECODE",
    "PANSCAN",
    "MOTION_VECTORS",
    "VIDEO_ENC_PARAMS",
    "VIDEO_HINT",
    "SKIP_SAMPLES",
    "REGIONS_OF_INTEREST",
}
# Tags that are compared elsewhere, or that name the program that wrote the file.
NOT_COMPARED = {"language", "timecode", ALPHA_TAG, "stereo_mode", "vendor_id", "filename", "mimetype", "handler_name"}


@dataclass(frozen=True)
class Track:
    """A stream other than the edited video."""

    index: int
    kind: str  # see `kind_of`
    codec: str
    language: str | None
    tags: Mapping[str, str]
    flags: frozenset[str]  # FFmpeg's dispositions
    details: tuple[Any, ...]  # sampling rate and channels of sound; digest of an attachment
    extent: Extent | None  # s in the result's time; None if it is empty or was not measured
    is_empty: bool  # it has no packet in the range of the result


@dataclass(frozen=True)
class Chapter:
    start: Fraction  # s in the result's time
    tags: Mapping[str, str]


@dataclass(frozen=True)
class FrameSideData:
    """Side data of the first frames."""

    first_field: str | None  # top, bottom, or None if frames are progressive
    light: LightLevels
    kinds: frozenset[str]  # FFmpeg's names of other side data
    is_opaque: bool  # no sample of these frames is transparent


@dataclass(frozen=True)
class VideoTrack:
    """Properties of the video stream, without its samples."""

    info: VideoInfo
    side_data: FrameSideData
    has_alpha: bool
    tags: Mapping[str, str]
    flags: frozenset[str]
    times: tuple[Fraction, ...]  # s in the result's time


@dataclass(frozen=True)
class Inventory:
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]
    timecode: str | None
    video_track: VideoTrack
    tracks: tuple[Track, ...]


def source_inventory(clip: Clip, span: Span, extents: Mapping[int, Extent | None]) -> Inventory:
    """Inventory of the source, restricted to the range of `clip`.

    Args:
        span: of the result in the file.
        extents: start and end of the other streams' packets inside it, by stream; None = no packet.
    """
    side_data = _side_data(frame for _, frame in read_frames(clip, 0, SAMPLE))
    times = tuple(int(pts) * clip.info.tick - span.shift for pts in clip.index.pts)
    with open_video(clip.path) as container:
        video_track = _video_track(container, clip.info, side_data, times)
        return _inventory(container, video_track, span, extents)


def result_inventory(path: Path) -> Inventory:
    """Inventory of the finished file at `path`."""
    info = probe(path)
    times, extents = _packet_times(path, info)
    with open_video(path) as container:
        side_data = _side_data(islice(frames_of(container, video_stream(container, info)), SAMPLE))
    with open_video(path) as container:
        span = Span(Fraction(0))
        return _inventory(container, _video_track(container, info, side_data, times), span, extents)


def first_frame(path: Path, info: VideoInfo) -> av.VideoFrame:
    """The first frame of a video that `probe` accepted."""
    with open_video(path) as container:
        frame = next(frames_of(container, video_stream(container, info)), None)
    if frame is None:
        raise UnreadableVideoError(
            f"{path.name}: its first frame can no longer be decoded. The file changed: run again when it is complete."
        )
    return frame


def first_field(frame: av.VideoFrame) -> str | None:
    """Field of `frame` that is shown first: top, bottom, or None if it is progressive.

    PyAV does not expose it; FFmpeg's filter `select` does.
    """
    for name, kind in FIELDS.items() if frame.interlaced_frame else ():
        graph = Graph()
        tick = frame.time_base or Fraction(1, 25)
        entry = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
        graph.link_nodes(entry, graph.add("select", f"eq(interlace_type\\,{kind})"), graph.add("buffersink"))
        graph.configure()
        graph.push(frame)
        try:
            graph.pull()
        except (av.BlockingIOError, av.EOFError):
            continue
        return name
    return None


def has_user_data(found: Mapping[str, list[bytes]]) -> bool:
    """True if a frame's side data has a message other than an encoder's description of itself."""
    return any(message[:UUID_LENGTH] not in ENCODER_MARKS for message in found.get("SEI_UNREGISTERED", ()))


def _inventory(
    container: InputContainer, video_track: VideoTrack, span: Span, extents: Mapping[int, Extent | None]
) -> Inventory:
    info = video_track.info
    others = [stream for stream in container.streams if stream.index != info.video_stream]
    tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    timecodes = [value for found in tags for key, value in span.tags(found, info).items() if key.lower() == "timecode"]
    chapters = [
        Chapter(chapter["start"] * chapter["time_base"], _comparable(chapter["metadata"]))
        for chapter in span.chapters(container)
    ]
    return Inventory(
        tags=_comparable(container.metadata),
        chapters=tuple(chapters),
        timecode=next(iter(timecodes), None),
        video_track=video_track,
        tracks=tuple(_track(stream, extents) for stream in others),
    )


def _video_track(
    container: InputContainer, info: VideoInfo, side_data: FrameSideData, times: tuple[Fraction, ...]
) -> VideoTrack:
    video = container.streams[info.video_stream]
    marked = {key.lower(): value for key, value in video.metadata.items()}.get(ALPHA_TAG) == "1"
    # A GIF is always decoded with alpha; in other files alpha is intended.
    is_opaque = info.codec == "gif" and side_data.is_opaque
    return VideoTrack(
        info=info,
        side_data=side_data,
        has_alpha=marked or (_has_alpha(av.VideoFormat(info.pixel_format, 64, 64)) and not is_opaque),
        tags=_comparable(video.metadata),
        flags=_flags(video),
        times=times,
    )


def _side_data(frames: Iterable[av.VideoFrame]) -> FrameSideData:
    field, light, kinds, is_opaque = None, LightLevels(), set[str](), True
    for number, frame in enumerate(frames):
        if number == 0:
            field, light = first_field(frame), LightLevels.of(frame)
        if is_opaque and _has_alpha(frame.format):
            is_opaque = int(frame.reformat(format="rgba").to_ndarray()[..., 3].min()) == OPAQUE
        found = side_data(frame)
        kinds |= set(found) - NOT_CONTENT
        if not has_user_data(found):
            kinds.discard("SEI_UNREGISTERED")
    return FrameSideData(field, light, frozenset(kinds), is_opaque)


def _packet_times(path: Path, info: VideoInfo) -> tuple[tuple[Fraction, ...], dict[int, Extent]]:
    """Times of all frames, sorted; start and end of every other stream."""
    times: list[Fraction] = []
    extents: dict[int, Extent] = {}
    with open_video(path) as container:
        for packet in packets_of(container, [stream for stream in container.streams if has_packets(stream)]):
            if packet.size == 0 or (packet.pts is None and packet.dts is None):
                continue
            start = start_of(packet)
            if packet.stream.index == info.video_stream:
                times.append(start)
                continue
            end = start + (packet.duration or 0) * packet.time_base
            first, last = extents.get(packet.stream.index, (start, end))
            extents[packet.stream.index] = (min(first, start), max(last, end))
    return tuple(sorted(times)), extents


def _track(stream: Stream, extents: Mapping[int, Extent | None]) -> Track:
    details: tuple[Any, ...] = ()
    if isinstance(stream, AudioStream) and stream.codec_context is not None:
        details = (stream.codec_context.sample_rate, stream.codec_context.layout.name)
    elif isinstance(stream, AttachmentStream):
        details = (sha256(stream.data).hexdigest(),)
    language = {key.lower(): value for key, value in stream.metadata.items()}.get("language")
    return Track(
        index=stream.index,
        kind=kind_of(stream),
        codec=codec_of(stream),
        language=None if language == "und" else language,
        tags=_comparable(stream.metadata),
        flags=_flags(stream),
        details=details,
        extent=extents.get(stream.index),
        is_empty=has_packets(stream) and extents.get(stream.index, (0, 0)) is None,
    )


def _has_alpha(pixel_format: av.VideoFormat) -> bool:
    return any(component.is_alpha for component in pixel_format.components)


def _flags(stream: Stream) -> frozenset[str]:
    return frozenset(str(flag.name) for flag in Disposition if flag & stream.disposition)


def _comparable(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of the content by lowercase name, because containers differ in case."""
    kept = {key.lower(): value for key, value in kept_metadata(dict(tags)).items()}
    return {key: value for key, value in kept.items() if key not in NOT_COMPARED}
