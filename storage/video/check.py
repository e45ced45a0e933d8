"""Trial encoding in memory, to detect an impossible output before any computation."""

import io
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer

from storage.errors import UnwritableOutputError
from storage.video.encoder import VideoEncoder
from storage.video.info import VideoInfo, open_video
from storage.video.inventory import first_frame
from storage.video.muxer import Result, open_result
from storage.video.packets import frames_of, packets_of
from storage.video.span import Span
from storage.video.streams import codec_of, has_packets, is_encoded
from storage.video.writer import EncodeOptions, encoder_for

PACKETS_SEARCHED = 2000  # for the first packet of every stream


def check_encoding(path: Path, info: VideoInfo, suffix: str, options: EncodeOptions) -> None:
    """Check that the result can be encoded and muxed.

    Writes the first frame and the first packet of every copied stream to a file in memory, and reads it back.

    Args:
        suffix: of the result, with its dot.

    Raises:
        UnwritableOutputError: the encoder rejects its options or these images, or the file format cannot hold them or
            the sound.
    """
    name, content = f"{path.stem}{suffix}", io.BytesIO()
    encoder = encoder_for(path, info, options)
    with open_video(path) as source:
        span = Span.whole(info, source, info.start_pts or 0)
        with open_result(content, name, encoder, source, span) as result:
            _mux_frame(encoder, first_frame(path, info), result)
            _mux_first_packets(source, result, name)
    content.seek(0)
    with av.open(content, "r") as written:
        if next(frames_of(written, written.streams.video[0]), None) is None:
            raise UnwritableOutputError(
                f"{name}: FFmpeg cannot read what encode.codec={options.codec} writes into this kind of file. "
                "Write a .mkv, or set encode.codec to libx264, libx265 or ffv1."
            )


def _mux_frame(encoder: VideoEncoder, frame: av.VideoFrame, result: Result) -> None:
    context = encoder.open()
    if context.extradata != result.video.codec_context.extradata:
        raise UnwritableOutputError(
            f"encode.codec={encoder.codec} gives each segment another header than the file. "
            "Set it to libx264, libx265 or ffv1."
        )
    image = encoder.encodable(frame)
    image.pts, image.time_base = 0, encoder.info.tick
    for packet in [*context.encode(image), *context.encode(None)]:
        packet.stream, packet.time_base, packet.dts = result.video, encoder.info.tick, packet.pts
        result.container.mux(packet)


def _mux_first_packets(source: InputContainer, result: Result, name: str) -> None:
    waiting = {index: copy for index, copy in result.copies.items() if has_packets(copy) and not is_encoded(copy)}
    streams = [source.streams[index] for index in waiting]
    for packet in islice(packets_of(source, streams) if streams else (), PACKETS_SEARCHED):
        copy = waiting.pop(packet.stream.index, None)
        if copy is not None and packet.dts is not None:
            codec, number = codec_of(packet.stream), packet.stream.index
            packet.stream = copy
            try:
                result.container.mux(packet)
            except (av.FFmpegError, ValueError) as error:
                raise UnwritableOutputError(
                    f"{name}: cannot hold {codec} {copy.type} (stream {number}). Write a .mkv, which can."
                ) from error
        if not waiting:
            break
