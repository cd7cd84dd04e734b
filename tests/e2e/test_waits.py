#!/usr/bin/env python3
"""Every wait ends, says why, and does not delay others.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from children import Child, Report, child_at_work
from daemon import DaemonTest
from firecracker import UnixConnection
from memory_files import EXIT_FAILED, main
from sandbox import page_servers_of
from serving import wait_until

PTRACE_CONT = 7
PTRACE_SEIZE = 0x4206
PTRACE_O_TRACECLONE = 0x8
PTRACE_O_TRACEEXIT = 0x40
PTRACE_EVENT_EXIT = 6
WALL = 0x40000000


def hold_at_exit(pid: int, report: Report) -> None:
    """Keeps every thread of a process at its exit, for as long as the calling process lives."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for task in os.listdir(f"/proc/{pid}/task"):
        if ptrace(PTRACE_SEIZE, int(task), None, PTRACE_O_TRACEEXIT | PTRACE_O_TRACECLONE) != 0:
            return
    report(b"!")
    while True:
        try:
            thread, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return
        if os.WIFSTOPPED(status) and status >> 16 != PTRACE_EVENT_EXIT:
            number = 0 if status >> 16 else os.WSTOPSIG(status)
            ptrace(PTRACE_CONT, thread, None, number)


def tracer_of(pid: int) -> contextlib.AbstractContextManager[Child]:
    """A process that holds another at its exit."""
    return child_at_work(lambda report: hold_at_exit(pid, report))


class HeldVmTest(DaemonTest):
    """VMs that were killed and do not end."""

    on_tmpfs = True

    def test_a_pause_does_not_wait_for_a_vm_that_a_tracer_holds_at_its_exit(self) -> None:
        vm = self.fresh()
        vm.tell("run 300 1")
        with tracer_of(vm.pid) as tracer:
            report = self.pause(vm, "a", "--timeout", "1", "--no-daemon")
            self.assertTrue(any(f"process {vm.pid} was killed and is still there" in note and
                                f"process {tracer.pid} traces it" in note
                                for note in report["notes"]), report["notes"])
            self.done("verify", self.store / "a")
            self.assert_nothing_left()
            # What it was resumed from is kept for as long as it is there.
            self.recover()
            self.assertEqual(len(self.pins()), 1)
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.recover()
        self.assertEqual(self.pins(), [])

    def test_more_held_vms_than_workers_do_not_stop_the_daemon(self) -> None:
        daemon = self.start("--workers", "1")
        held = [self.fresh() for _ in range(3)]
        healthy = self.fresh()
        with contextlib.ExitStack() as stack:
            for vm in held:
                stack.enter_context(tracer_of(vm.pid))
            # Half a minute is what each may take.
            threads = [threading.Thread(target=self.paused, args=(daemon, vm, f"h{number}"))
                       for number, vm in enumerate(held)]
            for thread in threads:
                thread.start()
            wait_until(lambda: all((self.store / f"h{number}").exists()
                                   for number in range(len(held))), "all have their snapshots")
            self.paused(daemon, healthy, "a", after="resume")
            self.assertEqual(healthy.state(), "Running")
            self.assertEqual(daemon.done("GET", "/v1/health")["status"], "ok")
        for thread in threads:
            thread.join()


class SilentVmmTest(DaemonTest):
    """VMMs that do not answer."""

    on_tmpfs = True

    def test_silent_vmms_delay_neither_other_vms_nor_health_and_metrics(self) -> None:
        daemon = self.start("--workers", "1")
        silent = [self.fresh("--fail", "create-slow") for _ in range(4)]
        healthy = self.fresh()
        threads = [threading.Thread(target=self.paused, args=(daemon, vm, f"s{number}"),
                                    kwargs={"after": "resume"})
                   for number, vm in enumerate(silent)]
        for thread in threads:
            thread.start()
        for vm in silent:
            vm.wait_held()
        self.paused(daemon, healthy, "a", after="resume")
        self.assertEqual(daemon.done("GET", "/v1/health")["requests"], len(silent) + 1)
        self.assertGreaterEqual(daemon.metric("laminad_http_requests_running"), len(silent))
        for vm in silent:
            vm.tell("release")
        for thread in threads:
            thread.join()
        for number in range(len(silent)):
            self.done("verify", self.store / f"s{number}")


class SilentPageServerTest(DaemonTest):
    """Page servers that are gone, or do not answer."""

    on_tmpfs = True

    def by_faults(self) -> None:
        """A VM that gets its memory from the page server."""
        vm = self.fresh()
        vm.tell("run 3000 1")
        self.pause(vm, "a", "--no-daemon")
        self.vm, _ = self.resume("a", "--mode", "uffd", "--populate", "none", "--no-daemon")

    def test_health_does_not_wait_for_a_page_server_that_is_stopped(self) -> None:
        self.by_faults()
        daemon = self.start()
        wait_until(lambda: daemon.done("GET", "/v1/health")["page_server"], "it has been seen")
        for pid in page_servers_of(self.store):
            os.kill(pid, signal.SIGSTOP)
        # A question is under way, and no answer comes for ten seconds.
        wait_until(lambda: self.answers(daemon.api_socket, "/v1/health"), "health is answered")
        self.assertNotIn("lamina_sessions ", daemon.request("GET", "/metrics").body)
        readable = "laminad_page_server_metrics_readable"
        self.assertEqual(daemon.metric(readable), 0)
        for pid in page_servers_of(self.store):
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: daemon.metric(readable) == 1, "the page server's metrics are read again")
        self.check(self.vm)

    def answers(self, api: Path, path: str) -> bool:
        """Many times, each sooner than a page server is waited for."""
        for _ in range(20):
            with contextlib.closing(UnixConnection(api, 5)) as connection:
                connection.request("GET", path)
                if connection.getresponse().status != 200:
                    return False
        return True

    def test_a_pause_restarts_the_page_server_of_its_vm(self) -> None:
        self.by_faults()
        self.stop_page_servers()
        report = self.pause(self.vm, "b", "--after", "resume", "--full", "--no-daemon")
        self.assertEqual(report["kind"], "full")
        self.assertTrue(page_servers_of(self.store))
        self.check(self.vm)
        self.done("verify", self.store / "b")

    def test_a_pause_fails_when_its_vm_waits_and_the_page_server_is_stopped(self) -> None:
        """Long before its --create-timeout.

        After that, Firecracker is asked whether its create has ended, and does not answer: that is
        what --timeout limits.
        """
        self.by_faults()
        stopped = page_servers_of(self.store)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        message = self.pause_fails(EXIT_FAILED, self.vm, "b", "--after", "resume", "--full",
                                   "--create-timeout", "3600", "--timeout", "1", "--no-daemon")
        self.assertIn(f"the page server of store '{self.store}' does not answer", message)
        self.assertIn("page-server.lock", message)
        self.assertFalse((self.store / "b").exists())
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        self.recover()
        self.check(self.vm)

    def test_a_pause_fails_if_no_page_server_can_be_started(self) -> None:
        self.by_faults()
        self.stop_page_servers()
        lock = os.open(self.store / ".vms" / "page-server.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a server that never answers
            message = self.pause_fails(EXIT_FAILED, self.vm, "b", "--after", "resume", "--full",
                                       "--timeout", "1", "--no-daemon")
        finally:
            os.close(lock)
        self.assertIn("no page server can be had", message)
        self.assertFalse((self.store / "b").exists())
        # As it was: what the guest needs comes again, and its next memory file is a full one.
        self.recover()
        self.check(self.vm)
        report = self.pause(self.vm, "b", "--after", "resume", "--no-daemon")
        self.assertEqual(report["kind"], "full")


if __name__ == "__main__":
    main()
