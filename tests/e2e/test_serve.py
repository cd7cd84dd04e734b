#!/usr/bin/env python3
"""The page server against VMs that know every byte, while it is killed, starved and lied to.

Environment: LAMINA and FAKE_VM are the binaries; LAMINA_SEED replays the moments of the kills.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_BUSY, EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND,
                          EXIT_USAGE, PAGE_BYTES, GuestMemory, LaminaTest, change_memory,
                          data_map, lamina, layers_of, main, program, random_memory)
from mounts import EXT4, mount
from serving import (CRASH_WORDS, HUGE_PAGE_BYTES, POLL_S, Server, Vm, adopt_orphans, huge_pages,
                     wait_until)

SEED = int(os.environ.get("LAMINA_SEED", "1"))
OTHER_USER = 65534
SHARED_MEMORY = Path("/dev/shm")

WORKER_KILLS = 500
SUPERVISOR_KILLS = 60
FULL_KILLS = 60
REPLACEMENTS = 60
LONGEST_LIFE_S = 0.1
CONCURRENT_VMS = 4
SILENT_CONNECTIONS = 3000
SILENT_PROCESSES = 1100

FOREVER = 1 << 60
STATE_MAGIC = b"LAMAVMS1"

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
                user: int | None = None, log: int | None = None) -> Iterator[Server]:
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
        server = Server(snapshots, directory, state, *options, user=user, log=log)
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


class Load:
    """VMs that come and go on several sockets, until stop(): all of them must be right."""

    def __init__(self, test: ServeTest, server: Server, truths: list[Path], count: int,
                 operations: int = 4000) -> None:
        """`truths` is what the server's sockets serve."""
        self._test = test
        self._server = server
        places = [*zip(server.sockets, truths)]
        self._stopping = threading.Event()
        self.finished = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number, *places[number % len(
            places)], operations)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the load and reports what went wrong."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._test.assertEqual(self.failures, [])
        self._test.assertGreater(self.finished, 0)

    def _run(self, number: int, path: Path, truth: Path, operations: int) -> None:
        """One VM after the other. A connection may be refused while nobody listens."""
        seed = number
        half = truth.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES
        regions = f"{half},{truth.stat().st_size - half}"
        while not self._stopping.is_set() and not self.failures:
            seed += 100
            try:
                vm = Vm(path, truth, "--seed", seed, "--operations", operations, "--threads", 3,
                        regions=regions)
                code = vm.finish()
            except AssertionError as error:
                self.failures.append(str(error))
                return
            if code == EXIT_DONE:
                self.finished += 1
            elif "connected" in vm.said() or code != EXIT_FAILED:
                self.failures.append(f"exit {code}: {vm.said()}")


class EveryByteIsRight(ServeTest):
    """Random chains, in all ways of serving."""

    def test_random_chains(self) -> None:
        for number in range(4):
            generations = 1 + number
            snapshot, truth, _ = self.chain(f"c{number}", 700 + 97 * number, generations,
                                            merged=generations - 1 if number % 2 else None)
            for populate in ("none", "all", "working-set"):
                with self.subTest(generations=generations, populate=populate), \
                        self.serving(snapshot, options=("--populate", populate)) as server:
                    vm = Vm(server.socket, truth, "--threads", 3, "--seed", number)
                    self.assert_right(vm)
                    self.assertGreater(vm.report()["removes"], 0)
                    self.end_cleanly(server)

    def test_a_memory_that_ends_in_a_page(self) -> None:
        memory = random_memory(self.rng, 50 * PAGE_BYTES + 1234)
        snapshot = self.ingest_full(memory, "short")
        truth = self.truth(memory, "short")
        with self.serving(snapshot, options=("--populate", "all")) as server:
            self.assert_right(Vm(server.socket, truth, regions=str(51 * PAGE_BYTES)))
            self.end_cleanly(server)

    def test_several_regions_and_ways_to_hand_over(self) -> None:
        snapshot, truth, _ = self.chain("r", 1024, 3)
        sizes = [300, 1, 523, 200]
        regions = ",".join(str(pages * PAGE_BYTES) for pages in sizes)
        with self.serving(snapshot) as server:
            for handshake in ("plain", "pieces", "several-descriptors", "empty-first", "twice"):
                with self.subTest(handshake=handshake):
                    self.assert_right(Vm(server.socket, truth, "--handshake", handshake,
                                         regions=regions))
            self.end_cleanly(server)

    def test_offsets_beyond_2_gib(self) -> None:
        far = (2 << 30) + 4096 * 5
        memory = GuestMemory(far + 256 * PAGE_BYTES)
        for page in range(far // PAGE_BYTES, far // PAGE_BYTES + 256, 3):
            memory.write(page, self.rng.randbytes(PAGE_BYTES))
        memory.write(0, b"\x01" * PAGE_BYTES)
        memory_file = self.directory / "far"
        with memory_file.open("wb") as stream:
            stream.truncate(memory.size_bytes)
            for page, data in memory.pages.items():
                stream.seek(page * PAGE_BYTES)
                stream.write(data)
        truth = self.directory / "far.truth"
        subprocess.run(["cp", "--sparse=always", memory_file, truth], check=True)
        self.done("ingest", memory_file, "--out", self.store / "far")
        with self.serving(self.store / "far", options=("--populate", "all")) as server:
            vm = Vm(server.socket, truth, regions=f"65536,{256 * PAGE_BYTES}@{far}")
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_huge_pages(self) -> None:
        pages = 4 * HUGE_PAGE_BYTES // PAGE_BYTES
        snapshot, truth, _ = self.chain("huge", pages, 3)
        with huge_pages(6) as available:
            if not available:
                self.skipTest("no huge pages on this machine")
            for populate in ("none", "all"):
                with self.subTest(populate=populate), \
                        self.serving(snapshot, options=("--populate", populate)) as server:
                    vm = Vm(server.socket, truth, "--page", HUGE_PAGE_BYTES, "--operations", 300,
                            regions=f"{HUGE_PAGE_BYTES},{3 * HUGE_PAGE_BYTES}")
                    for _ in range(5 if populate == "none" else 0):
                        server.wait_for_another(server.kill_worker())
                    self.assert_right(vm)
                    self.end_cleanly(server)

    def test_many_vms_of_two_snapshots(self) -> None:
        first, first_truth, _ = self.chain("one", 600, 2)
        second, second_truth, _ = self.chain("two", 500, 3)
        with self.serving(first, second, options=("--populate", "all", "--workers", "3")) as server:
            vms = [Vm(server.sockets[i % 2], (first_truth, second_truth)[i % 2], "--seed", i)
                   for i in range(8)]
            self.assert_right(*vms)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 8)
            self.end_cleanly(server)


class Killed(ServeTest):
    """Whatever of the server is killed, no VM notices more than a delay."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("k", 1536, 3)
        self.other, self.other_truth, _ = self.chain("l", 512, 2)

    @contextlib.contextmanager
    def loaded(self, *options: str) -> Iterator[Server]:
        """A server under load in the block; every VM must have been right, nothing be left."""
        with self.serving(self.snapshot, self.other, options=options) as server:
            load = Load(self, server, [self.truth_file, self.other_truth], CONCURRENT_VMS)
            start = time.monotonic()
            try:
                yield server
            finally:
                load.stop()
            print(f"  {load.finished} VMs in {time.monotonic() - start:.1f} s", flush=True)
            self.end_cleanly(server)

    def moment(self) -> None:
        """Waits for a random moment; short ones are as likely as long ones."""
        time.sleep(LONGEST_LIFE_S * 10 ** self.kill_rng.uniform(-3, 0))

    def kill_workers(self, server: Server, count: int) -> None:
        """Kills `count` workers, each at a random moment of its life."""
        worker = server.worker()
        for _ in range(count):
            self.moment()
            server.kill_worker()
            worker = server.wait_for_another(worker)

    def test_workers(self) -> None:
        for populate in ("none", "all"):
            with self.loaded("--populate", populate, "--workers", "2") as server:
                self.kill_workers(server, WORKER_KILLS // 2)
                self.assertEqual(server.metrics()["lamina_worker_restarts_total"],
                                 WORKER_KILLS // 2)

    def kill_under_long_lives(self, server: Server, count: int, kill: Callable[[], None]) -> None:
        """Kills while VMs run that all began before some of the kills; they must end right.

        None connects at the moment of a kill: a handshake that is lost cannot be served.
        """
        vms: list[Vm] = []
        start = time.monotonic()
        for number in range(count):
            if number % 3 == 0:
                place = number // 3 % 2
                vms.append(Vm(server.sockets[place], (self.truth_file, self.other_truth)[place],
                              "--seed", number, "--threads", 3, "--operations",
                              20000 if number % 2 else FOREVER, wait=True))
                wait_until(lambda: self.state_files(server) >= len(vms),
                           f"VM {vms[-1].pid} is served; {server.said()}")
            self.moment()
            kill()
        self.assert_right(*vms)
        print(f"  {count} kills, {len(vms)} VMs in {time.monotonic() - start:.1f} s", flush=True)
        self.end_cleanly(server)

    def test_supervisors(self) -> None:
        with self.serving(self.snapshot, self.other, options=("--populate", "all")) as server:
            self.kill_under_long_lives(server, SUPERVISOR_KILLS, server.kill_supervisor)

    def test_replaced(self) -> None:
        with self.loaded() as server:
            for _ in range(REPLACEMENTS):
                self.moment()
                worker = server.worker()
                server.signal(signal.SIGHUP)
                server.wait_for_another(worker)

    def test_all_at_once(self) -> None:
        """VMs of a server that is gone are found by the next start."""
        reacquired: list[float] = []

        def kill_and_start() -> None:
            server.kill_all()
            server.start()
            reacquired.append(server.metrics()["lamina_vms_reacquired_total"])

        with self.serving(self.snapshot, self.other, options=("--populate", "all")) as server:
            self.kill_under_long_lives(server, FULL_KILLS, kill_and_start)
        self.assertEqual(reacquired, [1 + number // 3 for number in range(FULL_KILLS)])

    @staticmethod
    def state_files(server: Server) -> int:
        """How many VMs have a whole state: from there on they can be taken over."""
        count = 0
        for name in server.states():
            with contextlib.suppress(FileNotFoundError), \
                    (server.state / name / "state").open("rb") as state:
                count += state.read(8) == STATE_MAGIC
        return count

    def test_a_snapshot_that_is_gone_or_another_kills_its_vms(self) -> None:
        """Only those: the others go on."""
        def remove() -> None:
            shutil.rmtree(self.snapshot)

        def replace() -> None:
            shutil.rmtree(self.snapshot)
            memory = random_memory(self.rng, 1536 * PAGE_BYTES)
            self.ingest_full(memory, self.snapshot.name)

        for change in (replace, remove):
            with self.subTest(change=change.__name__), \
                    self.serving(self.snapshot, self.other) as server:
                truth = self.directory / f"truth-{change.__name__}"
                self.done("materialize", self.snapshot, "--out", truth)
                lost = Vm(server.sockets[0], truth, "--operations", 10, wait=True)
                kept = Vm(server.sockets[1], self.other_truth, "--operations", 10, wait=True)
                wait_until(lambda: self.state_files(server) == 2, server.said())
                server.kill_all()
                change()
                server.launch()
                self.assert_killed(lost)
                if change is remove:
                    self.assertEqual(server.wait(), EXIT_NOT_FOUND, server.said())
                    self.assertTrue(kept.is_running())
                    shutil.copytree(self.other, self.snapshot)
                    server.start()
                self.assert_right(kept)
                self.end_cleanly(server)

    def test_a_snapshot_that_was_merged_meanwhile_is_the_same(self) -> None:
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            wait_until(lambda: self.state_files(server) == 1, server.said())
            server.kill_all()
            self.done("merge", self.snapshot)
            server.start()
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_who_had_not_finished_its_handshake_is_killed(self) -> None:
        """Such a VM waits for pages that nobody can give it."""
        with self.serving(self.snapshot) as server:
            waiting = [Vm(server.socket, self.truth_file, "--misbehave", kind).wait_connected()
                       for kind in ("silent", "half")]
            wait_until(lambda: len(server.states()) == 2, server.said())
            for vm in waiting:
                os.kill(vm.pid, signal.SIGSTOP)  # so that it does not go by itself
            server.kill_all()
            server.start()
            for vm in waiting:
                self.assert_killed(vm)
            self.end_cleanly(server)

    def test_a_restart_before_the_old_worker_is_gone(self) -> None:
        """The state of a VM whose old server still dies is found a moment later."""
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            wait_until(lambda: self.state_files(server) == 1, server.said())
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            server.kill_supervisor_only()
            for path in (*server.sockets, server.metrics_socket):
                path.unlink()
            server.start()
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            self.assert_right(vm)
            self.end_cleanly(server)


class FailsClosed(ServeTest):
    """A VM whose memory cannot be served is killed, told in one line, and nobody else notices."""

    def check(self, damage: Callable[[Path], None], cause: str) -> None:
        """Damages the layer of a served snapshot; its VM must die, the other one must not."""
        bad, bad_truth, _ = self.chain("bad", 600, 1)
        good, good_truth, _ = self.chain("good", 600, 2)
        with self.serving(bad, good) as server:
            healthy = Vm(server.sockets[1], good_truth, "--operations", FOREVER,
                         wait=True).wait_connected()
            layer = layers_of(bad)[0]
            damage(layer)
            self.assert_killed(Vm(server.sockets[0], bad_truth, "--operations", 0))
            wait_until(lambda: len(server.states()) == 1, server.said())
            lines = [line for line in server.log() if "killed" in line]
            self.assertEqual(len(lines), 1, server.said())
            for word in (str(bad), layer.name, "0x", cause):
                self.assertIn(word, lines[0])
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 1)
            self.assert_right(healthy)
            self.end_cleanly(server)

    def test_a_changed_byte(self) -> None:
        def flip(layer: Path) -> None:
            start, end = data_map(layer)[0]
            with layer.open("r+b") as stream:
                stream.seek((start + end) // 2 // PAGE_BYTES * PAGE_BYTES + 77)
                byte = stream.read(1)
                stream.seek(-1, os.SEEK_CUR)
                stream.write(bytes([byte[0] ^ 1]))
        self.check(flip, "checksum")

    def test_a_layer_that_was_cut(self) -> None:
        self.check(lambda layer: os.truncate(layer, 5 * PAGE_BYTES), "")

    def test_a_layer_that_cannot_be_read(self) -> None:
        """The disk below the file system loses its end."""
        point = mount(self, self.directory, EXT4)
        memory = random_memory(self.rng, 8000 * PAGE_BYTES, 0.9)
        snapshot = self.ingest_full(memory, "disk", store=point)
        truth = self.truth(memory, "disk")
        with self.serving(snapshot) as server:
            os.sync()
            image = self.directory / "image-ext4"
            os.truncate(image, 12 << 20)
            layer = os.open(layers_of(snapshot)[0], os.O_RDONLY)
            os.posix_fadvise(layer, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(layer)
            self.assert_killed(Vm(server.socket, truth, "--operations", 0))
            self.wait_idle(server)
            lines = [line for line in server.log() if "killed" in line]
            self.assertEqual(len(lines), 1, server.said())
            self.assertIn("input/output error", lines[0].lower())
            os.truncate(image, EXT4.image_bytes)
            self.end_cleanly(server)

    def test_a_damaged_snapshot_is_not_served_at_all(self) -> None:
        snapshot, _, _ = self.chain("d", 100, 1)
        os.truncate(layers_of(snapshot)[0], PAGE_BYTES)
        self.refused(EXIT_CORRUPT, "serve", snapshot, "--socket", self.sockets / "s",
                     "--state-dir", self.states, names=[snapshot])
        self.assertFalse((self.sockets / "s").exists())


class SlowDisk(ServeTest):
    """Layers whose reads take their time."""

    def test_faults_and_removes_behind_slow_reads(self) -> None:
        snapshot, truth, _ = self.chain("slow", 300, 2)
        with self.serving(snapshot, options=("--populate", "all", "--workers", "1")) as server:
            worker = server.worker()
            with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(worker),
                                   "-e", "trace=pread64",
                                   "-e", "inject=pread64:delay_enter=5000"]) as slow:
                try:
                    tasks = Path(f"/proc/{worker}/task")
                    wait_until(lambda: all("TracerPid:\t0" not in (task / "status").read_text()
                                           for task in tasks.iterdir()), "every thread is slow")
                    vms = [Vm(server.socket, truth, "--operations", 500) for _ in range(2)]
                    self.assert_right(*vms)
                finally:
                    slow.terminate()
            self.end_cleanly(server)


class HostilePeers(ServeTest):
    """Peers that lie, stall and die, while a good VM is served."""

    REFUSED = ("endless", "nested", "scalar", "no-regions", "many-regions",
               "huge-size", "huge-offset", "huge-address", "huge-number", "negative", "float",
               "empty-region", "unaligned", "beyond", "overlapping", "shared-offsets",
               "no-descriptor", "pipe", "regular-file", "too-many-descriptors")
    # Of them, who hands over no userfaultfd. The others would wait for their memory for ever.
    WITHOUT = ("no-descriptor", "pipe", "regular-file")

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("h", 1024, 2)

    def assert_served(self, server: Server) -> None:
        """A good VM is served, at once."""
        vm = Vm(server.socket, self.truth_file)
        self.assertEqual(vm.finish(8), EXIT_DONE, vm.said())

    def test_liars_are_refused(self) -> None:
        with self.serving(self.snapshot) as server:
            good = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            for kind in self.REFUSED:
                with self.subTest(kind=kind):
                    before = server.metrics()["lamina_peers_refused_total"]
                    peer = Vm(server.socket, self.truth_file, "--misbehave", kind,
                              "--patience", 5)
                    self.assertEqual(peer.finish(),
                                     EXIT_DONE if kind in self.WITHOUT else -signal.SIGKILL,
                                     f"{peer.said()} {server.said()}")
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"], before + 1)
                    self.assertIn(f"process {peer.pid} is refused: ", server.log()[-1])
            self.assert_right(good)
            self.end_cleanly(server)

    def test_those_who_die(self) -> None:
        with self.serving(self.snapshot) as server:
            for kind in ("die-after-connect", "die-after-handshake"):
                for _ in range(10):
                    peer = Vm(server.socket, self.truth_file, "--misbehave", kind)
                    self.assertEqual(peer.finish(), -signal.SIGKILL)
            for number in range(10):
                vm = Vm(server.socket, self.truth_file, "--die-after", 1 + 40 * number,
                        "--threads", 4)
                self.assertEqual(vm.finish(), -signal.SIGKILL)
            self.assert_served(server)
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 0, server.said())
            self.end_cleanly(server)

    def test_a_userfaultfd_that_is_none_of_firecrackers(self) -> None:
        """One that cannot be read, and one that hands descriptors to its reader."""
        with self.serving(self.snapshot) as server:
            peer = Vm(server.socket, self.truth_file, "--misbehave", "raw-userfaultfd",
                      "--patience", 5)
            self.assert_killed(peer)
            before = len(os.listdir(f"/proc/{server.worker()}/fd"))
            for _ in range(3):
                self.assert_killed(Vm(server.socket, self.truth_file, "--misbehave", "fork",
                                      "--patience", 5))
            self.wait_idle(server)
            self.assertEqual(len(os.listdir(f"/proc/{server.worker()}/fd")), before)
            self.assert_served(server)
            self.end_cleanly(server)

    def test_who_stays_silent_is_given_up(self) -> None:
        with self.serving(self.snapshot) as server:
            peers = [Vm(server.socket, self.truth_file, "--misbehave", kind, "--patience", 20)
                     for kind in ("silent", "half", "garbage")]
            self.assertEqual(peers[0].finish(), EXIT_DONE, peers[0].said())
            for peer in peers[1:]:
                self.assertEqual(peer.finish(), -signal.SIGKILL, peer.said())
            self.assertEqual(server.metrics()["lamina_peers_refused_total"], 3)
            self.end_cleanly(server)

    def test_a_crowd_of_one_process(self) -> None:
        """All but its first connection are refused."""
        with self.serving(self.snapshot) as server, contextlib.ExitStack() as stack:
            good = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            for number in range(SILENT_CONNECTIONS):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(server.socket))
                if number % 1000 == 0:
                    self.assert_served(server)
            self.assert_served(server)
            self.assert_right(good)
            stack.close()
            self.end_cleanly(server)

    def test_a_crowd_of_processes(self) -> None:
        """More than the server lets wait; each has its own claim to be served."""
        with self.serving(self.snapshot) as server:
            held, holds = os.pipe()
            children = []
            for _ in range(SILENT_PROCESSES):
                child = os.fork()
                if child == 0:
                    with contextlib.suppress(BaseException):
                        os.close(holds)
                        client = socket.socket(socket.AF_UNIX)
                        client.connect(str(server.socket))
                        os.read(held, 1)
                    os._exit(0)
                children.append(child)
            os.close(held)
            try:
                wait_until(lambda: len(server.states()) >= SILENT_PROCESSES // 2, server.said())
                self.assert_served(server)
                # Workers that come meanwhile do not keep the crowd's descriptors.
                server.wait_for_another(server.kill_worker())
                self.assert_served(server)
            finally:
                os.close(holds)
                for child in children:
                    os.waitpid(child, 0)
            self.end_cleanly(server)

    def test_other_users(self) -> None:
        cases = (((), False), (("--socket-mode", "0666"), False),
                 (("--socket-mode", "0666", "--allow-uid", str(OTHER_USER)), True))
        for options, allowed in cases:
            with self.subTest(options=options), \
                    self.serving(self.snapshot, options=options) as server:
                vm = Vm(server.socket, self.truth_file, "--user", OTHER_USER,
                        *(() if allowed else ("--misbehave", "silent")))
                code = vm.finish()
                if not options:
                    self.assertEqual(code, EXIT_FAILED, vm.said())
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"], 0)
                else:
                    self.assertEqual(code, EXIT_DONE, vm.said() + server.said())
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"],
                                     0 if allowed else 1)
                    self.assertEqual(any(f"--allow-uid {OTHER_USER}" in line
                                         for line in server.log()), not allowed)
                self.end_cleanly(server)

    def test_a_server_that_may_not_kill_its_peer_refuses_it(self) -> None:
        """A page that could not be served would leave such a VM hanging."""
        for path in (self.store, *self.store.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
        with self.serving(self.snapshot, user=OTHER_USER) as server:
            peer = Vm(server.socket, self.truth_file, "--misbehave", "silent", "--patience", 5)
            self.assertEqual(peer.finish(), EXIT_DONE, server.said())
            wait_until(lambda: "may not be killed" in server.said(), "the refusal is logged")
            self.end_cleanly(server)

    def test_modes(self) -> None:
        for options, mode in (((), 0o600), (("--socket-mode", "0660"), 0o660)):
            with self.serving(self.snapshot, options=options) as server:
                vm = Vm(server.socket, self.truth_file, wait=True).wait_connected()
                wait_until(lambda: Killed.state_files(server) == 1, server.said())
                self.assertEqual(server.socket.stat().st_mode & 0o777, mode)
                self.assertEqual(server.metrics_socket.stat().st_mode & 0o777, 0o600)
                directory = server.state / server.states()[0]
                self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
                self.assertEqual((directory / "state").stat().st_mode & 0o777, 0o600)
                self.assert_right(vm)
                self.end_cleanly(server)


class Stops(ServeTest):
    """SIGTERM: the VMs get all of their memory and need nobody any more."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("s", 2048, 3)

    def running(self, server: Server, count: int, operations: int, *options: str) -> list[Vm]:
        """VMs that have a state and wait for the end of their input."""
        vms = [Vm(server.socket, self.truth_file, "--operations", operations, "--seed", number,
                  *options, wait=True).wait_connected() for number in range(count)]
        wait_until(lambda: Killed.state_files(server) == count, server.said())
        return vms

    def test_vms_go_on_without_a_server(self) -> None:
        for options in ((), ("--populate", "all"), ("--record",)):
            for operations in (5, FOREVER):
                with self.subTest(options=options, operations=operations), \
                        self.serving(self.snapshot, options=options) as server:
                    vms = self.running(server, 3, operations)
                    self.assertEqual(server.stop(), EXIT_DONE, server.said())
                    self.assert_nothing_left(server)
                    self.assertTrue(all(vm.is_running() for vm in vms))
                    self.assert_right(*vms)

    def test_memory_of_many_mappings_is_filled(self) -> None:
        """No fill can go over the borders between them; none of it may be left out."""
        for options in ((), ("--populate", "all")):
            with self.subTest(options=options), \
                    self.serving(self.snapshot, options=options) as server:
                vms = self.running(server, 2, 5, "--split")
                self.assertEqual(server.stop(), EXIT_DONE, server.said())
                self.assert_right(*vms)

    def test_kills_on_the_way(self) -> None:
        """The worker is killed while it fills and lets go."""
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 3, FOREVER)
            server.signal(signal.SIGTERM)
            for _ in range(20):
                with contextlib.suppress(IndexError, ProcessLookupError):
                    os.kill(server.workers()[0], signal.SIGKILL)
                time.sleep(0.1 * self.kill_rng.random() ** 2)
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
            self.assert_nothing_left(server)
            self.assert_right(*vms)

    def test_a_new_binary_goes_on_stopping(self) -> None:
        """SIGHUP while it stops does not make it serve again."""
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 3, FOREVER)
            server.signal(signal.SIGSTOP)
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGHUP)
            server.signal(signal.SIGCONT)
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
            self.assert_nothing_left(server)
            self.assert_right(*vms)

    def test_a_supervisor_that_is_killed_while_it_stops(self) -> None:
        """Its successor goes on with stopping: it accepts nobody, and ends."""
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 2, FOREVER)
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            server.signal(signal.SIGTERM)
            wait_until(lambda: any("stopping" in line for line in server.log()), "it stops")
            server.kill_supervisor_only()
            os.kill(worker, signal.SIGCONT)
            wait_until(lambda: not server.leftovers(), f"the successor ends; {server.said()}")
            self.assertEqual(server.states(), [])
            self.assertFalse(server.socket.exists())
            self.assert_right(*vms)

    def test_a_second_signal_leaves_them_to_the_next_start(self) -> None:
        with self.serving(self.snapshot) as server:
            vms = self.running(server, 2, FOREVER)
            # The worker stands still, so that the first signal cannot have been enough.
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            server.signal(signal.SIGTERM)
            wait_until(lambda: any("stopping" in line for line in server.log()), "it stops")
            server.signal(signal.SIGINT)
            self.assertEqual(server.wait(), EXIT_FAILED, server.said())
            self.assertEqual(server.leftovers(), [])
            self.assertEqual(len(server.states()), 2)
            server.start()
            self.assert_right(*vms)
            self.end_cleanly(server)

    def test_once(self) -> None:
        with self.serving(self.snapshot, options=("--once",)) as server:
            self.assert_right(Vm(server.socket, self.truth_file))
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
            self.assert_nothing_left(server)

    def test_a_log_that_is_full(self) -> None:
        """A pipe that nobody empties holds up nobody."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE_BYTES)
        with self.serving(self.snapshot, log=writer) as server:
            os.close(writer)
            for _ in range(100):
                peer = Vm(server.socket, self.truth_file, "--misbehave", "scalar")
                self.assertEqual(peer.finish(), -signal.SIGKILL)
            self.assert_right(Vm(server.socket, self.truth_file))
            self.end_cleanly(server)
        os.close(reader)

    def test_a_log_that_nobody_reads(self) -> None:
        """A reader of the log that has gone takes nobody with it."""
        reader, writer = os.pipe()
        with self.serving(self.snapshot, log=writer) as server:
            os.close(reader)
            os.close(writer)
            peer = Vm(server.socket, self.truth_file, "--misbehave", "scalar")
            self.assertEqual(peer.finish(), -signal.SIGKILL)
            self.assert_right(Vm(server.socket, self.truth_file))
            server.kill_supervisor()
            self.assert_right(Vm(server.socket, self.truth_file))
            self.end_cleanly(server)


class WorkingSets(ServeTest):
    """What one resume touched first is replayed by the next ones."""

    @staticmethod
    def decode(path: Path) -> tuple[int, list[int]]:
        """Memory size and pages of a working-set file, in order."""
        content = path.read_bytes()
        magic, version, count, memory_bytes, _ = struct.unpack_from("<8sIIQQ", content)
        assert magic == b"LAMINAWS" and version == 1, content[:32]
        assert len(content) == 32 + 8 * count + 8
        pages: list[int] = []
        for first, length in struct.iter_unpack("<II", content[32:-8]):
            pages += range(first, first + length)
        return memory_bytes, pages

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, self.memory = self.chain("w", 1024, 3)
        self.file = self.snapshot / "working-set"
        data = sorted(self.memory.pages)
        self.touched = self.rng.sample(data, 60)
        # Neighbours too: they are joined in the file.
        start = self.rng.randrange(len(data) - 20)
        self.touched += [page for page in data[start : start + 20] if page not in self.touched]

    def record(self) -> None:
        """One resume that touches some pages, recorded."""
        with self.serving(self.snapshot, options=("--record",)) as server:
            self.assert_right(Vm(server.socket, self.truth_file, "--touch",
                                 ",".join(map(str, self.touched))))
            self.end_cleanly(server)

    def replayed(self) -> tuple[float, list[str]]:
        """Serves with --populate working-set: bytes that were populated, and the log."""
        with self.serving(self.snapshot, options=("--populate", "working-set")) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", 500, wait=True)
            vm.wait_connected()
            wait_until(lambda: Killed.state_files(server) == 1, server.said())
            if self.file.exists() and not any("no working set" in line for line in server.log()):
                expected = len(self.decode(self.file)[1]) * PAGE_BYTES
                wait_until(lambda: server.metrics()["lamina_populated_bytes_total"] >= expected,
                           server.said())
            self.assert_right(vm)
            populated = server.metrics()["lamina_populated_bytes_total"]
            self.end_cleanly(server)
            return populated, server.log()

    def test_first_touches_are_recorded_in_order_and_replayed(self) -> None:
        self.record()
        self.assertEqual(self.decode(self.file), (self.memory.size_bytes, self.touched))
        self.done("verify", self.snapshot)
        populated, log = self.replayed()
        self.assertEqual(populated, len(self.touched) * PAGE_BYTES)
        self.assertEqual(log, [])

    def test_it_survives_a_merge_and_goes_to_a_child(self) -> None:
        self.record()
        content = self.file.read_bytes()
        self.done("merge", self.snapshot)
        self.assertEqual(self.file.read_bytes(), content)
        dirty = change_memory(self.rng, self.memory)
        child = self.ingest_diff(self.memory, dirty, self.snapshot, "child")
        self.assertEqual((child / "working-set").read_bytes(), content)
        self.done("verify", child)

    def test_a_killed_worker_loses_nothing_of_it(self) -> None:
        with self.serving(self.snapshot, options=("--record",)) as server:
            vm = Vm(server.socket, self.truth_file, "--touch", ",".join(map(str, self.touched)))
            vm.wait_connected()
            server.wait_for_another(server.kill_worker())
            self.assert_right(vm)
            self.end_cleanly(server)
        pages = self.decode(self.file)[1]
        self.assertEqual([*dict.fromkeys(pages)], self.touched)

    def test_a_bad_file_is_harmless(self) -> None:
        self.record()
        content = self.file.read_bytes()
        other, _, _ = self.chain("o", 100, 1)
        foreign = content[:16] + struct.pack("<Q", 100 * PAGE_BYTES) + content[24:]
        cases = {"flipped": content[:40] + bytes([content[40] ^ 1]) + content[41:],
                 "cut": content[:-9], "empty": b"", "foreign": foreign, "text": b"hello\n" * 20}
        for name, bad in cases.items():
            with self.subTest(name):
                self.file.write_bytes(bad)
                populated, log = self.replayed()
                self.assertEqual(populated, 0)
                self.assertEqual(len(log), 1, log)
                self.assertIn("no working set to replay", log[0])
        self.file.unlink()
        self.file.mkdir()
        self.assertIn("no working set to replay", self.replayed()[1][0])
        self.file.rmdir()
        # A valid one, of another snapshot's memory.
        memory = random_memory(self.rng, 100 * PAGE_BYTES)
        with self.serving(other, options=("--record",)) as server:
            truth = self.directory / "other.truth"
            self.done("materialize", other, "--out", truth)
            self.assert_right(Vm(server.socket, truth, "--touch", "0"))
            self.end_cleanly(server)
        del memory
        shutil.copyfile(other / "working-set", self.file)
        self.assertIn("409600 bytes of memory", self.replayed()[1][0])


class Metrics(ServeTest):
    """The figures, and who asks for them."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, self.memory = self.chain("m", 1024, 2)

    def test_they_parse_and_are_plausible(self) -> None:
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", 3000, "--threads", 1)
            self.assert_right(vm)
            self.wait_idle(server)
            text = server.metrics_text()
            sample = re.compile(r'lamina_[a-z_]+(\{(kind|le)="[^"]+"\})? [0-9.e+-]+')
            helped, typed = set(), set()
            for line in text.splitlines():
                if line.startswith("# HELP "):
                    helped.add(line.split()[2])
                elif line.startswith("# TYPE "):
                    typed.add(line.split()[2])
                else:
                    self.assertRegex(line, f"^{sample.pattern}$")
            self.assertEqual(helped, typed)
            values = server.metrics()
            self.assertEqual(values["lamina_sessions"], 0)
            self.assertEqual(values["lamina_sessions_started_total"], 1)
            self.assertEqual(values["lamina_vms_killed_total"], 0)
            self.assertEqual(values["lamina_removes_total"], vm.report()["removes"])
            faults = sum(values[f'lamina_faults_total{{kind="{kind}"}}']
                         for kind in ("data", "zero", "present"))
            self.assertGreater(faults, 0)
            self.assertEqual(values["lamina_fault_seconds_count"], faults)
            self.assertLessEqual(values['lamina_filled_bytes_total{kind="data"}'],
                                 self.memory.size_bytes)
            self.assertGreaterEqual(values['lamina_filled_bytes_total{kind="data"}'],
                                    self.memory.size_bytes // 8)
            buckets = [value for name, value in values.items() if "_bucket" in name]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], faults)
            status = self.done("serve", "--status", "--metrics", server.metrics_socket).stdout
            self.assertIn("0 served now, 1 in all", status)
            self.end_cleanly(server)
        self.refused(EXIT_USAGE, "serve", "--status")
        self.refused(EXIT_NOT_FOUND, "serve", "--status", "--metrics", server.metrics_socket)

    def test_silent_clients_do_not_block(self) -> None:
        with self.serving(self.snapshot) as server, contextlib.ExitStack() as stack:
            stopping = threading.Event()
            clients: list[socket.socket] = []

            def connect() -> None:
                while not stopping.is_set():
                    client = socket.socket(socket.AF_UNIX)
                    client.settimeout(5)
                    with contextlib.suppress(OSError):
                        client.connect(str(server.metrics_socket))
                    clients.append(client)
                    if len(clients) > 200:
                        clients.pop(0).close()

            thread = threading.Thread(target=connect)
            thread.start()
            stack.callback(lambda: [client.close() for client in clients])
            stack.callback(thread.join)
            stack.callback(stopping.set)
            self.assert_right(Vm(server.socket, self.truth_file))
            for _ in range(20):
                self.assertIn("in all", self.done("serve", "--status", "--metrics",
                                                  server.metrics_socket).stdout)
            stopping.set()
            thread.join()
            self.end_cleanly(server)


class Usage(ServeTest):
    """What is refused at once, with one line and the right exit code."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("u", 64, 1)
        self.path = self.sockets / "s"

    def refuse(self, code: int, *arguments: str | Path, names: tuple[str | Path, ...] = ()) -> None:
        """`lamina serve` with `arguments`, which must fail."""
        self.refused(code, "serve", *arguments, names=names)

    def test_bad_usage(self) -> None:
        snapshot, path, state = self.snapshot, self.path, ("--state-dir", self.states)
        for code, arguments, names in (
                (EXIT_USAGE, (), ["SNAPSHOT"]),
                (EXIT_USAGE, (snapshot,), ["--socket"]),
                (EXIT_USAGE, ("--socket", path), ["SNAPSHOT"]),
                (EXIT_USAGE, (snapshot, snapshot, "--socket", path), ["2 SNAPSHOTs"]),
                (EXIT_USAGE, (snapshot, snapshot, "--socket", path, "--socket", path), [path]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", "99"), ["'99'"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", "7777"), ["'7777'"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", ""), ["--socket-mode"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--populate", "some"), ["--populate"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--workers", "0"), ["--workers"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--workers", "x"), ["--workers"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--allow-uid", "-1"), ["--allow-uid"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-group", "no-such"),
                 ["no-such"]),
                (EXIT_USAGE, (snapshot, "--socket", ""), []),
                (EXIT_USAGE, (snapshot, "--socket", self.sockets / ("x" * 110)), ["x" * 110]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--metrics", path), [path]),
                (EXIT_NOT_FOUND, (self.store / "none", "--socket", path), ["none"]),
                (EXIT_NOT_FOUND, (snapshot, "--socket", self.sockets / "none" / "s"), ["none"])):
            with self.subTest(arguments=arguments):
                self.refuse(code, *arguments, *state, names=tuple(names))
                self.assertFalse(path.exists())
        self.assertEqual([name for name in os.listdir(self.states) if name != ".lock"], [])

    def test_what_is_at_the_path_already(self) -> None:
        state = ("--state-dir", self.states)
        self.path.write_text("precious")
        self.refuse(EXIT_FAILED, self.snapshot, "--socket", self.path, *state, names=(self.path,))
        self.assertEqual(self.path.read_text(), "precious")
        other = self.sockets / "other"
        with self.serving(self.snapshot) as server:
            self.refuse(EXIT_BUSY, self.snapshot, "--socket", server.socket, *state,
                        names=(server.socket,))
            # The first socket is not left behind when the second cannot be had.
            self.refuse(EXIT_BUSY, self.snapshot, self.snapshot, "--socket", other, "--socket",
                        server.socket, *state, names=(server.socket,))
            self.assertFalse(other.exists())
            self.refuse(EXIT_BUSY, self.snapshot, "--socket", other, "--metrics",
                        server.metrics_socket, *state, names=(server.metrics_socket,))
            self.assertFalse(other.exists())
            self.assert_right(Vm(server.socket, self.truth_file))
            self.end_cleanly(server)

    def test_state_directories(self) -> None:
        wide = self.states / "wide"
        wide.mkdir(0o755)
        for code, state, name in ((EXIT_FAILED, wide, "mode 700"),
                                  (EXIT_FAILED, self.directory / "disk", "tmpfs"),
                                  (EXIT_NOT_FOUND, self.states / "none" / "there", "none")):
            if name == "tmpfs" and self.directory.is_relative_to(SHARED_MEMORY):
                continue
            self.refuse(code, self.snapshot, "--socket", self.path, "--state-dir", state,
                        names=(state, name))
            self.assertFalse(self.path.exists())


def raise_limits() -> None:
    """As many descriptors as the crowds need."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    adopt_orphans()
    raise_limits()
    main()
