"""lamina from Python: a client of laminad, and a reader of snapshots.

Needs nothing but the standard library. `Client` sends requests to the daemon; `Snapshot` reads the
memory of a snapshot by itself. `lamina.api` has the daemon's answers as classes.
"""

from .client import Client
from .errors import (BusyError, ConnectError, CorruptError, ExistsError, FailedError, LaminaError,
                     NoSpaceError, NotFoundError, OperationInterruptedError,
                     PermissionDeniedError, UnknownOutcomeError, UnsupportedError, UsageError)
from .snapshot import Extent, LayerInfo, Snapshot

__version__ = "0.2.0"
__all__ = [
    "BusyError", "Client", "ConnectError", "CorruptError", "ExistsError", "Extent", "FailedError",
    "LaminaError", "LayerInfo", "NoSpaceError", "NotFoundError", "OperationInterruptedError",
    "PermissionDeniedError", "Snapshot", "UnknownOutcomeError", "UnsupportedError", "UsageError",
]
