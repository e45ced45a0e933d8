"""Paths and text of requests as JSON, which knows UTF-8 only: file names may be any bytes.

`caf\\xe9.mp4` (Latin-1) is `percent:caf%E9.mp4` in Prefect's database and in records; what is UTF-8 stays as it is.
"""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from pydantic import BeforeValidator, PlainSerializer

MARK = "percent:"  # begins what is encoded, and so also what begins with it by chance
READABLE = " !#$&'()*+,-./:;<=>?@[\\]^_`{|}~\""


def to_json(text: object) -> str:
    """Text without lone surrogates; `from_json` gives it back."""
    plain = str(text)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return MARK + quote(os.fsencode(plain), safe=READABLE)
    return MARK + quote(plain, safe=READABLE) if plain.startswith(MARK) else plain


def from_json(text: object) -> object:
    """What `to_json` was given; whatever is not encoded stays as it is."""
    if isinstance(text, str) and text.startswith(MARK):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(MARK)))
    return text


_ENCODED = PlainSerializer(to_json, return_type=str, when_used="json-unless-none")
AnyPath = Annotated[Path, BeforeValidator(from_json), _ENCODED]
AnyText = Annotated[str, BeforeValidator(from_json), _ENCODED]
