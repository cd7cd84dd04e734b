"""What tests of the page server need: snapshots that are served, and VMs that come and go.

Environment: LAMINA and FAKE_VM are the binaries; LAMINA_SEED replays the moments of the kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from memory_files import (EXIT_DONE, EXIT_FAILED, PAGE_BYTES, GuestMemory, LaminaTest,
                          change_memory, main, random_memory)
from serving import CRASH_WORDS, Server, Vm, adopt_orphans, wait_until

SEED = int(os.environ.get("LAMINA_SEED", "1"))
OTHER_USER = 65534
SHARED_MEMORY = Path("/dev/shm")

needs_root = "signals, users and pidfd_getfd of other processes need root"


class ServeTest(LaminaTest):
    """A test with a directory for sockets and one for states."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest(needs_root)
        self.kill_rng = random.Random(f"{self.id()} {SEED}")
        # Not below the test's directory: a socket's path must be short, and states are on tmpfs.
        self.sockets = Path(tempfile.mkdtemp(prefix="lamina-s-"))
        self.addCleanup(shutil.rmtree, self.sockets)
        self.sockets.chmod(0o755)
        self.states = Path(tempfile.mkdtemp(prefix="lamina-s-", dir=SHARED_MEMORY))
        self.addCleanup(shutil.rmtree, self.states, ignore_errors=True)
        self.servers = 0

    # Snapshots.

    def truth(self, memory: GuestMemory, name: str) -> Path:
        """A file with the memory."""
        path = self.directory / f"{name}.truth"
        path.write_bytes(memory.contents())
        return path

    def chain(self, name: str, pages: int, generations: int, merged: int | None = None,
              ) -> tuple[Path, Path, GuestMemory]:
        """A random chain of snapshots: its last one, a file with its memory, and the memory.

        After generation `merged` the snapshot is merged to one layer.
        """
        memory = random_memory(self.rng, pages * PAGE_BYTES)
        snapshot = self.ingest_full(memory, f"{name}-0")
        for generation in range(1, generations):
            dirty = change_memory(self.rng, memory, pages // 8, pages // 16, pages // 10)
            snapshot = self.ingest_diff(memory, dirty, snapshot, f"{name}-{generation}")
            if generation == merged:
                self.done("merge", snapshot)
        return snapshot, self.truth(memory, name), memory

    # Servers and VMs.

    @contextlib.contextmanager
    def serving(self, *snapshots: Path, options: tuple[str | Path, ...] = (),
                user: int | None = None, log: int | None = None,
                environment: dict[str, str] | None = None) -> Iterator[Server]:
        """A server that runs in the block; after it no process of it is left."""
        directory = self.sockets / str(self.servers)
        self.servers += 1
        directory.mkdir()
        state = self.states / str(self.servers)
        state.mkdir(0o700)
        if user is not None:
            self.states.chmod(0o711)
            os.chown(directory, user, user)
            os.chown(state, user, user)
        server = Server(snapshots, directory, state, *options, user=user, log=log,
                        environment=environment)
        try:
            yield server
        finally:
            server.end()

    def end_cleanly(self, server: Server) -> None:
        """Stops the server, which must leave nothing behind and never have crashed."""
        self.wait_idle(server)
        self.assertEqual(server.stop(), EXIT_DONE, server.said())
        self.assert_nothing_left(server)

    def wait_idle(self, server: Server) -> None:
        """Waits until no VM is served."""
        wait_until(lambda: not server.states(), f"states go with their VMs; {server.said()}")

    def assert_nothing_left(self, server: Server) -> None:
        """Checks state directory, processes, sockets, and the log for crashes."""
        self.assertEqual(server.states(), [])
        self.assertEqual(server.leftovers(), [])
        self.assertEqual([path for path in (*server.sockets, server.metrics_socket)
                          if path.exists()], [])
        crashes = [line for line in server.log() if any(word in line for word in CRASH_WORDS)]
        self.assertEqual(crashes, [], server.said())

    def assert_right(self, *vms: Vm) -> None:
        """Lets the VMs come to their ends: every byte must have been right."""
        for vm in vms:
            self.assertEqual(vm.finish(), EXIT_DONE, vm.said())

    def assert_killed(self, vm: Vm) -> None:
        """The VM must end by SIGKILL, without having seen a wrong byte."""
        self.assertEqual(vm.finish(), -signal.SIGKILL, vm.said())


class ComeAndGo:
    """VMs that come and go until stop(): all of them must be right."""

    def __init__(self, test: ServeTest, count: int) -> None:
        """So many at a time."""
        self._test = test
        self._stopping = threading.Event()
        self.finished = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,))
                         for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the load and reports what went wrong."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._test.assertEqual(self.failures, [])
        self._test.assertGreater(self.finished, 0)

    def _run(self, number: int) -> None:
        """One VM after the other."""
        raise NotImplementedError


class Load(ComeAndGo):
    """Those of several sockets."""

    def __init__(self, test: ServeTest, server: Server, truths: list[Path], count: int,
                 operations: int = 4000) -> None:
        """`truths` is what the server's sockets serve."""
        self._places = [*zip(server.sockets, truths)]
        self._operations = operations
        super().__init__(test, count)

    def _run(self, number: int) -> None:
        """A connection may be refused while no server listens."""
        seed = number
        path, truth = self._places[number % len(self._places)]
        half = truth.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES
        regions = f"{half},{truth.stat().st_size - half}"
        while not self._stopping.is_set() and not self.failures:
            seed += 100
            try:
                vm = Vm(path, truth, "--seed", seed, "--operations", self._operations,
                        "--threads", 3, regions=regions)
                code = vm.finish()
            except AssertionError as error:
                self.failures.append(str(error))
                return
            if code == EXIT_DONE:
                self.finished += 1
            elif "connected" in vm.said() or code != EXIT_FAILED:
                self.failures.append(f"exit {code}: {vm.said()}")


def decode_working_set(path: Path) -> tuple[int, list[int]]:
    """Memory size and pages of a working-set file, in order."""
    content = path.read_bytes()
    magic, version, count, memory_bytes, _ = struct.unpack_from("<8sIIQQ", content)
    assert magic == b"LAMINAWS" and version == 1, content[:32]
    assert len(content) == 32 + 8 * count + 8
    pages: list[int] = []
    for first, length in struct.iter_unpack("<II", content[32:-8]):
        pages += range(first, first + length)
    return memory_bytes, pages


def raise_limits() -> None:
    """As many descriptors as the crowds need."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run() -> None:
    """Runs the tests of the script."""
    adopt_orphans()
    raise_limits()
    main()
