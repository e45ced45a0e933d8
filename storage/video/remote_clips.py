"""Clips in S3-compatible storage: which there are, and copies of them on this machine."""

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
    """A clip in a bucket, as it is now."""

    url: str  # s3://bucket/key
    size: int  # bytes
    changed: int  # s since 1970: servers tell no more

    @property
    def file(self) -> tuple[int, int]:
        """Size and time of change in ns, as its copy has them."""
        return self.size, self.changed * 10**9

    def copy_in(self, scratch: Path | None) -> Path:
        """Where its copy lies on this machine; `fetch` brings it."""
        return (scratch or Path.home() / ".cache" / "stitchedit") / _place(self.url)


def remote_clips(url: str) -> list[RemoteClip]:
    """What an address, an address with a `/` at its end, or a pattern names now.

    A `*` of a pattern stands for any characters but `/`, as in a path; `**` is not known. A name that is there is that
    name, with `[` in it, too.

    Raises:
        StorageError: the bucket refuses, or cannot be reached.
    """
    bucket, key = _parted(url)
    if not key.endswith("/"):
        named = _object_at(url)
        if named or not has_magic(key):
            return [named] if named else []
    pattern = key + "*" if key.endswith("/") else key
    listed = BucketObjects(bucket).names("/".join(_before_magic(pattern)))
    equal = [one for one in listed if _matches(one.name, pattern.replace("[", "[[]"))]
    found = equal or [one for one in listed if _matches(one.name, pattern)]
    return [RemoteClip(f"{bucket}/{one.name}", one.size, int(one.modified)) for one in found]


def fetch(url: str, copy: Path) -> None:
    """Bring the object at `url` to `copy`, unless that is of this size and time already.

    Raises:
        UnreadableVideoError: there is no such object.
        StorageError: the bucket refuses, or cannot be reached.
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
            raise UnreadableVideoError(
                f"{url} changed while it was brought here. Run again when the upload is complete."
            )
        os.utime(arriving, ns=(clip.file[1], clip.file[1]))


def check_copy(url: str, copy: Path) -> None:
    """Refuse to bring an object over a file that lies elsewhere than copies do: it is somebody's own.

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
    """`s3://bucket` and the key. Keys may hold `?` and `#`, which an address as browsers know it may not."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    return SCHEME + bucket, key


def _place(url: str) -> str:
    """Where the copy of an object lies, below a scratch folder; never outside of it, whatever the key is."""
    bucket, key = _parted(url)
    parts = [part if part not in {"", ".", ".."} else f"%{part.replace('.', '%2E')}" for part in key.split("/")]
    return "/".join(["sources", bucket.removeprefix(SCHEME), *(fitted_name(*_split(part)) for part in parts)])


def _split(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return path.stem, path.suffix


def _before_magic(pattern: str) -> list[str]:
    """The folders of a pattern that are named in full."""
    folders = pattern.split("/")[:-1]
    return folders[: next((index for index, part in enumerate(folders) if has_magic(part)), len(folders))]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
