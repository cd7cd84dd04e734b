#!/usr/bin/env python3
"""Pause, resume, recover: a sandbox gets back what it had, whatever happens in between.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import (EXIT_BUSY, EXIT_FAILED, EXIT_NO_SPACE, EXIT_NOT_FOUND, EXIT_USAGE,
                          PAGE_BYTES, lamina, main)
from sandbox import MEMORY_BYTES, SandboxTest, page_servers_of
from serving import wait_until

OTHER_USER = 65534


class PauseTest(SandboxTest):
    """Pausing into a store."""

    def test_the_first_pause_is_full_and_the_next_a_diff_of_what_changed(self) -> None:
        vm = self.fresh()
        vm.tell("run 500 1")
        first = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(first["kind"], "full")
        self.assertEqual(vm.state(), "Running")
        vm.tell("write 7 3")
        vm.tell("clear 9")
        second = self.pause(vm, "a", "--after", "resume")
        self.assertEqual((second["kind"], second["parent_pause_id"]), ("diff", first["pause_id"]))
        self.assertLess(second["stored_bytes"], 16 * PAGE_BYTES)
        self.assertEqual(second["generation"], 1)
        self.done("verify", self.store / "a")
        self.assert_nothing_left()

    def test_stop_ends_the_vm_only_when_the_snapshot_is_there(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a")
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.assertEqual(self.pins(), [])
        self.done("verify", self.store / "a")

    def test_stay_leaves_the_vm_paused(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "stay")
        self.assertEqual(vm.state(), "Paused")
        again = self.pause(vm, "b", "--after", "resume")
        self.assertEqual((again["kind"], vm.state()), ("diff", "Running"))

    def test_a_name_of_another_lineage_is_not_replaced(self) -> None:
        self.pause(self.fresh(), "a")
        vm = self.fresh()
        message = self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume")
        self.assertIn("--replace", message)
        self.assertEqual((vm.state(), self.pins()), ("Running", []))
        self.pause(vm, "a", "--after", "resume", "--replace")
        self.assert_nothing_left()

    def test_without_dirty_tracking_every_pause_is_full(self) -> None:
        vm = self.fresh("--no-track-dirty")
        self.pause(vm, "a", "--after", "resume")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(report["kind"], "full")
        self.assertIn("track_dirty_pages", report["reason"])

    def test_a_full_disk_refuses_before_the_vm_is_frozen(self) -> None:
        small = self.directory / "small"
        small.mkdir()
        self.mount_tmpfs(small, "8m")
        vm = self.fresh()
        outcome = lamina("pause", "--api", vm.api_socket, "--store", small, "--name", "a")
        self.assertEqual(outcome.code, EXIT_NO_SPACE, str(outcome))
        self.assertEqual(vm.state(), "Running")
        self.assertEqual(sorted(os.listdir(small / ".pending")), [])

    def mount_tmpfs(self, directory: Path, size: str) -> None:
        """A small file system, gone with the test."""
        if os.system(f"mount -t tmpfs -o size={size} none {directory}") != 0:
            self.skipTest("tmpfs cannot be mounted")
        self.addCleanup(os.system, f"umount {directory}")

    def test_what_is_not_acknowledged_is_discarded_and_the_next_is_full(self) -> None:
        for point in ("create-refuse", "create-after-dump", "create-no-answer", "create-enospc"):
            with self.subTest(point):
                name = f"at-{point}"
                vm = self.fresh()
                vm.tell("run 200 1")
                self.pause(vm, name, "--after", "resume")
                vm.tell("run 50 2")
                vm.tell(f"fail {point}")
                self.pause_fails(EXIT_FAILED, vm, name, "--after", "resume")
                self.assertEqual(vm.state(), "Running")
                self.assert_nothing_left()
                report = self.pause(vm, name, "--after", "resume")
                self.assertEqual(report["kind"], "full")
                self.assertIn("not acknowledged", report["reason"])
                self.assertEqual(self.pause(vm, name, "--after", "stay")["kind"], "diff")
                self.assert_same_memory(vm, name)

    def assert_same_memory(self, vm: Firecracker, name: str) -> None:
        """The snapshot is what the paused VM has. (No VM here gives pages back.)"""
        vm.done("PATCH", "/vm", {"state": "Resumed"})
        dump = self.directory / "dump"
        vm.tell(f"dump {dump}")
        self.done("verify", self.store / name, "--against", dump)

    def test_a_vm_that_dies_in_the_middle_leaves_the_older_snapshot(self) -> None:
        for point in ("create-die-before", "create-die-after-dump"):
            with self.subTest(point):
                vm = self.fresh()
                first = self.pause(vm, f"at-{point}", "--after", "resume")
                vm.tell(f"fail {point}")
                self.pause_fails(EXIT_FAILED, vm, f"at-{point}")
                self.recover()
                self.assertEqual(self.pins(), [])
                self.assert_nothing_left()
                facts = self.done("inspect", self.store / f"at-{point}", "--json").json
                self.assertEqual(facts["pause_id"], first["pause_id"])

    def test_a_failing_hook_keeps_the_state_under_another_name(self) -> None:
        vm = self.fresh()
        vm.tell("run 200 1")
        first = self.pause(vm, "a", "--after", "resume")
        vm.tell("write 3 3")
        message = self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume",
                                   "--frozen-hook", "exit 3")
        self.assertIn("a@", message)
        self.assertEqual(vm.state(), "Running")
        self.assertEqual(self.done("inspect", self.store / "a", "--json").json["pause_id"],
                         first["pause_id"])
        vm.tell("write 4 4")
        # The acknowledged diff is part of the chain.
        report = self.pause(vm, "b", "--after", "stay")
        self.assertEqual((report["kind"], report["generation"]), ("diff", 2))
        self.assert_same_memory(vm, "b")

    def test_hook_and_attached_files_belong_to_the_state(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(b"before")
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume", "--attach", disk,
                   "--frozen-hook", f"echo $LAMINA_NAME > {disk}")
        self.assertEqual((self.store / "a" / "disk.img").read_text(), "a\n")
        disk.write_bytes(b"after")
        self.assertEqual((self.store / "a" / "disk.img").read_text(), "a\n")
        self.done("verify", self.store / "a")

    def test_bad_attachments_are_refused(self) -> None:
        vm = self.fresh()
        for name in ("memfile.header", "snapfile", ".hidden", "working-set", "snapshot.json"):
            path = self.directory / name
            path.write_bytes(b"x")
            self.pause_fails(EXIT_USAGE, vm, "a", "--attach", path)
        self.pause_fails(EXIT_NOT_FOUND, vm, "a", "--attach", self.directory / "missing")
        self.assertEqual(vm.state(), "Running")

    def test_what_cannot_be_paused_is_refused(self) -> None:
        self.assertIn("no VM", self.pause_fails(EXIT_FAILED, self.waiting(), "a"))
        vm = self.fresh()
        for name in ("../x", "a/b", "../store/a", ".vms", "", "-a"):
            outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store,
                             f"--name={name}")
            self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
        outcome = lamina("pause", "--api", self.directory / "nobody", "--store", self.store,
                         "--name", "a")
        self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
        self.assertEqual(vm.state(), "Running")

    def test_one_vm_is_paused_by_one_at_a_time(self) -> None:
        vm = self.fresh()
        vm.tell("fail create-slow")
        first = self.start("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                           "--after", "resume")
        vm.wait_held()
        self.pause_fails(EXIT_BUSY, vm, "b")
        vm.tell("release")
        self.assertEqual(first.wait(), 0)
        self.assertEqual(vm.state(), "Running")

    def start(self, *words: str | Path):
        """Starts the program in the background."""
        return subprocess.Popen([os.environ["LAMINA"], *map(str, words)],
                                stdout=subprocess.DEVNULL)


class ResumeTest(SandboxTest):
    """Resuming from a store."""

    def test_by_page_faults_and_by_file_every_byte_is_there(self) -> None:
        vm = self.fresh("--balloon")
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        for mode in ("uffd", "file", "auto"):
            with self.subTest(mode):
                again, report = self.resume("a", "--mode", mode)
                self.check(again)
                again.tell("run 300 5")
                self.check(again)
                self.assertEqual(self.pause(again, f"b-{mode}", "--after", "resume")["kind"],
                                 "diff")
                self.check(again)
                again.end()

    def test_reads_by_page_faults_are_not_stored(self) -> None:
        vm = self.fresh()
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        again, _ = self.resume("a", "--mode", "uffd")
        again.tell("touch 1000 3")
        again.tell("write 5 5")
        report = self.pause(again, "a")
        self.assertGreater(report["unchanged_bytes"], 0)
        self.assertLess(report["stored_bytes"], 16 * PAGE_BYTES)
        third, _ = self.resume("a", "--mode", "uffd")
        self.check(third)

    def test_the_snapshot_may_go_while_vms_run_from_it(self) -> None:
        vm = self.fresh()
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        one, _ = self.resume("a", "--mode", "uffd", "--populate", "none")
        two, _ = self.resume("a", "--mode", "uffd", "--populate", "none")
        three, _ = self.resume("a", "--mode", "file")
        shutil.rmtree(self.store / "a")
        for number, running in enumerate((one, two, three)):
            self.check(running)
            running.tell("run 100 9")
            report = self.pause(running, f"next-{number}")
            self.assertEqual(report["kind"], "diff")
            again, _ = self.resume(f"next-{number}")
            self.check(again)

    def test_a_merge_under_the_name_shortens_the_next_pauses_chain(self) -> None:
        vm = self.fresh()
        for step in range(4):
            vm.tell(f"run 100 {step}")
            self.pause(vm, "a", "--after", "resume")
        self.done("merge", self.store / "a")
        vm.tell("run 100 77")
        self.assertEqual(self.pause(vm, "a")["generation"], 1)
        again, _ = self.resume("a", "--mode", "uffd")
        self.check(again)

    def test_all_our_processes_killed_the_vm_goes_on_after_recover(self) -> None:
        vm = self.fresh()
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        again, _ = self.resume("a", "--mode", "uffd", "--populate", "none")
        again.tell("touch 50 1")
        report = self.pause(again, "b", "--after", "resume")
        self.assertEqual(report["kind"], "diff")
        self.stop_page_servers()
        self.recover()
        self.check(again)

    def test_a_failed_load_leaves_nothing(self) -> None:
        self.pause(self.fresh(), "a")
        for point in ("load-refuse", "load-die"):
            for mode in ("uffd", "file"):
                with self.subTest(f"{point} {mode}"):
                    vm = self.waiting("--fail", point)
                    outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store,
                                     "--name", "a", "--mode", mode)
                    self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                    vm.wait()
                    self.recover()
                    self.assertEqual(self.pins(), [])

    def test_what_cannot_be_resumed_is_refused(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        (self.store / "c").mkdir()
        for file in (self.store / "a").iterdir():
            if file.name != "snapfile":
                os.link(file, self.store / "c" / file.name)
        for code, target, name, words in ((EXIT_FAILED, vm, "a", "has a VM already"),
                                          (EXIT_NOT_FOUND, self.waiting(), "b", "does not exist"),
                                          (EXIT_FAILED, self.waiting(), "c", "no VM state"),
                                          (EXIT_USAGE, self.waiting(), "../a", "../a")):
            outcome = lamina("resume", "--api", target.api_socket, "--store", self.store,
                             "--name", name)
            self.assertEqual(outcome.code, code, str(outcome))
            self.assertIn(words, outcome.error_lines[-1])

    def test_maps_are_shared_and_removed_when_unused(self) -> None:
        vm = self.fresh()
        vm.tell("run 500 1")
        self.pause(vm, "a")
        vms = [self.resume("a", "--mode", "file")[0] for _ in range(3)]
        maps = list((self.store / ".maps").iterdir())
        self.assertEqual([map.stat().st_nlink for map in maps], [4])
        for running in vms:
            self.check(running)
            running.end()
        self.recover()
        self.assertEqual((list((self.store / ".maps").iterdir()), self.pins()), ([], []))

    def test_where_the_state_was_made_is_compared(self) -> None:
        self.pause(self.fresh("--version", "1.15.0"), "a")
        _, report = self.resume("a", vm=self.waiting("--version", "1.16.0"))
        self.assertIn("1.15.0", " ".join(report["notes"]))

    def test_in_a_jail_of_another_user(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        vm.tell("run 500 1")
        self.pause(vm, "a", "--after", "resume", "--jail", jail)
        vm.tell("run 100 2")
        self.assertEqual(self.pause(vm, "a", "--jail", jail)["kind"], "diff")
        self.assertEqual([name for name in os.listdir(jail) if name.startswith("lamina")], [])
        for mode in ("uffd", "file"):
            with self.subTest(mode):
                inner = self.directory / f"jail-{mode}"
                inner.mkdir()
                os.chown(inner, OTHER_USER, OTHER_USER)
                again = self.waiting(jail=inner, user=OTHER_USER)
                self.resume("a", "--mode", mode, "--jail", inner, vm=again)
                self.check(again)
                again.tell("run 100 3")
                self.pause(again, f"b-{mode}", "--jail", inner)
                self.assertEqual([name for name in os.listdir(inner) if name.startswith("lamina")],
                                 [])


class RecoverTest(SandboxTest):
    """What a killed pause has left."""

    def killed_pause(self, vm: Firecracker, name: str, *options: str) -> None:
        """A pause whose process is killed while Firecracker writes."""
        vm.tell("fail create-slow")
        process = subprocess.Popen([os.environ["LAMINA"], "pause", "--api", str(vm.api_socket),
                                    "--store", str(self.store), "--name", name, *options])
        vm.wait_held()
        process.kill()
        process.wait()
        vm.tell("release")

    def test_a_create_without_an_outcome_is_discarded_and_the_vm_runs_again(self) -> None:
        vm = self.fresh()
        vm.tell("run 100 1")
        first = self.pause(vm, "a", "--after", "resume")
        vm.tell("run 100 2")
        self.killed_pause(vm, "a")
        wait_until(lambda: self.recover()["discarded"] or not os.listdir(self.store / ".pending"),
                   "recovered")
        self.assertEqual(vm.state(), "Running")
        self.assert_nothing_left()
        facts = self.done("inspect", self.store / "a", "--json").json
        self.assertEqual(facts["pause_id"], first["pause_id"])
        self.assertEqual(self.pause(vm, "a")["kind"], "full")

    def test_a_journal_that_cannot_be_read_is_not_taken_for_none(self) -> None:
        vm, other = self.fresh(), self.fresh()
        self.pause(vm, "a", "--after", "resume")
        vm.tell("run 100 2")
        before = set(os.listdir(self.store / ".pending"))
        # Acknowledged, and cannot be published: its lock cannot be had.
        self.pause_fails(EXIT_FAILED, vm, "c", "--after", "resume", "--frozen-hook",
                         f"mkdir {self.store}/.lock/c@$LAMINA_PAUSE_ID; exit 1")
        journal, = (name for name in set(os.listdir(self.store / ".pending")) - before
                    if name.endswith(".json"))
        kept = self.directory / journal
        os.rename(self.store / ".pending" / journal, kept)
        os.mkdir(self.store / ".pending" / journal)
        self.pause_fails(EXIT_FAILED, vm, "a")
        self.pause_fails(EXIT_FAILED, other, "d")  # nobody knows whose it is
        vm.kill()
        vm.wait()
        outcome = lamina("recover", self.store)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual(len(self.pins()), 1, "what the queued diff counts from")
        os.rmdir(self.store / ".pending" / journal)
        os.rename(kept, self.store / ".pending" / journal)
        for lock in (self.store / ".lock").iterdir():
            if lock.is_dir():
                lock.rmdir()
        self.assertEqual(self.recover()["completed"], 1)
        self.assertEqual(self.pins(), [])
        name, = (path.name for path in self.store.glob("c@*"))
        self.check(self.resume(name)[0])

    def test_a_vm_that_is_being_paused_gets_its_page_server_back(self) -> None:
        vm = self.fresh()
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        again, _ = self.resume("a", "--mode", "uffd", "--populate", "none")
        again.tell("fail create-slow")
        with subprocess.Popen([os.environ["LAMINA"], "pause", "--api", str(again.api_socket),
                               "--store", str(self.store), "--name", "b", "--after", "resume"],
                              stdout=subprocess.DEVNULL) as pausing:
            try:
                again.wait_held()
                self.stop_page_servers()
                self.recover()
                self.assertTrue(page_servers_of(self.store))
                again.tell("release")
                self.assertEqual(pausing.wait(), 0)
            finally:
                pausing.kill()
        self.check(again)

    def test_the_next_pause_settles_what_a_killed_one_left(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        vm.tell("run 100 2")
        self.killed_pause(vm, "a")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(report["kind"], "full")
        self.assert_nothing_left()
        self.check(self.resume("a")[0])


if __name__ == "__main__":
    main()
