#!/usr/bin/env python3
"""The stand-in for Firecracker is one: its bytes, its files, its memory, its failures.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Answer, Firecracker
from memory_files import EXIT_FAILED, PAGE_BYTES, LaminaTest, data_map, main
from serving import Server, adopt_orphans, connected, huge_pages, wait_until

MEMORY_MIB = 16
PAGES = (MEMORY_MIB << 20) // PAGE_BYTES
FRESH = ("--start", "--memory-mib", MEMORY_MIB)
OTHER_USER = 65534
QUEUE_PAGE = 0
GENERATION_PAGE = 0xdf  # a load stores the VM's generation id in it
SHARED_MEMORY = Path("/dev/shm")
MAX_BODY_BYTES = 51200

COMMON_HEADERS = b"Server: Firecracker API\r\nConnection: keep-alive\r\n"
DONE = b"HTTP/1.1 204 \r\n" + COMMON_HEADERS + b"\r\n"

JSON_ERROR = "An error occurred when deserializing the json body of a request: "
BEFORE_START = "The requested operation is not supported before starting the microVM."
AFTER_START = "The requested operation is not supported after starting the microVM."


def with_body(status: int, body: bytes, more: bytes = b"") -> bytes:
    """The bytes of an answer that has a body."""
    return (b"HTTP/1.1 %d \r\n" % status + COMMON_HEADERS + more +
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def unparsable(why: bytes) -> bytes:
    """The answer to an invalid request."""
    return with_body(400, b'{ "error": "' + why +
                     b'\nAll previous unanswered requests will be dropped." }')


def request(method: bytes, path: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    """The bytes of a request."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + length + headers + \
        b"\r\n" + body


class Wire:
    """A connection on which bytes are compared."""

    def __init__(self, path: Path) -> None:
        """Connects."""
        self.socket = connected(path)

    def receive(self, count: int) -> bytes:
        """So many bytes, fewer at the end of the connection."""
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            if not piece:
                break
            received += piece
        return received


class StandInTest(LaminaTest):
    """A test with files of its own in a directory that the stand-in may use."""

    def paths(self, name: str) -> tuple[Path, Path]:
        """Where a snapshot goes: state file, memory file."""
        return self.directory / f"{name}.state", self.directory / f"{name}.memory"

    def created(self, vm: Firecracker, kind: str, name: str) -> tuple[Path, Path]:
        """Takes a snapshot of a paused VM."""
        state, memory = self.paths(name)
        self.assertEqual(vm.create(kind, state, memory), Answer(204, ""), vm.said())
        return state, memory

    def fresh_snapshot(self, *operations: str, name: str = "full") -> tuple[Path, Path]:
        """A Full snapshot of a VM that has done `operations`, and has ended."""
        with Firecracker(*FRESH) as vm:
            for line in operations:
                vm.tell(line)
            vm.pause()
            return self.created(vm, "Full", name)

    def dumped(self, vm: Firecracker) -> bytes:
        """The memory as it is."""
        path = self.directory / "dump"
        vm.tell(f"dump {path}")
        return path.read_bytes()

    def assert_all_right(self, vm: Firecracker) -> None:
        """The guest must never have read anything wrong, nor hold it."""
        self.assertEqual(vm.control("check"), f"ok pages={PAGES}", vm.said())

    def assert_dirty(self, memory: Path, pages: set[int]) -> None:
        """The data of a diff must be exactly these pages, and its size the memory's."""
        written = {page for start, end in data_map(memory)
                   for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES))}
        self.assertEqual(written, pages)
        self.assertEqual(memory.stat().st_size, PAGES * PAGE_BYTES)


class Bytes(StandInTest):
    """What is on the wire."""

    def setUp(self) -> None:
        """A VM that runs, and a connection."""
        super().setUp()
        self.vm = self.enterContext(Firecracker(*FRESH, "--id", "a-vm"))
        self.wire = Wire(self.vm.api_socket)
        self.addCleanup(self.wire.socket.close)

    def assert_answer(self, asked: bytes, answer: bytes) -> None:
        """Sends bytes and compares what comes back."""
        self.wire.socket.sendall(asked)
        self.assertEqual(self.wire.receive(len(answer)), answer)

    def test_answers_on_a_connection_that_stays_open(self) -> None:
        info = (b'{"id":"a-vm","state":"Running","vmm_version":"1.15.0",'
                b'"app_name":"Firecracker"}')
        config = (b'{"vcpu_count":1,"mem_size_mib":16,"smt":false,"track_dirty_pages":true,'
                  b'"huge_pages":"None"}')
        self.assert_answer(request(b"GET", b"/"), with_body(200, info))
        self.assert_answer(request(b"GET", b"/version"),
                           with_body(200, b'{"firecracker_version":"1.15.0"}'))
        self.assert_answer(request(b"GET", b"/machine-config"), with_body(200, config))
        self.assert_answer(request(b"PATCH", b"/vm", b'{"state":"Paused"}'), DONE)
        self.assert_answer(request(b"GET", b"/"),
                           with_body(200, info.replace(b"Running", b"Paused")))
        self.assert_answer(request(b"PATCH", b"/vm", b'{"state":"Resumed"}'), DONE)
        self.assert_answer(request(b"GET", b"/nothing"), with_body(
            400, b'{"fault_message":"Invalid request method and/or path: GET nothing."}'))

    def test_a_request_in_pieces_and_two_at_once_are_answered(self) -> None:
        asked = request(b"PATCH", b"/vm", b'{"state":"Paused"}')
        for number in range(len(asked) - 1):
            self.wire.socket.sendall(asked[number:number + 1])
        self.assert_answer(asked[-1:], DONE)
        self.assert_answer(asked + asked, DONE + DONE)

    def test_expect_is_answered_before_the_body(self) -> None:
        body = b'{"state":"Paused"}'
        asked = request(b"PATCH", b"/vm", body, b"Expect: 100-continue\r\n")
        self.assert_answer(asked.removesuffix(body),
                           b"HTTP/1.1 100 \r\n" + COMMON_HEADERS + b"\r\n")
        self.assert_answer(body, DONE)

    def test_an_invalid_request_is_answered_without_a_fault_message(self) -> None:
        self.assert_answer(b"POST / HTTP/1.1\r\n\r\n",
                           unparsable(b"Invalid HTTP Method: Unsupported HTTP method."))
        self.assert_answer(b"GET / HTTP/3\r\n\r\n",
                           unparsable(b"Invalid HTTP Version: Unsupported HTTP version."))
        self.assert_answer(b"GET " + b"x" * 2000, unparsable(b"Invalid request."))

    def test_a_body_of_the_largest_size_is_taken_and_a_larger_one_refused(self) -> None:
        body = b'{"state":"Paused"}'
        self.assert_answer(request(b"PATCH", b"/vm", body + b" " * (MAX_BODY_BYTES - len(body))),
                           DONE)
        why = (b"Request payload with size 51201 is larger than the limit of 51200 allowed by "
               b"server.")
        self.assert_answer(request(b"PUT", b"/snapshot/create", b"x" * (MAX_BODY_BYTES + 1)),
                           unparsable(why))
        self.assertEqual(self.vm.state(), "Paused")

    def test_the_eleventh_connection_is_turned_away(self) -> None:
        others = [Wire(self.vm.api_socket) for _ in range(9)]
        for other in others:
            self.addCleanup(other.socket.close)
            other.socket.sendall(request(b"PATCH", b"/vm", b'{"state":"Paused"}'))
            self.assertEqual(other.receive(len(DONE)), DONE)
        late = Wire(self.vm.api_socket)
        self.addCleanup(late.socket.close)
        full = (b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n"
                b'Content-Length: 40\r\n\r\n{ "error": "Too many open connections" }')
        self.assertEqual(late.receive(len(full) + 1), full)

    def test_a_deprecated_field_gets_a_deprecation_header(self) -> None:
        state, memory = self.fresh_snapshot("write 3 7")
        with Firecracker() as vm, contextlib.closing(Wire(vm.api_socket).socket) as client:
            body = b'{"snapshot_path":"%s","mem_file_path":"%s"}' % (os.fsencode(state),
                                                                     os.fsencode(memory))
            client.sendall(request(b"PUT", b"/snapshot/load", body))
            answer = b"HTTP/1.1 204 \r\n" + COMMON_HEADERS + b"Deprecation: true\r\n\r\n"
            self.assertEqual(client.recv(len(answer), socket.MSG_WAITALL), answer)
            # Also where the request is refused.
            client.sendall(request(b"PUT", b"/snapshot/load", body))
            answer = with_body(400, b'{"fault_message":"%s"}' % AFTER_START.encode(),
                               b"Deprecation: true\r\n")
            self.assertEqual(client.recv(len(answer), socket.MSG_WAITALL), answer)


class Refusals(StandInTest):
    """What is refused, and in which words."""

    def refused_with(self, vm: Firecracker, method: str, path: str, body: Any,
                     message: str) -> None:
        """The request must be refused with exactly this message."""
        answer = vm.request(method, path, body)
        self.assertEqual((answer.status, answer.fault), (400, message))

    def test_invalid_bodies_are_refused(self) -> None:
        create = "/snapshot/create"
        fields = "expected one of `snapshot_type`, `snapshot_path`, `mem_file_path`"
        with Firecracker(*FRESH) as vm:
            for body, why in (
                    ('{"x":1}', f"unknown field `x`, {fields} at line 1 column 4"),
                    ('{\n "snapshot_path": "a",\n "y": {}}', f"unknown field `y`, {fields} at line "
                     "3 column 4"),
                    ('{"snapshot_path":"a"\n}', "missing field `mem_file_path` at line 2 column 1"),
                    ('{"snapshot_path":"a","snapshot_path":"b"}',
                     "duplicate field `snapshot_path` at line 1 column 36"),
                    ('{"snapshot_path":1,', "invalid type: integer `1`, expected path string at "
                     "line 1 column 18"),
                    ('{"snapshot_type":"Part"}', "unknown variant `Part`, expected `Diff` or "
                     "`Full` at line 1 column 23"),
                    ('{"snapshot_path":', "EOF while parsing an object at line 1 column 17")):
                with self.subTest(body):
                    self.refused_with(vm, "PUT", create, body, f"{JSON_ERROR}{why}.")
            self.refused_with(vm, "PATCH", "/vm", '{"state":"Running"}', JSON_ERROR + "unknown "
                              "variant `Running`, expected `Paused` or `Resumed` at line 1 column "
                              "18.")

    def test_fields_of_later_versions_are_unknown_to_earlier_ones(self) -> None:
        load = {"snapshot_path": "/no", "mem_backend": {"backend_type": "File",
                                                        "backend_path": "/no"}}
        for field, value, before, since in (
                ("network_overrides", [{"iface_id": "eth0", "host_dev_name": "tap1", "x": [{}]}],
                 "1.11.0", "1.12.0"),
                ("track_dirty_pages", True, "1.12.1", "1.13.0"),
                ("vsock_override", {"uds_path": "/v"}, "1.15.1", "1.16.0"),
                ("clock_realtime", True, "1.15.1", "1.16.0"),
                ("huge_pages", "Transparent", "1.16.1", "1.17.0")):
            with Firecracker("--version", before) as vm:
                self.assertIn(f"unknown field `{field}`, expected one of `snapshot_path`, ",
                              vm.request("PUT", "/snapshot/load", {**load, field: value}).fault)
                self.assertEqual(vm.state(), "Not started")
            with Firecracker("--version", since) as vm:
                self.assertNotIn("unknown", vm.request("PUT", "/snapshot/load",
                                                       {**load, field: value}).fault)
        create = {"snapshot_path": "/no/s", "mem_file_path": "/no/m", "sync_snapshot_files": True}
        with Firecracker(*FRESH, "--version", "1.16.0") as vm:
            self.assertIn("unknown field `sync_snapshot_files`",
                          vm.request("PUT", "/snapshot/create", create).fault)
        with Firecracker(*FRESH, "--version", "1.17.0") as vm:
            self.assertNotIn("unknown", vm.request("PUT", "/snapshot/create", create).fault)

    def test_missing_devices_cannot_be_overridden(self) -> None:
        failed = "Load snapshot error: Failed to restore from snapshot: Failed to get snapshot " \
                 "state from file: "
        with Firecracker(*FRESH, "--net", "eth0") as vm:
            vm.pause()
            state, memory = self.created(vm, "Full", "devices")
        body = {"snapshot_path": str(state), "mem_backend": {"backend_type": "File",
                                                             "backend_path": str(memory)}}
        networks = [{"iface_id": "eth0", "host_dev_name": "tap1"}]
        with Firecracker("--version", "1.17.0") as vm:
            vm.done("PUT", "/snapshot/load", {**body, "network_overrides": networks})
        networks[0]["iface_id"] = "eth1"
        for more, device in (({"network_overrides": networks}, "Network"),
                             ({"vsock_override": {"uds_path": "/v"}}, "Vsock")):
            with Firecracker("--version", "1.17.0") as vm:
                self.refused_with(vm, "PUT", "/snapshot/load", {**body, **more},
                                  f"{failed}Unknown {device} Device.")
                self.assertEqual(vm.wait(), EXIT_FAILED)

    def test_a_process_with_a_boot_source_loads_nothing_and_lives(self) -> None:
        state, memory = self.fresh_snapshot()
        with Firecracker() as vm:
            vm.done("PUT", "/boot-source", {"kernel_image_path": "/vmlinux"})
            self.assertEqual(vm.load(state, memory).fault, "Load snapshot error: Loading a microVM "
                             "snapshot not allowed after configuring boot-specific resources.")
            self.assertEqual(vm.state(), "Not started")

    def test_hotpluggable_memory_is_reported(self) -> None:
        status = "/hotplug/memory"
        with Firecracker() as vm:
            self.refused_with(vm, "GET", status, None, BEFORE_START)
        with Firecracker(*FRESH) as vm:
            self.refused_with(vm, "GET", status, None, "Internal VMM error: Failed perform action "
                              "on device: Device not found")
        with Firecracker(*FRESH, "--version", "1.13.1") as vm:
            self.refused_with(vm, "GET", status, None,
                              "Invalid request method and/or path: GET hotplug.")
        with Firecracker(*FRESH, "--hotplug-mib", 128, "--plugged-mib", 2) as vm:
            self.assertEqual(vm.done("GET", status).json, {
                "block_size_mib": 2, "total_size_mib": 128, "slot_size_mib": 128,
                "plugged_size_mib": 2, "requested_size_mib": 2})
            self.assertEqual(vm.done("GET", "/machine-config").json["mem_size_mib"], MEMORY_MIB)
            vm.pause()
            _, memory = self.created(vm, "Full", "hotplug")
            self.assertEqual(memory.stat().st_size, MEMORY_MIB + 128 << 20)
            self.assertEqual(data_map(memory), [(0, MEMORY_MIB + 2 << 20)])

    def test_a_load_names_one_source(self) -> None:
        with Firecracker() as vm:
            self.refused_with(vm, "PUT", "/snapshot/load", {"snapshot_path": "a"}, JSON_ERROR +
                              "missing field: either `mem_backend` or `mem_file_path` is required.")
            both = {"snapshot_path": "a", "mem_file_path": "b",
                    "mem_backend": {"backend_type": "File", "backend_path": "c"}}
            self.refused_with(vm, "PUT", "/snapshot/load", both, JSON_ERROR + "too many fields: "
                              "either `mem_backend` or `mem_file_path` exclusively is required.")
            self.assertEqual(vm.state(), "Not started")

    def test_unknown_methods_and_paths_are_refused(self) -> None:
        with Firecracker(*FRESH) as vm:
            self.refused_with(vm, "GET", "/", "{}", "GET request cannot have a body.")
            self.refused_with(vm, "PUT", "/snapshot/create", None, "Empty PUT request.")
            self.refused_with(vm, "PATCH", "/vm", None, "Empty PATCH request.")
            self.refused_with(vm, "PUT", "/snapshot", "{}", "Missing snapshot operation type.")
            self.refused_with(vm, "PUT", "/snapshot/take", "{}",
                              "Invalid request method and/or path: PUT /snapshot/take.")
            self.refused_with(vm, "PUT", "/actions", "{}",
                              "Invalid request method and/or path: PUT actions.")
            self.refused_with(vm, "DELETE", "/pmem/x", None,
                              "Invalid request method and/or path: DELETE pmem.")

    def test_requests_in_the_wrong_state_are_refused(self) -> None:
        create = {"snapshot_path": "/no/s", "mem_file_path": "/no/m"}
        with Firecracker() as vm:
            self.assertEqual(vm.state(), "Not started")
            self.refused_with(vm, "PATCH", "/vm", {"state": "Paused"}, BEFORE_START)
            self.refused_with(vm, "PUT", "/snapshot/create", create, BEFORE_START)
            self.assertEqual(vm.control("write 0 1"), "error not started")
        with Firecracker(*FRESH) as vm:
            self.refused_with(vm, "PUT", "/snapshot/create", create, "Create snapshot error: Cannot"
                              " save the microVM state: Operation not allowed: save/restore "
                              "unavailable while running")
            self.assertEqual(vm.load("/no/s", "/no/m").fault, AFTER_START)
            vm.pause()
            vm.pause()
            self.refused_with(vm, "PUT", "/snapshot/create", create, "Create snapshot error: Cannot"
                              " perform open on the snapshot backing file: No such file or "
                              "directory (os error 2)")
            self.assertEqual(vm.control("write 0 1"), "error not running")
            vm.resume()
            vm.resume()
            self.assertEqual(vm.state(), "Running")

    def test_a_failed_load_ends_the_process(self) -> None:
        state, memory = self.fresh_snapshot("write 3 7")
        short = self.directory / "short"
        short.write_bytes(memory.read_bytes()[:-PAGE_BYTES])
        damaged = self.directory / "damaged"
        damaged.write_bytes(state.read_bytes()[:-1] + b"\xff")
        cut = self.directory / "cut"
        cut.write_bytes(state.read_bytes()[:-1])
        nobody = "Failed to connect to UDS Unix stream: No such file or directory (os error 2)"
        for source, contents, backend, why in (
                (Path("/no/s"), memory, "File", "No such file or directory (os error 2)"),
                (damaged, memory, "File", "CRC validation failed"),
                (cut, memory, "File", "shorter"), (memory, memory, "File", "magic"),
                (state, short, "File", "Failed to load guest memory"),
                (state, Path("/no/m"), "File", "No such file or directory (os error 2)"),
                (state, Path("/no/socket"), "Uffd", nobody)):
            with self.subTest(why), Firecracker() as vm:
                answer = vm.load(source, contents, backend)
                self.assertEqual(answer.status, 400)
                self.assertTrue(answer.fault.startswith("Load snapshot error: Failed to restore "
                                                        "from snapshot: "), answer.fault)
                self.assertIn(why, answer.fault)
                self.assertEqual(vm.wait(), EXIT_FAILED)

    def test_the_socket_must_be_free(self) -> None:
        (self.directory / "api").touch()
        with Firecracker(jail=self.directory, must_start=False) as vm:
            self.assertFalse(vm.ready)
            self.assertEqual(vm.wait(), EXIT_FAILED)
            self.assertIn("listen '/api': Address already in use", vm.said())


class MemoryFiles(StandInTest):
    """What a create writes."""

    def test_full_writes_every_page_zeros_too(self) -> None:
        with Firecracker(*FRESH, "--regions", 2) as vm:
            vm.tell("write 5 11")
            vm.tell(f"write {PAGES - 1} 12")
            vm.pause()
            _, memory = self.created(vm, "Full", "full")
            contents = memory.read_bytes()
            self.assertEqual(data_map(memory), [(0, PAGES * PAGE_BYTES)])
            self.assertEqual(contents, self.dumped(vm))
            self.assertEqual(f"{zlib.crc32(contents):08x}", vm.tell("digest"))
            self.assertEqual({page for page in range(PAGES) if any(
                contents[page * PAGE_BYTES:(page + 1) * PAGE_BYTES])}, {5, PAGES - 1})

    def test_diff_writes_dirty_pages_zeros_too_and_leaves_holes(self) -> None:
        with Firecracker(*FRESH, "--regions", 2) as vm:
            for line in ("write 5 11", "write 6 12", "write 7 13", "write 9 14"):
                vm.tell(line)
            vm.pause()
            _, full = self.created(vm, "Full", "full")
            before = full.read_bytes()
            vm.resume()
            middle = PAGES // 2
            for line in ("clear 6", "write 100 3", "clear 200", f"write {middle - 1} 4",
                         f"write {middle} 5", "balloon 9 1", "touch 300 1"):
                vm.tell(line)
            self.assertEqual(vm.tell("dirty"), "6")
            vm.pause()
            _, diff = self.created(vm, "Diff", "diff")
            dirty = {QUEUE_PAGE, 6, 100, 200, middle - 1, middle}
            self.assert_dirty(diff, dirty)
            contents = diff.read_bytes()
            now = self.dumped(vm)
            for page in range(PAGES):
                span = slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
                if page in dirty:
                    self.assertEqual(contents[span], now[span], page)
                elif page != 9:
                    self.assertEqual(before[span], now[span], page)
            self.assertFalse(any(contents[6 * PAGE_BYTES:7 * PAGE_BYTES]))
            self.assertFalse(any(now[9 * PAGE_BYTES:10 * PAGE_BYTES]))

    def test_an_idle_diff_has_the_queues(self) -> None:
        with Firecracker(*FRESH) as vm:
            vm.pause()
            self.created(vm, "Full", "full")
            for number in range(2):
                _, memory = self.created(vm, "Diff", f"idle-{number}")
                self.assert_dirty(memory, {QUEUE_PAGE})

    def test_an_idle_diff_of_a_vm_without_queues_is_empty(self) -> None:
        with Firecracker(*FRESH, "--no-queues") as vm:
            vm.pause()
            self.created(vm, "Full", "full")
            _, memory = self.created(vm, "Diff", "idle")
            self.assert_dirty(memory, set())

    def test_a_diff_onto_a_file_of_the_same_size_merges_into_it(self) -> None:
        with Firecracker(*FRESH) as vm:
            vm.tell("run 500 1")
            vm.pause()
            _, memory = self.created(vm, "Full", "same")
            vm.resume()
            vm.tell("run 500 2")
            vm.pause()
            self.created(vm, "Diff", "same")
            self.assertEqual(memory.read_bytes(), self.dumped(vm))
            memory.write_bytes(b"x" * PAGE_BYTES * (PAGES + 1))
            self.created(vm, "Diff", "same")
            self.assert_dirty(memory, {QUEUE_PAGE})

    def test_without_tracking_resident_pages_are_dirty(self) -> None:
        with Firecracker(*FRESH, "--no-track-dirty") as vm:
            self.assertFalse(vm.done("GET", "/machine-config").json["track_dirty_pages"])
            vm.tell("write 5 11")
            vm.tell("write 6 0")
            vm.pause()
            for name in ("one", "two"):
                _, memory = self.created(vm, "Diff", name)
                self.assert_dirty(memory, {5, 6})
            state, full = self.created(vm, "Full", "full")
        with Firecracker() as vm:
            self.assertEqual(vm.load(state, full, track=False).status, 204)
            self.assertFalse(vm.done("GET", "/machine-config").json["track_dirty_pages"])
            vm.pause()
            # Of a file, what the page cache has.
            self.assertEqual(vm.tell("dirty"), str(PAGES))


class Resumed(StandInTest):
    """A guest that goes on in another process."""

    def setUp(self) -> None:
        """Directories for page servers."""
        super().setUp()
        self.sockets = Path(tempfile.mkdtemp(prefix="lamina-s-"))
        self.addCleanup(shutil.rmtree, self.sockets)
        self.states = Path(tempfile.mkdtemp(prefix="lamina-s-", dir=SHARED_MEMORY))
        self.addCleanup(shutil.rmtree, self.states, ignore_errors=True)

    @contextlib.contextmanager
    def serving(self, snapshot: Path, *options: str) -> Iterator[Server]:
        """`lamina serve` of one snapshot."""
        server = Server([snapshot], self.sockets, self.states, *options)
        try:
            yield server
        finally:
            server.end()

    def chain(self) -> tuple[Path, Path, str]:
        """A Full and a Diff of one guest, ingested: state file, snapshot, digest."""
        with Firecracker(*FRESH, "--regions", 2, "--balloon") as vm:
            vm.tell("run 3000 1")
            vm.pause()
            _, memory = self.created(vm, "Full", "c0")
            self.done("ingest", memory, "--out", self.store / "c0")
            vm.resume()
            vm.tell("run 1000 2")
            vm.pause()
            state, memory = self.created(vm, "Diff", "c1")
            self.done("ingest", memory, "--parent", self.store / "c0", "--out", self.store / "c1",
                      "--zeros", "written")
            return state, self.store / "c1", vm.tell("digest")

    def test_a_vm_loaded_from_a_file_has_its_memory(self) -> None:
        state, memory = self.fresh_snapshot("run 3000 1")
        digest = f"{zlib.crc32(memory.read_bytes()):08x}"
        with Firecracker("--balloon") as vm:
            self.assertEqual(vm.load(state, memory, resume=False).status, 204)
            self.assertEqual(vm.state(), "Paused")
            self.assertEqual(vm.tell("digest"), digest)
            self.assertEqual(vm.done("GET", "/machine-config").json["mem_size_mib"], MEMORY_MIB)
            self.assertTrue(vm.done("GET", "/machine-config").json["track_dirty_pages"])
            vm.resume()
            vm.tell("touch 500 1")
            self.assertEqual(vm.tell("dirty"), "2")
            vm.tell("run 2000 2")
            self.assert_all_right(vm)
            vm.pause()
            state, memory = self.created(vm, "Full", "next")
        with Firecracker() as vm:
            self.assertEqual(vm.load(state, memory).status, 204)
            vm.tell("run 2000 3")
            self.assert_all_right(vm)

    def test_wrong_memory_is_reported(self) -> None:
        state, memory = self.fresh_snapshot("write 3 7", "clear 4")
        contents = bytearray(memory.read_bytes())
        for page, byte in ((3, 17), (4, PAGE_BYTES - 1)):
            with self.subTest(page=page), Firecracker() as vm:
                changed = contents.copy()
                changed[page * PAGE_BYTES + byte] ^= 1
                memory.write_bytes(changed)
                self.assertEqual(vm.load(state, memory).status, 204)
                self.assertTrue(vm.control("check").startswith(f"wrong page={page} byte={byte} "))

    def test_pages_given_back_may_be_zeros_or_what_a_snapshot_had(self) -> None:
        with Firecracker(*FRESH) as vm:
            vm.tell("write 3 7")
            vm.pause()
            _, first = self.created(vm, "Full", "first")
            vm.resume()
            vm.tell("write 3 8")
            younger = self.dumped(vm)
            vm.tell("balloon 3 1")
            vm.pause()
            state, second = self.created(vm, "Full", "second")
        older, zeros = first.read_bytes(), second.read_bytes()
        wrong = older[:3 * PAGE_BYTES + 1] + b"\0" + older[3 * PAGE_BYTES + 2:]
        for contents, verdict in ((zeros, "ok"), (older, "ok"), (younger, "wrong"),
                                  (wrong, "wrong")):
            second.write_bytes(contents)
            with Firecracker() as vm:
                self.assertEqual(vm.load(state, second).status, 204)
                self.assertEqual(vm.control("check").split()[0], verdict)

    def test_a_vm_loaded_from_a_page_server_has_its_memory(self) -> None:
        state, snapshot, digest = self.chain()
        with self.serving(snapshot) as server, Firecracker("--balloon") as vm:
            self.assertEqual(vm.load(state, server.socket, "Uffd").status, 204, server.said())
            self.assertEqual(vm.tell("digest"), digest)
            vm.tell("touch 300 1")
            vm.tell("run 2000 2")
            self.assert_all_right(vm)
            vm.pause()
            _, full = self.created(vm, "Full", "full")
            self.assertEqual(full.read_bytes(), self.dumped(vm))
            self.assertEqual(data_map(full), [(0, PAGES * PAGE_BYTES)])

    def test_a_full_create_faults_in_missing_pages(self) -> None:
        state, snapshot, digest = self.chain()
        with self.serving(snapshot) as server, Firecracker() as vm:
            self.assertEqual(vm.load(state, server.socket, "Uffd", resume=False).status, 204)
            _, full = self.created(vm, "Full", "full")
            self.assertEqual(full.read_bytes(), self.materialized(snapshot))
        self.assertNotEqual(digest, "")

    def test_reads_are_dirty_after_a_page_server_unless_told_otherwise(self) -> None:
        state, snapshot, _ = self.chain()
        loaded = {QUEUE_PAGE, GENERATION_PAGE}
        for options, dirty in (((), loaded | {17, 18}), (("--no-reads-are-dirty",), loaded | {18})):
            with self.subTest(options=options), self.serving(snapshot) as server, \
                    Firecracker(*options) as vm:
                self.assertEqual(vm.load(state, server.socket, "Uffd").status, 204)
                vm.tell("read 17")
                vm.tell("write 18 5")
                vm.pause()
                _, memory = self.created(vm, "Diff", f"d-{len(options)}")
                self.assert_dirty(memory, dirty)

    def test_2_mib_pages_are_loaded_from_a_page_server_only(self) -> None:
        with huge_pages(2 * (MEMORY_MIB // 2)) as available:
            if not available:
                self.skipTest("no huge pages on this machine")
            with Firecracker(*FRESH, "--huge-pages", "2M") as vm:
                self.assertEqual(vm.done("GET", "/machine-config").json["huge_pages"], "2M")
                vm.tell("run 500 1")
                vm.pause()
                state, memory = self.created(vm, "Full", "huge")
            self.done("ingest", memory, "--out", self.store / "huge")
            with Firecracker() as vm:
                self.assertEqual(
                    vm.load(state, memory).fault, "Load snapshot error: Failed to restore from "
                    "snapshot: Failed to load guest memory: Error creating guest memory from file: "
                    "Cannot restore hugetlbfs backed snapshot by mapping the memory file. Please "
                    "use uffd.")
                self.assertEqual(vm.wait(), EXIT_FAILED)
            with self.serving(self.store / "huge") as server, Firecracker() as vm:
                self.assertEqual(vm.load(state, server.socket, "Uffd").status, 204, server.said())
                self.assertEqual(vm.done("GET", "/machine-config").json["huge_pages"], "2M")
                vm.tell("run 100 2")
                self.assert_all_right(vm)

    def test_threads_stand_still_while_it_is_paused(self) -> None:
        state, snapshot, _ = self.chain()
        with self.serving(snapshot) as server, Firecracker("--writers", 3, "--balloon") as vm:
            self.assertEqual(vm.load(state, server.socket, "Uffd").status, 204)
            for number in range(3):
                before = vm.tell("digest")
                wait_until(lambda: vm.tell("digest") != before, "the threads run")
                vm.pause()
                now = self.dumped(vm)
                self.assertEqual(vm.tell("digest"), vm.tell("digest"))
                _, memory = self.created(vm, "Full", f"t-{number}")
                self.assertEqual(memory.read_bytes(), now)
                self.assert_all_right(vm)
                vm.resume()
            self.assert_all_right(vm)

    def test_it_runs_in_a_jail_as_another_user(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("a jail needs root")
        jail = Path(tempfile.mkdtemp(prefix="jail-"))
        self.addCleanup(shutil.rmtree, jail)
        os.chown(jail, OTHER_USER, OTHER_USER)
        state, snapshot, _ = self.chain()
        shutil.copy(state, jail / "state")
        (jail / "state").chmod(0o644)
        self.sockets = jail / "serve"
        self.sockets.mkdir(mode=0o755)
        self.sockets.chmod(0o755)
        with self.serving(snapshot, "--allow-uid", str(OTHER_USER), "--socket-mode",
                          "0666") as server, \
                Firecracker(jail=jail, user=OTHER_USER) as vm:
            answer = vm.load("/state", "/serve/0", "Uffd")
            self.assertEqual(answer.status, 204, f"{answer} {server.said()}")
            self.assertEqual(Path(f"/proc/{vm.pid}").stat().st_uid, OTHER_USER)
            self.assertTrue(os.path.samefile(f"/proc/{vm.pid}/root/.", jail))
            self.assertNotEqual(os.readlink(f"/proc/{vm.pid}/ns/mnt"),
                                os.readlink("/proc/self/ns/mnt"))
            vm.tell("run 500 1")
            self.assert_all_right(vm)
            vm.pause()
            self.assertEqual(vm.create("Diff", "/s", "/m").status, 204)
            self.assertEqual((jail / "m").stat().st_uid, OTHER_USER)
            self.assertEqual(vm.create("Diff", "/serve/s", "/m").fault.split(": ")[-1],
                             "Permission denied (os error 13)")


class Failures(StandInTest):
    """What fails when it is asked to."""

    def setUp(self) -> None:
        """A paused VM with one dirty page."""
        super().setUp()
        self.vm = self.enterContext(Firecracker(*FRESH))
        self.vm.tell("write 5 11")
        self.vm.pause()

    def create(self, name: str = "x") -> Answer:
        """A Diff."""
        return self.vm.create("Diff", *self.paths(name))

    def in_background(self, *results: list[Any]) -> threading.Thread:
        """A create whose answer, or exception, goes to the list."""
        def ask() -> None:
            try:
                results[0].append(self.create())
            except OSError as error:
                results[0].append(error)
        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_a_create_is_refused_at_the_time_named(self) -> None:
        self.vm.tell("fail create-refuse:2")
        self.assertEqual(self.create("1").status, 204)
        self.assertEqual(self.create("2").status, 400)
        self.assertEqual([path.exists() for path in self.paths("2")], [False, False])
        self.assertEqual(self.create("3").status, 204)

    def test_a_create_that_fails_late_has_taken_the_dirty_bits(self) -> None:
        self.vm.tell("fail create-after-dump")
        self.assertEqual(self.create("1").status, 400)
        self.assert_dirty(self.paths("1")[1], {QUEUE_PAGE, 5})
        self.assertEqual(self.vm.tell("dirty"), "0")

    def test_a_full_disk_leaves_the_dirty_bits(self) -> None:
        self.vm.tell("fail create-enospc")
        answer = self.create("1")
        self.assertEqual(answer.fault, "Create snapshot error: Cannot write memory file: Cannot "
                         "dump memory: No space left on device (os error 28)")
        self.assert_dirty(self.paths("1")[1], {QUEUE_PAGE})
        self.assertEqual(self.vm.tell("dirty"), "2")
        self.assertEqual(self.create("2").status, 204)
        self.assert_dirty(self.paths("2")[1], {QUEUE_PAGE, 5})

    def test_a_create_without_an_answer_leaves_the_process_running(self) -> None:
        self.vm.tell("fail create-no-answer")
        with self.assertRaises(ConnectionError):
            self.create("1")
        self.assert_dirty(self.paths("1")[1], {QUEUE_PAGE, 5})
        self.assertEqual(self.vm.state(), "Paused")
        self.assertEqual(self.vm.tell("dirty"), "1")

    def test_it_dies_before_or_after_the_dump_as_told(self) -> None:
        for point, has_file in (("create-die-before", False), ("create-die-after-dump", True)):
            with self.subTest(point), Firecracker(*FRESH, "--fail", point) as vm:
                vm.pause()
                with self.assertRaises(ConnectionError):
                    vm.create("Diff", *self.paths(point))
                self.assertEqual(vm.wait(), EXIT_FAILED)
                self.assertEqual(self.paths(point)[1].exists(), has_file)

    def test_a_slow_create_holds_all_requests_and_has_written_nothing(self) -> None:
        self.vm.tell("fail create-slow")
        self.assertEqual(self.vm.control("release"), "error nothing is held")
        answers: list[Any] = []
        thread = self.in_background(answers)
        self.vm.wait_held()
        self.assertFalse(self.paths("x")[1].exists())
        with self.assertRaises(TimeoutError):
            self.vm.request("GET", "/", timeout_s=0.05)
        self.vm.tell("release")
        thread.join()
        self.assertEqual(answers, [Answer(204, "")])
        self.assertEqual(self.vm.state(), "Paused")

    def test_a_hanging_create_has_written_all(self) -> None:
        self.vm.tell("fail create-hang")
        answers: list[Any] = []
        thread = self.in_background(answers)
        self.vm.wait_held()
        self.assert_dirty(self.paths("x")[1], {QUEUE_PAGE, 5})
        self.assertEqual(answers, [])
        self.vm.kill()
        thread.join()
        self.assertIsInstance(answers[0], ConnectionError)

    def test_pause_and_resume_are_refused_as_told(self) -> None:
        self.vm.tell("fail resume-refuse")
        self.assertEqual(self.vm.request("PATCH", "/vm", {"state": "Resumed"}).status, 400)
        self.assertEqual(self.vm.state(), "Paused")
        self.vm.resume()
        self.vm.tell("fail pause-refuse")
        self.assertEqual(self.vm.request("PATCH", "/vm", {"state": "Paused"}).status, 400)
        self.assertEqual(self.vm.state(), "Running")
        self.vm.tell("write 1 2")

    def test_loads_fail_as_told(self) -> None:
        self.assertEqual(self.vm.create("Full", *self.paths("full")).status, 204)
        with Firecracker("--fail", "load-refuse") as vm:
            self.assertEqual(vm.load(*self.paths("full")).status, 400)
            self.assertEqual(vm.wait(), EXIT_FAILED)
        with Firecracker("--fail", "load-die") as vm:
            with self.assertRaises(ConnectionError):
                vm.load(*self.paths("full"))
            self.assertEqual(vm.wait(), EXIT_FAILED)

    def test_unknown_points_and_lines_are_errors(self) -> None:
        for line in ("fail create-rust", "fail create-slow:0", "fail create-slow:x", "jump 3"):
            self.assertTrue(self.vm.control(line).startswith("error "), line)
        self.vm.resume()
        for line in (f"write {PAGES} 1", "write 1", f"balloon 1 {PAGES}", "run"):
            self.assertTrue(self.vm.control(line).startswith("error "), line)

    def test_sigterm_ends_it(self) -> None:
        self.vm.terminate()
        self.assertEqual(self.vm.wait(), -signal.SIGTERM)


if __name__ == "__main__":
    adopt_orphans()
    main()
