"""Parse a catalog file (YAML, CSV or JSON Lines) with line numbers."""

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
MAX_SHOWN = 50  # problems listed in the message
CONSENT = "consent_"  # prefix of CSV columns: consent_by, consent_on, consent_reference

DocumentPath = tuple[str | int, ...]  # keys and indices from the root, as in a pydantic `loc`


class CatalogError(InputError):
    """A catalog with problems, each with its line number."""

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
    """The content of a catalog file, with a lookup of line numbers."""

    content: Any
    line: Callable[[DocumentPath], int]  # 1-based line of a path
    problems: list[tuple[int, str]]


def read_document(path: Path) -> Document:
    """Read and parse the catalog at `path`.

    Raises:
        InputError: the file cannot be read or parsed in the format of its suffix.
    """
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path.name} is not a catalog: its name must end in one of {', '.join(READERS)}.")
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise InputError(f"{path} is not a file. Give the path of a catalog: a text file in UTF-8.")
    try:
        text = _bounded(path).decode("utf-8-sig")  # Excel writes a byte order mark
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give the path of a text file in UTF-8.") from error
    if not text.strip():
        raise InputError(f"{path} is empty. Write the catalog's name in YAML, or a header line in CSV.")
    document = READERS[path.suffix.lower()](path, text)
    surrogates = [
        (
            document.line(place),
            f"{text}: contains a lone surrogate, such as \\ud800. Name such a file by a pattern with *.",
        )
        for place, text in _lone_surrogates(document.content)
    ]
    if surrogates:
        raise CatalogError(path, [*document.problems, *surrogates])
    return document


def _lone_surrogates(content: Any, place: DocumentPath = ()) -> Iterator[tuple[DocumentPath, str]]:
    """Strings with lone surrogates, which escapes can write and no file name can hold."""
    if isinstance(content, str) and encodable(content) != content:
        yield place, printable(content)
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        if isinstance(key, str):
            yield from _lone_surrogates(key, place)
        yield from _lone_surrogates(value, (*place, key))


def _bounded(path: Path) -> bytes:
    """Read a file of at most `MAX_BYTES`."""
    with path.open("rb") as file:
        found = file.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES >> 20} MiB. Split it into several catalogs.")
    return found


def _read_yaml(path: Path, text: str) -> Document:
    try:
        check_yaml(text)
        root = yaml.compose(text, PlainLoader)
        content = yaml.load(text, PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise CatalogError(path, [(mark.line + 1 if mark else 1, f"invalid YAML: {error.problem}")]) from error
    except yaml.reader.ReaderError as error:
        number = text.encode().count(b"\n", 0, error.position) + 1
        raise CatalogError(path, [(number, f"invalid YAML: character {error.character:#06x}")]) from error
    except NOT_CONSTRUCTED as error:
        raise CatalogError(path, [(1, f"invalid YAML: {NOT_OF_ITS_TYPE}")]) from error
    if not isinstance(content, dict):
        raise CatalogError(path, [(1, "A catalog is a mapping with `catalog: NAME` and `clips:` at its top.")])

    def line(place: DocumentPath) -> int:
        node = root
        for key in place:
            inner = _child(node, key)
            if inner is None:
                break
            node = inner
        assert node is not None
        return int(node.start_mark.line) + 1

    return Document(content, line, list(_repeated_keys(root)))


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == str(key)), None)
    return None


def _repeated_keys(node: Any) -> Iterator[tuple[int, str]]:
    """Repeated keys of mappings: YAML silently keeps the last one."""
    children = node.value if isinstance(node, yaml.MappingNode | yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        seen = Counter(name.value for name, _ in children)
        yield from (
            (name.start_mark.line + 1, f"{name.value!r} appears more than once")
            for name, _ in children
            if seen[name.value] > 1
        )
        children = [value for _, value in children]
    for child in children:
        yield from _repeated_keys(child)


def _read_lines(path: Path, text: str) -> Document:
    """Parse JSON Lines: one clip a line. A line with `catalog` has the other top-level fields of a YAML catalog."""
    head: dict[str, Any] = {"catalog": path.stem}
    clips, lines, heads = [], [], 0
    problems: list[tuple[int, str]] = []

    def note_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        problems.extend((number, f"{name!r} appears more than once") for name in _repeated(name for name, _ in pairs))
        return dict(pairs)

    for number, written in enumerate(text.split("\n"), 1):  # not splitlines: a name may contain U+2028
        if not written.strip():
            continue
        try:
            values = parse_json(written, note_repeated)
        except ValueError as error:
            problems.append((number, f"invalid JSON: {error}"))
            continue
        if isinstance(values, dict) and "catalog" in values and "source" not in values:
            heads += 1
            if heads > 1:
                problems.append((number, "an earlier line with `catalog` exists; a catalog has one such line"))
            if "clips" in values:
                problems.append((number, "`clips` is for YAML: in JSON Lines each clip has a line of its own"))
            head |= values
        else:
            clips.append(values)
            lines.append(number)
    return Document({**head, "clips": clips}, _line_of(lines), problems)


def _read_csv(path: Path, text: str) -> Document:
    """Parse CSV: one clip a row.

    Edits are written `smile=+2 age=-3`, ramps `smile=0:0,2:1`; spaces separate tags and options. The delimiter is the
    most frequent of comma, semicolon and tab in the first line.
    """
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    clips: list[Any] = []
    lines: list[int] = []
    problems: list[tuple[int, str]] = []
    try:
        for name in _repeated(reader.fieldnames or ()):
            problems.append((1, f"column {name!r} appears more than once"))
        for row in reader:
            _add_row(row, clips, problems, reader.line_num)
            lines += [reader.line_num] * (len(clips) - len(lines))
    except csv.Error as error:  # a field of 128 KiB, usually from an unclosed quote
        problems.append((reader.line_num, f"invalid CSV: {error}"))
    return Document({"catalog": path.stem, "clips": clips}, _line_of(lines), problems)


def _add_row(row: dict[str, str], clips: list[Any], problems: list[tuple[int, str]], line: int) -> None:
    try:
        clips.append(_from_row(row))
    except (InputError, AttributeError) as error:
        message = str(error) if isinstance(error, InputError) else "the row has more fields than the header has columns"
        problems.append((line, message))


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
        raise InputError(f"{column}: {name!r} appears more than once. Give each direction once.")
    return dict(pairs)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _line_of(lines: list[int]) -> Callable[[DocumentPath], int]:
    def line(place: DocumentPath) -> int:
        is_clip = len(place) > 1 and place[0] == "clips" and isinstance(place[1], int)
        return lines[place[1]] if is_clip else 1  # type: ignore[index]

    return line


READERS = {".yaml": _read_yaml, ".yml": _read_yaml, ".jsonl": _read_lines, ".csv": _read_csv}
