"""Untrusted YAML and JSON: limits on depth, size and references, checked before objects are built."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from stitchedit.errors import InputError

REFERENCE = "${"
MAX_DEPTH = 50  # mappings and sequences inside each other
MAX_VALUES = 500_000  # of one YAML document, with what its aliases repeat; some 300 MB of memory

SAFE_LOADER: Any = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml where PyYAML was built with it: 17 times faster


def check_yaml(text: str) -> None:
    """Reject a document that is too deep, refers to itself, or is too large once its aliases are expanded.

    Works on the parser's events, so that no object is built before the check.

    Raises:
        yaml.YAMLError: with the line, if it is known.
    """
    open_nodes: list[tuple[str | None, int]] = []  # anchor of each, and the values counted before it
    sizes: dict[str, int | None] = {}  # values of each anchored node; None while it is open
    count = 0
    for event in yaml.parse(text, SAFE_LOADER):
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(str(event.anchor), 1)  # the composer rejects an unknown anchor
            if size is None:
                raise _refusal(f"*{event.anchor} is inside of what it repeats", event)
            count += size
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
            if event.anchor:
                sizes[event.anchor] = None
            if len(open_nodes) > MAX_DEPTH:
                raise _refusal(f"more than {MAX_DEPTH} lists and mappings inside each other", event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        if count > MAX_VALUES:
            raise _refusal(f"more than {MAX_VALUES} values, with those that aliases repeat: divide it", event)


def parse_json(text: str | bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=pairs_hook)
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    level, depth = [parsed], 0
    while level := [inner for outer in level for inner in _inner(outer)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(_too_deep())
    return parsed


def check_references(parsed: Any, place: str = "") -> None:
    """Reject OmegaConf references, such as `${oc.env:HOME}`: a recipe must contain all its values.

    Args:
        parsed: parsed values, so that no YAML escape can hide a reference.

    Raises:
        InputError: with the place of the reference.
    """
    if isinstance(parsed, str) and REFERENCE in parsed:
        raise InputError(f"{place or 'value'}: {REFERENCE}…}} is not looked up here. Write the value itself.")
    pairs = parsed.items() if isinstance(parsed, dict) else enumerate(parsed) if isinstance(parsed, list) else ()
    for key, value in pairs:
        if isinstance(key, str) and REFERENCE in key:
            check_references(key, place)
        check_references(value, f"{place}.{key}".removeprefix("."))


def _inner(value: Any) -> list[Any]:
    """Lists and mappings directly inside a list or a mapping."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, dict | list)]


def _too_deep() -> str:
    return f"more than {MAX_DEPTH} lists and objects inside each other"


def _refusal(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
