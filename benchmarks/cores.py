"""Preflight: check that every CPU core divides correctly. Exits with 1 on a machine whose results cannot be trusted.

    python benchmarks/cores.py --seconds 60

A faulty core of a test machine gave wrong float64 quotients for seconds at a time (docs/decisions/0020).
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np


def wrong_divisions(core: int, seconds: float) -> int:
    """Count wrong quotients of numbers by themselves on one core."""
    os.sched_setaffinity(0, {core})
    values = np.random.default_rng(0).uniform(0.01, 1000, 4096)
    until, wrong = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        wrong += int(np.count_nonzero(values / values != 1))
    return wrong


def main(arguments: Sequence[str] | None = None) -> None:
    """Check one core after the other and report those that are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each core")
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    found = {core: wrong_divisions(core, options.seconds) for core in cores}
    for core, wrong in found.items():
        print(f"core {core}: {wrong} wrong quotients in {options.seconds:g} s")
    if any(found.values()):
        sys.exit("This machine computes wrongly. Do not trust results or tests on it.")


if __name__ == "__main__":
    main()
