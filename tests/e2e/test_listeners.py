#!/usr/bin/env python3
"""Crowds at one socket cost the others nothing, and a log stays small.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from children import Report, child_at_work
from daemon import Daemon
from memory_files import EXIT_DONE, lamina, main
from sandbox import SandboxTest, page_servers_of
from serving import connected, wait_until

METRICS_CONNECTIONS = 300
API_CONNECTIONS = 1024
MANY_FILES = 4096
LARGE_LOG_BYTES = 9 << 20


@contextlib.contextmanager
def crowd_at(path: Path, processes: int = 1) -> Iterator[None]:
    """Processes that hold connections which ask for nothing; one that is closed is made again."""
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(child_at_work(lambda report: hold_connections(path, report)))
        yield


def hold_connections(path: Path, report: Report) -> None:
    """Connects again and again; the oldest connections are closed by the other end, if at all."""
    clients: list[socket.socket] = []
    count = 0
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(1)
        with contextlib.suppress(OSError):
            client.connect(str(path))
        clients.append(client)
        if len(clients) > METRICS_CONNECTIONS:
            clients.pop(0).close()
        count += 1
        if count == METRICS_CONNECTIONS:
            report(b"!")


class PageServerOfAStore(SandboxTest):
    """The page server that a resume starts."""

    def test_commands_succeed_beside_a_crowd_at_the_metrics_socket(self) -> None:
        self.pause(self.fresh(), "a")
        first, report = self.resume("a", "--mode", "uffd")
        self.assertTrue(report["started_page_server"])
        with crowd_at(self.store / ".vms" / "page-server.metrics", processes=4):
            for _ in range(5):
                vm, report = self.resume("a", "--mode", "uffd")
                self.assertFalse(report["started_page_server"])
                self.check(vm)
                vm.end()
            self.recover()
        self.assertEqual(lamina("serve", "--status", "--store", self.store).code, EXIT_DONE)
        self.check(first)

    def test_a_resume_succeeds_beside_a_crowd_at_the_control_socket(self) -> None:
        self.pause(self.fresh(), "a")
        self.resume("a", "--mode", "uffd")
        with crowd_at(self.store / ".vms" / "page-server.control", processes=2):
            vm, report = self.resume("a", "--mode", "uffd")
            self.assertFalse(report["started_page_server"])
            self.check(vm)

    def test_a_large_log_is_moved_away(self) -> None:
        self.pause(self.fresh(), "a")
        log = self.store / ".vms" / "page-server.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        log.write_bytes(b"x" * LARGE_LOG_BYTES)
        log.chmod(0o600)
        vm, _ = self.resume("a", "--mode", "uffd")
        older = log.with_name("page-server.log.1")
        wait_until(older.exists, "the log is moved")
        wait_until(lambda: log.exists() and log.stat().st_size < LARGE_LOG_BYTES, "a new one comes")
        self.assertGreaterEqual(older.stat().st_size, LARGE_LOG_BYTES)

        def logs() -> set[str]:
            found = set()
            for pid in page_servers_of(self.store):
                with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                    found.add(os.readlink(f"/proc/{pid}/fd/2"))
            return found
        wait_until(lambda: logs() == {str(log)}, "all processes write to the new one")
        self.check(vm)


class Laminad(SandboxTest):
    """The daemon's sockets."""

    def setUp(self) -> None:
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < MANY_FILES:
            self.skipTest(f"a process may have {hard} files only")
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY_FILES, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.store.mkdir(exist_ok=True)
        self.metrics = self.directory / "metrics.sock"
        self.daemon = Daemon(self.store, self.directory, "--metrics", f"unix:{self.metrics}")
        self.addCleanup(self.daemon.end)

    def hold(self, path: Path, count: int) -> list[socket.socket]:
        """Connections that ask for nothing."""
        held = []
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(str(path))  # waits while the backlog is full
            held.append(client)
        return held

    def test_idle_connections_give_way_to_new_ones(self) -> None:
        for path in (self.metrics, self.daemon.api_socket):
            self.hold(path, API_CONNECTIONS)
            self.assertEqual(self.daemon.done("GET", "/v1/health")["status"], "ok")
            with connected(self.metrics) as reader:
                reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: reader.recv(65536), b""))
            self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer[:100])


if __name__ == "__main__":
    main()
