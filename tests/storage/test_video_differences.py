"""What a result keeps of its source beside the samples, and the notes on what it does not keep."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from av.stream import Disposition

from storage.video import probe
from storage.video_index import Clip, index_frames, read_frames
from storage.video_inventory import first_field
from storage.video_light import LightLevels, side_data
from storage.video_span import later_timecode
from storage.video_writer import EncodeOptions, write_video

FRAMES, RATE = 12, 25
INTERLACED = "The video is interlaced: faces were edited in whole frames"
LIGHT = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
CAPTION = bytes.fromhex("b500314741393403") + bytes([0x41, 0xFF, 0xFC, 0x94, 0x2C, 0xFF])  # ATSC A/53 part 4
MISB = b"MISPmicrosectime" + bytes.fromhex("1f05d1ffa2b3ffc4d5ffe6f7")  # MISB ST 0604: UUID and time of a frame
IPHONE = {
    "com.apple.quicktime.location.ISO6709": "+48.8584+002.2945+035/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15 Pro",
    "com.apple.quicktime.creationdate": "2025-05-01T12:00:00+0200",
}


def picture(number: int) -> np.ndarray:
    image = np.full((64, 96, 3), 40 + 10 * number, np.uint8)
    image[20:40, 4 * number : 4 * number + 30] = (200, 90, 30)
    return image


def make(
    path: Path,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    options: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
    before: Callable[[Any, Any], None] = lambda container, video: None,
    after: Callable[[Any], None] = lambda container: None,
    frame: Callable[[int], av.VideoFrame] | None = None,
    packet: Callable[[Any], Any] = lambda packet: packet,
) -> Path:
    """A clip of a box that moves. `before` adds streams and tags, `after` their packets."""
    with av.open(str(path), "w", container_options=settings or {}) as container:
        video: Any = container.add_stream(codec, rate=RATE, width=96, height=64, options=options or {})
        video.pix_fmt = pixel_format
        before(container, video)
        for number in range(FRAMES):
            image = frame(number) if frame else av.VideoFrame.from_ndarray(picture(number), "rgb24")
            image = image.reformat(format=pixel_format)
            image.pts, image.time_base = number, Fraction(1, RATE)
            for each in video.encode(image):
                container.mux(packet(each))
        for each in video.encode(None):
            container.mux(packet(each))
        after(container)
    return path


def opened(path: Path, start_s: float | None = None, end_s: float | None = None) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info, start_s, end_s))


def written(clip: Clip, output: Path, codec: str = "libx264", preset: str = "ultrafast") -> list[str]:
    return list(write_video(clip, output, EncodeOptions(codec=codec, preset=preset, segment=5)))


def silence(stream: Any, seconds: float = 0.48) -> list[Any]:
    """Packets of a tone that is hardly heard."""
    rate = stream.codec_context.sample_rate
    samples = (50 * np.sin(np.arange(int(rate * seconds)) / 20)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
    frame.sample_rate = rate
    return [*stream.encode(frame), *stream.encode(None)]


def add_sound(container: Any, codec: str = "aac", rate: int = 44100, **tags: str) -> Any:
    stream = container.add_stream(codec, rate=rate, layout="mono", bit_rate=64000)
    stream.metadata.update(tags)
    return stream


def tags(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return dict(container.metadata)


def streams(path: Path) -> list[tuple[str, str | None, int]]:
    """Type, codec and flags of every stream."""
    with av.open(str(path)) as container:
        return [
            (stream.type, stream.codec_context and stream.codec_context.codec.canonical_name, int(stream.disposition))
            for stream in container.streams
        ]


# --- interlaced ---------------------------------------------------------------------------------------------------


def interlaced(path: Path, field: str) -> Path:
    """A clip whose first field is `tff` or `bff`."""

    def before(container: Any, video: Any) -> None:
        video.codec_context.flags |= Flags.interlaced_dct
        video.codec_context.field_order = {"tff": 2, "bff": 3}[field]

    def frame(number: int) -> av.VideoFrame:
        image = av.VideoFrame.from_ndarray(picture(number), "rgb24").reformat(format="yuv420p")
        graph, image.time_base = Graph(), Fraction(1, RATE)
        entry = graph.add_buffer(width=96, height=64, format=image.format, time_base=image.time_base)
        graph.link_nodes(entry, graph.add("setfield", field), graph.add("buffersink")).configure()
        graph.push(image)
        marked = graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked

    return make(path, options={"x264-params": f"{field}=1"}, before=before, frame=frame)


def header_and_frames(path: Path) -> tuple[int, set[str | None]]:
    clip = opened(path)
    return clip.info.field_order, {first_field(frame) for _, frame in read_frames(clip)}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(("field", "order", "name"), [("bff", 3, "bottom"), ("tff", 2, "top")])
def test_the_first_field_stays_first_in_header_and_frames(
    tmp_path: Path, field: str, order: int, name: str, suffix: str
) -> None:
    source = interlaced(tmp_path / "source.mp4", field)
    assert header_and_frames(source) == (order, {name})

    notes = written(opened(source), tmp_path / f"out{suffix}")

    assert header_and_frames(tmp_path / f"out{suffix}") == (order, {name})
    assert [note.startswith(INTERLACED) for note in notes] == [True]


@pytest.mark.parametrize(("codec", "is_kept"), [("libx264", True), ("libx265", False), ("mpeg4", True)])
def test_a_result_that_is_marked_as_progressive_says_so(tmp_path: Path, codec: str, is_kept: bool) -> None:
    notes = written(opened(interlaced(tmp_path / "source.mp4", "bff")), tmp_path / "out.mp4", codec)

    assert header_and_frames(tmp_path / "out.mp4")[1] == ({"bottom"} if is_kept else {None})
    assert any("marked as progressive" in note for note in notes) == (not is_kept)


# --- light, transparency, captions ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hdr10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def before(container: Any, video: Any) -> None:
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1

    options = {"x265-params": f"log-level=error:{LIGHT}", "preset": "ultrafast"}
    path = tmp_path_factory.mktemp("hdr") / "hdr10.mp4"
    return make(path, "libx265", "yuv420p10le", options=options, before=before)


@pytest.mark.parametrize(
    ("codec", "preset", "suffix"),
    [("libx264", "ultrafast", ".mp4"), ("libx265", "ultrafast", ".mkv"), ("libsvtav1", "10", ".mp4")],
)
def test_light_levels_of_hdr10_are_kept(hdr10: Path, tmp_path: Path, codec: str, preset: str, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    notes = written(opened(hdr10), output, codec, preset)

    before, after = (LightLevels.of(next(read_frames(opened(path)))[1]) for path in (hdr10, output))
    assert before.mastering is not None
    assert after.mastering is not None
    assert [float(value) for value in (*before.mastering.red, *before.mastering.white)] == [0.68, 0.32, 0.3127, 0.329]
    np.testing.assert_allclose(
        [float(value) for value in after.mastering.chromaticities],
        [float(value) for value in before.mastering.chromaticities],
        atol=2e-5,
    )
    assert float(after.mastering.brightest) == 1000
    assert after.content == before.content == (1000, 400)
    assert not [note for note in notes if "HDR10" in note]


def test_light_levels_that_an_encoder_cannot_write_are_noted(hdr10: Path, tmp_path: Path) -> None:
    notes = written(opened(hdr10), tmp_path / "out.mkv", "ffv1")

    assert LightLevels.of(next(read_frames(opened(tmp_path / "out.mkv")))[1]) == LightLevels()
    assert "The video codec hevc became ffv1: encode.codec is ffv1." in notes
    assert [note.split(":")[0] for note in notes if "HDR10" in note] == [
        "The HDR10 mastering display metadata was left out",
        "The HDR10 light levels (MaxCLL, MaxFALL) were left out",
    ]


def clear(number: int) -> av.VideoFrame:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, 48:] = 100
    return av.VideoFrame.from_ndarray(np.concatenate([picture(number), alpha], axis=2), "rgba")


def test_transparency_of_prores_is_kept_by_prores_and_noted_elsewhere(tmp_path: Path) -> None:
    source = make(tmp_path / "source.mov", "prores_ks", "yuva444p10le", frame=clear)

    kept = written(opened(source), tmp_path / "out.mov", "prores_ks")
    lost = written(opened(source), tmp_path / "out.mp4")

    images = [next(read_frames(opened(path)))[1].to_ndarray(format="rgba") for path in (source, tmp_path / "out.mov")]
    assert images[0][0, 0, 3] == 255
    assert abs(int(images[0][0, 95, 3]) - 100) <= 1
    assert np.array_equal(images[0][..., 3], images[1][..., 3])
    assert not [note for note in kept if "transparency" in note]
    assert [note for note in lost if note.startswith("The transparency (alpha) of the video was left out")]


def test_transparency_beside_a_vp9_video_is_noted(tmp_path: Path) -> None:
    def before(container: Any, video: Any) -> None:
        video.metadata["alpha_mode"] = "1"

    source = make(tmp_path / "source.webm", "libvpx-vp9", "yuva420p", frame=clear, before=before)

    notes = written(opened(source), tmp_path / "out.mkv")

    assert [note for note in notes if note.startswith("The transparency (alpha) of the video was left out")]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams[0].metadata}


def with_message(path: Path, kind: int, content: bytes) -> Path:
    """A clip with an SEI message of that type in every frame."""
    message = bytes([6, kind, len(content)]) + content + b"\x80"

    def packet(each: Any) -> Any:
        told = av.Packet(b"\x00\x00\x00\x01" + message + bytes(each))
        told.pts, told.dts, told.time_base = each.pts, each.dts, each.time_base
        told.is_keyframe, told.stream = each.is_keyframe, each.stream
        return told

    return make(path, options={"bf": "0"}, packet=packet)


@pytest.mark.parametrize(
    ("codec", "suffix", "is_kept"), [("libx264", ".mp4", True), ("libx265", ".mkv", True), ("ffv1", ".mkv", False)]
)
def test_closed_captions_are_kept_or_noted(tmp_path: Path, codec: str, suffix: str, is_kept: bool) -> None:
    source, output = with_message(tmp_path / "source.mp4", 4, CAPTION), tmp_path / f"out{suffix}"  # ITU-T T.35

    notes = written(opened(source), output, codec)

    captions = [[side_data(frame).get("A53_CC") for _, frame in read_frames(opened(path))] for path in (source, output)]
    assert captions[0] == [[CAPTION[-4:-1]]] * FRAMES
    assert (captions[1] == captions[0]) == is_kept
    assert ("Not kept of the video: closed captions (CEA-608/708)." in notes) == (not is_kept)


@pytest.mark.parametrize(("codec", "suffix", "is_kept"), [("libx264", ".mp4", True), ("libx265", ".mkv", False)])
def test_user_data_of_a_camera_is_kept_or_noted(tmp_path: Path, codec: str, suffix: str, is_kept: bool) -> None:
    source, output = with_message(tmp_path / "source.mp4", 5, MISB), tmp_path / f"out{suffix}"

    notes = written(opened(source), output, codec)

    for _, frame in read_frames(opened(output)):
        assert (MISB in side_data(frame).get("SEI_UNREGISTERED", [])) == is_kept
    assert ("Not kept of the video: user data in the video stream." in notes) == (not is_kept)


# --- tags, chapters, timecode -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_tags_of_an_iphone_are_kept(tmp_path: Path, suffix: str) -> None:
    settings = {"movflags": "use_metadata_tags"}
    source = make(
        tmp_path / "source.mov",
        settings=settings,
        before=lambda container, video: container.metadata.update({**IPHONE, "title": "Paris"}),
    )
    assert IPHONE.items() <= tags(source).items()

    notes = written(opened(source), tmp_path / f"out{suffix}")

    kept = {key.lower(): value for key, value in tags(tmp_path / f"out{suffix}").items()}
    assert {key.lower(): value for key, value in {**IPHONE, "title": "Paris"}.items()}.items() <= kept.items()
    assert not [note for note in notes if "tags" in note]


def test_a_tag_that_the_container_cannot_hold_is_noted(tmp_path: Path) -> None:
    source = make(
        tmp_path / "source.mkv",
        before=lambda container, video: container.metadata.update({"title": "Kept", "catalog_number": "17"}),
    )

    notes = written(opened(source), tmp_path / "out.mp4")

    assert tags(tmp_path / "out.mp4")["title"] == "Kept"
    assert notes == ["The file's tags catalog_number were left out: .mp4 cannot hold them."]


def chaptered(path: Path) -> Path:
    def before(container: Any, video: Any) -> None:
        starts = (0, 200, 400, 480)
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": start,
                    "end": end,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"Part {number}"},
                }
                for number, (start, end) in enumerate(pairwise(starts), 1)
            ]
        )

    return make(path, before=before)


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (
                round(float(chapter["start"] * (chapter["time_base"] or 0)), 3),
                round(float(chapter["end"] * (chapter["time_base"] or 0)), 3),
                chapter["metadata"]["title"],
            )
            for chapter in container.chapters()
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_chapters_are_kept_and_those_of_a_range_move_with_it(tmp_path: Path, suffix: str) -> None:
    source = chaptered(tmp_path / f"source{suffix}")

    whole = written(opened(source), tmp_path / f"whole{suffix}")
    part = written(opened(source, 0.12, 0.36), tmp_path / f"part{suffix}")

    assert chapters(tmp_path / f"whole{suffix}") == chapters(source)
    assert chapters(tmp_path / f"part{suffix}") == [(0, 0.08, "Part 1"), (0.08, 0.24, "Part 2")]
    assert whole == part == []


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_timecode_is_kept_without_an_untrue_note_and_moves_with_a_range(tmp_path: Path, suffix: str) -> None:
    source = make(
        tmp_path / "source.mov",
        before=lambda container, video: video.metadata.update({"timecode": "01:00:00:20"}),
    )
    assert [kind for kind, _, _ in streams(source)] == ["video", "data"]

    assert written(opened(source), tmp_path / f"whole{suffix}") == []
    assert written(opened(source, 0.24), tmp_path / f"part{suffix}") == []

    for name, expected in (("whole", "01:00:00:20"), ("part", "01:00:01:01")):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            found = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert found["timecode"] == expected


def test_drop_frame_timecode_leaves_out_two_numbers_each_minute_but_every_tenth() -> None:
    counted = [
        f"{hour:02d}:{minute:02d}:{second:02d};{frame:02d}"
        for hour in range(2)
        for minute in range(60)
        for second in range(60)
        for frame in range(30)
        if not (minute % 10 and second == 0 and frame < 2)
    ]
    rate, draw = Fraction(30000, 1001), np.random.default_rng(0)

    for start, frames in draw.integers(1, len(counted) // 2, (500, 2)):
        assert later_timecode(counted[start], int(frames), rate) == counted[start + frames]
    assert later_timecode("23:59:59;29", 1, rate) == "00:00:00;00"


# --- other streams ----------------------------------------------------------------------------------------------------


def crowded(path: Path) -> Path:
    """A Matroska file with two voices, subtitles, a font and a cover; not the first voice is the default."""
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
    return b"".join(map(bytes, context.encode(av.VideoFrame.from_ndarray(picture(0), "rgb24"))))


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
def test_sound_that_no_file_of_ours_holds_is_encoded_without_loss(
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
        assert abs(len(before) - len(after) - 0.2 * 22050) < 0.001 * 22050  # FLV counts in 1 ms
    assert [note for note in notes if "audio" in note] == [
        f"Stream 1 (audio, adpcm_swf) became {codec}, which loses nothing of it: no file we write holds it as it is."
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


@pytest.mark.parametrize(
    ("codec", "pixel_format", "suffix", "encoder", "note"),
    [
        ("libx265", "yuv420p", ".mp4", "libx264", "The video codec hevc became h264: encode.codec is libx264."),
        ("ffv1", "yuv420p12le", ".mkv", "libx264", "yuv420p12le became yuv420p10le"),
        ("ffv1", "yuv420p12le", ".mkv", "libx264", "(12 bits became 10)"),
        ("ffv1", "yuv422p", ".mkv", "libsvtav1", "(color is stored more coarsely)"),
        ("ffv1", "gray", ".mkv", "libsvtav1", "The pixel format gray became"),
    ],
)
def test_a_change_of_codec_depth_or_color_is_noted(
    tmp_path: Path, codec: str, pixel_format: str, suffix: str, encoder: str, note: str
) -> None:
    preset = "10" if encoder == "libsvtav1" else "ultrafast"
    notes = written(
        opened(make(tmp_path / f"source{suffix}", codec, pixel_format)), tmp_path / f"out{suffix}", encoder, preset
    )

    assert [text for text in notes if note in text]
