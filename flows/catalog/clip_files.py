"""Find the files that a path, folder or pattern of a catalog names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any

from storage.video.suffixes import is_playlist, why_no_clip, why_no_suffix

HIDDEN = "hidden: the name begins with a dot"
CLOSED = "a folder without read permission"
FOLDER = "a folder inside a named one: use a pattern with ** to include it"


@dataclass(frozen=True)
class LeftOut:
    """A file beside the clips that is not taken as a clip."""

    path: Path
    reason: str


def clip_files(source: str, folder: Path) -> Iterator[Path | LeftOut]:
    """Files that `source` names, sorted, and those that are left out.

    An existing name is taken literally even if it contains `*`, `?` or `[`; otherwise these are wildcards.

    Args:
        folder: where relative paths start. Characters in it are never a pattern.
    """
    whole = folder / source
    if os.path.isdir(whole):  # noqa: PTH112 - False also for invalid names
        yield from _in_folder(whole)
    elif os.path.exists(whole) or not has_magic(source):  # noqa: PTH110
        yield LeftOut(whole, why_no_clip(whole) or "") if is_playlist(whole.suffix) else whole
    else:
        yield from _matching(whole, folder / Path(source).anchor if Path(source).anchor else folder)


def _in_folder(folder: Path) -> Iterator[Path | LeftOut]:
    try:
        paths = sorted(folder.iterdir())
    except PermissionError:
        yield LeftOut(folder, CLOSED)
        return
    for path in paths:
        if not path.name.startswith("."):
            reason = FOLDER if os.path.isdir(path) else why_no_clip(path)  # noqa: PTH112 - never raises
            yield LeftOut(path, reason) if reason else path
        elif os.path.isfile(path) and why_no_suffix(path.suffix) is None:  # noqa: PTH113
            yield LeftOut(path, HIDDEN)


def _matching(pattern: Path, start: Path) -> Iterator[Path | LeftOut]:
    parts = pattern.relative_to(start).parts
    suffix = pattern.suffix.lower()  # `*.xyz` takes every .xyz file; `*` takes video suffixes only
    is_explicit = bool(suffix) and not has_magic(suffix) and not is_playlist(suffix)
    walk = _Walk()
    found = dict.fromkeys(walk.matches(start, parts))
    for path in sorted(filter(os.path.isfile, found)):
        reason = None if is_explicit else why_no_clip(path)
        yield LeftOut(path, reason) if reason else path
    for path in dict.fromkeys(walk.closed):
        yield LeftOut(path, CLOSED)


class _Walk:
    """A search for the paths that match a pattern."""

    def __init__(self) -> None:
        self.closed: list[Path] = []  # folders without read permission
        self._entered: set[tuple[Any, ...]] = set()

    def matches(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        """Paths below `folder` that match `parts`.

        A part matches the name equal to it; if there is none, it is a pattern. `**` matches any folders and enters each
        of them once, so that a cycle of links ends.
        """
        if not parts:
            yield folder
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._below(folder, _without_repeats(rest) or ("*",))
        elif os.path.lexists(folder / part):
            yield from self.matches(folder / part, rest)
        elif has_magic(part):
            for name in self._names(folder):
                is_shown = part.startswith(".") or not name.startswith(".")
                if is_shown and fnmatchcase(name, part):
                    yield from self.matches(folder / name, rest)

    def _below(self, folder: Path, rest: tuple[str, ...]) -> Iterator[Path]:
        """Paths that match `rest` below `folder` and below every folder inside it."""
        try:
            status = folder.stat()
        except OSError:
            return
        place = status.st_dev, status.st_ino, rest
        if place in self._entered:
            return
        self._entered.add(place)
        yield from self.matches(folder, rest)
        inner = [folder / name for name in self._names(folder) if not name.startswith(".")]
        for path in sorted(filter(os.path.isdir, inner), key=os.path.islink):  # real folders before links to them
            yield from self._below(path, rest)

    def _names(self, folder: Path) -> list[str]:
        """Names in a folder; empty if it is not a folder or may not be read."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names to compare with a part, not paths
        except PermissionError:
            self.closed.append(folder)
        except OSError:
            pass
        return []


def _without_repeats(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Strip leading `**` from `parts` that follow a `**`: they match the same paths."""
    while parts[:1] == ("**",):
        parts = parts[1:]
    return parts
