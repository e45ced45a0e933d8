"""Stitching of a track: each face starts with the weights that the face before it ended with."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from stitchedit.arrays import Labels
from stitchedit.images.masks import resize_masks, seam_masks
from stitchedit.nets.generator import Generator
from stitchedit.options.masks import MaskOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch import SeamTarget, Stitched, StitchInput, fresh_copy, settle, stitch_face
from stitchedit.tensors import Image, Latent

SavedWeights = MutableMapping[int, Mapping[str, np.ndarray]]
"""Row -> the weights that stitching of this row starts with, by name."""


@dataclass(frozen=True)
class StitchTrack:
    """The faces of one person, as stitching reads them."""

    tuned: Generator
    size: int  # px, side of a crop
    runs: np.ndarray  # `face`, number of the unbroken run of frames
    before: Latent  # codes without the edit
    after: Latent  # codes with it
    crop_of: Callable[[int], Image]
    labels_of: Callable[[int], Labels]  # `1 512 512`

    @torch.no_grad()
    def inputs(self, row: int, toward: str, masks: MaskOptions) -> StitchInput:
        """Edited code of `row`, and the target of its crop."""
        code = self.after[[row]]
        matched = self.crop_of(row) if toward == "source" else self._generated(self.before[[row]])
        seam = seam_masks(self.labels_of(row), masks)
        border, content = (resize_masks(mask, self.size).to(matched.device) for mask in (seam.border, seam.content))
        return code, SeamTarget(matched, border, self._generated(code), content)

    def _generated(self, code: Latent) -> Tensor:
        return self.tuned(code, self.size)


class StitchChain:
    """Stitch the faces of a track in order, in any ranges of rows.

    Within a run, each face starts with the weights of the face before; the first one with weights settled on faces of
    the entire run. The weights after each range are saved until those after the next one are. To stitch a range
    whose weights are missing, the faces before it in its run are stitched too, which gives the same weights, bit for
    bit on a CPU.
    """

    def __init__(
        self,
        track: StitchTrack,
        options: StitchOptions,
        masks: MaskOptions,
        saved: SavedWeights,
        on_settle: Callable[[range, int], None] = lambda rows, step: None,
    ) -> None:
        self.track, self.options, self.masks, self.saved, self.on_settle = track, options, masks, saved, on_settle
        cuts = np.flatnonzero(np.diff(track.runs)) + 1
        rows = len(track.runs)
        # rows, and the end, that need no weights of the row before
        self.fresh = {0, *cuts.tolist(), rows} if options.warm_start else set(range(rows + 1))
        self.current, self.ready_for = track.tuned, 0  # the weights in memory, and the row that they are for

    def unchanged(self, same: np.ndarray) -> np.ndarray:
        """Rows with the same result when only the codes of rows that are not `same` change, `row`.

        These are the runs without a change. The rows before a change in its run give the same result too, but are
        needed for the weights that they end with.
        """
        result = np.zeros(len(same), bool)
        for start, stop in pairwise(sorted(self.fresh)):
            result[start:stop] = same[start:stop].all()
        return result

    def stitch(
        self,
        rows: slice,
        keep: Callable[[list[Stitched]], None],
        on_face: Callable[[int], None] = lambda row: None,
    ) -> None:
        """Stitch one chunk, and call `keep` with its faces once the weights for the next one are saved."""
        options = self.options.of_frames()
        for part in self.parts(rows):
            stitched = []
            for row in part:
                code, target = self._inputs(row)
                stitched.append(stitch_face(self._weights(row), code, target, options))
                on_face(row)
            if part.stop not in self.fresh:
                self._save(part.stop)
            if part.start == rows.start:  # else stitched for its weights only
                keep(stitched)
            for row in [saved for saved in self.saved if saved < part.stop]:
                del self.saved[row]

    def parts(self, rows: slice) -> Iterator[range]:
        """Rows to stitch, in order, a chunk at a time: those before `rows` whose weights are missing, then `rows`."""
        known = {*self.fresh, self.ready_for, *self.saved}
        row = max(row for row in known if row <= rows.start)
        while row < rows.stop:
            stop = min(row - row % self.options.chunk + self.options.chunk, rows.stop)
            yield range(row, stop)
            row = stop

    def _inputs(self, row: int) -> StitchInput:
        return self.track.inputs(row, self.options.toward, self.masks)

    def _weights(self, row: int) -> Generator:
        """Generator to stitch `row` with, in place."""
        if row in self.fresh or row != self.ready_for:
            self.current = fresh_copy(self.track.tuned)
            if row not in self.fresh or row in self.saved:
                self._load(row)
            elif self.options.settles:
                self._settle(range(row, min(other for other in self.fresh if other > row)))
                self._save(row)
        self.ready_for = row + 1
        return self.current

    def _settle(self, rows: range) -> None:
        count = min(len(rows), self.options.settle_faces)
        chosen = np.unique(np.linspace(rows.start, rows.stop - 1, count).round()).astype(int)
        seams = [self._inputs(row) for row in chosen.tolist()]
        settle(self.current, seams, self.options, partial(self.on_settle, rows))

    def _load(self, row: int) -> None:
        weights = self.saved[row]
        with torch.no_grad():
            for name, parameter in self.current.synthesis_parameters(self.track.size):
                parameter.copy_(torch.from_numpy(weights[name]))

    def _save(self, row: int) -> None:
        parameters = self.current.synthesis_parameters(self.track.size)
        self.saved[row] = {name: value.detach().cpu().numpy() for name, value in parameters}
