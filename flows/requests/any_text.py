"""Encode paths and text of requests for JSON, which is UTF-8, while file names may be any bytes.

`caf\\xe9.mp4` (Latin-1) is `percent:caf%E9.mp4` in Prefect's database and in records; valid UTF-8 is unchanged.
"""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from pydantic import BeforeValidator, PlainSerializer

MARK = "percent:"  # prefix of encoded text; text that has this prefix itself is encoded too
READABLE = " !#$&'()*+,-./:;<=>?@[\\]^_`{|}~\""


def to_json(text: object) -> str:
    """Encode lone surrogates; `from_json` reverses it."""
    plain = str(text)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return MARK + quote(os.fsencode(plain), safe=READABLE)
    return MARK + quote(plain, safe=READABLE) if plain.startswith(MARK) else plain


def from_json(text: object) -> object:
    """Decode the output of `to_json`; text without the prefix is unchanged."""
    if isinstance(text, str) and text.startswith(MARK):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(MARK)))
    return text


_ENCODED = PlainSerializer(to_json, return_type=str, when_used="json-unless-none")
AnyPath = Annotated[Path, BeforeValidator(from_json), _ENCODED]
AnyText = Annotated[str, BeforeValidator(from_json), _ENCODED]
