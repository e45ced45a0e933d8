"""What is kept of a file: everything but its frames."""

import json

import av
import numpy as np
import pytest

from stitchedit.options.detect import DetectOptions
from stitchedit.options.shots import ShotOptions
from storage.artifact import Source
from storage.store import Store
from storage.video.decode_options import DecodeOptions
from storage.video.index import read_frames
from tasks.decode import decode_video, separate_shots
from tasks.inputs.clip import frames_at, open_clip
from tasks.inputs.detections import find_faces

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


def test_frames_that_stay_unedited_are_shots_of_their_own():
    unedited = np.array([0, 0, 1, 1, 0, 0, 1], bool)

    assert separate_shots(np.array([0, 0, 0, 0, 0, 1, 1]), unedited).tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert separate_shots(np.array([0, 0, 1]), np.zeros(3, bool)).tolist() == [0, 0, 1]


def test_no_face_is_taken_from_damaged_frames_that_are_skipped(packaged, tmp_path):
    """Some frames of a real clip are damaged by one flipped bit; faces of the others are found."""
    whole, damaged = packaged("single_face.mp4"), tmp_path / "damaged.mp4"
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][3]
        place = packet.pos + packet.size // 2
    content = bytearray(whole.read_bytes())
    content[place] ^= 0x10
    damaged.write_bytes(content)
    store, source = Store.at(tmp_path / "store"), Source.of(damaged)

    made = decode_video.fn(store, source, DecodeOptions(end=0.3, damaged="skip"), ShotOptions())
    footage = open_clip(source, made)
    detected = list(find_faces(tmp_path / "faces", footage, DetectOptions(backend="dlib")))

    facts = json.loads((made.path / "clip.json").read_text())
    skipped = {number for first, last in facts["damaged"] for number in range(first, last + 1)}
    assert 0 < len(skipped) < len(footage.shots)
    assert f"{len(skipped)} of {len(footage.shots)} frames are damaged" in facts["warnings"][0]
    assert {number for number, faces in enumerate(detected) if not faces} == skipped
