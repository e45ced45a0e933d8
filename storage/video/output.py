"""Checks of output paths, and the formats of outputs."""

import os
from collections.abc import Iterable
from pathlib import Path

from storage.errors import UnwritableOutputError
from storage.files import NAME_BYTES, PATH_BYTES, name_bytes, why_not_writable
from storage.video.info import VideoInfo

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
PLAYABLE_IN_MP4 = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}


def output_suffix(info: VideoInfo) -> str:
    """Default suffix of an output: that of the source if we write it, else one that can hold its sound."""
    own = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
    fits = all(stream.codec in PLAYABLE_IN_MP4 for stream in info.streams if stream.type == "audio")
    return own.get(info.container, ".mp4" if fits else ".mkv")


def check_output(source: Path, output: Path) -> None:
    """Check that an output can be written, before any work is done.

    Raises:
        UnwritableOutputError: its suffix, name or folder is not usable, or it is the source.
    """
    if not output.name:
        raise UnwritableOutputError(
            f"The output is {str(output)!r}, which is not a file name. Give one, or leave -o out."
        )
    check_names([output])
    if output.suffix.lower() not in FORMATS:
        raise UnwritableOutputError(
            f"{output.name}: cannot write {output.suffix or 'a file without a suffix'}. "
            f"Use one of {', '.join(sorted(FORMATS))}."
        )
    folder = output.parent
    if not folder.is_dir():
        raise UnwritableOutputError(f"{folder}: no such folder for {output.name}. Make it first, or choose another.")
    reason = why_not_writable(folder)
    if reason:
        raise UnwritableOutputError(
            f"{folder}: {output.name} cannot be written there ({reason}). Choose another folder."
        )
    if output.is_dir():
        raise UnwritableOutputError(f"{output}: is a folder. Give the name of a file.")
    if output.exists() and output.samefile(source):
        raise UnwritableOutputError(f"{output}: is the source itself. Give the result another name.")


def check_folder(folder: Path) -> None:
    """Check that a folder is writable, or can be created.

    Raises:
        UnwritableOutputError: it is not; the message names the part of the path that is the reason.
    """
    existing = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    reason = why_not_writable(existing) if existing.is_dir() else "it is no folder"
    if reason:
        raise UnwritableOutputError(
            f"{folder}: cannot hold a result, because of {existing}: {reason}. Name another folder."
        )


def check_names(outputs: Iterable[Path]) -> None:
    """Check that the file systems of the folders can hold these names.

    Raises:
        UnwritableOutputError: a name or a path is too long, or not a valid file name.
    """
    for output in outputs:
        try:
            lengths = [name_bytes(part) for part in output.absolute().parts]
        except UnicodeEncodeError as error:
            raise UnwritableOutputError(f"{output}: is not a valid file name. Give another name.") from error
        if "\0" in str(output):
            raise UnwritableOutputError(f"{str(output)!r}: a name cannot hold a zero byte. Give another name.")
        most, most_in_all = _limits(output)
        if max(lengths) > most:
            raise UnwritableOutputError(
                f"{output.name}: the name has {max(lengths)} bytes, and the disk takes {most}. Give a shorter one."
            )
        if name_bytes(str(output.absolute())) >= most_in_all:
            raise UnwritableOutputError(
                f"{output.name}: its path has {name_bytes(str(output.absolute()))} bytes, and the system takes "
                f"{most_in_all - 1}. Choose another folder."
            )


def _limits(output: Path) -> tuple[int, int]:
    """Maximum bytes of a name and of a path, in the nearest existing folder of `output`."""
    for folder in output.absolute().parents:
        try:
            return os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
        except OSError:  # it does not exist yet, or its own name is too long
            continue
    return NAME_BYTES, PATH_BYTES
