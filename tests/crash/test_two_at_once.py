"""Two parallel runs on one store."""

import signal
import time

import pytest


def made_by(runs, number):
    return [stage for stage, event, _ in runs.records(number) if event == "finished"]


def test_two_runs_of_one_edit_compute_everything_once(runs, undisturbed, tmp_path):
    both = runs(tmp_path)
    children = [both.start(), both.start()]
    for child in children:
        errors = child.communicate()[1]
        assert child.returncode == 0, errors

    started = both.stages(0, "started") + both.stages(1, "started")
    assert sorted(started) == sorted([*undisturbed.digests(), "report"])
    assert both.digests() == undisturbed.digests()


def test_another_edit_shares_artifacts_and_resumes_those_of_a_killed_run(runs, undisturbed, tmp_path):
    smile, older = (
        runs(tmp_path / "smile", str(tmp_path / "store")),
        runs(tmp_path / "older", str(tmp_path / "store"), "age=+2"),
    )
    first = smile.start(("tune", 3, 0.1))
    while "tune" not in smile.stages(0, "started"):  # now it owns the lease
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.1)
    second = older.start()
    errors = second.communicate()[1]
    first.communicate()

    assert first.returncode == -signal.SIGKILL
    assert second.returncode == 0, errors
    shared = {
        stage: digest
        for stage, digest in undisturbed.digests().items()
        if stage in {"detect", "align", "invert", "tune"}
    }
    assert shared.items() <= older.digests().items()
    started = smile.stages(0, "started") + older.stages(0, "started")
    assert [started.count(stage) for stage in ("decode", "align", "invert")] == [1, 1, 1]
    resumed = [facts["resumed"] for stage, event, facts in older.records(0) if (stage, event) == ("tune", "started")]
    assert resumed == [True]


@pytest.mark.slow
def test_a_bucket_whose_server_is_killed_and_started_again(runs, undisturbed, s3_server, s3_url, tmp_path):
    made = runs(tmp_path, s3_url)
    child = made.start()
    try:
        while not any(stage == "tune" for stage in made.stages(0, "advanced")):
            assert child.poll() is None, child.communicate()[1]
        s3_server.kill()
    finally:
        s3_server.start()
    errors = child.communicate()[1]
    if child.returncode:  # it was down for longer than the retries
        assert "cannot be reached" in " ".join(errors.split())
        code, errors = made.run()
        assert code == 0, errors

    assert made.digests() == undisturbed.digests()
