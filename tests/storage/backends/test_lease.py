import json
import logging
import threading
import time

import pytest

from storage.backends.lease import Patience, lease_owner, leased
from storage.backends.objects import Objects
from storage.errors import LeaseLostError

QUICK = Patience(beat=0.05, expiry=0.3, poll=0.02)
NAME = "leases/align-0123.json"
ELSEWHERE = {"owner": "a", "host": "another", "machine": "another", "process": 1, "began": "1"}


def test_a_lease_has_one_owner_at_a_time(objects: Objects) -> None:
    inside, most, turns = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        with leased(objects, NAME, QUICK, {}) as taken:
            assert taken is not None
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            turns.append(number)
            inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
    assert sorted(turns) == list(range(6))
    assert lease_owner(objects, NAME) is None


def test_an_owner_that_renews_keeps_its_lease_longer_than_the_ttl(objects: Objects) -> None:
    order = []

    def hold() -> None:
        with leased(objects, NAME, QUICK, {}):
            order.append("held")
            time.sleep(4 * QUICK.expiry)
            order.append("released")

    thread = threading.Thread(target=hold)
    thread.start()
    while not order:
        time.sleep(0.01)
    with leased(objects, NAME, QUICK, {}):
        order.append("taken")
    thread.join()

    assert order == ["held", "released", "taken"]


def test_a_lease_of_another_machine_that_is_not_renewed_expires(
    objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    objects.create(NAME, json.dumps({**ELSEWHERE, "files": {"quads": 3}}).encode())
    began = time.monotonic()

    with leased(objects, NAME, QUICK, {}) as taken:
        assert time.monotonic() - began >= QUICK.expiry
        assert taken is not None
        assert taken[1]["files"] == {"quads": 3}  # facts of the last owner
    assert "Waiting for process 1 on another" in caplog.text
    assert f"Took {NAME} over from process 1 on another" in caplog.text


def test_a_dead_owner_on_this_machine_is_detected_at_once(objects: Objects) -> None:
    with leased(objects, NAME, QUICK, {}) as taken:
        assert taken is not None
        owner = lease_owner(objects, NAME)
    assert owner is not None
    objects.write(NAME, json.dumps({**owner, "began": "0"}).encode())  # its process id was reused

    with leased(objects, NAME, Patience(beat=10, expiry=1000), {}) as again:
        assert again is not None


def test_a_lease_that_this_process_could_not_release_is_detected_at_once(objects: Objects) -> None:
    with leased(objects, NAME, QUICK, {}) as taken:
        assert taken is not None
        stored = objects.read(NAME)
    assert stored is not None
    objects.write(NAME, stored.value)  # as if the store had been unreachable during the release

    with leased(objects, NAME, Patience(beat=10, expiry=1000), {}) as again:
        assert again is not None


def test_an_owner_that_lost_its_lease_gets_an_error(objects: Objects) -> None:
    with leased(objects, NAME, Patience(beat=10, expiry=1000), {}) as taken:
        assert taken is not None
        objects.write(NAME, json.dumps(ELSEWHERE).encode())

        with pytest.raises(LeaseLostError, match=f"Another process took {NAME} over"):
            taken[0].renew()
    assert lease_owner(objects, NAME) == ELSEWHERE  # and it does not release another owner's lease


def test_waiting_ends_when_the_work_is_done(objects: Objects) -> None:
    objects.create(NAME, json.dumps(ELSEWHERE).encode())

    with leased(objects, NAME, Patience(), {}, lambda: True) as taken:
        assert taken is None


def test_facts_are_kept_for_the_next_owner(objects: Objects) -> None:
    with leased(objects, NAME, QUICK, {"stage": "align"}) as taken:
        assert taken is not None
        taken[0].renew(files={"quads": 1})

    with leased(objects, NAME, QUICK, {}) as again:
        assert again is not None
        assert again[1] == {"owner": None, "stage": "align", "files": {"quads": 1}}


def test_a_ttl_shorter_than_two_heartbeats_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least two heartbeats, got 1 s and 10 s"):
        Patience(beat=10, expiry=1)
