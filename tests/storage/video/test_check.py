"""The check rejects exactly what cannot be encoded or written, before anything is computed."""

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from storage.errors import UnwritableOutputError
from storage.video.check import check_encoding
from storage.video.index import Clip, index_frames
from storage.video.info import probe
from storage.video.writer import EncodeOptions, write_video

SOURCES = {  # name: codec, pixel format, size, time base, sound
    "phone.mp4": ("libx264", "yuv420p", (96, 64), Fraction(1, 25), "aac"),
    "old.asf": ("wmv2", "yuv420p", (96, 64), Fraction(1, 1000), "wmav2"),
    "odd.mkv": ("ffv1", "gbrp10le", (97, 65), Fraction(1, 90000), "flac"),
}
CODECS = [
    EncodeOptions(preset="ultrafast"),
    EncodeOptions(codec="libx265", preset="ultrafast"),
    EncodeOptions(codec="libsvtav1", preset="12"),
    EncodeOptions(codec="libvpx-vp9"),
    EncodeOptions(codec="ffv1"),
    EncodeOptions(codec="prores_ks"),
    EncodeOptions(codec="mpeg4"),
    EncodeOptions(codec="mjpeg"),
    EncodeOptions(codec="rawvideo"),
    EncodeOptions(codec="libx264", preset="hasty"),
    EncodeOptions(codec="libsvtav1", preset="medium"),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    for name, (codec, pixel_format, size, tick, sound) in SOURCES.items():
        with av.open(str(folder / name), "w") as container:
            video: Any = container.add_stream(codec, rate=25, width=size[0], height=size[1], time_base=tick)
            voice: Any = container.add_stream(sound, rate=44100, layout="stereo", bit_rate=96000)
            video.pix_fmt = pixel_format
            for number in range(4):
                image = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 60 * number, np.uint8), "rgb24")
                image = image.reformat(format=pixel_format)
                image.pts, image.time_base = round(number / 25 / tick), tick
                container.mux(video.encode(image))
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 7056), np.int16), "s16", "stereo")
            tone.sample_rate, tone.pts, tone.time_base = 44100, 0, Fraction(1, 44100)
            container.mux([*voice.encode(tone), *voice.encode(None), *video.encode(None)])
    return {name: folder / name for name in SOURCES}


def refusal(call: Any) -> str | None:
    try:
        call()
    except UnwritableOutputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("options", CODECS, ids=lambda options: f"{options.codec}-{options.preset}")
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", SOURCES)
def test_the_check_accepts_exactly_the_outputs_that_can_be_written(
    sources: dict[str, Path], tmp_path: Path, name: str, suffix: str, options: EncodeOptions
) -> None:
    info = probe(sources[name])
    clip = Clip(sources[name], info, index_frames(sources[name], info))

    began = time.monotonic()
    refused = refusal(lambda: check_encoding(sources[name], info, suffix, options))
    took = time.monotonic() - began
    failed = refusal(lambda: write_video(clip, tmp_path / f"out{suffix}", options))

    assert (refused is None) == (failed is None), (refused, failed)
    assert took < 5  # s, on a busy machine
    assert (tmp_path / f"out{suffix}").exists() == (failed is None)
    assert not [path for path in sources[name].parent.iterdir() if path.name not in SOURCES]


@pytest.mark.parametrize(
    ("name", "suffix", "options", "reason"),
    [
        ("old.asf", ".mp4", {}, r"old\.mp4: cannot hold wmav2 sound \(stream 1\)\. Write a \.mkv, which can"),
        ("phone.mp4", ".mp4", {"codec": "prores_ks"}, r"phone\.mp4: cannot hold prores_ks\. Write a \.mkv"),
        ("phone.mp4", ".mp4", {"preset": "hasty"}, r"encode\.codec=libx264 encode\.preset=hasty .* refuses 96x64"),
        ("phone.mp4", ".mkv", {"codec": "libsvtav1"}, r"encode\.preset=medium .*Change encode\.preset"),
    ],
)
def test_a_rejection_names_the_problem_and_the_way_out(
    sources: dict[str, Path], name: str, suffix: str, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(UnwritableOutputError, match=reason):
        check_encoding(sources[name], probe(sources[name]), suffix, EncodeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "h264_nothing", "srt"])
def test_an_encoder_that_is_not_for_video_is_rejected(codec: str) -> None:
    with pytest.raises(ValueError, match=rf"encode\.codec '{codec}' is no video encoder"):
        EncodeOptions(codec=codec)
