"""Leases: which process computes which artifact.

The owner renews its lease; no lock server is needed.

A lease is an object in the store. Clocks of machines are never compared: a waiting process watches the lease, and takes
it over if it did not change for `Patience.expiry` seconds (the TTL) of the waiting process's own clock. A dead owner on
the same machine is detected at once.
"""

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from storage.backends.objects import Objects
from storage.errors import LeaseLostError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Heartbeat interval, TTL and polling interval of leases."""

    beat: float = 10.0  # s between heartbeats
    expiry: float = 60.0  # s, the TTL; several times `beat`
    poll: float = 0.5  # s between reads of a waiting process

    def __post_init__(self) -> None:
        if not 0 < 2 * self.beat <= self.expiry:
            raise ValueError(
                f"The TTL of a lease must be at least two heartbeats, got {self.expiry:g} s and {self.beat:g} s. Raise "
                "expiry, or lower beat."
            )


@dataclass
class Lease:
    """A lease of this process.

    Other processes can read its `facts`; change them with `renew`.
    """

    objects: Objects
    name: str
    owner: str
    facts: dict[str, Any]
    etag: str
    lost: bool = False
    _beats: int = 0
    _turn: threading.RLock = field(default_factory=threading.RLock)

    def renew(self, **facts: object) -> None:
        """Send a heartbeat, and update `facts`.

        Raises:
            LeaseLostError: another process took over the lease.
        """
        with self._turn:
            self.facts |= facts
            self._beats += 1
            etag = None if self.lost else self.objects.replace(self.name, self._value(), self.etag)
            if etag is None:
                self.lost = True
                raise LeaseLostError(
                    f"Another process took {self.name} over, because this one did not renew it in time (a paused "
                    "machine, or a store that could not be reached). Run again: the run waits for its result."
                )
            self.etag = etag

    def release(self, **facts: object) -> None:
        """Release the lease. `facts` are kept for the next owner.

        Without any, nothing is kept.
        """
        with self._turn:
            if self.lost:
                return
            self.objects.replace(self.name, _encode({"owner": None, **facts}), self.etag)
            self.lost = True

    def _value(self) -> bytes:
        return _encode({**_identity(), "owner": self.owner, "beat": self._beats, **self.facts})


@contextmanager
def leased(
    objects: Objects,
    name: str,
    patience: Patience,
    facts: Mapping[str, Any],
    is_done: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Lease, Mapping[str, Any]] | None]:
    """Hold a lease during the block.

    Wait for another owner first. Yields the lease and the last owner's facts.

    Yields None if `is_done` becomes true while waiting. At the end of the block, the lease is released with its current
    facts, unless `Lease.release` was called before.
    """
    lease, stopped = Lease(objects, name, uuid4().hex[:12], dict(facts), ""), threading.Event()
    heartbeat = threading.Thread(
        target=_send_heartbeats, args=(lease, patience, stopped), daemon=True, name=_thread_name(lease.owner)
    )
    heartbeat.start()  # before the lease exists: see `is_dead`
    try:
        left = _take(lease, patience, is_done)
        yield None if left is None else (lease, left)
    finally:
        stopped.set()
        heartbeat.join()
        if lease.etag:
            lease.release(**lease.facts)


def lease_owner(objects: Objects, name: str) -> dict[str, Any] | None:
    """Content of a lease that has an owner, alive or dead.

    None if it is free.
    """
    stored = objects.read(name)
    facts: dict[str, Any] = facts_of(stored.value) if stored else {}
    return facts if facts.get("owner") else None


def is_dead(owner: Mapping[str, Any]) -> bool:
    """True if the owner was a process of this machine that has ended, or a thread of this process that has."""
    mine = _identity()
    if owner.get("machine") != mine["machine"]:
        return False
    if (owner["process"], owner["began"]) == (mine["process"], mine["began"]):
        return _thread_name(owner["owner"]) not in {thread.name for thread in threading.enumerate()}
    return bool(_process_began(int(owner["process"])) != owner["began"])


def _take(lease: Lease, patience: Patience, is_done: Callable[[], bool]) -> Mapping[str, Any] | None:
    """Acquire the lease and return the last owner's facts.

    None if `is_done` becomes true first.
    """
    seen, since, is_logged = "", time.monotonic(), False
    while not is_done():
        stored = lease.objects.read(lease.name)
        facts = facts_of(stored.value) if stored else {}
        if stored is None:
            etag = lease.objects.create(lease.name, lease._value())
        elif (
            not facts.get("owner")
            or is_dead(facts)
            or (stored.etag == seen and time.monotonic() - since > patience.expiry)
        ):
            etag = lease.objects.replace(lease.name, lease._value(), stored.etag)
        else:
            if stored.etag != seen:
                seen, since = stored.etag, time.monotonic()
            if not is_logged:
                owner = f"process {facts.get('process')} on {facts.get('host')}"
                logger.info("Waiting for %s, which holds %s", owner, lease.name)
                is_logged = True
            time.sleep(patience.poll)
            continue
        if etag is not None:
            if facts.get("owner"):
                logger.warning(
                    "Took %s over from process %s on %s", lease.name, facts.get("process"), facts.get("host")
                )
            lease.etag = etag
            return facts
    return None


def _thread_name(owner: str) -> str:
    """Name of the thread that renews a lease."""
    return f"lease of {owner}"


def _send_heartbeats(lease: Lease, patience: Patience, stopped: threading.Event) -> None:
    while not stopped.wait(patience.beat):
        try:
            if lease.etag:
                lease.renew()
        except LeaseLostError as error:
            logger.warning("%s", error)
            return
        except Exception as error:  # a store that cannot be reached may be available at the next heartbeat
            logger.warning("%s could not be renewed (%s)", lease.name, error)


@cache
def _machine() -> str:
    """Identity of this boot and process namespace: process ids are comparable where it is equal."""
    parts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(Path(path).read_text().strip() if "boot" in path else str(Path(path).readlink()))
        except OSError:
            parts.append("")
    return " ".join(parts)


def _identity() -> dict[str, Any]:
    process = os.getpid()
    return {"host": platform.node(), "machine": _machine(), "process": process, "began": _process_began(process)}


def _process_began(process: int) -> str | None:
    """Start time of a process in kernel ticks, which distinguishes reused process ids.

    None if there is none.
    """
    try:
        facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if facts[0] == "Z" else facts[19]  # a zombie counts as dead


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def facts_of(value: bytes) -> dict[str, Any]:
    """Parse the content of a lease; empty if it is unreadable."""
    try:
        facts = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
