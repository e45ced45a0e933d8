"""Streams other than the video: copied, encoded losslessly, or noted."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from made_clips import RATE, add_sound, box_image, make, opened, silence, streams, written


def crowded(path: Path) -> Path:
    """A Matroska file with two sound streams, of which the second is the default, subtitles, a font and a cover."""
    added: dict[str, Any] = {}

    def before(container: Any, video: Any) -> None:
        added["first"], added["second"] = add_sound(container, title="Original"), add_sound(container, language="fre")
        added["first"].disposition, added["second"].disposition = Disposition.original, Disposition.default
        added["text"] = container.add_mux_stream("subrip")
        added["text"].metadata.update({"language": "ger", "title": "Deutsch"})
        added["text"].disposition = Disposition.forced
        container.add_attachment("font.ttf", "font/ttf", b"\x00\x01\x00\x00" * 50)
        container.add_attachment("cover.png", "image/png", png())

    def after(container: Any) -> None:
        container.mux([*silence(added["first"]), *silence(added["second"])])
        for start, text in ((100, b"Guten Tag"), (300, b"Auf Wiedersehen")):
            packet = av.Packet(text)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = 150, Fraction(1, 1000), added["text"]
            container.mux(packet)

    return make(path, settings={"default_mode": "passthrough"}, before=before, after=after)


def png() -> bytes:
    context: Any = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 96, 64, "rgb24", Fraction(1, 25)
    return b"".join(map(bytes, context.encode(av.VideoFrame.from_ndarray(box_image(0), "rgb24"))))


def attached(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as container:
        found = {stream.name or "": stream.data for stream in container.streams.attachments}
        for stream in container.streams.video:
            if stream.disposition & Disposition.attached_pic:
                found["cover"] = bytes(next(container.demux(stream)))
    return found


def test_streams_their_flags_tags_and_attachments_are_kept_in_matroska(tmp_path: Path) -> None:
    source = crowded(tmp_path / "source.mkv")
    assert [kind for kind, _, _ in streams(source)].count("audio") == 2

    notes = written(opened(source), tmp_path / "out.mkv")

    assert streams(tmp_path / "out.mkv") == streams(source)
    assert attached(tmp_path / "out.mkv") == attached(source)
    assert set(attached(source)) == {"font.ttf", "cover"}
    with av.open(str(source)) as old, av.open(str(tmp_path / "out.mkv")) as new:
        for before, after in zip(old.streams, new.streams, strict=True):
            assert {"language", "title", "filename"} & set(before.metadata) == {"language", "title", "filename"} & set(
                after.metadata
            )
            assert before.language == after.language
    assert notes == []


def test_streams_that_mp4_cannot_hold_are_noted_and_no_other(tmp_path: Path) -> None:
    notes = written(opened(crowded(tmp_path / "source.mkv")), tmp_path / "out.mp4")

    assert [kind for kind, _, _ in streams(tmp_path / "out.mp4")] == ["video", "audio", "audio", "video"]
    assert attached(tmp_path / "out.mp4") == {"cover": png()}
    assert [note.split(":")[0] for note in notes if "was left out" in note] == [
        "Stream 3 (subtitle, subrip, ger) was left out",
        "Stream 4 (attachment, unknown) was left out",
    ]


def test_a_subtitle_that_is_shown_when_a_range_begins_is_kept(tmp_path: Path) -> None:
    written(opened(crowded(tmp_path / "source.mkv"), 0.16, 0.36), tmp_path / "out.mkv")

    with av.open(str(tmp_path / "out.mkv")) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size]
    assert [(packet.pts, packet.duration, bytes(packet)) for packet in packets] == [
        (0, 90, b"Guten Tag"),
        (140, 150, b"Auf Wiedersehen"),
    ]


def test_a_second_video_stream_is_noted(tmp_path: Path) -> None:
    second: dict[str, Any] = {}

    def before(container: Any, video: Any) -> None:
        second["video"] = container.add_stream("libx264", rate=RATE, width=32, height=32)

    def after(container: Any) -> None:
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        container.mux([*second["video"].encode(frame), *second["video"].encode(None)])

    source = make(tmp_path / "source.mkv", before=before, after=after)
    notes = written(opened(source), tmp_path / "out.mkv")

    assert notes == ["Stream 1 (video, h264) was left out: one video stream is kept."]


def sounding(path: Path, codec: str, rate: int = 44100) -> Path:
    added: dict[str, Any] = {}

    def before(container: Any, video: Any) -> None:
        added["sound"] = add_sound(container, codec, rate)

    return make(path, before=before, after=lambda container: container.mux(silence(added["sound"])))


def packets_of_sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("s16", "mono")
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray().ravel() for frame in frames])


def test_windows_media_audio_goes_into_matroska_packet_by_packet(tmp_path: Path) -> None:
    source = sounding(tmp_path / "source.asf", "wmav2")

    notes = written(opened(source), tmp_path / "out.mkv")

    assert packets_of_sound(tmp_path / "out.mkv") == packets_of_sound(source)
    assert np.array_equal(heard(tmp_path / "out.mkv"), heard(source))
    assert not [note for note in notes if "audio" in note]


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "flac"), (".mp4", "alac"), (".mov", "alac")])
@pytest.mark.parametrize("start_s", [None, 0.2])
def test_sound_that_no_output_format_holds_is_encoded_losslessly(
    tmp_path: Path, suffix: str, codec: str, start_s: float | None
) -> None:
    source = sounding(tmp_path / "source.flv", "adpcm_swf", 22050)
    output = tmp_path / f"out{suffix}"

    notes = written(opened(source, start_s), output)

    before, after = heard(source), heard(output)
    assert streams(output)[1][:2] == ("audio", codec)
    if start_s is None:
        assert np.array_equal(before, after[: len(before)])
    else:
        assert np.array_equal(before[-len(after) :], after[: len(before)])
        assert abs(len(before) - len(after) - 0.2 * 22050) < 0.001 * 22050  # the resolution of FLV is 1 ms
    assert [note for note in notes if "audio" in note] == [
        f"Stream 1 (audio, adpcm_swf) became {codec}, which is lossless: no output format can hold the original codec."
    ]


def test_sound_of_an_unknown_codec_is_noted(tmp_path: Path) -> None:
    source = sounding(tmp_path / "known.mov", "pcm_s16le")
    content = source.read_bytes()
    assert content.count(b"sowt") == 1
    unknown = tmp_path / "unknown.mov"
    unknown.write_bytes(content.replace(b"sowt", b"zzzz"))

    for suffix in (".mov", ".mkv"):
        notes = written(opened(unknown), tmp_path / f"out{suffix}")

        assert [kind for kind, _, _ in streams(tmp_path / f"out{suffix}")] == ["video"]
        assert notes == ["Stream 1 (audio, unknown) was left out: FFmpeg does not know its codec."]


def test_data_that_is_not_read_back_is_noted(tmp_path: Path) -> None:
    added: dict[str, Any] = {}

    def before(container: Any, video: Any) -> None:
        added["data"] = container.add_data_stream("klv")

    def after(container: Any) -> None:
        packet: Any = av.Packet(bytes.fromhex("060e2b34") + bytes(20))
        packet.pts = packet.dts = 9000
        packet.time_base, packet.stream = Fraction(1, 90000), added["data"]
        container.mux(packet)

    source = make(tmp_path / "source.ts", before=before, after=after)
    for suffix in (".mp4", ".mov", ".mkv"):
        notes = written(opened(source), tmp_path / f"out{suffix}")

        assert [kind for kind, _, _ in streams(tmp_path / f"out{suffix}")] == ["video"]
        assert notes == [f"Stream 1 (data, klv) was left out: {suffix} cannot hold it."]
