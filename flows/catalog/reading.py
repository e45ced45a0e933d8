"""A catalog checked as a whole: every problem is named with its line.

A clip that cannot be read is no problem of the catalog: it is reported when it is its turn, and the others go on.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.catalog.clips import NO_OUTPUT, CatalogClip, clips_of, without_results
from flows.catalog.documents import CatalogError, Place, read_document
from flows.catalog.entries import Catalog, Entry, Recipe, request_of
from flows.catalog.outcomes import recorded_files
from flows.edit_request import EditRequest, check_words
from flows.output_files import exported_files
from flows.request_checks import told_problem
from stitchedit.errors import StitchEditError
from storage.errors import StorageError
from storage.remote_clips import SCHEME
from storage.store import Store
from storage.video import probe
from storage.video_length import check_reaches
from storage.video_output import FORMATS


@dataclass(frozen=True)
class OpenCatalog:
    """A catalog that was checked, and the clips that it names now."""

    path: Path
    catalog: Catalog
    clips: list[CatalogClip]
    notes: Sequence[str] = ()  # what is no mistake, and may be none that was meant

    @property
    def name(self) -> str:
        return self.catalog.catalog

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.parent


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
        problems = [
            (document.line(problem["loc"]), f"{_name(problem['loc'])}: {told_problem(problem)}")
            for problem in error.errors()
        ]
        raise CatalogError(path, [*document.problems, *problems]) from error
    problems, clips = [*document.problems], []
    for index, entry in enumerate(catalog.clips):
        line = document.line(("clips", index))
        found = list(clips_of(entry, line, path.parent, scratch))
        problems += [(line, text) for text in _problems(entry, catalog, path.parent, found)]
        clips.extend(found)
    if store and any(clip.found for clip in clips):
        clips = without_results(clips, path.parent, store.folder, recorded_files(store, catalog.catalog))
    with_clips = {id(clip.entry) for clip in clips}
    empty = [entry.source for entry in catalog.clips if id(entry) not in with_clips]
    opened = OpenCatalog(path, catalog, clips, [f"{source} names no clip now" for source in empty])
    problems += _clashes(opened)
    if problems:
        raise CatalogError(path, problems)
    return opened


def _with_defaults(words: Any) -> Any:
    """Every clip with what it does not say itself from `defaults`. Lists and mappings are taken as a whole."""
    defaults, clips = words.get("defaults") or {}, words.get("clips")
    if not isinstance(defaults, dict) or not isinstance(clips, list):
        return words  # the schema will say what is wrong
    shared = {name: value for name, value in defaults.items() if name in Recipe.model_fields}
    return {**words, "clips": [{**shared, **clip} if isinstance(clip, dict) else clip for clip in clips]}


def _problems(entry: Entry, catalog: Catalog, folder: Path, found: Sequence[CatalogClip]) -> Iterator[str]:
    """What is wrong with an entry that pydantic cannot see."""
    if catalog.consent_required and entry.consent is None:
        yield (
            f"{entry.source}: nobody's consent is recorded. Add `consent: {{by: …, on: …, reference: …}}`, or say "
            "`consent_required: false` for the whole catalog."
        )
    if entry.source.startswith(SCHEME):
        if not found and not has_magic(entry.source) and not entry.source.endswith("/"):
            yield f"{entry.source}: there is no such object. Check the address, and that the upload is complete."
    elif not has_magic(entry.source) and not (folder / entry.source).exists():
        yield f"{entry.source}: there is no such file. Paths start at {folder}."
    try:
        request = request_of(entry, folder / entry.source, folder, ".mp4")
    except (StitchEditError, ValidationError) as error:
        yield f"{entry.source}: {_first(error)}"
    except NO_OUTPUT as error:
        yield f"{entry.source}: output {entry.output!r} may hold {{stem}}, {{suffix}}, {{edit}} and {{folder}}: {error}"
    else:
        yield from _wrong_words(entry, request)


def _wrong_words(entry: Entry, request: EditRequest) -> Iterator[str]:
    try:
        check_words(request)
    except (StitchEditError, ValueError) as error:
        yield f"{entry.source}: {_first(error)}"
    yield from _too_short(entry, request)
    assert request.output is not None
    if entry.output.startswith(SCHEME):
        yield f"{entry.source}: output {entry.output!r} is no file. Give a folder, and copy results from there."
    elif request.output.suffix.lower() not in FORMATS:
        yield f"{entry.source}: output {entry.output!r} has to end in {{suffix}} or one of {', '.join(FORMATS)}."


def _too_short(entry: Entry, request: EditRequest) -> Iterator[str]:
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
    for clip in opened.clips:
        try:
            output = clip.request(opened.folder, ".mp4").output
        except NO_OUTPUT:
            continue  # told already
        assert output is not None
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


def _name(place: Place) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).removeprefix(".") or "catalog"


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(told_problem(problem) for problem in error.errors())
    return str(error)
