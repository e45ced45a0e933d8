"""Tensors by name in one safetensors file: no pickle, and equal tensors give equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from storage.errors import DamagedError
from storage.files import write_atomic

LENGTH = 8  # bytes of the number that says how long the header is; the header is padded to multiples of it


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `tensors` and `metadata`; the file is there as a whole or not at all."""
    # safetensors takes an array's memory as it lies, without a look at its strides
    blob = save({name: np.asarray(values, order="C") for name, values in tensors.items()})
    start = LENGTH + int.from_bytes(blob[:LENGTH], "little")

    # and it writes metadata in an order that changes from process to process
    header = json.dumps({"__metadata__": dict(sorted(metadata.items())), **json.loads(blob[LENGTH:start])}).encode()
    header += b" " * (-len(header) % LENGTH)
    write_atomic(path, len(header).to_bytes(LENGTH, "little"), header, memoryview(blob)[start:])


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor in the file, by name.

    Raises:
        DamagedError: there is no such file, or it is cut short.
    """
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise _damage(path, error) from error


def read_metadata(path: Path) -> dict[str, str]:
    """What was saved beside the tensors, without reading them.

    Raises:
        DamagedError: there is no such file, or it is cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (FileNotFoundError, SafetensorError) as error:
        raise _damage(path, error) from error


def _damage(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"{path} is gone or not a whole safetensors file ({error}). Delete it and run again: it is made anew."
    )
