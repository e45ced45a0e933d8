"""Named tensors in one safetensors file: no pickle, and equal tensors give equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from storage.errors import DamagedError
from storage.files import write_atomic

LENGTH = 8  # bytes of the header's length field; the header is padded to multiples of it


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and `metadata` atomically."""
    # safetensors copies an array's memory without respecting its strides
    blob = save({name: np.asarray(values, order="C") for name, values in tensors.items()})
    start = LENGTH + int.from_bytes(blob[:LENGTH], "little")

    # and it writes metadata in an order that differs between processes
    header = json.dumps({"__metadata__": dict(sorted(metadata.items())), **json.loads(blob[LENGTH:start])}).encode()
    header += b" " * (-len(header) % LENGTH)
    write_atomic(path, len(header).to_bytes(LENGTH, "little"), header, memoryview(blob)[start:])


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read every tensor in the file, by name.

    Raises:
        DamagedError: the file is missing or truncated.
    """
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise _damage(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata without reading the tensors.

    Raises:
        DamagedError: the file is missing or truncated.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError) as error:
        raise _damage(path, error) from error


def _damage(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"{path} is gone or not a whole safetensors file ({error}). Delete it and run again: it is recomputed."
    )
