#!/usr/bin/env python3
"""The page server against VMs that know every byte, while it is killed and starved.

Environment: LAMINA and FAKE_VM are the binaries; LAMINA_SEED replays the moments of the kills.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, PAGE_BYTES,
                          SANITIZED, GuestMemory, data_map, layers_of, random_memory)
from mounts import EXT4, mount
from served_snapshots import Load, ServeTest, run
from serving import HUGE_PAGE_BYTES, Server, Vm, huge_pages, is_traced, wait_until

WORKER_KILLS = 100 if SANITIZED else 500
SUPERVISOR_KILLS = FULL_KILLS = REPLACEMENTS = 12 if SANITIZED else 60
LONGEST_LIFE_S = 0.1
CONCURRENT_VMS = 4
FOREVER = 1 << 60


class EveryByteIsRight(ServeTest):
    """Random chains, in all ways of serving."""

    def test_every_byte_of_random_chains_is_served(self) -> None:
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

    def test_a_memory_that_ends_inside_a_page_is_served(self) -> None:
        memory = random_memory(self.rng, 50 * PAGE_BYTES + 1234)
        snapshot = self.ingest_full(memory, "short")
        truth = self.truth(memory, "short")
        with self.serving(snapshot, options=("--populate", "all")) as server:
            self.assert_right(Vm(server.socket, truth, regions=str(51 * PAGE_BYTES)))
            self.end_cleanly(server)

    def test_several_regions_are_served_after_every_kind_of_handshake(self) -> None:
        snapshot, truth, _ = self.chain("r", 1024, 3)
        sizes = [300, 1, 523, 200]
        regions = ",".join(str(pages * PAGE_BYTES) for pages in sizes)
        with self.serving(snapshot) as server:
            for handshake in ("plain", "pieces", "several-descriptors", "empty-first", "twice"):
                with self.subTest(handshake=handshake):
                    self.assert_right(Vm(server.socket, truth, "--handshake", handshake,
                                         regions=regions))
            self.end_cleanly(server)

    def test_offsets_beyond_2_gib_are_served(self) -> None:
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

    def test_huge_pages_are_served(self) -> None:
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

    def test_many_vms_of_two_snapshots_are_served(self) -> None:
        first, first_truth, _ = self.chain("one", 600, 2)
        second, second_truth, _ = self.chain("two", 500, 3)
        with self.serving(first, second, options=("--populate", "all", "--workers", "3")) as server:
            vms = [Vm(server.sockets[i % 2], (first_truth, second_truth)[i % 2], "--seed", i)
                   for i in range(8)]
            self.assert_right(*vms)
            self.assertEqual(server.metrics()["lamina_sessions_started_total"], 8)
            self.end_cleanly(server)


class Killed(ServeTest):
    """Processes of the server are killed; no VM notices more than a delay."""

    on_tmpfs = True

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

    def test_vms_survive_killed_workers(self) -> None:
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
                wait_until(lambda: server.vms_on_record() >= len(vms),
                           f"VM {vms[-1].pid} is served; {server.said()}")
            self.moment()
            kill()
        self.assert_right(*vms)
        print(f"  {count} kills, {len(vms)} VMs in {time.monotonic() - start:.1f} s", flush=True)
        self.end_cleanly(server)

    def test_vms_survive_killed_supervisors(self) -> None:
        with self.serving(self.snapshot, self.other, options=("--populate", "all")) as server:
            self.kill_under_long_lives(server, SUPERVISOR_KILLS, server.kill_supervisor)

    def test_vms_survive_replaced_servers(self) -> None:
        with self.loaded() as server:
            for _ in range(REPLACEMENTS):
                self.moment()
                worker = server.worker()
                server.signal(signal.SIGHUP)
                server.wait_for_another(worker)

    def test_a_new_start_finds_the_vms_of_a_killed_server(self) -> None:
        """VMs of a server that is gone are found by the next start."""
        reacquired: list[float] = []

        def kill_and_start() -> None:
            server.kill_all()
            server.start()
            reacquired.append(server.metrics()["lamina_vms_reacquired_total"])

        with self.serving(self.snapshot, self.other, options=("--populate", "all")) as server:
            self.kill_under_long_lives(server, FULL_KILLS, kill_and_start)
        self.assertEqual(reacquired, [1 + number // 3 for number in range(FULL_KILLS)])

    def test_a_removed_or_replaced_snapshot_kills_its_vms_only(self) -> None:
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
                wait_until(lambda: server.vms_on_record() == 2, server.said())
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

    def test_a_snapshot_merged_meanwhile_goes_on_to_be_served(self) -> None:
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            wait_until(lambda: server.vms_on_record() == 1, server.said())
            server.kill_all()
            self.done("merge", self.snapshot)
            server.start()
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_a_vm_that_had_not_finished_its_handshake_is_killed(self) -> None:
        """Such a VM waits for pages that no server can give it."""
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

    def test_a_start_takes_over_from_a_worker_that_still_dies(self) -> None:
        """The state of a VM whose old server still dies is found a moment later."""
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            wait_until(lambda: server.vms_on_record() == 1, server.said())
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
    """A VM whose memory cannot be served is killed, with one line in the log; other VMs go on."""

    on_tmpfs = True

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

    def test_a_changed_byte_kills_the_vm(self) -> None:
        def flip(layer: Path) -> None:
            start, end = data_map(layer)[0]
            with layer.open("r+b") as stream:
                stream.seek((start + end) // 2 // PAGE_BYTES * PAGE_BYTES + 77)
                byte = stream.read(1)
                stream.seek(-1, os.SEEK_CUR)
                stream.write(bytes([byte[0] ^ 1]))
        self.check(flip, "checksum")

    def test_a_truncated_layer_kills_the_vm(self) -> None:
        self.check(lambda layer: os.truncate(layer, 5 * PAGE_BYTES), "")

    def test_a_read_error_kills_the_vm(self) -> None:
        """The disk below the file system loses its end."""
        image = self.directory / "image"
        point = mount(self, self.directory, EXT4, image=image)
        memory = random_memory(self.rng, 8000 * PAGE_BYTES, 0.9)
        snapshot = self.ingest_full(memory, "disk", store=point)
        truth = self.truth(memory, "disk")
        with self.serving(snapshot) as server:
            os.sync()
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

    def test_a_damaged_snapshot_is_not_served(self) -> None:
        snapshot, _, _ = self.chain("d", 100, 1)
        os.truncate(layers_of(snapshot)[0], PAGE_BYTES)
        self.refused(EXIT_CORRUPT, "serve", snapshot, "--socket", self.sockets / "s",
                     "--state-dir", self.states, names=[snapshot])
        self.assertFalse((self.sockets / "s").exists())

    def test_of_several_damaged_snapshots_the_first_is_named(self) -> None:
        whole, first, second = (self.chain(name, 100, 1)[0] for name in ("w", "d", "e"))
        for snapshot in (first, second):
            os.truncate(layers_of(snapshot)[0], PAGE_BYTES)
        sockets = [self.sockets / str(number) for number in range(3)]
        self.refused(EXIT_CORRUPT, "serve", whole, first, second,
                     *(word for path in sockets for word in ("--socket", path)),
                     "--state-dir", self.states, names=[first])
        self.assertFalse(any(path.exists() for path in sockets))


class SlowDisk(ServeTest):
    """Layers whose reads take their time."""

    def test_slow_reads_keep_faults_and_removes_in_order(self) -> None:
        snapshot, truth, _ = self.chain("slow", 300, 2)
        with self.serving(snapshot, options=("--populate", "all", "--workers", "1")) as server:
            worker = server.worker()
            with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(worker),
                                   "-e", "trace=pread64",
                                   "-e", "inject=pread64:delay_enter=5000"]) as slow:
                try:
                    wait_until(lambda: is_traced(worker), "every thread is slow")
                    vms = [Vm(server.socket, truth, "--operations", 500) for _ in range(2)]
                    self.assert_right(*vms)
                finally:
                    slow.terminate()
            self.end_cleanly(server)


class Stops(ServeTest):
    """SIGTERM: the VMs get all of their memory and need no server any more."""

    on_tmpfs = True

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("s", 2048, 3)

    def running(self, server: Server, count: int, operations: int, *options: str) -> list[Vm]:
        """VMs that have a state and wait for the end of their input."""
        vms = [Vm(server.socket, self.truth_file, "--operations", operations, "--seed", number,
                  *options, wait=True).wait_connected() for number in range(count)]
        wait_until(lambda: server.vms_on_record() == count, server.said())
        return vms

    def test_vms_go_on_without_a_server(self) -> None:
        for options in ((), ("--populate", "all"), ("--record",)):
            for operations in (5, FOREVER):
                with self.subTest(options=options, operations=operations), \
                        self.serving(self.snapshot, options=options) as server:
                    vms = self.running(server, 3, operations)
                    self.assertEqual(server.stop(), EXIT_DONE, server.said())
                    self.assert_nothing_left(server)
                    self.assertEqual([vm.said() for vm in vms if not vm.is_running()], [],
                                     server.said())
                    self.assert_right(*vms)

    def test_memory_of_many_mappings_is_filled(self) -> None:
        """No fill can go over the borders between them; none of it may be left out."""
        for options in ((), ("--populate", "all")):
            with self.subTest(options=options), \
                    self.serving(self.snapshot, options=options) as server:
                vms = self.running(server, 2, 5, "--split")
                self.assertEqual(server.stop(), EXIT_DONE, server.said())
                self.assert_right(*vms)

    def test_vms_get_all_memory_though_the_stopping_worker_is_killed(self) -> None:
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

    def test_a_socket_that_has_taken_the_name_of_its_own_stays(self) -> None:
        """Also when a new program has taken the server's place in between."""
        for succeeds in (False, True):
            with self.subTest(succeeds=succeeds), self.serving(self.snapshot) as server, \
                    socket.socket(socket.AF_UNIX) as other:
                worker = server.worker()
                server.socket.unlink()
                other.bind(str(server.socket))
                other.listen()
                if succeeds:
                    server.signal(signal.SIGHUP)
                    server.wait_for_another(worker)
                self.assertEqual(server.stop(), EXIT_DONE, server.said())
                self.assertTrue(server.socket.exists())
                server.socket.unlink()
                self.assert_nothing_left(server)

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

    def test_the_successor_of_a_supervisor_killed_while_stopping_stops_too(self) -> None:
        """Its successor goes on with stopping: it accepts no VM, and ends."""
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

    def test_a_second_signal_leaves_the_vms_to_the_next_start(self) -> None:
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

    def test_once_ends_after_the_first_vm(self) -> None:
        with self.serving(self.snapshot, options=("--once",)) as server:
            self.assert_right(Vm(server.socket, self.truth_file))
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
            self.assert_nothing_left(server)

    def test_a_full_log_pipe_does_not_block_the_server(self) -> None:
        """No process reads from the pipe."""
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

    def test_a_closed_log_pipe_does_not_end_the_server(self) -> None:
        """The reader of the pipe has gone."""
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


if __name__ == "__main__":
    run()
