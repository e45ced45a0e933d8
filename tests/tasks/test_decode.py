"""What is kept of a file: everything but its frames."""

import json

import numpy as np
import pytest

from storage.decode_options import DecodeOptions
from storage.video_index import read_frames
from tasks.clip import frames_at, open_clip

PTS = [0, 512, 1024, 2048, 2560, 3072]  # of the fixture `clip`


@pytest.fixture(scope="module")
def footage(finished):
    return open_clip(finished.source, finished.artifacts["decode"])


def test_times_are_the_files_own(footage):
    assert footage.clip.index.pts.tolist() == PTS
    assert footage.clip.info.time_base == (1, 15360)
    np.testing.assert_allclose(footage.times_s, np.array(PTS) / 15360)


def test_facts_of_the_clip_are_readable_without_python(finished):
    facts = json.loads((finished.artifacts["decode"].path / "clip.json").read_text())
    assert (facts["frames"], facts["shots"], facts["warnings"]) == (6, 1, [])
    assert (facts["info"]["width"], facts["info"]["height"]) == (360, 640)
    assert facts["info"]["display_matrix"] == [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]


def test_no_frame_is_stored(finished):
    files = [path for path in finished.artifacts["decode"].path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20_000


def test_frames_are_decoded_again_by_their_numbers(footage):
    every = {number: bytes(frame.planes[0]) for number, frame in read_frames(footage.clip)}
    some = {number: bytes(frame.planes[0]) for number, frame in frames_at(footage.clip, [1, 4, 5])}
    assert some == {number: every[number] for number in (1, 4, 5)}
    assert list(frames_at(footage.clip, [])) == []


def test_a_range_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match=r"decode\.end \(1 s\) must lie after decode\.start \(2 s\)"):
        DecodeOptions(start=2, end=1)
