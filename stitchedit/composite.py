"""Stitched crops back into the frame, as patches that leave every other pixel alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Shaped

from stitchedit.arrays import Alpha, Labels, Pixels, Quads
from stitchedit.images.depth import OPAQUE, SHALLOW, StoredLevels, to_levels, to_stored, to_stored_alpha
from stitchedit.images.masks import moving_features, paste_alpha, seam_masks, soft_face
from stitchedit.images.mouth_color import MouthColor, median_color, mouth_color, within, within_finely
from stitchedit.images.steady import GeneratedFace, neighbors, steady_crops
from stitchedit.images.warp import Box, Quad, covered, patch_box, patch_size, warp_back
from stitchedit.measure.metrics import ring_error
from stitchedit.occlude import Hidden, enlarged
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.masks import MaskOptions

COLOR_SAMPLES = 8  # faces of a run, about, that the color of its mouth is learned from
CHANGE_REACH = 64  # a change counts round about as far as this part of the crop's side

Layers = Float32[np.ndarray, "height width 4"]  # red, green and blue in [0, 255] times alpha, and alpha in [0, 1]


@dataclass(frozen=True)
class Patch:
    """An edited face in source pixels, as `depth` stores it: uint8, or uint16 of a source of more than 8 bits."""

    rgb: Shaped[np.ndarray, "height width rgb"]  # 0 where alpha is 0
    alpha: Shaped[np.ndarray, "height width"]  # 0 = source, 255 or 65535 = edited
    left: int
    top: int

    @property
    def layers(self) -> StoredLevels:
        """Color and alpha, `4 height width`."""
        return np.concatenate([self.rgb.transpose(2, 0, 1), self.alpha[None]])

    @property
    def opacity(self) -> Alpha:
        """Alpha in [0, 1]."""
        return self.alpha / np.float32(OPAQUE[self.alpha.dtype])

    def shallow(self) -> "Patch":
        """The patch at 8 bits, for measures and previews."""
        if self.rgb.dtype == SHALLOW:
            return self
        alpha = to_stored_alpha(self.opacity, SHALLOW)
        rgb = np.where(alpha[..., None] > 0, to_stored(to_levels(self.rgb), SHALLOW), np.uint8(0))
        return replace(self, rgb=rgb, alpha=alpha)


def patch_from(layers: StoredLevels, place: tuple[int, int]) -> Patch:
    """Make a patch of its layers at `place`, left and top."""
    return Patch(np.ascontiguousarray(layers[:3].transpose(1, 2, 0)), layers[3], *place)


def make_patch(image: Pixels, alpha: Alpha, quad: Quad, box: Box, dtype: np.dtype[Any] = SHALLOW) -> Patch:
    """Warp the crop `image`, taken at `quad`, into `box` of the frame; stored in `dtype`."""
    layers = warp_back(opaque_layers(image, alpha), quad, box)
    layers[~covered(quad, len(image), box)] = 0
    return patch_of(layers, box, dtype)


def keep_detail(patch: Patch, frame: Pixels, crops: tuple[Pixels, Pixels], kept: Alpha, quad: Quad) -> Patch:
    """Add the detail of `frame` that the generator cannot reproduce: background, strands of hair, pores, grain.

    The difference between the frame and the generated crop without the edit is added, weighted by `kept`.

    Args:
        crops: crops at `quad`, without the edit and with it, in 8-bit levels.
        kept: of a crop's size, see `kept_detail`.
    """
    box = Box(patch.left, patch.top, patch.rgb.shape[1], patch.rgb.shape[0])
    region = frame[box.top : box.top + box.height, box.left : box.left + box.width].astype(np.float32)
    height, width = region.shape[:2]
    old, new = (warp_back(crop.astype(np.float32), quad, box)[:height, :width] for crop in crops)
    detailed = new + warp_back(kept, quad, box)[:height, :width, None] * (region - old)
    rgb = patch.rgb.copy()
    visible = patch.alpha[:height, :width] > 0
    rgb[:height, :width][visible] = to_stored(detailed, rgb.dtype)[visible]
    return replace(patch, rgb=rgb)


def kept_detail(crops: tuple[Pixels, Pixels], face: Alpha, detail: float) -> Alpha:
    """Weight of the frame's own detail: 1 where the edit changed nothing, lower the more it changed.

    Within the face a change counts round about too, so that no ghost of the old mouth shows through the new one.
    Around the face it counts where it is: a background keeps its edges up to hair that turned grey.

    Args:
        crops: crops without the edit and with it, in 8-bit levels.
        face: of their size, 1 = the face, 0 = what is around it.
        detail: 8-bit levels, see `CompositeOptions`.
    """
    before, after = (crop.astype(np.float32) for crop in crops)
    change = np.abs(after - before).mean(axis=2)
    reach = len(before) / CHANGE_REACH
    near = cv2.GaussianBlur(cv2.dilate(change, np.ones((3, 3))), (0, 0), reach)
    here = np.minimum(cv2.GaussianBlur(change, (0, 0), reach / 4), near)
    return np.asarray(np.exp(-np.square((face * near + (1 - face) * here) / detail)))


def opaque_layers(image: Pixels, alpha: Alpha) -> Layers:
    """Premultiply by alpha, so that no color bleeds in from transparent pixels when interpolated."""
    opacity = alpha[..., None].astype(np.float32)
    return np.concatenate([image * opacity, opacity], axis=2)


def patch_of(layers: Layers, box: Box, dtype: np.dtype[Any] = SHALLOW) -> Patch:
    """The patch at `box` whose colors are `layers` divided by their alpha; stored in `dtype`."""
    alpha = to_stored_alpha(layers[..., 3], dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        color = np.where(alpha[..., None] > 0, layers[..., :3] / layers[..., 3:], 0)
    return Patch(np.where(alpha[..., None] > 0, to_stored(color, dtype), dtype.type(0)), alpha, box.left, box.top)


def paste(frame: Pixels, patch: Patch) -> Pixels:
    """A copy of `frame` with `patch` over it. Where alpha is 0 it equals `frame` exactly.

    Both are uint8, or `frame` is float32 levels and `patch` deep.
    """
    height, width = np.minimum(patch.alpha.shape, np.array(frame.shape[:2]) - (patch.top, patch.left))
    rows, columns = slice(patch.top, patch.top + height), slice(patch.left, patch.left + width)
    result, rgb = frame.copy(), patch.rgb[:height, :width]
    if frame.dtype != SHALLOW:
        opacity = patch.opacity[:height, :width, None]
        result[rows, columns] += opacity * (to_levels(rgb) - frame[rows, columns])
        return result
    alpha = patch.alpha[:height, :width, None].astype(np.uint16)
    result[rows, columns] = (rgb * alpha + frame[rows, columns] * (255 - alpha) + 127) // 255
    return result


@dataclass(frozen=True)
class StitchedTrack:
    """The stitched faces of one person, and all that compositing reads of them, row by row."""

    quads: Quads
    times_s: np.ndarray  # `face`, seconds from the first frame of the clip
    runs: np.ndarray  # `face`, number of the unbroken run of frames
    size: int  # px, side of a crop
    depth: np.dtype[Any]  # of crops and patches: uint8, or uint16 of a source of more than 8 bits
    source_of: Callable[[int], StoredLevels]  # crop of the frame, `3 size size`
    matched_of: Callable[[int], StoredLevels]  # the image that its border had to match, `3 size size`
    stitched_of: Callable[[int], StoredLevels]  # `3 size size`
    labels_of: Callable[[int], Labels]  # face parsing, `1 512 512`
    hidden_of: Callable[[int], Hidden]  # 1 = something is in front

    def generated(self, row: int) -> GeneratedFace:
        """Source and generated crops of one row, as they are stored."""
        source, matched, stitched = (
            crop_of(row).transpose(1, 2, 0).copy() for crop_of in (self.source_of, self.matched_of, self.stitched_of)
        )
        return GeneratedFace(source, matched, stitched, moving_features(self.labels_of(row)[0], self.size))


class CompositedFace(NamedTuple):
    """The patch of one row, and the error around the face with it."""

    patch: Patch
    ring: float  # ring error in the frame, 8-bit levels


class Compositor:
    """Composite the faces of one person, row by row; fastest in order."""

    def __init__(
        self, track: StitchedTrack, frame_shape: tuple[int, int], options: CompositeOptions, masks: MaskOptions
    ) -> None:
        self.track, self.frame_shape, self.options, self.masks = track, frame_shape, options, masks
        self.patch_size = patch_size(track.quads, frame_shape)  # height and width of every patch
        self._limit_colors = within if track.depth == SHALLOW else within_finely
        self._face_of = steady_crops(track.generated, track.times_s, track.runs, options.steady_s)
        self._mouth_of = lru_cache(maxsize=4)(self._mouth_color)

    def neighbors(self, row: int) -> list[int]:
        """Other rows that the result of `row` depends on."""
        return neighbors(row, self.track.times_s, self.track.runs, self.options.steady_s)

    def composite(self, row: int, frame: Pixels) -> CompositedFace:
        """Make the patch of one row for its `frame`, uint8 or float32 levels."""
        track, quad, labels = self.track, self.track.quads[row], self.track.labels_of(row)
        hidden, face = track.hidden_of(row), self._face_of(row)
        box, crops = patch_box(quad, self.patch_size, self.frame_shape), (face.before, face.after)
        if self.options.mouth_colors and (color := self._mouth_of(int(track.runs[row]))):
            crops = self._limit_colors(color, crops, labels[0])
        alpha = self._seam_alpha(labels) * (1 - enlarged(hidden, track.size))
        patch = make_patch(crops[1], alpha, quad, box, track.depth)
        if self.options.detail:
            kept = kept_detail(crops, soft_face(labels[0], track.size), self.options.detail)
            patch = keep_detail(patch, frame, crops, kept, quad)
        border = seam_masks(labels, self.masks).border[0] * (1 - enlarged(hidden, 512))
        return CompositedFace(patch, frame_ring_error(frame, paste(frame, patch), border, quad, box))

    def _seam_alpha(self, labels: Labels) -> Alpha:
        return paste_alpha(seam_masks(labels, self.masks).full[0], self.track.size, self.options.seam)

    def _mouth_color(self, run: int) -> MouthColor | None:
        """Median color of the mouth over faces of one run."""
        track, rows = self.track, np.flatnonzero(self.track.runs == run)
        return median_color(
            mouth_color(
                to_levels(track.source_of(row)).transpose(1, 2, 0), track.labels_of(row)[0], track.hidden_of(row)
            )
            for row in rows[:: -(-len(rows) // COLOR_SAMPLES)].tolist()
        )


def frame_ring_error(source: Pixels, result: Pixels, border: Alpha, quad: Quad, box: Box) -> float:
    """Ring error of one face in 8-bit levels, with `border` (a crop mask at 512 px) warped into the frame."""
    weight = warp_back(border.astype(np.float32), quad, box)
    height, width = np.minimum(weight.shape, np.array(source.shape[:2]) - (box.top, box.left))
    region = np.s_[box.top : box.top + height, box.left : box.left + width]
    return ring_error(result[region], source[region], weight[:height, :width])
