"""Frames whose size or pixel aspect changes in mid-stream: scaled to the first frame's size, or rejected."""

from dataclasses import dataclass

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange

from storage.errors import UnreadableVideoError
from storage.video.info import CONVERSION, VideoInfo, is_full_range

SAME_SHAPE = 0.02  # tolerance of the ratio of width to height: sizes are rounded to whole blocks


def fitted(frame: av.VideoFrame, info: VideoInfo) -> av.VideoFrame:
    """Scale `frame` to the size of the clip's first frame, in its own pixel format."""
    if (frame.width, frame.height) == (info.width, info.height):
        return frame
    levels = ColorRange.JPEG if is_full_range(frame.format, info) else ColorRange.MPEG
    return frame.reformat(
        width=info.width,
        height=info.height,
        src_colorspace=info.matrix.swscale,
        dst_colorspace=info.matrix.swscale,
        src_color_range=levels,
        dst_color_range=levels,
        interpolation=CONVERSION,
    )


@dataclass
class ShapeWatch:
    """Counts frames of another size than the first, and rejects those that scaling would distort."""

    name: str  # of the file
    info: VideoInfo
    scaled: int = 0
    _first: str = ""  # description of the first scaled frame
    _shape: float | None = None  # width / height of the first frame, as displayed

    def begin(self, context: VideoCodecContext) -> None:
        """Store the shape of the file's first frame, which `info` describes.

        Later calls do nothing.
        """
        self._shape = self._shape or _shape_of(context)

    def saw(self, frame: av.VideoFrame, context: VideoCodecContext, number: int, seconds: float) -> None:
        """Check one more selected frame.

        Args:
            context: of its decoder, which alone has the pixel aspect, and may be some frames ahead.

        Raises:
            UnreadableVideoError: it has another shape, as displayed, than the first.
        """
        self.begin(context)
        assert self._shape is not None
        shape = _shape_of(context)
        if abs(shape / self._shape - 1) > SAME_SHAPE:
            raise UnreadableVideoError(
                f"{self.name}: the image is {self._shape:.3f} times as wide as high at first, {shape:.3f} times from "
                f"about frame {number} ({seconds:.3f} s) on, and a result can have one shape only. Edit the part "
                f"before it (--end {seconds:.3f}), or cut the file there: `ffmpeg -ss {seconds:.3f} -i IN -c copy OUT`."
            )
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            self._first = (
                self._first or f"frame {number} ({seconds:.3f} s) on, where they are {frame.width}x{frame.height}"
            )
            self.scaled += 1

    def warnings(self) -> list[str]:
        if not self.scaled:
            return []
        size = f"{self.info.width}x{self.info.height}"
        return [f"{self.scaled} frames are not {size} like the first, from {self._first}: they are scaled to it."]


def _shape_of(context: VideoCodecContext) -> float:
    aspect = context.sample_aspect_ratio
    return max(1, context.width) / max(1, context.height) * (float(aspect) if aspect and aspect > 0 else 1.0)
