"""Size or pixel aspect that changes in mid-stream, as in a recorded broadcast."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import UnreadableVideoError
from storage.video.decode_options import DecodeOptions
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import probe, rgb
from storage.video.writer import EncodeOptions, write_video

FRAMES = 8  # of each part


def recording(path: Path, *parts: tuple[tuple[int, int], Fraction]) -> Path:
    """An MPEG-TS of parts with different size and pixel aspect: a bright square right of the center, on gray."""
    content = b""
    for number, ((width, height), aspect) in enumerate(parts):
        part = path.with_suffix(f".{number}.ts")
        with av.open(str(part), "w", format="mpegts") as target:
            video = target.add_stream("libx264", rate=25, width=width, height=height, options={"bf": "0", "crf": "8"})
            video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 25)
            video.codec_context.sample_aspect_ratio = aspect
            for pts in range(FRAMES * number, FRAMES * (number + 1)):
                image = np.full((height, width, 3), 90, np.uint8)
                image[height // 4 : height // 2, width // 2 : 3 * width // 4] = 230
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts = pts
                target.mux(video.encode(frame))
            target.mux(video.encode(None))
        content += part.read_bytes()
    path.write_bytes(content)
    return path


def opened(path: Path, start_s: float | None = None, end_s: float | None = None) -> Clip:
    info = probe(path)
    return Clip(path, info, index_frames(path, info, DecodeOptions(start=start_s, end=end_s)))


@pytest.mark.parametrize("second", [(160, 90), (640, 360)])
def test_frames_of_another_size_are_scaled_with_a_warning(second: tuple[int, int], tmp_path: Path) -> None:
    path, shapes = recording(tmp_path / "in.ts", ((320, 180), Fraction(1)), (second, Fraction(1))), set()
    info = probe(path)

    index = index_frames(path, info, on_frame=lambda number, image: shapes.add(image.shape))

    assert shapes == {(90, 160, 3)}  # required by the shot detection
    size = f"{second[0]}x{second[1]}"
    assert index.warnings[-1] == (
        f"8 frames are not 320x180 like the first, from frame 8 (0.320 s) on, where they are {size}: "
        "they are scaled to it."
    )
    first, *_, last = (rgb(frame, info).astype(int) for _, frame in read_frames(Clip(path, info, index)))
    assert first.shape == last.shape == (180, 320, 3)
    assert np.abs(first - last).mean() < 2  # the square is at the same place


def test_the_result_has_one_size_and_every_frame(tmp_path: Path) -> None:
    clip = opened(recording(tmp_path / "in.ts", ((320, 180), Fraction(1)), ((160, 90), Fraction(1))))

    write_video(clip, tmp_path / "out.mp4", EncodeOptions(preset="ultrafast"))

    with av.open(str(tmp_path / "out.mp4")) as result:
        assert [(frame.width, frame.height) for frame in result.decode(video=0)] == [(320, 180)] * 2 * FRAMES


def test_another_size_with_another_pixel_aspect_can_have_the_same_shape(tmp_path: Path) -> None:
    """For example a broadcast that changes from 1440x1080 to 1920x1080."""
    clip = opened(recording(tmp_path / "in.ts", ((240, 180), Fraction(4, 3)), ((320, 180), Fraction(1))))

    assert len(clip.index) == 2 * FRAMES
    assert "8 frames are not 240x180 like the first" in clip.index.warnings[-1]


@pytest.mark.parametrize("second", [((320, 180), Fraction(4, 3)), ((180, 320), Fraction(1)), ((240, 180), Fraction(1))])
def test_another_shape_is_rejected_with_the_time_and_a_way_out(
    second: tuple[tuple[int, int], Fraction], tmp_path: Path
) -> None:
    path = recording(tmp_path / "in.ts", ((320, 180), Fraction(1)), second)

    with pytest.raises(
        UnreadableVideoError, match=r"in\.ts: .* 1\.778 times as wide as high .* about frame"
    ) as refused:
        opened(path)

    end_s = float(str(refused.value).partition("--end ")[2].partition(")")[0])
    assert 0 < end_s <= FRAMES / 25
    assert len(opened(path, end_s=end_s).index) == round(25 * end_s)
    with pytest.raises(UnreadableVideoError, match=r"about frame 0 \(0\.480 s\)"):  # later parts have yet another shape
        opened(path, start_s=0.48)
