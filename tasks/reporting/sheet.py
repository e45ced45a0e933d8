"""Before and after on one picture: what people look at before they look at numbers."""

from collections.abc import Sequence

import cv2
import numpy as np

from stitchedit.arrays import Frame

LABEL_PX = 22


def contact_sheet(pairs: Sequence[tuple[str, Frame, Frame]], height: int = 320) -> Frame:
    """One column per (label, before, after), the two above each other at `height` px each."""
    columns = []
    for label, before, after in pairs:
        scale = height / before.shape[0]
        size = (max(1, round(before.shape[1] * scale)), height)
        pictures = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in (before, after)]
        columns.append(np.vstack([_caption(label, size[0]), *pictures]))
    return np.hstack(columns)


def grid_sheet(rows: Sequence[tuple[str, Sequence[Frame]]], side: int) -> Frame:
    """One row per (label, pictures), the label above, every picture at `side` px; all rows have as many pictures."""
    lines = []
    for label, pictures in rows:
        small = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
        lines += [_caption(label, side * len(small)), np.hstack(small)]
    return np.vstack(lines)


def _caption(text: str, width: int) -> Frame:
    strip = np.full((LABEL_PX, width, 3), 24, np.uint8)
    cv2.putText(strip, text, (6, LABEL_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return strip
