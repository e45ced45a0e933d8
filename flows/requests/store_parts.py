"""A store and the parts of it that a command or a scheduled flow names."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from stitchedit.errors import InputError

if TYPE_CHECKING:  # Zarr and object storage take a second
    from storage.artifact import Artifact
    from storage.prune import PruneRule
    from storage.store import Store
    from storage.verify import VerifiedFile

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}


def parse_age(text: str) -> float:
    """Convert an age such as `30d` to seconds.

    Raises:
        InputError: the text is not an age.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if not match:
        raise InputError(f"--older-than is {text!r}. Write a number with m, h, d or w, such as 30d or 12h.")
    return float(match[1]) * SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Convert a size such as `500GB` (10^9 each) or `500GiB` (2^30 each) to bytes.

    Raises:
        InputError: the text is not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not match or match[2] not in BYTES:
        raise InputError(f"--max-size is {text!r}. Write a number with kB, MB, GB, TB or KiB .. TiB, such as 500GB.")
    return int(float(match[1]) * BYTES[match[2]])


def opened_store(url: str, scratch: Path | None) -> "Store":
    """Open an existing store.

    Raises:
        InputError: there is no store at that address.
    """
    from storage.store import check_address, open_store  # noqa: PLC0415 - Zarr and object storage take a second

    check_address(url)
    if not url.startswith("s3://") and not Path(url).is_dir():
        raise InputError(f"There is no store at {Path(url).absolute()}. Give its folder, or s3://..., with --store.")
    return open_store(url, scratch)


def prune_rule(keep_last: int | None, older_than: str | None, max_size: str | None) -> "PruneRule":
    """Parse the options of `prune`.

    Raises:
        InputError: no option is given, or a value is invalid.
    """
    from storage.prune import PruneRule  # noqa: PLC0415

    if keep_last is None and older_than is None and max_size is None:
        raise InputError(
            "Say what to remove: --keep-last 3, --older-than 30d or --max-size 500GB. Try it with --dry-run."
        )
    if keep_last is not None and keep_last < 0:
        raise InputError(f"--keep-last is {keep_last}. Give the number of runs to keep of each clip, 0 or more.")
    age = parse_age(older_than) if older_than is not None else None
    return PruneRule(keep_last, age, parse_size(max_size) if max_size is not None else None)


def chosen_artifacts(store: "Store", names: Sequence[str]) -> list["Artifact"]:
    """Artifacts named by STAGE, KEY or STAGE/KEY; all artifacts if `names` is empty.

    Raises:
        InputError: a name matches no artifact.
    """
    from storage.artifact import Artifact  # noqa: PLC0415

    known = [Artifact(store.folder, stage, key, "") for stage, key in store.backend.finished()]
    unknown = [name for name in names if not any(_matches(artifact, name) for artifact in known)]
    if unknown:
        raise InputError(
            f"No artifact {unknown[0]!r} in {store.backend.url}. Give a stage, the first digits of a key, or "
            "STAGE/KEY, as shown by `stitchedit verify --json` and the table of `stitchedit edit`."
        )
    return [artifact for artifact in known if not names or any(_matches(artifact, name) for name in names)]


def _matches(artifact: "Artifact", name: str) -> bool:
    stage, _, key = name.rpartition("/")
    if stage:
        return artifact.stage == stage and artifact.key.startswith(key)
    return artifact.stage == name or artifact.key.startswith(name)


def examined_files(url: str, scratch: Path | None, artifact: "Artifact", repair: bool) -> Iterator["VerifiedFile"]:
    """Verify every file of an artifact, and record damage if `repair` is set.

    Files of a bucket are downloaded to a temporary folder, so that copies in use by runs are untouched.
    """
    from storage.store import open_store  # noqa: PLC0415
    from storage.verify import note_damage, verify_files  # noqa: PLC0415

    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix="verify-") as own:
        store = open_store(url, Path(own))
        for examined in verify_files(store, artifact):
            if examined.fault and repair:
                note_damage(store, examined)
            yield examined
