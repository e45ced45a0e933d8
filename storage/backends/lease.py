"""Who makes what at the moment. A lease is an object of the store that its holder renews: no lock server is needed.

Clocks are never compared. Who waits watches the lease: one that did not change for `Patience.expiry` seconds of the
waiter's own clock belongs to a machine that is gone. A dead process of the same machine is seen at once.
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
    """How often a holder renews, and how long others believe it."""

    beat: float = 10.0  # s
    expiry: float = 60.0  # s; several times `beat`
    poll: float = 0.5  # s between looks of who waits

    def __post_init__(self) -> None:
        if not 0 < 2 * self.beat <= self.expiry:
            raise ValueError(f"A lease expires after two beats at least, got {self.expiry:g} s and {self.beat:g} s.")


@dataclass
class Lease:
    """Held by this process. `facts` are kept in it, for others to read: change them with `renew`."""

    objects: Objects
    name: str
    owner: str
    facts: dict[str, Any]
    etag: str
    lost: bool = False
    _beats: int = 0
    _turn: threading.RLock = field(default_factory=threading.RLock)

    def renew(self, **facts: object) -> None:
        """Show that the holder lives, and change `facts`.

        Raises:
            LeaseLostError: another process took it over.
        """
        with self._turn:
            self.facts |= facts
            self._beats += 1
            etag = None if self.lost else self.objects.replace(self.name, self._value(), self.etag)
            if etag is None:
                self.lost = True
                raise LeaseLostError(
                    f"Another process took {self.name} over, because this one did not renew it in time (a paused "
                    "machine, or a store that could not be reached). Run again: it is waited for, then found."
                )
            self.etag = etag

    def release(self, **facts: object) -> None:
        """Give it back. With `facts`, they stay for the next holder; without, nothing stays."""
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
    """Hold a lease as long as the block lasts, waiting for whoever has it; gives it and what the last holder left.

    None when `is_done` says, while waiting, that there is nothing left to do. A block that ends releases the lease with
    the facts that it has then; see `Lease.release` for another way.
    """
    lease, stopped = Lease(objects, name, uuid4().hex[:12], dict(facts), ""), threading.Event()
    heartbeat = threading.Thread(
        target=_send_heartbeats, args=(lease, patience, stopped), daemon=True, name=_thread_name(lease.owner)
    )
    heartbeat.start()  # before the lease is there: see `is_dead`
    try:
        left = _take(lease, patience, is_done)
        yield None if left is None else (lease, left)
    finally:
        stopped.set()
        heartbeat.join()
        if lease.etag:
            lease.release(**lease.facts)


def lease_owner(objects: Objects, name: str) -> dict[str, Any] | None:
    """What a lease says, if somebody holds it, alive or not. None when it is free."""
    stored = objects.read(name)
    said: dict[str, Any] = facts_of(stored.value) if stored else {}
    return said if said.get("owner") else None


def is_dead(said: Mapping[str, Any]) -> bool:
    """Whether a holder was a process of this machine that is no more, or one of this process that renews no more."""
    mine = _identity()
    if said.get("machine") != mine["machine"]:
        return False
    if (said["process"], said["began"]) == (mine["process"], mine["began"]):
        return _thread_name(said["owner"]) not in {thread.name for thread in threading.enumerate()}
    return bool(_process_began(int(said["process"])) != said["began"])


def _take(lease: Lease, patience: Patience, is_done: Callable[[], bool]) -> Mapping[str, Any] | None:
    """What the last holder left, once the lease is ours; None when there is nothing left to do."""
    seen, since, told = "", time.monotonic(), False
    while not is_done():
        stored = lease.objects.read(lease.name)
        said = facts_of(stored.value) if stored else {}
        if stored is None:
            etag = lease.objects.create(lease.name, lease._value())
        elif (
            not said.get("owner")
            or is_dead(said)
            or (stored.etag == seen and time.monotonic() - since > patience.expiry)
        ):
            etag = lease.objects.replace(lease.name, lease._value(), stored.etag)
        else:
            if stored.etag != seen:
                seen, since = stored.etag, time.monotonic()
            if not told:
                whose = f"process {said.get('process')} on {said.get('host')}"
                logger.info("Waiting for %s, which holds %s", whose, lease.name)
                told = True
            time.sleep(patience.poll)
            continue
        if etag is not None:
            if said.get("owner"):
                logger.warning("Took %s over from process %s on %s", lease.name, said.get("process"), said.get("host"))
            lease.etag = etag
            return said
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
        except Exception as error:  # a store that cannot be reached may be there again at the next beat
            logger.warning("%s could not be renewed (%s)", lease.name, error)


@cache
def _machine() -> str:
    """This machine as processes see it: names of processes mean the same where this is the same."""
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
    """When a process began, in the kernel's ticks: two with one number are told apart by it. None if there is none."""
    try:
        facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if facts[0] == "Z" else facts[19]  # a zombie computes no more


def _encode(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def facts_of(value: bytes) -> dict[str, Any]:
    """What a lease says; nothing, if it cannot be read."""
    try:
        said = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
