"""The plan of an edit agrees with the run that follows."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from flows.cli import main as cli
from flows.edit_job import resolve
from flows.edit_request import Edit
from flows.planning.plan import plan_edit
from storage.weights.pretrained import PretrainedFile
from tasks.runtime import pretrained as catalog
from tasks.runtime.code_digest import code_digest
from tasks.runtime.stage_names import STAGES

NEW_NUMBERS = "f" * 64


def changed(copied, **fields):
    return copied.request.model_copy(update=fields)


def with_option(copied, option):
    return changed(copied, options=[*copied.request.options, option])


def states(plan):
    return {stage.stage: stage.state for stage in plan.stages}


def reasons(plan, stage):
    return " ".join(next(entry.reasons for entry in plan.stages if entry.stage == stage))


@pytest.fixture
def states_of_run(edit_once, told):
    """`states_of_run(request)` runs the flow and returns the state of each stage in the terms of a plan."""

    def run(request):
        told.records.clear()
        edit_once(request)
        found = {}
        for record in told.records:
            if record.event == "cached":
                found.setdefault(record.stage, "cached")
            elif record.event == "started" and found.get(record.stage) != "to run":  # else it resumed after a repair
                found[record.stage] = "partial" if record.resumed else "to run"
        return found

    return run


def from_stage(name):
    """States if all stages before `name` are cached and all others run."""
    first = STAGES.index(name)
    return {stage: "to run" if index >= first else "cached" for index, stage in enumerate(STAGES)}


def test_nothing_changed(copied, states_of_run):
    plan = plan_edit(resolve(copied.request))

    assert states(plan) == dict.fromkeys(STAGES, "cached") == states_of_run(copied.request)
    assert plan.seconds == 0
    assert plan.seconds_saved > 0


def test_another_strength_runs_from_the_edit_on(copied, states_of_run):
    request = changed(copied, edits=[Edit(direction="smile", strength=1.5)])
    plan = plan_edit(resolve(request))

    assert states(plan) == {**from_stage("stitch"), "edit": "to run"} == states_of_run(request)
    assert "strengths.smile: 2.0 -> 1.5" in reasons(plan, "edit")
    assert reasons(plan, "stitch") == "waits for edit, which will be recomputed"
    assert all(stage.seconds is not None for stage in plan.stages if stage.state == "to run")


def test_a_stitch_option_runs_from_stitching_on(copied, states_of_run):
    request = with_option(copied, "stitch.steps=1")
    plan = plan_edit(resolve(request))

    assert states(plan) == from_stage("stitch") == states_of_run(request)
    assert "options.steps: 2 -> 1" in reasons(plan, "stitch")


def test_other_code_runs_its_stage_and_the_others_only_if_it_makes_other_bytes(copied, states_of_run, monkeypatch):
    def digest(function):
        return "another" if function.__module__ == "tasks.align" else code_digest(function)

    monkeypatch.setattr("tasks.runtime.stage.code_digest", digest)
    plan = plan_edit(resolve(copied.request))

    assert states(plan) == {**dict.fromkeys(STAGES, "cached"), "align": "to run"} == states_of_run(copied.request)
    assert "code changed" in reasons(plan, "align")
    assert {stage.stage: stage.condition for stage in plan.stages} == {
        **dict.fromkeys(STAGES, "align"), "decode": None, "detect": None, "align": None,
    }  # fmt: skip


def test_other_weights_of_the_generator_run_everything_that_uses_them(copied, monkeypatch):
    known = catalog.pretrained()
    numbers: PretrainedFile = known["mobile_stylegan_synthesis_numbers"]
    other = {**known, numbers.name: replace(numbers, sha256=NEW_NUMBERS)}
    monkeypatch.setattr("tasks.runtime.stage.pretrained", lambda: other)
    plan = plan_edit(resolve(copied.request))

    assert states(plan) == from_stage("align")
    assert f"network {numbers.name}: {numbers.sha256[:12]} -> {NEW_NUMBERS[:12]}" in reasons(plan, "align")


def test_a_touched_clip_is_cached_and_a_changed_one_is_not(copied, states_of_run, tmp_path):
    clip = shutil.copy(copied.request.video, tmp_path / "phone.mp4")
    request = changed(copied, video=clip)
    os.utime(clip, (0, 0))
    assert states(plan_edit(resolve(request))) == dict.fromkeys(STAGES, "cached") == states_of_run(request)

    with clip.open("ab") as file:
        file.write(bytes(8))  # ignored by players, but the bytes differ
    plan = plan_edit(resolve(request))

    assert states(plan) == from_stage("decode")
    assert "the video changed: SHA-256" in reasons(plan, "decode")
    found = states_of_run(request)
    assert found["decode"] == "to run"
    assert found["align"] == "to run"  # the file is its input too
    assert found["tune"] == "cached"  # a plan cannot know this: the crops did not change


def one_chunk(store, stage, array):
    artifact = next(artifact for artifact in store.artifacts() if artifact.stage == stage)
    return next(path for path in (artifact.path / array).rglob("*") if path.is_file() and path.name != "zarr.json")


def test_only_a_deleted_chunk_is_recomputed(copied, states_of_run):
    one_chunk(copied.store, "composite", "patches").unlink()
    plan = plan_edit(resolve(copied.request))

    assert states(plan) == {**dict.fromkeys(STAGES, "cached"), "composite": "partial"} == states_of_run(copied.request)
    assert "1 of " in reasons(plan, "composite")


def test_a_damaged_chunk_is_found_by_hashing_and_repaired_by_the_stage_that_reads_it(copied, states_of_run):
    chunk = one_chunk(copied.store, "stitch", "crops")
    value = bytearray(chunk.read_bytes())
    value[len(value) // 3] ^= 1
    chunk.write_bytes(value)
    request = with_option(copied, "composite.feather=9")

    assert states(plan_edit(resolve(request))) == from_stage("composite")  # not read yet
    hashed = plan_edit(resolve(request), verify=True)
    assert states(hashed) == {**from_stage("composite"), "stitch": "partial"}
    assert states_of_run(request) == states(hashed)


def test_an_interrupted_stage_is_planned_with_its_progress(copied, edit_once, told, states_of_run):
    request = with_option(copied, "stitch.steps=1")

    def power_cut(record):
        if (record.stage, record.event, getattr(record, "done", 0)) == ("stitch", "advanced", 5):
            raise KeyboardInterrupt

    told.on_record = power_cut
    with pytest.raises(BaseException):  # noqa: B017, PT011 - Prefect may wrap it
        edit_once(request)
    told.on_record = lambda record: None
    plan = plan_edit(resolve(request))
    stitch = next(stage for stage in plan.stages if stage.stage == "stitch")

    assert states(plan) == {**from_stage("stitch"), "stitch": "partial"} == states_of_run(request)
    assert (stitch.done, stitch.total, stitch.unit) == (6, 9, "chunks")  # two of three, in each of three arrays


def run_cli(capfd, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["stitchedit", *map(str, arguments)])
    capfd.readouterr()
    try:
        cli.main()
    except SystemExit as end:
        assert end.code in {0, None}, capfd.readouterr().err  # noqa: PT017 - it may return without raising
    return capfd.readouterr().out


def test_the_commands_plan_and_why(copied, capfd, monkeypatch):
    request = copied.request
    arguments = [request.video, *request.options, "--store", request.store]

    output = run_cli(capfd, monkeypatch, "plan", *arguments, "--edit", "smile=+1")
    assert "strengths.smile" in output
    assert "cached: saves about" in output
    plan = json.loads(run_cli(capfd, monkeypatch, "plan", *arguments, "--edit", "smile=+2", "--json"))
    assert {stage["state"] for stage in plan["stages"]} == {"cached"}

    why = run_cli(capfd, monkeypatch, "why", "encode", "--store", request.store)
    assert all(
        word in why for word in ("composite/", "phone.mp4", "crf=", "numpy", "x264" if "x264" in why else "codec")
    )
    lineage = json.loads(run_cli(capfd, monkeypatch, "why", "stitch", "--store", request.store, "--json"))
    assert lineage["stage"] == "stitch"
    assert lineage["inputs"]["edited"]["inputs"]["codes"]["stage"] == "invert"
    assert "mobile_stylegan_synthesis" in lineage["recipe"]["networks"]


def test_the_cost_of_a_new_clip_in_an_empty_store_is_unknown(copied, tmp_path, capfd, monkeypatch):
    request = changed(copied, store=str(tmp_path / "empty"))
    plan = plan_edit(resolve(request))
    assert (plan.seconds, plan.bytes, plan.seconds_saved) == (None, None, 0)
    assert plan.unknown == list(STAGES)

    arguments = ["plan", request.video, *request.options, "--edit", "smile=+2", "--store", request.store]
    output = run_cli(capfd, monkeypatch, *arguments)
    assert "to run: time and size unknown: no result of decode, detect, " in " ".join(output.split())
    assert "0 s" not in output
    found = json.loads(run_cli(capfd, monkeypatch, *arguments, "--json"))
    assert (found["seconds"], found["bytes"], found["unknown"]) == (None, None, list(STAGES))

    catalog = tmp_path / "n.yaml"
    catalog.write_text(
        f"catalog: n\nconsent_required: false\nclips: [{{source: '{request.video}', edits: {{smile: 2}}}}]\n"
    )
    output = run_cli(capfd, monkeypatch, "plan", catalog, "--store", request.store)
    assert "unknown" in output
    (row,) = json.loads(run_cli(capfd, monkeypatch, "plan", catalog, "--store", request.store, "--json"))
    assert (row["seconds"], row["unknown"]) == (None, list(STAGES))


def test_a_partly_known_cost_lists_the_unknown_stages(copied):
    shutil.rmtree(copied.store.folder / "report")
    plan = plan_edit(resolve(with_option(copied, "stitch.steps=1")))

    assert plan.unknown == ["report"]
    assert plan.seconds == sum(stage.seconds or 0 for stage in plan.stages if stage.state != "cached") > 0


def test_an_unknown_artifact_is_reported(copied, capfd, monkeypatch):
    for name in ("stich", "stitch/zz"):
        monkeypatch.setattr("sys.argv", ["stitchedit", "why", name, "--store", copied.request.store])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert f"There is no '{name}'" in " ".join(capfd.readouterr().err.split())
