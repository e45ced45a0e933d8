"""What became of a clip of a catalog: kept in the store, so that the next run knows, wherever it is."""

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
PATHS = ("source", "output", "edit")  # fields that may hold parts of file names
PLACES = frozenset({"store", "scratch", "device", "hold"})  # of a request: they decide nothing of its result

PUBLISHED, REVIEW, HELD, REJECTED = "published", "review", "held", "rejected"
FAILED, TIMED_OUT, CRASHED, CANCELLED = "failed", "timed out", "crashed", "cancelled"
MADE = (PUBLISHED, REVIEW, HELD, REJECTED)  # there is a result
LOST = (FAILED, TIMED_OUT, CRASHED, CANCELLED)  # there is none


@dataclass(frozen=True)
class StageTime:
    """When a stage of a clip ran, or what it saved because it did not have to."""

    stage: str
    cached: bool
    started: str | None  # UTC, ISO
    seconds: float | None  # it took, now or when it was made


@dataclass
class Outcome:
    """One clip's result, or why there is none."""

    id: str
    source: str
    output: str
    edit: str
    state: str
    request: dict[str, Any]
    file: tuple[int, int]  # size and time of change of the clip, ns
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
    video: str | None = None  # digest of the result, wherever it lies
    decision: dict[str, str] | None = None  # who approved or rejected what, when; see decisions.py

    @property
    def place(self) -> Path:
        """Where the result lies now."""
        hold = self.request.get("hold")
        return (
            Path(str(from_json(hold))) / Path(self.output).name
            if self.state in {HELD, REJECTED} and hold
            else Path(self.output)
        )

    @property
    def why(self) -> list[str]:
        """For people: what went wrong, or what is to be looked at."""
        told = [self.error] if self.error else list(self.reasons)
        if self.state in {HELD, REJECTED, *LOST} and Path(self.output).exists():
            told.append(f"what was published before is still at {self.output}")
        return told


def recipe_of(request: dict[str, Any]) -> dict[str, Any]:
    """What of a request decides the result: neither where it is computed and kept, nor where a bucket's copy lies."""
    places = PLACES | ({"video"} if request.get("origin") else set())
    return {name: value for name, value in request.items() if name not in places}


def recipe_digest(request: dict[str, Any]) -> str:
    """Digest of `recipe_of(request)`."""
    return sha256(json.dumps(recipe_of(request), sort_keys=True).encode()).hexdigest()[:16]


def hold_folder(folder: Path, output: Path) -> Path:
    """Where a held result goes: a folder for each that results go to, as two of one name may be in two.

    Args:
        folder: the catalog's.
    """
    place = Path(os.path.normpath(output.parent))
    if place.is_relative_to(folder):
        return folder / HOLD / place.relative_to(folder)
    return folder / HOLD / sha256(os.fsencode(place)).hexdigest()[:6]


def outcome_id(request: EditRequest) -> str:
    """A clip of a catalog is known by where its result goes."""
    return sha256(os.fsencode(str(request.output))).hexdigest()[:16]


def write_outcome(store: Store, catalog: str, outcome: Outcome) -> None:
    """Keep it, in place of what was kept before."""
    words = json.dumps(to_words(outcome), indent=1, sort_keys=True, default=str)
    store.backend.objects.write(_name(catalog, outcome.id), words.encode())


def to_words(outcome: Outcome) -> dict[str, Any]:
    """`outcome` as JSON values; what of its paths is not UTF-8 is encoded."""
    return asdict(outcome) | {name: to_json(getattr(outcome, name)) for name in PATHS}


def read_outcome(store: Store, catalog: str, identity: str) -> Outcome | None:
    """The last outcome of a clip, or None when there is none that can be read."""
    stored = store.backend.objects.read(_name(catalog, identity))
    try:
        words = parse_json(stored.value) if stored else None
        if not isinstance(words, dict):
            return None
        known = {one.name: words[one.name] for one in fields(Outcome) if one.name in words}
        stages = [StageTime(**stage) for stage in known.pop("stages", [])]
        paths = {name: str(from_json(known[name])) for name in PATHS}
        return Outcome(**{**known, **paths, "file": tuple(known["file"])}, stages=stages)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def recorded_files(store: Store, catalog: str) -> set[Path]:
    """Every file that runs of a catalog left outside of the store, of clips and recipes that are gone, too."""
    listed = store.backend.objects.names(f"{FOLDER}/{catalog}/")
    identities = [one.name.rpartition("/")[2].removesuffix(".json") for one in listed]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        known = [one for one in pool.map(lambda identity: read_outcome(store, catalog, identity), identities) if one]
    return {file for one in known for place in (one.place, Path(one.output)) for file in exported_files(place).values()}


def _name(catalog: str, identity: str) -> str:
    return f"{FOLDER}/{catalog}/{identity}.json"
