"""Where a video may be written, and how it appears there: at once and whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import UnwritableOutputError
from storage.video import VideoInfo

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
PLAYABLE_IN_MP4 = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}


def output_suffix(info: VideoInfo) -> str:
    """The suffix an output of this source should have: its own if we write it, else one that holds its sound."""
    own = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
    fits = all(stream.codec in PLAYABLE_IN_MP4 for stream in info.streams if stream.type == "audio")
    return own.get(info.container, ".mp4" if fits else ".mkv")


def check_output(source: Path, output: Path) -> None:
    """Refuse an output that cannot be, before any work is done.

    Raises:
        UnwritableOutputError: its suffix, its folder or its being the source forbids it.
    """
    if output.suffix.lower() not in FORMATS:
        raise UnwritableOutputError(
            f"{output.name}: cannot write {output.suffix or 'a file without a suffix'}. "
            f"Use one of {', '.join(sorted(FORMATS))}."
        )
    folder = output.parent
    if not folder.is_dir():
        raise UnwritableOutputError(f"{folder}: no such folder for {output.name}. Make it first, or choose another.")
    if not os.access(folder, os.W_OK):
        raise UnwritableOutputError(f"{folder}: no permission to write {output.name} there. Choose another folder.")
    if output.is_dir():
        raise UnwritableOutputError(f"{output}: is a folder. Give the name of a file.")
    if output.exists() and output.samefile(source):
        raise UnwritableOutputError(f"{output}: is the source itself. Give the result another name.")


@contextmanager
def appearing(output: Path) -> Iterator[Path]:
    """A name in the same folder to write to; on success it becomes `output`, else it is removed."""
    part = output.with_name(f".{output.stem}.{os.getpid()}.part{output.suffix}")
    try:
        yield part
        _to_disk(part)
        part.replace(output)
        _to_disk(output.parent)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
