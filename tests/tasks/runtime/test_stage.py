"""What is in a key, what is not, and which failures are tried again."""

import inspect
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.states import exception_to_failed_state
from prefect.utilities.asyncutils import run_coro_as_sync

import tasks.runtime.pretrained
import tasks.tune
from stitchedit.errors import NoFaceError
from stitchedit.options.shots import ShotOptions
from stitchedit.options.tune import TuneOptions
from storage.artifact import Artifact, Source
from storage.errors import LeaseLostError, PretrainedError, SourceChangedError, UnreachableStoreError
from storage.store import Store
from storage.video.decode_options import DecodeOptions
from tasks.decode import decode_video
from tasks.runtime import networks
from tasks.runtime.stage import stage_recipe
from tasks.runtime.stage_names import STAGES
from tasks.tune import tune_weights

FACES = Artifact(Path("store"), "align", "0" * 16, "a" * 64)
HIDDEN = Artifact(Path("store"), "occlude", "2" * 16, "c" * 64)
CODES = Artifact(Path("store"), "invert", "1" * 16, "b" * 64)


def tune_key(faces=FACES, codes=CODES, options=TuneOptions(), device="cpu"):  # noqa: B008 - frozen
    used = (*networks.GENERATOR, *networks.PERCEPTUAL)
    return stage_recipe(tune_weights.fn.__wrapped__, used, (faces, HIDDEN, codes, options, device), {}).key


def decode_key(path):
    return stage_recipe(decode_video.fn.__wrapped__, (), (Source.of(path), DecodeOptions(), ShotOptions()), {}).key


def test_equal_options_give_the_same_key():
    assert tune_key(options=TuneOptions()) == tune_key(options=TuneOptions(passes=TuneOptions().passes))


def test_every_option_that_decides_something_changes_the_key():
    names = vars(TuneOptions()).keys() - TuneOptions.decide_nothing
    others = [replace(TuneOptions(), **{name: getattr(TuneOptions(), name) + 1}) for name in names]
    assert len({tune_key()} | {tune_key(options=other) for other in others}) == 1 + len(others)


def test_how_often_to_save_is_in_no_key():
    assert tune_key(options=TuneOptions(checkpoint_every=1)) == tune_key()


def test_every_module_on_top_of_tasks_is_a_listed_stage():
    modules = {path.stem for path in Path(tasks.tune.__file__).parent.glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)


def test_the_device_is_in_no_key():
    assert tune_key(device="cpu") == tune_key(device="cuda:1")


def test_an_input_counts_by_its_content_alone():
    moved = replace(FACES, store=Path("elsewhere"), key="f" * 16)
    assert tune_key(faces=moved) == tune_key()
    assert tune_key(faces=replace(FACES, digest="c" * 64)) != tune_key()


def test_two_inputs_are_not_mistaken_for_each_other():
    assert tune_key(faces=CODES, codes=FACES) != tune_key()


def test_another_network_file_changes_the_keys_of_the_stages_that_use_it(monkeypatch, tmp_path, clip):
    before, decode_before = tune_key(), decode_key(clip)
    catalog = tmp_path / "pretrained.yaml"
    listed = tasks.runtime.pretrained.pretrained()["lpips_alex"].sha256
    catalog.write_text(tasks.runtime.pretrained.CATALOG.read_text().replace(listed, "f" * 64))
    monkeypatch.setattr(tasks.runtime.pretrained, "CATALOG", catalog)
    assert tune_key() != before
    assert decode_key(clip) == decode_before


def test_touching_moving_or_renaming_the_clip_does_not_change_the_key(clip, tmp_path):
    moved = shutil.copy(clip, tmp_path / "other.mp4")
    os.utime(moved, (0, 0))
    assert decode_key(moved) == decode_key(clip)


def test_one_byte_of_the_clip_changes_the_key(clip, tmp_path):
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(clip.read_bytes()[:-1] + b"!")
    assert decode_key(changed) != decode_key(clip)


def test_options_given_by_name_give_the_same_key():
    function, options = tune_weights.fn.__wrapped__, TuneOptions()
    by_name = {"device": "cpu", "options": options, "codes": CODES, "occluded": HIDDEN, "faces": FACES}
    in_order = stage_recipe(function, (), (FACES, HIDDEN, CODES, options, "cpu"), {})
    assert stage_recipe(function, (), (), by_name).key == in_order.key


def test_a_task_is_called_with_a_store_in_place_of_the_folder():
    signature = inspect.signature(tune_weights.fn)
    assert list(signature.parameters) == ["store", "faces", "occluded", "codes", "options", "device"]
    assert signature.parameters["store"].annotation is Store
    assert tune_weights.name == "tune"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(28, "No space left on device"), True),
        (UnreachableStoreError("The server is down."), True),
        (LeaseLostError("Another process has it."), True),
        (PermissionError(13, "Permission denied"), False),
        (SourceChangedError("Another clip."), False),
        (NoFaceError("No face."), False),
        (PretrainedError("Another file."), False),
        (ZeroDivisionError(), False),
    ],
)
def test_what_may_pass_is_tried_again_and_a_clip_without_a_face_is_not(error, again):
    failed = run_coro_as_sync(exception_to_failed_state(error))
    assert tune_weights.retry_condition_fn(tune_weights, None, failed) is again


def test_nothing_is_kept_of_a_clip_that_changed_while_it_was_worked_on(clip, tmp_path, told):
    path = shutil.copy(clip, tmp_path / "growing.mp4")
    source = Source.of(path)

    def grow(record):
        if record.event == "advanced" and path.stat().st_size == source.seen[0]:
            with path.open("ab") as file:
                file.write(bytes(8))

    told.on_record = grow
    store = Store.at(tmp_path / "store")
    with pytest.raises(SourceChangedError, match=r"growing\.mp4 changed while it was worked on"):
        decode_video.fn(store, source, DecodeOptions(), ShotOptions())
    assert list(store.artifacts()) == []

    told.on_record = lambda record: None
    made = decode_video.fn(store, Source.of(path), DecodeOptions(), ShotOptions())
    assert list(store.artifacts()) == [made]


def test_a_clip_that_went_away_is_told(clip, tmp_path):
    path = shutil.copy(clip, tmp_path / "gone.mp4")
    source = Source.of(path)
    path.unlink()
    with pytest.raises(SourceChangedError, match="was there when the run began and is gone"):
        decode_video.fn(Store.at(tmp_path / "store"), source, DecodeOptions(), ShotOptions())


def test_lineage_says_where_a_result_is_from(finished):
    lineage = finished.store.manifest(finished.artifacts["stitch"])["lineage"]

    assert lineage["inputs"]["weights"] == {"stage": "tune", "key": finished.artifacts["tune"].key}
    assert lineage["frames"] == 6
    assert "stitchedit.stitch.stitch_face" in lineage["code"]
    assert lineage["attempts"][0]["seconds"] > 0
    decoded = finished.store.manifest(finished.artifacts["decode"])["lineage"]
    assert decoded["inputs"] == {"source": {"file": str(finished.request.video)}}
