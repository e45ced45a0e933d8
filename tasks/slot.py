"""One stage at a time on a device, whoever's: a slot of a Prefect concurrency limit, held while a stage computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.concurrency.sync import concurrency

SLOT = "STITCHEDIT_SLOT"  # environment: name of the limit; unset or not there = no limit
LEASE_S = 60.0  # a slot whose holder was killed is free again after that


@contextmanager
def device_slot() -> Iterator[None]:
    """Wait until the device is free, and hold it."""
    name = os.environ.get(SLOT)
    if not name:
        yield
        return
    with concurrency(name, lease_duration=LEASE_S):
        yield
