"""Light levels of HDR10 video (SMPTE ST 2086, CTA-861.3): read from frames, and passed to encoders."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

Point = tuple[Fraction, Fraction]  # x, y of CIE 1931

MASTERING_LAYOUT = 20  # numbers of AVMasteringDisplayMetadata: numerators and denominators; two flags follow
CHROMATICITY_UNIT, LUMINANCE_UNIT = 50000, 10000  # steps per 1 and per 1 cd/m2 in H.264 and HEVC


@dataclass(frozen=True)
class MasteringDisplay:
    red: Point
    green: Point
    blue: Point
    white: Point
    darkest: Fraction  # cd/m2
    brightest: Fraction

    @property
    def chromaticities(self) -> tuple[Fraction, ...]:
        return (*self.red, *self.green, *self.blue, *self.white)


@dataclass(frozen=True)
class LightLevels:
    """HDR10 metadata: mastering display and content light levels."""

    mastering: MasteringDisplay | None = None
    content: tuple[int, int] | None = None  # MaxCLL and MaxFALL, cd/m2

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "LightLevels":
        """Light levels in the side data of `frame`."""
        found = side_data(frame)
        mastering = [_mastering(content) for content in found.get("MASTERING_DISPLAY_METADATA", ())]
        levels = [np.frombuffer(content, np.uint32).tolist() for content in found.get("CONTENT_LIGHT_LEVEL", ())]
        return cls(mastering[0] if mastering else None, (levels[0][0], levels[0][1]) if levels else None)

    def encoder_parameters(self, codec: str) -> dict[str, str]:
        """Parameters with which the encoder `codec` writes them; empty if it cannot."""
        names = {
            "libx264": ("mastering-display", "cll"),
            "libx265": ("master-display", "max-cll"),
            "libsvtav1": ("mastering-display", "content-light"),
        }.get(codec)
        if names is None:
            return {}
        parameters = {}
        if self.mastering is not None:
            parameters[names[0]] = _described(self.mastering, codec)
        if self.content is not None:
            parameters[names[1]] = "{},{}".format(*self.content)
        return parameters


def side_data(frame: av.VideoFrame) -> dict[str, list[bytes]]:
    """Side data of `frame`, by FFmpeg's name of the kind."""
    found: dict[str, list[bytes]] = {}
    try:
        entries: Any = list(frame.side_data)  # PyAV's stub knows motion vectors only
    except ValueError:  # PyAV cannot list any entry if it does not know the kind of one
        return {"UNKNOWN": []}
    for data in entries:
        found.setdefault(Type(data.type).name, []).append(bytes(data))
    return found


def _mastering(content: bytes) -> MasteringDisplay | None:
    """Parse a mastering display; None if it is incomplete, which encoders reject."""
    numbers = np.frombuffer(content, np.int32)
    pairs = numbers[:MASTERING_LAYOUT].reshape(-1, 2).tolist()
    if not numbers[MASTERING_LAYOUT : MASTERING_LAYOUT + 2].all() or not all(below for _, below in pairs):
        return None
    values = [Fraction(above, below) for above, below in pairs]
    points = [(values[start], values[start + 1]) for start in range(0, 8, 2)]
    return MasteringDisplay(points[0], points[1], points[2], points[3], darkest=values[8], brightest=values[9])


def _described(display: MasteringDisplay, codec: str) -> str:
    def point(name: str, at: Point) -> str:
        if codec == "libsvtav1":  # takes decimal numbers
            return f"{name}({float(at[0]):.5f},{float(at[1]):.5f})"
        return f"{name}({round(at[0] * CHROMATICITY_UNIT)},{round(at[1] * CHROMATICITY_UNIT)})"

    if codec == "libsvtav1":
        luminance = f"L({float(display.brightest):.4f},{float(display.darkest):.4f})"
    else:
        luminance = f"L({round(display.brightest * LUMINANCE_UNIT)},{round(display.darkest * LUMINANCE_UNIT)})"
    points = (("G", display.green), ("B", display.blue), ("R", display.red), ("WP", display.white))
    return "".join(point(name, at) for name, at in points) + luminance
