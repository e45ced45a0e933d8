"""Read a catalog and check it as a whole; every problem is reported with its line.

An unreadable clip is not a problem of the catalog: it is reported when the clip is prepared, and the others are edited.
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

BRACKETS = "; without a file of that very name, [ ] match one of the characters between them"


@dataclass(frozen=True)
class OpenCatalog:
    """A checked catalog with the clips that it names at this time."""

    path: Path
    catalog: Catalog
    clips: list[CatalogClip]
    notes: Sequence[str] = ()  # warnings
    left_out: Sequence[LeftOut] = ()  # files that are not clips; summarized in `notes`

    @property
    def name(self) -> str:
        return self.catalog.catalog

    @property
    def folder(self) -> Path:
        """Folder of the catalog; relative paths start there."""
        return self.path.parent

    @property
    def allowed(self) -> list[Path]:
        """Folders that results may be written to."""
        return allowed_folders(self.folder, self.catalog.allow_outputs)


def open_catalog(path: Path, scratch: Path | None = None, store: Store | None = None) -> OpenCatalog:
    """Read and check the catalog at `path`.

    Args:
        scratch: folder for copies of clips in a bucket.
        store: store of the catalog's runs; if given, files that they wrote into a watched folder are not taken as
            clips.

    Raises:
        CatalogError: the catalog has problems; all are listed with their lines.
        InputError: the file cannot be read or parsed in the format of its suffix.
        StorageError: a bucket refuses access or cannot be reached.
    """
    path = Path(os.path.normpath(path.absolute()))  # outcomes are recorded by the path of the result
    document = read_document(path)
    try:
        catalog = Catalog.model_validate(_with_defaults(document.content))
    except ValidationError as error:
        invalid = [
            (document.line(problem["loc"]), f"{_name(problem['loc'])}: {format_problem(problem)}")
            for problem in error.errors()
        ]
        raise CatalogError(path, [*document.problems, *invalid]) from error
    problems = [*document.problems]
    found: list[CatalogClip | LeftOut] = []
    for index, entry in enumerate(catalog.clips):
        line = document.line(("clips", index))
        found_here = list(clips_of(entry, line, path.parent, scratch))
        problems += [(line, text) for text in _problems(entry, catalog, path.parent, found_here)]
        found += found_here
    if store and any(isinstance(one, LeftOut) or one.found for one in found):
        found = without_results(found, path.parent, store.folder, recorded_files(store, catalog.catalog))
    opened = _opened(path, catalog, found)
    problems += _output_conflicts(opened)
    if problems:
        raise CatalogError(path, problems)
    return opened


def _opened(path: Path, catalog: Catalog, found: Sequence[CatalogClip | LeftOut]) -> OpenCatalog:
    clips = [one for one in found if isinstance(one, CatalogClip)]
    page = re.compile(rf"{re.escape(catalog.catalog)}_summary(-\d+)?\.html")
    own_files = {one.path for one in found if isinstance(one, LeftOut) and page.fullmatch(one.path.name)} | {path}
    left_out = [one for one in found if isinstance(one, LeftOut) and one.path not in own_files]
    with_clips = {id(clip.entry) for clip in clips}
    empty = [
        f"{entry.source} matches no clip now{BRACKETS if '[' in entry.source else ''}"
        for entry in catalog.clips
        if id(entry) not in with_clips
    ]
    if not catalog.clips:
        empty = [f"{path.name} lists no clip: there is nothing to do"]
    return OpenCatalog(path, catalog, clips, [*empty, *notes_of(left_out, path.parent)], left_out)


def _with_defaults(content: Any) -> Any:
    """Fill fields that a clip does not set from `defaults`. Lists and mappings are not merged."""
    defaults, clips = content.get("defaults") or {}, content.get("clips")
    if not isinstance(defaults, dict) or not isinstance(clips, list):
        return content  # the schema reports the error
    shared = {name: value for name, value in defaults.items() if name in EntryDefaults.model_fields}
    return {**content, "clips": [{**shared, **clip} if isinstance(clip, dict) else clip for clip in clips]}


def _problems(
    entry: CatalogEntry, catalog: Catalog, folder: Path, found: Sequence[CatalogClip | LeftOut]
) -> Iterator[str]:
    """Problems of an entry that the schema cannot express."""
    if catalog.consent_required and entry.consent is None:
        yield (
            f"{entry.source}: no consent is recorded. Add `consent: {{by: …, on: …, reference: …}}`, or set "
            "`consent_required: false` for the whole catalog."
        )
    if entry.source.startswith(SCHEME):
        if not found and not has_magic(entry.source) and not entry.source.endswith("/"):
            yield f"{entry.source}: there is no such object. Check the address, and that the upload is complete."
    elif not has_magic(entry.source) and not os.path.exists(folder / entry.source):  # noqa: PTH110 - see clip_files
        yield f"{entry.source}: there is no such file. Paths start at {folder}."
    elif not has_magic(entry.source) and is_playlist(Path(entry.source).suffix):
        yield f"{entry.source} is {PLAYLIST}. Name these, or join them into one video first."
    try:
        request = request_of(entry, folder / entry.source, folder, ".mp4")
    except NO_OUTPUT as error:
        yield f"{entry.source}: {_message(error)}"
    else:
        yield from _invalid_fields(entry, request)


def _invalid_fields(entry: CatalogEntry, request: EditRequest) -> Iterator[str]:
    try:
        read_config(request)
    except (StitchEditError, ValueError) as error:
        yield f"{entry.source}: {_message(error)}"
    yield from _start_after_end(entry, request)
    assert request.output is not None
    if entry.output.startswith(SCHEME):
        yield f"{entry.source}: output {entry.output!r} is not a local path. Give a folder, and copy from there."
    elif request.output.suffix.lower() not in FORMATS:
        yield f"{entry.source}: output {entry.output!r} has to end in {{suffix}} or one of {', '.join(FORMATS)}."


def _start_after_end(entry: CatalogEntry, request: EditRequest) -> Iterator[str]:
    """Report a named file that ends before the range begins. Unreadable files are reported when prepared."""
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


def _output_conflicts(opened: OpenCatalog) -> Iterator[tuple[int, str]]:
    """Results that would overwrite each other or their own clip."""
    first: dict[Path, CatalogClip] = {}
    allowed = opened.allowed
    for clip in opened.clips:
        try:
            output = clip.request(opened.folder, ".mp4").output
        except NO_OUTPUT:
            continue  # reported already
        assert output is not None
        try:
            check_place(output, allowed)
            check_place(hold_folder(opened.folder, output) / output.name, allowed)
        except InputError as error:
            yield clip.line, f"{clip.source.name}: {error}"
        if _overwrites_source(clip, opened.folder):
            yield clip.line, f"{clip.source.name}: the result would overwrite the clip. Set `output` with {{edit}}."
        others = [first.setdefault(path, clip) for path in map(_normalized, exported_files(output).values())]
        other = next((one for one in others if one is not clip), clip)
        if other is not clip:
            yield (
                clip.line,
                f"{clip.source.name}: line {other.line} writes {output.stem} too. Set `output` with {{stem}}.",
            )


def _normalized(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _overwrites_source(clip: CatalogClip, folder: Path) -> bool:
    """True if the output of the clip is the path of the clip."""
    suffix = clip.source.suffix
    output = clip.request(folder, suffix).output if suffix.lower() in FORMATS else None
    return output is not None and os.path.normpath(output) == os.path.normpath(clip.source)


def _name(place: DocumentPath) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".") or "catalog"


def _message(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(format_problem(problem) for problem in error.errors())
    return str(error)
