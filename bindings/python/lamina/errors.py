"""The errors of this package: one class for each kind that lamina has (see docs/api.md)."""

from __future__ import annotations

import errno
from typing import Dict, Optional, Sequence, Tuple, Type


class LaminaError(Exception):
    """What all errors of this package derive from.

    `kind` is one of lamina's words (`busy`, `not_found`, …), also for errors of this package.
    `remedy` says what can be done about it, or is None. `status` is the daemon's HTTP status, or
    None if the error is not an answer of the daemon. `stopping` is true if the daemon refused the
    request because it is stopping: nothing was started.
    """

    kind = "failed"

    def __init__(self, message: str, *, kind: Optional[str] = None, remedy: Optional[str] = None,
                 notes: Sequence[str] = (), status: Optional[int] = None,
                 stopping: bool = False) -> None:
        super().__init__(message)
        self.message = message
        if kind is not None:
            self.kind = kind
        self.remedy = remedy
        self.notes: Tuple[str, ...] = tuple(notes)
        self.status = status
        self.stopping = stopping

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}; {self.remedy}"


class FailedError(LaminaError):
    """Anything that has no kind of its own. Also a kind that this package does not know: `kind`."""


class UsageError(LaminaError):
    """The request is invalid."""

    kind = "usage"


class NotFoundError(LaminaError):
    """A snapshot, a layer or a socket does not exist."""

    kind = "not_found"


class ExistsError(LaminaError):
    """The name is taken."""

    kind = "exists"


class PermissionDeniedError(LaminaError):
    """A right is missing."""

    kind = "permission"


class UnsupportedError(LaminaError):
    """This file system, kernel or version of Firecracker cannot do it."""

    kind = "unsupported"


class CorruptError(LaminaError):
    """A file's contents are wrong, or of a version that this package does not know."""

    kind = "corrupt"


class BusyError(LaminaError):
    """Another operation is in progress, or the daemon is stopping: repeat the request."""

    kind = "busy"


class NoSpaceError(LaminaError):
    """No space is left."""

    kind = "no_space"


class OperationInterruptedError(LaminaError):
    """The operation was interrupted."""

    kind = "interrupted"


class ConnectError(FailedError):
    """No connection to the daemon: nothing was sent, so nothing was started."""


class UnknownOutcomeError(FailedError):
    """The request may have been carried out, but there is no usable answer.

    The connection ended, the time limit passed, or the answer is not one of laminad. The daemon
    completes a request whose client is gone. `events()` and `list()` show the outcome.
    """


_CLASSES: Dict[str, Type[LaminaError]] = {
    error.kind: error for error in (
        FailedError, UsageError, NotFoundError, ExistsError, PermissionDeniedError,
        UnsupportedError, CorruptError, BusyError, NoSpaceError, OperationInterruptedError)}


def class_of_kind(kind: str) -> Type[LaminaError]:
    """The class for a kind; FailedError for one that this package does not know."""
    return _CLASSES.get(kind, FailedError)


_CLASSES_OF_ERRNO: Dict[int, Type[LaminaError]] = {
    errno.ENOENT: NotFoundError, errno.ENOTDIR: NotFoundError,
    errno.EACCES: PermissionDeniedError, errno.EPERM: PermissionDeniedError,
    errno.ENOSPC: NoSpaceError, errno.EDQUOT: NoSpaceError,
}


def error_of_call(error: OSError, path: str) -> LaminaError:
    """The error for a system call that failed on the file at `path`."""
    number = error.errno or 0
    reason = (error.strerror or str(error)).lower()
    return _CLASSES_OF_ERRNO.get(number, FailedError)(f"'{path}': {reason}")
