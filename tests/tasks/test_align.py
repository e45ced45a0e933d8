"""Faces of a real clip: where they are, their crops and what every pixel of these shows."""

import json
import shutil

import numpy as np
import pytest

from stitchedit.align import AlignOptions
from stitchedit.errors import InputError, NoFaceError, UnknownNameError
from stitchedit.landmarks import LandmarkOptions
from stitchedit.nets.face_parsing import CLASSES
from stitchedit.shots import ShotOptions
from stitchedit.tracks import TrackOptions
from stitchedit.warp import crop_face, square_sides
from storage.artifact import Source
from storage.frame_array import FrameArray
from storage.store import Store
from storage.video import rgb
from storage.video_index import DecodeOptions
from tasks import detections
from tasks.align import align_faces
from tasks.clip import frames_at, open_clip
from tasks.decode import decode_video
from tasks.faces import open_faces

DLIB = LandmarkOptions(backend="dlib")


@pytest.fixture(scope="module")
def artifact(finished):
    return finished.artifacts["align"]


@pytest.fixture(scope="module")
def faces(artifact):
    return open_faces(artifact)


def test_artifact_has_a_row_per_face(artifact):
    shapes = {path.parent.name: FrameArray.open(path.parent) for path in artifact.path.glob("*/zarr.json")}
    assert {name: (array.shape, array.dtype.kind) for name, array in shapes.items()} == {
        "frames": ((6,), "i"),
        "runs": ((6,), "i"),
        "quads": ((6, 4, 2), "f"),
        "interpolated": ((6,), "b"),
        "landmarks": ((6, 68, 2), "f"),
        "crops": ((6, 3, 256, 256), "u"),
        "labels": ((6, 512, 512), "u"),
    }


def test_the_face_is_in_every_frame_in_one_run(faces):
    assert faces.frames.tolist() == list(range(6))
    assert len(set(faces.runs.tolist())) == 1
    assert not faces.interpolated.any()


def test_squares_are_squares_around_the_landmarks(artifact, faces):
    points = FrameArray.open(artifact.path / "landmarks").read()
    down, across = faces.quads[:, 1] - faces.quads[:, 0], faces.quads[:, 3] - faces.quads[:, 0]
    np.testing.assert_allclose((down * across).sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.hypot(*down.T), np.hypot(*across.T))
    center = faces.quads.mean(axis=1)
    farthest = np.hypot(*np.moveaxis(points - center[:, None], -1, 0)).max(axis=1)
    assert (farthest < square_sides(faces.quads) / 2**0.5).all()


def test_crops_are_cut_at_the_squares(finished, faces):
    footage = open_clip(finished.source, finished.artifacts["decode"]).clip
    for number, frame in frames_at(footage, [0, 5]):
        cut = crop_face(rgb(frame, footage.info), faces.quads[number], 256).image
        assert np.array_equal(faces.crops.read(number), cut.transpose(2, 0, 1))


def test_crops_are_upright_though_the_clip_lies_on_its_side(faces):
    for labels in faces.labels.read():
        height = {name: np.argwhere(labels == CLASSES.index(name))[:, 0].mean() for name in ("hair", "nose", "neck")}
        assert height["hair"] < height["nose"] < height["neck"]


def test_what_was_found_is_told_to_operators(artifact):
    told = json.loads((artifact.path / "tracks.json").read_text())
    assert told["frames"] == 6
    assert [(track["frames"], track["faces"]) for track in told["tracks"]] == [([0, 5], 6)]


def decoded(path, store, end):
    source = Source.of(path)
    return source, decode_video.fn(store, source, DecodeOptions(end=end), ShotOptions())


def test_a_clip_without_a_face_is_refused(packaged, tmp_path):
    store = Store.at(tmp_path)
    source, clip = decoded(packaged("no_face.mp4"), store, 0.07)
    with pytest.raises(NoFaceError, match=r"[Nn]o face"):
        align_faces.fn(store, source, clip, DLIB, TrackOptions(), AlignOptions(size=256), "cpu")


def test_a_person_who_is_not_there_is_refused(finished, tmp_path):
    with pytest.raises((UnknownNameError, NoFaceError), match="person"):
        align_faces.fn(
            Store.at(tmp_path), finished.source, finished.artifacts["decode"], DLIB, TrackOptions(),
            AlignOptions(size=256, person=7), "cpu",
        )  # fmt: skip


def test_a_size_the_generator_does_not_draw_is_refused(finished, tmp_path):
    with pytest.raises(InputError, match=r"makes \[128, 256, 512, 1024\] px, but align.size is 300"):
        align_faces.fn(
            Store.at(tmp_path), finished.source, finished.artifacts["decode"], DLIB, TrackOptions(),
            AlignOptions(size=300), "cpu",
        )  # fmt: skip


def inputs_of(finished):
    config = finished.request.config()
    return finished.source, finished.artifacts["decode"], config.landmarks, config.tracks, config.align, "auto"


def searched(told):
    return any(record.event == "advanced" and record.label == "align: faces" for record in told.records)


@pytest.mark.parametrize("lost", [["quads"], ["crops"], ["labels"], ["crops", "labels"], ["landmarks"], ["frames"]])
def test_what_was_lost_is_made_again_as_it_was(finished, artifact, workspace, make_again, assert_same, told, lost):
    folder = workspace(artifact)
    for name in lost:
        shutil.rmtree(folder / name)
    make_again(align_faces, folder, *inputs_of(finished))
    assert searched(told) == bool({"landmarks", "frames"} & set(lost))  # all else follows from these
    assert_same(folder, artifact)


def test_lost_tracks_are_found_again(finished, artifact, workspace, make_again, assert_same):
    folder = workspace(artifact)
    (folder / "tracks.json").unlink()
    make_again(align_faces, folder, *inputs_of(finished))
    assert_same(folder, artifact)


def test_a_search_that_was_cut_off_keeps_what_it_found(
    finished, artifact, tmp_path, make_again, assert_same, told, monkeypatch
):
    monkeypatch.setattr(detections, "CHUNK", 2)  # frames, of six
    folder = tmp_path / "again"
    folder.mkdir()

    def cut(record):
        if record.event == "advanced" and record.label == "align: faces" and record.done >= 3:
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        make_again(align_faces, folder, *inputs_of(finished))
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / ".detections").iterdir()}
    assert "000000.safetensors" in kept
    assert len(kept) < 3

    told.on_record = lambda record: None
    make_again(align_faces, folder, *inputs_of(finished))
    assert {name: (folder / ".detections" / name).stat().st_mtime_ns for name in kept} == kept
    assert_same(folder, artifact)
