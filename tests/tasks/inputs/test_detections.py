"""Faces of frames on disk, and a search that resumes from them."""

import dataclasses
from itertools import chain

import numpy as np
import pytest

from stitchedit.detect.finder import Detection
from stitchedit.options.detect import DetectOptions
from storage.weights.state_dict import load_tensors
from tasks.inputs import detections
from tasks.inputs.clip import ShotClip, open_clip
from tasks.inputs.detections import find_faces, load_detections, save_detections

DLIB = DetectOptions(backend="dlib")
NAMES = ("box", "confidence", "landmarks", "descriptor", "descriptor_age", "look")


def face(seed, descriptor=None, age=0):
    values = np.random.default_rng(seed)
    described = values.normal(size=128) if descriptor is None else descriptor
    look = values.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Detection(values.normal(size=4), float(values.normal()), values.normal(size=(68, 2)), described, age, look)


def assert_equal(found, wanted):
    assert [len(faces) for faces in found] == [len(faces) for faces in wanted]
    for one, other in zip(chain.from_iterable(found), chain.from_iterable(wanted), strict=True):
        for name in NAMES:
            first, second = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
            assert first.dtype == second.dtype
            assert np.array_equal(first, second)


def test_faces_come_back_bit_for_bit_with_the_descriptors_they_share(tmp_path):
    first = face(0)
    frames = [[first, face(1)], [], [face(2, first.descriptor, age=1)], [face(3)]]
    save_detections(tmp_path / "faces.safetensors", frames)
    again = list(load_detections(tmp_path / "faces.safetensors"))
    assert_equal(again, frames)
    assert len(load_tensors(tmp_path / "faces.safetensors")["descriptor"]) == 3
    assert np.shares_memory(again[0][0].descriptor, again[2][0].descriptor)


def test_frames_without_a_face_come_back_too(tmp_path):
    save_detections(tmp_path / "none.safetensors", [[], [], []])
    assert list(load_detections(tmp_path / "none.safetensors")) == [[], [], []]


@pytest.mark.parametrize("shots", [[0] * 6, [0, 0, 0, 1, 1, 1]])  # with a cut just before the resumption
def test_a_resumed_search_finds_the_same_faces(finished, tmp_path, monkeypatch, shots):
    monkeypatch.setattr(detections, "CHUNK", 2)
    clip = open_clip(finished.source, finished.artifacts["decode"]).clip
    footage = ShotClip(clip, np.array(shots))
    whole = list(find_faces(tmp_path / "whole", footage, DLIB))

    broken = find_faces(tmp_path / "broken", footage, DLIB)
    for _ in range(5):
        next(broken)
    broken.close()
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["000000.safetensors", "000001.safetensors"]

    assert_equal(list(find_faces(tmp_path / "broken", footage, DLIB)), whole)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "broken" / path.name).read_bytes()


def test_a_search_that_came_to_its_end_looks_at_no_frame_again(finished, tmp_path):
    footage = open_clip(finished.source, finished.artifacts["decode"])
    whole = list(find_faces(tmp_path / "faces", footage, DLIB))
    gone = dataclasses.replace(footage, clip=dataclasses.replace(footage.clip, path=tmp_path / "gone.mp4"))
    assert_equal(list(find_faces(tmp_path / "faces", gone, DLIB)), whole)
