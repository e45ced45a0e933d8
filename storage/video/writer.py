"""Writing of the edited video, with notes on what is not kept of the source."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.codec import Codec
from av.container import InputContainer

from storage.errors import UnreadableVideoError, UnwritableOutputError
from storage.files import appearing
from storage.video.copies import PacketCopies
from storage.video.differences import differences
from storage.video.encoder import CODED_FIRST, VideoEncoder
from storage.video.index import Clip
from storage.video.info import VideoInfo, open_video
from storage.video.inventory import (
    Inventory,
    first_field,
    first_frame,
    has_user_data,
    result_inventory,
    source_inventory,
)
from storage.video.light import LightLevels, side_data
from storage.video.muxer import open_result
from storage.video.output import check_output
from storage.video.segments import EditFrame, Segments
from storage.video.span import Span

TOP_FIRST, BOTTOM_FIRST = 2, 3  # AVFieldOrder


@dataclass(frozen=True)
class EncodeOptions:
    codec: str = "libx264"  # FFmpeg's name of the encoder
    crf: float = 16.0  # constant quality; 0 = lossless with 8 bits, higher = smaller
    preset: str = "medium"  # the encoder's trade-off between speed and size
    segment: int = 240  # frames per segment, the most that a crash loses

    def __post_init__(self) -> None:
        if not _encodes_video(self.codec):
            raise ValueError(f"encode.codec {self.codec!r} is no video encoder here; libx264, libx265 and ffv1 are.")
        if not 0 <= self.crf <= 63:
            raise ValueError(f"encode.crf must be in [0, 63], got {self.crf:g}")
        if self.segment < 1:
            raise ValueError(f"encode.segment must be at least 1 frame, got {self.segment}")


def write_video(  # noqa: PLR0913 - two of them are callbacks
    clip: Clip,
    output: Path,
    options: EncodeOptions,
    edit_frame: EditFrame = lambda number, frame: frame,
    on_frame: Callable[[int], None] = lambda number: None,
    *,
    scratch: Path | None = None,
) -> tuple[str, ...]:
    """Write the frames of `clip`, each through `edit_frame`.

    Return notes on what could not be kept.

    Frames keep pts and time base; if the clip is a range, its first frame is at 0 and the sound is shifted with it.
    The output is written atomically; if writing fails, an existing file is unchanged.

    Frames are encoded in segments of `options.segment` frames. Called again with the same `scratch` after a failure or
    a kill, it resumes with the first missing segment, and the output is the same byte for byte; codecs outside of
    `storage.video.segments.DIVISIBLE` start from the first frame.

    Args:
        on_frame: gets the number of each frame that was encoded in this call.
        scratch: a folder for the segments of this clip with this edit, which is kept; None = a temporary one.

    Raises:
        UnwritableOutputError: the output cannot be written there, or cannot hold these streams.
    """
    check_output(clip.path, output)
    with ExitStack() as stack:
        source = stack.enter_context(open_video(clip.path))
        part = stack.enter_context(appearing(output))
        folder = stack.enter_context(_folder(scratch, output))
        span, encoder = _span(clip, source), encoder_for(clip.path, clip.info, options)
        with open_result(part, output.name, encoder, source, span) as result:
            copies = PacketCopies(source, result.container, result.copies, span)
            offset, header = round(span.shift / clip.info.tick), result.video.codec_context.extradata
            segments = Segments(folder, clip, encoder, header, offset, options.segment)
            segments.encode(edit_frame, on_frame)
            for packet in segments.packets():
                decoded_at = (packet.dts or 0) + offset  # before muxing, which counts it in the file's own ticks
                packet.stream = result.video
                result.container.mux(packet)
                copies.until(decoded_at * clip.info.tick)
            copies.until(None)
        before, after = source_inventory(clip, span, copies.extents), _read_back(part, output)
        return (*differences(before, after, options.codec, output.suffix.lower()), *copies.notes())


def _read_back(part: Path, output: Path) -> Inventory:
    try:
        return result_inventory(part)
    except UnreadableVideoError as error:
        raise UnwritableOutputError(
            f"{output.name}: the written file cannot be read back ({error}). Write a .mkv, or set encode.codec to "
            "libx264, libx265 or ffv1."
        ) from error


def encoder_for(path: Path, info: VideoInfo, options: EncodeOptions) -> VideoEncoder:
    """Encoder for a result of the video at `path`.

    Decodes one frame, which has more properties than the container.
    """
    frame = first_frame(path, info)
    if info.interlaced and info.field_order not in CODED_FIRST:
        info = replace(info, field_order=BOTTOM_FIRST if first_field(frame) == "bottom" else TOP_FIRST)
    wanted = _encoder_options(options)
    if options.codec == "libx264" and has_user_data(side_data(frame)):  # x265 would replace them with its own message
        wanted["udu_sei"] = "1"
    return VideoEncoder(options.codec, wanted, info, LightLevels.of(frame))


def _encodes_video(codec: str) -> bool:
    try:
        return Codec(codec, "w").type == "video"
    except av.codec.codec.UnknownCodecError:
        return False


@contextmanager
def _folder(scratch: Path | None, output: Path) -> Iterator[Path]:
    if scratch is not None:
        yield scratch
        return
    with TemporaryDirectory(prefix=".segments-", dir=output.parent) as folder:
        yield Path(folder)


def _encoder_options(options: EncodeOptions) -> dict[str, str]:
    return {"crf": f"{options.crf:g}", "preset": options.preset, "a53cc": "1"}


def _span(clip: Clip, source: InputContainer) -> Span:
    index, tick = clip.index, clip.info.tick
    first = int(index.pts[0])
    if not index.partial:
        return Span.whole(clip.info, source, first)
    stop = int(index.pts[-1]) + int(index.durations[-1])
    return Span(first * tick, (first * tick, stop * tick), index.skipped)
