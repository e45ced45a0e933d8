"""Who wanted what, and when: a record of every run, from which follows what of the store is still of use.

runs/<name>.json    the request, the artifact of each stage that was reached, when, where, and how it ended
leases/run-<name>.json    held as long as the run lives
"""

import json
import platform
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from storage.artifact import Artifact
from storage.backends.lease import leased
from storage.files import encodable
from storage.outputs import OutputRecord
from storage.safe_text import redacted
from storage.store import Store

FOLDER = "runs"
CONNECTIONS = 8


@dataclass
class Run:
    """One run of a flow over one clip."""

    name: str  # sorts by time
    clip: str  # path of the file
    source: str  # SHA-256 of the file
    edit: str  # e.g. smile+2
    request: dict[str, Any]
    started: str  # UTC
    host: str = field(default_factory=platform.node)
    artifacts: list[tuple[str, str]] = field(default_factory=list)  # stage and key of those reached, in order
    finished: str | None = None
    state: str = "running"  # completed or failed; one that stays "running" without a lease was killed
    error: str | None = None
    flow_run: str | None = None  # Prefect's name of it
    written: list[dict[str, Any]] = field(default_factory=list)  # files for people: see storage/outputs.py


@contextmanager
def recorded(  # noqa: PLR0913, PLR0917 - what a record holds
    store: Store, clip: str, source: str, edit: str, request: dict[str, Any], flow_run: str | None = None
) -> Iterator["RunRecord"]:
    """Keep a record of the run as long as the block lasts, and say how it ended."""
    now = datetime.now(UTC)
    name = f"{now:%Y%m%dT%H%M%S.%f}-{uuid4().hex[:6]}"
    run = Run(
        name, encodable(clip), source, encodable(edit), request, now.isoformat(timespec="seconds"), flow_run=flow_run
    )
    with leased(store.backend.objects, f"leases/run-{name}.json", store.patience, {"run": name}) as taken:
        assert taken is not None
        record = RunRecord(store, run)
        record.write()
        try:
            yield record
        except BaseException as error:
            run.state, run.error = "failed", redacted(f"{type(error).__name__}: {error}")[:2000]
            raise
        else:
            run.state = "completed"
        finally:
            run.finished = datetime.now(UTC).isoformat(timespec="seconds")
            record.write()
            taken[0].release()


@dataclass
class RunRecord:
    """The record of a run that is going on."""

    store: Store
    run: Run

    def reached(self, artifact: Artifact) -> None:
        """Note that the run has this artifact, found or made."""
        name = artifact.stage, artifact.key
        if name not in self.run.artifacts:
            self.run.artifacts.append(name)
        self.write()

    def wrote(self, files: Iterable[OutputRecord]) -> None:
        """Note the files that the run wrote outside of the store."""
        self.run.written = [asdict(file) for file in files]
        self.write()

    def write(self) -> None:
        self.store.backend.objects.write(
            f"{FOLDER}/{self.run.name}.json", json.dumps(vars(self.run), indent=1, sort_keys=True).encode()
        )


def runs(store: Store) -> list[Run]:
    """Every recorded run, the oldest first. Records that cannot be read are left out."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [run for run in pool.map(lambda name: read_run(store, name), _names(store)) if run]


def run_of(store: Store, flow_run: str | None) -> Run | None:
    """The last record of one of Prefect's runs; the newest ones are looked at first, and no more than needed."""
    records = (read_run(store, name) for name in reversed(_names(store)))
    return next((run for run in records if run and run.flow_run == flow_run), None)


def _names(store: Store) -> list[str]:
    """Of every record, the oldest first."""
    listed = store.backend.objects.names(f"{FOLDER}/")
    return sorted(one.name.rpartition("/")[2].removesuffix(".json") for one in listed)


def read_run(store: Store, name: str) -> Run | None:
    """The record of one run, or None when there is none that can be read. What a later version added is left out."""
    stored = store.backend.objects.read(f"{FOLDER}/{name}.json")
    try:
        words = json.loads(stored.value) if stored else {}
        known = {field.name: words[field.name] for field in fields(Run) if field.name in words}
        reached = known.get("artifacts", [])  # an earlier version kept one of each stage, by its name
        known["artifacts"] = list(reached.items()) if isinstance(reached, dict) else [(s, k) for s, k in reached]
        return Run(**known)
    except (ValueError, TypeError, RecursionError):
        return None
