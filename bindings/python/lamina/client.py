"""A client of laminad over its Unix socket.

    client = lamina.Client("/run/laminad/laminad.sock")
    report = client.pause("/run/vm7/api.sock", "vm7")
    print(report.kind, report.phases.frozen_ms)

docs/api.md describes the operations, `lamina.api` has their methods and answers.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import time
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple, TypeVar, Union
from urllib.parse import urlencode

from . import wire
from .api import Event, Operations
from .errors import ConnectError, LaminaError, UnknownOutcomeError, class_of_kind

T = TypeVar("T")

_MAX_ANSWER_BYTES = 256 << 20


class _Deadline:
    """A time limit for a whole request, however many calls it takes."""

    def __init__(self, timeout_s: Optional[float]) -> None:
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def left(self) -> Optional[float]:
        """Seconds that are left; None: no limit."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class _Socket(socket.socket):
    """A socket whose reads all end at one deadline."""

    deadline: _Deadline = _Deadline(None)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """As socket.socket's."""
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments, **options)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, deadline: _Deadline) -> None:
        super().__init__("localhost")
        self._path = path
        self._deadline = deadline

    def connect(self) -> None:
        """Connects. OSError."""
        sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.deadline = self._deadline
            left = self._deadline.left()
            if left is not None:
                # A socket with a Python timeout does not wait for room in the peer's queue.
                seconds = int(left)
                microseconds = max(1, int((left - seconds) * 1e6))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                                struct.pack("@ll", seconds, microseconds))
            sock.connect(self._path)
            sock.settimeout(self._deadline.left())
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, (socket.timeout, TimeoutError, BlockingIOError))


class Client(Operations):
    """A client of one daemon. Every request has a connection of its own, so threads can share it.

    Errors: the class for the daemon's error kind (`BusyError`, `NotFoundError`, …) if the daemon
    refused the request or failed; `ConnectError` if nothing was sent; `UnknownOutcomeError` if the
    request was sent and no usable answer came.
    """

    def __init__(self, socket_path: Union[str, os.PathLike[str]],
                 timeout_s: Optional[float] = None) -> None:
        """`timeout_s` limits a whole request. None: no limit, as pauses and merges can take long.

        The daemon completes a request also if the client does not wait for it.
        """
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s}; it must be more than 0, or None")
        self._path = os.fspath(socket_path)
        self._timeout_s = timeout_s

    def with_timeout(self, timeout_s: Optional[float]) -> Client:
        """A client of the same daemon with another time limit."""
        return Client(self._path, timeout_s)

    def follow_events(self, after: int = 0, interval_s: float = 1.0,
                      wait: Callable[[float], Any] = time.sleep) -> Iterator[Event]:
        """Yields events from number `after` on, without an end; asks again each `interval_s`.

        A sequence number that is not one more than the last one means that events were lost: the
        daemon restarted, or keeps fewer than have happened (`--events`). Errors end the iteration;
        it can be started anew after the last number. `wait(interval_s)` is called between
        requests; it may raise an exception to end the iteration.
        """
        while True:
            for event in self.events(after=after):
                after = event.sequence
                yield event
            wait(interval_s)

    def _json(self, method: str, path: str, decode: wire.Decoder[T], *,
              query: Optional[Mapping[str, Any]] = None,
              body: Optional[Mapping[str, Any]] = None) -> T:
        data = self._request(method, path, query, body)
        return self._decode(method, path, lambda: decode(json.loads(data), "the answer"))

    def _lines(self, method: str, path: str, decode: wire.Decoder[T], *,
               query: Optional[Mapping[str, Any]] = None) -> Tuple[T, ...]:
        data = self._request(method, path, query, None)

        def read() -> Tuple[T, ...]:
            return tuple(decode(json.loads(line), f"line {number}")
                         for number, line in enumerate(data.split(b"\n"), start=1) if line)
        return self._decode(method, path, read)

    def _text(self, method: str, path: str) -> str:
        data = self._request(method, path, None, None)
        return self._decode(method, path, lambda: data.decode("utf-8"))

    @staticmethod
    def _decode(method: str, path: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, RecursionError) as error:
            raise UnknownOutcomeError(f"{method} {path}: the answer cannot be read: {error}"
                                      ) from error

    def _request(self, method: str, path: str, query: Optional[Mapping[str, Any]],
                 body: Optional[Mapping[str, Any]]) -> bytes:
        """The body of the answer, if its status is 200."""
        target = path
        if query:
            target += "?" + urlencode({
                name: json.dumps(value) if isinstance(value, bool) else value
                for name, value in query.items()})
        text = None if body is None else json.dumps(body).encode()
        headers = {"Connection": "close"}
        if text is not None:
            headers["Content-Type"] = "application/json"
        deadline = _Deadline(self._timeout_s)
        connection = _Connection(self._path, deadline)
        try:
            self._connect(connection)
            status, data = self._exchange(connection, method, target, text, headers)
        finally:
            connection.close()
        if status != 200:
            raise self._refusal(method, path, status, data)
        return data

    def _connect(self, connection: _Connection) -> None:
        try:
            connection.connect()
        except OSError as error:
            reason = "timed out" if _is_timeout(error) else (error.strerror or str(error)).lower()
            raise ConnectError(f"connect to '{self._path}': {reason}",
                               remedy="is laminad running with that --listen?") from error

    def _exchange(self, connection: _Connection, method: str, target: str,
                  text: Optional[bytes], headers: Mapping[str, str]) -> Tuple[int, bytes]:
        send_error: Optional[OSError] = None
        try:
            try:
                connection.request(method, target, text, dict(headers))
            except (BrokenPipeError, ConnectionResetError) as error:
                # A daemon that refuses a connection answers without reading the request.
                send_error = error
            response = connection.getresponse()
            if response.length is None and not response.chunked:
                # Its end could not be told from a broken connection.
                raise http.client.HTTPException("the answer does not say how long it is")
            pieces: List[bytes] = []
            size = 0
            while True:
                piece = response.read(1 << 20)
                if not piece:
                    break
                size += len(piece)
                if size > _MAX_ANSWER_BYTES:
                    raise UnknownOutcomeError(f"{method} {target}: the answer has more than "
                                              f"{_MAX_ANSWER_BYTES} bytes")
                pieces.append(piece)
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return response.status, b"".join(pieces)
        except (OSError, http.client.HTTPException) as error:
            cause = send_error or error
            reason = (f"no answer within {self._timeout_s} s" if _is_timeout(cause)
                      else f"no usable answer ({str(cause) or type(cause).__name__})")
            raise UnknownOutcomeError(
                f"{method} {target}: {reason}",
                remedy="its outcome is unknown: look at events() and list()") from cause

    @staticmethod
    def _refusal(method: str, path: str, status: int, data: bytes) -> LaminaError:
        """The exception for the daemon's error."""
        try:
            fields = wire.Fields(wire.mapping(json.loads(data), "the answer").get("error"), "error")
            kind = fields.required("kind", wire.text)
            return class_of_kind(kind)(
                fields.required("message", wire.text), kind=kind,
                remedy=fields.optional("remedy", wire.text),
                notes=fields.optional("notes", wire.items(wire.text)) or (), status=status,
                stopping=bool(fields.optional("stopping", wire.flag)))
        except (ValueError, RecursionError) as error:
            return UnknownOutcomeError(f"{method} {path}: status {status}, and no error that can "
                                       f"be read: {error}", status=status)
