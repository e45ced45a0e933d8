"""Reuse of rows of an earlier result: an edit that changes between 4 s and 8 s costs only those."""

import logging
from collections.abc import Mapping

import numpy as np

from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Recipe
from storage.errors import StorageError
from storage.store import Store
from storage.workspace import EarlierResult

logger = logging.getLogger(__name__)


def find_earlier(store: Store, recipe: Recipe, by_row: str) -> EarlierResult | None:
    """Find the latest complete artifact whose recipe differs from `recipe` in the input `by_row` only."""
    wanted = _without(recipe.to_json(), by_row)
    found: list[tuple[str, EarlierResult]] = []
    for stage, key in store.backend.finished():
        manifest = store.read_manifest(stage, key) if stage == recipe.stage else None
        if manifest is None or _without(manifest["recipe"], by_row) != wanted or store.lacking(stage, key, manifest):
            continue
        origin = manifest["lineage"].get("inputs", {}).get(by_row, {})
        given = store.read_manifest(origin.get("stage", ""), origin.get("key", ""))
        if given is None or given["digest"] != manifest["recipe"]["inputs"][by_row]:
            continue
        artifacts = (
            Artifact(store.folder, stage, key, manifest["digest"]),
            Artifact(store.folder, origin["stage"], origin["key"], given["digest"]),
        )
        try:
            for artifact in artifacts:
                store.fetch(artifact)
        except StorageError as error:
            logger.warning("Nothing is taken from %s %s: %s", stage, key, error)
            continue
        found.append((manifest["lineage"]["finished"], EarlierResult(artifacts[0].path, {by_row: artifacts[1].path})))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def take_rows(arrays: Mapping[str, FrameArray], earlier: EarlierResult, same: np.ndarray) -> int:
    """Fill what is pending in `arrays` (by name in the artifact) with earlier rows where all of a chunk are `same`.

    Gives the number of chunks taken. A chunk that cannot be read there is left to be made.
    """
    taken = 0
    for name, array in arrays.items():
        try:
            before = FrameArray.open(earlier.path / name)
            if (before.shape, before.dtype) != (array.shape, array.dtype):
                continue
            for rows in list(array.pending()):
                if same[rows].all():
                    array.write(rows, before.read(rows))
                    taken += 1
        except StorageError as error:
            logger.warning("Not all of %s is taken from before: %s", name, error)
    return taken


def equal_rows(one: np.ndarray | FrameArray, other: np.ndarray | FrameArray) -> np.ndarray:
    """Mask of equal rows of two arrays, `row`; none if their shapes differ."""
    if one.shape != other.shape:
        return np.zeros(one.shape[0], bool)
    return np.array([np.array_equal(_row(one, index), _row(other, index)) for index in range(one.shape[0])], bool)


def _row(array: np.ndarray | FrameArray, index: int) -> np.ndarray:
    return array.read(index) if isinstance(array, FrameArray) else array[index]


def _without(recipe: Mapping[str, object], name: str) -> dict[str, object]:
    inputs = recipe["inputs"]
    assert isinstance(inputs, Mapping)
    return {**recipe, "inputs": {key: value for key, value in inputs.items() if key != name}}
