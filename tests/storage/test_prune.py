import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.artifact import Artifact, Recipe
from storage.backends.folder import Folder
from storage.backends.lease import Patience, leased
from storage.errors import DamagedError
from storage.prune import PruneDecision, PrunePlan, PruneRule, plan_prune, prune
from storage.runs import Run, RunRecord, recorded, runs
from storage.store import Store
from storage.workspace import Workspace

HOUR, DAY = 3600.0, 86400.0
QUICK = Patience(beat=0.1, expiry=1, poll=0.02)

# Starts a run in the store argv[1] with scratch argv[2], computes one artifact and a part of another, and is killed.
KILLED = """
import os, signal, sys, time
from pathlib import Path
from storage.artifact import Recipe
from storage.backends.bucket import Bucket
from storage.backends.lease import lease_owner
from storage.runs import recorded
from storage.store import open_store

store = open_store(sys.argv[1], Path(sys.argv[2]))

def whole(out):
    (out.path / "values").write_bytes(b"killed")

def half(out):
    (out.path / "values").write_bytes(bytes(500))
    while isinstance(store.backend, Bucket) and not lease_owner(store.backend.objects, lease)["files"].get("values"):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

with recorded(store, "/clips/killed.mp4", "cd" * 32, "age-2", {}) as run:
    made = store.make(Recipe("decode", 1, {}, {}, {"source": "cd" * 32}), whole)
    run.reached(made)
    unfinished = Recipe("align", 1, {}, {}, {"clip": made.digest})
    lease = f"leases/align-{unfinished.key}.json"
    store.make(unfinished, half)
"""


def make(store: Store, stage: str, what: str, *inputs: Artifact, size: int = 1000) -> Artifact:
    """An artifact of `size` bytes whose lineage names `inputs`."""

    def fill(out: Workspace) -> None:
        (out.path / "values").write_bytes(what.encode().ljust(size, b"."))
        out.facts["inputs"] = {artifact.stage: {"stage": artifact.stage, "key": artifact.key} for artifact in inputs}
        out.facts["inputs"]["source"] = {"file": "/clips/any.mp4"}

    return store.make(recipe_of(stage, what, *inputs), fill)


def recipe_of(stage: str, what: str, *inputs: Artifact) -> Recipe:
    return Recipe(stage, 1, {"what": what}, {}, {artifact.stage: artifact.digest for artifact in inputs})


def source_of(clip: str) -> str:
    return hashlib.sha256(clip.encode()).hexdigest()


@contextmanager
def running(store: Store, clip: str, edit: str) -> Iterator[tuple[RunRecord, dict[str, Artifact]]]:
    """A run that has reached decode and align, shared by all edits of the clip, and its own edit."""
    with recorded(store, f"/clips/{clip}", source_of(clip), edit, {}) as record:
        decode = make(store, "decode", clip)
        align = make(store, "align", clip, decode)
        made = make(store, "edit", f"{clip} {edit}", align)
        for artifact in (decode, align, made):
            record.reached(artifact)
        yield record, {"decode": decode, "align": align, "edit": made}


def run(store: Store, clip: str, edit: str) -> dict[str, Artifact]:
    with running(store, clip, edit) as (_, artifacts):
        return artifacts


def age(store: Store, edit: str, days: float) -> None:
    """Date back the runs of an edit by some days."""
    then = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    for found in runs(store):
        if found.edit == edit:
            words = {**vars(found), "started": then, "finished": then if found.finished else None}
            store.backend.objects.write(f"runs/{found.name}.json", json.dumps(words).encode())


def pruned(store: Store, rule: PruneRule, after_s: float = 2 * HOUR) -> PrunePlan:
    """Prune as if some time had passed, and return the plan."""
    plan = plan_prune(store, rule, time.time() + after_s)
    prune(store, plan)
    return plan


def left(store: Store) -> set[tuple[str, str]]:
    return {(artifact.stage, artifact.key) for artifact in store.artifacts()}


def edits_left(store: Store) -> list[str]:
    return sorted(run.edit for run in runs(store))


def names(*artifacts: Artifact) -> set[tuple[str, str]]:
    return {(artifact.stage, artifact.key) for artifact in artifacts}


def file_bytes(store: Store) -> int:
    """Bytes of all files of finished and partial artifacts, on disk or in the bucket."""
    if isinstance(store.backend, Folder):
        paths = [path for path in store.folder.rglob("*") if path.is_file() and path.name != ".guard"]
        sizes = {path.relative_to(store.folder).as_posix(): path.stat().st_size for path in paths}
    else:
        sizes = {listed.name: listed.size for listed in store.backend.objects.names("")}
    not_counted = ("runs/", "leases/")
    return sum(
        size for name, size in sizes.items() if not name.startswith(not_counted) and not name.endswith("/manifest.json")
    )


@pytest.fixture
def killed(store: Store, tmp_path: Path) -> Run:
    """A run whose process was killed in the middle of its second stage."""
    command = [sys.executable, "-c", KILLED, store.backend.url, str(tmp_path / "scratch of the killed")]
    subprocess.run(command, check=False)
    (found,) = runs(store)
    assert [stage for stage, _ in found.artifacts] == ["decode"]
    assert [size for _, _, size in store.backend.partial_artifacts()] != []
    return found


def test_the_newest_runs_of_each_clip_stay(store: Store) -> None:
    for edit in ("smile+1", "smile+2", "smile+3"):
        run(store, "a.mp4", edit)
    run(store, "b.mp4", "age-1")  # older than nothing of its own clip

    plan = pruned(store, PruneRule(keep_last=2))

    assert edits_left(store) == ["age-1", "smile+2", "smile+3"]
    assert [decision.stage for decision in plan.goes] == ["edit"]
    assert list(plan.dropped.values()) == ["it is not among the last 2 of its clip"]


def test_artifacts_shared_with_a_kept_run_stay_until_the_last_run_goes(store: Store) -> None:
    old, new = run(store, "a.mp4", "smile+1"), run(store, "a.mp4", "smile+2")

    pruned(store, PruneRule(keep_last=1))
    assert left(store) == names(*new.values())
    assert left(store) == names(old["decode"], old["align"], new["edit"])

    pruned(store, PruneRule(keep_last=0))
    assert left(store) == set()
    assert runs(store) == []


def test_inputs_of_a_kept_artifact_stay_without_a_record(store: Store) -> None:
    decode = make(store, "decode", "a.mp4")
    align = make(store, "align", "a.mp4", decode)
    with recorded(store, "/clips/a.mp4", source_of("a.mp4"), "smile+1", {}) as record:
        record.reached(align)

    pruned(store, PruneRule(keep_last=1))

    assert left(store) == names(decode, align)


def test_runs_that_are_too_old_are_dropped(store: Store) -> None:
    run(store, "a.mp4", "smile+1")
    new = run(store, "a.mp4", "smile+2")
    age(store, "smile+1", 31)
    age(store, "smile+2", 29)

    plan = pruned(store, PruneRule(older_than_s=30 * DAY))

    assert left(store) == names(*new.values())
    assert edits_left(store) == ["smile+2"]
    assert list(plan.dropped.values()) == ["it ended 31.1 days ago"]  # with the two hours of `pruned`


def test_the_oldest_runs_go_until_the_rest_fits(store: Store) -> None:
    for edit in ("smile+1", "smile+2", "smile+3"):
        run(store, "a.mp4", edit)
    assert file_bytes(store) == 5000  # decode, align, three edits

    pruned(store, PruneRule(max_bytes=4000))
    assert edits_left(store) == ["smile+2", "smile+3"]
    pruned(store, PruneRule(max_bytes=3999))
    assert edits_left(store) == ["smile+3"]
    pruned(store, PruneRule(max_bytes=2999))
    assert left(store) == set()


def test_nothing_is_removed_if_everything_fits(store: Store) -> None:
    run(store, "a.mp4", "smile+1")

    plan = plan_prune(store, PruneRule(max_bytes=3000), time.time() + 2 * HOUR)

    assert (plan.goes, plan.dropped, plan.kept_bytes) == ((), {}, 3000)


def test_of_several_limits_each_drops_runs(store: Store) -> None:
    for edit in ("smile+1", "smile+2", "smile+3"):
        run(store, "a.mp4", edit)
    run(store, "b.mp4", "age-1")
    age(store, "age-1", 31)

    pruned(store, PruneRule(keep_last=2, older_than_s=30 * DAY, max_bytes=3000))

    assert edits_left(store) == ["smile+3"]


def test_a_run_in_progress_keeps_all_that_it_reached(store: Store) -> None:
    with running(store, "a.mp4", "smile+1") as (record, artifacts):
        age(store, "smile+1", 100)

        plan = pruned(store, PruneRule(keep_last=0, older_than_s=DAY, max_bytes=0), after_s=60)

        assert left(store) == names(*artifacts.values())
        assert [run.name for run in runs(store)] == [record.run.name]
        assert {decision.why for decision in plan.stays} == {f"run {record.run.name} needs it"}


def test_artifacts_that_a_live_process_reads_or_computes_stay(store: Store) -> None:
    old = run(store, "a.mp4", "smile+1")
    age(store, "smile+1", 100)
    plans: list[PrunePlan] = []

    def fill(out: Workspace) -> None:
        (out.path / "values").write_text("half")
        plans.append(pruned(store, PruneRule(keep_last=0), after_s=60))
        (out.path / "values").write_text("whole")

    made = store.make(recipe_of("stitch", "a.mp4", old["align"]), fill)

    assert left(store) == names(old["decode"], old["align"], made)
    assert {(v.stage, v.why) for v in plans[0].stays if v.kind == "artifact"} == {
        ("align", "a live process reads it"),
        ("decode", "a live process reads it"),  # align is made of it
    }
    assert edits_left(store) == []


def test_an_artifact_that_is_being_recomputed_stays(store: Store) -> None:
    old = run(store, "a.mp4", "smile+1")
    values = f"edit/{old['edit'].key}/values"
    stored = store.backend.objects.read(values)
    assert stored is not None
    store.backend.objects.remove(values)

    def mend(out: Workspace) -> None:
        pruned(store, PruneRule(keep_last=0), after_s=60)
        (out.path / "values").write_bytes(stored.value)

    mended = store.make(recipe_of("edit", "a.mp4 smile+1", old["align"]), mend)

    assert mended == old["edit"]
    store.verify(mended)


def test_unrecorded_artifacts_stay_for_an_hour(store: Store) -> None:
    decode = make(store, "decode", "a.mp4")
    align = make(store, "align", "a.mp4", decode)

    pruned(store, PruneRule(keep_last=0), after_s=HOUR - 60)
    assert left(store) == names(decode, align)
    plan = pruned(store, PruneRule(keep_last=9), after_s=HOUR + 60)
    assert left(store) == set()
    assert {decision.why for decision in plan.goes} == {"no run has recorded it"}


def test_artifacts_of_a_killed_run_stay_as_long_as_its_record(store: Store, killed: Run) -> None:
    before = store.backend.partial_artifacts()

    pruned(store, PruneRule(keep_last=1))
    assert store.backend.partial_artifacts() == before
    assert left(store) == {*killed.artifacts}

    freed = file_bytes(store)
    plan = pruned(store, PruneRule(older_than_s=30 * DAY), after_s=31 * DAY)
    assert (freed, file_bytes(store)) == (plan.freed_bytes, 0)
    assert list(plan.dropped) == [killed.name]
    assert store.backend.partial_artifacts() == []
    assert (left(store), runs(store), store.backend.objects.names("leases/")) == (set(), [], [])


def test_a_partial_artifact_of_a_killed_run_is_resumed_after_a_prune(store: Store, killed: Run) -> None:
    pruned(store, PruneRule(keep_last=1), after_s=2 * DAY)
    ((stage, key, _),) = store.backend.partial_artifacts()
    (decode,) = store.artifacts()
    recipe = Recipe("align", 1, {}, {}, {"clip": decode.digest})
    assert (stage, key) == ("align", recipe.key)
    found: list[bool] = []

    store.make(recipe, lambda out: found.append(out.resumed and (out.path / "values").read_bytes() == bytes(500)))

    assert found == [True]


def test_making_a_plan_changes_nothing(store: Store, killed: Run) -> None:
    run(store, "a.mp4", "smile+1")
    before = store.backend.objects.names("")

    plan = plan_prune(store, PruneRule(keep_last=0), time.time() + 2 * DAY)

    assert plan.freed_bytes > 0
    assert store.backend.objects.names("") == before


def test_bytes_freed_equal_the_bytes_removed(store: Store, killed: Run) -> None:
    run(store, "a.mp4", "smile+1")
    run(store, "a.mp4", "smile+2")
    before = file_bytes(store)
    plan = plan_prune(store, PruneRule(max_bytes=3000), time.time() + 2 * HOUR)

    freed = prune(store, plan)

    assert before - file_bytes(store) == freed == plan.freed_bytes
    assert file_bytes(store) == plan.kept_bytes == 3000


def test_artifacts_reached_since_the_plan_stay(store: Store) -> None:
    old = run(store, "a.mp4", "smile+1")
    plan = plan_prune(store, PruneRule(keep_last=0), time.time() + 2 * HOUR)
    with recorded(store, "/clips/a.mp4", source_of("a.mp4"), "smile+2", {}) as record:
        record.reached(old["decode"])
        record.reached(old["align"])
    decisions: dict[str, bool] = {}

    freed = prune(store, plan, lambda decision, done: decisions.update({decision.stage: done}))

    assert decisions == {"decode": False, "align": False, "edit": True}
    assert freed == 1000
    assert left(store) == names(old["decode"], old["align"])


def test_artifacts_leased_since_the_plan_stay(store: Store) -> None:
    old = run(store, "a.mp4", "smile+1")
    plan = plan_prune(store, PruneRule(keep_last=0), time.time() + 2 * HOUR)
    decisions: list[tuple[PruneDecision, bool]] = []

    with leased(store.backend.objects, f"leases/edit-{old['edit'].key}.json", QUICK, {}):
        prune(store, plan, lambda decision, done: decisions.append((decision, done)))

    assert {decision.stage: done for decision, done in decisions} == {"decode": True, "align": True, "edit": False}
    assert left(store) == names(old["edit"])


def test_a_lease_of_a_lost_machine_keeps_nothing(store: Store) -> None:
    store = replace(store, patience=QUICK)
    old = run(store, "a.mp4", "smile+1")
    gone = {"owner": "a", "host": "another", "machine": "another", "process": 1, "began": "1", "inputs": [], "beat": 3}
    words = {**gone, "stage": "edit", "key": old["edit"].key}
    store.backend.objects.write(f"leases/edit-{old['edit'].key}.json", json.dumps(words).encode())

    pruned(store, PruneRule(keep_last=0), after_s=60)
    assert left(store) == names(old["edit"])  # it may be alive: the lease was renewed a minute ago
    pruned(store, PruneRule(keep_last=0), after_s=HOUR + 60)
    assert left(store) == set()


def test_a_run_that_uses_a_pruned_artifact_gets_an_error_and_recomputes_it(store: Store) -> None:
    old = run(store, "a.mp4", "smile+1")
    pruned(store, PruneRule(keep_last=0))

    with pytest.raises(DamagedError, match=r"manifest\.json is gone or unreadable. Run again"):
        store.fetch(old["align"])
    assert run(store, "a.mp4", "smile+1") == old


def test_edits_complete_while_everything_is_pruned_repeatedly(store: Store) -> None:
    store = replace(store, patience=QUICK)
    over = threading.Event()
    plans: list[PrunePlan] = []
    errors: list[Exception] = []

    def keep_pruning() -> None:
        while not over.is_set():
            try:
                plans.append(pruned(store, PruneRule(keep_last=0)))
            except Exception as error:
                errors.append(error)

    pruner = threading.Thread(target=keep_pruning)
    pruner.start()
    try:
        for number in range(5):
            with running(store, "a.mp4", f"smile+{number}") as (_, artifacts):
                time.sleep(0.1)
                assert set(artifacts) == {"decode", "align", "edit"}
    finally:
        over.set()
        pruner.join()
    pruned(store, PruneRule(keep_last=0))

    assert errors == []
    assert left(store) == set()
    assert sum(len(plan.dropped) for plan in plans) > 0


@pytest.mark.parametrize("damage", ["gone", "unreadable"])
def test_files_without_a_manifest_are_removed_and_unrelated_files_stay(store: Store, damage: str) -> None:
    kept, lost = make(store, "align", "kept"), make(store, "align", "lost")
    with recorded(store, "/clips/a.mp4", source_of("a.mp4"), "smile+1", {}) as record:
        record.reached(kept)
    if damage == "gone":
        store.backend.objects.remove(f"align/{lost.key}/manifest.json")
    else:
        store.backend.objects.write(f"align/{lost.key}/manifest.json", b"{")
    for mine in ("align/notes.txt", "align/my notes/a.txt", "my notes/0123456789abcdef/a.txt"):
        store.backend.objects.write(mine, b"mine")

    plan = pruned(store, PruneRule(keep_last=1))

    assert [(v.key, v.bytes, v.why) for v in plan.goes] == [(lost.key, 1000, "it has no readable manifest")]
    assert store.backend.objects.names(f"align/{lost.key}/") == []
    assert left(store) == names(kept)
    assert file_bytes(store) == 1000 + 3 * len(b"mine")


def test_leases_without_an_owner_are_removed_after_a_day(store: Store) -> None:
    with running(store, "a.mp4", "smile+1") as (record, artifacts):
        pruned(store, PruneRule(keep_last=9), after_s=DAY - 60)
        assert f"leases/edit-{artifacts['edit'].key}.json" in {
            lease.name for lease in store.backend.objects.names("leases/")
        }

        pruned(store, PruneRule(keep_last=9), after_s=DAY + 60)
        names_left = [lease.name for lease in store.backend.objects.names("leases/")]
        assert names_left == [f"leases/run-{record.run.name}.json"]
    assert left(store) == names(*artifacts.values())


@pytest.mark.parametrize("rule", [{}, {"keep_last": -1}, {"older_than_s": 1.0, "max_bytes": -5}])
def test_a_rule_without_a_valid_limit_is_rejected(rule: dict[str, int]) -> None:
    build: Callable[..., PruneRule] = PruneRule
    with pytest.raises(ValueError, match="A rule limits the number of runs"):
        build(**rule)
