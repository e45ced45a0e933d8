import itertools
import logging
import os
import pickle
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Recipe
from storage.backends.bucket import Bucket
from storage.backends.lease import Patience, lease_owner
from storage.errors import (
    DamagedError,
    IncompleteError,
    LeaseLostError,
    MismatchError,
    StorageError,
    UnreachableStoreError,
)
from storage.store import Store, open_store
from storage.workspace import Workspace

RECIPE = Recipe("align", 1, {"sigma": 3.0}, {}, {"clip": "01ab"})
LIKE = np.zeros(3, np.float32)
IMAGE = np.zeros((3, 8, 8), np.uint8)

# Computes RECIPE in the store argv[1] with scratch argv[4]: writes a line to argv[2] whenever `fill` runs, then one
# chunk, then waits argv[3] s.
CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from storage.artifact import Recipe
from storage.arrays.frame_array import FrameArray
from storage.store import open_store

def fill(workspace):
    with open(sys.argv[2], "a") as log:
        log.write("fill\\n")
    array = FrameArray.create(workspace.path / "quads", np.zeros(3, np.float32), 10, 4, "number")
    array.write(next(array.pending()), np.ones((4, 3), np.float32))
    print("one chunk", flush=True)
    time.sleep(float(sys.argv[3]))
    for rows in array.pending():
        array.write(rows, np.ones((rows.stop - rows.start, 3), np.float32))

recipe = Recipe("align", 1, {"sigma": 3.0}, {}, {"clip": "01ab"})
print(open_store(sys.argv[1], Path(sys.argv[4])).make(recipe, fill).digest, flush=True)
"""


@pytest.fixture
def child(store: Store, tmp_path: Path) -> Callable[[float], subprocess.Popen[str]]:
    def start(seconds: float) -> subprocess.Popen[str]:
        scratch = str(tmp_path / f"scratch of a child {next(numbers)}")  # each child acts as a separate machine
        command = [sys.executable, "-c", CHILD, store.backend.url, str(tmp_path / "log"), str(seconds), scratch]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    numbers = itertools.count()

    return start


def wait_until_safe(store: Store) -> None:
    """Wait until the finished units of RECIPE would survive the loss of the machine: seconds in a bucket."""
    while isinstance(store.backend, Bucket):
        owner = lease_owner(store.backend.objects, f"leases/align-{RECIPE.key}.json")
        if owner and ".quads.done" in owner["files"]:
            return
        time.sleep(0.05)


def change(store: Store, artifact: Artifact, name: str, how: Callable[[bytes], bytes | None]) -> None:
    """Change the bytes of a file in the store directly; None removes it."""
    objects, whole = store.backend.objects, f"{artifact.stage}/{artifact.key}/{name}"
    stored = objects.read(whole)
    assert stored is not None
    value = how(stored.value)
    if value is None:
        objects.remove(whole)
    else:
        objects.write(whole, value)


def flip_the_middle(value: bytes) -> bytes:
    """Flip one bit."""
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


def fill_quads(workspace: Workspace) -> None:
    array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
    for rows in array.pending():
        array.write(rows, np.ones((rows.stop - rows.start, 3), np.float32))


def fill_text(workspace: Workspace) -> None:
    (workspace.path / "report.txt").write_text("fine")


def not_again(workspace: Workspace) -> None:
    raise AssertionError(f"recomputed in {workspace.path}")


def test_a_finished_artifact_is_found_and_not_recomputed(store: Store) -> None:
    assert store.find(RECIPE) is None

    made = store.make(RECIPE, fill_quads)

    assert store.find(RECIPE) == made
    assert store.make(RECIPE, not_again) == made
    assert made.path == store.folder / "align" / RECIPE.key
    assert (FrameArray.open(made.path / "quads").read() == 1).all()
    assert store.find(replace(RECIPE, revision=2)) is None


def test_a_failed_fill_is_resumed(store: Store) -> None:
    def fail_half_way(workspace: Workspace) -> None:
        assert not workspace.resumed
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        array.write(slice(0, 4), np.ones((4, 3), np.float32))
        raise MemoryError

    def go_on(workspace: Workspace) -> None:
        assert workspace.resumed
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        assert list(array.pending()) == [slice(4, 8), slice(8, 10)]
        fill_quads(workspace)

    with pytest.raises(MemoryError):
        store.make(RECIPE, fail_half_way)
    assert store.find(RECIPE) is None

    resumed = store.make(RECIPE, go_on)

    store.delete(resumed)
    assert store.make(RECIPE, fill_quads) == resumed  # without a failure, same digest


def test_a_killed_process_holds_no_lock_and_loses_no_chunk(
    store: Store, child: Callable[[float], subprocess.Popen[str]]
) -> None:
    with child(60) as process:
        assert process.stdout
        assert process.stdout.readline() == "one chunk\n"
        wait_until_safe(store)
        os.kill(process.pid, signal.SIGKILL)

    def go_on(workspace: Workspace) -> None:
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        assert (workspace.resumed, array.finished) == (True, 1)
        fill_quads(workspace)

    store.verify(store.make(RECIPE, go_on))


def test_two_processes_do_the_work_once(
    store: Store, tmp_path: Path, child: Callable[[float], subprocess.Popen[str]]
) -> None:
    with child(0.5) as one, child(0.5) as two:
        digests = {process.communicate()[0].split()[-1] for process in (one, two)}

    assert (tmp_path / "log").read_text() == "fill\n"
    assert digests == {store.make(RECIPE, not_again).digest}


def test_waiting_is_logged(
    store: Store, child: Callable[[float], subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with child(0.5) as process:
        assert process.stdout
        process.stdout.readline()
        store.make(RECIPE, not_again)

    assert f"Waiting for process {process.pid} on " in caplog.text
    assert f"which holds leases/align-{RECIPE.key}.json" in caplog.text


def test_scratch_is_not_kept(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        fill_text(workspace)
        (workspace.path / "deep" / ".cache").mkdir(parents=True)
        (workspace.path / "deep" / ".cache" / "tile").touch()
        (workspace.path / "deep" / "kept").touch()
        (workspace.path / ".part").touch()

    artifact = store.make(RECIPE, fill)

    assert store.manifest(artifact)["files"].keys() == {"report.txt", "deep/kept"}
    found = {path.relative_to(artifact.path).as_posix() for path in artifact.path.rglob("*") if path.is_file()}
    assert found - {"manifest.json"} == {"report.txt", "deep/kept"}


def test_a_kill_before_the_rename_is_harmless(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    undisturbed = store.make(RECIPE, fill_quads)
    staging = store.folder / "staging" / f"align-{RECIPE.key}.0123456789ab"
    staging.parent.mkdir(exist_ok=True)
    undisturbed.path.rename(staging)
    assert store.find(RECIPE) is None

    assert store.make(RECIPE, fill_quads) == undisturbed
    assert not staging.exists()


def test_a_kill_before_the_manifest_is_harmless_in_a_bucket(store: Store) -> None:
    undisturbed = store.make(RECIPE, fill_quads)
    change(store, undisturbed, "manifest.json", lambda value: None)

    assert store.make(RECIPE, fill_quads) == undisturbed


def test_unfinished_array_is_not_committed(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")

    with pytest.raises(IncompleteError, match=r"not finished \(quads\)"):
        store.make(RECIPE, fill)
    with pytest.raises(IncompleteError, match="Nothing was written into"):
        store.make(replace(RECIPE, revision=2), lambda workspace: None)
    assert list(store.artifacts()) == []


def test_digest_is_of_the_content_only(store: Store, tmp_path: Path) -> None:
    one = store.make(RECIPE, fill_text)
    other_recipe = store.make(replace(RECIPE, revision=2), fill_text)
    other_place = Store.at(tmp_path / "elsewhere").make(RECIPE, fill_text)
    other_content = store.make(replace(RECIPE, revision=3), fill_quads)

    assert one.digest == other_recipe.digest == other_place.digest
    assert one.digest != other_content.digest


def test_manifest_records_the_lineage(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        fill_text(workspace)
        workspace.facts["frames"] = 36

    manifest = store.manifest(store.make(RECIPE, fill))

    assert manifest["recipe"] == RECIPE.to_json()
    assert manifest["files"]["report.txt"]["size"] == 4
    assert manifest["lineage"]["software"]["torch"].startswith("2.13.0")
    assert manifest["lineage"]["frames"] == 36
    assert [attempt["host"] for attempt in manifest["lineage"]["attempts"]] == [platform.node()]
    assert manifest["lineage"]["started"] <= manifest["lineage"]["finished"]
    assert manifest["lineage"]["started"].endswith("+00:00")


@pytest.mark.parametrize("damage", [lambda value: None, lambda value: value[:-3]])
def test_a_missing_or_truncated_file_is_recomputed(
    store: Store, damage: Callable[[bytes], bytes | None], caplog: pytest.LogCaptureFixture
) -> None:
    made = store.make(RECIPE, fill_quads)
    change(store, made, "quads/c.0.0", damage)

    assert store.find(RECIPE) is None
    assert store.make(RECIPE, fill_quads) == made
    assert "is damaged" in caplog.text
    store.verify(made)


def test_only_damaged_rows_are_recomputed(store: Store, another_machine: Store) -> None:
    def fill(workspace: Workspace) -> None:
        fill_text(workspace)
        array = FrameArray.create(workspace.path / "crops", IMAGE, rows=24, chunk=4, kind="image")
        for rows in array.pending():
            array.write(rows, np.full((4, 3, 8, 8), rows.start, np.uint8))  # all units are of one size

    made = store.make(RECIPE, fill)
    (name,) = (name for name in store.manifest(made)["files"] if name.startswith("crops/c"))
    change(store, made, name, flip_the_middle)

    with pytest.raises(DamagedError) as caught:
        another_machine.verify(made)
    assert caught.value.path is not None
    assert another_machine.report_damage(caught.value.path) == replace(made, store=another_machine.folder)
    assert another_machine.find(RECIPE) is None
    again: list[slice] = []

    def mend(workspace: Workspace) -> None:
        assert workspace.resumed
        assert (workspace.path / "report.txt").read_text() == "fine"
        array = FrameArray.create(workspace.path / "crops", IMAGE, rows=24, chunk=4, kind="image")
        again.extend(array.pending())
        fill(workspace)

    mended = another_machine.make(RECIPE, mend)

    assert mended.digest == made.digest
    assert len(again) == 1
    store.verify(made)


def test_an_artifact_whose_manifest_is_not_json_is_recomputed(store: Store) -> None:
    made = store.make(RECIPE, fill_text)
    change(store, made, "manifest.json", lambda value: b"{")

    with pytest.raises(DamagedError, match=r"manifest\.json is gone or unreadable"):
        store.manifest(made)
    assert store.make(RECIPE, fill_text) == made


def test_verify_names_the_file_whose_bytes_changed(store: Store) -> None:
    made = store.make(RECIPE, fill_text)
    store.verify(made)
    change(store, made, "report.txt", lambda value: b"fime")

    assert store.find(RECIPE) == made  # same size: only hashing can tell
    with pytest.raises(DamagedError, match=r"report\.txt is damaged: expected SHA-256"):
        store.verify(made)

    change(store, made, "report.txt", lambda value: None)
    with pytest.raises(DamagedError, match="found no file"):
        store.verify(made)


def test_verify_rejects_a_stale_ticket(store: Store) -> None:
    stale = store.make(RECIPE, fill_text)
    store.delete(stale)
    store.make(RECIPE, fill_quads)

    with pytest.raises(MismatchError, match="recomputed with other content"):
        store.verify(stale)


def test_delete_and_listing_and_size(store: Store) -> None:
    one, two = store.make(RECIPE, fill_text), store.make(replace(RECIPE, stage="report"), fill_text)
    assert list(store.artifacts()) == [one, two]
    assert store.size(one) == 4

    store.delete(one)
    store.delete(one)

    assert list(store.artifacts()) == [two]


def test_store_and_ticket_are_picklable(store: Store) -> None:
    made = store.make(RECIPE, fill_text)

    assert pickle.loads(pickle.dumps(store)).find(RECIPE) == pickle.loads(pickle.dumps(made))


def test_ticket_of_a_relative_store_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.at(Path("store")).make(RECIPE, fill_text).path.is_absolute()


def test_store_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(StorageError, match=r"cannot be made at .*taken.* Give another folder with --store"):
        Store.at(tmp_path / "taken").make(RECIPE, fill_text)


def test_other_disk_errors_pass_through(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.make(RECIPE, fill)


def test_another_machine_resumes_the_work_of_a_lost_one(store: Store, another_machine: Store) -> None:
    quick = Patience(beat=0.1, expiry=0.5, poll=0.05)
    lost, heir = replace(store, patience=Patience(beat=500, expiry=1000)), replace(another_machine, patience=quick)
    written, over = threading.Event(), threading.Event()
    outcome: list[BaseException] = []

    def stop_half_way(workspace: Workspace) -> None:
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        array.write(slice(0, 4), np.ones((4, 3), np.float32))
        wait_until_safe(store)
        written.set()
        over.wait()
        fill_quads(workspace)  # it resumes without noticing the takeover

    def run() -> None:
        try:
            lost.make(RECIPE, stop_half_way)
        except (LeaseLostError, OSError, StorageError) as error:
            outcome.append(error)

    machine = threading.Thread(target=run)
    machine.start()
    written.wait()
    owner = lease_owner(store.backend.objects, f"leases/align-{RECIPE.key}.json")
    assert owner is not None
    pending: list[slice] = []

    def go_on(workspace: Workspace) -> None:
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        pending.extend(array.pending())
        fill_quads(workspace)

    made = heir.make(RECIPE, go_on)
    over.set()
    machine.join()

    assert pending == [slice(4, 8), slice(8, 10)]
    assert len(outcome) == 1  # the process that lost its lease publishes nothing
    heir.verify(made)
    heir.delete(made)
    assert heir.make(RECIPE, fill_quads).digest == made.digest


def test_a_restarted_object_storage_server_loses_no_finished_work(s3_server: Any, s3_url: str, tmp_path: Path) -> None:
    store = open_store(s3_url, tmp_path / "scratch")

    def fill(workspace: Workspace) -> None:
        array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
        array.write(slice(0, 4), np.ones((4, 3), np.float32))
        wait_until_safe(store)
        s3_server.kill()
        fill_quads(workspace)

    try:
        with pytest.raises(UnreachableStoreError, match=r"cannot be reached: .* What is finished stays"):
            store.make(RECIPE, fill)
    finally:
        s3_server.start()
    pending: list[slice] = []

    def go_on(workspace: Workspace) -> None:
        pending.extend(FrameArray.open(workspace.path / "quads").pending())

    made = store.make(RECIPE, go_on)

    assert pending == []
    store.verify(made)
