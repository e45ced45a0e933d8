"""A catalog on a real server: edits in child processes, and clips that cannot be edited."""

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
def make_tuned_catalog(make_catalog, finished):
    """`make_tuned_catalog(folder)` writes a catalog, and a store with all stages up to the tuned generator."""

    def make(folder: Path) -> Path:
        for stage in ("decode", "detect", "align", "occlude", "invert", "tune"):
            shutil.copytree(finished.store.folder / stage, folder / "store" / stage)
        return make_catalog(folder)

    return make


@pytest.fixture(scope="module")
def night(tmp_path_factory, make_tuned_catalog):
    """A catalog after its first run."""
    folder = make_tuned_catalog(tmp_path_factory.mktemp("night"))
    return folder, edit_catalog(request(folder), return_state=True)


def request(folder: Path, **others: object) -> CatalogRequest:
    return CatalogRequest(catalog=folder / "night.yaml", store=str(folder / "store"), device="cpu", **others)


def command(folder: Path, name: str, *options: str) -> str:
    places = ["--store", str(folder / "store"), "--device", "cpu"]
    result = CliRunner().invoke(app, [name, str(folder / "night.yaml"), *options, *places])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stdout


def outcomes(folder: Path) -> dict[str, dict]:
    return {Path(one["source"]).name: one for one in json.loads(command(folder, "status", "--json"))}


def test_good_clips_are_edited_and_the_others_reported(night):
    folder, state = night
    found = outcomes(folder)
    assert state.is_failed()
    assert "2 failed" in state.message
    assert found["broken.mp4"]["state"] == found["empty.mp4"]["state"] == "failed"
    assert "cannot be opened" in found["broken.mp4"]["error"]
    assert found["empty.mp4"]["error"].startswith("No face in ")
    assert found["phone.mp4"]["state"] in {REVIEW, HELD}  # tuned for a few steps only
    assert Path(found["phone.mp4"]["output"]).name == "phone_smile+2.mp4"


def test_a_second_run_edits_only_new_clips(night):
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


def test_approval_publishes_a_held_result_and_rejection_withdraws_it(night):
    folder, _ = night
    output = folder / "done" / "phone_smile+2.mp4"
    command(folder, "approve", "phone.mp4", "--by", "anna")
    assert output.exists()
    assert not list((folder / "held").rglob("*.mp4"))
    outcome = outcomes(folder)["phone.mp4"]
    assert (outcome["state"], outcome["decision"]["by"]) == ("published", "anna")

    command(folder, "reject", "phone.mp4", "--by", "bert")
    assert not output.exists()
    assert (folder / "held" / "done" / output.name).exists()
    assert edit_catalog(request(folder, tags=["good"]), return_state=True).is_completed()
    assert outcomes(folder)["phone.mp4"]["state"] == "rejected"  # it was not recomputed
    assert not output.exists()


def test_a_rejected_result_that_new_code_recomputes_is_not_published(night):
    folder, _ = night
    command(folder, "reject", "phone.mp4", "--by", "bert")
    (record,) = [path for path in (folder / "store/catalogs/night").glob("*.json") if "phone_smile" in path.read_text()]
    before = json.loads(record.read_text())
    record.write_text(json.dumps(before | {"code": "old"}))
    (folder / "held" / "done" / "phone_smile+2.mp4").unlink()

    assert edit_catalog(request(folder, tags=["good"]), return_state=True).is_completed()
    outcome = outcomes(folder)["phone.mp4"]
    assert (outcome["state"], outcome["decision"]["by"]) == ("rejected", "bert")
    assert outcome["flow_run"] != before["flow_run"]
    assert (folder / "held" / "done" / "phone_smile+2.mp4").exists()
    assert not (folder / "done" / "phone_smile+2.mp4").exists()


def test_a_clip_beyond_the_time_limit_is_stopped(make_catalog, tmp_path):
    make_catalog(tmp_path)
    state = edit_catalog(request(tmp_path, tags=["good"], time_limit_s=3), return_state=True)
    assert state.is_failed()
    found = outcomes(tmp_path)["phone.mp4"]
    assert (found["state"], found["attempts"]) == ("timed out", 1)
    assert "longer than 3 s" in found["error"]


def test_a_run_whose_process_is_killed_is_retried(make_tuned_catalog, tmp_path, monkeypatch):
    make_tuned_catalog(tmp_path)
    from flows.catalog.children import LocalChildren  # noqa: PLC0415

    start, started = LocalChildren.start, []

    def start_and_kill_the_first(self, *arguments):
        child = start(self, *arguments)
        started.append(child)
        if len(started) == 1:
            child.process.kill()
        return child

    monkeypatch.setattr(LocalChildren, "start", start_and_kill_the_first)
    state = edit_catalog(request(tmp_path, tags=["good"]), return_state=True)
    assert state.is_completed(), state.message
    assert outcomes(tmp_path)["phone.mp4"]["attempts"] == 2
    assert len(started) == 2
