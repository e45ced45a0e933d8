"""Settings of encoders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.video.encoder import encoding_format
from storage.video.info import probe


@pytest.mark.parametrize(
    ("source", "size", "encoded"),
    [
        ("yuv420p", (640, 360), "yuv420p"),
        ("yuvj422p", (640, 360), "yuvj422p"),
        ("yuv420p10le", (640, 360), "yuv420p10le"),
        ("yuv420p12le", (640, 360), "yuv420p10le"),
        ("yuv422p12le", (640, 360), "yuv422p10le"),
        ("yuv444p", (641, 361), "yuv444p"),
        ("yuv420p", (641, 361), "yuv444p"),
        ("bgra", (640, 360), "yuv444p"),
        ("gbrp10le", (640, 360), "yuv444p10le"),
        ("yuva420p", (640, 360), "yuv420p"),
        ("gray", (640, 360), "gray"),
    ],
)
def test_encoder_gets_the_nearest_pixel_format(
    packaged: Callable[[str], Path], source: str, size: tuple[int, int], encoded: str
) -> None:
    info = replace(probe(packaged("single_face.mp4")), pixel_format=source, width=size[0], height=size[1])

    assert encoding_format(info, "libx264") == encoded
