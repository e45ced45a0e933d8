"""Artifacts that lost something, as the store hands them back to the stage that made them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.arrays.frame_array import ArrayKind, FrameArray
from storage.artifact import Artifact
from storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[Artifact], Path]:
    """`workspace(artifact)` is a folder with the artifact's files, scratch and manifest gone."""

    def copy(artifact: Artifact) -> Path:
        return Path(shutil.copytree(artifact.path, tmp_path / "again", ignore=shutil.ignore_patterns("manifest.json")))

    return copy


@pytest.fixture
def lose_chunk() -> Callable[[Path, int, ArrayKind], None]:
    """`lose_chunk(array, number, kind)` makes one chunk pending again."""

    def lose(path: Path, number: int, kind: ArrayKind) -> None:
        whole = FrameArray.open(path)
        values, chunk = whole.read(), whole.chunk
        shutil.rmtree(path)
        array = FrameArray.create(path, values[0], len(values), chunk, kind)
        for rows in array.pending():
            if rows.start != number * chunk:
                array.write(rows, values[rows])

    return lose


@pytest.fixture
def rerun_stage() -> Callable[..., None]:
    """`rerun_stage(stage, folder, inputs and options...)` calls the stage as after a crash."""

    def run(stage: Any, folder: Path, *given: object) -> None:
        stage.fn.__wrapped__(Workspace(folder, resumed=True), *given)

    return run


@pytest.fixture
def assert_same() -> Callable[[Path, Artifact], None]:
    """`assert_same(folder, artifact)`: every file is there again, byte for byte."""

    def compare(folder: Path, artifact: Artifact) -> None:
        found = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        }
        wanted = {
            path.relative_to(artifact.path).as_posix(): path.read_bytes()
            for path in artifact.path.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }
        assert sorted(found) == sorted(wanted)
        assert [name for name in wanted if found[name] != wanted[name]] == []

    return compare
