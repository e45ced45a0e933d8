"""Encoding of a clip in segments, so that a crash loses at most one of them.

<folder>/00000480.packets       the concatenated packets of the segment that begins with frame 480
<folder>/00000480.safetensors   their times and sizes; written last: a segment that has it is finished

Each segment has a new encoder and begins with a keyframe, so that its bytes do not depend on other segments, nor on
where a run was interrupted. Packets are stored as the encoder returned them, in the clip's own ticks, and muxed later.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import av
import numpy as np
from av.packet import PacketSideData, packet_sidedata_type_from_literal
from av.video.codeccontext import VideoCodecContext

from storage.errors import DamagedError, UnwritableOutputError
from storage.files import sync
from storage.video.encoder import THREADS, VideoEncoder
from storage.video.index import Clip, read_frames
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors

# Encoders with one packet per frame, whose first packets do not affect the header of the file.
DIVISIBLE = {"libx264", "libx264rgb", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks", "mpeg4"}
COLUMNS = ("pts", "dts", "keyframe", "size", "alpha_size")
LONGEST_DELAY = 1 << 40  # ticks, maximum of pts minus dts
READ_AT_ONCE = 1 << 20  # bytes

EditFrame = Callable[[int, av.VideoFrame], av.VideoFrame]


@dataclass(frozen=True)
class Segments:
    """Segments of one clip in a folder, which may only hold segments of this clip with this edit."""

    folder: Path
    clip: Clip
    encoder: VideoEncoder
    header: bytes | None  # extradata of the output's stream, which all segments must have
    offset: int  # ticks subtracted from every pts of the clip
    length: int  # frames of a segment; codecs outside of DIVISIBLE get one segment

    @property
    def parts(self) -> list[range]:
        """Frame numbers of each segment."""
        frames = len(self.clip.index)
        length = self.length if self.encoder.codec in DIVISIBLE else frames
        return [range(start, min(start + length, frames)) for start in range(0, frames, length)]

    def encode(self, edit_frame: EditFrame, on_frame: Callable[[int], None]) -> None:
        """Encode the missing segments, each frame through `edit_frame`, and sync each one to disk when it is finished.

        Raises:
            UnwritableOutputError: the encoder gives segments different headers or wrong times.
        """
        self.folder.mkdir(exist_ok=True)
        sync(self.folder.parent)
        for finished, group in groupby(self.parts, self._is_finished):
            if finished:
                continue
            parts = list(group)
            frames = read_frames(self.clip, parts[0].start, parts[-1].stop)
            for part in parts:
                self._encode(part, islice(frames, len(part)), edit_frame, on_frame)

    def packets(self) -> Iterator["av.Packet[Any]"]:
        """Packets of all segments in decoding order, with decode times for the whole clip.

        Raises:
            DamagedError: a segment is missing or truncated.
        """
        tables = [load_tensors(self._table(part)) for part in self.parts]
        times = decode_times([table["pts"] for table in tables], [table["dts"] for table in tables])
        for part, table, decode_at in zip(self.parts, tables, times, strict=True):
            with self._content(part).open("rb") as content:
                for row in zip(decode_at, *(table[name] for name in COLUMNS), strict=True):
                    dts, pts, _, keyframe, size, alpha_size = map(int, row)
                    packet: av.Packet[Any] = av.Packet(_read(content, size))
                    packet.pts, packet.dts, packet.duration = pts, dts, self._duration(pts)
                    packet.time_base, packet.is_keyframe = self.clip.info.tick, bool(keyframe)
                    if alpha_size:
                        _set_alpha(packet, _read(content, alpha_size))
                    yield packet

    def _encode(
        self, part: range, frames: Iterator[tuple[int, av.VideoFrame]], edit: EditFrame, on_frame: Callable[[int], None]
    ) -> None:
        encoder, index = self._fresh_encoder(part), self.clip.index
        with self._content(part).open("wb") as content:
            written = _Written(content)
            for number, frame in frames:
                edited = self.encoder.encodable(edit(number, frame))
                edited.pts, edited.duration = int(index.pts[number]) - self.offset, int(index.durations[number])
                edited.time_base = self.clip.info.tick
                written.add(encoder.encode(edited))
                on_frame(number)
            written.add(encoder.encode(None))
            content.flush()
            os.fsync(content.fileno())
        table = np.array(written.rows, np.int64).reshape(-1, len(COLUMNS))
        self._check_times(part, table[:, 0])
        facts = {"made_of": self._made_of(part), "crc32": str(written.check)}
        save_tensors(self._table(part), dict(zip(COLUMNS, table.T, strict=True)), facts)

    def _fresh_encoder(self, part: range) -> VideoCodecContext:
        encoder = self.encoder.open()
        if encoder.extradata != self.header:
            raise UnwritableOutputError(
                f"{self.encoder.codec} needs another header for the frames from {part.start} on than for the file. "
                "Set encode.codec to libx264, libx265 or ffv1."
            )
        return encoder

    def _check_times(self, part: range, pts: np.ndarray) -> None:
        if self.encoder.codec in DIVISIBLE and not np.array_equal(np.sort(pts), self._pts(part)):
            raise UnwritableOutputError(
                f"{self.encoder.codec} gave {len(pts)} packets for the {len(part)} frames from {part.start} on, or "
                "other times. Set encode.codec to libx264, libx265 or ffv1."
            )

    def _is_finished(self, part: range) -> bool:
        """True if a segment exists, is intact, and was encoded from the same frames with the same settings."""
        try:
            facts = read_metadata(self._table(part))
        except DamagedError:
            return False
        if facts.get("made_of") != self._made_of(part) or not self._content(part).exists():
            return False
        check = 0
        with self._content(part).open("rb") as content:
            while block := content.read(READ_AT_ONCE):
                check = crc32(block, check)
        return facts.get("crc32") == str(check)

    def _made_of(self, part: range) -> str:
        """Digest of everything that affects the packets except the images.

        A new PyAV may have new encoders.
        """
        encoder = self.encoder
        options = {**encoder.wanted, **encoder.parameters}
        facts = [encoder.codec, options, encoder.pixel_format, THREADS, av.__version__]
        times = self._pts(part).tobytes() + (self.header or b"")
        return sha256(json.dumps(facts, sort_keys=True).encode() + times).hexdigest()

    def _duration(self, pts: int) -> int:
        """Duration of the frame shown at `pts`, because SVT-AV1 does not set it."""
        place = int(np.searchsorted(self.clip.index.pts, pts + self.offset, side="right")) - 1
        return int(self.clip.index.durations[max(0, place)])

    def _pts(self, part: range) -> np.ndarray:
        return np.asarray(self.clip.index.pts[part.start : part.stop] - self.offset)

    def _content(self, part: range) -> Path:
        return self.folder / f"{part.start:08d}.packets"

    def _table(self, part: range) -> Path:
        return self.folder / f"{part.start:08d}.safetensors"


@dataclass
class _Written:
    """Writes packets to a file and collects their table."""

    content: BinaryIO
    rows: list[tuple[int, ...]] = field(default_factory=list)  # COLUMNS
    check: int = 0  # CRC-32 of the file

    def add(self, packets: "list[av.Packet[Any]]") -> None:
        for packet in packets:
            if packet.pts is None or packet.dts is None:
                raise UnwritableOutputError(f"packet {len(self.rows)} of the encoder has no time. Change encode.codec.")
            alpha = _alpha(packet)
            for part in (bytes(packet), alpha):
                self.content.write(part)
                self.check = crc32(part, self.check)
            self.rows.append((packet.pts, packet.dts, packet.is_keyframe, packet.size, len(alpha)))


def decode_times(pts: list[np.ndarray], dts: list[np.ndarray]) -> list[np.ndarray]:
    """Decode times of consecutive segments: strictly increasing, and never after the presentation time.

    Computed as x264 does for one clip: the sorted pts, delayed by as many frames as the encoder reorders; before the
    first frame, the first pts minus the time between the first frame and the one that many frames later. A single
    segment keeps its own decode times if they are valid: those of x265 are arbitrary for a clip shorter than its delay.

    Args:
        pts: of each segment, in decoding order. All pts of a segment lie after those of the previous one.
        dts: of each segment, from its encoder.
    """
    if len(pts) < 2 and all(_are_decode_times(*segment) for segment in zip(pts, dts, strict=True)):
        return dts
    shown = np.sort(np.concatenate(pts))
    held = max(_held_back(*segment) for segment in zip(pts, dts, strict=True))
    if held:
        delay = shown[min(held, len(shown) - 1)] - shown[0]
        decoded = np.concatenate([shown[:held] - delay, shown[:-held]])
    else:
        decoded = shown
    ends = np.cumsum([len(segment) for segment in pts])
    return np.split(decoded, ends[:-1])


def _are_decode_times(pts: np.ndarray, dts: np.ndarray) -> bool:
    return bool((np.diff(dts) > 0).all() and (dts <= pts).all() and (dts > pts.min() - LONGEST_DELAY).all())


def _held_back(pts: np.ndarray, dts: np.ndarray) -> int:
    """Frames by which decoding runs ahead: as the order of packets requires, or more if the encoder's dts do."""
    rank = np.argsort(np.argsort(pts))
    early = int((dts < pts.min()).sum()) if _are_decode_times(pts, dts) else 0
    return max(int((np.arange(len(pts)) - rank).max()), early)


def _read(content: BinaryIO, size: int) -> bytes:
    read = content.read(size)
    if len(read) < size:
        raise DamagedError(f"{content.name} is cut short. Run again: its segment is encoded again.")
    return read


def _alpha(packet: "av.Packet[Any]") -> bytes:
    """Alpha data, which VP9 stores separately from the image."""
    if not packet.has_sidedata("matroska_block_additional"):
        return b""
    return bytes(packet.get_sidedata("matroska_block_additional"))


def _set_alpha(packet: "av.Packet[Any]", alpha: bytes) -> None:
    make: Any = PacketSideData  # its stub lacks the constructor
    side_data = make(packet_sidedata_type_from_literal("matroska_block_additional"), len(alpha))
    side_data.update(alpha)
    packet.set_sidedata(side_data)
