"""Objects in S3-compatible storage, through obstore. Endpoint and keys come from the usual AWS_* variables."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from storage.backends.objects import ListedObject, StoredObject
from storage.errors import StorageError, StoreAddressError, UnreachableStoreError
from storage.files import replacing
from storage.safe_text import redacted

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OTHER_KEYS = {  # other sources of keys: of a pod, of a container, of the machine
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
}
PATIENCE = timedelta(seconds=8)  # of one call with its retries; after that, tasks retry


@dataclass(frozen=True)
class BucketObjects:
    """Implements `storage.backends.objects.Objects`. The server must support If-None-Match and If-Match."""

    url: str

    def read(self, name: str) -> StoredObject | None:
        with self._translated_errors():
            try:
                result = obstore.get(self._client, name)
            except (NotFoundError, FileNotFoundError):
                return None
            return StoredObject(bytes(result.bytes()), str(result.meta["e_tag"]))

    def create(self, name: str, value: bytes) -> str | None:
        return self._conditional(name, value, "create")

    def replace(self, name: str, value: bytes, tag: str) -> str | None:
        return self._conditional(name, value, {"e_tag": tag})

    def write(self, name: str, value: bytes) -> None:
        with self._translated_errors():
            obstore.put(self._client, name, value)

    def remove(self, name: str) -> None:
        with self._translated_errors(), suppress(NotFoundError, FileNotFoundError):
            obstore.delete(self._client, name)

    def names(self, prefix: str) -> list[ListedObject]:
        with self._translated_errors():
            pages = obstore.list(self._client, prefix=prefix.rstrip("/") or None)
            found = [entry for page in pages for entry in page]
        return sorted(
            (ListedObject(entry["path"], entry["size"], entry["last_modified"].timestamp()) for entry in found),
            key=lambda listed: listed.name,
        )

    def head(self, name: str) -> ListedObject | None:
        """Size and mtime of one object; None if there is none."""
        with self._translated_errors():
            try:
                found = obstore.head(self._client, name)
            except (NotFoundError, FileNotFoundError):
                return None
        return ListedObject(found["path"], found["size"], found["last_modified"].timestamp())

    def upload(self, name: str, path: Path) -> None:
        """Upload a file; large ones in parts."""
        with self._translated_errors():
            obstore.put(self._client, name, path)

    def download(self, name: str, path: Path) -> None:
        """Download a file; write none if there is no such object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated_errors(), suppress(NotFoundError, FileNotFoundError), replacing(path) as file:
            for block in obstore.get(self._client, name).stream(min_chunk_size=8 * 2**20):
                file.write(block)

    def _conditional(self, name: str, value: bytes, mode: Any) -> str | None:
        with self._translated_errors():
            try:
                return str(obstore.put(self._client, name, value, mode=mode, use_multipart=False)["e_tag"])
            except (AlreadyExistsError, PreconditionError, NotFoundError, FileExistsError, FileNotFoundError):
                pass
        now = self.read(name)  # if the response was lost, the retry fails on our own write
        return now.etag if now and now.value == value else None

    @property
    def _client(self) -> S3Store:
        check_keys()
        return _connect(self.url, os.environ.get("AWS_ENDPOINT_URL", ""))

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise errors of obstore as those of storage/errors.py."""
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StorageError(
                f"{self.url} denies access: {_first_line(error)} Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                "the bucket's policy."
            ) from error
        except BaseError as error:
            raise UnreachableStoreError(
                f"{self.url} cannot be reached: {_first_line(error)} What is finished stays. Check AWS_ENDPOINT_URL "
                "and that the server runs, then run again."
            ) from error


def check_keys(environment: Mapping[str, str] = os.environ) -> None:
    """Check that keys are configured: without them, the client would query the network for a machine's own and wait.

    Raises:
        StoreAddressError: there are none in `environment`.
    """
    given = {name for name, value in environment.items() if value}
    if given & OTHER_KEYS or environment.get("AWS_SKIP_SIGNATURE", "").lower() in {"true", "1", "yes", "on"}:
        return
    missing = [name for name in KEYS if name not in given]
    if missing:
        raise StoreAddressError(
            f"The keys of the object storage are missing: {' and '.join(missing)} not set. Set them, or "
            "AWS_SKIP_SIGNATURE=true for a bucket that needs none; on a machine with a role of its own, set "
            "AWS_METADATA_ENDPOINT to the address that gives its keys."
        )


@cache
def _connect(url: str, endpoint: str) -> S3Store:
    place = urlsplit(url)
    if "@" in place.netloc:
        raise StoreAddressError(
            "The address of a bucket holds something before an @. Keys belong into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, where no log and no list of processes shows them: write s3://bucket/prefix."
        )
    return S3Store(
        place.netloc,
        prefix=place.path.strip("/") or None,
        client_options={"allow_http": endpoint.startswith("http://"), "connect_timeout": "5s", "timeout": "60s"},
        retry_config={"max_retries": 6, "retry_timeout": PATIENCE},
    )


def _first_line(error: Exception) -> str:
    line = redacted(str(error)).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line if line.endswith(".") else f"{line}."
