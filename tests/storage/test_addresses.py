"""Addresses of stores, sources of keys, and redaction of secrets."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from storage.backends.bucket_objects import BucketObjects, check_keys
from storage.errors import StorageError, StoreAddressError, UnwritableOutputError
from storage.store import open_store
from storage.video.remote_clips import RemoteClip, check_copy


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3:/bucket/x", "s3:/bucket/x is no place"),
        ("gs://bucket/x", "gs://bucket/x is no place"),
        ("https://me:secret-words@host/x", "is no place"),
        ("s3://key:secret-words@bucket/x", "holds a name or a password"),
        ("a\0b", "zero byte"),
    ],
)
def test_an_invalid_address_is_rejected_without_repeating_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreAddressError, match=message) as error:
        open_store(url)
    assert "secret-words" not in str(error.value)


def test_a_folder_with_a_colon_is_a_folder(tmp_path: Path) -> None:
    assert open_store(str(tmp_path / "12:30")).folder == tmp_path / "12:30"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set"),
    ],
)
def test_missing_keys_are_reported_at_once(no_keys: pytest.MonkeyPatch, given: dict[str, str], missing: str) -> None:
    for name, value in given.items():
        no_keys.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(StoreAddressError, match=missing) as error:
        BucketObjects("s3://bucket/x").read("a")
    assert time.monotonic() - began < 1
    assert "169.254" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
        {"AWS_SKIP_SIGNATURE": "true"},
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2"},
        {"AWS_METADATA_ENDPOINT": "http://127.0.0.1"},
    ],
)
def test_other_sources_of_keys_are_accepted_if_configured(given: dict[str, str]) -> None:
    check_keys(given)


def test_no_error_of_a_server_shows_a_secret(no_keys: pytest.MonkeyPatch) -> None:
    no_keys.setenv("AWS_ENDPOINT_URL", "http://me:hidden-password@127.0.0.1:9")
    no_keys.setenv("AWS_ACCESS_KEY_ID", "some-key")
    no_keys.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    no_keys.setattr("storage.backends.bucket_objects.PATIENCE", timedelta(milliseconds=1))
    with pytest.raises(StorageError, match="cannot be reached") as error:
        BucketObjects("s3://bucket-of-this-test/x").read("a")
    assert "hidden" not in str(error.value)


def test_a_download_overwrites_only_copies(tmp_path: Path) -> None:
    """A submitted request may name any path for the copy."""
    url, mine = "s3://bucket/clips/a.mp4", tmp_path / "a.mp4"
    check_copy(url, mine)
    mine.write_text("mine")
    with pytest.raises(UnwritableOutputError, match="no copy of s3://bucket/clips/a"):
        check_copy(url, mine)
    copy = RemoteClip(url, 0, 0).copy_in(tmp_path)
    copy.parent.mkdir(parents=True)
    copy.write_text("older")
    check_copy(url, copy)


@pytest.mark.parametrize("key", ["../../../evil.mp4", "a/../../b.mp4", "/evil.mp4", "./a.mp4"])
def test_a_copy_is_never_outside_of_the_scratch_folder(tmp_path: Path, key: str) -> None:
    copy = RemoteClip(f"s3://bucket/{key}", 0, 0).copy_in(tmp_path)
    assert copy.resolve().is_relative_to(tmp_path / "sources" / "bucket")
