"""Codes of every face, and what is left of them after an interruption."""

import numpy as np
import pytest
import torch

from storage.frame_array import FrameArray
from storage.state_dict import load_tensors
from storage.store import Store
from tasks import networks
from tasks.faces import open_faces
from tasks.invert import invert_faces


def test_artifact_has_a_code_per_face_and_the_persons(finished):
    artifact = finished.artifacts["invert"]
    codes = FrameArray.open(artifact.path / "w_plus").read()
    assert (codes.shape, codes.dtype) == ((6, 16, 512), np.float32)
    assert np.isfinite(codes).all()
    assert load_tensors(artifact.path / "person.safetensors")["w_plus"].shape == (1, 16, 512)


def test_frames_differ_from_the_person_in_the_coarse_layers_only(finished):
    artifact = finished.artifacts["invert"]
    offsets = (
        FrameArray.open(artifact.path / "w_plus").read() - load_tensors(artifact.path / "person.safetensors")["w_plus"]
    )
    moved = np.abs(offsets).max(axis=(0, 2)) > 0
    coarse = networks.generator("auto").coarse_layers(finished.request.config().invert.work_size)
    assert 0 < coarse < 16
    assert moved.tolist() == [True] * coarse + [False] * (16 - coarse)


def test_an_interrupted_inversion_keeps_the_person_and_ends_in_the_same_codes(finished, tmp_path, told):
    store, config = Store(tmp_path), finished.request.config()

    def cut(record):
        if record.event == "advanced" and record.label == "invert: frames 4-5":
            raise KeyboardInterrupt

    told.on_record = cut
    with pytest.raises(KeyboardInterrupt):
        invert_faces.fn(store, finished.artifacts["align"], config.invert, "auto")
    (staging,) = (tmp_path / "staging").iterdir()
    assert FrameArray.open(staging / "w_plus").finished == 1
    person = (staging / "person.safetensors").stat()

    told.on_record, told.records[:] = lambda record: None, []
    codes = invert_faces.fn(store, finished.artifacts["align"], config.invert, "auto")

    assert [record.resumed for record in told.records if record.event == "started"] == [True]
    labels = {record.label for record in told.records if record.event == "advanced"}
    assert labels == {"invert: frames 4-5"}
    assert (codes.path / "person.safetensors").stat().st_mtime_ns == person.st_mtime_ns
    assert codes.digest == finished.artifacts["invert"].digest


def test_crops_are_read_as_networks_take_them(finished):
    faces = open_faces(finished.artifacts["align"])
    images = faces.footage(torch.device("cpu")).crops(np.array([5, 0]))
    assert images.shape == (2, 3, 256, 256)
    np.testing.assert_allclose(images[0].numpy(), faces.crops.read(5) / 127.5 - 1, atol=1e-6)
