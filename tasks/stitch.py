"""Edited codes and the tuned generator in; crops that meet their frame out."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from stitchedit.images.masks import resize_masks, seam_masks
from stitchedit.nets.generator import Generator
from stitchedit.options.masks import MaskOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch import SeamTarget, Stitched, fresh_copy, settle, stitch_face
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.files import write_json
from storage.weights.state_dict import load_tensors, save_tensors
from storage.workspace import Workspace
from tasks.inputs.chunks import pending_in_any, write_pending
from tasks.inputs.faces import Faces, images_to_stored, open_faces, to_images
from tasks.runtime import networks
from tasks.runtime.progress import Progress
from tasks.runtime.row_reuse import equal_rows, take_rows
from tasks.runtime.stage import QUALITY, stage
from tasks.tune import tuned_generator


@stage(*networks.GENERATOR, by_row="edited", on_device=True)
def stitch_faces(
    out: Workspace,
    faces: Artifact,
    codes: Artifact,
    weights: Artifact,
    edited: Artifact,
    options: StitchOptions,
    masks: MaskOptions,
    device: str,
) -> None:
    found, progress, chosen = open_faces(faces), Progress("stitch", "faces"), networks.choose_device(device)
    before, after = (
        torch.from_numpy(FrameArray.open(code.path / "w_plus").read()).to(chosen) for code in (codes, edited)
    )
    crop = np.zeros((3, found.size, found.size), found.crops.dtype)
    crops = FrameArray.create(out.path / "crops", crop, len(found), options.chunk, "image")
    # what the border had to match; what the frame has beyond it comes back when compositing
    matched = FrameArray.create(out.path / "matched", crop, len(found), options.chunk, "image")
    # steps taken, then root mean squared error in the border before and after, in 8-bit levels
    seams = FrameArray.create(out.path / "seams", np.zeros(3, np.float32), len(found), options.chunk, "number")

    tuned = tuned_generator(weights, device)

    @torch.no_grad()
    def target(row: int) -> SeamTarget:
        if options.toward == "source":
            wanted = to_images(found.crops.read(slice(row, row + 1)), chosen)
        else:
            wanted = tuned(before[[row]], found.size)
        return _target(found, row, wanted, tuned(after[[row]], found.size), masks)

    def settle_run(generator: Generator, rows: range) -> None:
        settling = Progress("stitch", "steps", f"stitch: all of {rows.start}-{rows.stop - 1}")
        chosen_rows = np.unique(np.linspace(rows.start, rows.stop - 1, min(len(rows), options.settle_faces)).round())
        seams = [(after[[row]], target(row)) for row in chosen_rows.astype(int).tolist()]
        settle(generator, seams, options, lambda step: settling(step + 1, options.settle_steps))

    chain = WarmChain(out.path, tuned, found.size, found.runs, options, settle_run)

    def stitch(row: int) -> tuple[Stitched, torch.Tensor]:
        wanted = target(row)
        result = stitch_face(chain.weights(row), after[[row]], wanted, options.of_frames())
        progress(row + 1, len(found))
        return result, wanted.source

    if out.earlier:
        edited_then = FrameArray.open(out.earlier.inputs["edited"] / "w_plus").read()
        same = chain.undisturbed(equal_rows(after.cpu().numpy(), edited_then))
        take_rows({"crops": crops, "matched": matched, "seams": seams}, out.earlier, same)
    for rows in pending_in_any(crops, matched, seams):
        for part in chain.parts(rows):
            results, wanted = zip(*map(stitch, part), strict=True)
            chain.keep(part.stop)
            if part.start == rows.start:  # else it is on the disk, and stitched again for its weights only
                write_pending(
                    crops, rows, np.concatenate([images_to_stored(result.crop, crop.dtype) for result in results])
                )
                write_pending(matched, rows, np.concatenate([images_to_stored(image, crop.dtype) for image in wanted]))
                write_pending(seams, rows, np.array([_facts(result) for result in results], np.float32))
            chain.drop(part.stop)
    steps, ring_before, ring_after = np.nanmean(seams.read(), axis=0)
    write_json(
        out.path / QUALITY, {"steps": float(steps), "ring_before": float(ring_before), "ring_after": float(ring_after)}
    )


class WarmChain:
    """The weights to stitch each face with: those that the face before was left with, or a run's first, settled ones.

    The weights after each chunk are kept until those after the next one are. To make a chunk alone again, as when it
    was lost from a finished artifact, the faces before it in its run are stitched again, which gives the same weights,
    bit for bit on a CPU; their chunks are not written.
    """

    def __init__(
        self,
        folder: Path,
        tuned: Generator,
        size: int,
        runs: np.ndarray,
        options: StitchOptions,
        settle_run: Callable[[Generator, range], None] = lambda generator, rows: None,
    ) -> None:
        self.folder, self.tuned, self.size, self.chunk = folder, tuned, size, options.chunk
        self.settle_run = settle_run if options.settles else None
        cuts = np.flatnonzero(np.diff(runs)) + 1
        # rows, and the end, that need no weights of the row before
        self.fresh = {0, *cuts.tolist(), len(runs)} if options.warm_start else set(range(len(runs) + 1))
        self.warm, self.ready_for = tuned, 0  # the weights in hand, and the row that they are for

    def undisturbed(self, same: np.ndarray) -> np.ndarray:
        """Rows that come out as before when the codes of those that are not `same` change, `row`: runs with no change.

        What comes before a change in its run would be the same too, but is stitched again for the weights it leaves.
        """
        starts = sorted(self.fresh)
        result = np.zeros(len(same), bool)
        for start, stop in pairwise(starts):
            result[start:stop] = same[start:stop].all()
        return result

    def parts(self, rows: slice) -> Iterator[range]:
        """Rows to stitch, in order, a chunk at a time: those before `rows` whose weights are missing, then these."""
        known = {*self.fresh, self.ready_for, *self._saved()}
        row = max(row for row in known if row <= rows.start)
        while row < rows.stop:
            stop = min(row - row % self.chunk + self.chunk, rows.stop)
            yield range(row, stop)
            row = stop

    def weights(self, row: int) -> Generator:
        """What to stitch `row` with, in place."""
        if row in self.fresh or row != self.ready_for:
            self.warm = fresh_copy(self.tuned)
            if row not in self.fresh or self._file(row).exists():
                self._load(row)
            elif self.settle_run:
                self.settle_run(self.warm, range(row, min(other for other in self.fresh if other > row)))
                self._save(row)
        self.ready_for = row + 1
        return self.warm

    def keep(self, row: int) -> None:
        """Put the weights for `row`, which are in hand, on the disk if they are needed there."""
        if row not in self.fresh:
            self._save(row)

    def _load(self, row: int) -> None:
        tensors = load_tensors(self._file(row))
        with torch.no_grad():
            for name, parameter in self.warm.synthesis_parameters(self.size):
                parameter.copy_(torch.from_numpy(tensors[name]))

    def _save(self, row: int) -> None:
        tensors = {name: value.detach().cpu().numpy() for name, value in self.warm.synthesis_parameters(self.size)}
        save_tensors(self._file(row), tensors, {})

    def drop(self, row: int) -> None:
        """Delete the weights for rows before `row`."""
        for saved in self._saved():
            if saved < row:
                self._file(saved).unlink()

    def _saved(self) -> list[int]:
        return [int(path.stem.removeprefix(".warm-")) for path in self.folder.glob(".warm-*.safetensors")]

    def _file(self, row: int) -> Path:
        return self.folder / f".warm-{row}.safetensors"


@torch.no_grad()
def _target(found: Faces, row: int, matched: torch.Tensor, edited: torch.Tensor, masks: MaskOptions) -> SeamTarget:
    seam = seam_masks(found.labels.read(slice(row, row + 1)), masks)
    border, content = (resize_masks(mask, found.size).to(matched.device) for mask in (seam.border, seam.content))
    return SeamTarget(matched, border, edited, content)


def _facts(result: Stitched) -> tuple[float, float, float]:
    return float(result.steps), result.ring_before, result.ring_after
