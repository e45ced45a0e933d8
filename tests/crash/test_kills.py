"""`kill -9` at random moments: the result equals that of an uninterrupted run, and little work is repeated.

Three kills, unless CRASH_KILLS is set: `make crash KILLS=60` is the nightly command. CRASH_TABLE names a file for the
table by stage.
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

# Approximate number of "advanced" records of each stage in an uninterrupted run: a kill follows one of them.
RECORDS = {
    "invert": 16, "tune": 4, "stitch": 4, "detect": 4, "encode": 8, "composite": 3, "measure": 3, "align": 2,
    "decode": 4,
}  # fmt: skip
CHAIN = 14  # maximum number of consecutive kills on one store
DELAY = 0.4  # s, maximum from the record to the kill, so that it interrupts computing or writing

# Items that may be repeated after one kill, by prefix of a counter's label: a chunk, or the steps between checkpoints.
BOUNDS = {
    "decode": 4,  # the whole stage, a tenth of a second
    "detect": 4,
    "align": 4,
    "invert: start": 4,
    "invert: person": 2,
    "invert: frames": 2,
    "tune": 2,
    "stitch: all": 2,  # the whole stage
    "stitch": 2,
    "composite": 4,
    "encode: preview": 4,  # the whole stage
    "encode": 2,
    "measure": 4,
    "report": 4,  # the whole stage
}


def kill_list(kills: int, seed: int) -> list[list[tuple[str, int, float]]]:
    """Chains of kills: all stages in turn, at random moments, in the order of a run."""
    random = np.random.default_rng(seed)
    stages = [list(RECORDS)[number % len(RECORDS)] for number in range(kills)]
    chosen = [(stage, int(random.integers(1, RECORDS[stage])), float(random.uniform(0, DELAY))) for stage in stages]
    chains = [chosen[start : start + CHAIN] for start in range(0, kills, CHAIN)]
    return [sorted(chain, key=lambda kill: STAGES.index(kill[0])) for chain in chains]


def repeated_items(runs, first):
    """(label, number of repeated items) for each counter that the run `first` left partial and the next one resumed."""
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


def test_a_killed_run_gives_the_same_result_and_repeats_little_work(runs, undisturbed, kills_wanted, tmp_path):
    expected, frames = undisturbed.digests(), undisturbed.frames()
    killed, repeated = defaultdict(int), defaultdict(list)
    for number, chain in enumerate(kill_list(*kills_wanted)):
        made = runs(tmp_path / f"chain {number}")
        for kill in chain:
            code, errors = made.run(kill)
            assert code in {-signal.SIGKILL, 0}, errors  # 0: the run ended before the kill
            killed[kill[0]] += code == -signal.SIGKILL
        code, errors = made.run()
        assert code == 0, errors

        assert made.digests() == expected, chain
        assert np.array_equal(made.frames(), frames), chain
        for index in range(len(chain)):
            for label, count in repeated_items(made, index):
                repeated[label].append(count)
                assert count <= bound_of(label), (chain[index], label)
        check_leftovers(made, len(chain) + 1)
    assert sum(killed.values()) == kills_wanted[0]
    write_table(killed, repeated)


def check_leftovers(made, count):
    store = made.opened()
    assert store.backend.partial_artifacts() == []
    leases = [listed.name for listed in store.backend.objects.names("leases/")]
    owners = [owner for name in leases if (owner := lease_owner(store.backend.objects, name))]
    assert all(owner["run"] and is_dead(owner) for owner in owners)  # only of killed runs
    records = recorded_runs(store)
    assert len(records) == count
    assert records[-1].state == "completed"


def write_table(killed, repeated):
    """Print kills by stage and repeated items by counter as Markdown."""
    lines = ["| stage | kills |", "|---|---|", *(f"| {stage} | {count} |" for stage, count in killed.items())]
    lines += ["", "| counter | resumed | repeated, mean | maximum | bound |", "|---|---|---|---|---|"]
    groups = defaultdict(list)
    for label, counts in repeated.items():
        groups[next(start for start in BOUNDS if label.startswith(start))] += counts
    for start, counts in groups.items():
        lines.append(f"| {start} | {len(counts)} | {np.mean(counts):.1f} | {max(counts)} | {BOUNDS[start]} |")
    print("\n".join(lines))
    if "CRASH_TABLE" in os.environ:
        Path(os.environ["CRASH_TABLE"]).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kills", [5, 60])
def test_the_list_of_kills_is_reproducible_and_includes_every_long_stage(kills):
    chains = kill_list(kills, 7)

    assert chains == kill_list(kills, 7)
    assert sum(map(len, chains)) == kills
    assert {"detect", "invert", "tune", "stitch"} <= {stage for chain in chains for stage, _, _ in chain}
