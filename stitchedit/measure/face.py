"""Numbers of one edited face, before the codec.

The recognition network is dlib's, which no loss uses.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stitchedit.arrays import Crop, Frame
from stitchedit.composite import Patch, paste
from stitchedit.detect.finder import Detection, FaceFinder
from stitchedit.images.warp import Quad, crop_face
from stitchedit.measure.appearance import FFHQ_BOX, Scorer, score_names
from stitchedit.measure.metrics import outside_difference
from stitchedit.measure.motion import source_flow, warp_error
from stitchedit.measure.reconstruction import Perceptual, reconstruction_numbers
from stitchedit.tensors import Image

# Numbers of a face: ring error and difference outside the mask, 8-bit levels; warp errors of source and result, 8-bit
# levels; and of the reconstruction.
COLUMNS = (
    "ring", "outside", "warp_source", "warp_result", "psnr_db", "ssim", "ms_ssim", "lpips", "mse",
)  # fmt: skip
OPAQUE_FROM = 127  # alpha from which on a pixel counts as the pasted face


@dataclass(frozen=True)
class PastedFace:
    """A frame of the source, and the 8-bit patch of one face in it."""

    frame: Frame
    patch: Patch
    quad: Quad  # square of the face, in the frame
    size: int  # px, side of its crop

    @cached_property
    def result(self) -> Frame:
        """The frame with the patch."""
        return paste(self.frame, self.patch)

    @cached_property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the patch in the frame."""
        height, width = self.patch.alpha.shape
        return slice(self.patch.top, self.patch.top + height), slice(self.patch.left, self.patch.left + width)

    @cached_property
    def alpha(self) -> np.ndarray:
        """Alpha of the patch in the frame, uint8 `height width`."""
        alpha = np.zeros(self.frame.shape[:2], np.uint8)
        visible = alpha[self.region]
        visible[...] = self.patch.alpha[: visible.shape[0], : visible.shape[1]]
        return alpha

    @cached_property
    def crops(self) -> tuple[Crop, Crop]:
        """The face in the source and in the result."""
        source, result = (crop_face(frame, self.quad, self.size).image for frame in (self.frame, self.result))
        return source, result


@dataclass(frozen=True)
class FaceMeasures:
    """All numbers of one face; NaN where one was not measured."""

    numbers: np.ndarray  # `column`, see COLUMNS
    embeddings: np.ndarray  # `2 128`, of unit length, source and result
    before: np.ndarray  # `score` of `score_names`, of the source
    after: np.ndarray  # `score`, of the result


@dataclass(frozen=True)
class FaceMeter:
    """The networks that measure a face: none of them is in a loss but `perceptual`."""

    finder: FaceFinder  # with a descriptor for every face
    scorer: Scorer
    perceptual: Perceptual

    def measure(
        self, now: PastedFace, before: PastedFace | None, ring: float, reconstruction: tuple[Image, Image] | None
    ) -> FaceMeasures:
        """Measure one face.

        Args:
            before: the same person in the frame before; None at the start of a run.
            ring: ring error of the composite, 8-bit levels.
            reconstruction: generated image and its target; without it, attributes are not measured either.
        """
        numbers = frame_numbers(now, before) | {"ring": ring}
        scores = [np.full(len(score_names()), np.nan)] * 2
        if reconstruction:
            numbers |= reconstruction_numbers(*reconstruction, self.perceptual)
            scores = [face_scores(crop, self.scorer) for crop in now.crops]
        row = np.array([numbers.get(name, np.nan) for name in COLUMNS])
        return FaceMeasures(row, np.stack([face_embedding(crop, self.finder) for crop in now.crops]), *scores)


def frame_numbers(now: PastedFace, before: PastedFace | None) -> dict[str, float]:
    """Change outside the mask, and flicker along the source's motion, in 8-bit levels."""
    numbers = {"outside": float(outside_difference(now.result, now.frame, now.alpha))}
    if before:
        region = now.region
        face = now.alpha[region] > OPAQUE_FROM
        flow, trusted = source_flow(before.frame[region], now.frame[region])
        numbers["warp_source"] = warp_error(before.frame[region], now.frame[region], flow, trusted & face)
        numbers["warp_result"] = warp_error(before.result[region], now.result[region], flow, trusted & face)
    return numbers


def face_embedding(crop: Crop, finder: FaceFinder) -> np.ndarray:
    """Descriptor of unit length, `128`; NaN where `finder` finds no face."""
    usual = Detection(FFHQ_BOX * len(crop), 0.0, np.empty((68, 2)), np.empty(128))
    faces = finder.find(crop, [usual])
    return faces[0].descriptor / np.linalg.norm(faces[0].descriptor) if faces else np.full(128, np.nan)


def face_scores(crop: Crop, scorer: Scorer) -> np.ndarray:
    """Every score of `score_names`, `score`; NaN where no face is found."""
    appearance = scorer(crop)
    return np.array([appearance.scores[name] if appearance else np.nan for name in score_names()])
