"""The client against a peer that plays the daemon badly, and the generated methods."""

from __future__ import annotations

import inspect
import json
import keyword
import re
import shutil
import socket
import tempfile
import threading
import unittest
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from support import OPENAPI, PACKAGE

import generate
import lamina
from lamina import api, wire

DOCUMENT = json.loads(OPENAPI.read_text())
VERSION = {"message_type": "version", "version": "0.2.0", "api": "v1"}
Handler = Callable[[socket.socket], None]


def answer(body: Any, status: int = 200) -> bytes:
    """An answer of the daemon."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n").encode() + text


def read_request(client: socket.socket) -> bytes:
    """Head and body of a request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    while found is not None and len(body) < int(found[1]):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


class Peer:
    """Listens on a Unix socket, and gives each connection to a handler."""

    def __init__(self, handle: Handler) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="lamina-peer-"))
        self.path = self._directory / "socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._handle = handle
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                first = client.recv(4, socket.MSG_PEEK)
                if first == b"STOP":
                    return
                self._handle(client)

    def stop(self) -> None:
        """Ends the thread."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            client.sendall(b"STOP")
        self._thread.join()
        self._listener.close()
        shutil.rmtree(self._directory)


class PeerTest(unittest.TestCase):
    """Answers of all kinds."""

    def client(self, handle: Handler, timeout_s: Optional[float] = None) -> lamina.Client:
        """A client of a peer that ends with the test."""
        peer = Peer(handle)
        self.addCleanup(peer.stop)
        return lamina.Client(peer.path, timeout_s)

    def setUp(self) -> None:
        self._data = b""
        self._answering: Optional[lamina.Client] = None

    def answering(self, data: bytes) -> lamina.Client:
        """A client of a peer that sends `data`. There is one peer for each test."""
        def handle(client: socket.socket) -> None:
            read_request(client)
            client.sendall(self._data)
        self._data = data
        if self._answering is None:
            self._answering = self.client(handle)
        return self._answering

    def test_an_answer_becomes_a_value(self) -> None:
        version = self.answering(answer({**VERSION, "added_later": 1})).version()
        self.assertEqual(version, api.Version("version", "0.2.0", "v1"))

    def test_a_chunked_answer_is_read(self) -> None:
        text = json.dumps(VERSION).encode()
        chunked = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (text[:5], len(text) - 5, text[5:]))
        self.assertEqual(self.answering(chunked).version().version, "0.2.0")
        with self.assertRaises(lamina.UnknownOutcomeError):
            self.answering(chunked[:-9]).version()

    def test_errors_have_the_class_of_their_kind(self) -> None:
        kinds = DOCUMENT["components"]["schemas"]["ItemError"]["properties"]["kind"]["enum"]
        found = set()
        for kind in [*kinds, "made_up_later"]:
            client = self.answering(answer({"error": {
                "kind": kind, "message": "m", "remedy": "r", "notes": ["n"],
                "stopping": True}}, 503))
            with self.subTest(kind), self.assertRaises(lamina.LaminaError) as caught:
                client.version()
            error = caught.exception
            self.assertEqual((error.kind, error.message, error.remedy, error.notes, error.status,
                              error.stopping, str(error)),
                             (kind, "m", "r", ("n",), 503, True, "m; r"))
            found.add(type(error))
        self.assertEqual(len(found), len(kinds))

    def test_every_truncated_answer_is_an_unknown_outcome(self) -> None:
        whole = answer(VERSION)
        for size in range(len(whole)):
            with self.subTest(size), self.assertRaises(lamina.UnknownOutcomeError):
                self.answering(whole[:size]).version()

    def test_a_text_that_is_cut_is_no_text(self) -> None:
        whole = answer(b"a 1\nb 2\n")
        self.assertEqual(self.answering(whole).metrics(), "a 1\nb 2\n")
        for size in (4, 8):
            with self.assertRaises(lamina.UnknownOutcomeError):
                self.answering(whole[:-size]).metrics()

    def test_answers_of_a_wrong_form_are_unknown_outcomes(self) -> None:
        for data in (b"nonsense\r\n\r\n", answer(b""), answer(b"{"), answer([]), answer({}),
                     answer({**VERSION, "version": 3}), answer(b"[" * 100_000),
                     answer(b"\xff"), answer("no", 500), answer({"error": {"kind": 1}}, 400),
                     b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(VERSION).encode(),
                     b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
                     b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n{}"):
            with self.subTest(data[:60]), self.assertRaises(lamina.UnknownOutcomeError):
                self.answering(data).version()

    def test_a_daemon_that_does_not_read_may_still_answer(self) -> None:
        refusal = answer({"error": {"kind": "usage", "message": "not you", "notes": []}}, 403)

        def handle(client: socket.socket) -> None:
            client.sendall(refusal)
        with self.assertRaises(lamina.UsageError) as caught:
            self.client(handle).version()
        self.assertEqual(caught.exception.status, 403)

    def test_the_time_limit_is_for_the_whole_request(self) -> None:
        ended = threading.Event()

        def drip(client: socket.socket) -> None:
            # Each byte comes in time; the answer never ends.
            read_request(client)
            client.settimeout(0.01)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not ended.is_set():
                try:
                    client.sendall(b" ")
                    client.recv(1)
                    return
                except socket.timeout:
                    continue
                except OSError:
                    return
        client = self.client(drip, timeout_s=0.3)
        try:
            with self.assertRaises(lamina.UnknownOutcomeError) as caught:
                client.version()
            self.assertIn("no answer within 0.3 s", str(caught.exception))
        finally:
            ended.set()

    def test_no_daemon_is_a_connect_error(self) -> None:
        for path in ("/nonexistent/socket", "x" * 200, __file__):
            with self.subTest(path), self.assertRaises(lamina.ConnectError) as caught:
                lamina.Client(path, 5).version()
            self.assertIn(path, str(caught.exception))
        for timeout_s in (0, -1.0, float("nan")):
            with self.assertRaises(ValueError):
                lamina.Client("socket", timeout_s)

    def test_a_full_queue_of_the_listener_is_a_connect_error(self) -> None:
        with tempfile.TemporaryDirectory(prefix="lamina-peer-") as directory, \
                socket.socket(socket.AF_UNIX) as listener, \
                socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            path = f"{directory}/socket"
            listener.bind(path)
            listener.listen(0)
            for client in (first, second):
                client.setblocking(False)
                try:
                    client.connect(path)
                except BlockingIOError:
                    break
            with self.assertRaises(lamina.ConnectError) as caught:
                lamina.Client(path, 0.05).version()
            self.assertIn("timed out", str(caught.exception))

    def test_events_are_followed_from_the_last_one(self) -> None:
        requests: List[bytes] = []
        batches = [[5, 6], [], [9]]

        def handle(client: socket.socket) -> None:
            requests.append(read_request(client).split(b"\r\n")[0])
            batch = batches[len(requests) - 1] if len(requests) <= len(batches) else []
            lines = [json.dumps({"sequence": n, "time": "t", "event": "fork", "x": n})
                     for n in batch]
            client.sendall(answer("".join(line + "\n" for line in lines).encode()))
        waits: List[float] = []
        events = self.client(handle).follow_events(after=4, interval_s=7, wait=waits.append)
        found = [next(events) for _ in range(3)]
        self.assertEqual([event.sequence for event in found], [5, 6, 9])
        self.assertEqual(found[2].fields["x"], 9)
        self.assertEqual(waits, [7, 7])
        self.assertEqual(requests, [b"GET /v1/events?after=%d HTTP/1.1" % after
                                    for after in (4, 6, 6)])

    def test_half_a_line_of_events_is_no_event(self) -> None:
        lines = b'{"sequence": 1, "time": "t", "event": "fork"}\n{"sequence": 2, "ti'
        with self.assertRaises(lamina.UnknownOutcomeError):
            self.answering(answer(lines)).events()


class Recorder(lamina.Client):
    """Keeps what it would send."""

    def __init__(self) -> None:
        super().__init__("unused")
        self.sent: List[Tuple[str, str, Mapping[str, Any], Optional[Mapping[str, Any]]]] = []

    def _json(self, method: str, path: str, decode: wire.Decoder[Any], *,
              query: Optional[Mapping[str, Any]] = None,
              body: Optional[Mapping[str, Any]] = None) -> Any:
        self.sent.append((method, path, query or {}, body))

    def _lines(self, method: str, path: str, decode: wire.Decoder[Any], *,
               query: Optional[Mapping[str, Any]] = None) -> Any:
        self.sent.append((method, path, query or {}, None))

    def _text(self, method: str, path: str) -> Any:
        self.sent.append((method, path, {}, None))


def sample(schema: Dict[str, Any]) -> Any:
    """A value for a field of a request."""
    if "enum" in schema:
        return schema["enum"][-1]
    return {"string": "a b/c?", "integer": 7, "boolean": False,
            "array": ["x", "y"]}[schema["type"]]


class GeneratedTest(unittest.TestCase):
    """lamina/api.py."""

    def test_it_is_up_to_date(self) -> None:
        self.assertEqual((PACKAGE / "lamina" / "api.py").read_text(), generate.generate(DOCUMENT),
                         "run bindings/python/generate.py")

    def test_every_operation_has_a_method_that_sends_all_its_fields(self) -> None:
        operations = [(method, path, item, operation)
                      for path, item in DOCUMENT["paths"].items()
                      for method, operation in item.items() if method != "parameters"]
        self.assertGreaterEqual(len(operations), 14)
        for method, path, item, operation in operations:
            with self.subTest(operation["operationId"]):
                self.check_operation(method, path, operation,
                                     [*item.get("parameters", []),
                                      *operation.get("parameters", [])])

    def check_operation(self, method: str, path: str, operation: Dict[str, Any],
                        parameters: List[Dict[str, Any]]) -> None:
        """Calls the method with all fields, and compares what would be sent with the document."""
        values = {parameter["name"]: sample(parameter["schema"]) for parameter in parameters}
        query = {parameter["name"]: values[parameter["name"]] for parameter in parameters
                 if parameter["in"] == "query"}
        expected_path = path.replace("{name}", "a%20b%2Fc%3F")
        body: Optional[Dict[str, Any]] = None
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            request = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            body = {name: sample(value) for name, value in request["properties"].items()}
            values.update(body)
        name = re.sub("[A-Z]", lambda found: "_" + found[0].lower(), operation["operationId"])
        recorder = Recorder()
        function = getattr(recorder, name)
        # A keyword has an underscore behind it: as_.
        values = {field + "_" * keyword.iskeyword(field): value for field, value in values.items()}
        function(**values)
        self.assertEqual(recorder.sent, [(method.upper(), expected_path, query, body)])
        self.assertEqual(set(inspect.signature(function).parameters), set(values))

    def test_what_is_not_given_is_not_sent(self) -> None:
        recorder = Recorder()
        recorder.pause("a", "b")
        recorder.list()
        self.assertEqual(recorder.sent, [
            ("POST", "/v1/pause", {}, {"api_socket": "a", "name": "b"}),
            ("GET", "/v1/snapshots", {}, None)])


if __name__ == "__main__":
    unittest.main()
