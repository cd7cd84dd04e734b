#!/usr/bin/env python3
"""What a process of lamina inherits from its starter, and what its children inherit.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

import inherited
from daemon import Daemon, DaemonTest, daemon_program
from inherited import HANDLED, IGNORED, ODD_NICE, ODD_OOM_SCORE, ODD_OPEN_FILES, odd_start
from memory_files import EXIT_DONE, EXIT_FAILED, lamina, main, program
from sandbox import page_servers_of
from serving import TIMEOUT_S, wait_until


def parent_of(pid: int) -> int:
    """The parent's process id."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class InheritedTest(DaemonTest):
    """Starts programs with odd surroundings."""

    def setUp(self) -> None:
        """A lock and a pipe that a started program has as descriptors."""
        super().setUp()
        self.lock = self.directory / "lock"
        self.lock_fd = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, self.lock_fd)
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX)
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.elsewhere = self.directory / "elsewhere"
        self.elsewhere.mkdir()

    def run_oddly(self, *words: Any) -> subprocess.CompletedProcess[str]:
        """Runs lamina to its end; the writing end of the pipe is its alone then."""
        done = subprocess.run([program(), *map(str, words)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
                              restore_signals=False, pass_fds=(self.lock_fd, self.writing),
                              preexec_fn=odd_start(self.elsewhere))
        self.assertEqual(done.returncode, EXIT_DONE, done.stderr)
        return done

    def assert_clean_signals(self, pid: int) -> None:
        """Only what lamina wants is ignored or blocked."""
        self.assertEqual(inherited.ignored(pid), IGNORED)
        self.assertLessEqual(inherited.blocked(pid), HANDLED)

    def worker_and_supervisor(self) -> tuple[int, int]:
        """The two processes of the store's page server."""
        def both() -> bool:
            return len(page_servers_of(self.store)) == 2
        wait_until(both, "the page server has a worker")
        first, second = page_servers_of(self.store)
        return (first, second) if parent_of(first) == second else (second, first)


class PageServerTest(InheritedTest):
    """The page server that a resume starts outlives the process that resumed."""

    def started(self) -> Any:
        """A VM that was resumed by an odd agent."""
        vm = self.fresh()
        vm.tell("run 300 1")
        self.pause(vm, "a")
        vm = self.waiting()
        self.run_oddly("resume", "--api", vm.api_socket, "--store",
                       os.path.relpath(self.store, self.elsewhere), "--name", "a", "--mode",
                       "uffd", "--populate", "none", "--no-daemon")
        return vm

    def servers(self) -> list[int]:
        """Its processes; the agent gave the store a relative path, which they cannot use."""
        return page_servers_of(self.store)

    def test_a_page_server_starts_with_clean_signals_limits_and_descriptors(self) -> None:
        vm = self.started()
        wait_until(lambda: len(self.servers()) == 2, "it has a worker")
        for pid in self.servers():
            self.assert_clean_signals(pid)
            self.assertEqual(inherited.umask(pid), 0o077)
            self.assertEqual(inherited.nice(pid), 0)
            self.assertIn(inherited.io_class(pid), (0, 2))  # none, which may be told as best effort
            self.assertEqual(inherited.oom_score(pid), 0)
            # Without CAP_SYS_RESOURCE the hard limit stays.
            soft, hard = inherited.limit(pid, resource.RLIMIT_CPU)
            self.assertEqual(soft, hard)
            soft, hard = inherited.limit(pid, resource.RLIMIT_NOFILE)
            self.assertEqual(soft, hard)
            self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
            files = inherited.files(pid)
            self.assertEqual(files[0], "/dev/null")
            self.assertNotIn(str(self.lock), files.values())
            self.assertNotEqual(os.getsid(pid), os.getsid(0))
        os.close(self.writing)
        # The end of the file: no process has the other end.
        self.assertTrue(select.select([self.reading], [], [], TIMEOUT_S)[0])
        self.check(vm)

    def test_a_killed_worker_is_replaced(self) -> None:
        vm = self.started()
        os.close(self.writing)
        wait_until(lambda: len(self.servers()) == 2, "it has a worker")
        worker = next(pid for pid in self.servers() if parent_of(pid) in self.servers())
        os.kill(worker, signal.SIGKILL)
        vm.tell("touch 200 1")
        self.check(vm)

    def test_a_page_server_started_by_hand_leaves_its_directory_and_is_replaced(self) -> None:
        os.close(self.writing)
        self.pause(self.fresh(), "a")
        log = self.directory / "serve.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [program(), "serve", "--store", self.store.name], cwd=self.store.parent,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, restore_signals=False,
                start_new_session=True, preexec_fn=odd_start())

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # its worker would take its place
            server.wait()
        self.addCleanup(end)

        def answers() -> bool:
            return lamina("serve", "--status", "--store", self.store).code == EXIT_DONE
        wait_until(answers, "it serves")
        self.assertEqual(os.readlink(f"/proc/{server.pid}/cwd"), "/")
        self.assertEqual(inherited.nice(server.pid), ODD_NICE)  # as its starter configured
        vm, report = self.resume("a", "--mode", "uffd", "--populate", "none")
        self.assertFalse(report["started_page_server"])
        before = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: Path(f"/proc/{server.pid}/cmdline").read_bytes() not in (b"", before),
                   "another process is in its place")
        wait_until(answers, "it serves again")
        self.check(vm)
        vm.end()
        server.terminate()
        self.assertEqual(server.wait(TIMEOUT_S), EXIT_DONE, log.read_text())


class HookTest(InheritedTest):
    """A hook begins clean, and its verdict is known."""

    def test_a_hook_starts_with_default_signals_and_no_descriptors(self) -> None:
        vm = self.fresh()
        seen = self.directory / "seen"
        # The directory must be there for a shell whose umask masks all but the owner's rights.
        self.run_oddly("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                       "--after", "resume", "--no-daemon", "--frozen-hook",
                       f"exec > {seen}; grep -E '^Sig(Ign|Blk)' /proc/self/status; ulimit -n; "
                       f"ls /proc/self/fd; pwd; while echo x; do :; done | head -n 1")
        os.close(self.writing)
        lines = seen.read_text().split("\n")
        # posix_spawn(3) has the C library's own two, 32 and 33, ignored.
        masks = [int(line.split()[1], 16) & ~(3 << 31) for line in lines[:2]]
        self.assertEqual(masks, [0, 0])
        self.assertEqual(lines[2:8], [str(ODD_OPEN_FILES), "0", "1", "2", "3", str(self.elsewhere)])
        self.assertEqual(lines[8], "x")
        for path in (self.store, *self.store.rglob("*")):
            if not path.is_symlink():
                self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o600, 0o600, path)

    def test_a_pause_fails_exactly_when_its_hook_fails(self) -> None:
        os.close(self.writing)
        vm = self.fresh()
        for hook, code in (("exit 0", EXIT_DONE), ("exit 3", EXIT_FAILED)):
            outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name",
                             "a", "--after", "resume", "--frozen-hook", hook,
                             prepare=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
            self.assertEqual(outcome.code, code, str(outcome))
        self.assertIn("ended with 3", outcome.stderr)


class DaemonStartTest(InheritedTest):
    """laminad."""

    def start_oddly(self, prepare: Any) -> subprocess.Popen[bytes]:
        """Starts it; it listens then."""
        listen = self.directory / "laminad.sock"
        process = subprocess.Popen(
            [daemon_program(), "--store", os.path.relpath(self.store, self.elsewhere), "--listen",
             "unix:../laminad.sock"], restore_signals=False,
            pass_fds=(self.lock_fd, self.writing), cwd=self.elsewhere, preexec_fn=prepare)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(listen.is_socket, "it listens")
        return process

    def test_a_daemon_starts_clean_with_the_configured_priorities_and_stops(self) -> None:
        process = self.start_oddly(odd_start())
        os.close(self.writing)
        wait_until(lambda: HANDLED.isdisjoint(inherited.blocked(process.pid)), "it has begun")
        self.assert_clean_signals(process.pid)
        self.assertNotIn(str(self.lock), inherited.files(process.pid).values())
        self.assertEqual(os.readlink(f"/proc/{process.pid}/cwd"), "/")
        self.assertEqual(inherited.nice(process.pid), ODD_NICE)
        self.assertEqual(inherited.oom_score(process.pid), ODD_OOM_SCORE)
        self.assertEqual(inherited.umask(process.pid) & 0o700, 0)
        self.assertTrue(select.select([self.reading], [], [], TIMEOUT_S)[0])
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT_S), EXIT_DONE)

    def test_a_daemon_without_descriptors_does_not_log_into_its_own_files(self) -> None:
        os.close(self.writing)

        def close_all() -> None:
            for fd in (0, 1, 2):
                os.close(fd)
        process = self.start_oddly(close_all)
        self.assertEqual({inherited.files(process.pid)[fd] for fd in (0, 1, 2)}, {"/dev/null"})
        process.terminate()
        self.assertEqual(process.wait(TIMEOUT_S), EXIT_DONE)
        self.assertNotIn("stopped", (self.store / ".vms" / "laminad.lock").read_text())

    def test_a_limit_of_file_sizes_fails_requests_and_not_the_daemon(self) -> None:
        os.close(self.writing)
        self.pause(self.fresh(), "a")
        daemon = Daemon(self.store, self.directory)
        self.addCleanup(daemon.end)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (4096, 4096))
        vm = self.waiting()
        error = daemon.refused(500, "POST", "/v1/resume", {
            "api_socket": str(vm.api_socket), "name": "a", "mode": "file"})
        self.assertIn("file too large", error["message"])
        self.assertTrue(daemon.is_running())
        self.assertEqual(daemon.done("GET", "/v1/health")["status"], "ok")


class CommandTest(InheritedTest):
    """Short commands."""

    def test_a_result_that_cannot_be_written_is_a_failure(self) -> None:
        os.close(self.writing)
        self.pause(self.fresh(), "a")
        for words in (["help"], ["--version"], ["ls", "--help"], ["ls", self.store],
                      ["du", self.store, "--json"], ["doctor", self.store]):
            with open("/dev/full", "wb") as full:
                outcome = lamina(*words, stdout=full)
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn("standard output", outcome.stderr)
            outcome = lamina(*words, stdout=None, prepare=lambda: os.close(1))
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([daemon_program(), "--help"], stdout=full, check=False,
                                  stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, EXIT_FAILED)

    def test_a_pause_without_descriptors_makes_the_snapshot_and_fails(self) -> None:
        os.close(self.writing)

        def close_all() -> None:
            for fd in (0, 1, 2):
                os.close(fd)
        vm = self.fresh()
        process = subprocess.run(
            [program(), "pause", "--api", str(vm.api_socket), "--store", str(self.store), "--name",
             "a", "--after", "resume", "--frozen-hook", "echo said", "--no-daemon"],
            check=False, preexec_fn=close_all)
        # What it says cannot be written, and no file of the store has it.
        self.assertEqual(process.returncode, EXIT_FAILED)
        self.done("verify", self.store / "a")


if __name__ == "__main__":
    main()
