"""Whether a result can be written, tried in memory before anything is computed."""

import io
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer

from storage.errors import UnwritableOutputError
from storage.video import VideoInfo, open_video
from storage.video_muxer import Result, open_result
from storage.video_packets import packets_of
from storage.video_span import Span
from storage.video_streams import codec_of, has_packets, is_encoded
from storage.video_writer import EncodeOptions, encoder_for

LOOKED_AT = 2000  # packets, in which the first one of every stream is looked for


def check_encoding(path: Path, info: VideoInfo, suffix: str, options: EncodeOptions) -> None:
    """Refuse what would fail when the result is encoded.

    Opens the encoder, writes the header of a result in memory and muxes the first packet of every copied stream.

    Args:
        suffix: of the result, with its dot.

    Raises:
        UnwritableOutputError: the encoder refuses its options or these images, or this kind of file cannot hold them
            or the sound.
    """
    name = f"{path.stem}{suffix}"
    encoder = encoder_for(path, info, options)
    with open_video(path) as source:
        span = Span.whole(info, source, info.start_pts or 0)
        with open_result(io.BytesIO(), name, encoder, source, span) as result:
            if encoder.open().extradata != result.video.codec_context.extradata:
                raise UnwritableOutputError(
                    f"encode.codec={options.codec} gives each segment another header than the file. "
                    "Set it to libx264, libx265 or ffv1."
                )
            _mux_first_packets(source, result, name)


def _mux_first_packets(source: InputContainer, result: Result, name: str) -> None:
    waiting = {index: copy for index, copy in result.copies.items() if has_packets(copy) and not is_encoded(copy)}
    streams = [source.streams[index] for index in waiting]
    for packet in islice(packets_of(source, streams) if streams else (), LOOKED_AT):
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
