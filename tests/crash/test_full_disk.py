"""A store on a disk that becomes full during a run."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of a few megabytes, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a file system ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_reported_and_loses_no_finished_work(runs, undisturbed, small_disk, tmp_path):
    made = runs(tmp_path / "runs", str(small_disk / "store"))
    code, errors = made.run()

    assert code == 1
    assert "No space left on device" in errors
    assert "Free disk space" in errors
    assert "Traceback" not in errors
    kept = made.digests()
    assert {"decode", "align", "invert"} <= kept.keys() < undisturbed.digests().keys()

    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    code, errors = made.run()

    assert code == 0, errors
    assert made.digests() == undisturbed.digests()
    assert set(kept) <= set(made.stages(len(made.logs) - 1, "cached"))
