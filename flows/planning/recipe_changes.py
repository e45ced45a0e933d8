"""Differences between a recipe and the most similar earlier one, as text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.artifact import Recipe

SHOWN = 4  # changed definitions named in a message


@dataclass(frozen=True)
class Change:
    """One changed part of a recipe."""

    part: str  # options, networks, inputs, code or revision
    text: str


def nearest(recipe: Recipe, manifests: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The manifest whose recipe differs least; among equals, the latest."""

    def similarity(manifest: Mapping[str, Any]) -> tuple[int, str]:
        return -len(_differences(manifest["recipe"], recipe.to_json())), manifest["lineage"]["finished"]

    return max(manifests, key=similarity, default=None)


def changes(recipe: Recipe, code: Mapping[str, str], before: Mapping[str, Any]) -> list[Change]:
    """Changes in `recipe` since the manifest `before`.

    Args:
        code: digests of the recipe's code by definition.
    """
    found = []
    for name, old, new in _differences(before["recipe"], recipe.to_json()):
        part, _, rest = name.partition(".")
        if part == "code":
            found.append(Change(part, _code_change(before["lineage"].get("code", {}), code)))
        elif part == "inputs":
            found.append(Change(part, _input_change(rest, old, new)))
        elif part == "networks":
            found.append(Change(part, f"network {rest}: {_short(old)} -> {_short(new)}"))
        else:
            kind = "revision" if rest.endswith("revision") or part == "revision" else part
            shown = name if part == "revision" else rest
            found.append(Change(kind, f"{shown}: {_format(old)} -> {_format(new)}"))
    return found


def _input_change(name: str, old: Any, new: Any) -> str:
    if name == "source":
        return f"the video changed: SHA-256 {_short(old)} -> {_short(new)}"
    return f"{name} changed: {_short(old)} -> {_short(new)}"


def _code_change(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    kinds = {
        "changed": [name for name in new if name in old and old[name] != new[name]],
        "new": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }
    parts = []
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            parts.append(f"{kind}: {', '.join(names[:SHOWN])}{more}")
    return f"code {'; '.join(parts) or 'changed'}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(`options.stitch.steps`, old, new) for every leaf that differs; None stands for a missing leaf."""
    one, other = _leaves(old), _leaves(new)
    return [
        (name, one.get(name), other.get(name))
        for name in sorted({*one, *other})
        if one.get(name, _MISSING) != other.get(name, _MISSING)
    ]


_MISSING = object()


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        leaf: inner
        for key, part in value.items()
        for leaf, inner in _leaves(part, f"{name}.{key}" if name else str(key)).items()
    }


def _short(digest: Any) -> str:
    return str(digest)[:12] if digest else "none"


def _format(value: Any) -> str:
    return "not set" if value is None else f"{value}"
