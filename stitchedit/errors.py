"""Errors a caller may want to catch.

StitchEditError
├── InputError           the clip or the request cannot be processed as given
│   ├── NoFaceError      no frame of the clip, or of a track, holds a usable face
│   └── UnknownNameError a name (direction, preset, person) that does not exist
├── WeightsError         a network file is missing, altered or of another shape
└── OptimizationError    a tuning loop diverged
"""

from collections.abc import Iterable
from difflib import get_close_matches


class StitchEditError(Exception):
    """Base of every error raised on purpose in this package."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message.encode("utf-8", "backslashreplace").decode())  # file names may not be UTF-8


class InputError(StitchEditError):
    """The clip or the request cannot be processed as given."""


class NoFaceError(InputError):
    """No usable face where one is needed."""


class UnknownNameError(InputError):
    """A name that is not among the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."
        super().__init__(f"No {kind} {name!r}. {hint}")


class WeightsError(StitchEditError):
    """A network file is missing, altered or of another shape."""


class OptimizationError(StitchEditError):
    """A tuning loop diverged."""
