"""YAML for options, presets and catalogs, without implicit conversions."""

import re
from typing import Any

import yaml

from configs.user_text import SAFE_LOADER, check_yaml

NOT_CONSTRUCTED = (ValueError, KeyError, AttributeError, TypeError, OverflowError)  # by `!!int x`, `!!bool x` and such
NOT_OF_ITS_TYPE = "a value is not of the type that its tag says (!!…), or a number has thousands of digits"
SCALARS = {  # pattern of each type, and its possible first characters
    "bool": (r"(?i:true|false)", "tTfF"),
    "null": (r"~|(?i:null)|", "~nN\0"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?i:inf))|\.(?i:nan)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}


class PlainLoader(SAFE_LOADER):  # type: ignore[misc]
    """YAML 1.1 without its surprises.

    PyYAML reads `1:30` as 90 (base 60), `010` as 8, `2026-10-01` as a date, and `on` and `no` as true and false. Here
    all of them are text, which the caller validates.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own form


for _type, (_pattern, _first) in SCALARS.items():
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read_yaml(text: str) -> Any:
    """Parse `text`.

    Raises:
        yaml.YAMLError: it is not YAML, is nested too deeply, or would take too much memory.
    """
    check_yaml(text)
    try:
        return yaml.load(text, PlainLoader)
    except NOT_CONSTRUCTED as error:
        raise yaml.YAMLError(NOT_OF_ITS_TYPE) from error
