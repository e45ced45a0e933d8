import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.artifact import Recipe
from storage.backends.lease import is_dead, lease_owner
from storage.runs import read_run, recorded, run_of, runs
from storage.store import Store
from storage.workspace import Workspace

CLIP, SOURCE, EDIT = "/clips/interview.mp4", "ab" * 32, "smile+2"

# Starts a run in the store argv[1] with scratch argv[2], prints its name, and is killed.
KILLED = f"""
import os, signal, sys
from pathlib import Path
from storage.runs import recorded
from storage.store import open_store

with recorded(open_store(sys.argv[1], Path(sys.argv[2])), {CLIP!r}, {SOURCE!r}, {EDIT!r}, {{}}) as run:
    print(run.run.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def fill(workspace: Workspace) -> None:
    (workspace.path / "report.txt").write_text("fine")


def test_a_run_records_its_request_its_artifacts_and_its_end(store: Store) -> None:
    with recorded(store, CLIP, SOURCE, EDIT, {"preset": "draft"}) as record:
        made = store.make(Recipe("align", 1, {}, {}, {}), fill)
        record.reached(made)

    (run,) = runs(store)
    assert (run.clip, run.source, run.edit, run.request) == (CLIP, SOURCE, EDIT, {"preset": "draft"})
    assert (run.state, run.error, run.artifacts) == ("completed", None, [("align", made.key)])
    assert run.finished is not None
    assert run.started <= run.finished


def test_a_failed_run_records_the_error(store: Store) -> None:
    with pytest.raises(OSError, match="No space left"), recorded(store, CLIP, SOURCE, EDIT, {}):
        raise OSError(28, "No space left on device")

    (run,) = runs(store)
    assert (run.state, run.error) == ("failed", "OSError: [Errno 28] No space left on device")


def test_a_run_holds_a_lease_while_it_is_in_progress(store: Store) -> None:
    with recorded(store, CLIP, SOURCE, EDIT, {}) as record:
        lease = f"leases/run-{record.run.name}.json"
        owner = lease_owner(store.backend.objects, lease)
        assert owner is not None
        assert owner["run"] == record.run.name
        assert [run.state for run in runs(store)] == ["running"]

    assert lease_owner(store.backend.objects, lease) is None


def test_a_killed_run_is_running_in_its_record_and_has_a_dead_owner(store: Store, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, store.backend.url, str(tmp_path / "scratch of the killed")]
    name = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()

    (run,) = runs(store)
    assert (run.name, run.state, run.finished) == (name, "running", None)
    owner = lease_owner(store.backend.objects, f"leases/run-{name}.json")
    assert owner is not None
    assert is_dead(owner)


def test_runs_are_listed_in_the_order_of_their_start(store: Store) -> None:
    names = []
    for _ in range(5):  # within one second
        with recorded(store, CLIP, SOURCE, EDIT, {}) as record:
            names.append(record.run.name)

    assert [run.name for run in runs(store)] == names


def test_records_of_a_later_version_are_read_and_unreadable_ones_skipped(store: Store) -> None:
    with recorded(store, CLIP, SOURCE, EDIT, {}) as record:
        pass
    words = {**vars(record.run), "cost": 3}
    store.backend.objects.write(f"runs/{record.run.name}.json", json.dumps(words).encode())
    store.backend.objects.write("runs/20200101T000000-broken.json", b"{")

    assert runs(store) == [record.run]
    assert read_run(store, "20200101T000000-broken") is None
    assert read_run(store, "never there") is None


def test_the_last_record_of_a_prefect_flow_run_is_found(store: Store) -> None:
    for strength, flow_run in (("1", "a"), ("2", "b"), ("3", "b"), ("4", "c")):
        with recorded(store, CLIP, SOURCE, f"smile+{strength}", {}, flow_run):
            pass
    found = run_of(store, "b")
    assert found is not None
    assert found.edit == "smile+3"
    assert run_of(store, "d") is None
