"""Part of the source that a result covers, with its chapters and timecode."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.container import InputContainer

from storage.video.info import VideoInfo

RESETS_CLOCK = 0x0200  # AVFMT_TS_DISCONT: the clock of MPEG-TS and MPEG-PS starts anywhere
CHAPTER_TICK = Fraction(1, 1000)  # s, resolution of Matroska and mov
TIMECODE = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d+)")


@dataclass(frozen=True)
class Span:
    """Time range of a result in its source, in seconds."""

    shift: Fraction  # subtracted from every time
    window: tuple[Fraction, Fraction] | None = None  # range of the source that is kept; None = all
    skipped: int = 0  # frames of the source before the first one of the result

    @classmethod
    def whole(cls, info: VideoInfo, source: InputContainer, first_pts: int) -> "Span":
        """The span of all of `source`, whose first frame is at `first_pts`."""
        if not source.format.flags & RESETS_CLOCK:
            return cls(Fraction(0))
        starts = [s.start_pts * Fraction(*s.time_base) for s in info.streams if s.start_pts is not None]
        return cls(round(min([first_pts * info.tick, *starts]) / info.tick) * info.tick)

    def chapters(self, source: InputContainer) -> list[Any]:
        """Chapters of `source` inside the span, in the result's times."""
        found: list[Any] = []
        for chapter in source.chapters():
            tick = chapter["time_base"] or CHAPTER_TICK
            start, end = chapter["start"] * tick, chapter["end"] * tick
            if self.window is not None:
                start, end = max(start, self.window[0]), min(end, self.window[1])
                if start >= end:
                    continue
            first, last = (max(0, round((time - self.shift) / CHAPTER_TICK)) for time in (start, end))
            found.append({**chapter, "start": first, "end": last, "time_base": CHAPTER_TICK})
        return found

    def tags(self, tags: dict[str, str], info: VideoInfo) -> dict[str, str]:
        """Adapt `tags` to the span: its timecode starts later."""
        return {
            key: later_timecode(value, self.skipped, info.rate) if key.lower() == "timecode" else value
            for key, value in tags.items()
        }


def later_timecode(timecode: str, frames: int, rate: Fraction) -> str:
    """Advance `timecode` (SMPTE ST 12-1, as 01:00:00:00) by frames.

    With ; or . it is a drop-frame timecode.
    """
    parts = TIMECODE.fullmatch(timecode)
    if parts is None or not frames:
        return timecode
    hours, minutes, seconds, frame = (int(parts[place]) for place in (1, 2, 3, 5))
    nominal = round(rate)
    dropped = round(nominal / 15) if parts[4] in ";." else 0  # numbers skipped each minute except every tenth
    whole_minutes = hours * 60 + minutes
    number = (whole_minutes * 60 + seconds) * nominal + frame - dropped * (whole_minutes - whole_minutes // 10)
    number = (number + frames) % (24 * 60 * 60 * nominal - dropped * (24 * 60 - 24 * 6))
    if dropped:
        tens, rest = divmod(number, 600 * nominal - 9 * dropped)
        number += 9 * dropped * tens
        if rest >= 60 * nominal:
            number += dropped * (1 + (rest - 60 * nominal) // (60 * nominal - dropped))
    seconds, frame = divmod(number, nominal)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{parts[4]}{frame:0{len(parts[5])}d}"
