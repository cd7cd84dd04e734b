#!/usr/bin/env python3
"""A snapshot whose disk does not answer holds up its own VMs and nothing else.

Its reads stall at a FIFO (tests/stall), so that everything here is an order of events: what must
happen while a read stalls has happened before the test lets it go on.

Environment: LAMINA, FAKE_VM and STALL_READS are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import main
from serving import TIMEOUT_S, Server, Vm, adopt_orphans, wait_until
from pins import Pin
import test_serve_store

GREETING = b"lamina page server\n"


class Stall:
    """Reads of files whose paths contain `part`; in processes with the name `process` only."""

    def __init__(self, directory: Path, part: str, process: str = "") -> None:
        self.fifo = directory / "stall"
        self.fifo.unlink(missing_ok=True)
        os.mkfifo(self.fifo)
        self.environment = {**os.environ, "LD_PRELOAD": os.environ["STALL_READS"],
                            "STALL_PATH": part, "STALL_FIFO": str(self.fifo),
                            "STALL_PROCESS": process}
        self._end = -1

    def wait(self) -> None:
        """Waits until a read stalls."""
        def opened() -> bool:
            with contextlib.suppress(OSError):  # ENXIO: no reader yet
                self._end = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
            return self._end >= 0
        wait_until(opened, "a read stalls")

    def let_go(self) -> None:
        """Lets that read and all later ones go on."""
        self.fifo.unlink()
        os.close(self._end)


class SlowSnapshots(test_serve_store.StoreTest):
    """The big snapshot's disk stalls, the small one's does not."""

    @contextlib.contextmanager
    def stalled(self, process: str = "", *options: str) -> Iterator[tuple[Server, Vm, Stall]]:
        """A server, in which reading the base of one VM's pin stalls."""
        slow = Vm(self.store / ".vms" / "page-server.sock", self.big_truth, wait_first=True)
        pin = Pin(self.store, slow.pid, self.big)
        stall = Stall(self.sockets, f"/{pin.path.name}/base/", process)
        with self.serving_store(*options, environment=stall.environment) as server:
            slow.go()
            stall.wait()
            yield server, slow, stall

    def greeting(self) -> bytes:
        """What the control socket says."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(str(self.store / ".vms" / "page-server.control"))
            return client.recv(64, socket.MSG_WAITALL)

    def test_other_vms_and_clients_are_answered_meanwhile(self) -> None:
        with self.stalled() as (server, slow, stall):
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            self.assertEqual(self.greeting(), GREETING)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 1)
            self.assertTrue(slow.is_running())
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_the_serving_process_is_succeeded_meanwhile(self) -> None:
        with self.stalled() as (server, slow, stall):
            other, _ = self.pinned(server, self.small, self.small_truth, "--operations", 10,
                                   wait=True)
            self.wait_served(server, 1)
            server.wait_for_another(server.kill_worker())
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_forks_of_it_wait_for_one_reading(self) -> None:
        with self.stalled() as (server, slow, stall):
            forks = []
            for _ in range(3):
                fork = Vm(server.socket, self.big_truth, wait_first=True)
                Pin(self.store, fork.pid, self.big)
                forks.append(fork.go().wait_connected())
            threads = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
            self.assertEqual(threads, 2, "the supervisor's own, and one that reads")
            stall.let_go()
            self.assert_right(slow, *forks)
            self.end_cleanly(server)

    def test_one_that_the_serving_process_cannot_open_holds_up_no_other(self) -> None:
        with self.stalled("lamina-worker") as (server, slow, stall):
            self.wait_served(server, 1)
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_it_is_served_by_the_successor_of_a_killed_supervisor(self) -> None:
        """The serving process has it on record and takes the place amid the opening."""
        with self.stalled("lamina-worker") as (server, slow, stall):
            self.wait_served(server, 1)
            server.kill_supervisor()
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_a_stop_waits_for_it_and_a_second_one_does_not(self) -> None:
        with self.stalled() as (server, slow, stall):
            server.signal(signal.SIGTERM)
            wait_until(lambda: not server.socket.exists(), "the server stops accepting")
            self.assertFalse(server.has_ended())
            server.signal(signal.SIGTERM)
            server.wait()
            self.assert_killed(slow)
            stall.let_go()


if __name__ == "__main__":
    adopt_orphans()
    main()
