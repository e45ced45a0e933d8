"""A stage's turn on a device, while the server that gives turns is restarted."""

from contextlib import contextmanager

import httpx
import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from tasks.runtime import device_slot as slot
from tasks.runtime.device_slot import SLOT, device_slot


@pytest.fixture
def server(monkeypatch):
    """A limit that fails on request, and records the calls."""
    happened, failures = [], {"take": 0, "give": 0}

    @contextmanager
    def concurrency(name, lease_duration):
        if failures["take"]:
            failures["take"] -= 1
            raise ConcurrencySlotAcquisitionError(f"Unable to acquire concurrency slots on ['{name}']")
        happened.append("taken")
        try:
            yield
        finally:
            happened.append("given")
            if failures["give"]:
                raise httpx.ConnectError("nobody there")

    monkeypatch.setenv(SLOT, "gpu")
    monkeypatch.setattr(slot, "concurrency", concurrency)
    monkeypatch.setattr(slot, "ASK_S", 0)
    return happened, failures


def test_it_is_asked_again_until_the_server_answers(server, told):
    happened, failures = server
    failures["take"] = 3
    with device_slot():
        assert happened == ["taken"]
    assert happened == ["taken", "given"]
    assert [record.text for record in told.records] == [
        "gpu cannot be asked for, and is tried again: Unable to acquire concurrency slots on ['gpu']"
    ] * 3


def test_a_server_that_stays_away_is_told(server, monkeypatch):
    _, failures = server
    failures["take"] = 3
    monkeypatch.setattr(slot, "AWAY_S", -1)
    with pytest.raises(ConcurrencySlotAcquisitionError), device_slot():
        pass


def test_what_was_computed_counts_though_the_slot_cannot_be_given_back(server):
    happened, failures = server
    failures["give"] = 1
    with device_slot():
        pass
    assert happened == ["taken", "given"]


def test_an_error_of_the_stage_is_its_own(server):
    happened, _ = server
    with pytest.raises(ZeroDivisionError), device_slot():
        raise ZeroDivisionError
    assert happened == ["taken", "given"]
