"""The lineage of a result: recipe, host and time of the artifact and of all its inputs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stitchedit.errors import InputError
from storage.store import Store


@dataclass(frozen=True)
class Lineage:
    """An artifact with its manifest and its inputs by name; a source file is given as text."""

    stage: str
    key: str
    manifest: Mapping[str, Any]
    inputs: Mapping[str, "Lineage | str"]

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "key": self.key,
            "digest": self.manifest["digest"],
            "bytes": sum(listed["size"] for listed in self.manifest["files"].values()),
            "recipe": self.manifest["recipe"],
            "lineage": {name: value for name, value in self.manifest["lineage"].items() if name != "code"},
            "inputs": {
                name: value if isinstance(value, str) else value.to_json() for name, value in self.inputs.items()
            },
        }


def find_artifact(store: Store, name: str) -> tuple[str, str]:
    """Find an artifact by `STAGE` (its latest), `STAGE/KEY` or the first digits of a key; return stage and key.

    Raises:
        InputError: no artifact matches, or several do.
    """
    stage, _, key = name.partition("/")
    known = store.backend.finished()
    if any(place[0] == stage for place in known):
        matching = [place for place in known if place[0] == stage and place[1].startswith(key)]
        latest = sorted(matching, key=lambda place: _finished(store, *place))[-1:] if not key else matching
    elif not key and re.fullmatch(r"[0-9a-f]{4,16}", stage):
        matching = latest = [place for place in known if place[1].startswith(stage)]
    else:
        matching = latest = []
    if len(latest) == 1:
        return latest[0]
    if matching:
        raise InputError(f"{name!r} matches several artifacts: {_listed(matching)}. Give more digits of the key.")
    shown = _listed(known) if known else "nothing yet"
    raise InputError(
        f"There is no {name!r} in {store.backend.url}. Give STAGE, STAGE/KEY or digits of a key. Known: {shown}."
    )


def trace(store: Store, stage: str, key: str, below: frozenset[tuple[str, str]] = frozenset()) -> Lineage:
    """The lineage of a finished artifact, down to the source files.

    Args:
        below: artifacts computed from this one, to detect a cycle in damaged manifests.

    Raises:
        InputError: there is no such artifact.
    """
    manifest = store.read_manifest(stage, key)
    if manifest is None:
        raise InputError(f"{stage}/{key} is not in {store.backend.url}.")
    inputs: dict[str, Lineage | str] = {}
    for name, origin in manifest["lineage"].get("inputs", {}).items():
        if "file" in origin:
            inputs[name] = f"{origin['file']} (SHA-256 {manifest['recipe']['inputs'][name]})"
        elif (origin["stage"], origin["key"]) in {*below, (stage, key)}:
            inputs[name] = f"{origin['stage']}/{origin['key']}, an impossible cycle: it is computed from this artifact"
        elif store.read_manifest(origin["stage"], origin["key"]) is None:
            inputs[name] = f"{origin['stage']}/{origin['key']}, no longer in the store"
        else:
            inputs[name] = trace(store, origin["stage"], origin["key"], below | {(stage, key)})
    return Lineage(stage, key, manifest, inputs)


def _finished(store: Store, stage: str, key: str) -> str:
    manifest = store.read_manifest(stage, key)
    return str(manifest["lineage"]["finished"]) if manifest else ""


def _listed(places: list[tuple[str, str]]) -> str:
    shown = ", ".join("/".join(place) for place in places[:8])
    return f"{shown} and {len(places) - 8} more" if len(places) > 8 else shown
