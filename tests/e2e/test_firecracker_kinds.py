#!/usr/bin/env python3
"""Firecrackers as they are: versions, devices, pages, jails, and those that have no room or end.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import (EXIT_DONE, EXIT_FAILED, EXIT_NO_SPACE, PAGE_BYTES, Outcome, lamina, main)
from sandbox import MEMORY_BYTES, SandboxTest, page_servers_of
from serving import TIMEOUT_S, connected, huge_pages, wait_until

OTHER_USER = 65534
OLDEST = "1.7.0"
MIB = 1 << 20
HUGE_PAGES_OF_TWO = 2 * MEMORY_BYTES // (2 * MIB)


class KindsTest(SandboxTest):
    """What these tests share."""

    def resume_fails(self, vm: Firecracker, name: str, *options: str | Path) -> str:
        """Resumes, which must fail and leave no pin; returns the message."""
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual(self.pins(), [])
        return outcome.error_lines[-1]

    def assert_untouched(self, vm: Firecracker) -> None:
        """Nothing was loaded, and nothing was started for it."""
        self.assertEqual((vm.state(), page_servers_of(self.store)), ("Not started", []))

    def started(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """The program, in the background."""
        self.output = self.directory / "output"
        with self.output.open("wb") as output:
            process = subprocess.Popen([os.environ["LAMINA"], *map(str, words)],
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> Outcome:
        """Its outcome."""
        code = process.wait(TIMEOUT_S)
        return Outcome((), code, "", self.output.read_text())


class Connections(KindsTest):
    """Firecracker has room for ten connections."""

    def connections(self, vm: Firecracker) -> list[socket.socket]:
        """Connects until there is no room; returns the connections that were accepted."""
        opened: list[socket.socket] = []
        while True:
            client = connected(vm.api_socket)
            self.addCleanup(client.close)
            answer = b""
            with contextlib.suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                answer = client.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200 "):
                return opened
            opened.append(client)

    def pause_words(self, vm: Firecracker, *options: str) -> list[str | Path]:
        """A pause, in words."""
        return ["pause", "--api", vm.api_socket, "--store", self.store, "--name", "a", *options]

    def turned_away(self, vm: Firecracker) -> int:
        """How many connections there was no room for."""
        return int(vm.tell("turned-away"))

    def test_pause_and_resume_are_retried_until_there_is_room(self) -> None:
        vm = self.fresh()
        others = self.connections(vm)
        pause = self.started(*self.pause_words(vm, "--after", "resume"))
        before = self.turned_away(vm)
        wait_until(lambda: self.turned_away(vm) > before + 3, "the pause is turned away")
        others[0].close()
        outcome = self.ended(pause)
        self.assertEqual((outcome.code, vm.control("touch 1 1")), (EXIT_DONE, "ok"), str(outcome))
        fresh = self.waiting()
        others = self.connections(fresh)
        resume = self.started("resume", "--api", fresh.api_socket, "--store", self.store, "--name",
                              "a")
        before = self.turned_away(fresh)
        wait_until(lambda: self.turned_away(fresh) > before + 3, "the resume is turned away")
        others[0].close()
        outcome = self.ended(resume)
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        self.check(fresh)

    def test_a_checkpoints_vm_runs_again_though_no_connection_is_free(self) -> None:
        vm = self.fresh()
        frozen, go = self.directory / "frozen", self.directory / "go"
        os.mkfifo(frozen)
        os.mkfifo(go)
        pause = self.started(*self.pause_words(vm, "--after", "resume", "--frozen-hook",
                                               f"echo >{frozen}; cat {go}"))
        frozen.read_text()
        others = self.connections(vm)
        go.write_text("")
        outcome = self.ended(pause)
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        self.assertGreater(self.turned_away(vm), 1)
        for client in others:
            client.close()
        wait_until(lambda: vm.control("touch 1 1") == "ok", "the VM runs")
        self.assert_nothing_left()

    def test_retries_end_at_the_timeout_and_the_vm_is_not_touched(self) -> None:
        vm = self.fresh()
        others = self.connections(vm)
        message = self.pause_fails(EXIT_FAILED, vm, "a", "--timeout", "1")
        self.assertIn("refused further connections (503)", message)
        self.assertEqual((len(others), vm.control("touch 1 1"), self.pins()), (10, "ok", []))

    def test_recover_is_retried_until_there_is_room(self) -> None:
        vm = self.fresh("--fail", "create-slow")
        pause = self.started(*self.pause_words(vm, "--after", "resume"))
        vm.wait_held()
        pause.kill()
        pause.wait()
        vm.tell("release")
        others = self.connections(vm)
        recover = self.started("recover", self.store)
        before = self.turned_away(vm)
        wait_until(lambda: self.turned_away(vm) > before + 3, "recover is turned away")
        others[0].close()
        outcome = self.ended(recover)
        self.assertEqual((outcome.code, vm.control("touch 1 1")), (EXIT_DONE, "ok"), str(outcome))


class Ends(KindsTest):
    """A Firecracker that ends, or does not."""

    def test_a_firecracker_killed_during_a_create_is_reported_as_killed(self) -> None:
        vm = self.fresh("--fail", "create-hang")
        pause = self.started("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a")
        vm.wait_held()
        vm.kill()
        outcome = self.ended(pause)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn(f"process {vm.pid} ended before it answered: killed by signal 9",
                      outcome.error_lines[-1])

    def test_a_load_into_a_configured_process_is_refused_and_leaves_it_alone(self) -> None:
        self.pause(self.fresh(), "a")
        for mode in ("uffd", "file"):
            vm = self.waiting()
            vm.done("PUT", "/boot-source", {"kernel_image_path": "/vmlinux"})
            message = self.resume_fails(vm, "a", "--mode", mode)
            self.assertIn("not allowed after configuring boot-specific resources", message)
            self.assertIn("start another Firecracker", message)
            self.assertEqual(vm.state(), "Not started")

    def test_a_vm_that_ends_during_its_handshake_is_logged_as_ended(self) -> None:
        self.pause(self.fresh(), "a")
        self.resume("a", "--mode", "uffd")
        server = self.store / ".vms" / "page-server.sock"
        with socket.socket(socket.AF_UNIX) as peer:
            child = os.fork()
            if child == 0:
                peer.connect(str(server))
                os._exit(7)
            os.waitpid(child, 0)
        log = self.store / ".vms" / "page-server.log"
        wait_until(lambda: f"process {child} " in log.read_text(), "the end is logged")
        line = [line for line in log.read_text().splitlines() if f"process {child} " in line][-1]
        self.assertRegex(line, "ended (before|during) its handshake")


class Versions(KindsTest):
    """What a version does not know it is not asked for."""

    def test_the_oldest_version_pauses_and_resumes_by_both_ways(self) -> None:
        for version in (OLDEST, "1.12.1_d990331", "1.13.0", "1.16.0", "1.18.0-dev"):
            for mode in ("uffd", "file"):
                with self.subTest(version=version, mode=mode):
                    name = f"a-{version}-{mode}"
                    vm = self.fresh("--version", version)
                    vm.tell("run 200 1")
                    self.pause(vm, name)
                    vm, _ = self.resume(name, "--mode", mode,
                                        vm=self.waiting("--version", version))
                    self.assertTrue(vm.done("GET", "/machine-config").json["track_dirty_pages"])
                    vm.tell("run 50 2")
                    self.assertEqual(self.pause(vm, name, "--after", "resume")["kind"], "diff")
                    self.check(vm)
                    vm.end()

    def test_an_older_version_is_refused_before_anything_is_stopped_or_loaded(self) -> None:
        vm = self.fresh("--version", "1.6.0")
        self.assertIn("Firecracker 1.6.0 is older than 1.7",
                      self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume"))
        self.assertEqual((vm.state(), self.pins()), ("Running", []))
        self.pause(self.fresh(), "a")
        old = self.waiting("--version", "1.6.0")
        self.assertIn("1.6.0 is older than 1.7", self.resume_fails(old, "a"))
        self.assert_untouched(old)

    def test_options_that_a_version_lacks_are_refused_before_the_load(self) -> None:
        self.pause(self.fresh("--net", "eth0", "--vsock"), "a")
        kinds = (("1.11.0", "1.12", ("--network-override", "eth0=tap1")),
                 ("1.15.1", "1.16", ("--vsock-override", "/x/v.sock")),
                 ("1.15.1", "1.16", ("--clock-realtime",)),
                 ("1.16.2", "1.17", ("--huge-pages", "transparent")))
        for version, since, options in kinds:
            with self.subTest(options=options):
                vm = self.waiting("--version", version)
                message = self.resume_fails(vm, "a", "--mode", "uffd", *options)
                self.assertIn(f"Firecracker {version} ", message)
                self.assertIn(f"which needs {since}", message)
                self.assertIn(options[0], message)
                self.assert_untouched(vm)
                # The same process can still be used.
                self.resume("a", "--mode", "file", vm=vm)
                vm.end()
                self.recover()
        for _, since, options in kinds:
            with self.subTest(since=since, options=options):
                vm, _ = self.resume("a", *options, vm=self.waiting("--version", f"{since}.0"))
                self.check(vm)

    def test_paths_that_only_cloud_hypervisor_can_change_are_refused_before_the_load(self) -> None:
        self.pause(self.fresh(), "a")
        vm = self.waiting("--version", "1.17.0")
        for options in (("--drive-override", "rootfs=/x"), ("--serial-override", "/x"),
                        ("--console-override", "/x")):
            with self.subTest(options=options):
                message = self.resume_fails(vm, "a", *options)
                self.assertIn("cannot change the path", message)
                self.assertIn(options[0], message)
                self.assert_untouched(vm)
        self.resume("a", "--mode", "file", vm=vm)

    def test_a_missing_device_ends_the_process_and_is_reported(self) -> None:
        self.pause(self.fresh("--net", "eth0"), "a")
        for options, words in ((("--network-override", "eth1=tap1"), "Unknown Network Device."),
                               (("--vsock-override", "/v"), "Unknown Vsock Device.")):
            vm = self.waiting("--version", "1.17.0")
            self.assertIn(words, self.resume_fails(vm, "a", *options))
            self.assertEqual(vm.wait(), EXIT_FAILED)


class Memory(KindsTest):
    """What a VM's memory may be."""

    def test_2_mib_pages_are_never_resumed_from_a_file(self) -> None:
        with huge_pages(HUGE_PAGES_OF_TWO + 1) as available:
            if not available:
                self.skipTest("no huge pages on this machine")
            vm = self.fresh("--huge-pages", "2M", "--version", "1.17.0")
            vm.tell("run 300 1")
            self.pause(vm, "a")
            self.assertEqual(self.done("inspect", self.store / "a", "--json").json["huge_pages"],
                             "2M")
            self.assertIn("2M", self.done("inspect", self.store / "a").stdout)
            # A file that is there already must not be taken either.
            other, report = self.resume("a", "--huge-pages", "none", "--mode", "file",
                                        vm=self.waiting("--version", "1.17.0"))
            self.assertEqual((report["mode"], len(list((self.store / ".maps").iterdir()))),
                             ("file", 1))
            self.check(other)
            old = self.waiting()
            outcome = lamina("resume", "--api", old.api_socket, "--store", self.store, "--name",
                             "a", "--mode", "file")
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn("the VM's memory is on 2 MiB pages", outcome.error_lines[-1])
            self.assertIn("--mode uffd", outcome.error_lines[-1])
            self.assertNotIn("--huge-pages", outcome.error_lines[-1])
            self.assert_untouched(old)
            self.assertEqual(len(self.pins()), 1)
            vm, report = self.resume("a", vm=old)
            self.assertEqual((report["mode"], report["reason"]),
                             ("uffd", "the VM's memory is on 2 MiB pages"))
            vm.tell("run 200 2")
            self.assertEqual(self.pause(vm, "b", "--after", "resume")["kind"], "diff")
            self.check(vm)
            self.done("compact", self.store / "b", "--policy", "full")
            facts = json.loads((self.store / "b" / "snapshot.json").read_text())
            self.assertEqual(facts["origin"]["huge_pages"], "2M")

    def test_a_load_of_an_unknown_page_size_fails_with_a_remedy(self) -> None:
        with huge_pages(HUGE_PAGES_OF_TWO) as available:
            if not available:
                self.skipTest("no huge pages on this machine")
            vm = self.fresh("--huge-pages", "2M")
            memory, state = self.directory / "memory", self.directory / "state"
            vm.pause()
            vm.create("Full", state, memory)
            self.done("ingest", memory, "--vmstate", state, "--out", self.store / "a")
            vm.end()
            vm = self.waiting()
            self.assertIn("resume with --mode uffd", self.resume_fails(vm, "a", "--mode", "file"))
            self.check(self.resume("a", "--mode", "uffd")[0])

    def test_the_page_size_given_at_an_ingest_is_kept(self) -> None:
        memory, state = self.directory / "memory", self.directory / "state"
        memory.write_bytes(os.urandom(1 << 20))
        state.write_bytes(b"state")
        self.done("ingest", memory, "--vmstate", state, "--out", self.store / "a", "--huge-pages",
                  "2M")
        os.truncate(memory, 0)
        os.truncate(memory, 1 << 20)
        self.done("ingest", memory, "--vmstate", state, "--out", self.store / "b", "--parent",
                  self.store / "a")
        for name in ("a", "b"):
            vm = self.waiting()
            self.assertIn("2 MiB pages", self.resume_fails(vm, name, "--mode", "file"))
            self.assert_untouched(vm)

    def test_hotpluggable_memory_is_part_of_the_memory(self) -> None:
        vm = self.fresh("--hotplug-mib", 128, "--plugged-mib", 4)
        vm.tell("run 300 1")
        first = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((first["kind"], first["memory_bytes"]), ("full", MEMORY_BYTES + 128 * MIB))
        vm.tell(f"write {(MEMORY_BYTES + 3 * MIB) // PAGE_BYTES} 5")
        second = self.pause(vm, "a", "--after", "stay")
        self.assertEqual(second["kind"], "diff", second["reason"])
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", self.store / "a", "--against", dump)
        vm.end()
        self.recover()
        for mode in ("uffd", "file"):
            with self.subTest(mode):
                vm, _ = self.resume("a", "--mode", mode)
                vm.tell("run 100 2")
                self.check(vm)
                self.assertEqual(self.pause(vm, f"b-{mode}")["kind"], "diff")

    def test_hotpluggable_memory_needs_its_space_too(self) -> None:
        small = self.directory / "small"
        small.mkdir()
        self.mount_tmpfs(small, "64m")
        vm = self.fresh("--hotplug-mib", 128)
        outcome = lamina("pause", "--api", vm.api_socket, "--store", small, "--name", "a")
        self.assertEqual(outcome.code, EXIT_NO_SPACE, str(outcome))
        self.assertIn(f"{MEMORY_BYTES + 128 * MIB} bytes", outcome.error_lines[-1])
        self.assertEqual(vm.state(), "Running")

    def test_diffs_of_hotpluggable_memory_need_a_version_that_writes_them_right(self) -> None:
        vm = self.fresh("--hotplug-mib", 128, "--version", "1.14.3")
        self.pause(vm, "a", "--after", "resume")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(report["kind"], "full")
        self.assertIn("1.14.3 writes wrong diffs", report["reason"])

    def mount_tmpfs(self, directory: Path, size: str) -> None:
        """A small file system, gone with the test."""
        if os.system(f"mount -t tmpfs -o size={size} none {directory}") != 0:
            self.skipTest("tmpfs cannot be mounted")
        self.addCleanup(os.system, f"umount {directory}")

    def test_an_idle_vm_has_an_empty_diff(self) -> None:
        vm = self.fresh("--no-queues")
        vm.tell("run 300 1")
        self.pause(vm, "a", "--after", "resume")
        report = self.pause(vm, "a", "--after", "stay")
        self.assertEqual((report["kind"], report["stored_bytes"]), ("diff", 0))
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", self.store / "a", "--against", dump)
        vm.end()
        self.recover()
        self.check(self.resume("a", "--mode", "uffd")[0])

    def test_what_a_load_writes_is_in_the_next_diff(self) -> None:
        self.pause(self.fresh(), "a")
        for mode in ("uffd", "file"):
            with self.subTest(mode):
                vm, _ = self.resume("a", "--mode", mode, "--stay-paused",
                                    vm=self.waiting("--new-generation"))
                report = self.pause(vm, f"b-{mode}", "--after", "stay")
                self.assertEqual(report["kind"], "diff")
                self.assertGreaterEqual(report["stored_bytes"], PAGE_BYTES)
                dump = self.directory / "dump"
                vm.tell(f"dump {dump}")
                self.done("verify", self.store / f"b-{mode}", "--against", dump)
                vm.end()
                self.recover()


class Places(KindsTest):
    """Where a Firecracker looks for its files."""

    @contextlib.contextmanager
    def jail(self, name: str = "jail") -> Iterator[Path]:
        """A root directory on a file system of its own."""
        jail = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        if os.system(f"mount -t tmpfs -o size=64m none {jail}") != 0:
            self.skipTest("tmpfs cannot be mounted")
        try:
            os.chown(jail, OTHER_USER, OTHER_USER)
            yield jail
        finally:
            os.system(f"umount -l {jail}")

    def test_the_page_server_s_socket_is_mounted_in_a_jail_s_namespace(self) -> None:
        self.pause(self.fresh(), "a")
        with self.jail() as jail:
            vm = self.waiting(jail=jail, user=OTHER_USER)
            self.assertNotEqual(os.readlink(f"/proc/{vm.pid}/ns/mnt"),
                                os.readlink("/proc/self/ns/mnt"))
            # A link does not reach this file system, nor a mount this namespace.
            self.resume("a", "--mode", "uffd", "--jail", jail, vm=vm)
            vm.tell("run 100 1")
            self.check(vm)
            self.assertEqual(self.pause(vm, "b", "--jail", jail)["kind"], "diff")
            self.assertEqual(list(jail.glob("lamina*")), [])
            self.check(self.resume("b", "--mode", "file")[0])

    def test_a_jail_that_cannot_get_the_socket_is_resumed_from_a_file(self) -> None:
        self.pause(self.fresh(), "a")
        unprivileged = ("setpriv", "--bounding-set", "-sys_admin")
        with self.jail() as jail:
            vm = self.waiting(jail=jail, user=OTHER_USER)
            words = ("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                     "--jail", jail, "--json")
            # Starts the page server, which needs the right to a userfaultfd.
            other = self.waiting()
            self.resume("a", "--mode", "uffd", vm=other)
            outcome = lamina(*words, "--mode", "uffd", prefix=unprivileged)
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn("put the store on the jail's file system", outcome.error_lines[-1])
            self.assertEqual((vm.state(), list(jail.glob("lamina*"))), ("Not started", []))
            outcome = lamina(*words, prefix=unprivileged)
            self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
            self.assertEqual(outcome.json["mode"], "file", str(outcome))
            self.check(vm)
            self.assertEqual(self.pause(vm, "b", "--jail", jail)["kind"], "diff")

    def test_a_jailed_vm_without_jail_option_is_refused_naming_the_option(self) -> None:
        with self.jail() as jail:
            vm = self.fresh(jail=jail, user=OTHER_USER)
            message = self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume")
            self.assertIn("--jail", message)
            self.assertEqual((vm.state(), self.pins()), ("Running", []))
            self.pause(vm, "a", "--jail", jail)
            vm.end()
            (jail / "api").unlink()
            (jail / "control").unlink()
            again = self.waiting(jail=jail, user=OTHER_USER)
            for mode in ("uffd", "file"):
                self.assertIn("--jail", self.resume_fails(again, "a", "--mode", mode))
                self.assert_untouched(again)

    def test_a_store_with_a_long_path_is_resumed_from_a_file(self) -> None:
        self.pause(self.fresh(), "a")
        deep = self.directory / ("d" * 100)
        deep.mkdir()
        shutil.move(self.store, deep / "store")
        self.store = deep / "store"
        vm = self.waiting()
        message = self.resume_fails(vm, "a", "--mode", "uffd")
        self.assertIn("at most 107 bytes", message)
        self.assertIn("--mode file", message)
        self.assert_untouched(vm)
        _, report = self.resume("a", vm=vm)
        self.assertEqual((report["mode"], page_servers_of(self.store)), ("file", []))
        self.assertIn("107 bytes", report["reason"])
        self.check(vm)


if __name__ == "__main__":
    main()
