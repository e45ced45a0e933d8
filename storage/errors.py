"""Errors about bytes on disk.

StorageError
├── IncompleteError             an artifact or array is not finished
├── DamagedError                a file of a finished artifact or array is missing, or its bytes changed
├── MismatchError               the stored data is intact, but not what was requested
├── SourceChangedError          the input file changed during the run
├── LeaseLostError              another process took over the lease of this artifact    (transient)
├── UnreachableStoreError       object storage does not respond, or returns an error    (transient)
├── StoreAddressError           a store cannot be where the address says, or its keys are missing
├── PretrainedError             a network file is missing, or is not the one this version requires
└── VideoError
    ├── UnreadableVideoError    the source cannot be decoded
    └── UnwritableOutputError   the result cannot be encoded or placed

A full disk or a missing permission stays an `OSError`. Tasks retry transient errors (tasks/runtime/stage.py).
"""

from pathlib import Path

from storage.files import encodable


class StorageError(Exception):
    """Base of every error raised on purpose in this package.

    The message is sent to Prefect, so it has no lone surrogates.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(encodable(message))


class IncompleteError(StorageError):
    """An artifact or array is not finished."""


class DamagedError(StorageError):
    """A file of a finished artifact or array is missing, or its bytes changed."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path  # the damaged file, if it is a single one


class MismatchError(StorageError):
    """The stored data is intact, but not what was requested."""


class SourceChangedError(StorageError):
    """The input file changed during the run."""


class LeaseLostError(StorageError):
    """Another process took over the lease of this artifact."""


class UnreachableStoreError(StorageError):
    """Object storage does not respond, or returns an error."""


class StoreAddressError(StorageError):
    """A store cannot be where the address says, or its keys are missing."""


class PretrainedError(StorageError):
    """A network file is missing, or is not the one this version requires."""


class VideoError(StorageError):
    """A video file cannot be used."""


class UnreadableVideoError(VideoError):
    """The source cannot be decoded."""


class UnwritableOutputError(VideoError):
    """The result cannot be encoded or placed."""
