"""Chunks that are to be made, and the frames of their faces."""

import numpy as np
import pytest

from storage.arrays.frame_array import FrameArray
from storage.video.index import read_frames
from storage.video.info import rgb
from tasks.inputs.chunks import face_frames, frame_pairs, pending_in_any, with_rows_before, write_pending
from tasks.inputs.clip import open_clip

FRAMES = np.array([0, 0, 1, 2, 4, 4, 5])  # two faces in the first frame and in the fifth, none in the fourth


@pytest.fixture
def arrays(tmp_path):
    """Two of five rows in chunks of two: the first lacks rows 0 and 1, the second rows 2 and 3."""
    made = []
    for name, lacking in (("left", 0), ("right", 2)):
        made.append(FrameArray.create(tmp_path / name, np.zeros(3), rows=5, chunk=2, kind="number"))
        for rows in made[-1].pending():
            if rows.start != lacking:
                made[-1].write(rows, np.ones((rows.stop - rows.start, 3)))
    return made


def test_a_chunk_is_made_when_any_array_lacks_it_and_written_where_it_is_lacking(arrays):
    assert pending_in_any(*arrays) == [slice(0, 2), slice(2, 4)]
    for rows in pending_in_any(*arrays):
        for array in arrays:
            write_pending(array, rows, np.full((2, 3), 7.0))
    assert [array.read()[:, 0].tolist() for array in arrays] == [[7, 7, 1, 1, 1], [1, 1, 7, 7, 1]]
    assert pending_in_any(*arrays) == []


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [slice(0, 2)],
        [slice(6, 7)],
        [slice(0, 2), slice(2, 4), slice(4, 6)],
        [slice(0, 2), slice(4, 6), slice(6, 7)],
    ],
)
def test_every_face_gets_the_image_of_its_frame(finished, chunks):
    clip = open_clip(finished.source, finished.artifacts["decode"]).clip
    images = {number: rgb(frame, clip.info) for number, frame in read_frames(clip)}
    wanted = [images[number] for rows in chunks for number in FRAMES[rows]]
    found = list(face_frames(clip, FRAMES, chunks))
    assert len(found) == len(wanted)
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "chunks", [[slice(0, 4), slice(4, 6)], [slice(4, 6)], [slice(0, 2), slice(4, 6)], [slice(2, 4), slice(4, 6)]]
)
def test_every_frame_is_paired_with_the_one_of_the_row_before(chunks):
    rows = [piece.start for piece in with_rows_before(chunks)]
    pairs = list(frame_pairs(iter(rows), chunks))
    assert pairs == [(max(0, row - 1), row) for piece in chunks for row in range(piece.start, piece.stop)]
