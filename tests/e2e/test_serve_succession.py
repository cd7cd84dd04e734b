#!/usr/bin/env python3
"""A page server that has VMs goes on though names, modes and limits around it change.

Environment: LAMINA and FAKE_VM are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True  # the source folder stays clean

from faults import require_strace
from memory_files import EXIT_DONE, main, program
from pins import Pin
from served_snapshots import OTHER_USER, SEED, ServeTest
from serving import Server, Vm, adopt_orphans, has_ended, is_traced, wait_until

FOREVER = 1 << 60
KILLS = 4
NOT_SUCCEEDED = "no new process takes this one's place"
NOT_STARTED = "no serving process can"


def served_by(worker: int) -> set[int]:
    """The processes whose ends a serving process waits for: those of the VMs that it serves."""
    found = set()
    descriptors = Path(f"/proc/{worker}/fd")
    with contextlib.suppress(OSError):
        for link in descriptors.iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link) != "anon_inode:[eventpoll]":
                    continue
                polled = Path(f"/proc/{worker}/fdinfo/{link.name}").read_text()
                for number in re.findall(r"^tfd:\s*(\d+)", polled, re.MULTILINE):
                    facts = Path(f"/proc/{worker}/fdinfo/{number}").read_text()
                    found |= {int(pid) for pid in re.findall(r"^Pid:\s*(\d+)", facts, re.MULTILINE)}
    return found


class SuccessionTest(ServeTest):
    """A server, its VMs, and a program of its own that can be replaced."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("k", 768, 3)

    def running(self, server: Server, count: int = 1) -> list[Vm]:
        """VMs that touch memory until they are told to end."""
        before = server.vms_on_record()
        vms = [Vm(server.socket, self.truth_file, "--operations", FOREVER, "--seed", SEED + number,
                  wait=True) for number in range(count)]
        wait_until(lambda: server.vms_on_record() == before + count, server.said())
        return vms

    def wait_said(self, server: Server, text: str, count: int = 1) -> None:
        """Waits for lines of the log."""
        wait_until(lambda: sum(text in line for line in server.log()) >= count,
                   f"'{text}' is said; {server.said()}")

    @contextlib.contextmanager
    def own_program(self) -> Iterator[Path]:
        """A copy of the program, which servers that are started in the block run."""
        path = self.directory / "lamina-copy"
        shutil.copy(program(), path)
        with mock.patch.dict(os.environ, {"LAMINA": str(path)}):
            yield path


class NewProgram(SuccessionTest):
    """SIGHUP, and what is on the disk then."""

    def replace(self, path: Path, text: str | None) -> None:
        """Another program under the name, or none."""
        path.unlink()
        if text is not None:
            path.write_text(text)
            path.chmod(0o755)

    def test_a_program_that_does_not_start_replaces_nothing(self) -> None:
        with self.own_program() as path:
            broken = ("#!/bin/sh\nexit 2\n", "no program", None, "#!/bin/sh\nkill -SEGV $$\n",
                      "#!/nowhere/sh\n")
            with self.serving(self.snapshot) as server:
                vms = self.running(server)
                worker = server.worker()
                for number, text in enumerate(broken):
                    if number > 0 and broken[number - 1] is None:
                        path.touch()
                    self.replace(path, text)
                    server.signal(signal.SIGHUP)
                    self.wait_said(server, NOT_SUCCEEDED, number + 1)
                self.assertFalse(server.has_ended(), server.said())
                self.assertEqual(server.worker(), worker)
                # Peers are let in as before.
                self.assert_right(Vm(server.socket, self.truth_file, "--operations", 100))
                path.unlink()
                shutil.copy(os.environ["REAL_LAMINA"], path)
                server.signal(signal.SIGHUP)
                server.wait_for_another(worker)
                self.assert_right(*vms)
                self.end_cleanly(server)

    def test_the_worker_replaces_a_new_program_that_ends_at_once(self) -> None:
        """The serving process, which is of the old program, takes its place."""
        with self.own_program() as path, self.serving(self.snapshot) as server:
            vms = self.running(server, 2)
            worker = server.worker()
            path.unlink()
            shutil.copy("/bin/true", path)
            server.signal(signal.SIGHUP)
            wait_until(server.has_ended, server.said())
            os.waitpid(server.pid, 0)
            server.pid = worker
            server.worker()
            vms += self.running(server)
            self.assert_right(*vms)
            self.wait_idle(server)
            self.assertEqual(server.stop(), EXIT_DONE)

    def test_a_server_whose_snapshot_is_gone_keeps_its_program_and_serves(self) -> None:
        """A new program could not open it; those that run have it open, and go on."""
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 2)
            worker = server.worker()
            shutil.rmtree(self.snapshot)
            server.signal(signal.SIGHUP)
            self.wait_said(server, NOT_SUCCEEDED)
            self.assertEqual(server.worker(), worker)
            server.kill_supervisor()
            server.wait_for_another(server.kill_worker())
            self.assert_right(*vms)
            self.end_cleanly(server)

    def test_vms_survive_repeated_replacements_and_kills(self) -> None:
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 3)
            for _ in range(KILLS):
                worker = server.worker()
                server.signal(signal.SIGHUP)
                worker = server.wait_for_another(worker)
                server.kill_supervisor()
                server.wait_for_another(server.kill_worker())
            self.assert_right(*vms)
            self.end_cleanly(server)


class Surroundings(SuccessionTest):
    """Names and modes that change while VMs run."""

    @contextlib.contextmanager
    def serving_store(self) -> Iterator[Server]:
        """The store's server."""
        directory = self.sockets / "store"
        directory.mkdir()
        state = self.states / "store"
        state.mkdir(0o700)
        server = Server((), directory, state, store=self.store)
        try:
            yield server
        finally:
            server.end()

    def pinned(self, server: Server, store: Path) -> Vm:
        """A VM of a snapshot of the store, which is there now; returns when it is served.

        A serving process that has not yet opened the snapshot would find another store, or none.
        """
        before = server.vms_on_record()
        vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True, wait_first=True)
        Pin(store, vm.pid, store / self.snapshot.name)
        vm.go()
        wait_until(lambda: server.vms_on_record() == before + 1, server.said())

        def all_are_served() -> bool:
            filled = [value for name, value in server.metrics().items()
                      if name.startswith("lamina_vm_filled_bytes_total{")]
            return len(filled) == before + 1 and all(filled)
        wait_until(all_are_served, f"the VM is served; {server.said()}")
        return vm

    def test_vms_survive_a_renamed_store_whose_name_is_taken(self) -> None:
        with self.serving_store() as server:
            vms = [self.pinned(server, self.store)]
            moved = self.store.with_name("moved")
            self.store.rename(moved)
            server.sockets = [moved / ".vms" / "page-server.sock"]
            server.metrics_socket = moved / ".vms" / "page-server.metrics"
            vms.append(self.pinned(server, moved))
            for another in (False, True):
                if another:
                    (self.store / ".vms").mkdir(parents=True)
                worker = server.worker()
                server.signal(signal.SIGHUP)
                server.wait_for_another(worker)
                vms.append(self.pinned(server, moved))
                server.kill_supervisor()
                server.wait_for_another(server.kill_worker())
            self.assert_right(*vms)
            self.end_cleanly(server)
            self.assertEqual([*(self.store / ".vms").iterdir()], [])

    def test_a_successor_starts_though_modes_and_names_have_changed(self) -> None:
        with self.own_program() as path, self.serving_store() as server:
            vms = [self.pinned(server, self.store)]
            state = server.state
            for change, undo in ((lambda: state.chmod(0o755), lambda: state.chmod(0o700)),
                                 (lambda: state.rename(state.with_name("gone")),
                                  lambda: state.with_name("gone").rename(state)),
                                 (lambda: self.store.rename(self.store.with_name("gone")),
                                  lambda: self.store.with_name("gone").rename(self.store)),
                                 (path.unlink, lambda: None)):
                change()
                server.kill_supervisor()
                server.wait_for_another(server.kill_worker())
                undo()
                vms.append(self.pinned(server, self.store))
            self.assert_right(*vms)
            self.end_cleanly(server)


class TwoServingProcesses(SuccessionTest):
    """A new program has everything open, and is about to fork the process that serves instead."""

    @contextlib.contextmanager
    def traced(self, server: Server, *options: str) -> Iterator[Path]:
        """strace on the supervisor, which goes on through its new program; yields its output."""
        require_strace(self)
        output = server.directory / "strace"
        with subprocess.Popen(["strace", "-qq", "-o", str(output), *options, "-p",
                               str(server.pid)], stderr=subprocess.DEVNULL) as tracer:
            try:
                wait_until(lambda: is_traced(server.pid), "strace traces")
                yield output
            finally:
                tracer.kill()

    def test_vms_are_served_while_no_new_worker_can_be_forked(self) -> None:
        """And whatever happens to the supervisor until then."""
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 2)
            worker = server.worker()
            # The first is that of the trial.
            with self.traced(server, "-e", "trace=clone", "-e",
                             "inject=clone:error=EAGAIN:when=2+"):
                server.signal(signal.SIGHUP)
                self.wait_said(server, NOT_STARTED)
                self.assertEqual(server.workers(), [worker])
                server.kill_supervisor()
            vms += self.running(server)
            self.assert_right(*vms)
            self.wait_idle(server)
            self.assertEqual(server.stop(), EXIT_DONE, server.said())

    @contextlib.contextmanager
    def both(self, server: Server) -> Iterator[tuple[int, int]]:
        """The serving process, and its stopped successor, which has not ended it yet.

        It is stopped in the call that would, which fails. There are no VMs yet: programs that find
        some send them signals too.
        """
        worker = server.worker()
        with self.traced(server, "-f", "-e", "trace=pidfd_send_signal", "-e",
                         "inject=pidfd_send_signal:error=EINTR:signal=SIGSTOP") as output:
            server.signal(signal.SIGHUP)
            stopped = wait_until(lambda: re.search(r"^(\d+) +--- stopped by SIGSTOP",
                                                   output.read_text(), re.MULTILINE),
                                 f"a successor is stopped; {server.said()}")
        self.assertFalse(has_ended(worker), server.said())
        yield worker, int(stopped[1])

    def test_the_successor_takes_the_place_of_a_supervisor_that_is_killed(self) -> None:
        with self.serving(self.snapshot) as server:
            with self.both(server) as (worker, successor):
                vms = self.running(server, 2)
                server.kill_supervisor_only()
                os.kill(successor, signal.SIGCONT)
                wait_until(lambda: has_ended(worker), f"{worker} is ended; {server.said()}")
                server.pid = successor
                vms += self.running(server)
            self.assert_right(*vms)
            self.wait_idle(server)
            self.assertEqual(sum("takes its place" in line for line in server.log()), 1)
            self.assertEqual(server.stop(), EXIT_DONE, server.said())
            self.assertEqual(server.leftovers(), [])

    def test_the_worker_goes_on_when_its_successor_is_killed_too(self) -> None:
        for supervisor_first in (True, False):
            with self.subTest(supervisor_first=supervisor_first), \
                    self.serving(self.snapshot) as server:
                with self.both(server) as (worker, successor):
                    vms = self.running(server, 2)
                    if supervisor_first:
                        server.kill_supervisor_only()
                        os.kill(successor, signal.SIGKILL)
                        server.pid = worker
                        server.worker()
                    else:
                        os.kill(successor, signal.SIGKILL)
                        server.wait_for_another(worker)
                vms += self.running(server)
                self.assert_right(*vms)
                self.wait_idle(server)
                self.assertEqual(server.stop(), EXIT_DONE, server.said())
                self.assertEqual(server.leftovers(), [])


class ShortSupply(SuccessionTest):
    """What a new serving process needs is not available for a while."""

    def test_a_worker_is_started_once_descriptors_are_available(self) -> None:
        """None for the supervisor itself, or a few, so that the new process misses some."""
        with self.serving(self.snapshot) as server:
            vm = self.running(server)[0]
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            used = len(os.listdir(f"/proc/{server.pid}/fd"))
            # A serving process that has ended leaves a few to the supervisor.
            for limit in range(used - 4, used + 20, 2):
                resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
                lines = len(server.log())
                killed = server.kill_worker()
                wait_until(lambda: any(NOT_STARTED in line for line in server.log()[lines:])
                           or [pid for pid in server.workers()
                               if pid != killed and vm.pid in served_by(pid)], server.said())
                resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
                for worker in server.workers():
                    with contextlib.suppress(ProcessLookupError):
                        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
                wait_until(lambda: any(vm.pid in served_by(pid) for pid in server.workers()),
                           server.said())
            # With a few, one can begin with fewer threads, or not yet if it is to have only one.
            for stage in ("can be started yet", "serving threads: |can begin yet"):
                self.assertRegex("\n".join(server.log()), stage)
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_signals_are_seen_when_poll_refuses_so_many_descriptors(self) -> None:
        """It takes at most as many entries as the process may have open files."""
        with self.serving(self.snapshot) as server:
            vm = self.running(server)[0]
            hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (4, hard))
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
            self.assert_right(vm)

    def test_a_worker_is_started_once_processes_are_available(self) -> None:
        """Its user has too many: fork fails."""
        self.directory.chmod(0o755)
        for path in (self.store, *self.store.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
        self.truth_file.chmod(0o644)
        with self.serving(self.snapshot, user=OTHER_USER) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, "--user", OTHER_USER,
                    wait=True)
            wait_until(lambda: server.vms_on_record() == 1, server.said())
            self.let_have_processes(server.pid, 1)
            server.kill_worker()
            self.wait_said(server, NOT_STARTED, 3)
            self.assertTrue(vm.is_running())
            self.let_have_processes(server.pid, 0)
            self.assert_right(vm)
            self.end_cleanly(server)

    def let_have_processes(self, pid: int, count: int) -> None:
        """Limits the processes of the process' user, by that user; 0: as many as it may have."""
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.setresgid(OTHER_USER, OTHER_USER, OTHER_USER)
                os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
                most = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
                resource.prlimit(pid, resource.RLIMIT_NPROC, (count or most, most))
                os._exit(0)
            os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


class CrashesByOne(SuccessionTest):
    """A VM that crashes each process that serves it."""

    def test_a_vm_that_crashes_workers_is_killed_and_others_are_served(self) -> None:
        with self.serving(self.snapshot) as server:
            good = self.running(server, 2)
            bad = self.running(server)[0]
            good += self.running(server, 2)
            stopping = threading.Event()

            def crash() -> None:
                while not stopping.is_set() and bad.is_running():
                    for worker in server.workers():
                        if bad.pid in served_by(worker):
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(worker, signal.SIGSEGV)

            thread = threading.Thread(target=crash)
            thread.start()
            try:
                self.assertEqual(self.wait_killed(bad), -signal.SIGKILL, server.said())
            finally:
                stopping.set()
                thread.join()
            self.assertFalse(server.has_ended(), server.said())
            self.assertTrue(all(vm.is_running() for vm in good), server.said())
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 1)
            good += self.running(server)
            self.assert_right(*good)
            self.wait_idle(server)
            self.assertEqual(server.stop(), EXIT_DONE, server.said())

    @staticmethod
    def wait_killed(vm: Vm) -> int:
        """Waits for its end without letting it come to one."""
        wait_until(lambda: not vm.is_running(), "the VM is killed")
        return vm.finish()


class Log(SuccessionTest):
    """The file that the server writes to."""

    def test_the_log_is_reopened_after_a_rotation(self) -> None:
        with self.serving(self.snapshot) as server:
            vms = self.running(server)
            log = server.directory / "log"
            for number in range(2):
                worker = server.worker()
                log.rename(log.with_name(f"log.{number}"))
                server.signal(signal.SIGHUP)
                wait_until(log.exists, "the log is made")
                worker = server.wait_for_another(worker)
                for pid in (server.pid, worker):
                    self.assertEqual(os.readlink(f"/proc/{pid}/fd/2"), str(log))
                server.kill_supervisor()
            self.assertEqual(log.stat().st_mode & 0o777, 0o600)
            self.assert_right(*vms)
            self.end_cleanly(server)

    def test_peers_cannot_flood_the_log(self) -> None:
        with self.serving(self.snapshot) as server:
            for _ in range(300):
                self.assertEqual(Vm(server.socket, self.truth_file, "--misbehave", "scalar",
                                    ).finish(), -signal.SIGKILL)
            self.assertEqual(server.metrics()["lamina_peers_refused_total"], 300)
            self.assertLess(sum("is refused" in line for line in server.log()), 50)
            self.end_cleanly(server)
            self.assertRegex(server.said(), r"\(\d+ more like this in the last \d+ s\)")


if __name__ == "__main__":
    os.environ["REAL_LAMINA"] = program()
    adopt_orphans()
    main()
