"""Errors about bytes on disk.

StorageError
├── IncompleteError             an artifact or array is not finished
├── DamagedError                a file of something finished is missing, or its bytes changed
├── MismatchError               what is there is whole, but not what was asked for
├── SourceChangedError          the user's file is no longer the one that the work began with
├── LeaseLostError              another process makes this artifact now                 (may pass)
├── UnreachableStoreError       object storage does not answer, or answers with an error (may pass)
├── StoreAddressError           a store cannot be where the address says, or its keys are missing
├── PretrainedError             a network file is missing, or is not the one this version was made for
└── VideoError
    ├── UnreadableVideoError    the source cannot be decoded
    └── UnwritableOutputError   the result cannot be encoded or placed

A full disk or a missing permission stays an `OSError`. What may pass, tasks try again (tasks/runtime/stage.py).
"""

from pathlib import Path

from storage.files import encodable


class StorageError(Exception):
    """Base of every error raised on purpose in this package. Its text reaches Prefect: it has no lone surrogates."""

    def __init__(self, message: str = "") -> None:
        super().__init__(encodable(message))


class IncompleteError(StorageError):
    """An artifact or array is not finished."""


class DamagedError(StorageError):
    """A file of something finished is missing, or its bytes changed."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path  # the file, where one file is to blame


class MismatchError(StorageError):
    """What is there is whole, but not what was asked for."""


class SourceChangedError(StorageError):
    """The user's file is no longer the one that the work began with."""


class LeaseLostError(StorageError):
    """Another process makes this artifact now."""


class UnreachableStoreError(StorageError):
    """Object storage does not answer, or answers with an error."""


class StoreAddressError(StorageError):
    """A store cannot be where the address says, or its keys are missing."""


class PretrainedError(StorageError):
    """A network file is missing, or is not the one this version was made for."""


class VideoError(StorageError):
    """A video file cannot be used."""


class UnreadableVideoError(VideoError):
    """The source cannot be decoded."""


class UnwritableOutputError(VideoError):
    """The result cannot be encoded or placed."""
