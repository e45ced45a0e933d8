"""The edited frame before the codec, and the files that come out."""

import errno
import json
import shutil
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from storage.arrays.frame_array import FrameArray
from storage.video.index import read_frames
from storage.video.info import rgb
from storage.video.planes import writable_planes
from tasks.encode import encode_video
from tasks.inputs.clip import open_clip
from tasks.inputs.edited_frames import frame_editor
from tasks.inputs.faces import open_faces


@pytest.fixture(scope="module")
def footage(finished):
    return open_clip(finished.source, finished.artifacts["decode"]).clip


def inputs_of(finished):
    decode, faces, patches = (finished.artifacts[stage] for stage in ("decode", "align", "composite"))
    return finished.source, decode, (faces,), (patches,)


def samples(frame, info):
    return [plane.copy() for plane in writable_planes(frame, info).samples]


def test_every_sample_outside_alpha_equals_the_source_exactly(finished, footage):
    frames = open_faces(finished.artifacts["align"]).frames
    edit = frame_editor(footage, [frames], [finished.artifacts["composite"]])
    folder = finished.artifacts["composite"].path
    patches, places = (FrameArray.open(folder / name).read() for name in ("patches", "places"))
    sources = {number: samples(frame, footage.info) for number, frame in read_frames(footage)}

    for number, frame in read_frames(footage):
        left, top = map(int, places[number])
        alpha = np.zeros((footage.info.height, footage.info.width), bool)
        shown = alpha[top : top + patches.shape[2], left : left + patches.shape[3]]
        shown[...] = patches[number, 3, : shown.shape[0], : shown.shape[1]] > 0
        assert 0.01 < alpha.mean() < 0.5

        after = samples(edit(number, frame), footage.info)
        assert len(after) == 3
        for old, new in zip(sources[number], after, strict=True):
            down, across = alpha.shape[0] // new.shape[0], alpha.shape[1] // new.shape[1]
            footprint = alpha.reshape(new.shape[0], down, new.shape[1], across).any(axis=(1, 3))
            assert np.array_equal(old[~footprint], new[~footprint])
            assert (old[footprint] != new[footprint]).mean() > 0.2


def test_a_frame_without_the_face_passes_untouched(finished, footage):
    edit = frame_editor(footage, [np.array([2, 3])], [finished.artifacts["composite"]])
    number, frame = next(read_frames(footage))
    assert edit(number, frame) is frame


def test_artifact_has_video_preview_sheet_and_notes(finished):
    folder = finished.artifacts["encode"].path
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "notes.json", "preview.mp4", "sheet.png", "video.mp4",
    }  # fmt: skip
    assert json.loads((folder / "notes.json").read_text()) == []


def test_preview_shows_source_and_result_side_by_side(finished):
    with av.open(str(finished.artifacts["encode"].path / "preview.mp4")) as preview:
        images = [frame.to_ndarray(format="rgb24") for frame in preview.decode(video=0)]
    assert len(images) == 6
    assert images[0].shape[1] > 2 * 640 * images[0].shape[0] / 360 * 0.8  # two upright panels
    assert preview.format.name.startswith("mov")


def test_sheet_has_a_column_per_chosen_frame(finished):
    sheet = cv2.imread(str(finished.artifacts["encode"].path / "sheet.png"))
    assert sheet.shape[1] == 6 * round(640 * 320 / 360)
    assert sheet.shape[0] > 2 * 320


def test_sheet_shows_the_source_above_the_result(finished, footage):
    sheet = cv2.cvtColor(cv2.imread(str(finished.artifacts["encode"].path / "sheet.png")), cv2.COLOR_BGR2RGB)
    number, frame = next(read_frames(footage))
    source = footage.info.view.show(rgb(frame, footage.info))
    width = round(source.shape[1] * 320 / source.shape[0])
    shown = cv2.resize(source, (width, 320), interpolation=cv2.INTER_AREA)
    above, below = sheet[22:342, :width], sheet[342:662, :width]
    assert number == 0
    assert np.array_equal(above, shown)
    assert np.abs(below.astype(int) - shown).max() > 10


@pytest.mark.parametrize(
    ("lost", "kept"),
    [
        (["preview.mp4"], ["video.mp4", "notes.json", "sheet.png"]),
        (["sheet.png"], ["video.mp4", "notes.json", "preview.mp4"]),
        (["notes.json"], ["preview.mp4", "sheet.png"]),
        (["video.mp4", "sheet.png"], ["preview.mp4"]),
    ],
)
def test_what_was_lost_is_recomputed_and_the_rest_left(finished, workspace, rerun_stage, assert_same, lost, kept):
    artifact = finished.artifacts["encode"]
    folder = workspace(artifact)
    for name in lost:
        (folder / name).unlink()
    before = [(folder / name).stat().st_ino for name in kept]

    rerun_stage(encode_video, folder, *inputs_of(finished), finished.config.encode, ".mp4")

    assert_same(folder, artifact)
    assert [(folder / name).stat().st_ino for name in kept] == before


def test_a_run_that_was_cut_off_resumes_with_its_segment(finished, tmp_path, told, rerun_stage, assert_same):
    given = (*inputs_of(finished), replace(finished.config.encode, segment=4), ".mp4")
    undisturbed, cut_off = tmp_path / "undisturbed", tmp_path / "cut_off"
    undisturbed.mkdir()
    cut_off.mkdir()
    rerun_stage(encode_video, undisturbed, *given)

    def fill_disk(record):
        if record.event == "advanced" and record.done == 6:
            raise OSError(errno.ENOSPC, "no space left")

    told.on_record = fill_disk
    with pytest.raises(OSError, match="no space left"):
        rerun_stage(encode_video, cut_off, *given)
    told.on_record = lambda record: None
    told.records.clear()
    rerun_stage(encode_video, cut_off, *given)

    assert [record.done for record in told.records if record.label == "encode"] == [5, 6]
    shutil.rmtree(undisturbed / ".segments")  # as the store does
    assert_same(cut_off, replace(finished.artifacts["encode"], store=tmp_path, stage=".", key="undisturbed"))
