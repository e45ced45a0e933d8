"""Parts of frames for the report, upright."""

from collections.abc import Sequence

import cv2
import numpy as np

from stitchedit.arrays import Frame
from stitchedit.images.warp import Quad
from storage.video.index import Clip
from tasks.inputs.faces import Faces
from tasks.reporting.report_page import Pair, data_uri

MARGIN = 0.15  # of the crop's side, around it
FACE_PX, FRAME_PX = 720, 960  # longest side of the image of a face, and of a full frame


def slides(footage: Clip, found: Sequence[Faces], number: int, pair: tuple[Frame, Frame]) -> list[Pair]:
    """Slides of each face of the frame, and of the full frame."""
    slides = []
    for person in found:
        for row in np.flatnonzero(person.frames == number):
            parts = around(footage, person.quads[row], pair)
            slides.append(Pair(f"frame {number}, face", *map(data_uri, parts)))
    full = [_fitted(footage.info.view.show(frame), FRAME_PX) for frame in pair]
    return [*slides, Pair(f"frame {number}, whole", *map(data_uri, full))]


def around(footage: Clip, quad: Quad, pair: tuple[Frame, Frame]) -> tuple[Frame, Frame]:
    """The part of both frames around a face, upright, at the source's own resolution unless that is too large."""
    margin = MARGIN * np.ptp(quad, axis=0).max()
    height, width = pair[0].shape[:2]
    left, top = np.clip(np.floor(quad.min(axis=0) - margin), 0, (width - 2, height - 2)).astype(int)
    right, bottom = np.clip(np.ceil(quad.max(axis=0) + margin), (left + 2, top + 2), (width, height)).astype(int)
    old, new = (_fitted(footage.info.view.show(frame[top:bottom, left:right]), FACE_PX) for frame in pair)
    return old, new


def _fitted(image: Frame, side: int) -> Frame:
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
