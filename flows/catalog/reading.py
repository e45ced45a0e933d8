"""A catalog checked as a whole: every problem is named with its line.

A clip that cannot be read is no problem of the catalog: it is reported when it is its turn, and the others go on.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.catalog.clip_files import LeftOut
from flows.catalog.clips import NO_OUTPUT, CatalogClip, clips_of, notes_of, without_results
from flows.catalog.documents import CatalogError, DocumentPath, read_document
from flows.catalog.entries import Catalog, CatalogEntry, EntryDefaults, request_of
from flows.catalog.outcomes import hold_folder, recorded_files
from flows.catalog.output_names import allowed_folders, check_place
from flows.edit_job import read_config
from flows.edit_request import EditRequest
from flows.requests.checks import format_problem
from flows.requests.output_files import exported_files
from stitchedit.errors import InputError, StitchEditError
from storage.errors import StorageError
from storage.store import Store
from storage.video.info import probe
from storage.video.length import check_reaches
from storage.video.output import FORMATS
from storage.video.remote_clips import SCHEME
from storage.video.suffixes import PLAYLIST, is_playlist

BRACKETS = "; where no such name is there, [ ] stand for one of the characters between them"


@dataclass(frozen=True)
class OpenCatalog:
    """A catalog that was checked, and the clips that it names now."""

    path: Path
    catalog: Catalog
    clips: list[CatalogClip]
    notes: Sequence[str] = ()  # what is no mistake, and may be none that was meant
    left_out: Sequence[LeftOut] = ()  # what lies beside the clips; `notes` sums it up

    @property
    def name(self) -> str:
        return self.catalog.catalog

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.parent

    @property
    def allowed(self) -> list[Path]:
        """Folders that results may go to."""
        return allowed_folders(self.folder, self.catalog.allow_outputs)


def open_catalog(path: Path, scratch: Path | None = None, store: Store | None = None) -> OpenCatalog:
    """Read and check the catalog at `path`.

    Args:
        scratch: where clips of a bucket have, or will have, copies.
        store: of the catalog's runs; with it, what they wrote into a watched folder is known to be no clip.

    Raises:
        CatalogError: it is wrong somewhere; all problems are named with their lines.
        InputError: it cannot be read as what its name says.
        StorageError: a bucket that it names refuses, or cannot be reached.
    """
    path = Path(os.path.normpath(path.absolute()))  # what is known of a clip goes by its result's path
    document = read_document(path)
    try:
        catalog = Catalog.model_validate(_with_defaults(document.words))
    except ValidationError as error:
        told = [
            (document.line(problem["loc"]), f"{_name(problem['loc'])}: {format_problem(problem)}")
            for problem in error.errors()
        ]
        raise CatalogError(path, [*document.problems, *told]) from error
    problems = [*document.problems]
    every: list[CatalogClip | LeftOut] = []
    for index, entry in enumerate(catalog.clips):
        line = document.line(("clips", index))
        found = list(clips_of(entry, line, path.parent, scratch))
        problems += [(line, text) for text in _problems(entry, catalog, path.parent, found)]
        every += found
    if store and any(isinstance(one, LeftOut) or one.found for one in every):
        every = without_results(every, path.parent, store.folder, recorded_files(store, catalog.catalog))
    opened = _opened(path, catalog, every)
    problems += _clashes(opened)
    if problems:
        raise CatalogError(path, problems)
    return opened


def _opened(path: Path, catalog: Catalog, every: Sequence[CatalogClip | LeftOut]) -> OpenCatalog:
    clips = [one for one in every if isinstance(one, CatalogClip)]
    page = re.compile(rf"{re.escape(catalog.catalog)}_summary(-\d+)?\.html")
    ours = {one.path for one in every if isinstance(one, LeftOut) and page.fullmatch(one.path.name)} | {path}
    left_out = [one for one in every if isinstance(one, LeftOut) and one.path not in ours]
    with_clips = {id(clip.entry) for clip in clips}
    empty = [
        f"{entry.source} names no clip now{BRACKETS if '[' in entry.source else ''}"
        for entry in catalog.clips
        if id(entry) not in with_clips
    ]
    if not catalog.clips:
        empty = [f"{path.name} lists no clip: there is nothing to do"]
    return OpenCatalog(path, catalog, clips, [*empty, *notes_of(left_out, path.parent)], left_out)


def _with_defaults(words: Any) -> Any:
    """Every clip with what it does not say itself from `defaults`. Lists and mappings are taken as a whole."""
    defaults, clips = words.get("defaults") or {}, words.get("clips")
    if not isinstance(defaults, dict) or not isinstance(clips, list):
        return words  # the schema will say what is wrong
    shared = {name: value for name, value in defaults.items() if name in EntryDefaults.model_fields}
    return {**words, "clips": [{**shared, **clip} if isinstance(clip, dict) else clip for clip in clips]}


def _problems(
    entry: CatalogEntry, catalog: Catalog, folder: Path, found: Sequence[CatalogClip | LeftOut]
) -> Iterator[str]:
    """What is wrong with an entry that pydantic cannot see."""
    if catalog.consent_required and entry.consent is None:
        yield (
            f"{entry.source}: nobody's consent is recorded. Add `consent: {{by: …, on: …, reference: …}}`, or say "
            "`consent_required: false` for the whole catalog."
        )
    if entry.source.startswith(SCHEME):
        if not found and not has_magic(entry.source) and not entry.source.endswith("/"):
            yield f"{entry.source}: there is no such object. Check the address, and that the upload is complete."
    elif not has_magic(entry.source) and not os.path.exists(folder / entry.source):  # noqa: PTH110 - see clip_files
        yield f"{entry.source}: there is no such file. Paths start at {folder}."
    elif not has_magic(entry.source) and is_playlist(Path(entry.source).suffix):
        yield f"{entry.source} is {PLAYLIST}. Name these, or join them to one video first."
    try:
        request = request_of(entry, folder / entry.source, folder, ".mp4")
    except NO_OUTPUT as error:
        yield f"{entry.source}: {_first(error)}"
    else:
        yield from _wrong_words(entry, request)


def _wrong_words(entry: CatalogEntry, request: EditRequest) -> Iterator[str]:
    try:
        read_config(request)
    except (StitchEditError, ValueError) as error:
        yield f"{entry.source}: {_first(error)}"
    yield from _too_short(entry, request)
    assert request.output is not None
    if entry.output.startswith(SCHEME):
        yield f"{entry.source}: output {entry.output!r} is no file. Give a folder, and copy results from there."
    elif request.output.suffix.lower() not in FORMATS:
        yield f"{entry.source}: output {entry.output!r} has to end in {{suffix}} or one of {', '.join(FORMATS)}."


def _too_short(entry: CatalogEntry, request: EditRequest) -> Iterator[str]:
    """A named file that ends before the range begins. One that cannot be read is reported when it is its turn."""
    if not entry.start or not request.video.is_file():
        return
    try:
        info = probe(request.video)
    except (StorageError, OSError):
        return
    try:
        check_reaches(request.video, info, entry.start)
    except StorageError as error:
        yield f"{entry.source}: {error}"


def _clashes(opened: OpenCatalog) -> Iterator[tuple[int, str]]:
    """Results that would be written over each other."""
    first: dict[Path, CatalogClip] = {}
    allowed = opened.allowed
    for clip in opened.clips:
        try:
            output = clip.request(opened.folder, ".mp4").output
        except NO_OUTPUT:
            continue  # told already
        assert output is not None
        try:
            check_place(output, allowed)
            check_place(hold_folder(opened.folder, output) / output.name, allowed)
        except InputError as error:
            yield clip.line, f"{clip.source.name}: {error}"
        if _is_own(clip, opened.folder):
            yield clip.line, f"{clip.source.name}: the result would be written over it. Give `output`, with {{edit}}."
        others = [first.setdefault(path, clip) for path in map(_plain, exported_files(output).values())]
        other = next((one for one in others if one is not clip), clip)
        if other is not clip:
            yield (
                clip.line,
                f"{clip.source.name}: line {other.line} writes {output.stem} too. Give `output`, with {{stem}}.",
            )


def _plain(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _is_own(clip: CatalogClip, folder: Path) -> bool:
    """Whether the clip's result would have the clip's name."""
    suffix = clip.source.suffix
    output = clip.request(folder, suffix).output if suffix.lower() in FORMATS else None
    return output is not None and os.path.normpath(output) == os.path.normpath(clip.source)


def _name(place: DocumentPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".") or "catalog"


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(format_problem(problem) for problem in error.errors())
    return str(error)
