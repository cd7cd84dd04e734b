#!/usr/bin/env python3
"""One page server for all VMs of a store: each is served from its pin, also after kills.

Environment: LAMINA and FAKE_VM are the binaries; LAMINA_SEED replays the moments of the kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, PAGE_BYTES,
                          GuestMemory, main)
from pins import Pin
from served_snapshots import OTHER_USER, SEED, ComeAndGo, ServeTest, decode_working_set
from serving import Server, Vm, adopt_orphans, wait_until, waits_for_pages

WORKER_KILLS = 20
SUPERVISOR_KILLS = 5
REPLACEMENTS = 5
CONCURRENT_VMS = 3
LONGEST_LIFE_S = 0.1
FOREVER = 1 << 60
VMS_WHOSE_DESCRIPTORS_GO = 12


class StoreTest(ServeTest):
    """Two chains of snapshots in a store."""

    def setUp(self) -> None:
        super().setUp()
        self.big, self.big_truth, self.big_memory = self.chain("big", 1536, 3)
        self.small, self.small_truth, _ = self.chain("small", 500, 2)

    @contextlib.contextmanager
    def serving_store(self, *options: str | Path, store: Path | None = None,
                      user: int | None = None, environment: dict[str, str] | None = None,
                      ) -> Iterator[Server]:
        """The store's server runs in the block; after it no process of it is left."""
        directory = self.sockets / str(self.servers)
        self.servers += 1
        directory.mkdir()
        state = self.states / str(self.servers)
        state.mkdir(0o700)
        server = Server((), directory, state, *options, user=user, store=store or self.store,
                        environment=environment)
        try:
            yield server
        finally:
            server.end()

    def pinned(self, server: Server, snapshot: Path, truth: Path, *options: str | int,
               facts: dict[str, Any] | None = None, wait: bool = False) -> tuple[Vm, Pin]:
        """A VM that was resumed from `snapshot`: pinned first, then it connects."""
        vm = Vm(server.socket, truth, *options, wait=wait, wait_first=True)
        pin = Pin(self.store, vm.pid, snapshot, facts)
        vm.go()
        return vm, pin

    def moment(self) -> None:
        """Waits for a random moment; short ones are as likely as long ones."""
        time.sleep(LONGEST_LIFE_S * 10 ** self.kill_rng.uniform(-3, 0))

    def wait_served(self, server: Server, count: int) -> None:
        """Waits until `count` VMs can be taken over."""
        wait_until(lambda: server.vms_on_record() == count, server.said())

    def assert_refused(self, server: Server, vm: Vm, reason: str) -> None:
        """The VM, which would wait for its memory, must be killed, and the log say why."""
        self.assert_killed(vm)
        wait_until(lambda: any(f"process {vm.pid} is refused" in line and reason in line
                               for line in server.log()), server.said())

    def changed_at(self, pages: list[int], name: str) -> Path:
        """A state that differs from the big snapshot's at these pages, and nowhere else."""
        memory = GuestMemory(self.big_memory.size_bytes, dict(self.big_memory.pages))
        for page in pages:
            memory.write(page, self.rng.randbytes(PAGE_BYTES))
        return self.ingest_diff(memory, pages, self.big, name)


class Pinned(StoreTest):
    """A VM with a pin gets what the pin keeps; other peers get nothing."""

    def test_vms_of_different_snapshots_are_served(self) -> None:
        for populate in ("none", "all"):
            with self.subTest(populate), self.serving_store("--populate", populate) as server:
                vms = [self.pinned(server, *((self.big, self.big_truth), (
                    self.small, self.small_truth))[number % 2], "--seed", number)[0]
                    for number in range(6)]
                self.assert_right(*vms)
                self.assertEqual(server.metrics()["lamina_sessions_started_total"], 6)
                self.end_cleanly(server)

    def test_a_vm_whose_connection_died_with_the_server_is_killed(self) -> None:
        with self.serving_store() as server:
            server.stop_short()
            vm, _ = self.pinned(server, self.big, self.big_truth)
            vm.wait_connected()
            wait_until(lambda: waits_for_pages(vm.pid), "the VM waits for its first page")
            server.kill_all()
            server.start()
            self.assert_killed(vm)
            wait_until(lambda: any("before it had put it on record" in line
                                   for line in server.log()), server.said())
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 1)
            self.end_cleanly(server)

    def test_a_pin_outlives_the_removal_of_its_snapshots_name(self) -> None:
        with self.serving_store() as server:
            replaced, _ = self.pinned(server, self.big, self.big_truth, "--operations", 10,
                                      wait=True)
            self.wait_served(server, 1)
            shutil.rmtree(self.big)
            shutil.copytree(self.small, self.big)
            late, _ = self.pinned(server, self.big, self.small_truth)
            removed = Vm(server.socket, self.small_truth, wait_first=True)
            Pin(self.store, removed.pid, self.small)
            shutil.rmtree(self.small)
            removed.go()
            server.wait_for_another(server.kill_worker())
            self.assert_right(replaced, late, removed)
            self.end_cleanly(server)

    def test_a_process_without_a_valid_pin_is_refused(self) -> None:
        with self.serving_store() as server:
            good, pin = self.pinned(server, self.big, self.big_truth, "--operations", FOREVER,
                                    wait=True)
            self.assert_refused(server, Vm(server.socket, self.big_truth), "was not resumed from")
            # One of an earlier process with its id, and one that says another process' name.
            for change in ({"start_time": 1}, {"boot_id": "another"}, {"pid": os.getpid()}):
                vm, _ = self.pinned(server, self.big, self.big_truth, facts=change)
                self.assert_refused(server, vm, "is the pin of another process")
            vm, _ = self.pinned(server, self.big, self.big_truth, facts={"uid": "none"})
            self.assert_refused(server, vm, "'uid'")
            vm = Vm(server.socket, self.big_truth, wait_first=True)
            shutil.rmtree(Pin(self.store, vm.pid, self.big).base)
            self.assert_refused(server, vm.go(), "base")
            self.assertEqual(server.metrics()["lamina_peers_refused_total"], 6)
            self.assert_right(good)
            pin.release()
            self.end_cleanly(server)

    def test_a_user_other_than_the_pins_is_refused(self) -> None:
        """Also root, when the VM is not root's; the pin decides, and nothing else."""
        self.directory.chmod(0o755)
        with self.serving_store() as server:
            # Others reach the socket by a link, as it is placed in a jail.
            link = self.sockets / "socket"
            os.link(server.socket, link)
            for uid, pinned_uid in ((OTHER_USER, 0), (0, OTHER_USER), (OTHER_USER, OTHER_USER)):
                vm = Vm(link, self.big_truth, *(("--user", uid) if uid else ()), wait_first=True)
                Pin(self.store, vm.pid, self.big, {"uid": pinned_uid})
                vm.go()
                if uid == pinned_uid:
                    self.assert_right(vm)
                else:
                    self.assert_refused(server, vm, f"it is of user {uid}")
            self.end_cleanly(server)

    def test_the_socket_has_the_given_mode(self) -> None:
        for options, mode in (((), 0o666), (("--socket-mode", "0600"), 0o600)):
            with self.serving_store(*options) as server:
                self.assertEqual(server.socket.stat().st_mode & 0o777, mode)
                self.assertEqual(server.socket.parent.stat().st_mode & 0o777, 0o700)
                self.end_cleanly(server)

    def test_a_path_longer_than_a_socket_address_is_served(self) -> None:
        """Longer than the address of a socket."""
        store = self.directory / ("x" * 120) / "store"
        store.parent.mkdir()
        shutil.move(self.store, store)
        short = self.sockets / "short"
        short.symlink_to(store / ".vms" / "page-server.sock")
        with self.serving_store(store=store) as server:
            vm = Vm(short, self.big_truth, "--operations", FOREVER, wait=True, wait_first=True)
            Pin(store, vm.pid, store / self.big.name)
            vm.go()
            self.wait_served(server, 1)
            server.kill_supervisor()
            server.kill_all()
            server.start()
            self.assert_right(vm)
            self.end_cleanly(server)
            self.assertFalse((store / ".vms" / "page-server.sock").exists())


class Choices(StoreTest):
    """What is populated and recorded for one VM, by its pin."""

    def test_the_pin_decides_what_is_populated(self) -> None:
        for started, pinned, expected in (("none", "all", True), ("all", "none", False)):
            with self.subTest(started=started, pinned=pinned), \
                    self.serving_store("--populate", started) as server:
                vm, _ = self.pinned(server, self.big, self.big_truth, "--touch", 0,
                                    facts={"populate": pinned}, wait=True)
                vm.wait_touched()
                populated: Callable[[], float] = (
                    lambda server=server: server.metrics()["lamina_populated_bytes_total"])
                if expected:
                    wait_until(lambda: populated() == self.big_memory.size_bytes, server.said())
                    # Its successor knows the pin's choice, too.
                    server.wait_for_another(server.kill_worker())
                self.assert_right(vm)
                self.assertEqual(populated() > 0, expected)
                self.end_cleanly(server)

    def test_the_pin_decides_what_is_recorded(self) -> None:
        touched = self.rng.sample(sorted(self.big_memory.pages), 40)
        pages = ",".join(map(str, touched))
        file = self.big / "working-set"
        with self.serving_store() as server:
            vm, pin = self.pinned(server, self.big, self.big_truth, "--touch", pages)
            self.assert_right(vm)
            pin.release()
            self.wait_idle(server)
            self.assertFalse(file.exists())
            vm, pin = self.pinned(server, self.big, self.big_truth, "--touch", pages,
                                  facts={"record": True})
            self.assert_right(vm)
            self.wait_idle(server)
            recorded = decode_working_set(file)
            self.assertEqual([*dict.fromkeys(recorded[1])], touched)
            # The next one is resumed with it; the first one's fork, without, shares the layers.
            vm, _ = self.pinned(server, self.big, self.big_truth, "--touch", touched[0],
                                facts={"populate": "working-set"}, wait=True)
            wait_until(lambda: server.metrics()["lamina_populated_bytes_total"]
                       >= len(recorded[1]) * PAGE_BYTES, server.said())
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_a_recording_of_a_state_that_is_gone_is_dropped(self) -> None:
        with self.serving_store("--record") as server:
            vm, _ = self.pinned(server, self.big, self.big_truth, "--touch", 1, wait=True)
            vm.wait_touched()
            shutil.rmtree(self.big)
            shutil.copytree(self.small, self.big)
            self.assert_right(vm)
            self.wait_idle(server)
            self.assertFalse((self.big / "working-set").exists())
            self.assertIn("is another pause by now", server.said())
            self.end_cleanly(server)


class Exchanged(StoreTest):
    """A VM's base is exchanged for a newer state while it runs."""

    def setUp(self) -> None:
        super().setUp()
        # With zeros between them: what is filled along with one is not another one.
        self.touched = sorted(self.rng.sample(sorted(self.big_memory.pages), 30))
        self.pages = ",".join(map(str, self.touched))

    def kill_everything(self, server: Server) -> None:
        """All processes of the server, then a new start."""
        server.kill_all()
        server.start()

    def test_a_later_start_goes_on_with_either_state(self) -> None:
        """Also with a fork of the old state, which must not get the new one."""
        for kill in (self.kill_everything, Server.kill_supervisor,
                     lambda server: server.wait_for_another(server.kill_worker())):
            with self.subTest(kill), self.serving_store() as server:
                vms = [self.pinned(server, self.big, self.big_truth, "--touch", self.pages,
                                   wait=True) for _ in range(2)]
                fork, fork_pin = self.pinned(server, self.big, self.big_truth, "--touch", 0,
                                             wait=True)
                for vm, _ in vms:
                    vm.wait_touched()
                newer = self.changed_at(self.touched, "newer")
                vms[0][1].exchange(newer)
                shutil.rmtree(newer)
                kill(server)
                self.wait_served(server, 3)
                self.assert_right(fork, *(vm for vm, _ in vms))
                for pin in (fork_pin, *(pin for _, pin in vms)):
                    pin.release()
                self.end_cleanly(server)

    def test_a_fork_of_the_old_state_does_not_get_the_new_one(self) -> None:
        """The serving process opens what it is told of later than the supervisor."""
        garbage = self.changed_at(sorted(self.big_memory.pages), "garbage")
        with self.serving_store() as server:
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            moved, pin = self.pinned(server, self.big, self.big_truth, "--touch", 0, wait=True)
            self.wait_served(server, 1)
            pin.exchange(garbage)
            fork, _ = self.pinned(server, self.big, self.big_truth)
            self.wait_served(server, 2)
            os.kill(worker, signal.SIGCONT)
            self.assert_right(fork)
            self.assertEqual(server.worker(), worker)
            moved.kill()
            moved.finish()
            self.end_cleanly(server)

    def test_a_base_removed_before_the_worker_opens_it_is_still_served(self) -> None:
        """The supervisor has it open, and so has the next serving process."""
        with self.serving_store() as server:
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            vm, pin = self.pinned(server, self.big, self.big_truth)
            self.wait_served(server, 1)
            shutil.rmtree(pin.base)
            os.kill(worker, signal.SIGCONT)
            server.wait_for_another(worker)
            self.assert_right(vm)
            self.end_cleanly(server)

    def test_a_pin_released_before_it_is_opened_disturbs_no_other(self) -> None:
        with self.serving_store() as server:
            worker = server.worker()
            os.kill(worker, signal.SIGSTOP)
            vm, pin = self.pinned(server, self.big, self.big_truth, wait=True)
            self.wait_served(server, 1)
            vm.kill()
            vm.finish()
            pin.release()
            os.kill(worker, signal.SIGCONT)
            self.wait_idle(server)
            self.assertEqual(server.worker(), worker)
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 0)
            self.end_cleanly(server)

    def test_a_vm_whose_pin_is_gone_is_killed_by_a_later_start(self) -> None:
        with self.serving_store() as server:
            lost, pin = self.pinned(server, self.big, self.big_truth, "--operations", 10,
                                    wait=True)
            kept, _ = self.pinned(server, self.small, self.small_truth, "--operations", 10,
                                  wait=True)
            self.wait_served(server, 2)
            server.kill_all()
            pin.release()
            server.start()
            self.assert_killed(lost)
            self.assert_right(kept)
            self.end_cleanly(server)


class PinnedLoad(ComeAndGo):
    """Those of two snapshots of a store."""

    def __init__(self, test: StoreTest, server: Server, count: int) -> None:
        self._store_test = test
        self._server = server
        super().__init__(test, count)

    def _run(self, number: int) -> None:
        seed = number
        while not self._stopping.is_set() and not self.failures:
            seed += 100
            snapshot, truth = ((self._store_test.big, self._store_test.big_truth),
                               (self._store_test.small, self._store_test.small_truth))[seed % 2]
            try:
                vm, pin = self._store_test.pinned(self._server, snapshot, truth, "--seed", seed,
                                                  "--operations", 4000)
                code = vm.finish()
            except AssertionError as error:
                self.failures.append(str(error))
                return
            pin.release()
            if code != EXIT_DONE:
                self.failures.append(f"exit {code}: {vm.said()}")
            self.finished += 1


class KilledUnderLoad(StoreTest):
    """Processes of the server are killed; no VM notices more than a delay."""

    def test_vms_survive_killed_workers(self) -> None:
        with self.serving_store("--populate", "all") as server:
            load = PinnedLoad(self, server, CONCURRENT_VMS)
            worker = server.worker()
            for _ in range(WORKER_KILLS):
                self.moment()
                server.kill_worker()
                worker = server.wait_for_another(worker)
            load.stop()
            self.end_cleanly(server)

    def test_vms_survive_killed_supervisors(self) -> None:
        """None connects at the moment of a kill: a handshake that is lost cannot be served."""
        with self.serving_store("--populate", "all") as server:
            vms = []
            for number in range(SUPERVISOR_KILLS):
                vms += [self.pinned(server, snapshot, truth, "--seed", number, "--operations",
                                    FOREVER if number % 2 else 20000, wait=True)
                        for snapshot, truth in ((self.big, self.big_truth),
                                                (self.small, self.small_truth))]
                self.wait_served(server, len(vms))
                if number == 2:
                    shutil.rmtree(self.small)
                    self.done("ingest", self.small_truth, "--out", self.small)
                self.moment()
                server.kill_supervisor()
            self.assert_right(*(vm for vm, _ in vms))
            self.end_cleanly(server)

    def test_vms_survive_replaced_servers(self) -> None:
        with self.serving_store() as server:
            load = PinnedLoad(self, server, CONCURRENT_VMS)
            for _ in range(REPLACEMENTS):
                self.moment()
                worker = server.worker()
                server.signal(signal.SIGHUP)
                server.wait_for_another(worker)
            load.stop()
            self.end_cleanly(server)

    def test_vms_go_on_without_a_server(self) -> None:
        with self.serving_store("--record") as server:
            vms = [self.pinned(server, self.big, self.big_truth, "--operations", 500, "--seed",
                               number, wait=True)[0] for number in range(3)]
            self.wait_served(server, 3)
            self.assertEqual(server.stop(), EXIT_DONE, server.said())
            self.assert_nothing_left(server)
            self.assert_right(*vms)

    def test_descriptors_are_closed_when_their_vms_end(self) -> None:
        def descriptors() -> list[int]:
            return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (server.pid, server.worker())]

        def run(count: int, at_least: int = 0) -> None:
            vms = []
            for number in range(count):
                # Each of its own snapshot, but for every third.
                name = self.store / f"copy-{number - (number % 3 == 2)}"
                if not name.exists():
                    shutil.copytree(self.small, name)
                vms.append(self.pinned(server, name, self.small_truth, "--operations", 50,
                                       wait=True))
            self.wait_served(server, count)
            wait_until(lambda: min(descriptors()) >= at_least, "both processes hold the VMs")
            for vm, pin in vms:
                self.assert_right(vm)
                pin.release()
            self.wait_idle(server)

        with self.serving_store("--populate", "working-set", "--record") as server:
            # Each serving thread has begun to read ahead once there is a working set to replay.
            run(VMS_WHOSE_DESCRIPTORS_GO)
            run(VMS_WHOSE_DESCRIPTORS_GO)
            before = descriptors()
            run(VMS_WHOSE_DESCRIPTORS_GO, max(before) + 4 * VMS_WHOSE_DESCRIPTORS_GO)
            # What the run before had may not all have been closed when it was counted.
            wait_until(lambda: all(now <= then for now, then in zip(descriptors(), before)),
                       f"{descriptors()} come back to {before}")
            server.wait_for_another(server.kill_worker())
            run(3)
            wait_until(lambda: descriptors()[0] <= before[0], "the supervisor closes all, too")
            self.end_cleanly(server)


class OneServer(StoreTest):
    """A store has one page server."""

    def refused_beside(self) -> None:
        """A second server is refused, and leaves the first one's socket alone."""
        self.refused(EXIT_BUSY, "serve", "--store", self.store, "--state-dir", self.states,
                     names=[self.store])

    def test_a_second_server_is_refused_through_every_succession(self) -> None:
        with self.serving_store() as server:
            vm, _ = self.pinned(server, self.big, self.big_truth, "--operations", FOREVER,
                                wait=True)
            self.wait_served(server, 1)
            self.states.chmod(0o700)
            self.refused_beside()
            server.wait_for_another(server.kill_worker())
            worker = server.worker()
            server.signal(signal.SIGHUP)
            server.wait_for_another(worker)
            self.refused_beside()
            server.kill_supervisor()
            self.refused_beside()
            self.assert_right(vm)
            self.end_cleanly(server)
            server.start()
            self.end_cleanly(server)

    def test_options_that_exclude_a_store_are_refused(self) -> None:
        state = ("--state-dir", self.states)
        self.states.chmod(0o700)
        for words in ((self.big, "--socket", self.sockets / "s"), ("--allow-uid", "7"),
                      ("--socket", self.sockets / "s"), ("--metrics", self.sockets / "s"),
                      ("--status", "--metrics", self.sockets / "s")):
            with self.subTest(words):
                self.refused(EXIT_USAGE, "serve", "--store", self.store, *words, *state)
        self.refused(EXIT_NOT_FOUND, "serve", "--store", self.directory / "none", *state,
                     names=["none"])
        self.refused(EXIT_USAGE, "serve", "--store", self.big, *state,
                     names=[self.big, "not a store"])


class ServiceManager:
    """Hears what is told by sd_notify, at any time: what finds the queue full is lost."""

    def __init__(self) -> None:
        self.name = f"lamina-test-{os.getpid()}-{random.Random(SEED).random()}"
        self._told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.name}")
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self._told += message.decode().splitlines()

    def __enter__(self) -> ServiceManager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()

    def is_told(self, line: str) -> bool:
        """Since forget()."""
        return line in self._told

    def forget(self) -> None:
        """What comes from now on counts."""
        self._told = []


class ToldToAServiceManager(StoreTest):
    """The protocol of sd_notify."""

    def test_the_manager_is_told_ready_watchdog_and_stopping(self) -> None:
        with ServiceManager() as manager:
            variables = {"NOTIFY_SOCKET": f"@{manager.name}", "WATCHDOG_USEC": "20000"}
            with mock.patch.dict(os.environ, variables), self.serving_store() as server:
                wait_until(lambda: manager.is_told("READY=1") and manager.is_told("WATCHDOG=1"),
                           server.said())
                self.assertTrue(manager.is_told(f"MAINPID={server.pid}"))
                worker = server.worker()
                for succeed in (lambda: server.signal(signal.SIGHUP), server.kill_supervisor):
                    manager.forget()
                    succeed()
                    server.wait_for_another(worker)
                    worker = server.worker()
                    wait_until(lambda: manager.is_told(f"MAINPID={server.pid}")
                               and manager.is_told("WATCHDOG=1"), server.said())
                self.assertFalse(manager.is_told("STOPPING=1"))
                self.end_cleanly(server)
                wait_until(lambda: manager.is_told("STOPPING=1"), "the manager is told of the end")


if __name__ == "__main__":
    adopt_orphans()
    main()
