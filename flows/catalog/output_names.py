"""Output paths of a catalog: fields of the `output` template and the allowed folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter

from stitchedit.errors import InputError

FIELDS = ("stem", "suffix", "edit", "folder")


def check_template(template: str) -> None:
    """Allow only text and plain field names: no attribute, index, conversion or width.

    Raises:
        InputError: the template has anything else.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(_message(template, f"unbalanced brace ({error})")) from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            written = f"{{{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}}}"
            raise InputError(_message(template, f"{written[:40]} is none of them"))
    if "\0" in template:
        raise InputError(_message(template, "a file name cannot contain a zero byte"))


def fill_template(template: str, values: Mapping[str, object]) -> str:
    """Fill in the fields of a template; `{{` stands for a brace.

    Raises:
        InputError: see `check_template`.
    """
    check_template(template)
    return "".join(text + (str(values[name]) if name else "") for text, name, *_ in Formatter().parse(template))


def allowed_folders(folder: Path, others: Sequence[str]) -> list[Path]:
    """The catalog's folder and those in its `allow_outputs`, with links resolved."""
    return [_real(folder), *(_real(folder / other) for other in others)]


def check_place(output: Path, allowed: Sequence[Path]) -> None:
    """Refuse a result outside the allowed folders, with links and `..` resolved.

    Raises:
        InputError: the result would be outside; the message names the folder and the remedy.
    """
    try:
        place = _real(output.parent)
    except ValueError as error:  # a zero byte, from the name of a photo or a person
        raise InputError(f"the result cannot be named {output.name!r}: {error}.") from error
    if not any(place.is_relative_to(folder) for folder in allowed):
        raise InputError(
            f"the result would be written to {place}, outside the catalog's folder. If this is intended, add "
            f"`allow_outputs: [{place}]` to the catalog, in YAML or JSON Lines."
        )


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _message(template: str, reason: str) -> str:
    fields = ", ".join(f"{{{name}}}" for name in FIELDS[:-1])
    return f"output {template[:200]!r} may contain {fields} and {{{FIELDS[-1]}}}: {reason}"
