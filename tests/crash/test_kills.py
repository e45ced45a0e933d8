"""`kill -9` at random moments: what comes out is what an undisturbed run gives, and little is done twice.

A handful of kills, unless CRASH_KILLS says more: `make crash KILLS=60` is the nightly command. CRASH_TABLE names a file
for the tables by stage and by counter.
"""

import os
import signal
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage.lease import died, holder
from storage.runs import runs as recorded_runs

STAGES = ["invert", "tune", "stitch", "align", "encode", "composite", "decode"]  # each in turn, the longest first
CHAIN = 14  # kills at most, one after the other, over one store
DELAY = 0.4  # s, at most, from the record to the kill: in the middle of whatever is computed or written then
BETWEEN = "between stages"

# What may be done twice for one kill, by how a counter's label begins: a chunk, or the steps between two checkpoints.
BOUNDS = {
    "decode": 20,  # the whole of it, a tenth of a second
    "align: search": 6,
    "align: crops": 16,
    "invert: start": 8,
    "invert: person": 2,
    "invert: frames": 2,
    "tune": 2,
    "stitch": 4,
    "composite": 8,
    "encode: preview": 20,  # the whole of it
    "encode": 6,
}


def counters(records):
    """label -> how far each counter was whenever it told, labels in the order in which they began.

    Without the search's own: it runs over frames that it finds on the disk, too.
    """
    found = defaultdict(list)
    for _, event, facts in records:
        if event == "advanced" and facts["label"] != "align: faces":
            found[facts["label"]].append(facts["done"])
    return found


def kill_list(records, kills, seed):
    """Chains of kills: all stages in turn, at random moments of each, in the order in which a run reaches them."""
    random, moments = np.random.default_rng(seed), counters(records)
    seconds = {stage: facts["seconds"] for stage, event, facts in records if event == "finished"}
    chosen = []
    for number in range(kills):
        stage = STAGES[number % len(STAGES)]
        label = random.choice([label for label in moments if label.partition(":")[0] == stage])
        delay = random.uniform(0, min(DELAY, seconds[stage] / 4))  # a short stage is not to be over by then
        chosen.append((str(label), int(random.choice(moments[label])), float(delay)))
    order = list(moments)
    return [sorted(chain, key=lambda kill: (order.index(kill[0]), kill[1])) for chain in batches(chosen)]


def batches(kills):
    return [kills[start : start + CHAIN] for start in range(0, len(kills), CHAIN)]


def stage_under_way(records):
    """Where a run was when it ended. While it edits, which takes no time, it may tune as well."""
    begun = [stage for stage, event, _ in records if event == "started"]
    through = {stage for stage, event, _ in records if event in {"finished", "failed"}}
    return next((stage for stage in begun if stage not in through), BETWEEN)


def done_twice(chain, undisturbed):
    """label -> for each kill that cut this counter off, how many items the next run that came to it did again."""
    twice, grid = defaultdict(list), counters(undisturbed)
    for label, places in grid.items():
        told = [counters(run)[label] for run in chain]
        told = [done for done in told if done]
        assert max(map(max, told)) == places[-1], label
        for cut_off, next_one in pairwise(told):
            before = max([0, *(place for place in places if place < next_one[0])])  # where the next one went on from
            twice[label].append(max(0, cut_off[-1] - before))
    return twice


def bound_of(label):
    return next(start for start in BOUNDS if label.startswith(start))


def test_a_killed_run_comes_to_the_same_end_and_does_little_twice(runs, undisturbed, kills_wanted, tmp_path):
    expected, frames, records = undisturbed.digests(), undisturbed.frames(), undisturbed.records(0)
    wanted, seed = kills_wanted
    killed, twice = Counter(), defaultdict(list)
    for number, chain in enumerate(kill_list(records, wanted, seed)):
        made = runs(tmp_path / f"chain {number}")
        for kill in chain:
            code, told = made.run(kill)
            assert code == -signal.SIGKILL, (kill, told)
        code, told = made.run()
        assert code == 0, told

        assert made.digests() == expected, chain
        assert np.array_equal(made.frames(), frames), chain
        nothing_is_left_over(made, len(chain) + 1)
        told_by_run = [made.records(index) for index in range(len(chain) + 1)]
        killed.update(stage_under_way(run) for run in told_by_run[:-1])
        for label, counts in done_twice(told_by_run, records).items():
            twice[bound_of(label)] += counts
    write_tables(killed, twice)
    assert sum(killed.values()) == wanted
    assert killed[BETWEEN] <= wanted / 2
    assert {label: max(counts) for label, counts in twice.items() if max(counts) > BOUNDS[label]} == {}
    if wanted >= 60:
        assert set(STAGES) <= set(killed)


def nothing_is_left_over(made, count):
    store = made.opened()
    assert store.place.all_under_way() == []
    leases = [listed.name for listed in store.place.objects.names("leases/")]
    held = [said for name in leases if (said := holder(store.place.objects, name))]
    assert all(said["run"] and died(said) for said in held)  # of runs that were killed, and of nothing else
    records = recorded_runs(store)
    assert len(records) == count
    assert [record.state for record in records] == ["running"] * (count - 1) + ["completed"]


def write_tables(killed, twice):
    """Markdown: kills by the stage that they hit, and what was done twice by counter."""
    lines = ["| stage that was under way | kills |", "|---|---|"]
    lines += [f"| {stage} | {count} |" for stage, count in sorted(killed.items())]
    lines += ["", "| counter | gone on with | done twice, mean | most | bound |", "|---|---|---|---|---|"]
    for label, bound in BOUNDS.items():
        counts = twice.get(label, [])
        mean, most = (f"{np.mean(counts):.1f}", str(max(counts))) if counts else ("", "")
        lines.append(f"| {label} | {len(counts)} | {mean} | {most} | {bound} |")
    print("\n".join(lines))
    if "CRASH_TABLE" in os.environ:
        Path(os.environ["CRASH_TABLE"]).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("kills", [5, 60])
def test_the_list_of_kills_is_the_same_every_time_and_meets_every_long_stage(undisturbed, kills):
    one, two = (kill_list(undisturbed.records(0), kills, 7) for _ in range(2))

    assert one == two
    assert sum(map(len, one)) == kills
    assert {"align", "invert", "tune", "stitch"} <= {label.partition(":")[0] for chain in one for label, _, _ in chain}
