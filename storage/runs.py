"""Records of runs; pruning derives from them which artifacts are still needed.

runs/<name>.json    the request, the artifact of each stage that was reached, when, where, and how it ended
leases/run-<name>.json    leased while the run is alive
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
    state: str = "running"  # completed or failed; "running" without a lease: it was killed
    error: str | None = None
    flow_run: str | None = None  # Prefect's id of the flow run
    written: list[dict[str, Any]] = field(default_factory=list)  # output files: see storage/outputs.py


@contextmanager
def recorded(  # noqa: PLR0913, PLR0917 - the fields of a record
    store: Store, clip: str, source: str, edit: str, request: dict[str, Any], flow_run: str | None = None
) -> Iterator["RunRecord"]:
    """Keep a record of the run during the block, and record how it ended."""
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
    """The record of a run in progress."""

    store: Store
    run: Run

    def reached(self, artifact: Artifact) -> None:
        """Record an artifact that the run found or computed."""
        name = artifact.stage, artifact.key
        if name not in self.run.artifacts:
            self.run.artifacts.append(name)
        self.write()

    def wrote(self, files: Iterable[OutputRecord]) -> None:
        """Record the files that the run wrote outside of the store."""
        self.run.written = [asdict(file) for file in files]
        self.write()

    def write(self) -> None:
        self.store.backend.objects.write(
            f"{FOLDER}/{self.run.name}.json", json.dumps(vars(self.run), indent=1, sort_keys=True).encode()
        )


def runs(store: Store) -> list[Run]:
    """Every recorded run, oldest first. Unreadable records are skipped."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [run for run in pool.map(lambda name: read_run(store, name), _names(store)) if run]


def run_of(store: Store, flow_run: str | None) -> Run | None:
    """Latest record of a Prefect flow run, or None. Reads from the newest record back, no more than needed."""
    records = (read_run(store, name) for name in reversed(_names(store)))
    return next((run for run in records if run and run.flow_run == flow_run), None)


def _names(store: Store) -> list[str]:
    """Names of all records, oldest first."""
    listed = store.backend.objects.names(f"{FOLDER}/")
    return sorted(entry.name.rpartition("/")[2].removesuffix(".json") for entry in listed)


def read_run(store: Store, name: str) -> Run | None:
    """The record of one run, or None if it is missing or unreadable. Fields of later versions are ignored."""
    stored = store.backend.objects.read(f"{FOLDER}/{name}.json")
    try:
        content = json.loads(stored.value) if stored else {}
        known = {field.name: content[field.name] for field in fields(Run) if field.name in content}
        reached = known.get("artifacts", [])  # an earlier version kept one per stage, by stage name
        known["artifacts"] = list(reached.items()) if isinstance(reached, dict) else [(s, k) for s, k in reached]
        return Run(**known)
    except (ValueError, TypeError, RecursionError):
        return None
