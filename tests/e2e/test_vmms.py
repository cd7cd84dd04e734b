#!/usr/bin/env python3
"""What holds whichever VMM a VM has: pause, checkpoint, resume, clones, recover, and failures.

One table of behaviours, run with a stand-in of each VMM. What only one of them has is in
test_lifecycle.py and test_cloud_hypervisor.py.

Environment: LAMINA, FAKE_FIRECRACKER and FAKE_CLOUD_HYPERVISOR are the binaries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

sys.dont_write_bytecode = True  # the source folder stays clean

from cloud_hypervisor import CloudHypervisor
from faults import Point, require_strace
from firecracker import Firecracker
from lives import KILL
from memory_files import (EXIT_BUSY, EXIT_FAILED, EXIT_NO_SPACE, EXIT_NOT_FOUND, EXIT_USAGE,
                          PAGE_BYTES, SANITIZED, lamina, main)
from sandbox import SandboxTest
from serving import wait_until

MEMORY_MIB = 4
RUN_ON = ("--after", "resume")

Vm = Firecracker | CloudHypervisor


class EitherVmmTest:
    """The behaviours; a subclass says which VMM."""

    on_tmpfs = True

    NO_VM: ClassVar[str]  # the state of a process without a VM
    MODES: ClassVar[tuple[str, ...]]  # of resumes
    EXIT_CODE: ClassVar[int]  # of a process whose VM was stopped
    HELD_PAUSE: ClassVar[str]  # where a pause can be held
    HELD_LOAD: ClassVar[str]
    DEATHS_IN_PAUSE: ClassVar[tuple[str, ...]]
    FAILED_LOADS: ClassVar[tuple[str, ...]]
    COUNTS_FROM_MAP: ClassVar[bool]  # each diff of a process counts from what it was resumed from

    def fresh(self, *options: str | int | Path, **more: Any) -> Vm:
        """A VM that was just started and runs."""
        raise NotImplementedError

    def waiting(self, *options: str | int | Path, **more: Any) -> Vm:
        """A process without a VM."""
        raise NotImplementedError

    def armed(self, point: str) -> Vm:
        """A process without a VM, with a point of failure."""
        raise NotImplementedError

    def other(self) -> Vm:
        """A process of the other VMM, without a VM."""
        raise NotImplementedError

    def used(self, operations: int = 200) -> Vm:
        """A VM that has used its memory."""
        vm = self.fresh()
        vm.tell(f"run {operations} 1")
        return vm

    def resumed(self, name: str, *options: str) -> Vm:
        """A VM with the snapshot, in the first mode."""
        return self.resume(name, "--mode", self.MODES[0], *options)[0]

    def resume_fails(self, name: str, vm: Vm | None = None, mode: str | None = None,
                     code: int = EXIT_FAILED) -> str:
        """Resumes, which must fail; returns the message."""
        vm = vm or self.waiting()
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         "--mode", mode or self.MODES[0])
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.error_lines[-1]

    def assert_same_memory(self, vm: Vm, name: str) -> None:
        """The snapshot is what the running VM has."""
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", self.store / name, "--against", dump)

    def pause_id(self, name: str) -> str:
        """Of a snapshot."""
        return json.loads((self.store / name / "snapshot.json").read_text())["pause_id"]

    # Pause

    def test_a_stopped_vm_ends_when_its_snapshot_is_there(self) -> None:
        vm = self.used()
        report = self.pause(vm, "a")
        self.assertEqual((report["kind"], report["memory_bytes"]), ("full", MEMORY_MIB << 20))
        self.assertEqual((vm.wait(), self.pins()), (self.EXIT_CODE, []))
        self.done("verify", self.store / "a")
        self.assert_nothing_left()

    def test_the_second_pause_is_a_diff_of_what_changed(self) -> None:
        first = self.pause(self.used(500), "a")
        for mode in self.MODES:
            with self.subTest(mode):
                vm, report = self.resume("a", "--mode", mode)
                self.assertEqual((report["mode"], vm.state()), (mode, "Running"))
                self.check(vm)
                for page in (7, 9, 511, 1023):
                    vm.tell(f"write {page} {page + 1}")
                second = self.pause(vm, f"b-{mode}", *RUN_ON)
                self.assertEqual((second["kind"], second["parent_pause_id"]),
                                 ("diff", first["pause_id"]))
                self.assertLess(second["stored_bytes"], 16 * PAGE_BYTES)
                self.assertEqual(second["generation"], 1)
                self.assert_same_memory(vm, f"b-{mode}")
                vm.tell("run 50 4")
                third = self.pause(vm, f"b-{mode}", *RUN_ON)
                self.assertEqual((third["kind"], third["generation"]),
                                 ("diff", 1 if self.COUNTS_FROM_MAP else 2))
                self.assert_same_memory(vm, f"b-{mode}")
                self.check(vm)
        self.assert_nothing_left()

    def test_a_checkpoint_leaves_the_vm_running(self) -> None:
        vm = self.used()
        for seed in (2, 3):
            self.pause(vm, "a", *RUN_ON)
            self.assertEqual(vm.state(), "Running")
            self.assert_same_memory(vm, "a")
            vm.tell(f"run 100 {seed}")

    def test_with_few_descriptors_a_pause_succeeds_or_the_vm_runs_on(self) -> None:
        if SANITIZED:
            self.skipTest("the check of a virtual table needs a descriptor")
        vm = self.used()
        failed = 0
        # Full ones: a diff opens one file more than the diff before it.
        for limit in range(8, 48):
            vm.tell(f"run 5 {limit}")
            outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                             *RUN_ON, "--full", prefix=["prlimit", f"--nofile={limit}"])
            self.assertEqual(vm.state(), "Running", f"{limit}: {outcome}")
            if outcome.code:
                failed += 1
                # And not what follows from it.
                self.assertIn("too many open files", outcome.error_lines[-1])
        self.assertIn(failed, range(1, 39))
        self.pause(vm, "a", *RUN_ON)
        self.assert_same_memory(vm, "a")
        self.assert_nothing_left()

    def test_stay_leaves_the_vm_paused(self) -> None:
        vm = self.used()
        for name in ("a", "b"):
            self.pause(vm, name, "--after", "stay")
            self.assertEqual(vm.state(), "Paused")
        self.pause(vm, "b", *RUN_ON)
        self.assertEqual(vm.state(), "Running")
        self.assert_same_memory(vm, "b")

    def test_a_full_memory_file_can_be_asked_for(self) -> None:
        self.pause(self.used(), "a")
        vm = self.resumed("a")
        vm.tell("run 100 2")
        self.assertEqual(self.pause(vm, "b", *RUN_ON, "--full")["kind"], "full")
        self.assert_same_memory(vm, "b")

    def test_a_name_of_another_lineage_is_not_replaced(self) -> None:
        self.pause(self.fresh(), "a")
        vm = self.fresh()
        self.assertIn("--replace", self.pause_fails(EXIT_FAILED, vm, "a", *RUN_ON))
        self.assertEqual((vm.state(), self.pins()), ("Running", []))
        self.pause(vm, "a", *RUN_ON, "--replace")
        self.assert_nothing_left()

    def test_a_name_that_another_vm_has_taken_meanwhile_is_not_replaced(self) -> None:
        first = self.pause(self.used(), "a")
        vm = self.resumed("a")
        vm.tell("run 50 2")
        taken = self.pause(self.used(), "a", "--replace")
        self.assertIn("does not descend from",
                      self.pause_fails(EXIT_FAILED, vm, "a", *RUN_ON))
        self.assertEqual((vm.state(), self.pause_id("a")), ("Running", taken["pause_id"]))
        # What it counts from is its pin's, whatever has the name.
        report = self.pause(vm, "b", *RUN_ON)
        self.assertEqual((report["kind"], report["parent_pause_id"]), ("diff", first["pause_id"]))
        self.assert_same_memory(vm, "b")

    def test_a_vm_runs_on_when_its_snapshot_is_removed(self) -> None:
        self.pause(self.used(500), "a")
        vms = [self.resume("a", "--mode", mode)[0] for mode in self.MODES]
        shutil.rmtree(self.store / "a")
        for number, vm in enumerate(vms):
            self.check(vm)
            vm.tell("run 100 9")
            self.assertEqual(self.pause(vm, f"next-{number}")["kind"], "diff")
            self.check(self.resumed(f"next-{number}"))

    def test_a_merge_under_the_name_keeps_the_memory(self) -> None:
        vm = self.used()
        for seed in (2, 3):
            self.pause(vm, "a")
            vm = self.resumed("a")
            vm.tell(f"run 100 {seed}")
        self.done("merge", self.store / "a")
        self.assertEqual(self.pause(vm, "a")["generation"], 1)
        self.check(self.resumed("a"))

    def test_hook_and_attached_files_belong_to_the_state(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(b"before")
        vm = self.fresh()
        self.pause(vm, "a", *RUN_ON, "--attach", disk,
                   "--frozen-hook", f"echo $LAMINA_NAME > {disk}")
        self.assertEqual((self.store / "a" / "disk.img").read_text(), "a\n")
        disk.write_bytes(b"after")
        self.assertEqual((self.store / "a" / "disk.img").read_text(), "a\n")
        self.done("verify", self.store / "a")

    def test_a_failing_hook_keeps_the_state_under_another_name(self) -> None:
        self.pause(self.used(), "a")
        vm = self.resumed("a")
        before = self.pause_id("a")
        vm.tell("write 3 3")
        message = self.pause_fails(EXIT_FAILED, vm, "a", *RUN_ON, "--frozen-hook", "exit 3")
        self.assertIn("a@", message)
        self.assertEqual((vm.state(), self.pause_id("a")), ("Running", before))
        vm.tell("write 4 4")
        # Firecracker's acknowledged diff is part of the chain.
        report = self.pause(vm, "b", *RUN_ON)
        self.assertEqual((report["kind"], report["generation"]),
                         ("diff", 1 if self.COUNTS_FROM_MAP else 2))
        self.assert_same_memory(vm, "b")

    def test_what_cannot_be_paused_is_refused(self) -> None:
        self.assertIn("no VM", self.pause_fails(EXIT_FAILED, self.waiting(), "a"))
        vm = self.fresh()
        for name in ("../x", "a/b", "../store/a", ".vms", "", "-a"):
            outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store,
                             f"--name={name}")
            self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
        for name in ("memfile.header", "snapfile", ".hidden", "working-set", "snapshot.json"):
            path = self.directory / name
            path.write_bytes(b"x")
            self.pause_fails(EXIT_USAGE, vm, "a", "--attach", path)
        self.pause_fails(EXIT_NOT_FOUND, vm, "a", "--attach", self.directory / "missing")
        outcome = lamina("pause", "--api", self.directory / "unused", "--store", self.store,
                         "--name", "a")
        self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
        self.assertEqual((vm.state(), self.pins()), ("Running", []))

    def test_a_full_disk_refuses_before_the_vm_is_frozen(self) -> None:
        small = self.directory / "small"
        small.mkdir()
        if os.system(f"mount -t tmpfs -o size=2m none {small}") != 0:
            self.skipTest("tmpfs cannot be mounted")
        self.addCleanup(os.system, f"umount {small}")
        vm = self.fresh()
        outcome = lamina("pause", "--api", vm.api_socket, "--store", small, "--name", "a")
        self.assertEqual(outcome.code, EXIT_NO_SPACE, str(outcome))
        self.assertEqual((vm.state(), os.listdir(small / ".pending")), ("Running", []))

    def started_pause(self, vm: Vm, *options: str) -> subprocess.Popen[bytes]:
        """A pause into `a` that the VMM holds."""
        vm.tell(f"fail {self.HELD_PAUSE}")
        process = subprocess.Popen(
            [os.environ["LAMINA"], "pause", "--api", str(vm.api_socket), "--store",
             str(self.store), "--name", "a", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        vm.wait_held()
        return process

    def test_a_second_pause_of_a_vm_is_busy(self) -> None:
        vm = self.used()
        first = self.started_pause(vm, *RUN_ON)
        self.pause_fails(EXIT_BUSY, vm, "b")
        vm.tell("release")
        self.assertEqual((first.wait(), vm.state()), (0, "Running"))
        self.assert_same_memory(vm, "a")

    def test_a_pause_that_is_killed_is_discarded_by_recover(self) -> None:
        self.pause(self.used(), "a")
        for options in (RUN_ON, ("--after", "stop"), ("--after", "stay")):
            with self.subTest(after=options[1]):
                vm = self.resumed("a")
                before = self.pause_id("a")
                vm.tell("run 50 2")
                killed = self.started_pause(vm, *options)
                killed.send_signal(signal.SIGKILL)
                killed.wait()
                vm.tell("release")
                self.assertEqual(self.recover()["discarded"], 1)
                wait_until(lambda vm=vm: vm.state() == "Running", "the VM runs on")
                self.assertEqual(self.pause_id("a"), before)
                self.assert_nothing_left()
                self.check(vm)
                vm.tell("run 50 3")
                self.pause(vm, "a", *RUN_ON)
                self.assert_same_memory(vm, "a")

    def test_a_vm_that_dies_in_the_middle_leaves_the_older_snapshot(self) -> None:
        for point in self.DEATHS_IN_PAUSE:
            with self.subTest(point):
                vm = self.fresh()
                self.pause(vm, f"at-{point}", *RUN_ON)
                before = self.pause_id(f"at-{point}")
                vm.tell(f"fail {point}")
                self.pause_fails(EXIT_FAILED, vm, f"at-{point}")
                vm.wait()  # until then its pin is needed
                self.recover()
                self.assertEqual((self.pins(), self.pause_id(f"at-{point}")), ([], before))
                self.assert_nothing_left()

    # Resume

    def test_a_vm_may_stay_paused_after_its_resume(self) -> None:
        self.pause(self.used(), "a")
        vm = self.resumed("a", "--stay-paused")
        self.assertEqual(vm.state(), "Paused")
        self.pause(vm, "b", *RUN_ON)
        self.assertEqual(vm.state(), "Running")
        self.check(vm)

    def test_a_resume_that_fails_leaves_nothing(self) -> None:
        self.pause(self.fresh(), "a")
        for point in self.FAILED_LOADS:
            for mode in self.MODES:
                with self.subTest(point, mode=mode):
                    vm = self.armed(point)
                    self.resume_fails("a", vm, mode)
                    vm.wait()  # until then its pin may be needed
                    self.recover()
                    self.assertEqual(self.pins(), [])
                    self.assert_nothing_left()

    def test_a_second_resume_into_one_process_is_busy(self) -> None:
        self.pause(self.used(), "a")
        vm = self.armed(self.HELD_LOAD)
        with ThreadPoolExecutor() as pool:
            resumed = pool.submit(self.resume, "a", "--mode", self.MODES[0], vm=vm)
            vm.wait_held()
            second = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a")
            vm.tell("release")
            resumed.result()
        self.assertEqual(second.code, EXIT_BUSY, str(second))
        self.check(vm)
        self.assertEqual(len(self.pins()), 1)

    def test_what_cannot_be_resumed_is_refused(self) -> None:
        self.pause(self.used(), "a")
        vm = self.waiting()
        self.resume_fails("missing", vm=vm, code=EXIT_NOT_FOUND)
        memory = self.directory / "memory"
        memory.write_bytes(bytes(MEMORY_MIB << 20))
        self.done("ingest", memory, "--out", self.store / "stateless")
        self.assertIn("no VM state", self.resume_fails("stateless", vm=vm))
        self.assertEqual((vm.state(), self.pins()), (self.NO_VM, []))
        self.assertIn("Cloud Hypervisor", self.resume_fails("a", vm=self.other()))
        self.assertEqual(self.pins(), [])
        self.resume("a", vm=vm)
        self.assertIn("has a VM already", self.resume_fails("a", vm=vm))
        self.check(vm)
        self.assertEqual(len(self.pins()), 1)

    def test_clones_and_forks_go_their_own_ways(self) -> None:
        first = self.pause(self.used(500), "a")
        self.done("fork", self.store / "a", self.store / "f")
        clones = [self.resumed(name) for name in ("a", "f", "a")]
        for number, clone in enumerate(clones):
            clone.tell(f"run 100 {number + 5}")
        for number, clone in enumerate(clones):
            report = self.pause(clone, f"c{number}", *RUN_ON)
            self.assertEqual((report["kind"], report["parent_pause_id"]),
                             ("diff", first["pause_id"]))
            self.assert_same_memory(clone, f"c{number}")
            self.check(clone)
        self.check(self.resumed("a"))

    # Forks of a VM that runs on

    def forked_words(self, vm: Vm, clones: list[Vm], *options: str | Path) -> list[str | Path]:
        """The command that forks into `f`."""
        return ["fork", "--live", "--api", vm.api_socket, "--store", self.store, "--name", "f",
                *options, *[clone.api_socket for clone in clones], "--json"]

    def forkable(self) -> Vm:
        """A VM whose next checkpoint is a diff."""
        self.pause(self.used(300), "s", "--replace")
        vm = self.resumed("s")
        vm.tell("run 60 2")
        return vm

    def assert_goes_on(self, vm: Vm, name: str, seed: int) -> dict[str, Any]:
        """The guest is whole, changes, and is stored by a checkpoint; the checkpoint's report."""
        self.check(vm)
        vm.tell(f"run 50 {seed}")
        report = self.pause(vm, name, *RUN_ON)
        self.assert_same_memory(vm, name)
        self.check(self.resumed(name))
        return report

    def test_clones_of_a_vm_that_runs_on_go_their_own_ways(self) -> None:
        for mode in self.MODES:
            with self.subTest(mode):
                vm = self.forkable()
                clones = [self.waiting() for _ in range(3)]
                report = self.done(*self.forked_words(vm, clones, "--mode", mode)).json
                self.assertEqual((report["pause"]["kind"], report["notes"]), ("diff", []))
                self.assertEqual(sorted(clone["resume"]["clone"] for clone in report["clones"]),
                                 [1, 2, 3])
                self.assertLessEqual(report["readable_ms"], report["clones_ms"])
                self.done("verify", self.store / "f")
                self.assertEqual([one.state() for one in (vm, *clones)], ["Running"] * 4)
                # Settled: each clone takes diffs against the snapshot.
                for number, clone in enumerate(clones):
                    paused = self.assert_goes_on(clone, f"c{number}", number + 10)
                    self.assertEqual((paused["kind"], paused["parent_pause_id"]),
                                     ("diff", report["pause"]["pause_id"]))
                self.assertEqual(self.assert_goes_on(vm, "f", 20)["kind"], "diff")
                self.assert_nothing_left()
                for one in (vm, *clones):
                    one.end()
                self.recover()
                for name in ("f", "c0", "c1", "c2"):
                    self.done("rm", self.store / name)

    def test_the_first_state_of_a_vm_can_be_forked(self) -> None:
        vm, clone = self.used(), self.waiting()
        report = self.done(*self.forked_words(vm, [clone])).json
        self.assertEqual(report["pause"]["kind"], "full")
        self.assert_goes_on(clone, "c", 3)
        self.assert_goes_on(vm, "f", 4)

    def test_a_clone_that_fails_fails_no_other(self) -> None:
        vm, bad, good = self.forkable(), self.armed(self.FAILED_LOADS[0]), self.waiting()
        outcome = lamina(*self.forked_words(vm, [bad, good], "--mode", "file"))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.done("verify", self.store / "f")
        self.assert_goes_on(vm, "f", 3)
        self.assertEqual(self.assert_goes_on(good, "c", 4)["kind"], "diff")

    def test_what_cannot_be_forked_is_refused(self) -> None:
        vm, clone = self.forkable(), self.waiting()
        for clones in ([], [clone, clone], [vm]):
            self.assertEqual(lamina(*self.forked_words(vm, clones)).code, EXIT_USAGE)
        for options in (("--vsock-override", "/a", "--vsock-override", "/b"),
                        ("--drive-override", "_disk0=/a", "--drive-override", "_disk0=/b"),
                        ("--drive-override", "_disk0=/a", "--drive-override", "_disk1")):
            outcome = lamina(*self.forked_words(vm, [clone], *options))
            self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
        self.assertEqual((clone.state(), vm.state()), (self.NO_VM, "Running"))
        other = self.other()
        outcome = lamina(*self.forked_words(vm, [other]))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assert_goes_on(vm, "f", 3)

    def test_no_clone_is_begun_if_the_hook_fails(self) -> None:
        vm, clone = self.forkable(), self.waiting()
        outcome = lamina(*self.forked_words(vm, [clone], "--frozen-hook", "exit 3"))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual((clone.state(), vm.state()), (self.NO_VM, "Running"))
        self.assertFalse((self.store / "f").exists())
        self.assert_goes_on(vm, "g", 3)

    def syncs_from_layer(self) -> range:
        """The numbers of the fsyncs of a fork, in the pause's thread, from that of the layer on."""
        require_strace(self)
        vm = self.forkable()
        traced = self.directory / "trace"
        self.done(*self.forked_words(vm, [self.waiting()], "--mode", "file"),
                  prefix=["strace", "-y", "-qq", "-o", str(traced), "-e", "trace=fsync"])
        self.done("rm", self.store / "f")
        lines = [line for line in traced.read_text().splitlines() if line.startswith("fsync(")]
        layers = [number for number, line in enumerate(lines, 1)
                  if re.search(r"/\.pending/[^>]*/memfile\.[0-9a-f-]{36}>", line)]
        self.assertTrue(layers, str(lines))
        return range(layers[0], len(lines) + 1)

    def test_clones_of_a_fork_that_cannot_be_stored_run_on(self) -> None:
        number = self.syncs_from_layer()[0]
        vm, clone = self.forkable(), self.waiting()
        outcome = lamina(*self.forked_words(vm, [clone], "--mode", "file"),
                         prefix=Point("fsync", number, False, False).strace("error=EIO"))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("1 of 1 clones run from what was not stored", str(outcome))
        self.assertFalse((self.store / "f").exists())
        self.assertEqual(len(os.listdir(self.store / ".pending")), 0 if self.COUNTS_FROM_MAP else 2)
        report = self.assert_goes_on(clone, "c", 3)
        self.assertEqual(report["kind"], "full")
        self.assertIn("was not on the disk", report["reason"])
        # What a clone counts from moves on with its pause, or stays what could not be stored.
        self.assertEqual(self.assert_goes_on(clone, "c", 4)["kind"],
                         "full" if self.COUNTS_FROM_MAP else "diff")
        self.assertEqual(self.recover()["completed"], 0 if self.COUNTS_FROM_MAP else 1)
        self.assertEqual(self.assert_goes_on(vm, "f", 5)["kind"], "diff")
        self.assert_nothing_left()

    def runs_by_now(self, vm: Vm) -> bool:
        """Whether the VM runs; False also if its process does not answer."""
        if not vm.is_running():
            return False
        if not isinstance(vm, CloudHypervisor):
            return vm.state() == "Running"
        try:
            # One that waits for the rest of a migration never answers.
            return vm.state(timeout_s=1) == "Running"
        except TimeoutError:
            return False

    def test_a_fork_that_is_killed_loses_neither_source_nor_clones(self) -> None:
        for number in self.syncs_from_layer():
            with self.subTest(sync=number):
                vm, clone = self.forkable(), self.waiting()
                killed = lamina(*self.forked_words(vm, [clone], "--mode", "file"),
                                prefix=Point("fsync", number, False, False).strace(KILL))
                self.assertIn(killed.code, (-signal.SIGKILL, 128 + signal.SIGKILL), str(killed))
                self.assertEqual(vm.state(), "Running")
                recovered = self.recover()
                self.assert_nothing_left()
                stored = (self.store / "f").exists()
                self.assertEqual((recovered["queued"], recovered["discarded"]),
                                 (0, 0 if stored else 1))
                if stored:
                    self.done("verify", self.store / "f")
                # Otherwise it was being loaded in another thread of the killed process.
                if self.runs_by_now(clone):
                    kind = self.assert_goes_on(clone, "c", 3)["kind"]
                    # Of what was not stored no diff is taken. What was may be settled already.
                    self.assertIn(kind, ("full", "diff") if stored else ("full",))
                self.assertEqual(self.assert_goes_on(vm, "f", 4)["kind"], "diff")
                for one in (vm, clone):
                    one.end()
                self.recover()
                for path in (self.store / "f", self.store / "c"):
                    if path.exists():
                        self.done("rm", path)

    # Once

    def test_a_snapshot_that_may_be_resumed_once(self) -> None:
        self.pause(self.used(), "a", "--once")
        outcome = lamina("fork", self.store / "a", self.store / "b")
        self.assertIn("may be resumed only once", str(outcome))
        self.assertFalse((self.store / "b").exists())
        waiting = [self.waiting() for _ in range(3)]
        with ThreadPoolExecutor(len(waiting)) as pool:
            codes = list(pool.map(
                lambda vm: lamina("resume", "--api", vm.api_socket, "--store", self.store,
                                  "--name", "a", "--mode", self.MODES[0]).code, waiting))
        self.assertEqual(sorted(codes), [0, EXIT_FAILED, EXIT_FAILED])
        vm = waiting[codes.index(0)]
        self.check(vm)
        self.assertEqual([one.state() for one in waiting if one is not vm], [self.NO_VM] * 2)
        self.assertEqual(len(self.pins()), 1)
        self.assertIn("only once", self.resume_fails("a"))
        # What it is paused into is another state.
        self.pause(vm, "c")
        for _ in range(2):
            self.check(self.resumed("c"))
        self.check(self.resumed("a", "--again"))


class FirecrackerTest(EitherVmmTest, SandboxTest):
    """With Firecracker."""

    NO_VM = "Not started"
    MODES = ("file", "uffd")
    EXIT_CODE = -signal.SIGKILL
    HELD_PAUSE = "create-slow"
    HELD_LOAD = "load-slow"
    DEATHS_IN_PAUSE = ("create-die-before", "create-die-after-dump")
    FAILED_LOADS = ("load-refuse", "load-die")
    COUNTS_FROM_MAP = False

    def fresh(self, *options: str | int | Path, **more: Any) -> Firecracker:
        return self.waiting("--start", "--memory-mib", MEMORY_MIB, *options, **more)

    def waiting(self, *options: str | int | Path, **more: Any) -> Firecracker:
        vm = Firecracker(*options, **more)
        self.addCleanup(vm.end)
        return vm

    def armed(self, point: str) -> Firecracker:
        return self.waiting("--fail", point)

    def other(self) -> CloudHypervisor:
        vm = CloudHypervisor()
        self.addCleanup(vm.end)
        return vm


class CloudHypervisorTest(EitherVmmTest, SandboxTest):
    """With Cloud Hypervisor."""

    NO_VM = "None"
    MODES = ("file",)
    EXIT_CODE = 0
    HELD_PAUSE = "send-hang-complete"
    HELD_LOAD = "receive-hang-state"
    DEATHS_IN_PAUSE = ("send-die-config", "send-die-state", "send-die-complete")
    FAILED_LOADS = ("receive-die-config", "receive-die-state", "receive-die-complete")
    COUNTS_FROM_MAP = True

    def fresh(self, *options: str | int | Path, **more: Any) -> CloudHypervisor:
        return self.waiting("--start", "--shared", "--memory-mib", MEMORY_MIB, *options, **more)

    def waiting(self, *options: str | int | Path, **more: Any) -> CloudHypervisor:
        vm = CloudHypervisor(*options, **more)
        self.addCleanup(vm.end)
        return vm

    def armed(self, point: str) -> CloudHypervisor:
        vm = self.waiting()
        vm.tell(f"fail {point}")
        return vm

    def other(self) -> Firecracker:
        vm = Firecracker()
        self.addCleanup(vm.end)
        return vm


if __name__ == "__main__":
    main()
