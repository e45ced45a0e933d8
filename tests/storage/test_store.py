import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.artifact import Recipe
from storage.errors import DamagedError, IncompleteError, MismatchError, StorageError
from storage.frame_array import FrameArray
from storage.store import Store, Workspace

RECIPE = Recipe("align", 1, {"sigma": 3.0}, {}, {"clip": "01ab"})
LIKE = np.zeros(3, np.float32)

# Makes RECIPE in the store argv[1]: a line in argv[2] for each time `fill` runs, then one chunk, then waits argv[3] s.
CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from storage.artifact import Recipe
from storage.frame_array import FrameArray
from storage.store import Store

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
print(Store(Path(sys.argv[1])).make(recipe, fill).digest, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def child(store: Store, tmp_path: Path) -> Callable[[float], subprocess.Popen[str]]:
    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(store.root), str(tmp_path / "log"), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return start


def fill_quads(workspace: Workspace) -> None:
    array = FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")
    for rows in array.pending():
        array.write(rows, np.ones((rows.stop - rows.start, 3), np.float32))


def fill_text(workspace: Workspace) -> None:
    (workspace.path / "report.txt").write_text("fine")


def not_again(workspace: Workspace) -> None:
    raise AssertionError(f"made again in {workspace.path}")


def test_what_is_made_is_found_again_and_not_made_twice(store: Store) -> None:
    assert store.find(RECIPE) is None

    made = store.make(RECIPE, fill_quads)

    assert store.find(RECIPE) == made
    assert store.make(RECIPE, not_again) == made
    assert made.path == store.root / "align" / RECIPE.key
    assert (FrameArray.open(made.path / "quads").read() == 1).all()
    assert store.find(replace(RECIPE, revision=2)) is None


def test_a_failed_fill_is_gone_on_with(store: Store) -> None:
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
    assert store.make(RECIPE, fill_quads) == resumed  # undisturbed, same digest


def test_a_killed_process_holds_no_lock_and_loses_no_chunk(
    store: Store, child: Callable[[float], subprocess.Popen[str]]
) -> None:
    with child(60) as process:
        assert process.stdout
        assert process.stdout.readline() == "one chunk\n"
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

    assert f"Waiting for another process that makes align {RECIPE.key}" in caplog.text


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
    assert found == {"manifest.json", "report.txt", "deep/kept"}


def test_a_kill_before_the_rename_is_harmless(store: Store) -> None:
    undisturbed = store.make(RECIPE, fill_quads)
    staging = store.root / "staging" / f"align-{RECIPE.key}"
    undisturbed.path.rename(staging)
    assert store.find(RECIPE) is None

    assert store.make(RECIPE, fill_quads) == undisturbed
    assert not staging.exists()


def test_unfinished_array_is_not_committed(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        FrameArray.create(workspace.path / "quads", LIKE, rows=10, chunk=4, kind="number")

    with pytest.raises(IncompleteError, match=r"not finished \(quads\)"):
        store.make(RECIPE, fill)
    with pytest.raises(IncompleteError, match="align wrote nothing"):
        store.make(replace(RECIPE, revision=2), lambda workspace: None)
    assert list(store.artifacts()) == []


def test_digest_is_of_the_content_only(store: Store, tmp_path: Path) -> None:
    one = store.make(RECIPE, fill_text)
    other_recipe = store.make(replace(RECIPE, revision=2), fill_text)
    other_place = Store(tmp_path / "elsewhere").make(RECIPE, fill_text, {"torch": "2.13.0"})
    other_content = store.make(replace(RECIPE, revision=3), fill_quads)

    assert one.digest == other_recipe.digest == other_place.digest
    assert one.digest != other_content.digest


def test_manifest_tells_where_it_came_from(store: Store) -> None:
    manifest = store.manifest(store.make(RECIPE, fill_text, {"torch": "2.13.0"}))

    assert manifest["recipe"] == RECIPE.to_json()
    assert manifest["files"]["report.txt"]["size"] == 4
    assert manifest["lineage"]["software"]["torch"] == "2.13.0"
    assert manifest["lineage"]["started"] <= manifest["lineage"]["finished"]
    assert manifest["lineage"]["started"].endswith("+00:00")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_a_file_gone_or_cut_short_is_made_anew(
    store: Store, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    made = store.make(RECIPE, fill_quads)
    damage(made.path / "quads" / "c.1.0")

    assert store.find(RECIPE) is None
    assert list(store.artifacts()) == []
    assert store.make(RECIPE, fill_quads) == made
    assert "is damaged" in caplog.text
    store.verify(made)


def test_a_manifest_that_is_no_json_is_made_anew(store: Store) -> None:
    made = store.make(RECIPE, fill_text)
    (made.path / "manifest.json").write_text("{")

    with pytest.raises(DamagedError, match=r"manifest\.json is gone or unreadable"):
        store.manifest(made)
    assert store.make(RECIPE, fill_text) == made


def test_verify_names_the_file_whose_bytes_changed(store: Store) -> None:
    made = store.make(RECIPE, fill_text)
    store.verify(made)
    (made.path / "report.txt").write_text("fime")

    assert store.find(RECIPE) == made  # same size: only hashing can tell
    with pytest.raises(DamagedError, match=r"report\.txt is damaged: expected SHA-256"):
        store.verify(made)

    (made.path / "report.txt").unlink()
    with pytest.raises(DamagedError, match="found no file"):
        store.verify(made)


def test_verify_tells_a_stale_ticket(store: Store) -> None:
    stale = store.make(RECIPE, fill_text)
    store.delete(stale)
    store.make(RECIPE, fill_quads)

    with pytest.raises(MismatchError, match="made anew with other content"):
        store.verify(stale)


def test_delete_and_listing_and_size(store: Store) -> None:
    one, two = store.make(RECIPE, fill_text), store.make(replace(RECIPE, stage="report"), fill_text)
    assert list(store.artifacts()) == [one, two]
    assert store.size(one) == 4

    store.delete(one)
    store.delete(one)

    assert list(store.artifacts()) == [two]


def test_store_and_ticket_travel_to_other_processes(store: Store) -> None:
    made = store.make(RECIPE, fill_text)

    assert pickle.loads(pickle.dumps(store)).find(RECIPE) == pickle.loads(pickle.dumps(made))


def test_ticket_of_a_relative_store_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Store(Path("store")).make(RECIPE, fill_text).path.is_absolute()


def test_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(StorageError, match=r"cannot be made at .*taken.* Give another folder with --store"):
        Store(tmp_path / "taken").make(RECIPE, fill_text)


def test_other_disk_errors_pass_through(store: Store) -> None:
    def fill(workspace: Workspace) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.make(RECIPE, fill)
