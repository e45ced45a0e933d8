"""Errors about bytes on disk.

StorageError
├── IncompleteError             an artifact or array is not finished
├── DamagedError                a file of something finished is missing, or its bytes changed
├── MismatchError               what is there is whole, but not what was asked for
├── PretrainedError             a network file is missing, or is not the one this version was made for
└── VideoError
    ├── UnreadableVideoError    the source cannot be decoded
    └── UnwritableOutputError   the result cannot be encoded or placed

A full disk or a missing permission stays an `OSError`: it may pass, so tasks retry it. These never pass by themselves.
"""


class StorageError(Exception):
    """Base of every error raised on purpose in this package."""


class IncompleteError(StorageError):
    """An artifact or array is not finished."""


class DamagedError(StorageError):
    """A file of something finished is missing, or its bytes changed."""


class MismatchError(StorageError):
    """What is there is whole, but not what was asked for."""


class PretrainedError(StorageError):
    """A network file is missing, or is not the one this version was made for."""


class VideoError(StorageError):
    """A video file cannot be used."""


class UnreadableVideoError(VideoError):
    """The source cannot be decoded."""


class UnwritableOutputError(VideoError):
    """The result cannot be encoded or placed."""
