"""An HTTP proxy between lamina and an object store that spoils chosen requests.

It passes each request on as it came (the Host header too, which signatures cover), reads the
server's whole answer, and sends that to the client. Requests are numbered from 1 in the order in
which they arrive; a plan says which fault a number has. Faults know what happened at the server:
a request that was refused, one that was carried out although the client is told otherwise, one that
was carried out twice.

It also counts: requests, bytes, and dependent round trips (the longest chain of requests of which
each began after the one before it was answered; an upper bound, since some begin late for other
reasons), and can delay answers as a long line would.
"""

from __future__ import annotations

import email.utils
import enum
import os
import random
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.sax.saxutils import escape

from s3_client import Listed

TIMEOUT_S = 60.0
DOWN_S = 0.25
DELAY_S = 0.7
LATE_S = 0.15
SKEW_S = 20 * 60
SLOW_LIMIT_S = 180.0
MAX_KEYS = 1000

# Not carried out; the client is refused, or told nothing.
REFUSED = ("down", "reset", "cut_request_middle", "cut_request_last", "error_500", "error_503",
           "error_404", "error_404_page", "error_403", "error_409", "skewed_clock", "expired")
# Carried out; the client is told nothing, or something else.
LOST = ("lost_answer", "cut_answer_start", "cut_answer_middle", "cut_answer_last", "done_but_500",
        "done_but_503", "done_but_slow_down", "done_but_404", "done_but_409")
# Carried out more than once, or late.
REPEATED = ("twice", "twice_first_answer", "again_later", "delayed")
# Other bytes than were asked for or sent.
WRONG = ("wrong_bytes", "short_body", "long_body", "other_body", "old_list", "date_ahead",
         "date_behind")
# The client is killed.
KILLS = ("kill_before", "kill_after")
# End by the client's limits: tens of seconds.
SLOW = ("slow_answer", "no_answer", "no_request")
# Only over TLS.
TLS = ("tls_garbage", "tls_cut", "tls_other_certificate")
# From this request on, as far as they have an end.
LASTING = ("error_503", "lost_answer", "error_403", "expired", "full", "full_507", "down")
# For this request, and each later one of the same key.
OF_KEY = ("error_404", "error_404_page", "wrong_bytes", "other_body", "short_body")

FAULTS = REFUSED + LOST + REPEATED + WRONG + KILLS


class Scope(enum.Enum):
    """Which requests the faults of a plan meet."""

    ONCE = ""
    FROM_THEN_ON = "+"
    SAME_KEY = "="

ERROR_STATUS = {
    "error_500": (500, "InternalError"), "error_503": (503, "SlowDown"),
    "error_404": (404, "NoSuchKey"), "error_404_page": (404, ""), "error_403": (403, "AccessDenied"),
    "error_409": (409, "OperationAborted"), "skewed_clock": (403, "RequestTimeTooSkewed"),
    "expired": (400, "ExpiredToken"), "full": (403, "QuotaExceeded"),
    "full_507": (507, "InsufficientStorage"), "done_but_500": (500, "InternalError"),
    "done_but_503": (503, "ServiceUnavailable"), "done_but_slow_down": (503, "SlowDown"),
    "done_but_404": (404, "NoSuchKey"), "done_but_409": (409, "ConditionalRequestConflict")}


class Disconnected(Exception):
    """The peer has closed the connection in the middle."""


@dataclass
class Message:
    """A request or an answer: its first line and headers as they came, and the body."""

    head: bytes  # with the empty line
    body: bytes = b""

    def header(self, name: str) -> str:
        """The value, or ""."""
        for line in self.head.split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.decode("latin-1").lower() == name:
                return value.strip().decode("latin-1")
        return ""

    def with_header(self, name: str, value: str) -> Message:
        """The same with this value in place of the header's own."""
        head = self.without_header(name).head[:-2]
        return replace(self, head=head + f"{name}: {value}\r\n\r\n".encode())

    def without_header(self, name: str) -> Message:
        """The same without the header."""
        lines = [line for line in self.head[:-4].split(b"\r\n")
                 if line.partition(b":")[0].decode("latin-1").lower() != name]
        return replace(self, head=b"\r\n".join(lines) + b"\r\n\r\n")

    @property
    def whole(self) -> bytes:
        return self.head + self.body


@dataclass
class Exchange:
    """A request that has arrived, and what became of it."""

    number: int
    depth: int  # in the longest chain of requests that waited for each other
    request: Message
    fault: str | None = None
    was_spoiled: bool = False  # the fault applied to this request
    status: int = 0
    answer_bytes: int = 0
    url: urllib.parse.SplitResult = field(init=False)
    method: str = field(init=False)

    def __post_init__(self) -> None:
        words = self.request.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        self.method = words[0]
        self.url = urllib.parse.urlsplit(words[1] if len(words) > 1 else "/")

    @property
    def path(self) -> str:
        return urllib.parse.unquote(self.url.path)

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.url.query, keep_blank_values=True))

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and "list-type" in self.query

    @property
    def is_write(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")

    def __str__(self) -> str:
        what = f"?prefix={self.query.get('prefix', '')}" if self.is_list else ""
        return f"{self.number} {self.method} {self.path}{what}"


def read_head(stream: object) -> bytes | None:
    """First line and headers, or None if the peer closed before."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline(65537)  # type: ignore[attr-defined]
        if not line:
            if head:
                raise Disconnected
            return None
        head += line
    return head


def read_exactly(stream: object, length: int) -> bytes:
    body = stream.read(length)  # type: ignore[attr-defined]
    if len(body) != length:
        raise Disconnected
    return body


def reset(connection: socket.socket) -> None:
    """Closes with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class FaultyProxy:
    """Listens until stop(). `on_kill` ends the client.

    Thread-safe as far as it is used: begin() only between the clients.
    """

    def __init__(self, server_port: int, certificate: tuple[Path, Path] | None = None,
                 other_certificate: tuple[Path, Path] | None = None, round_trip_s: float = 0.0,
                 bytes_s: float = 0.0, address: str = "127.0.0.1") -> None:
        self._server_port = server_port
        self.address = address
        self._certificate, self._other_certificate = certificate, other_certificate
        self._round_trip_s, self._bytes_s = round_trip_s, bytes_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open: set[socket.socket] = set()
        self._busy = 0
        self._line_free_at = 0.0
        self.on_kill: Callable[[], None] = lambda: None
        self.old_list: list[Listed] = []
        self.date_offset_s = 0.0  # of all answers
        self.late_share, self.late_s = 0.0, 0.0  # so many answers are late by that
        self._chance = random.Random(1)
        self._others: dict[str, Message] = {}  # answers to reads, by path
        self.begin({})
        self.port = 0
        self._listen()

    def begin(self, plan: dict[int, str], scope: Scope = Scope.ONCE) -> None:
        """Counts from 1 again."""
        with self._lock:
            self._plan, self._scope = plan, scope
            self._spoiled_keys: dict[tuple[str, str], str] = {}
            self.exchanges: list[Exchange] = []
            self._uses_other_certificate = False  # for new connections
            self._answered_depth = 0

    @property
    def round_trips(self) -> int:
        """The longest chain of requests of which each waited for the one before it."""
        return max((exchange.depth for exchange in self.exchanges), default=0)

    def spoiled(self) -> list[Exchange]:
        """The requests to which their fault applied."""
        return [exchange for exchange in self.exchanges if exchange.was_spoiled]

    def settle(self) -> None:
        """Waits until no request is under way, late copies included."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy == 0, SLOW_LIMIT_S)

    def stop(self) -> None:
        self._stop_listening()
        self._reset_all()

    # Connections

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        # A thread that waits in accept() would keep the port.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def _reset_all(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(TIMEOUT_S)
            time.sleep(self._round_trip_s)  # that of connecting
            with self._lock:
                self._open.add(connection)
                certificate = self._certificate
                if self._uses_other_certificate:
                    certificate = self._other_certificate
            if certificate is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                plain = connection
                connection = context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
                time.sleep(self._round_trip_s)
            self._serve_requests(connection)
        except (OSError, Disconnected, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _serve_requests(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while (head := read_head(stream)) is not None:
            exchange = self._arrived(Message(head))
            try:
                if not self._take(exchange, connection, stream):
                    return
            finally:
                with self._changed:
                    self._answered_depth = max(self._answered_depth, exchange.depth)
                    self._busy -= 1
                    self._changed.notify_all()

    def _arrived(self, request: Message) -> Exchange:
        with self._lock:
            self._busy += 1
            exchange = Exchange(len(self.exchanges) + 1, self._answered_depth + 1, request)
            self.exchanges.append(exchange)
            planned = self._plan.get(exchange.number)
            if planned is None and self._scope == Scope.FROM_THEN_ON:
                planned = next((fault for number, fault in self._plan.items()
                                if number <= exchange.number), None)
            if self._scope == Scope.SAME_KEY:
                key = (exchange.method, name_for_others(exchange))
                if planned is not None:
                    self._spoiled_keys[key] = planned
                planned = self._spoiled_keys.get(key)
            exchange.fault = planned
        return exchange

    # One request

    def _take(self, exchange: Exchange, connection: socket.socket, stream: object) -> bool:
        """False: the connection is to be closed, or is closed."""
        length = int(exchange.request.header("content-length") or 0)
        fault = exchange.fault
        if fault is None:
            exchange.request.body = read_exactly(stream, length)
            return self._send(exchange, connection, self._forward(exchange.request.whole,
                                                                  exchange.method))
        if fault in ("down", "reset", "kill_before", "no_request"):
            exchange.was_spoiled = True
            return self._spoil_unread(fault, connection)
        exchange.request.body = read_exactly(stream, length)
        if fault in ("cut_request_middle", "cut_request_last") and length > 0:
            exchange.was_spoiled = True
            whole = exchange.request.whole
            end = len(whole) - (1 if fault == "cut_request_last" else length - length // 2)
            self._forward_part(whole[:end])
            reset(connection)
            return False
        if fault in ERROR_STATUS and not fault.startswith("done_but"):
            exchange.was_spoiled = fault not in ("full", "full_507") or exchange.method in ("PUT",
                                                                                            "POST")
            if exchange.was_spoiled:
                return self._send(exchange, connection, self._error(exchange, fault))
        return self._take_spoiled(exchange, connection, fault)

    def _spoil_unread(self, fault: str, connection: socket.socket) -> bool:
        if fault == "kill_before":
            self.on_kill()
        elif fault == "down":
            self._stop_listening()
            self._reset_all()
            time.sleep(DOWN_S)
            self._listen()
        elif fault == "no_request":
            self._wait_until_closed(connection)
            return False
        reset(connection)
        return False

    def _take_spoiled(self, exchange: Exchange, connection: socket.socket, fault: str) -> bool:
        """A request that is carried out, as the client wanted it or not."""
        request = exchange.request.whole
        if fault == "wrong_bytes" and exchange.request.body:
            exchange.was_spoiled = True
            body = bytearray(exchange.request.body)
            body[len(body) // 2] ^= 0x40
            request = exchange.request.head + bytes(body)
        if fault == "old_list" and exchange.is_list:
            exchange.was_spoiled = True
            return self._send(exchange, connection, self._list_of_old(exchange))
        answer = self._forward(request, exchange.method)
        if fault in ("twice", "twice_first_answer"):
            exchange.was_spoiled = True
            second = self._forward(request, exchange.method)
            return self._send(exchange, connection, second if fault == "twice" else answer)
        if fault == "again_later":
            exchange.was_spoiled = True
            self._forward_later(request, exchange.method)
        elif fault.startswith("done_but"):
            exchange.was_spoiled = True
            answer = self._error(exchange, fault)
        elif fault == "delayed":
            exchange.was_spoiled = True
            time.sleep(DELAY_S)
        elif fault in ("date_ahead", "date_behind"):
            exchange.was_spoiled = True
            answer = dated(answer, SKEW_S if fault == "date_ahead" else -SKEW_S)
        elif fault == "kill_after":
            exchange.was_spoiled = True
            self.on_kill()
        elif fault in ("short_body", "long_body", "other_body", "wrong_bytes"):
            answer = self._with_other_body(exchange, answer, fault)
        else:
            return self._send_part(exchange, connection, answer, fault)
        return self._send(exchange, connection, answer)

    def _with_other_body(self, exchange: Exchange, answer: Message, fault: str) -> Message:
        if exchange.method != "GET" or status_of(answer) // 100 != 2 or not answer.body:
            return answer
        body = answer.body
        if fault == "other_body":
            with self._lock:
                paths = [path for path in self._others if path != name_for_others(exchange)]
                # One of the same kind, if there is one.
                paths.sort(key=lambda path: (-len(os.path.commonprefix([path, exchange.path])),
                                             path))
                if not paths:
                    return answer
                exchange.was_spoiled = True
                return self._others[paths[0]]
        exchange.was_spoiled = True
        if fault == "wrong_bytes":
            changed = bytearray(body)
            changed[len(body) // 2] ^= 0x40
            body = bytes(changed)
        elif fault == "short_body":
            body = body[:-1]
        else:
            body += b"\0"
        return replace(answer, body=body).with_header("content-length", str(len(body)))

    def _send_part(self, exchange: Exchange, connection: socket.socket, answer: Message,
                   fault: str) -> bool:
        """A part of the answer, or all of it in another way."""
        whole = answer.whole
        lengths = {"lost_answer": 0, "cut_answer_start": len(answer.head) // 2,
                   "cut_answer_middle": len(answer.head) + len(answer.body) // 2,
                   "cut_answer_last": len(whole) - 1, "tls_garbage": len(whole) // 2,
                   "tls_cut": len(whole) // 2, "tls_other_certificate": 0, "no_answer": 0,
                   "slow_answer": 0}
        if fault not in lengths:
            return self._send(exchange, connection, answer)
        exchange.was_spoiled = True
        exchange.status = status_of(answer)
        if fault == "tls_other_certificate":
            with self._lock:
                self._uses_other_certificate = True
        if fault == "slow_answer":
            end = time.monotonic() + SLOW_LIMIT_S
            for byte in whole:
                connection.sendall(bytes([byte]))
                if time.monotonic() > end:
                    break
                time.sleep(1)
            return False
        connection.sendall(whole[:lengths[fault]])
        if fault == "no_answer":
            self._wait_until_closed(connection)
        elif fault == "tls_garbage":
            os.write(connection.fileno(), os.urandom(200))
        elif fault not in ("cut_answer_start", "cut_answer_middle", "cut_answer_last"):
            reset(connection)
        return False

    def _send(self, exchange: Exchange, connection: socket.socket, answer: Message) -> bool:
        exchange.status = status_of(answer)
        exchange.answer_bytes = len(answer.whole)
        if exchange.method == "GET" and exchange.status // 100 == 2 and answer.body:
            with self._lock:
                self._others.setdefault(name_for_others(exchange), answer)
        if self.date_offset_s:
            answer = dated(answer, self.date_offset_s)
        if self.late_share > 0 and self._chance.random() < self.late_share:
            exchange.was_spoiled = True
            time.sleep(self.late_s)
        self._delay(len(exchange.request.body) + len(answer.body))
        try:
            connection.sendall(answer.whole)
        except OSError:
            return False
        return answer.header("connection").lower() != "close"

    def _delay(self, payload_bytes: int) -> None:
        """The line: a round trip, and its bandwidth, which all connections share."""
        time.sleep(self._round_trip_s)
        if self._bytes_s > 0:
            with self._lock:
                start = max(self._line_free_at, time.monotonic())
                self._line_free_at = start + payload_bytes / self._bytes_s
                wait_s = self._line_free_at - time.monotonic()
            time.sleep(max(0.0, wait_s))

    # The server

    def _connect(self) -> socket.socket:
        upstream = socket.create_connection(("127.0.0.1", self._server_port), TIMEOUT_S)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return upstream

    def _forward(self, request: bytes, method: str) -> Message:
        with self._connect() as upstream:
            upstream.sendall(request)
            stream = upstream.makefile("rb")
            while True:
                head = read_head(stream)
                if head is None:
                    raise Disconnected
                answer = Message(head)
                if status_of(answer) >= 200:
                    break
            if method == "HEAD" or status_of(answer) in (204, 304):
                return answer
            if answer.header("transfer-encoding").lower() == "chunked":
                answer.body = read_chunks(stream)
                answer = answer.without_header("transfer-encoding")
                return answer.with_header("content-length", str(len(answer.body)))
            length = answer.header("content-length")
            answer.body = (read_exactly(stream, int(length)) if length
                           else stream.read())
            return answer if length else answer.with_header("content-length",
                                                            str(len(answer.body)))

    def _forward_part(self, part: bytes) -> None:
        """Sends the beginning of a request, and closes."""
        with self._connect() as upstream:
            upstream.sendall(part)
            upstream.shutdown(socket.SHUT_WR)
            upstream.settimeout(0.5)
            try:
                upstream.recv(1 << 16)
            except OSError:
                pass

    def _forward_later(self, request: bytes, method: str) -> None:
        with self._lock:
            self._busy += 1

        def send() -> None:
            try:
                time.sleep(LATE_S)
                self._forward(request, method)
            except (OSError, Disconnected):
                pass
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

        threading.Thread(target=send, daemon=True).start()

    @staticmethod
    def _wait_until_closed(connection: socket.socket) -> None:
        """Says nothing more."""
        connection.settimeout(SLOW_LIMIT_S)
        try:
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass

    @staticmethod
    def _error(exchange: Exchange, fault: str) -> Message:
        status, code = ERROR_STATUS[fault]
        text = (f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the proxy</Message>"
                "</Error>" if code else "<html><body>not found</body></html>").encode()
        date = email.utils.formatdate(time.time() + (SKEW_S if fault == "skewed_clock" else 0),
                                      usegmt=True)
        head = (f"HTTP/1.1 {status} Error\r\nDate: {date}\r\nContent-Length: {len(text)}\r\n"
                "\r\n").encode()
        return Message(head, b"" if exchange.method == "HEAD" else text)

    def _list_of_old(self, exchange: Exchange) -> Message:
        """A list that a server would have answered earlier."""
        query = exchange.query
        prefix = query.get("prefix", "")
        after = query.get("start-after", "")
        limit = int(query.get("max-keys", MAX_KEYS))
        found = [one for one in self.old_list if one.key.startswith(prefix) and one.key > after]
        listed = "".join(
            f"<Contents><Key>{escape(one.key)}</Key><LastModified>{one.modified}</LastModified>"
            f"<ETag>{escape(one.tag)}</ETag><Size>{one.size}</Size></Contents>"
            for one in found[:limit])
        text = ("<?xml version=\"1.0\"?><ListBucketResult>"
                f"<IsTruncated>{'true' if len(found) > limit else 'false'}</IsTruncated>"
                f"{listed}</ListBucketResult>").encode()
        date = email.utils.formatdate(usegmt=True)
        return Message((f"HTTP/1.1 200 OK\r\nDate: {date}\r\n"
                        f"Content-Length: {len(text)}\r\n\r\n").encode(), text)


def name_for_others(exchange: Exchange) -> str:
    """What tells the answers to reads apart."""
    return f"list {exchange.query.get('prefix', '')}" if exchange.is_list else exchange.path


def status_of(answer: Message) -> int:
    return int(answer.head.split(b" ", 2)[1])


def dated(answer: Message, offset_s: float) -> Message:
    """The same by a clock that is wrong."""
    return answer.with_header("date", email.utils.formatdate(time.time() + offset_s, usegmt=True))


def read_chunks(stream: object) -> bytes:
    body = b""
    while True:
        line = stream.readline(1024)  # type: ignore[attr-defined]
        length = int(line.split(b";")[0], 16)
        body += read_exactly(stream, length)
        stream.readline(1024)  # type: ignore[attr-defined]
        if length == 0:
            return body
