"""Where results of a catalog go: what `output` may say, and which folders it may write into."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter

from stitchedit.errors import InputError

FIELDS = ("stem", "suffix", "edit", "folder")


def check_template(template: str) -> None:
    """Refuse anything but text and the fields by their plain names: no attribute, index, conversion or width.

    Raises:
        InputError: what is wrong with it.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(_told(template, f"a brace has no other half ({error})")) from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            written = f"{{{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}}}"
            raise InputError(_told(template, f"{written[:40]} is none of them"))
    if "\0" in template:
        raise InputError(_told(template, "no file name holds a zero byte"))


def fill_template(template: str, values: Mapping[str, object]) -> str:
    """The template with its fields filled in; `{{` stands for a brace.

    Raises:
        InputError: see `check_template`.
    """
    check_template(template)
    return "".join(text + (str(values[name]) if name else "") for text, name, *_ in Formatter().parse(template))


def allowed_folders(folder: Path, others: Sequence[str]) -> list[Path]:
    """The catalog's folder and those it names in `allow_outputs`, links followed."""
    return [_real(folder), *(_real(folder / other) for other in others)]


def check_place(output: Path, allowed: Sequence[Path]) -> None:
    """Refuse a result outside of the folders that may be written into, links and `..` followed.

    Raises:
        InputError: the folder and the way out.
    """
    try:
        place = _real(output.parent)
    except ValueError as error:  # a zero byte, out of the name of a photo or a person
        raise InputError(f"its result cannot be called {output.name!r}: {error}.") from error
    if not any(place.is_relative_to(folder) for folder in allowed):
        raise InputError(
            f"its result would go to {place}, outside of the catalog's folder. Add `allow_outputs: [{place}]` to the "
            "catalog, in YAML or JSON Lines, if that is meant."
        )


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _told(template: str, why: str) -> str:
    fields = ", ".join(f"{{{name}}}" for name in FIELDS[:-1])
    return f"output {template[:200]!r} may hold {fields} and {{{FIELDS[-1]}}}: {why}"
