"""The outcome of each clip of a catalog, recorded in the store for later runs."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from configs.user_text import parse_json
from flows.edit_request import EditRequest
from flows.requests.any_text import from_json, to_json
from flows.requests.output_files import exported_files
from storage.store import Store

FOLDER = "catalogs"
HOLD = "held"  # folder beside the catalog for results judged `fail`
CONNECTIONS = 8
PATHS = ("source", "output", "edit")  # fields that may contain file names
PLACES = frozenset({"store", "scratch", "device", "hold"})  # fields of a request that do not affect its result

PUBLISHED, REVIEW, HELD, REJECTED = "published", "review", "held", "rejected"
FAILED, TIMED_OUT, CRASHED, CANCELLED = "failed", "timed out", "crashed", "cancelled"
WITH_RESULT = (PUBLISHED, REVIEW, HELD, REJECTED)
WITHOUT_RESULT = (FAILED, TIMED_OUT, CRASHED, CANCELLED)


@dataclass(frozen=True)
class StageTime:
    """Start and duration of a stage of a clip, or the seconds that its cached artifact saved."""

    stage: str
    cached: bool
    started: str | None  # UTC, ISO
    seconds: float | None  # duration of the run that computed it


@dataclass
class Outcome:
    """The result of one clip, or the reason why there is none."""

    id: str
    source: str
    output: str
    edit: str
    state: str
    request: dict[str, Any]
    file: tuple[int, int]  # size in bytes and modification time in ns of the clip
    code: str  # digest of all stages
    verdict: str | None = None
    reasons: list[str] = field(default_factory=list)
    error: str | None = None
    flow_run: str | None = None
    started: str | None = None  # UTC, ISO
    seconds: float | None = None
    attempts: int = 0
    stages: list[StageTime] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    consent: dict[str, Any] | None = None
    clip: str | None = None  # SHA-256 of the file
    video: str | None = None  # digest of the result
    decision: dict[str, str] | None = None  # approval or rejection; see decisions.py

    @property
    def place(self) -> Path:
        """Current path of the result."""
        hold = self.request.get("hold")
        return (
            Path(str(from_json(hold))) / Path(self.output).name
            if self.state in {HELD, REJECTED} and hold
            else Path(self.output)
        )

    @property
    def why(self) -> list[str]:
        """The error, or the reasons of the verdict, for display."""
        lines = [self.error] if self.error else list(self.reasons)
        if self.state in {HELD, REJECTED, *WITHOUT_RESULT} and Path(self.output).exists():
            lines.append(f"an earlier published result is still at {self.output}")
        return lines


def recipe_of(request: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that affect its result: all but places and the path of a downloaded copy."""
    places = PLACES | ({"video"} if request.get("origin") else set())
    return {name: value for name, value in request.items() if name not in places}


def recipe_digest(request: dict[str, Any]) -> str:
    """Digest of `recipe_of(request)`."""
    return sha256(json.dumps(recipe_of(request), sort_keys=True).encode()).hexdigest()[:16]


def hold_folder(folder: Path, output: Path) -> Path:
    """Folder for held results of one output folder, so that equal names in two folders do not collide.

    Args:
        folder: the catalog's folder.
    """
    place = Path(os.path.normpath(output.parent))
    if place.is_relative_to(folder):
        return folder / HOLD / place.relative_to(folder)
    return folder / HOLD / sha256(os.fsencode(place)).hexdigest()[:6]


def outcome_id(request: EditRequest) -> str:
    """Identity of a clip in its catalog: a digest of its output path."""
    return sha256(os.fsencode(str(request.output))).hexdigest()[:16]


def write_outcome(store: Store, catalog: str, outcome: Outcome) -> None:
    """Record an outcome, replacing the previous one of the clip."""
    text = json.dumps(outcome_to_json(outcome), indent=1, sort_keys=True, default=str)
    store.backend.objects.write(_name(catalog, outcome.id), text.encode())


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """`outcome` as JSON values, with paths that are not UTF-8 encoded by `any_text`."""
    return asdict(outcome) | {name: to_json(getattr(outcome, name)) for name in PATHS}


def read_outcome(store: Store, catalog: str, identity: str) -> Outcome | None:
    """The last outcome of a clip, or None if there is none or it cannot be read."""
    stored = store.backend.objects.read(_name(catalog, identity))
    try:
        values = parse_json(stored.value) if stored else None
        if not isinstance(values, dict):
            return None
        known = {one.name: values[one.name] for one in fields(Outcome) if one.name in values}
        stages = [StageTime(**stage) for stage in known.pop("stages", [])]
        paths = {name: str(from_json(known[name])) for name in PATHS}
        return Outcome(**{**known, **paths, "file": tuple(known["file"])}, stages=stages)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def recorded_files(store: Store, catalog: str) -> set[Path]:
    """All files that runs of a catalog wrote outside the store, including those of removed clips and recipes."""
    listed = store.backend.objects.names(f"{FOLDER}/{catalog}/")
    identities = [one.name.rpartition("/")[2].removesuffix(".json") for one in listed]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        known = [one for one in pool.map(lambda identity: read_outcome(store, catalog, identity), identities) if one]
    return {file for one in known for place in (one.place, Path(one.output)) for file in exported_files(place).values()}


def _name(catalog: str, identity: str) -> str:
    return f"{FOLDER}/{catalog}/{identity}.json"
