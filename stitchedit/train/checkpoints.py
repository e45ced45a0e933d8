"""States of trainings on disk: there as a whole or not at all, as `storage.files` does it for the store."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import torch


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file under a name that nobody can foresee; it becomes `path` when the block ends without an error."""
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` for `torch.load`."""
    with replacing(path) as file:
        torch.save(dict(state), file)
