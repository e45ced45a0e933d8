"""Files that a path, a folder or a pattern of a catalog names, and what of it is left out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path
from typing import Any

from storage.video.suffixes import is_playlist, why_no_clip, why_no_suffix

HIDDEN = "hidden: the name begins with a dot"
CLOSED = "a folder without the permission to read it"
FOLDER = "a folder inside of one that is named: a pattern with ** enters it"


@dataclass(frozen=True)
class LeftOut:
    """A file that lies where clips are looked for, and is none."""

    path: Path
    reason: str


def clip_files(source: str, folder: Path) -> Iterator[Path | LeftOut]:
    """What `source` names now, in the order of the names.

    A name that is there is that name, with `*`, `?` and `[` in it, too; else these stand for other characters.

    Args:
        folder: where relative paths start. Characters in it are never a pattern.
    """
    whole = folder / source
    if os.path.isdir(whole):  # noqa: PTH112 - False for what cannot be a name, too
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
    own = pattern.suffix.lower()  # `*.vob` means it, `*` does not mean the catalog itself
    is_meant = bool(own) and not has_magic(own) and not is_playlist(own)
    walk = _Walk()
    found = dict.fromkeys(walk.matches(start, parts))
    for path in sorted(filter(os.path.isfile, found)):
        reason = None if is_meant else why_no_clip(path)
        yield LeftOut(path, reason) if reason else path
    for path in dict.fromkeys(walk.closed):
        yield LeftOut(path, CLOSED)


class _Walk:
    """A search for the names that a pattern stands for."""

    def __init__(self) -> None:
        self.closed: list[Path] = []  # folders that may not be read
        self._entered: set[tuple[Any, ...]] = set()

    def matches(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        """Paths that `parts` match below `folder`.

        A part matches the name that is equal to it; where there is none, those it is a pattern for. `**` stands for
        any folders, each of which it enters once: links that lead around have no end.
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
        """Paths that `rest` matches below `folder` and below every folder inside of it."""
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
        for path in sorted(filter(os.path.isdir, inner), key=os.path.islink):  # a folder by its own name first
            yield from self._below(path, rest)

    def _names(self, folder: Path) -> list[str]:
        """Names in a folder; none where it is no folder, or may not be read."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names that are equal to a part, not paths
        except PermissionError:
            self.closed.append(folder)
        except OSError:
            pass
        return []


def _without_repeats(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`parts` of a pattern behind a `**`, without more of these: they would find the same."""
    while parts[:1] == ("**",):
        parts = parts[1:]
    return parts
