#!/usr/bin/env python3
"""A snapshot whose disk does not answer holds up its own VMs and nothing else.

Its reads stall at a FIFO (tests/stand_ins/stall_reads.c), so that everything here is an order of
events: what must happen while a read stalls has happened before the test lets it go on.

Environment: LAMINA, FAKE_VM and STALL_READS are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import EXIT_DONE, layers_of, main, program
from serving import Server, Vm, adopt_orphans, connected, wait_until
from pins import Pin
from served_snapshots import ServeTest
import test_serve_store

FOREVER = 1 << 60
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
        self._pid_file = directory / "stalled-pid"

    def only_in_one_process(self) -> None:
        """No read stalls before begin_in() has named the process."""
        self.environment["STALL_PID_FILE"] = str(self._pid_file)

    def begin_in(self, pid: int) -> None:
        """From now on reads stall in that process, whatever program it executes."""
        part = self._pid_file.with_suffix(".part")
        part.write_text(str(pid))
        part.rename(self._pid_file)

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

    others = 0

    def setUp(self) -> None:
        super().setUp()
        self.other_vms: list[Vm] = []

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
        with connected(self.store / ".vms" / "page-server.control") as client:
            return client.recv(64, socket.MSG_WAITALL)

    def test_other_vms_and_clients_are_answered_while_a_snapshot_is_opened(self) -> None:
        with self.stalled() as (server, slow, stall):
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            self.assertEqual(self.greeting(), GREETING)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 1)
            self.assertTrue(slow.is_running())
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_the_worker_is_replaced_while_a_snapshot_is_opened(self) -> None:
        with self.stalled() as (server, slow, stall):
            other, _ = self.pinned(server, self.small, self.small_truth, "--operations", 10,
                                   wait=True)
            self.wait_served(server, 1)
            server.wait_for_another(server.kill_worker())
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_forks_of_a_slow_snapshot_share_one_opening(self) -> None:
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

    def test_a_snapshot_that_the_worker_cannot_open_delays_no_other(self) -> None:
        with self.stalled("lamina-worker") as (server, slow, stall):
            self.wait_served(server, 1)
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_a_slow_snapshot_is_served_after_its_supervisor_was_killed(self) -> None:
        """The serving process has it on record and takes the place amid the opening."""
        with self.stalled("lamina-worker") as (server, slow, stall):
            self.wait_served(server, 1)
            server.kill_supervisor()
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_a_stop_waits_for_a_slow_snapshot_and_a_second_stop_does_not(self) -> None:
        with self.stalled() as (server, slow, stall):
            server.signal(signal.SIGTERM)
            wait_until(lambda: not server.socket.exists(), "the server stops accepting")
            self.assertFalse(server.has_ended())
            server.signal(signal.SIGTERM)
            server.wait()
            self.assert_killed(slow)
            stall.let_go()

    @contextlib.contextmanager
    def taking_over(self, *options: str | int) -> Iterator[tuple[Server, Vm, int, Stall]]:
        """A server whose new program (SIGHUP) stalls at the base of the VM that the old serving
        process still serves."""
        slow = Vm(self.store / ".vms" / "page-server.sock", self.big_truth,
                  *(options or ("--operations", FOREVER)), wait=True, wait_first=True)
        pin = Pin(self.store, slow.pid, self.big)
        stall = Stall(self.sockets, f"/{pin.path.name}/base/")
        stall.only_in_one_process()
        with self.serving_store(environment=stall.environment) as server:
            slow.go().wait_connected()
            self.wait_served(server, 1)
            self.start_others(server)
            worker = server.worker()
            stall.begin_in(server.pid)
            server.signal(signal.SIGHUP)
            stall.wait()
            yield server, slow, worker, stall

    def start_others(self, server: Server) -> None:
        """Starts `others` VMs of the same snapshot, each of which has read one page."""
        for _ in range(self.others):
            vm, _ = self.pinned(server, self.big, self.big_truth, "--touch", 0, wait=True)
            self.other_vms.append(vm.wait_touched())
        self.wait_served(server, 1 + self.others)

    def test_a_vm_that_ends_amid_a_takeover_is_counted(self) -> None:
        with self.taking_over("--touch", 0) as (server, slow, worker, stall):
            slow.wait_touched()  # so that it has had a fault
            slow.kill()
            self.assert_killed(slow)
            wait_until(lambda: server.metrics()["lamina_sessions_started_total"] == 1,
                       server.said())
            figures = server.metrics()
            self.assertGreater(figures['lamina_faults_total{kind="data"}'], 0)
            self.assertEqual(figures["lamina_vms_killed_total"], 0)
            self.wait_served(server, 0)
            stall.let_go()
            server.wait_for_another(worker)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 1)
            self.end_cleanly(server)

    def test_a_vm_that_is_killed_amid_a_takeover_is_logged_and_counted(self) -> None:
        self.others = 1
        with self.taking_over("--touch", 0) as (server, slow, worker, stall):
            slow.wait_touched()
            contents = {layer: layer.read_bytes() for layer in layers_of(self.big)}
            for layer in contents:
                os.truncate(layer, 0)
            self.assert_killed(self.other_vms[0])
            wait_until(lambda: server.metrics()["lamina_vms_killed_total"] == 1, server.said())
            lines = [line for line in server.log() if "was killed" in line]
            self.assertEqual(len(lines), 1, server.said())
            self.assertIn(f"process {self.other_vms[0].pid} ", lines[0])
            for layer, data in contents.items():
                with layer.open("r+b") as stream:
                    stream.write(data)
            stall.let_go()
            server.wait_for_another(worker)
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_a_program_that_takes_over_answers_while_it_opens(self) -> None:
        with self.taking_over() as (server, slow, worker, stall):
            self.assertEqual(self.greeting(), GREETING)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 0)
            self.assertEqual(server.worker(), worker, "the old program's serves on")
            other, _ = self.pinned(server, self.small, self.small_truth)
            other.wait_connected()
            self.assertEqual(server.vms_on_record(), 1, "peers wait at the socket")
            stall.let_go()
            server.wait_for_another(worker)
            self.assert_right(other, slow)
            self.end_cleanly(server)

    def test_a_program_that_cannot_open_in_time_is_replaced_by_the_old_worker(self) -> None:
        with self.taking_over() as (server, slow, worker, stall):
            other, _ = self.pinned(server, self.small, self.small_truth)
            wait_until(server.has_ended, server.said())
            os.waitpid(server.pid, 0)
            server.pid = worker
            server.worker()
            self.assert_right(other, slow)
            stall.let_go()
            self.end_cleanly(server)

    def test_a_vm_is_served_when_the_old_worker_dies_while_another_is_opened(self) -> None:
        with self.taking_over() as (server, slow, worker, stall):
            os.kill(worker, signal.SIGKILL)
            other, _ = self.pinned(server, self.small, self.small_truth)
            self.assert_right(other)
            self.assertTrue(slow.is_running())
            stall.let_go()
            self.assert_right(slow)
            self.end_cleanly(server)

    def test_a_stop_amid_a_takeover_fills_the_memory_first(self) -> None:
        with self.taking_over() as (server, slow, _, stall):
            server.signal(signal.SIGTERM)
            wait_until(lambda: not server.socket.exists(), "the server stops accepting")
            self.assertFalse(server.has_ended())
            stall.let_go()
            self.assertEqual(server.wait(), 0)
            self.assert_right(slow)

    def test_a_stop_amid_a_takeover_that_fails_is_passed_on(self) -> None:
        """The old worker, which takes the place of the new program, fills the memory and ends."""
        with self.taking_over() as (server, slow, worker, _):
            server.signal(signal.SIGTERM)
            wait_until(server.has_ended, server.said())
            os.waitpid(server.pid, 0)
            server.pid = worker
            self.assertEqual(server.wait(), 0)
            self.assert_right(slow)

    def test_a_takeover_requested_during_another_begins_after_it(self) -> None:
        original = program()
        path = self.directory / "lamina-copy"
        shutil.copy(original, path)
        with mock.patch.dict(os.environ, {"LAMINA": str(path)}), \
                self.taking_over() as (server, slow, _, stall):
            # The first takeover has begun with the old copy; only a second one begins with this.
            path.unlink()
            shutil.copy(original, path)
            server.signal(signal.SIGHUP)
            self.assertEqual(self.greeting(), GREETING)
            stall.let_go()
            wait_until(lambda: os.path.samefile(f"/proc/{server.pid}/exe", path),
                       "the second program takes over")
            self.assert_right(slow)
            self.end_cleanly(server)


class NamedSnapshots(ServeTest):
    """The snapshots of the command line."""

    def test_all_are_opened_at_once_and_each_has_its_socket(self) -> None:
        snapshots, truths = zip(*(self.chain(name, 96, 1)[:2] for name in ("named-a", "named-b")))
        stall = Stall(self.sockets, "/named-")
        stall.fifo.unlink()
        with self.serving(*snapshots, environment=stall.environment) as server:
            self.assertEqual(server.stop(), EXIT_DONE)
            os.mkfifo(stall.fifo)
            server.launch()
            stall.wait()
            wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/task")) == 1 + len(snapshots),
                       "a thread reads each of them")
            self.assertFalse(any(path.exists() for path in server.sockets))
            stall.let_go()
            wait_until(server.metrics_socket.exists, server.said())
            self.assert_right(*(Vm(path, truth, "--operations", 10)
                                for path, truth in zip(server.sockets, truths)))
            self.end_cleanly(server)


if __name__ == "__main__":
    adopt_orphans()
    main()
