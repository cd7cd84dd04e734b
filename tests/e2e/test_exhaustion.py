"""Sizes that are not believed, and what runs out: it hits the one VM that asks for it.

Set LAMINA, FAKE_VM and FAKE_FIRECRACKER to the binaries.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import signal
import socket as sockets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from faults import require_strace
from memory_files import EXIT_DONE, EXIT_FAILED, EXIT_NO_SPACE, PAGE_BYTES, lamina, program
from mounts import FileSystem, mount, remount
from sandbox import MEMORY_BYTES, SandboxTest, page_servers_of
from served_snapshots import ServeTest, run
from serving import HUGE_PAGE_BYTES, HUGE_PAGES, Server, Vm, is_traced, wait_until

TEBIBYTE = 1 << 40
REGION_BYTES = 16 << 20
# What two VMs may cost a serving process, the snapshots and its buffers included.
MOST_BYTES_PER_VM = 16 << 20


@contextlib.contextmanager
def pool_of(count: int) -> Iterator[bool]:
    """Exactly so many huge pages; False where there are fewer. Others that change it wait."""
    try:
        lock = HUGE_PAGES.open("r+")
    except OSError:
        yield False
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = HUGE_PAGES.read_text()
        try:
            HUGE_PAGES.write_text(str(count))
            yield int(HUGE_PAGES.read_text()) == count
        finally:
            HUGE_PAGES.write_text(before)


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    found = re.search(r"^VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def parent_of(pid: int) -> int:
    """The process whose child it is."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def reply_of(socket: Path) -> bytes:
    """What a page server says to a client of its control socket."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as client:
        client.connect(str(socket))
        return client.recv(4096, sockets.MSG_WAITALL)


def accepts(socket: Path) -> bool:
    """Whether somebody listens."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as client:
        return client.connect_ex(str(socket)) == 0


class MemoryFileSize(SandboxTest):
    """A VMM that makes its memory file longer, or shorter, before it answers."""

    def test_a_memory_file_of_another_size_is_refused_and_the_vm_runs_again(self) -> None:
        for size in (8 * TEBIBYTE, MEMORY_BYTES + PAGE_BYTES, MEMORY_BYTES - PAGE_BYTES):
            with self.subTest(size=size):
                name = f"vm-{size}"
                vm = self.fresh("--fail", "create-hang")
                vm.control("run 300 1")
                resizer = threading.Thread(target=self.resize_and_release, args=(vm, size))
                resizer.start()
                message = self.pause_fails(EXIT_FAILED, vm, name, "--after", "resume")
                resizer.join()
                self.assertIn(str(size), message)
                self.assertIn(str(MEMORY_BYTES), message)
                self.assertFalse((self.store / name).exists())
                self.assertEqual(vm.state(), "Running")
                # What it has written is discarded, and so are its dirty bits.
                vm.control("run 300 2")
                report = self.pause(vm, name, "--after", "resume")
                self.assertEqual(report["kind"], "full")
                self.assertEqual(report["memory_bytes"], MEMORY_BYTES)
                self.done("verify", self.store / name)
                self.assertEqual(self.pause(vm, name)["kind"], "diff")

    def resize_and_release(self, vm: object, size: int) -> None:
        """While the create has written all and has not answered."""
        vm.wait_held()  # type: ignore[attr-defined]
        files = list((self.store / ".pending").glob("*/memfile.*"))
        assert len(files) == 1, files
        os.truncate(files[0], size)
        vm.control("release")  # type: ignore[attr-defined]


class FewThreads(SandboxTest):
    """A page server that can start few threads, or only one: limits of processes and of memory."""

    def test_vms_are_served_with_one_thread(self) -> None:
        require_strace(self)
        vms = {}
        for name in "ab":
            vms[name] = self.fresh()
            vms[name].control("run 300 1")
            self.pause(vms[name], name)
        # Of each thread's own threads, the first can be started: a serving thread.
        with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3",
                               "-e", "inject=clone3:error=EAGAIN:when=2+", program(), "serve",
                               "--store", str(self.store)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
            self.addCleanup(server.wait)
            self.addCleanup(self.stop_page_servers)
            socket = self.store / ".vms" / "page-server.sock"
            wait_until(lambda: accepts(socket) or server.poll() is not None, "the server listens")
            for name in "ab":  # the second is opened without a thread
                vm, _ = self.resume(name, "--mode", "uffd")
                self.check(vm)
                vms[name] = vm
            for name, vm in vms.items():
                self.check(vm)
                vm.control("run 300 2")
                self.assertEqual(self.pause(vm, name)["kind"], "diff")
                self.done("verify", self.store / name)
            self.stop_page_servers()
            said = os.fsdecode(server.communicate()[1])
        if (os.cpu_count() or 1) > 1:
            self.assertRegex(said, r"1 of \d serving threads")
        self.assertNotIn("can begin yet", said)

    def test_a_resume_without_any_thread_fails_and_leaves_nothing(self) -> None:
        require_strace(self)
        vm = self.fresh()
        vm.control("run 300 1")
        self.pause(vm, "a")
        vm = self.waiting()
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                         "--mode", "uffd",
                         prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3",
                                 "-e", "inject=clone3:error=EAGAIN"])
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("did not start: ", outcome.error_lines[-1])
        self.assertIn("no VM can be served: serving thread", outcome.error_lines[-1])
        self.assertEqual(page_servers_of(self.store), [])
        self.assertEqual(self.pins(), [])
        # The same process can be resumed into.
        vm, _ = self.resume("a", "--mode", "uffd", vm=vm)
        self.check(vm)

    def test_a_page_server_that_lost_its_threads_says_so_until_it_has_some(self) -> None:
        require_strace(self)
        vm = self.fresh()
        vm.control("run 300 1")
        self.pause(vm, "a")
        vm, _ = self.resume("a", "--mode", "uffd")
        servers = page_servers_of(self.store)
        worker = next(pid for pid in servers if parent_of(pid) in servers)
        supervisor = parent_of(worker)
        other = self.waiting()
        with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(supervisor), "-e",
                               "trace=clone3", "-e", "inject=clone3:error=EAGAIN"]) as tracer:
            self.addCleanup(tracer.wait)
            self.addCleanup(tracer.kill)
            wait_until(lambda: is_traced(supervisor), "the page server is traced")
            os.kill(worker, signal.SIGKILL)
            control = self.store / ".vms" / "page-server.control"
            wait_until(lambda: b"cannot serve: " in reply_of(control), "the page server says so")
            outcome = lamina("resume", "--api", other.api_socket, "--store", self.store, "--name",
                             "a", "--mode", "uffd")
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn("runs, and cannot serve: serving thread", outcome.error_lines[-1])
            self.assertEqual(len(self.pins()), 1)
            tracer.terminate()
        other, _ = self.resume("a", "--mode", "uffd", vm=other)
        for one in (vm, other):
            self.check(one)


class FewInodes(SandboxTest):
    """A store on a file system that has few inodes left, or none. A link needs one on tmpfs."""

    def setUp(self) -> None:
        super().setUp()
        self.place = mount(self, self.directory, FileSystem(
            "few inodes", kind="tmpfs", options="size=64m,mode=0700,nr_inodes=10000"))
        self.store = self.place / "store"
        self.store.mkdir()

    def leave(self, count: int) -> None:
        """So many inodes are free."""
        now = os.statvfs(self.place)
        remount(self.place, f"nr_inodes={now.f_files - now.f_ffree + count}")

    def test_each_step_of_a_fork_says_what_it_lacks(self) -> None:
        vm = self.fresh()
        vm.control("run 300 1")
        self.pause(vm, "a")
        for left in itertools.count():
            self.leave(left)
            outcome = lamina("fork", self.store / "a", self.store / "b")
            if outcome.code == EXIT_DONE:
                break
            self.assertEqual(outcome.code, EXIT_NO_SPACE, str(outcome))
            self.assertIn("no space left on device; free space", outcome.error_lines[-1])
            self.assertNotIn("move it out", outcome.error_lines[-1])
            self.assert_nothing_left()
        self.assertGreater(left, 3)

    def test_a_pause_succeeds_or_leaves_the_vm_or_is_completed(self) -> None:
        self.pause(self.fresh(), "first")  # makes the store
        for left in itertools.count():
            name = f"vm-{left}"
            vm = self.fresh()
            vm.control("run 300 1")
            self.leave(left)
            outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", name)
            self.leave(1000)
            if outcome.code == EXIT_DONE:
                break
            message = outcome.error_lines[-1]
            self.assertIn("no space left on device", message.lower())
            self.assertTrue(vm.is_running(), message)
            self.assertFalse((self.store / name).exists(), message)
            recovered = self.recover()
            self.assertEqual(recovered["completed"], 1 if "queued" in message else 0, message)
            if recovered["completed"]:
                self.done("verify", self.store / name)
                self.done("rm", self.store / name)
            else:
                self.assertEqual(vm.state(), "Running")
                self.check(vm)
            vm.end()
            self.recover()
            self.assert_nothing_left()
        self.assertGreater(left, 5)
        self.done("verify", self.store / name)

    def test_recover_and_rm_need_none(self) -> None:
        vm = self.fresh()
        vm.control("run 300 1")
        self.pause(vm, "a")
        for mode in ("uffd", "file"):
            vm, _ = self.resume("a", "--mode", mode)
            vm.end()
        (self.store / ".lock" / ".maps").unlink()
        self.leave(0)
        outcome = lamina("recover", self.store, "--json")
        self.assertEqual(outcome.json["released_pins"], 2, str(outcome))
        self.assertEqual(self.pins(), [])
        self.assertEqual(self.recover()["removed_maps"], 0)
        self.leave(0)
        self.done("rm", self.store / "a")


class LargeSnapshot(ServeTest):
    """Eight tebibytes, all of them a hole, for a VM that maps 16 MiB."""

    def test_a_snapshot_of_8_tib_costs_only_what_its_vm_maps(self) -> None:
        memory = self.directory / "claims-much"
        with memory.open("wb") as file:
            file.truncate(8 * TEBIBYTE)
        snapshot = self.store / "large"
        outcome = lamina("ingest", memory, "--out", snapshot)
        self.assertEqual(outcome.code, 0, str(outcome))
        honest, honest_truth, _ = self.chain("honest", 600, 2)
        truth = self.directory / "zeros"
        truth.write_bytes(bytes(REGION_BYTES))
        with self.serving(snapshot, honest, options=("--workers", "1")) as server:
            before = resident_bytes(server.worker())
            vm = Vm(server.sockets[0], truth, "--operations", 300, wait=True,
                    regions=f"{REGION_BYTES}").wait_connected()
            wait_until(lambda: server.vms_on_record() == 1, "the VM is on record")
            self.assert_right(Vm(server.sockets[1], honest_truth))
            states = [server.state / name / "state" for name in server.states()]
            wait_until(lambda: len(server.states()) == 1, "the other VM's state is gone")
            self.assertLessEqual(sum(path.stat().st_blocks * 512 for path in states
                                     if path.exists()), 64 << 10)
            self.assertLess(resident_bytes(server.worker()) - before, MOST_BYTES_PER_VM)
            # Unmapped memory is skipped, and zeros are left to the kernel.
            self.assertEqual(server.stop(), 0, server.said())
            self.assert_right(vm)


class HugePagePool(ServeTest):
    """UFFDIO_COPY says of it that the page is there (EEXIST)."""

    def test_an_empty_pool_is_reported_once_while_other_vms_are_served(self) -> None:
        pages = 4 * HUGE_PAGE_BYTES // PAGE_BYTES
        huge, huge_truth, _ = self.chain("huge", pages, 3)
        honest, honest_truth, _ = self.chain("honest", 600, 2)
        with pool_of(1) as available:
            if not available:
                self.skipTest("no huge pages on this machine")
            with self.serving(huge, honest, options=("--workers", "1")) as server:
                vm = Vm(server.sockets[0], huge_truth, "--page", HUGE_PAGE_BYTES, "--operations",
                        100, regions=f"{4 * HUGE_PAGE_BYTES}")
                wait_until(lambda: self.lines_about_the_pool(server), "the lack of pages is said")
                # As often as a fault is served for the others, in vain for that one.
                for seed in range(4):
                    self.assert_right(Vm(server.sockets[1], honest_truth, "--seed", seed))
                # A successor goes on with it.
                server.wait_for_another(server.kill_worker())
                self.assert_right(Vm(server.sockets[1], honest_truth))
                self.assertTrue(vm.is_running())
                self.assertLessEqual(len(self.lines_about_the_pool(server)), 2,
                                     "one line of each serving process")
                present = server.metrics()['lamina_faults_total{kind="present"}']
                self.assertLess(present, 1000, "woken threads fault again and again")
                HUGE_PAGES.write_text("4")
                self.assert_right(vm)
                self.end_cleanly(server)

    @staticmethod
    def lines_about_the_pool(server: Server) -> list[str]:
        """What the server has said of it."""
        return [line for line in server.log() if "has no page of 2048 KiB" in line]


if __name__ == "__main__":
    run()
