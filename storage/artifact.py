"""Recipes, and the artifacts that are stored under their keys.

A recipe holds everything that decides the bytes of a result; its hash is the key under which the result is stored. An
artifact is the ticket that tasks pass to each other; its digest is the hash of the content.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from storage.errors import SourceChangedError, UnreadableVideoError

RESERVED = frozenset(
    {"catalogs", "leases", "outputs", "runs", "staging"}
)  # folders of the store itself: not allowed as stage names


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bytes of one result.

    `inputs` are content digests, not keys: if a stage runs again and gives the same bytes, the stages after it stay
    cached.

    Raises:
        ValueError: a number is not finite, or the stage's name is not one word.
        TypeError: an option is not made of numbers, text, lists and mappings (or dataclasses of them).
    """

    stage: str
    revision: int
    options: Mapping[str, Any]
    networks: Mapping[str, str]  # name -> SHA-256 of the file
    inputs: Mapping[str, str]  # name -> content digest
    code: str = ""  # digest of the code that computes it

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.stage) or self.stage in RESERVED:
            taken = ", ".join(sorted(RESERVED))
            raise ValueError(f"A stage is one word of a-z, 0-9 and _ (not {taken}), got {self.stage!r}.")
        self.to_json()

    @property
    def key(self) -> str:
        """First 16 hex digits of the recipe's SHA-256: same recipe, same key, on any machine."""
        return sha256(canonical_json(self.to_json()).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return {
            "stage": self.stage,
            "revision": self.revision,
            "options": {name: _plain(value, f"{self.stage}.{name}") for name, value in self.options.items()},
            "networks": dict(self.networks),
            "inputs": dict(self.inputs),
            "code": self.code,
        }


@dataclass(frozen=True)
class Artifact:
    """A ticket for one finished result: small, picklable, safe to pass between tasks and processes."""

    store: Path
    stage: str
    key: str
    digest: str  # of the content: equal bytes, equal digest

    @property
    def path(self) -> Path:
        return self.store / self.stage / self.key


@dataclass(frozen=True)
class Source:
    """An input file, identified by its content: moving, renaming or touching it does not change it."""

    path: Path
    digest: str
    seen: tuple[int, int] = (0, 0)  # size in bytes and mtime in ns, when it was hashed

    @classmethod
    def of(cls, path: Path) -> "Source":
        """The source at `path`.

        Raises:
            UnreadableVideoError: there is no file, or it is empty.
        """
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except (OSError, UnicodeEncodeError) as error:  # the name is too long or invalid, or a folder is not readable
            reason = getattr(error, "strerror", None) or "not a valid file name"
            raise UnreadableVideoError(f"{path} cannot be opened ({reason}). Check its name.") from error
        if is_folder:
            raise UnreadableVideoError(f"{path} is a folder. Name one video file in it.")
        if not exists:
            raise UnreadableVideoError(f"There is no file {path.absolute()}. Check the name of the video.")
        if path.stat().st_size == 0:
            raise UnreadableVideoError(f"{path} is empty (0 bytes). Copy or download the video again.")
        return cls(path.absolute(), file_sha256(path), _looks(path))

    def check(self) -> None:
        """Check that the file is unchanged.

        Hash it again only if its size or mtime changed.

        Raises:
            SourceChangedError: its content changed, or it is gone.
        """
        try:
            same = _looks(self.path) == self.seen or file_sha256(self.path) == self.digest
        except FileNotFoundError as error:
            raise SourceChangedError(f"{self.path} was there when the run began and is gone. Bring it back.") from error
        if not same:
            raise SourceChangedError(
                f"{self.path} changed while it was worked on: its SHA-256 was {self.digest[:12]}… when the run began. "
                "No result of this stage is kept. Run again when the file is complete."
            )


def canonical_json(value: object) -> str:
    """Canonical JSON of `value`, for hashing: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _looks(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _plain(value: object, name: str) -> Any:
    """Convert `value` to plain JSON values; `name` is for error messages."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which no recipe can hold. Give a finite number, or None for 'off'.")
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), f"{name}.{field.name}") for field in fields(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{name}.{key}") for key, item in value.items()}
    raise TypeError(
        f"{name} is a {type(value).__name__} ({value!r}). A recipe holds numbers, text, lists and mappings by text; "
        "a file belongs in its inputs or networks, by digest."
    )
