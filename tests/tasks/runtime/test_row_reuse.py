"""An edit that changes in some frames only costs these."""

import shutil

import numpy as np
import pytest

from storage.arrays.frame_array import FrameArray
from storage.artifact import Recipe
from storage.store import Store
from tasks.runtime.row_reuse import equal_rows, find_earlier, take_rows

COLD = ["stitch.warm_start=false", "stitch.chunk=2"]
FACES = {"stitch": [5, 6]}  # of six; the frames from .14 s on


def ramped(request, store, points):
    options = [*request.options, *COLD, f"edit.ramps.smile={points}"]
    return request.model_copy(update={"options": options, "store": str(store), "output": store.parent / "ramp.mp4"})


def test_only_frames_that_a_ramp_changes_are_stitched_again(copied, edit_once, told, tmp_path):
    one, other = "0:0,0.05:1,0.14:1,0.2:1", "0:0,0.05:1,0.14:1,0.2:0.5"
    edit_once(ramped(copied.request, copied.store.folder, one))
    told.records.clear()

    edit_once(ramped(copied.request, copied.store.folder, other))

    done = [record.done for record in told.records if record.stage == "stitch" and record.event == "advanced"]
    assert done == FACES["stitch"]
    for stage in ("decode", "detect", "align", "occlude", "invert", "tune"):
        shutil.copytree(copied.store.folder / stage, tmp_path / "undisturbed" / stage)
    alone = edit_once(ramped(copied.request, tmp_path / "undisturbed", other))
    for stage in ("stitch", "composite", "encode"):
        made = alone.artifacts[stage]
        manifest = copied.store.read_manifest(stage, made.key)
        assert manifest is not None
        assert manifest["digest"] == made.digest


@pytest.fixture
def store(tmp_path):
    return Store.at(tmp_path / "store")


def make(store, given, rows):
    """A toy stage whose rows are ten times those of its input."""

    def fill(out):
        array = FrameArray.create(out.path / "values", rows[0], len(rows), 2, "number")
        for part in array.pending():
            array.write(part, rows[part] * 10)
        out.facts["inputs"] = {"given": {"stage": given.stage, "key": given.key}}

    return store.make(recipe(given), fill)


def recipe(given):
    return Recipe("toy", 1, {}, {}, {"given": given.digest})


def make_input(store, rows, name):
    def fill(out):
        array = FrameArray.create(out.path / "values", rows[0], len(rows), len(rows), "number")
        array.write(slice(0, len(rows)), rows)

    return store.make(Recipe("input", 1, {"name": name}, {}, {}), fill)


def test_chunks_whose_input_is_the_same_are_taken(store, tmp_path):
    rows = np.arange(6, dtype=np.float32)
    changed = rows.copy()
    changed[3] = -1
    one, other = make_input(store, rows, "one"), make_input(store, changed, "other")
    made = make(store, one, rows)

    earlier = find_earlier(store, recipe(other), "given")
    assert earlier is not None
    assert earlier.path == made.path
    array = FrameArray.create(tmp_path / "values", rows[0], 6, 2, "number")
    same = equal_rows(changed, FrameArray.open(earlier.inputs["given"] / "values").read())
    assert take_rows({"values": array}, earlier, same) == 2

    assert list(array.pending()) == [slice(2, 4)]
    assert array.read(slice(4, 6)).tolist() == [40, 50]


def test_nothing_is_taken_from_a_result_that_other_options_made_or_whose_input_is_gone(store):
    rows = np.arange(6, dtype=np.float32)
    one, other = make_input(store, rows, "one"), make_input(store, rows + 1, "other")
    make(store, one, rows)

    assert find_earlier(store, Recipe("toy", 2, {}, {}, {"given": other.digest}), "given") is None
    store.delete(one)
    assert find_earlier(store, recipe(other), "given") is None
