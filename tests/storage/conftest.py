"""Fixtures that run the same tests with both backends."""

from dataclasses import replace
from pathlib import Path

import pytest

from storage.backends.bucket import Bucket
from storage.backends.folder import Folder
from storage.backends.lease import Patience
from storage.backends.objects import Objects
from storage.store import Backend, Store

PLACES = ["folder", "bucket"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """An empty folder, or an empty bucket of a real S3 server with its scratch folder."""
    if request.param == "folder":
        return Folder(tmp_path / "store")
    return Bucket(request.getfixturevalue("s3_url"), tmp_path / "scratch")


@pytest.fixture
def store(place: Backend) -> Store:
    return Store(place, Patience(poll=0.05))


@pytest.fixture
def another_machine(store: Store, tmp_path: Path) -> Store:
    """The same store on another machine: the same folder, or the same bucket with an empty scratch folder."""
    if isinstance(store.backend, Bucket):
        return replace(store, backend=replace(store.backend, scratch=tmp_path / "another scratch"))
    return store


@pytest.fixture
def objects(place: Backend) -> Objects:
    return place.objects
