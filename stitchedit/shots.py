"""Where does one shot end and the next begin? Cuts and fades, found while the frames go by.

PySceneDetect (https://www.scenedetect.com, BSD-3-Clause): its content detector sees hard cuts, its adaptive detector
cuts between pictures that look alike, its threshold detector fades through black.
"""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, ThresholdDetector

FPS = 25.0  # the detectors want one; all lengths here are in frames, so any will do


@dataclass(frozen=True)
class ShotOptions:
    revision: ClassVar[int] = 1

    cut: float = 27.0  # mean change of hue, saturation and value, of 255, that is always a cut
    similar_cut: float = 15.0  # the same, enough when it stands out from the frames around
    stands_out: float = 3.0  # times the mean change of the two frames before and after
    black: float = 12.0  # mean level, of 255; a fade ends below it
    shortest: int = 8  # frames; a second boundary sooner than this belongs to the first

    def __post_init__(self) -> None:
        if not 0 < self.similar_cut <= self.cut:
            raise ValueError(f"shots.similar_cut must be in (0, shots.cut = {self.cut:g}], got {self.similar_cut:g}")
        if self.stands_out <= 1:
            raise ValueError(f"shots.stands_out must be > 1, got {self.stands_out:g}")
        if not 0 <= self.black <= 255:
            raise ValueError(f"shots.black must be in [0, 255], got {self.black:g}")
        if self.shortest < 1:
            raise ValueError(f"shots.shortest must be at least 1 frame, got {self.shortest}")


class ShotFinder:
    """Takes small frames one at a time and keeps the last few of them, however long the video."""

    def __init__(self, options: ShotOptions) -> None:
        self._options = options
        self._content = ContentDetector(threshold=options.cut, min_scene_len=0)
        self._adaptive = AdaptiveDetector(
            adaptive_threshold=options.stands_out, min_scene_len=0, min_content_val=options.similar_cut
        )
        self._fades = ThresholdDetector(threshold=options.black, min_scene_len=0)
        self._frames = 0
        self._recent: deque[np.ndarray] = deque(maxlen=2 + self._adaptive.window_width)
        self._group: list[int] = []  # cuts closer together than the shortest shot
        self._before_group = np.zeros((1, 1, 3), np.uint8)
        self._cuts: list[int] = []
        self._faded: list[int] = []

    def add(self, number: int, image: np.ndarray) -> None:
        """The next frame: uint8 `height width rgb`, all of one size, a hundred pixels wide or so."""
        assert number == self._frames, f"frame {number} after {self._frames} frames"
        self._frames += 1
        self._recent.append(image)
        picture = np.ascontiguousarray(image[..., ::-1])  # the detectors want BGR
        now = FrameTimecode(number, fps=FPS)
        self._faded += [time.frame_num for time in self._fades.process_frame(now, picture)]
        if self._group and number >= self._group[-1] + self._options.shortest:
            self._close_group(image)
        found = self._content.process_frame(now, picture) + self._adaptive.process_frame(now, picture)
        for cut in sorted(time.frame_num for time in found):
            if not self._group:
                self._before_group = self._recent[-1 - (number - cut) - 1]
            self._group.append(cut)

    def shots(self) -> np.ndarray:
        """Shot number of every frame so far, int32, from 0."""
        boundaries: list[int] = []
        for cut in sorted({*self._cuts, *self._group, *self._faded}):
            if not boundaries or cut >= boundaries[-1] + self._options.shortest:
                boundaries.append(cut)
        starts = np.zeros(self._frames, np.int32)
        starts[boundaries] = 1
        return np.cumsum(starts, dtype=np.int32)

    def _close_group(self, after: np.ndarray) -> None:
        """Keep a group of cuts, unless it leads back to the picture before it: a flash."""
        flash = len(set(self._group)) > 1 and self._same_picture(self._before_group, after)
        if not flash:
            self._cuts += self._group
        self._group = []

    def _same_picture(self, one: np.ndarray, other: np.ndarray) -> bool:
        judge = ContentDetector(threshold=self._options.similar_cut, min_scene_len=0)
        judge.process_frame(FrameTimecode(0, fps=FPS), np.ascontiguousarray(one[..., ::-1]))
        return not judge.process_frame(FrameTimecode(1, fps=FPS), np.ascontiguousarray(other[..., ::-1]))
