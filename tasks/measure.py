"""The edit in; how good it is out: numbers for every face, a verdict for every track, before the codec."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stitchedit.arrays import Crop, Frame
from stitchedit.composite import Patch, paste, patch_from
from stitchedit.detect.finder import Detection, FaceFinder
from stitchedit.images.warp import crop_face
from stitchedit.measure.appearance import FFHQ_BOX, score_names
from stitchedit.measure.metrics import ms_ssim, mse, outside_difference, psnr, ssim
from stitchedit.measure.motion import source_flow, warp_error
from stitchedit.nets.generator import Generator
from stitchedit.options.edit import EditOptions
from stitchedit.options.landmarks import LandmarkOptions
from stitchedit.options.measure import MeasureOptions
from stitchedit.tune import Pivots
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.workspace import Workspace
from tasks.inputs.chunks import face_frames, pending_in_any, write_pending
from tasks.inputs.clip import open_clip
from tasks.inputs.faces import Faces, open_faces, to_uint8
from tasks.inputs.scorer import scorer
from tasks.reporting.measures import COLUMNS, Measured, save_measures, scored_rows
from tasks.runtime import networks
from tasks.runtime.progress import Progress
from tasks.runtime.stage import stage
from tasks.tune import open_pivots, tuned_generator

CHUNK = 8  # faces; at most so many are measured again after a crash
PARSING_PX = 256  # at which the crops are parsed for scores of color
SHOWN = 127  # alpha from which on a pixel counts as the pasted face


@stage(*networks.GENERATOR, *networks.PERCEPTUAL, *networks.FACES, *networks.ATTRIBUTES, *networks.DIRECTIONS)
def measure_edit(
    out: Workspace,
    source: Source,
    clip: Artifact,
    faces: Artifact,
    occluded: Artifact,
    codes: Artifact,
    weights: Artifact,
    patches: Artifact,
    edits: EditOptions,
    options: MeasureOptions,
    device: str,
) -> None:
    """The recogniser is dlib's, which no loss uses; nothing here sees the encoded video."""
    found, footage, progress = open_faces(faces), open_clip(source, clip).clip, Progress("measure", "faces")
    scored = scored_rows(found.runs, options.scored_faces)
    likes = {
        "numbers": np.zeros(len(COLUMNS), np.float32),
        "embeddings": np.zeros((2, 128), np.float32),  # of unit length, source and result; NaN where there is no face
        "before": np.zeros(len(score_names()), np.float32),
        "after": np.zeros(len(score_names()), np.float32),
    }
    arrays = {
        name: FrameArray.create(out.path / name, like, len(found), CHUNK, "number") for name, like in likes.items()
    }
    todo = pending_in_any(*arrays.values())
    redrawn = Reconstruction.of(open_faces(faces), occluded, codes, weights, device)
    pairs = _pairs(face_frames(footage, found.frames, with_the_one_before(todo)), todo)
    rings, pasted = FrameArray.open(patches.path / "rings").read(), PastedFaces.of(patches)
    for rows in todo:
        made = []
        for row in range(rows.start, rows.stop):
            before, now = next(pairs)
            numbers = _in_frame(pasted, found, row, before, now) | {"ring": float(rings[row])}
            crops = [crop_face(frame, found.quads[row], found.size).image for frame in (now, pasted.result(row, now))]
            if scored[row]:
                numbers |= redrawn.compare(row)
            scores = [_scores(crop) if scored[row] else likes["before"] + np.nan for crop in crops]
            made.append(
                ([numbers.get(name, np.nan) for name in COLUMNS], [_embedding(crop) for crop in crops], *scores)
            )
        for array, values in zip(arrays.values(), zip(*made, strict=True), strict=True):
            write_pending(array, rows, np.array(values, np.float32))
        progress(rows.stop, len(found))
    read = {name: array.read() for name, array in arrays.items()}
    save_measures(out.path, Measured(found.frames, found.runs, **read), edits, options)


def with_the_one_before(todo: list[slice]) -> list[slice]:
    """Row by row what `todo` holds, and the row before each stretch of it, which its motion is seen from."""
    wanted = sorted({row for rows in todo for row in range(max(0, rows.start - 1), rows.stop)})
    return [slice(row, row + 1) for row in wanted]


def _pairs(pictures: Iterator[Frame], todo: list[slice]) -> Iterator[tuple[Frame, Frame]]:
    """The frame of the row before, and its own, for every row of `todo`; row 0 has itself before."""
    done = -1
    now = np.empty(0, np.uint8)
    for rows in todo:
        if rows.start and rows.start - 1 != done:
            now = next(pictures)
        for row in range(rows.start, rows.stop):
            picture = next(pictures)
            yield (now if row else picture), picture
            now, done = picture, row


@dataclass(frozen=True)
class PastedFaces:
    """What `composite` made."""

    patches: FrameArray
    places: np.ndarray

    @classmethod
    def of(cls, artifact: Artifact) -> "PastedFaces":
        return cls(FrameArray.open(artifact.path / "patches"), FrameArray.open(artifact.path / "places").read())

    def patch(self, row: int) -> Patch:
        """At 8 bits, as everything is measured."""
        left, top = map(int, self.places[row])
        return patch_from(self.patches.read(row), (left, top)).shallow()

    def result(self, row: int, frame: Frame) -> Frame:
        return paste(frame, self.patch(row))


def _in_frame(pasted: PastedFaces, found: Faces, row: int, before: Frame, now: Frame) -> dict[str, float]:
    """What is seen in the frame itself: what changed outside the mask, and flicker along the source's motion."""
    patch, result = pasted.patch(row), pasted.result(row, now)
    alpha = np.zeros(now.shape[:2], np.uint8)
    region = np.s_[patch.top : patch.top + patch.alpha.shape[0], patch.left : patch.left + patch.alpha.shape[1]]
    shown = alpha[region]
    shown[...] = patch.alpha[: shown.shape[0], : shown.shape[1]]
    numbers = {"outside": float(outside_difference(result, now, alpha))}
    if row and found.runs[row] == found.runs[row - 1]:
        face = shown > SHOWN
        flow, trusted = source_flow(before[region], now[region])
        earlier = pasted.result(row - 1, before)
        numbers["warp_source"] = warp_error(before[region], now[region], flow, trusted & face)
        numbers["warp_result"] = warp_error(earlier[region], result[region], flow, trusted & face)
    return numbers


@dataclass(frozen=True)
class Reconstruction:
    """The crops as the tuned generator draws them, not edited."""

    pivots: Pivots
    generator: Generator
    device: str

    @classmethod
    def of(cls, found: Faces, occluded: Artifact, codes: Artifact, weights: Artifact, device: str) -> "Reconstruction":
        return cls(open_pivots(found, occluded, codes, device), tuned_generator(weights, device), device)

    @torch.no_grad()
    def compare(self, row: int) -> dict[str, float]:
        """How far one of them is from the source, where the face is seen."""
        image = self.generator(self.pivots.codes[[row]], self.pivots.size).clamp(-1, 1)
        target = self.pivots.target(np.array([row]), image)
        lpips = networks.perceptual(self.device)(image, target).item()
        drawn, wanted = (np.ascontiguousarray(to_uint8(one)[0].transpose(1, 2, 0)) for one in (image, target))
        compared = {"psnr_db": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "mse": mse}
        return {"lpips": lpips} | {name: measure(drawn, wanted) for name, measure in compared.items()}


def _embedding(crop: Crop) -> np.ndarray:
    """Of unit length, `128`; NaN where dlib finds no face."""
    usual = Detection(FFHQ_BOX * len(crop), 0.0, np.empty((68, 2)), np.empty(128))
    faces = _finder().find(crop, [usual])
    return faces[0].descriptor / np.linalg.norm(faces[0].descriptor) if faces else np.full(128, np.nan)


def _finder() -> FaceFinder:
    return networks.face_finder(LandmarkOptions(backend="dlib", describe_every=1))


def _scores(crop: Crop) -> np.ndarray:
    """Every score of `score_names`; NaN where no face is found."""
    seen = scorer(True, PARSING_PX)(crop)
    return np.array([seen.scores[name] if seen else np.nan for name in score_names()])
