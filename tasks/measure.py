"""Stage `measure`: the edit, before the codec, to numbers of every face and a verdict on every track."""

import numpy as np

from stitchedit.measure.appearance import score_names
from stitchedit.measure.face import COLUMNS, FaceMeter, PastedFace
from stitchedit.measure.reconstruction import reconstruct
from stitchedit.measure.summary import MeasuredFaces, scored_rows
from stitchedit.measure.verdict import judge_footage
from stitchedit.options.detect import DetectOptions
from stitchedit.options.edit import EditOptions
from stitchedit.options.measure import MeasureOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.workspace import Workspace
from tasks.inputs.chunks import face_frames, frame_pairs, pending_in_any, with_rows_before, write_pending
from tasks.inputs.clip import open_clip
from tasks.inputs.faces import open_faces
from tasks.inputs.patches import PatchRows
from tasks.inputs.scorer import scorer
from tasks.reporting.measures import save_measures
from tasks.runtime import networks
from tasks.runtime.progress import Progress
from tasks.runtime.stage import stage
from tasks.tune import open_pivots, tuned_generator

CHUNK = 8  # faces; at most so many are measured again after a crash
PARSING_PX = 256  # at which the crops are parsed for scores of color


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
    found, footage, progress = open_faces(faces), open_clip(source, clip).clip, Progress("measure", "faces")
    arrays = _open_arrays(out, len(found))
    todo = pending_in_any(*arrays.values())
    pairs = frame_pairs(face_frames(footage, found.frames, with_rows_before(todo)), todo)
    pivots, generator = open_pivots(found, occluded, codes, device), tuned_generator(weights, device)
    rings, pasted = FrameArray.open(patches.path / "rings").read(), PatchRows.open(patches)
    scored, meter = scored_rows(found.runs, options.scored_faces), _open_meter(device)

    def face(row: int, frame: np.ndarray) -> PastedFace:
        return PastedFace(frame, pasted[row].shallow(), found.quads[row], found.size)

    for rows in todo:
        measured = []
        for row in range(rows.start, rows.stop):
            before, now = next(pairs)
            follows = row > 0 and found.runs[row] == found.runs[row - 1]
            reconstruction = reconstruct(generator, pivots, row) if scored[row] else None
            earlier = face(row - 1, before) if follows else None
            measured.append(meter.measure(face(row, now), earlier, float(rings[row]), reconstruction))
        for name, array in arrays.items():
            write_pending(array, rows, np.array([getattr(one, name) for one in measured], np.float32))
        progress(rows.stop, len(found))
    judged = judge_footage(footage.index.damaged, footage.index.intact and not footage.index.truncated)
    read = {name: array.read() for name, array in arrays.items()}
    save_measures(out.path, MeasuredFaces(found.frames, found.runs, **read), edits, options, judged)


def _open_arrays(out: Workspace, faces: int) -> dict[str, FrameArray]:
    """Arrays by the names of `FaceMeasures`."""
    scores = len(score_names())
    shapes = {"numbers": (len(COLUMNS),), "embeddings": (2, 128), "before": (scores,), "after": (scores,)}
    return {
        name: FrameArray.create(out.path / name, np.zeros(shape, np.float32), faces, CHUNK, "number")
        for name, shape in shapes.items()
    }


def _open_meter(device: str) -> FaceMeter:
    finder = networks.face_finder(DetectOptions(backend="dlib", describe_every=1))
    return FaceMeter(finder, scorer(True, PARSING_PX), networks.perceptual(device))
