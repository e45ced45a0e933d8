"""Turns on a device: a slot of a Prefect concurrency limit, occupied while a stage computes."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from tasks.runtime.progress import report_event

SLOT = "STITCHEDIT_SLOT"  # environment: name of the limit; unset or not there = no limit
LEASE_S = 60.0  # a slot whose holder was killed is free again after that
AWAY_S = 900.0  # that a server may be away while a slot is wanted
ASK_S = 5.0  # between two tries then

AWAY = (httpx.HTTPError, ConcurrencySlotAcquisitionError)  # what it looks like


@contextmanager
def device_slot() -> Iterator[None]:
    """Wait until the device is free, and hold it. A server that is restarted meanwhile is waited for.

    Raises:
        ConcurrencySlotAcquisitionError: the server was away for longer than AWAY_S.
    """
    name = os.environ.get(SLOT)
    if not name:
        yield
        return
    with ExitStack() as held:
        _take(held, name)
        try:
            yield
        finally:
            with suppress(*AWAY):  # then the slot is free when its lease ends; the work is done all the same
                held.close()


def _take(held: ExitStack, name: str) -> None:
    give_up = time.monotonic() + AWAY_S
    while True:
        try:
            held.enter_context(concurrency(name, lease_duration=LEASE_S))
        except AWAY as error:
            if time.monotonic() > give_up:
                raise
            report_event("slot", "noted", text=f"{name} cannot be asked for, and is tried again: {error}")
            time.sleep(ASK_S)
        else:
            return
