"""Two runs over one store at the same time, and a store whose server dies."""

import signal
import time

import numpy as np

from storage.lease import Patience

DOWN = 10  # s that the server is away


def wait_until(child, happened):
    """Seconds until `happened()`; the child has to live as long."""
    began = time.monotonic()
    while not happened():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.1)
    return time.monotonic() - began


def test_two_runs_of_one_edit_make_everything_once(runs, undisturbed, tmp_path):
    both = runs(tmp_path)
    one, two = both.start(), both.start()
    for child in (one, two):
        told = child.communicate()[1]
        assert child.returncode == 0, told

    started = both.stages(0, "started") + both.stages(1, "started")
    assert sorted(started) == sorted(undisturbed.digests())
    assert both.digests() == undisturbed.digests()
    assert np.array_equal(both.frames(), undisturbed.frames())


def test_another_edit_waits_for_what_both_need_and_takes_over_at_once_when_its_maker_dies(runs, undisturbed, tmp_path):
    smile = runs(tmp_path / "smile", str(tmp_path / "store"))
    older = runs(tmp_path / "older", str(tmp_path / "store"), "age=+2")
    first = smile.start()
    wait_until(first, lambda: smile.stages(0, "advanced").count("tune") >= 3)
    first.send_signal(signal.SIGSTOP)  # or it may be through before the other is there
    second = older.start()
    wait_until(second, lambda: "invert" in older.stages(0, "cached"))
    time.sleep(2)
    assert "tune" not in older.stages(0, "started")

    first.kill()
    waited = wait_until(second, lambda: "tune" in older.stages(0, "started"))
    assert first.wait() == -signal.SIGKILL
    told = second.communicate()[1]

    assert second.returncode == 0, told
    assert waited < Patience().expiry / 4  # seen dead, not timed out
    print(f"taken over after {waited:.1f} s")
    resumed = [facts["resumed"] for stage, event, facts in older.records(0) if (stage, event) == ("tune", "started")]
    assert resumed == [True]
    first_step = next(
        facts["done"] for stage, event, facts in older.records(0) if (stage, event) == ("tune", "advanced")
    )
    assert first_step > 2  # the first checkpoint was there

    code, told = smile.run()
    assert code == 0, told
    assert sorted(smile.stages(1, "started")) == ["composite", "edit", "encode", "stitch"]
    assert np.array_equal(smile.frames(), undisturbed.frames())
    assert older.frames().shape == smile.frames().shape
    assert not np.array_equal(older.frames(), smile.frames())


def test_a_run_outlasts_the_death_of_the_server_that_its_store_is_on(runs, undisturbed, s3_server, s3_url, tmp_path):
    made = runs(tmp_path, s3_url)
    child = made.start()
    wait_until(child, lambda: "tune" in made.stages(0, "advanced"))
    s3_server.kill()
    try:
        time.sleep(DOWN)
    finally:
        s3_server.start()
    told = child.communicate()[1]

    assert child.returncode == 0, told
    assert made.digests() == undisturbed.digests()
    assert np.array_equal(made.frames(), undisturbed.frames())
