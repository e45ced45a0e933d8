"""Clips in S3-compatible storage: listing them, and downloading local copies."""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path, PurePosixPath

from storage.backends.bucket_objects import BucketObjects
from storage.errors import UnreadableVideoError, UnwritableOutputError
from storage.files import appearing, fitted_name

SCHEME = "s3://"


@dataclass(frozen=True)
class RemoteClip:
    """Current state of a clip in a bucket."""

    url: str  # s3://bucket/key
    size: int  # bytes
    changed: int  # s since 1970, the resolution of servers

    @property
    def file(self) -> tuple[int, int]:
        """Size and mtime in ns of its local copy."""
        return self.size, self.changed * 10**9

    def copy_in(self, scratch: Path | None) -> Path:
        """Path of its local copy; `fetch` downloads it."""
        return (scratch or Path.home() / ".cache" / "stitchedit") / _place(self.url)


def remote_clips(url: str) -> list[RemoteClip]:
    """List the clips that an address, a folder address ending in `/`, or a pattern matches now.

    A `*` in a pattern matches any characters but `/`, as in a path; `**` is not supported. An existing name is taken
    literally, even if it contains `[`.

    Raises:
        StorageError: the bucket denies access, or cannot be reached.
    """
    bucket, key = _parted(url)
    if not key.endswith("/"):
        named = _object_at(url)
        if named or not has_magic(key):
            return [named] if named else []
    pattern = key + "*" if key.endswith("/") else key
    listed = BucketObjects(bucket).names("/".join(_before_magic(pattern)))
    equal = [entry for entry in listed if _matches(entry.name, pattern.replace("[", "[[]"))]
    found = equal or [entry for entry in listed if _matches(entry.name, pattern)]
    return [RemoteClip(f"{bucket}/{entry.name}", entry.size, int(entry.modified)) for entry in found]


def fetch(url: str, copy: Path) -> None:
    """Download the object at `url` to `copy`, unless that already has the same size and mtime.

    Raises:
        UnreadableVideoError: there is no such object, or it changed during the download.
        StorageError: the bucket denies access, or cannot be reached.
    """
    clip = _object_at(url)
    if not clip:
        raise UnreadableVideoError(f"There is no object {url}. Check the address, and that the upload is complete.")
    if copy.exists() and (copy.stat().st_size, copy.stat().st_mtime_ns) == clip.file:
        return
    bucket, key = _parted(url)
    copy.parent.mkdir(parents=True, exist_ok=True)
    with appearing(copy) as arriving:
        BucketObjects(bucket).download(key, arriving)
        if arriving.stat().st_size != clip.size:
            raise UnreadableVideoError(f"{url} changed while it was downloaded. Run again when the upload is complete.")
        os.utime(arriving, ns=(clip.file[1], clip.file[1]))


def check_copy(url: str, copy: Path) -> None:
    """Check that a download would not overwrite a file of the user: one outside of the folders of copies.

    Raises:
        UnwritableOutputError: such a file is at `copy`.
    """
    if os.path.lexists(copy) and not copy.absolute().as_posix().endswith(f"/{_place(url)}"):
        raise UnwritableOutputError(
            f"{copy}: there already, and no copy of {url}. Name another path for the copy, or move the file away."
        )


def _object_at(url: str) -> RemoteClip | None:
    bucket, key = _parted(url)
    found = BucketObjects(bucket).head(key)
    return RemoteClip(url, found.size, int(found.modified)) if found else None


def _parted(url: str) -> tuple[str, str]:
    """Split into `s3://bucket` and the key.

    Unlike the path of a URL, a key may contain `?` and `#`.
    """
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    return SCHEME + bucket, key


def _place(url: str) -> str:
    """Relative path of an object's copy below a scratch folder.

    Cannot lead out of it, whatever the key is.
    """
    bucket, key = _parted(url)
    parts = [part if part not in {"", ".", ".."} else f"%{part.replace('.', '%2E')}" for part in key.split("/")]
    return "/".join(["sources", bucket.removeprefix(SCHEME), *(fitted_name(*_split(part)) for part in parts)])


def _split(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return path.stem, path.suffix


def _before_magic(pattern: str) -> list[str]:
    """The leading folders of a pattern without wildcards."""
    folders = pattern.split("/")[:-1]
    return folders[: next((index for index, part in enumerate(folders) if has_magic(part)), len(folders))]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
