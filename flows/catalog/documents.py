"""A catalog's file, YAML, CSV or JSON Lines: what it says, and on which line."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.plain_yaml import NOT_CONSTRUCTED, NOT_OF_ITS_TYPE, PlainLoader
from configs.user_text import check_yaml, parse_json
from stitchedit.errors import InputError
from stitchedit.options.edit import parse_edit
from storage.files import encodable
from storage.safe_text import printable

MAX_BYTES = 16 * 2**20  # of a catalog's file: some 100,000 clips
MAX_SHOWN = 50  # problems
CONSENT = "consent_"  # columns of a CSV: consent_by, consent_on, consent_reference

DocumentPath = tuple[str | int, ...]  # keys and indices from the top, as pydantic gives them


class CatalogError(InputError):
    """A catalog that cannot be run, with everything that is wrong in it."""

    def __init__(self, path: Path, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = sorted(set(problems))
        count = len(self.problems)
        lines = [f"{path}:{line}: {printable(text)}" for line, text in self.problems[:MAX_SHOWN]]
        if count > MAX_SHOWN:
            lines.append(f"… and {count - MAX_SHOWN} more")
        lines.append(f"{path.name} has {count} problem{'s' if count > 1 else ''}; nothing was run.")
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Document:
    """What a file says, and where it says so."""

    words: Any
    line: Callable[[DocumentPath], int]
    problems: list[tuple[int, str]]


def read_document(path: Path) -> Document:
    """What the catalog at `path` says.

    Raises:
        InputError: it cannot be read as what its name says.
    """
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path.name} is not a catalog: its name ends in none of {', '.join(READERS)}.")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is not a file. Give the path of a catalog: a text file in UTF-8.")
    try:
        text = _bounded(path).decode("utf-8-sig")  # Excel begins a file with a mark
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give the path of a text file in UTF-8.") from error
    if not text.strip():
        raise InputError(f"{path} is empty. A catalog has at least its name, or the first line of a table.")
    document = READERS[path.suffix.lower()](path, text)
    broken = [
        (
            document.line(place),
            f"{text}: has half a character in it, as \\ud800 is. Name such a file by a pattern, with *.",
        )
        for place, text in _broken(document.words)
    ]
    if broken:
        raise CatalogError(path, [*document.problems, *broken])
    return document


def _broken(words: Any, place: DocumentPath = ()) -> Iterator[tuple[DocumentPath, str]]:
    """Where text is no Unicode: escapes can write halves of characters, which nothing can be called."""
    if isinstance(words, str) and encodable(words) != words:
        yield place, printable(words)
    pairs = words.items() if isinstance(words, dict) else enumerate(words) if isinstance(words, list) else ()
    for key, value in pairs:
        if isinstance(key, str):
            yield from _broken(key, place)
        yield from _broken(value, (*place, key))


def _bounded(path: Path) -> bytes:
    """The bytes of a file that is not too large."""
    with path.open("rb") as file:
        found = file.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES >> 20} MiB. Divide it into several catalogs.")
    return found


def _read_yaml(path: Path, text: str) -> Document:
    try:
        check_yaml(text)
        root = yaml.compose(text, PlainLoader)
        words = yaml.load(text, PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise CatalogError(path, [(mark.line + 1 if mark else 1, f"no YAML: {error.problem}")]) from error
    except yaml.reader.ReaderError as error:
        line_of_it = text.encode().count(b"\n", 0, error.position) + 1
        raise CatalogError(path, [(line_of_it, f"no YAML: a character {error.character:#06x} in it")]) from error
    except NOT_CONSTRUCTED as error:
        raise CatalogError(path, [(1, f"no YAML: {NOT_OF_ITS_TYPE}")]) from error
    if not isinstance(words, dict):
        raise CatalogError(path, [(1, "A catalog has `catalog: NAME` and `clips:` at its top.")])

    def line(place: DocumentPath) -> int:
        node = root
        for key in place:
            inner = _child(node, key)
            if inner is None:
                break
            node = inner
        assert node is not None
        return int(node.start_mark.line) + 1

    return Document(words, line, list(_twice(root)))


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    return None


def _twice(node: Any) -> Iterator[tuple[int, str]]:
    """Keys that a mapping has more than once: YAML takes the last one and says nothing."""
    children = node.value if isinstance(node, yaml.MappingNode | yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        seen = Counter(name.value for name, _ in children)
        yield from (
            (name.start_mark.line + 1, f"{name.value!r} is there more than once")
            for name, _ in children
            if seen[name.value] > 1
        )
        children = [value for _, value in children]
    for child in children:
        yield from _twice(child)


def _read_lines(path: Path, text: str) -> Document:
    """JSON Lines: a clip a line. A line with `catalog` says what holds for all, as in YAML."""
    head: dict[str, Any] = {"catalog": path.stem}
    clips, lines, heads = [], [], 0
    problems: list[tuple[int, str]] = []

    def note_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        problems.extend((number, f"{name!r} is there more than once") for name in _repeated(name for name, _ in pairs))
        return dict(pairs)

    for number, written in enumerate(text.split("\n"), 1):  # not at U+2028, which a name may hold
        if not written.strip():
            continue
        try:
            words = parse_json(written, note_twice)
        except ValueError as error:
            problems.append((number, f"no JSON: {error}"))
            continue
        if isinstance(words, dict) and "catalog" in words and "source" not in words:
            heads += 1
            if heads > 1:
                problems.append((number, "a line before says what holds for all; a catalog has one such line"))
            if "clips" in words:
                problems.append((number, "`clips` is of YAML: here each clip has a line of its own"))
            head |= words
        else:
            clips.append(words)
            lines.append(number)
    return Document({**head, "clips": clips}, _line_of(lines), problems)


def _read_csv(path: Path, text: str) -> Document:
    """A clip a row. Edits are written `smile=+2 age=-3`, ramps `smile=0:0,2:1`; tags and options are parted by spaces.

    Columns are parted by commas; by semicolons or tabs, if the first line has more of these.
    """
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    clips: list[Any] = []
    lines: list[int] = []
    problems: list[tuple[int, str]] = []
    try:
        for name in _repeated(reader.fieldnames or ()):
            problems.append((1, f"column {name!r} is there more than once"))
        for row in reader:
            _add_row(row, clips, problems, reader.line_num)
            lines += [reader.line_num] * (len(clips) - len(lines))
    except csv.Error as error:  # a field of 128 KiB, most often by a quote that is not closed
        problems.append((reader.line_num, f"no table: {error}"))
    return Document({"catalog": path.stem, "clips": clips}, _line_of(lines), problems)


def _add_row(row: dict[str, str], clips: list[Any], problems: list[tuple[int, str]], line: int) -> None:
    try:
        clips.append(_from_row(row))
    except (InputError, AttributeError) as error:
        told = error if isinstance(error, InputError) else "it has more fields than the first line has names"
        problems.append((line, str(told)))


def _from_row(row: dict[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name: text.strip() for name, text in row.items() if text and text.strip()}
    for name in ("tags", "options"):
        if name in given:
            given[name] = given[name].split()
    if "edits" in given:
        given["edits"] = _once("edits", map(parse_edit, given["edits"].split()))
    if "ramps" in given:
        given["ramps"] = _once("ramps", (word.partition("=")[::2] for word in given["ramps"].split()))
    if "face" in given:
        given["faces"] = {given.pop("face"): {}}
    consent = {name.removeprefix(CONSENT): given.pop(name) for name in list(given) if name.startswith(CONSENT)}
    return given | ({"consent": consent} if consent else {})


def _once(column: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    for name in _repeated(name for name, _ in pairs):
        raise InputError(f"{column}: {name!r} is there more than once. Give each direction once.")
    return dict(pairs)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _line_of(lines: list[int]) -> Callable[[DocumentPath], int]:
    def line(place: DocumentPath) -> int:
        is_clip = len(place) > 1 and place[0] == "clips" and isinstance(place[1], int)
        return lines[place[1]] if is_clip else 1  # type: ignore[index]

    return line


READERS = {".yaml": _read_yaml, ".yml": _read_yaml, ".jsonl": _read_lines, ".csv": _read_csv}
