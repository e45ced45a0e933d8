"""Digests of sources, kept in the store."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import artifact
from storage.backends.objects import FolderObjects
from storage.errors import UnreadableVideoError
from storage.source_digests import FOLDER, hash_source

OLD = 1_700_000_000  # s; long before any test


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is hashed."""
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return original(path)

    original: Callable[[Path], str] = artifact.file_sha256
    monkeypatch.setattr(artifact, "file_sha256", counted)
    return hashed


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"frames")
    os.utime(path, (OLD, OLD))
    monkeypatch.setattr("storage.source_digests.SETTLED_NS", 0)  # the time of status change cannot be set
    return path


def test_an_unchanged_file_is_hashed_once(source: Path, tmp_path: Path, hashes: list[Path]) -> None:
    objects = FolderObjects(tmp_path / "store")
    first, second = hash_source(objects, source), hash_source(objects, source)
    assert first == second
    assert hashes == [source]
    second.check()
    assert hashes == [source]


@pytest.mark.parametrize("change", ["bytes", "bytes with the same times", "another file with the same times"])
def test_a_changed_file_is_hashed_again(source: Path, tmp_path: Path, hashes: list[Path], change: str) -> None:
    objects = FolderObjects(tmp_path / "store")
    before = hash_source(objects, source)
    if change.startswith("another"):
        source.unlink()
    source.write_bytes(b"others")
    if change != "bytes":
        os.utime(source, (OLD, OLD))
    after = hash_source(objects, source)
    assert after.digest != before.digest
    assert len(hashes) == 2


def test_a_file_that_was_just_written_is_not_trusted(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.source_digests.SETTLED_NS", 10**18)
    hash_source(FolderObjects(tmp_path / "store"), source)
    assert not (tmp_path / "store").exists()


def test_a_plan_leaves_the_store_untouched(source: Path, tmp_path: Path) -> None:
    hash_source(FolderObjects(tmp_path / "store"), source, remember=False)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"sha256": "0000"}'])
def test_a_damaged_record_is_ignored(source: Path, tmp_path: Path, content: bytes) -> None:
    objects = FolderObjects(tmp_path / "store")
    expected = hash_source(objects, source)
    (record,) = (tmp_path / "store" / FOLDER).iterdir()
    kept = json.loads(record.read_bytes())
    record.write_bytes(content if content != b'{"sha256": "0000"}' else json.dumps({**kept, "sha256": "0000"}).encode())
    assert hash_source(objects, source) == expected


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="There is no file"):
        hash_source(FolderObjects(tmp_path / "store"), tmp_path / "none.mp4")
