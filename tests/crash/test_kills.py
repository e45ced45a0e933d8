"""`kill -9` at random moments: what comes out is what an undisturbed run gives, and little is done twice.

A handful of kills, unless CRASH_KILLS says more: `make crash KILLS=60` is the nightly command. CRASH_TABLE names a file
for the table by stage.
"""

import os
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from storage.backends.lease import is_dead, lease_owner
from storage.runs import runs as recorded_runs
from tasks.runtime.stage_names import STAGES

# How often each stage tells that it advanced in an undisturbed run, about: where a kill falls, or at the stage's end.
RECORDS = {
    "invert": 16, "tune": 4, "stitch": 4, "detect": 4, "encode": 8, "composite": 3, "measure": 3, "align": 2,
    "decode": 4,
}  # fmt: skip
CHAIN = 14  # kills at most, one after the other, over one store
DELAY = 0.4  # s, at most, from the record to the kill: in the middle of whatever is computed or written then

# What may be done twice for one kill, by how a counter's label begins: a chunk, or the steps between two checkpoints.
BOUNDS = {
    "decode": 4,  # the whole of it, a tenth of a second
    "detect": 4,
    "align": 4,
    "invert: start": 4,
    "invert: person": 2,
    "invert: frames": 2,
    "tune": 2,
    "stitch: all": 2,  # the whole of it
    "stitch": 2,
    "composite": 4,
    "encode: preview": 4,  # the whole of it
    "encode": 2,
    "measure": 4,
    "report": 4,  # the whole of it
}


def kill_list(kills: int, seed: int) -> list[list[tuple[str, int, float]]]:
    """Chains of kills: all stages in turn, at random moments of each, in the order in which a run reaches them."""
    random = np.random.default_rng(seed)
    stages = [list(RECORDS)[number % len(RECORDS)] for number in range(kills)]
    chosen = [(stage, int(random.integers(1, RECORDS[stage])), float(random.uniform(0, DELAY))) for stage in stages]
    chains = [chosen[start : start + CHAIN] for start in range(0, kills, CHAIN)]
    return [sorted(chain, key=lambda kill: STAGES.index(kill[0])) for chain in chains]


def done_twice(runs, first):
    """(label, how many items) for each counter that the run `first` left unfinished and the next went on with."""
    ends, starts = {}, {}
    for _, event, facts in runs.records(first):
        if event == "advanced":
            ends[facts["label"]] = facts["done"]
    for _, event, facts in runs.records(first + 1):
        if event == "advanced":
            starts.setdefault(facts["label"], facts["done"])
    return [(label, max(0, ends[label] - starts[label] + 1)) for label in ends if label in starts]


def bound_of(label):
    return next(bound for start, bound in BOUNDS.items() if label.startswith(start))


def test_a_killed_run_comes_to_the_same_end_and_does_little_twice(runs, undisturbed, kills_wanted, tmp_path):
    expected, frames = undisturbed.digests(), undisturbed.frames()
    killed, twice = defaultdict(int), defaultdict(list)
    for number, chain in enumerate(kill_list(*kills_wanted)):
        made = runs(tmp_path / f"chain {number}")
        for kill in chain:
            code, told = made.run(kill)
            assert code in {-signal.SIGKILL, 0}, told  # 0: there was less left than the kill waited for
            killed[kill[0]] += code == -signal.SIGKILL
        code, told = made.run()
        assert code == 0, told

        assert made.digests() == expected, chain
        assert np.array_equal(made.frames(), frames), chain
        for index in range(len(chain)):
            for label, count in done_twice(made, index):
                twice[label].append(count)
                assert count <= bound_of(label), (chain[index], label)
        nothing_is_left_over(made, len(chain) + 1)
    assert sum(killed.values()) == kills_wanted[0]
    write_table(killed, twice)


def nothing_is_left_over(made, count):
    store = made.opened()
    assert store.backend.partial_artifacts() == []
    leases = [listed.name for listed in store.backend.objects.names("leases/")]
    held = [said for name in leases if (said := lease_owner(store.backend.objects, name))]
    assert all(said["run"] and is_dead(said) for said in held)  # of runs that were killed, and of nothing else
    records = recorded_runs(store)
    assert len(records) == count
    assert records[-1].state == "completed"


def write_table(killed, twice):
    """Markdown: kills by stage, and what was done twice by counter."""
    lines = ["| stage | kills |", "|---|---|", *(f"| {stage} | {count} |" for stage, count in killed.items())]
    lines += ["", "| counter | went on | done twice, mean | most | at most |", "|---|---|---|---|---|"]
    groups = defaultdict(list)
    for label, counts in twice.items():
        groups[next(start for start in BOUNDS if label.startswith(start))] += counts
    for start, counts in groups.items():
        lines.append(f"| {start} | {len(counts)} | {np.mean(counts):.1f} | {max(counts)} | {BOUNDS[start]} |")
    print("\n".join(lines))
    if "CRASH_TABLE" in os.environ:
        Path(os.environ["CRASH_TABLE"]).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kills", [5, 60])
def test_the_list_of_kills_is_the_same_every_time_and_meets_every_long_stage(kills):
    one, two = kill_list(kills, 7), kill_list(kills, 7)

    assert one == two
    assert sum(map(len, one)) == kills
    assert {"detect", "invert", "tune", "stitch"} <= {stage for chain in one for stage, _, _ in chain}
