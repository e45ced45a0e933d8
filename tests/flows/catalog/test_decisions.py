"""Approvals and rejections persist over later runs."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.catalog.decisions import apply_decision, decide, request_to_run
from flows.catalog.jobs import Job, current_outcome, prepare_job, run_name
from flows.catalog.outcomes import FAILED, HELD, PUBLISHED, REJECTED, REVIEW, Outcome, write_outcome
from flows.catalog.reading import OpenCatalog, open_catalog
from flows.catalog.request import CatalogRequest
from flows.catalog.results import with_results
from flows.cli.main import app
from flows.edit_request import EditRequest
from flows.requests.output_files import exported_files
from storage.outputs import Outputs
from storage.store import Store

CATALOG = "catalog: night\nconsent_required: false\nclips: {}\n"


def catalog(folder: Path, *entries: dict, outside: str = "") -> tuple[OpenCatalog, CatalogRequest]:
    path = folder / "night.yaml"
    path.write_text(
        CATALOG.format(json.dumps(entries)) + f"allow_outputs: {json.dumps([outside] if outside else [])}\n"
    )
    request = CatalogRequest(catalog=path, store=str(folder / "store"), device="cpu")
    return open_catalog(path, store=request.open_store()), request


def record_outcomes(opened: OpenCatalog, request: CatalogRequest, state: str, text: str = "") -> list[Outcome]:
    """Record an outcome in `state` for every clip and write its files."""
    store, outcomes = request.open_store(), []
    for clip in opened.clips:
        one = replace(current_outcome(clip, opened, request, store), state=state, video="v", clip="c")
        write_outcome(store, opened.name, one)
        write_files(store, one.place, text or str(clip.source))
        outcomes.append(one)
    return outcomes


def write_files(store: Store, place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    for path in exported_files(place).values():
        Outputs(store).write(path, text.encode())


def command(folder: Path, name: str, *options: str) -> str:
    arguments = (name, str(folder / "night.yaml"), *options, "--store", str(folder / "store"), "--device", "cpu")
    result = CliRunner().invoke(app, arguments)
    return result.stdout if result.exit_code == 0 else str(result.exception)


@pytest.fixture
def takes(tmp_path, clip):
    """Two clips of the same name in two folders."""
    for camera in ("cam1", "cam2"):
        (tmp_path / camera).mkdir()
        shutil.copy(clip, tmp_path / camera / "take1.mp4")
    output = "{folder}/done/{stem}_{edit}{suffix}"
    return catalog(tmp_path, {"source": "cam*/take1.mp4", "edits": {"smile": 2}, "output": output})


def test_held_results_of_equal_names_in_two_folders_do_not_collide(takes, tmp_path):
    opened, request = takes
    record_outcomes(opened, request, HELD)
    assert command(tmp_path, "approve", "take1.mp4").endswith(
        "2 clips of night have this name. Name the result: cam1/done/take1_smile+2.mp4, cam2/done/take1_smile+2.mp4."
    )
    command(tmp_path, "approve", "cam1/take1.mp4")
    assert (tmp_path / "cam1/done/take1_smile+2.mp4").read_text() == str(tmp_path / "cam1/take1.mp4")
    assert not (tmp_path / "cam2/done").exists()


def test_their_runs_have_different_names(takes):
    opened, request = takes
    jobs = [prepare_job(clip, opened, request, request.open_store()) for clip in opened.clips]
    names = {run_name(opened, job) for job in jobs if isinstance(job, Job)}
    assert len(names) == 2
    assert all(name.startswith("night-take1_smile+2-") for name in names)


def test_a_result_for_another_folder_is_held_in_the_catalogs_folder(tmp_path, clip):
    (tmp_path / "catalog").mkdir()
    shutil.copy(clip, tmp_path / "catalog" / "a.mp4")
    entry = {"source": "a.mp4", "edits": {"smile": 2}}
    outputs = ["../out/{stem}{suffix}", "out/x/../{stem}{suffix}"]
    for output, depth in zip(outputs, (2, 2), strict=True):
        opened, request = catalog(tmp_path / "catalog", entry | {"output": output}, outside=str(tmp_path / "out"))
        (one,) = record_outcomes(opened, request, HELD)
        assert len(one.place.relative_to(tmp_path / "catalog" / "held").parts) == depth


@pytest.fixture
def one(tmp_path, clip):
    """A catalog of one clip."""
    shutil.copy(clip, tmp_path / "a.mp4")
    return catalog(tmp_path, {"source": "a.mp4", "edits": {"smile": 2}})


def test_two_edits_of_one_clip_are_identified_by_their_results(tmp_path, clip):
    shutil.copy(clip, tmp_path / "a.mp4")
    opened, request = catalog(tmp_path, *({"source": "a.mp4", "edits": {"smile": to}} for to in (1, 2)))
    record_outcomes(opened, request, HELD)
    assert "a_smile+1.mp4, a_smile+2.mp4" in command(tmp_path, "approve", "a.mp4")
    command(tmp_path, "approve", "a_smile+2.mp4")
    shown = command(tmp_path, "status")
    assert [name in shown for name in ("a_smile+1.mp4", "a_smile+2.mp4")] == [True, True]
    states = {Path(found["output"]).name: found["state"] for found in json.loads(command(tmp_path, "status", "--json"))}
    assert states == {"a_smile+1.mp4": HELD, "a_smile+2.mp4": PUBLISHED}


def test_a_rejected_clip_stays_rejected_without_its_files_on_another_device_and_by_another_path(one, tmp_path):
    opened, request = one
    (outcome,) = record_outcomes(opened, request, HELD)
    write_outcome(request.open_store(), opened.name, decide(request.open_store(), outcome, "rejected", "anna"))
    shutil.rmtree(tmp_path / "held")
    elsewhere = f"{tmp_path}/../{tmp_path.name}/store"
    other = request.model_copy(update={"device": "cuda:1", "store": elsewhere, "scratch": tmp_path / "scratch"})
    found = prepare_job(opened.clips[0], opened, other, other.open_store())
    assert isinstance(found, Outcome)
    assert (found.state, found.decision["by"]) == (REJECTED, "anna")


def test_a_decision_holds_for_one_video_and_another_one_is_held_for_review(one):
    opened, request = one
    (held,) = record_outcomes(opened, request, HELD)
    rejected = decide(request.open_store(), held, "rejected", "anna")
    again = replace(held, state=REVIEW, decision=rejected.decision)
    sent = request_to_run(EditRequest.model_validate(again.request), rejected)
    assert sent.output == rejected.place  # not published, whatever its verdict

    assert apply_decision(request.open_store(), again, sent).state == REJECTED
    other = apply_decision(request.open_store(), replace(again, video="w"), sent)
    assert (other.state, other.place.exists()) == (HELD, True)
    assert other.reasons[-1].startswith("rejected by anna on ")

    unknown = apply_decision(
        request.open_store(), replace(again, video=None, clip=None), sent
    )  # the run's record is gone
    assert (unknown.state, unknown.decision["by"]) == (HELD, "anna")
    without_digests = {name: rejected.decision[name] for name in ("what", "by", "on")}
    assert apply_decision(request.open_store(), replace(again, decision=without_digests), sent).state == HELD

    recipe = apply_decision(
        request.open_store(), replace(again, video="w", request={**again.request, "preset": "draft"}), sent
    )
    assert (recipe.state, recipe.decision, recipe.place.exists()) == (REVIEW, None, True)


def test_an_approved_result_is_published_again_despite_a_failed_verdict(one):
    opened, request = one
    (held,) = record_outcomes(opened, request, HELD)
    approved = decide(request.open_store(), held, "approved", "anna")
    write_files(request.open_store(), held.place, "recomputed")
    again = apply_decision(
        request.open_store(),
        replace(held, decision=approved.decision),
        request_to_run(EditRequest.model_validate(held.request), approved),
    )
    assert (again.state, again.place.read_text()) == (PUBLISHED, "recomputed")


def test_a_failed_run_keeps_the_decision(one):
    opened, request = one
    (held,) = record_outcomes(opened, request, HELD)
    store = request.open_store()
    write_outcome(
        store,
        opened.name,
        replace(decide(request.open_store(), held, "rejected", "anna"), state=FAILED, error="lost", code="old"),
    )
    job = prepare_job(opened.clips[0], opened, request, store)
    assert isinstance(job, Job)
    assert request_to_run(job.request, job.before).output.parent.name == "held"


def test_an_earlier_published_result_of_a_held_clip_is_reported(one, tmp_path):
    opened, request = one
    record_outcomes(opened, request, REVIEW)
    assert "an earlier published result" not in command(tmp_path, "status")
    (held,) = record_outcomes(opened, request, HELD)
    assert held.why == [f"an earlier published result is still at {tmp_path / 'a_smile+2.mp4'}"]


def test_a_failure_of_another_recipe_is_ignored(one, tmp_path):
    opened, request = one
    record_outcomes(opened, request, FAILED)
    assert current_outcome(opened.clips[0], opened, request, request.open_store()).state == FAILED
    entry = {"source": "a.mp4", "edits": {"smile": 2}, "preset": "draft"}
    opened, request = catalog(tmp_path, entry)
    assert current_outcome(opened.clips[0], opened, request, request.open_store()).state == "changed"


def test_a_plan_creates_no_folder(tmp_path, clip):
    shutil.copy(clip, tmp_path / "a.mp4")
    catalog(tmp_path, {"source": "a.mp4", "edits": {"smile": 2}, "output": "done/deep/{stem}{suffix}"})
    (row,) = json.loads(command(tmp_path, "plan", "--json"))
    assert row["state"] == "new"
    assert not (tmp_path / "done").exists()


def test_an_outcome_has_the_digests_of_clip_and_result(copied):
    blank = {"id": "1", "edit": "smile+2", "state": "failed", "file": (1, 1), "code": ""}
    request = copied.request.model_dump(mode="json")
    outcome = Outcome(source="a", output="b.mp4", request=request, flow_run=str(copied.flow_run), **blank)
    completed = with_results(copied.store, outcome)
    assert completed.video == copied.artifacts["encode"].digest
    assert completed.clip == copied.source.digest
    assert asdict(completed)["stages"]
