"""Check of a range's start against the last frame, independent of the container's duration."""

from pathlib import Path

import av

from storage.errors import VideoError
from storage.video.info import VideoInfo, open_video
from storage.video.packets import packets_of

REORDERED = 16  # maximum frames between decoding and presentation
LONGEST_S = 1e9  # 30 years; FFmpeg cannot seek to arbitrarily large times


def check_reaches(path: Path, info: VideoInfo, start_s: float) -> None:
    """Check that the start lies before the last frame. Reads packets, decodes nothing.

    A container's duration may be too short or too long, so only packets count: those after the start, and if there is
    none, all of them. A file with packets without a time (raw streams, MPEG-PS) is not checked here but when it is
    decoded.

    Raises:
        VideoError: no frame is shown at `start_s` seconds from the first one, or later.
    """
    if start_s <= 0 or (info.start_pts is not None and _any_from(path, info, start_s)):
        return
    with open_video(path) as container:
        packets = packets_of(container, [container.streams[info.video_stream]])
        times = [(packet.pts, packet.dts) for packet in packets if packet.size]
    shown = [shown if shown is not None else decoded for shown, decoded in times]
    known = [time for time in shown if time is not None]
    if not known or len(known) < len(times):
        return
    last_s = float((max(known) - min(known)) * info.tick)
    shown_later = any(shown is None for shown, _ in times)  # AVI stores only decode times
    if last_s + (float(REORDERED / info.rate) if shown_later else 0) < start_s:
        raise VideoError(
            f"{path.name}: the last frame is at {last_s:.3f} s, and the range starts at {start_s:g} s "
            "(--start, decode.start). Give a start inside the clip."
        )


def _any_from(path: Path, info: VideoInfo, start_s: float) -> bool:
    """True if seeking to `start_s` finds a packet that is shown there or later."""
    if start_s > LONGEST_S:
        return False
    first = info.start_pts or 0
    with open_video(path) as container:
        stream = container.streams[info.video_stream]
        try:
            container.seek(first + int(start_s / info.tick), stream=stream)
        except av.FFmpegError:
            return False
        packets = packets_of(container, [stream])
        return any(packet.pts is not None and float((packet.pts - first) * info.tick) >= start_s for packet in packets)
