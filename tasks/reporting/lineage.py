"""Origins of artifacts: the stages behind them, and their options."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.artifact import Artifact
from storage.store import Store


def lineage_of(artifacts: Sequence[Artifact]) -> Iterator[tuple[str, str, str, str]]:
    """Stage, key, seconds and host of all artifacts behind `artifacts`, oldest first, as far as known."""
    seen: dict[tuple[str, str], tuple[str, str, str, str]] = {}

    visited: set[tuple[str, str]] = set()  # before its inputs: a manifest may name itself

    def visit(store: Path, stage: str, key: str) -> None:
        manifest = Store.at(store).read_manifest(stage, key)
        if (stage, key) in visited or manifest is None:
            return
        visited.add((stage, key))
        lineage = manifest["lineage"]
        for origin in lineage.get("inputs", {}).values():
            if "key" in origin:
                visit(store, origin["stage"], origin["key"])
        known = [attempt["seconds"] for attempt in lineage.get("attempts", []) if attempt["seconds"] is not None]
        seen[stage, key] = (stage, key, f"{sum(known):.1f}" if known else "–", str(lineage.get("host", "–")))

    for artifact in artifacts:
        visit(artifact.store, artifact.stage, artifact.key)
    yield from seen.values()


def settings_of(artifacts: Sequence[Artifact]) -> list[tuple[str, str]]:
    """Every option of every stage behind `artifacts`, once."""
    settings: dict[str, str] = {}
    for stage_name, key, *_ in lineage_of(artifacts):
        manifest = Store.at(artifacts[0].store).read_manifest(stage_name, key)
        assert manifest is not None  # or `lineage_of` would not list it
        for argument, options in manifest["recipe"]["options"].items():
            named = options if isinstance(options, dict) else {"": options}
            for option, value in named.items():
                settings[".".join(filter(None, (stage_name, argument, option)))] = str(value)
    return sorted(settings.items())
