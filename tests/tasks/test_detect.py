"""Everybody of a real clip, found once, whoever is edited."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from stitchedit.errors import NoFaceError
from stitchedit.options.detect import DetectOptions
from stitchedit.options.shots import ShotOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Source
from storage.store import Store
from storage.video.decode_options import DecodeOptions
from tasks.decode import decode_video
from tasks.detect import detect_faces, find_tracks
from tasks.inputs import detections
from tasks.inputs.clip import open_clip
from tasks.inputs.persons import read_persons

DLIB = DetectOptions(backend="dlib")


@pytest.fixture(scope="module")
def artifact(finished):
    return finished.artifacts["detect"]


def inputs_of(finished):
    config = finished.config
    return finished.source, finished.artifacts["decode"], config.detect


def test_artifact_has_a_row_per_face_and_a_descriptor_per_track(artifact):
    shapes = {path.parent.name: FrameArray.open(path.parent).shape for path in artifact.path.glob("*/zarr.json")}
    assert shapes == {
        "frame": (6,), "track": (6,), "person": (6,), "interpolated": (6,),
        "landmarks": (6, 68, 2), "box": (6, 4), "descriptors": (1, 128),
    }  # fmt: skip


def test_what_was_found_is_told_to_operators(artifact):
    told = json.loads((artifact.path / "tracks.json").read_text())
    assert told["frames"] == 6
    assert [(track["frames"], track["faces"]) for track in told["tracks"]] == [([0, 5], 6)]


def test_a_person_is_where_the_landmarks_are(finished, artifact):
    (person,) = read_persons(artifact)
    points = FrameArray.open(artifact.path / "landmarks").read()
    lying = np.median(points.mean(axis=1), axis=0)  # coded pixels: the clip lies on its side
    assert person.number == 0
    assert np.linalg.norm(person.descriptor) == pytest.approx(1.4, abs=0.15)
    assert abs(person.place[1] - lying[0]) < 15  # turned by 90 degrees, across becomes down


def test_a_clip_without_a_face_is_refused(packaged, tmp_path):
    store, source = Store.at(tmp_path), Source.of(packaged("no_face.mp4"))
    clip = decode_video.fn(store, source, DecodeOptions(end=0.07), ShotOptions())
    with pytest.raises(NoFaceError, match=r"[Nn]o face"):
        detect_faces.fn(store, source, clip, DLIB)


def test_a_damaged_clip_without_a_face_says_that_it_is_damaged(packaged, tmp_path):
    store, source = Store.at(tmp_path), Source.of(packaged("no_face.mp4"))
    clip = decode_video.fn(store, source, DecodeOptions(end=0.07), ShotOptions())
    footage = open_clip(source, clip)
    index = replace(footage.clip.index, intact=False, warnings=("2 of 2 frames are damaged.",))
    damaged = replace(footage, clip=replace(footage.clip, index=index))
    with pytest.raises(NoFaceError, match=r"The clip is damaged\. 2 of 2 frames are damaged\. No face"):
        find_tracks(tmp_path / "found", damaged, DLIB)


@pytest.mark.parametrize("lost", [["landmarks"], ["frame", "descriptors"]])
def test_what_was_lost_is_recomputed_unchanged(finished, artifact, workspace, rerun_stage, assert_same, lost):
    folder = workspace(artifact)
    for name in lost:
        shutil.rmtree(folder / name)
    rerun_stage(detect_faces, folder, *inputs_of(finished))
    assert_same(folder, artifact)


def test_a_search_that_was_cut_off_keeps_what_it_found(
    finished, artifact, tmp_path, rerun_stage, assert_same, told, monkeypatch
):
    monkeypatch.setattr(detections, "CHUNK", 2)  # frames, of six
    folder = tmp_path / "again"
    folder.mkdir()

    def cut(record):
        if record.event == "advanced" and record.done >= 3:
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        rerun_stage(detect_faces, folder, *inputs_of(finished))
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / ".detections").iterdir()}
    assert "000000.safetensors" in kept
    assert len(kept) < 3

    told.on_record = lambda record: None
    rerun_stage(detect_faces, folder, *inputs_of(finished))
    assert {name: (folder / ".detections" / name).stat().st_mtime_ns for name in kept} == kept
    assert_same(folder, artifact)
