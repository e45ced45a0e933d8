"""A real catalog on a real server: real edits in processes of their own, and clips that cannot be edited."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.catalog.outcomes import HELD, REVIEW
from flows.catalog.request import CatalogRequest
from flows.cli.main import app
from flows.edit_catalog import edit_catalog


@pytest.fixture(scope="module")
def make_tuned_night(make_night, finished):
    """`make_tuned_night(folder)`: there, and a store that has all up to the tuned generator."""

    def make(folder: Path) -> Path:
        for stage in ("decode", "detect", "align", "occlude", "invert", "tune"):
            shutil.copytree(finished.store.folder / stage, folder / "store" / stage)
        return make_night(folder)

    return make


@pytest.fixture(scope="module")
def night(tmp_path_factory, make_tuned_night):
    """A catalog that ran once."""
    folder = make_tuned_night(tmp_path_factory.mktemp("night"))
    return folder, edit_catalog(request(folder), return_state=True)


def request(folder: Path, **others: object) -> CatalogRequest:
    return CatalogRequest(catalog=folder / "night.yaml", store=str(folder / "store"), device="cpu", **others)


def command(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(
        app, [words[0], str(folder / "night.yaml"), *words[1:], "--store", str(folder / "store"), "--device", "cpu"]
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stdout


def outcomes(folder: Path) -> dict[str, dict]:
    return {Path(one["source"]).name: one for one in json.loads(command(folder, "status", "--json"))}


def test_the_good_clips_are_done_and_the_others_told(night):
    folder, state = night
    found = outcomes(folder)
    assert state.is_failed()
    assert "2 failed" in state.message
    assert found["broken.mp4"]["state"] == found["empty.mp4"]["state"] == "failed"
    assert "cannot be opened" in found["broken.mp4"]["error"]
    assert found["empty.mp4"]["error"].startswith("No face in ")
    assert found["phone.mp4"]["state"] in {REVIEW, HELD}  # tuned for a moment only
    assert Path(found["phone.mp4"]["output"]).name == "phone_smile+2.mp4"


def test_a_second_night_does_only_what_is_new(night):
    folder, _ = night
    before = outcomes(folder)["phone.mp4"]
    shutil.copy(folder / "phone.mp4", folder / "phone_again.mp4")
    plan = {Path(row["clip"]).name: row for row in json.loads(command(folder, "plan", "--json"))}
    assert plan["phone.mp4"]["state"] == "unchanged"
    assert plan["phone_again.mp4"]["stages"] == []

    state = edit_catalog(request(folder, tags=["good"]), return_state=True)
    found = outcomes(folder)
    assert state.is_completed(), state.message
    assert found["phone.mp4"]["flow_run"] == before["flow_run"]
    assert all(stage["cached"] for stage in found["phone_again.mp4"]["stages"])
    (folder / "phone_again.mp4").unlink()


def test_a_held_result_is_published_by_approval_and_taken_back_by_rejection(night):
    folder, _ = night
    output = folder / "done" / "phone_smile+2.mp4"
    command(folder, "approve", "phone.mp4", "--by", "anna")
    assert output.exists()
    assert not list((folder / "held").rglob("*.mp4"))
    told = outcomes(folder)["phone.mp4"]
    assert (told["state"], told["decision"]["by"]) == ("published", "anna")

    command(folder, "reject", "phone.mp4", "--by", "bert")
    assert not output.exists()
    assert (folder / "held" / "done" / output.name).exists()
    assert edit_catalog(request(folder, tags=["good"]), return_state=True).is_completed()
    assert outcomes(folder)["phone.mp4"]["state"] == "rejected"  # it was not made again
    assert not output.exists()


def test_what_was_rejected_is_not_published_though_new_code_makes_it_again(night):
    folder, _ = night
    command(folder, "reject", "phone.mp4", "--by", "bert")
    (kept,) = [path for path in (folder / "store/catalogs/night").glob("*.json") if "phone_smile" in path.read_text()]
    words = json.loads(kept.read_text())
    kept.write_text(json.dumps(words | {"code": "of yesterday"}))
    (folder / "held" / "done" / "phone_smile+2.mp4").unlink()

    assert edit_catalog(request(folder, tags=["good"]), return_state=True).is_completed()
    told = outcomes(folder)["phone.mp4"]
    assert (told["state"], told["decision"]["by"]) == ("rejected", "bert")
    assert told["flow_run"] != words["flow_run"]
    assert (folder / "held" / "done" / "phone_smile+2.mp4").exists()
    assert not (folder / "done" / "phone_smile+2.mp4").exists()


def test_a_clip_that_takes_too_long_is_stopped_and_goes_on_the_next_time(make_night, tmp_path):
    make_night(tmp_path)
    state = edit_catalog(request(tmp_path, tags=["good"], time_limit_s=3), return_state=True)
    assert state.is_failed()
    found = outcomes(tmp_path)["phone.mp4"]
    assert (found["state"], found["attempts"]) == ("timed out", 1)
    assert "longer than 3 s" in found["error"]


def test_a_run_whose_process_is_killed_is_tried_again(make_tuned_night, tmp_path, monkeypatch):
    make_tuned_night(tmp_path)
    from flows.catalog.children import LocalChildren  # noqa: PLC0415

    start, begun = LocalChildren.start, []

    def killed_at_first(self, *words):
        child = start(self, *words)
        begun.append(child)
        if len(begun) == 1:
            child.process.kill()
        return child

    monkeypatch.setattr(LocalChildren, "start", killed_at_first)
    state = edit_catalog(request(tmp_path, tags=["good"]), return_state=True)
    assert state.is_completed(), state.message
    assert outcomes(tmp_path)["phone.mp4"]["attempts"] == 2
    assert len(begun) == 2
