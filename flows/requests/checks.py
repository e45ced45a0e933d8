"""Checks of a request before anything is decoded. None of them imports Prefect."""

import os
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stitchedit.errors import InputError, WeightsError
from storage.backends.bucket_objects import check_keys
from storage.errors import StoreAddressError, UnreadableVideoError
from storage.files import why_not_writable
from storage.safe_text import redacted
from storage.store import check_address
from storage.video.remote_clips import SCHEME
from tasks.inputs.photo import read_photo
from tasks.runtime.directions import packaged_directions, read_own_directions

DEVICE = re.compile(r"auto|cpu|cuda(?::(0|[1-9]\d{0,2}))?")

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], **fields: object) -> Model:
    """Construct `model` from these fields.

    Raises:
        InputError: a field is unknown or has an invalid value.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = [(".".join(map(str, one["loc"])), format_problem(one)) for one in error.errors()]
        raise InputError("; ".join(f"{place}: {text}" if place else text for place, text in problems)) from error


def format_problem(problem: Mapping[str, Any]) -> str:
    """The text of a pydantic error, with the value if it is a short one."""
    text, given = str(problem["msg"]).removeprefix("Value error, "), problem["input"]
    if text.endswith(".") or not isinstance(given, str | int | float):
        return text
    return f"{text}, got {_short(given)}"


def _short(given: object) -> str:
    try:
        return f"{redacted(repr(given)):.60}"
    except ValueError:  # Python refuses to format integers of more than 4300 digits
        return "a number with thousands of digits"


def check_device_name(device: str) -> None:
    """Refuse a name that is no device on any machine.

    Raises:
        InputError: the name is not auto, cpu, cuda or cuda:N.
    """
    if not DEVICE.fullmatch(device):
        raise InputError(f"There is no device {device!r}. --device is auto, cpu, cuda, or cuda:1 for the second GPU.")


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have. PyTorch is imported for CUDA devices only.

    Raises:
        InputError: there is no such device.
    """
    check_device_name(device)
    if not device.startswith("cuda"):
        return
    count, reason = _gpus()
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        there = f"there {'is' if count == 1 else 'are'} {count}: cuda:0{f' to cuda:{count - 1}' if count > 1 else ''}"
        way_out = "Use --device auto, which is a GPU if there is one, or cpu; `stitchedit doctor` lists the devices."
        raise InputError(f"--device {device} is not on this machine: {there if count else reason}. {way_out}")


def _gpus() -> tuple[int, str]:
    """Number of GPUs that PyTorch can use, and the reason if there is none."""
    if version("torch").endswith("+cpu"):
        return 0, "the installed PyTorch is built for CPUs only"
    import torch  # noqa: PLC0415 - takes seconds

    return torch.cuda.device_count(), "PyTorch finds no GPU"


def check_clip(path: Path) -> None:
    """Refuse anything but a readable, non-empty file, on which FFmpeg might block.

    Raises:
        UnreadableVideoError: there is no such file, it is not a regular file, it is empty, or it may not be read.
    """
    if path.is_dir():
        raise UnreadableVideoError(f"{path} is a folder. Name one video file in it.")
    if not path.exists():
        raise UnreadableVideoError(f"There is no file {path.absolute()}. Check the name of the video.")
    if not path.is_file():
        raise UnreadableVideoError(f"{path} is a pipe or a device. Write the video to a file first.")
    if path.stat().st_size == 0:
        raise UnreadableVideoError(f"{path} is empty (0 bytes). Copy or download the video again.")
    if not os.access(path, os.R_OK):
        raise UnreadableVideoError(f"{path}: no permission to read it. Change it (chmod u+r), or copy the video.")


def check_photo(path: Path) -> None:
    """Refuse a photo that cannot be read.

    Raises:
        InputError: there is no such file, or it is not an image.
    """
    facts = path.stat() if path.is_file() else None
    _decoded(path, (facts.st_size, facts.st_mtime_ns) if facts else None)


@cache  # a catalog names the same photo for many clips
def _decoded(path: Path, file: tuple[int, int] | None) -> None:
    read_photo(path)


def known_directions(own: str | None) -> set[str]:
    """Names of the packaged directions and of those in the user's file.

    Raises:
        InputError: the file cannot be read as directions.
    """
    return {*packaged_directions(), *(read_own_directions(Path(own)) if own else ())}


def check_store(url: str, scratch: Path | None) -> None:
    """Refuse a store that cannot be written to. Nothing is created.

    Raises:
        InputError: the store or its scratch is a file, is not writable, or is an unsupported address.
        StoreAddressError: the keys of a bucket are missing.
    """
    check_store_name(url)
    if not url.startswith(SCHEME):
        check_folder(Path(url), "--store")
        return
    if scratch is not None:
        check_folder(scratch, "--scratch")
    check_keys()


def check_store_name(url: str) -> None:
    """Refuse a store that is neither a folder nor an s3:// address.

    Raises:
        InputError: the name is empty, an unsupported address, or one without a bucket or with a password.
    """
    try:
        check_address(url)
    except StoreAddressError as error:
        raise InputError(str(error)) from error


def check_folder(folder: Path, flag: str) -> None:
    """Refuse a folder that cannot be created or written to.

    Raises:
        InputError: a part of the path, named in the message, is not a folder or not writable.
    """
    existing = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if not existing.is_dir():
        raise InputError(f"{flag} {folder}: {existing} is not a folder. Give another one.")
    reason = why_not_writable(existing)
    if reason:
        raise InputError(f"{flag} {folder}: {existing} cannot be written to ({reason}). Give another one.")


def check_landmarks(backend: str) -> None:
    """Refuse a landmark backend whose network is not on this machine.

    Raises:
        InputError: the network is missing; the message names the remedy.
    """
    if backend != "fan":
        return
    from stitchedit.detect.finder import resolve_backend  # noqa: PLC0415 - imports torch

    try:
        resolve_backend(backend)
    except WeightsError as error:
        raise InputError(str(error)) from error
