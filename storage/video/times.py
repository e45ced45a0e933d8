"""Presentation times of frames, and detection of truncated files."""

from dataclasses import dataclass

import av

from storage.video.info import VideoInfo
from storage.video.watch import Watched


def stated_pts(frame: av.VideoFrame) -> int | None:
    """Time of a frame as stated in the file, in ticks."""
    return frame.pts if frame.pts is not None else frame.dts


@dataclass
class Clock:
    """Assigns strictly increasing pts, and counts those that the file does not state."""

    info: VideoInfo
    frames: int = 0
    first: int = 0
    last: int = 0
    made_up: int = 0

    @property
    def step(self) -> int:
        return max(1, round(1 / (self.info.rate * self.info.tick)))

    @property
    def lasts_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float((self.last - self.first + self.step) * self.info.tick)

    def time_of(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Pts and duration in the stream's time base."""
        stated = stated_pts(frame)
        if stated is not None and (self.frames == 0 or stated > self.last):
            pts = stated
        else:
            pts = self.last + self.step if self.frames else 0
            self.made_up += 1
        self.first = self.first if self.frames else pts
        self.last = pts
        self.frames += 1
        return pts, frame.duration or self.step

    def changes(self) -> list[str]:
        if not self.made_up:
            return []
        return [
            f"{self.made_up} of {self.frames} frames have no usable time: they are spaced at "
            f"{float(self.info.rate):g} frames per second."
        ]


@dataclass
class Length:
    """Compares the decoded length with the length that the container states."""

    info: VideoInfo
    finished: bool = True  # decoding went to the end
    video_end: float = 0.0  # seconds, of the decoded frames

    def saw_end(self, seconds: float) -> None:
        """Record the end of a frame."""
        self.video_end = max(self.video_end, seconds)

    def truncation(self, frames: int, watched: Watched) -> list[str]:
        """One sentence if the decoded length is shorter: by a frame if there is damage, else by more than rounding."""
        if not self.finished:
            return []
        promised = self.info.declared_frames or 0
        if self.info.duration is not None:
            start = float((self.info.start_pts or 0) * self.info.tick)
            # Matroska without a duration per stream counts from 0 to the end of the longest stream.
            end = self.video_end if promised else max([self.video_end, *watched.ends_s.values()])
            missing = min(self.info.duration, start + self.info.duration) - end
            interval = float(1 / self.info.rate)
            tolerated = 0.75 * interval if watched.evidence else max(0.1, 3 * interval)
            if missing > tolerated:
                count = f"{promised} frames" if promised else "more"
                return [
                    f"The file ends early: {frames} frames ({end - start:.2f} s) can be decoded, but the container "
                    f"states {count} ({self.info.duration:.2f} s). The file was cut off or not copied completely; only "
                    "the existing frames are used."
                ]
        if promised > len(watched.pts):
            return [f"The container states {promised} frames, but holds {len(watched.pts)}: the others are missing."]
        return []
