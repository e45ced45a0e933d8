"""Boundaries between shots: cuts and fades, in one pass over the frames.

PySceneDetect (https://www.scenedetect.com, BSD-3-Clause): its content detector sees hard cuts, its adaptive detector
cuts between images that look alike, its threshold detector fades through black. A cut between two people before one
backdrop changes little, and is seen because all around it changes far less.
"""

from collections import deque

import cv2
import numpy as np
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, ThresholdDetector

from stitchedit.options.shots import ShotOptions

FPS = 25.0  # the detectors want one; all lengths here are in frames, so any will do


class ShotFinder:
    """Streaming detector of shot boundaries on small frames, with constant memory."""

    def __init__(self, options: ShotOptions) -> None:
        self._options = options
        self._content = ContentDetector(threshold=options.cut, min_scene_len=0)
        self._adaptive = AdaptiveDetector(
            adaptive_threshold=options.stands_out, min_scene_len=0, min_content_val=options.similar_cut
        )
        self._fades = ThresholdDetector(threshold=options.black, min_scene_len=0)
        self._changes: list[float] = []  # of every frame against the one before
        self._hsv: np.ndarray = np.zeros((1, 1, 3), np.uint8)
        self._recent: deque[np.ndarray] = deque(maxlen=2 + self._adaptive.window_width)
        self._group: list[int] = []  # cuts closer together than the shortest shot
        self._before_group = np.zeros((1, 1, 3), np.uint8)
        self._cuts: list[int] = []
        self._faded: list[int] = []

    def add(self, number: int, image: np.ndarray) -> None:
        """Add the next frame: uint8 `height width rgb`, all of one size, about a hundred pixels wide."""
        assert number == len(self._changes), f"frame {number} after {len(self._changes)} frames"
        bgr = np.ascontiguousarray(image[..., ::-1])  # as the detectors want it
        before, self._hsv = self._hsv, cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)
        self._changes.append(float(cv2.absdiff(self._hsv, before).mean()) if number else 0.0)
        self._recent.append(image)
        now = FrameTimecode(number, fps=FPS)
        self._faded += [time.frame_num for time in self._fades.process_frame(now, bgr)]
        if self._group and number >= self._group[-1] + self._options.shortest:
            self._close_group(image)
        found = self._content.process_frame(now, bgr) + self._adaptive.process_frame(now, bgr)
        for cut in sorted(time.frame_num for time in found):
            if not self._group:
                self._before_group = self._recent[-1 - (number - cut) - 1]
            self._group.append(cut)

    def shots(self) -> np.ndarray:
        """Shot number of every frame so far, int32, from 0."""
        boundaries: list[int] = []
        for cut in sorted({*self._cuts, *self._group, *self._faded, *self._slight_cuts()}):
            if not boundaries or cut >= boundaries[-1] + self._options.shortest:
                boundaries.append(cut)
        starts = np.zeros(len(self._changes), np.int32)
        starts[boundaries] = 1
        return np.cumsum(starts, dtype=np.int32)

    def _slight_cuts(self) -> list[int]:
        """Frames whose difference to the one before stands out from all others near by.

        A flash, a stutter and fast motion are several such differences close together.
        """
        changes, near = np.array(self._changes), self._options.shortest
        largest = _largest_around(changes, near)
        found = (changes >= self._options.slight_cut) & (changes >= self._options.stillness * largest)
        return [cut for cut in np.flatnonzero(found).tolist() if near / 2 <= cut < len(changes) - near / 2]

    def _close_group(self, after: np.ndarray) -> None:
        """Keep a group of cuts, unless it leads back to the image before it: a flash."""
        flash = len(set(self._group)) > 1 and self._same_image(self._before_group, after)
        if not flash:
            self._cuts += self._group
        self._group = []

    def _same_image(self, one: np.ndarray, other: np.ndarray) -> bool:
        judge = ContentDetector(threshold=self._options.similar_cut, min_scene_len=0)
        judge.process_frame(FrameTimecode(0, fps=FPS), np.ascontiguousarray(one[..., ::-1]))
        return not judge.process_frame(FrameTimecode(1, fps=FPS), np.ascontiguousarray(other[..., ::-1]))


def _largest_around(values: np.ndarray, reach: int) -> np.ndarray:
    """Largest of the values up to `reach` places before and after each, itself left out; at least 0.

    Without SciPy, which takes seconds to import: a clip is decoded while the other stages are.
    """
    largest = np.zeros_like(values)
    for step in range(1, reach + 1):
        largest[step:] = np.maximum(largest[step:], values[:-step])
        largest[:-step] = np.maximum(largest[:-step], values[step:])
    return largest
