"""Contact sheets: before and after on one image."""

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
        images = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (before, after)]
        columns.append(np.vstack([_caption(label, size[0]), *images]))
    return np.hstack(columns)


def grid_sheet(rows: Sequence[tuple[str, Sequence[Frame]]], side: int) -> Frame:
    """One row per (label, images), the label above, every image at `side` px; all rows have as many images."""
    lines = []
    for label, images in rows:
        small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
        lines += [_caption(label, side * len(small)), np.hstack(small)]
    return np.vstack(lines)


def _caption(text: str, width: int) -> Frame:
    strip = np.full((LABEL_PX, width, 3), 24, np.uint8)
    cv2.putText(strip, text, (6, LABEL_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return strip
