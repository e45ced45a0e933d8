"""Text from files, users and servers, made safe to show: no control characters, no secrets."""

import os
import re
from collections.abc import Mapping

HIDDEN = "***"
SECRET_LENGTH = 8  # characters; a shorter value of a variable could be part of an ordinary word
SECRET_NAMES = re.compile(
    r"(?:SECRET|TOKEN|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|SECRET_KEY|AUTH_STRING|CONNECTION_URL|STITCHEDIT_NOTIFY)$"
)

# C0, DEL and C1; lone surrogates; line separators; bidirectional control characters; byte order mark
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_USERINFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/\s?#'\"<>]+@")
_PARAMETER = re.compile(
    r"([?&](?:x-amz-(?:signature|credential|security-token)|(?:access_|auth_)?token|api_?key|key|sig|signature|secret|"
    r"password)=)[^&#\s'\"<>]+",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """Escape control characters of `text`, as in `\\x1b` or `\\n`, so that it is one safe line.

    Bytes of a file name that are not UTF-8, which Python stores as surrogates, are written as `\\xe9`.
    """
    return _UNSAFE.sub(lambda found: _written(found[0]), text)


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Remove secrets: passwords and tokens in URLs, and values of environment variables with `SECRET_NAMES`."""
    for name, value in environment.items():
        if SECRET_NAMES.search(name.upper()) and len(value) >= SECRET_LENGTH:
            text = text.replace(value, HIDDEN)
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(rf"\g<1>{HIDDEN}@", text))


def _written(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
