"""Side-by-side preview video of source and result."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from storage.errors import UnreadableVideoError
from storage.files import appearing, ffmpeg_name
from storage.video.encoder import THREADS, x264_instructions
from storage.video.index import Clip, read_frames
from storage.video.info import VideoInfo, open_video, probe, rgb, video_stream
from storage.video.output import FORMATS, check_output
from storage.video.packets import frames_of

LABEL_PX = 28  # height of the strip above the images


@dataclass(frozen=True)
class Panels:
    labels: tuple[str, str] = ("source", "edited")
    width: int = 1280  # pixels, maximum of both together


def write_side_by_side(
    clip: Clip,
    edited: Path,
    output: Path,
    panels: Panels,
    on_frame: Callable[[int], None] = lambda number: None,
) -> None:
    """Write a small video without sound: source left, result right, both upright and with square pixels.

    Args:
        edited: output of `write_video` for `clip`, with the same frames.

    Raises:
        UnwritableOutputError: the output cannot be written there.
        UnreadableVideoError: `edited` has fewer frames than `clip`.
    """
    check_output(clip.path, output)
    check_output(edited, output)
    right_info = probe(edited)
    size = _panel_size(clip.info, panels.width // 2)
    with ExitStack() as stack:
        part = stack.enter_context(appearing(output))
        target = stack.enter_context(av.open(ffmpeg_name(part), "w", format=FORMATS[output.suffix.lower()]))
        video = _add_video(target, clip.info, size)
        container = stack.enter_context(open_video(edited))
        results = stack.enter_context(closing(frames_of(container, video_stream(container, right_info))))
        for number, left in read_frames(clip):
            right = next(results, None)
            if right is None:
                raise UnreadableVideoError(
                    f"{edited.name}: has {number} frames, its source {len(clip.index)}. Run the encode stage again."
                )
            images = [_panel(left, clip.info, size), _panel(right, right_info, size)]
            frame = av.VideoFrame.from_ndarray(_joined(images, panels.labels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=5, dst_color_range=1)
            frame.pts = int(clip.index.pts[number] - clip.index.pts[0])
            frame.time_base = clip.info.tick
            target.mux(video.encode(frame))
            on_frame(number)
        target.mux(video.encode(None))


def _add_video(target: av.container.OutputContainer, info: VideoInfo, size: tuple[int, int]) -> VideoStream:
    video = target.add_stream("libx264", rate=info.rate, width=2 * size[0], height=size[1] + LABEL_PX)
    parameters = ":".join(f"{name}={value}" for name, value in x264_instructions().items())
    video.codec_context.options = {"crf": "20", "preset": "veryfast", "x264-params": parameters}
    video.codec_context.thread_count = THREADS
    video.time_base = video.codec_context.time_base = info.tick
    video.codec_context.colorspace, video.codec_context.color_range = 6, 1  # BT.601 limited, as converted
    return video


def _panel_size(info: VideoInfo, most: int) -> tuple[int, int]:
    """Even width and height of one panel, at most `most` wide and never larger than the view."""
    width, height = info.view.size
    scale = min(1.0, most / width)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _panel(frame: av.VideoFrame, info: VideoInfo, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(info.view.turn(rgb(frame, info)), size, interpolation=cv2.INTER_AREA))


def _joined(images: list[np.ndarray], labels: tuple[str, str]) -> np.ndarray:
    columns = []
    for image, label in zip(images, labels, strict=True):
        strip = np.zeros((LABEL_PX, image.shape[1], 3), np.uint8)
        cv2.putText(strip, label, (8, LABEL_PX - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        columns.append(np.vstack([strip, image]))
    return np.ascontiguousarray(np.hstack(columns))
