#!/usr/bin/env python3
"""Pause, resume, recover with Cloud Hypervisor: a stand-in with the messages of release 53.

The page table is the kernel's. Environment: LAMINA and FAKE_CLOUD_HYPERVISOR are the binaries.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from cloud_hypervisor import CloudHypervisor
from daemon import Daemon
from faults import Point, require_strace
from lives import KILL
from memory_files import (EXIT_BUSY, EXIT_CORRUPT, EXIT_FAILED, EXIT_NO_SPACE, EXIT_NOT_FOUND,
                          EXIT_USAGE, PAGE_BYTES, LaminaTest, lamina, main)
from serving import HUGE_PAGE_BYTES, HUGE_PAGES, TIMEOUT_S, huge_pages, wait_until

MEMORY_MIB = 4
MEMORY_BYTES = MEMORY_MIB << 20
PAGES = MEMORY_BYTES // PAGE_BYTES
SEED = int(os.environ.get("LAMINA_TEST_SEED", "1"))


class CloudHypervisorTest(LaminaTest):
    """A test whose VMs end with it."""

    on_tmpfs = True

    def fresh(self, *options: str | int | Path) -> CloudHypervisor:
        """A VM with shared memory that was just started and runs."""
        return self.started("--start", "--shared", "--memory-mib", MEMORY_MIB, *options)

    def with_file(self, *options: str | int | Path) -> CloudHypervisor:
        """A VM whose memory is a private mapping of an empty sparse file."""
        zone = self.directory / f"zone-{len(list(self.directory.glob('zone-*')))}"
        with zone.open("wb") as file:
            file.truncate(MEMORY_BYTES)
        return self.started("--start", "--zone-file", zone, "--memory-mib", MEMORY_MIB, *options)

    def started(self, *options: str | int | Path) -> CloudHypervisor:
        """A Cloud Hypervisor; without options one that has no VM."""
        vm = CloudHypervisor(*options)
        self.addCleanup(vm.end)
        return vm

    def pause(self, vm: CloudHypervisor, name: str, *options: str | Path) -> dict[str, Any]:
        """Pauses into the store; returns the report."""
        return self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options, "--json").json

    def pause_fails(self, vm: CloudHypervisor, name: str, *options: str | Path,
                    code: int = EXIT_FAILED) -> str:
        """Pauses, which must fail; returns the message."""
        outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.error_lines[-1]

    def resume(self, name: str, *options: str | Path,
               vm: CloudHypervisor | None = None) -> tuple[CloudHypervisor, dict[str, Any]]:
        """Resumes into a new Cloud Hypervisor, or into `vm`."""
        vm = vm or self.started()
        report = self.done("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                           *options, "--json").json
        return vm, report

    def resume_fails(self, vm: CloudHypervisor, name: str, *options: str,
                     code: int = EXIT_FAILED) -> str:
        """Resumes, which must fail; returns the message."""
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.error_lines[-1]

    def assert_killed_at(self, *points: str) -> None:
        """A process that fails so at a resume of "a" is killed, and nothing is left of it."""
        for point in points:
            with self.subTest(point):
                vm = self.started()
                vm.tell(f"fail {point}")
                self.assertIn("was killed", self.resume_fails(vm, "a"))
                self.assertEqual(vm.wait(), -signal.SIGKILL)
                self.recover()
                self.assertEqual(self.pins(), [])

    def recover(self) -> dict[str, Any]:
        """Runs lamina recover, which must succeed."""
        return self.done("recover", self.store, "--json").json

    def check(self, vm: CloudHypervisor) -> None:
        """Every byte of the guest is what it must be."""
        self.assertEqual(vm.control("check"), "ok")

    def assert_same_memory(self, vm: CloudHypervisor, name: str) -> None:
        """The snapshot is what the VM has."""
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", self.store / name, "--against", dump)
        dump.unlink()

    def assert_nothing_left(self, after_kill: bool = False) -> None:
        """No process has left anything half done.

        A process that was killed leaves a socket in the pin, which goes with the next or the pin.
        """
        for area in (".pending", ".tmp"):
            self.assertEqual(sorted(os.listdir(self.store / area)), [])
        if after_kill:
            return
        for pin in (self.store / ".vms").glob("[0-9]*"):
            self.assertEqual(list(pin.glob("*.sock")), [])

    def pins(self) -> list[str]:
        """The names of the store's pins."""
        return sorted(path.name for path in (self.store / ".vms").glob("[0-9]*"))


class PauseTest(CloudHypervisorTest):
    """Capturing memory."""

    def test_a_pause_does_not_wait_for_a_lock_of_its_own(self) -> None:
        require_strace(self)
        vm = self.fresh()
        traced = self.directory / "trace"
        lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
               prefix=["strace", "-f", "-qq", "-o", str(traced), "-e", "trace=flock"])
        self.assertEqual(vm.wait(), 0)
        self.assertNotIn("EAGAIN", traced.read_text())

    def test_a_checkpoint_leaves_the_vm_running(self) -> None:
        for start in (self.fresh, self.with_file):
            with self.subTest(start.__name__):
                vm = start()
                name = f"of-{start.__name__}"
                vm.tell("run 500 1")
                self.pause(vm, name, "--after", "resume")
                self.assertEqual(vm.state(), "Running")
                self.assert_same_memory(vm, name)
                vm.tell("run 100 2")
                self.pause(vm, name, "--after", "resume")
                self.assert_same_memory(vm, name)
                self.assert_nothing_left()

    def test_into_another_store_all_is_captured(self) -> None:
        vm = self.fresh()
        vm.tell("run 500 1")
        self.pause(vm, "a")
        vm, _ = self.resume("a")
        vm.tell("run 100 2")
        other = self.directory / "other"
        other.mkdir()
        report = self.done("pause", "--api", vm.api_socket, "--store", other, "--name", "b",
                           "--after", "resume", "--json").json
        self.assertEqual(report["kind"], "full")
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", other / "b", "--against", dump)
        self.assertEqual(self.pause(vm, "a", "--after", "resume")["kind"], "diff")
        self.assert_same_memory(vm, "a")

    def test_private_anonymous_memory_is_refused(self) -> None:
        vm = self.started("--start", "--memory-mib", MEMORY_MIB)
        self.assertIn("shared=on", self.pause_fails(vm, "a"))
        self.assertEqual((vm.state(), self.pins()), ("Running", []))

    def test_memory_above_the_gap(self) -> None:
        for start in (self.fresh, self.with_file):
            with self.subTest(start.__name__):
                name = f"of-{start.__name__}"
                vm = start("--gap")
                vm.tell("run 2000 1")
                self.pause(vm, name, "--after", "resume")
                self.assert_same_memory(vm, name)
                self.pause(vm, name)
                vm, _ = self.resume(name)
                vm.tell("run 500 2")
                self.check(vm)
                self.assertEqual(self.pause(vm, name, "--after", "resume")["kind"], "diff")
                self.assert_same_memory(vm, name)

    def test_hook_and_attachments_belong_to_the_state(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(b"disk")
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume", "--attach", disk, "--frozen-hook", "true")
        self.assertEqual((self.store / "a" / "disk.img").read_bytes(), b"disk")
        for after in ("resume", "stop"):
            message = self.pause_fails(vm, "a", "--after", after, "--replace",
                                       "--frozen-hook", "exit 3")
            self.assertIn("a@", message)
            self.assertEqual(vm.state(), "Running")
        self.assert_nothing_left()


class DiskTest(CloudHypervisorTest):
    """What a file system of a disk may do otherwise than one in memory: holes, and syncs."""

    on_tmpfs = False

    def test_what_was_not_written_is_not_stored(self) -> None:
        vm = self.fresh()
        vm.tell("run 500 1")
        first = self.pause(vm, "a")
        vm, report = self.resume("a")
        self.assertEqual((report["mode"], vm.state()), ("file", "Running"))
        for page in range(0, PAGES, 30):
            vm.tell(f"read {page}")
        for page in (7, 9, PAGES // 2, PAGES - 1):
            vm.tell(f"write {page} {page + 1}")
        second = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((second["kind"], second["parent_pause_id"]), ("diff", first["pause_id"]))
        self.assertEqual(second["stored_bytes"], 4 * PAGE_BYTES)
        self.assert_same_memory(vm, "a")
        # Of a later one, too: what it counts from is the file that the VM maps.
        vm.tell("write 11 5")
        third = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((third["kind"], third["stored_bytes"]), ("diff", 5 * PAGE_BYTES))
        self.assertEqual(third["generation"], 1)
        self.assert_same_memory(vm, "a")
        self.check(vm)
        self.assert_nothing_left()

    def test_a_diff_of_shared_memory_is_what_differs(self) -> None:
        vm = self.fresh("--gap")
        vm.tell("run 500 1")
        before = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(before["kind"], "full")
        for pages in ((7, 9, PAGES // 2, PAGES - 1), (7,), ()):
            for page in range(0, PAGES, 30):
                vm.tell(f"read {page}")
            for page in pages:
                vm.tell(f"write {page} {page + len(pages)}")
            report = self.pause(vm, "a", "--after", "resume")
            self.assertEqual((report["kind"], report["parent_pause_id"], report["stored_bytes"]),
                             ("diff", before["pause_id"], len(pages) * PAGE_BYTES))
            self.assert_same_memory(vm, "a")
            before = report
        # What became zeros is not what was there before.
        vm.tell("write 9 0")
        vm.tell(f"discard {PAGES - 1} 1")
        self.assertEqual(self.pause(vm, "a", "--after", "resume")["stored_bytes"], 0)
        self.assert_same_memory(vm, "a")
        self.pause(vm, "a")
        vm, _ = self.resume("a")
        self.check(vm)
        self.assert_nothing_left()

    def test_a_diff_of_a_file_that_is_not_the_stores(self) -> None:
        vm = self.with_file("--gap")
        vm.tell("run 500 1")
        self.pause(vm, "a", "--after", "resume")
        for page in (3, PAGES // 2 + 1):
            vm.tell(f"write {page} 77")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((report["kind"], report["stored_bytes"]), ("diff", 2 * PAGE_BYTES))
        self.assert_same_memory(vm, "a")

    def test_what_others_write_into_shared_memory_is_captured(self) -> None:
        """A device outside of the VMM writes past its page table."""
        vm = self.fresh()
        vm.tell("run 200 1")
        self.pause(vm, "a", "--after", "resume")
        with vm.memfds()[0].open("r+b") as memory:
            memory.seek(100 * PAGE_BYTES)
            memory.write(b"from elsewhere")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((report["kind"], report["stored_bytes"]), ("diff", PAGE_BYTES))
        self.assert_same_memory(vm, "a")


class FailureTest(CloudHypervisorTest):
    """Whatever fails before the end leaves the VM as it was."""

    POINTS = ("send-refuse", "send-no-connect", "send-version", "send-unknown", "send-cut-config",
              "send-cut-state", "send-short-memfd", "send-no-descriptor", "send-twice",
              "send-out-of-turn", "send-other-size")

    def test_what_goes_wrong_in_the_messages(self) -> None:
        vm = self.fresh()
        vm.tell("run 200 1")
        first = self.pause(vm, "a", "--after", "resume")
        for point in self.POINTS:
            for after in ("resume", "stop"):
                with self.subTest(point, after=after):
                    vm.tell(f"fail {point}")
                    self.pause_fails(vm, "a", "--after", after, "--timeout", "1")
                    self.assertEqual(vm.state(), "Running")
                    self.assert_nothing_left()
        facts = self.done("inspect", self.store / "a", "--json").json
        self.assertEqual(facts["pause_id"], first["pause_id"])
        vm.tell("run 10 2")
        self.check(vm)
        self.pause(vm, "a", "--after", "resume")
        self.assert_same_memory(vm, "a")

    def test_lamina_is_killed_at_each_message(self) -> None:
        for is_resumed in (True, False):
            vm = self.fresh()
            vm.tell("run 200 1")
            self.pause(vm, "a", "--replace", *(() if is_resumed else ("--after", "resume")))
            if is_resumed:
                vm, _ = self.resume("a")
            self.kill_at_each_message(vm)
            vm.end()

    def kill_at_each_message(self, vm: CloudHypervisor) -> None:
        """Kills pauses of a VM whose next pause is a diff."""
        for point in ("config", "state", "complete"):
            for after in ("resume", "stop", "stay"):
                with self.subTest(point, after=after):
                    vm.tell("run 20 2")
                    vm.tell(f"fail send-hang-{point}")
                    self.kill_pause(vm, after)
                    report = self.recover()
                    self.assertEqual((report["discarded"], report["queued"]), (1, 0))
                    wait_until(lambda: vm.state() == "Running", "the VM runs on")
                    self.assert_nothing_left(after_kill=True)
                    self.check(vm)
        self.assertEqual(self.pause(vm, "a", "--after", "resume")["kind"], "diff")
        self.assert_same_memory(vm, "a")
        self.assert_nothing_left()

    def kill_pause(self, vm: CloudHypervisor, after: str) -> None:
        """A pause whose process is killed while the VMM waits to send a message."""
        command = [os.environ["LAMINA"], "pause", "--api", str(vm.api_socket), "--store",
                   str(self.store), "--name", "a", "--after", after]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            vm.wait_held()
            process.send_signal(signal.SIGKILL)
            process.wait()
        vm.tell("release")

    def test_a_process_that_does_not_end_is_reported(self) -> None:
        vm = self.fresh()
        vm.tell("fail send-no-exit")
        self.assertIn("was not stopped", self.pause_fails(vm, "a", "--timeout", "1"))
        self.done("verify", self.store / "a")
        self.assertEqual(vm.state(), "Running")
        self.pause(vm, "a")

    def test_a_resume_that_is_refused_leaves_nothing(self) -> None:
        vm = self.fresh()
        vm.tell("run 200 1")
        self.pause(vm, "a")
        vm = self.started()
        for point in ("receive-refuse", "receive-error-start", "receive-error-config",
                      "receive-error-state"):
            with self.subTest(point):
                vm.tell(f"fail {point}")
                self.resume_fails(vm, "a")
                self.assertEqual((vm.state(), self.pins()), ("None", []))
                self.assert_nothing_left()
        self.resume("a", vm=vm)
        self.check(vm)

    def test_a_pause_that_was_to_stay_and_fails_lets_the_vm_run(self) -> None:
        """At once: not after the time that the VM has for an answer."""
        vm = self.fresh()
        for point in ("send-refuse", "send-version", "send-cut-config"):
            with self.subTest(point):
                vm.tell(f"fail {point}")
                self.pause_fails(vm, "a", "--after", "stay", "--timeout", "1000")
                self.assertEqual(vm.state(), "Running")
                self.assert_nothing_left()
        self.check(vm)

    def test_one_that_listens_late_does_not_wait_for_a_sender_forever(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a")
        vm = self.started()
        vm.tell("fail receive-late")
        self.resume_fails(vm, "a", "--timeout", "1")
        self.assertEqual((vm.state(), self.pins()), ("None", []))
        self.resume("a", vm=vm)
        self.check(vm)

    def test_memory_that_is_not_the_file_is_never_resumed(self) -> None:
        vm = self.fresh()
        vm.tell("run 200 1")
        self.pause(vm, "a")
        self.assert_killed_at("receive-shares", "receive-copies")


class ResumeTest(CloudHypervisorTest):
    """Resumes and forks."""

    def test_clones_share_a_file_and_nothing_else(self) -> None:
        vm = self.fresh("--net", "eth0")
        vm.tell("run 1000 1")
        self.pause(vm, "t")
        clones = []
        for number in range(4):
            clone, _ = self.resume("t", "--network-override", f"eth0=tap{number}")
            clone.tell(f"run 300 {number + 5}")
            clones.append(clone)
        self.assertEqual(len(list((self.store / ".maps").iterdir())), 1)
        for number, clone in enumerate(clones):
            self.assertEqual(clone.config()["net"][0]["tap"], f"tap{number}")
            self.assertEqual(self.pause(clone, f"c{number}", "--after", "resume")["kind"], "diff")
            self.assert_same_memory(clone, f"c{number}")
            self.check(clone)

    def test_clones_beside_their_source_have_files_of_their_own(self) -> None:
        disk = self.directory / "disk"
        disk.write_bytes(b"0" * PAGE_BYTES)
        serial, vsock = self.directory / "serial", self.directory / "vsock"
        vm = self.fresh("--disk", disk, "--serial-file", serial, "--vsock", vsock)
        vm.tell("run 200 1")
        self.pause(vm, "t", "--after", "resume", "--attach", disk)
        clones = []
        for number in range(3):
            own = self.directory / f"own{number}"
            own.mkdir()
            (own / "disk").write_bytes((self.store / "t" / "disk").read_bytes())
            clone = self.started()
            overrides = {"--drive-override": f"_disk0={own / 'disk'}",
                         "--serial-override": str(own / "serial"),
                         "--vsock-override": str(own / "vsock")}
            for left_out, device in (("--drive-override", "disk '_disk0'"),
                                     ("--serial-override", "serial"),
                                     ("--vsock-override", "vsock")):
                some = [word for option, value in overrides.items() if option != left_out
                        for word in (option, value)]
                message = self.resume_fails(clone, "t", *some, code=EXIT_BUSY)
                self.assertIn(device, message)
                self.assertEqual(clone.state(), "None")
            self.resume("t", *[word for item in overrides.items() for word in item], vm=clone)
            clone.tell(f"run 100 {number + 5}")
            clones.append((clone, own))
        for number, (clone, own) in enumerate(clones):
            config = clone.config()
            self.assertEqual((config["disks"][0]["path"], config["serial"]["file"],
                              config["vsock"]["socket"]),
                             (str(own / "disk"), str(own / "serial"), str(own / "vsock")))
            self.pause(clone, f"c{number}", "--after", "resume")
            self.assert_same_memory(clone, f"c{number}")
        # Those of another clone, and the store's.
        clone = self.started()
        some = ("--serial-override", str(self.directory / "s"),
                "--vsock-override", str(self.directory / "v"))
        self.assertIn("open for writing", self.resume_fails(
            clone, "t", "--drive-override", f"_disk0={clones[0][1] / 'disk'}", *some,
            code=EXIT_BUSY))
        self.assertIn("belongs to the store", self.resume_fails(
            clone, "t", "--drive-override", f"_disk0={self.store / 't' / 'disk'}", *some,
            code=EXIT_USAGE))
        for wrong in (("--drive-override", "none=/x"), ("--console-override", "/x")):
            self.resume_fails(clone, "t", *wrong, *some, code=EXIT_USAGE)
        self.assertEqual(clone.state(), "None")
        # A file is free when its VM has ended.
        clones[0][0].end()
        self.recover()
        self.resume("t", "--drive-override", f"_disk0={clones[0][1] / 'disk'}", *some, vm=clone)
        self.check(clone)

    def test_clones_of_a_vm_that_runs_on_have_files_of_their_own(self) -> None:
        disk = self.directory / "disk"
        disk.write_bytes(b"0" * PAGE_BYTES)
        vm = self.fresh("--disk", disk, "--serial-file", self.directory / "serial", "--vsock",
                        self.directory / "vsock")
        vm.tell("run 200 1")
        clones = [self.started() for _ in range(2)]
        own = [self.directory / f"own{number}" for number in range(2)]
        dealt: list[str | Path] = []
        for directory in own:
            directory.mkdir()
            dealt += ["--drive-override", f"_disk0={directory / 'disk'}", "--serial-override",
                      directory / "serial", "--vsock-override", directory / "vsock"]
        hook = "; ".join(f"cp '{disk}' '{directory / 'disk'}'" for directory in own)
        words: list[str | Path] = ["fork", "--live", "--api", vm.api_socket, "--store", self.store]
        sockets = [clone.api_socket for clone in clones]
        # Without files of their own no clone runs, and the source is stored.
        outcome = lamina(*words, "--name", "refused", *sockets)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("open for writing", str(outcome))
        self.assertEqual([clone.state() for clone in clones], ["None", "None"])
        self.done("verify", self.store / "refused")
        self.done(*words, "--name", "f", "--frozen-hook", hook, *dealt, *sockets)
        self.assertEqual(vm.state(), "Running")
        for number, (clone, directory) in enumerate(zip(clones, own)):
            config = clone.config()
            self.assertEqual((config["disks"][0]["path"], config["serial"]["file"],
                              config["vsock"]["socket"]),
                             (str(directory / "disk"), str(directory / "serial"),
                              str(directory / "vsock")))
            self.assertEqual((directory / "disk").read_bytes(), disk.read_bytes())
            clone.tell(f"run 100 {number + 5}")
            self.pause(clone, f"c{number}", "--after", "resume")
            self.assert_same_memory(clone, f"c{number}")

    def test_of_two_resumes_at_a_time_one_gets_the_file(self) -> None:
        disk = self.directory / "disk"
        disk.write_bytes(b"0" * PAGE_BYTES)
        vm = self.fresh("--disk", disk)
        self.pause(vm, "t")
        first, second = self.started(), self.started()
        first.tell("fail receive-hang-state")
        command = [os.environ["LAMINA"], "resume", "--api", str(first.api_socket), "--store",
                   str(self.store), "--name", "t"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            first.wait_held()
            self.assertIn("another resume", self.resume_fails(second, "t", code=EXIT_BUSY))
            first.tell("release")
            self.assertEqual(process.wait(TIMEOUT_S), 0)
        self.check(first)

    def test_what_is_not_possible_is_refused(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a")
        vm = self.started()
        for options in (("--mode", "uffd"), ("--clock-realtime",), ("--huge-pages", "2M")):
            with self.subTest(options=options):
                message = self.resume_fails(vm, "a", *options)
                self.assertIn("Cloud Hypervisor", message)
        self.assertEqual((vm.state(), self.pins()), ("None", []))
        self.resume("a", vm=vm)
        self.assertIn("has a VM already", self.resume_fails(vm, "a"))

    def test_a_state_of_another_vmm_is_refused(self) -> None:
        memory = self.directory / "memory"
        with memory.open("wb") as file:
            file.truncate(MEMORY_BYTES)
        state = self.directory / "state"
        state.write_bytes(b"a Firecracker's state")
        self.done("ingest", memory, "--out", self.store / "f", "--vmstate", state)
        self.assertIn("not a Cloud Hypervisor", self.resume_fails(self.started(), "f"))


class OnceTest(CloudHypervisorTest):
    """A snapshot that may be resumed only once."""

    def setUp(self) -> None:
        super().setUp()
        self.source("a")

    def source(self, name: str) -> None:
        """A snapshot that may be resumed only once."""
        vm = self.fresh()
        vm.tell("run 100 1")
        self.pause(vm, name, "--once")

    def consumed(self, name: str = "a") -> bool:
        """What inspect says."""
        info = self.done("inspect", self.store / name, "--json").json
        self.assertTrue(info["once"])
        return bool(info["consumed"])

    def assert_refused(self, name: str = "a") -> None:
        """It is not resumed again."""
        vm = self.started()
        before = self.pins()
        self.assertIn("only once", self.resume_fails(vm, name))
        self.assertEqual((vm.state(), self.pins()), ("None", before))

    def test_a_resume_that_fails_gives_it_back_unless_the_guest_may_have_run(self) -> None:
        vm = self.started()
        for point in ("receive-refuse", "receive-error-start", "receive-error-config",
                      "receive-error-state", "receive-die-config", "receive-die-state"):
            with self.subTest(point):
                if not vm.is_running():
                    vm = self.started()
                vm.tell(f"fail {point}")
                self.resume_fails(vm, "a")
                if "-die-" in point:
                    vm.wait()
                self.assertFalse(self.consumed())
        vm = self.started()
        vm.tell("fail receive-die-complete")
        self.resume_fails(vm, "a")
        self.assertTrue(self.consumed())
        self.assert_refused()

    def calls_from_mark(self, name: str) -> list[tuple[str, int]]:
        """What a resume's first thread does from the mark on, each call with its number."""
        traced = self.directory / "trace"
        vm = self.started()
        lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
               prefix=["strace", "-y", "-qq", "-o", str(traced), "-e",
                       f"trace={','.join(self.CALLS)}"])
        numbers = dict.fromkeys(self.CALLS, 0)
        calls = []
        for line in traced.read_text().splitlines():
            call = line.partition("(")[0]
            if call not in numbers:
                continue
            numbers[call] += 1
            if calls or (call == "fsync" and "/.counts" in line):
                calls.append((call, numbers[call]))
        vm.end()
        self.recover()
        return calls

    CALLS = ("fsync", "sendto")

    def test_killed_between_mark_and_load_and_later_it_runs_at_most_once(self) -> None:
        require_strace(self)
        calls = self.calls_from_mark("a")
        # The mark, and the migration's four messages.
        self.assertGreaterEqual([call for call, _ in calls].count("sendto"), 4, str(calls))
        loaded = 0
        for call, number in calls:
            name = f"{call}-{number}"
            with self.subTest(name):
                self.source(name)
                vm = self.started()
                killed = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name",
                                name, prefix=Point(call, number, False, False).strace(KILL))
                self.assertIn(killed.code, (-signal.SIGKILL, 128 + signal.SIGKILL), str(killed))
                self.assertTrue(self.consumed(name))
                self.assert_refused(name)
                # Of its API, a receiver that waits for its sender answers nothing.
                loaded += vm.control("pages") != "error no VM"
                vm.end()
                self.recover()
                self.assert_refused(name)
                # Known to be gone.
                self.check(self.resume(name, "--again")[0])
        self.assertIn(loaded, range(1, len(calls)), "some were killed before, some after the load")


class HugePagesTest(CloudHypervisorTest):
    """Memory on huge pages: it is in memfds, which lamina fills."""

    def setUp(self) -> None:
        super().setUp()
        if not self.enterContext(huge_pages(16)):
            self.skipTest("no huge pages here")

    def huge(self, *options: str | int | Path) -> CloudHypervisor:
        """A VM on huge pages, with two ranges."""
        return self.started("--start", "--huge-pages", "--gap", "--memory-mib", MEMORY_MIB,
                            *options)

    def stored(self, name: str) -> None:
        """Stores a VM's state."""
        vm = self.huge()
        vm.tell("run 500 1")
        self.pause(vm, name)
        vm.wait()

    @staticmethod
    def in_use() -> int:
        """Huge pages that are not free, or promised."""
        words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return (int(words["HugePages_Total"]) - int(words["HugePages_Free"])
                + int(words["HugePages_Rsvd"]))

    def test_a_vm_stays_on_huge_pages_and_its_diffs_are_thin(self) -> None:
        self.stored("a")
        vms = [self.resume("a")[0] for _ in range(2)]
        # Also what is a hole is promised to the VMs, and nobody else can take it.
        self.assertGreaterEqual(self.in_use(), 2 * MEMORY_BYTES // HUGE_PAGE_BYTES)
        for number, vm in enumerate(vms):
            self.assertIs(vm.config()["memory"]["hugepages"], True)
            sizes = [(os.stat(memfd).st_blksize, os.stat(memfd).st_size) for memfd in vm.memfds()]
            self.assertEqual(sizes, [(HUGE_PAGE_BYTES, MEMORY_BYTES // 2)] * 2)
            self.check(vm)
            for pages in ((7, 9, PAGES // 2, PAGES - 1), (7,), ()):
                for page in range(0, PAGES, 30):
                    vm.tell(f"read {page}")
                for page in pages:
                    vm.tell(f"write {page} {page + len(pages)}")
                name = f"clone{number}"
                report = self.pause(vm, name, "--after", "resume")
                self.assertEqual((report["kind"], report["stored_bytes"]),
                                 ("diff", len(pages) * PAGE_BYTES))
                self.assert_same_memory(vm, name)
                info = self.done("inspect", self.store / name, "--json").json
                self.assertEqual(info["huge_pages"], "2M")
            self.check(vm)
        self.assert_nothing_left()

    def test_clones_of_a_vm_that_runs_on(self) -> None:
        vm = self.huge()
        vm.tell("run 300 1")
        clones = [self.started() for _ in range(2)]
        self.done("fork", "--live", "--api", vm.api_socket, "--store", self.store, "--name", "f",
                  *(clone.api_socket for clone in clones))
        for number, clone in enumerate(clones):
            self.check(clone)
            for kind in ("full", "diff"):  # the first is of one whose base was on its way
                clone.tell(f"run 100 {number + 5}")
                report = self.pause(clone, f"c{number}", "--after", "resume")
                self.assertIn(report["kind"], (kind, "diff"))
                self.assert_same_memory(clone, f"c{number}")
        self.pause(vm, "f", "--after", "resume")
        self.assert_same_memory(vm, "f")

    def test_random_lives(self) -> None:
        print(f"LAMINA_TEST_SEED={SEED}", file=sys.stderr)
        choice = random.Random(SEED)
        vm = self.huge()
        for _ in range(12):
            vm.tell(f"run {choice.randrange(1, 800)} {choice.randrange(1 << 30)}")
            self.pause(vm, "a", "--after", "resume")
            self.assert_same_memory(vm, "a")
            vm.tell(f"run {choice.randrange(1, 100)} {choice.randrange(1 << 30)}")
            if choice.random() < 0.5:
                self.pause(vm, "a")
                vm.wait()
                vm, _ = self.resume("a")
            self.check(vm)
        self.recover()
        self.assert_nothing_left()

    def test_a_resume_that_is_refused_leaves_nothing(self) -> None:
        self.stored("a")
        wait_until(lambda: self.in_use() == 0, "its memory is free")
        vm = self.started()
        for point in ("receive-refuse", "receive-error-start", "receive-error-memory",
                      "receive-error-config", "receive-error-state"):
            with self.subTest(point):
                vm.tell(f"fail {point}")
                self.resume_fails(vm, "a")
                self.assertEqual((vm.state(), self.pins()), ("None", []))
                wait_until(lambda: self.in_use() == 0, "its memory is free")
                self.assert_nothing_left()
        self.resume("a", vm=vm)
        self.check(vm)

    def test_the_vmm_dies_in_the_middle(self) -> None:
        self.stored("a")
        for point in ("memory", "config", "state"):
            with self.subTest(point):
                vm = self.started()
                vm.tell(f"fail receive-die-{point}")
                self.resume_fails(vm, "a")
                vm.wait()
                self.recover()
                self.assertEqual(self.pins(), [])
                wait_until(lambda: self.in_use() == 0, "its memory is free")

    def test_lamina_is_killed_in_the_middle(self) -> None:
        self.stored("a")
        for point in ("memory", "config", "state", "complete"):
            with self.subTest(point):
                vm = self.started()
                vm.tell(f"fail receive-hang-{point}")
                command = [os.environ["LAMINA"], "resume", "--api", str(vm.api_socket), "--store",
                           str(self.store), "--name", "a"]
                with subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL) as process:
                    vm.wait_held()
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                vm.end()
                self.recover()
                self.assertEqual(self.pins(), [])
                self.assert_nothing_left()
                wait_until(lambda: self.in_use() == 0, "its memory is free")
        vm, _ = self.resume("a")
        self.check(vm)

    def test_other_memory_is_never_resumed(self) -> None:
        self.stored("a")
        self.assert_killed_at("receive-own-memory", "receive-maps-privately")

    def test_too_few_huge_pages_are_refused_and_small_ones_can_be_had(self) -> None:
        self.stored("a")
        wait_until(lambda: self.in_use() == 0, "its memory is free")
        HUGE_PAGES.write_text("1")
        vm = self.started()
        message = self.resume_fails(vm, "a", code=EXIT_NO_SPACE)
        self.assertIn("vm.nr_hugepages", message)
        self.assertEqual((vm.state(), self.pins()), ("None", []))
        self.resume("a", "--huge-pages", "none", vm=vm)
        self.assertEqual(vm.memfds(), [])
        vm.tell("run 100 2")
        self.assertEqual(self.pause(vm, "a")["kind"], "diff")
        vm, _ = self.resume("a")
        self.check(vm)

    def test_a_damaged_block_is_found_before_the_guest_sees_it(self) -> None:
        self.stored("a")
        layer = next((self.store / "a").glob("memfile.*-*"))
        with layer.open("r+b") as file:
            for offset in range(0, 16 * PAGE_BYTES, PAGE_BYTES):
                byte = os.pread(file.fileno(), 1, offset)
                os.pwrite(file.fileno(), bytes([byte[0] ^ 255]), offset)
        vm = self.started()
        self.resume_fails(vm, "a", code=EXIT_CORRUPT)
        self.assertEqual((vm.state(), self.pins()), ("None", []))


class SnapshotDirectoryTest(CloudHypervisorTest):
    """Directories of Cloud Hypervisor's own snapshots."""

    def test_a_directory_is_stored_resumed_and_written_again(self) -> None:
        for options in ((), ("--gap",)):
            with self.subTest(options=options):
                vm = self.fresh(*options)
                vm.tell("run 1000 1")
                vm.done("PUT", "vm.pause")
                own = self.directory / f"own{len(options)}"
                own.mkdir()
                answer = vm.request("PUT", "vm.snapshot", {"destination_url": f"file://{own}"})
                self.assertEqual(answer.status, 204, answer)
                first = self.store / f"first{len(options)}"
                self.done("ingest", own, "--out", first)
                self.done("verify", first, "--against", own / "memory-ranges")
                clone, _ = self.resume(first.name)
                clone.tell("run 300 2")
                self.check(clone)
                second = f"second{len(options)}"
                self.assertEqual(self.pause(clone, second)["kind"], "diff")
                # Cloud Hypervisor restores what lamina writes.
                out = self.directory / f"out{len(options)}"
                report = self.done("export", "cloud-hypervisor", self.store / second, out,
                                   "--json").json
                self.assertEqual((report["memory_bytes"], report["vmm_version"]),
                                 (MEMORY_BYTES, "v53.0"))
                restored = self.started()
                answer = restored.request("PUT", "vm.restore", {"source_url": f"file://{out}"})
                self.assertEqual(answer.status, 204, answer)
                restored.done("PUT", "vm.resume")
                self.check(restored)
                # And hands it over again.
                restored.tell("run 100 3")
                self.pause(restored, f"third{len(options)}", "--after", "resume")
                self.assert_same_memory(restored, f"third{len(options)}")
                # With a parent, only what differs is stored.
                self.done("ingest", out, "--out", self.store / f"fourth{len(options)}",
                          "--parent", self.store / second, "--kind", "full")

    def test_a_directory_that_lacks_files_is_refused(self) -> None:
        directory = self.directory / "half"
        directory.mkdir()
        with (directory / "memory-ranges").open("wb") as file:
            file.truncate(MEMORY_BYTES)
        self.refused(EXIT_NOT_FOUND, "ingest", directory, "--out", self.store / "a")
        for name in ("config.json", "state.json"):
            (directory / name).write_text("{}")
        self.refused(EXIT_FAILED, "ingest", directory, "--out", self.store / "a")

    def test_a_snapshot_of_another_vmm_is_not_exported(self) -> None:
        memory = self.directory / "memory"
        with memory.open("wb") as file:
            file.truncate(MEMORY_BYTES)
        self.done("ingest", memory, "--out", self.store / "f")
        self.refused(EXIT_FAILED, "export", "cloud-hypervisor", self.store / "f",
                     self.directory / "out")
        self.assertFalse((self.directory / "out").exists())


class DaemonTest(CloudHypervisorTest):
    """The daemon does the same."""

    def test_pause_fork_and_resume_by_the_daemon(self) -> None:
        self.store.mkdir(exist_ok=True)
        daemon = Daemon(self.store, self.directory)
        self.addCleanup(daemon.end)
        vm = self.fresh()
        vm.tell("run 500 1")
        report = daemon.done("POST", "/v1/pause", {"api_socket": str(vm.api_socket), "name": "a",
                                                   "after": "stop"})
        self.assertEqual((report["kind"], vm.wait()), ("full", 0))
        for name in ("b", "c"):
            clone = self.started()
            daemon.done("POST", "/v1/resume", {"api_socket": str(clone.api_socket), "name": "a"})
            clone.tell("run 50 2")
            report = self.pause(clone, name, "--after", "resume")
            self.assertEqual(report["kind"], "diff")
            self.assert_same_memory(clone, name)


class RandomTest(CloudHypervisorTest):
    """Random histories, compared byte by byte."""

    def test_random_lives(self) -> None:
        print(f"LAMINA_TEST_SEED={SEED}", file=sys.stderr)
        choice = random.Random(SEED)
        vm = self.with_file() if choice.random() < 0.5 else self.fresh()
        name = "life"
        for step in range(12):
            vm.tell(f"run {choice.randrange(1, 800)} {choice.randrange(1 << 30)}")
            action = choice.choice(("checkpoint", "stop", "stop", "fork"))
            if action == "checkpoint":
                self.pause(vm, name, "--after", "resume")
                self.assert_same_memory(vm, name)
            elif action == "stop":
                self.pause(vm, name)
                vm.wait()
                vm, _ = self.resume(name)
            else:
                fork = f"fork{step}"
                self.pause(vm, fork, "--after", "resume", "--replace")
                vm.end()
                vm, _ = self.resume(fork)
                name = fork
            self.check(vm)
        self.recover()
        self.assert_nothing_left()

    def test_a_guest_that_never_rests(self) -> None:
        vm = self.fresh("--writer", "--discards")
        self.pause(vm, "a")
        for _ in range(4):
            vm = self.started("--writer", "--discards")
            self.resume("a", vm=vm)
            self.pause(vm, "a", "--after", "resume")
            self.pause(vm, "a")
            self.done("verify", self.store / "a")
        vm, _ = self.resume("a")
        self.check(vm)


if __name__ == "__main__":
    main()
