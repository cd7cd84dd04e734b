#!/usr/bin/env python3
"""Pause, resume, recover: a sandbox gets back what it had, also after kills and failures.

What holds for every VMM is in test_vmms.py.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import (EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE,
                          PAGE_BYTES, flip, lamina, main)
from sandbox import SandboxTest, page_servers_of
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

    def test_without_dirty_tracking_every_pause_is_full(self) -> None:
        vm = self.fresh("--no-track-dirty")
        self.pause(vm, "a", "--after", "resume")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(report["kind"], "full")
        self.assertIn("track_dirty_pages", report["reason"])

    def mount_tmpfs(self, directory: Path, size: str) -> None:
        """A small file system, gone with the test."""
        if os.system(f"mount -t tmpfs -o size={size} none {directory}") != 0:
            self.skipTest("tmpfs cannot be mounted")
        self.addCleanup(os.system, f"umount {directory}")

    def test_an_unacknowledged_pause_is_discarded_and_the_next_is_full(self) -> None:
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

    def test_a_vm_goes_on_after_recover_though_all_processes_were_killed(self) -> None:
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

    def test_a_page_server_that_dies_during_the_load_is_started_again(self) -> None:
        self.pause(self.fresh(), "a")
        vm = self.waiting("--fail", "load-slow")
        with ThreadPoolExecutor() as pool:
            resumed = pool.submit(self.resume, "a", "--mode", "uffd", vm=vm)
            vm.wait_held()
            self.stop_page_servers()
            wait_until(lambda: lamina("serve", "--status", "--store", self.store).code == EXIT_DONE,
                       "another one is started")
            vm.tell("release")
            self.assertTrue(resumed.result()[1]["started_page_server"])
        self.check(vm)

    def test_stored_files_are_accessible_to_their_owner_only(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        vm = self.fresh()
        vm.tell("run 500 1")
        self.pause(vm, "a", "--after", "resume")
        vm.tell("run 500 2")
        attached = self.directory / "attached"
        attached.write_text("readable by all")
        self.pause(vm, "a", "--attach", attached)
        self.done("fork", self.store / "a", self.store / "b")
        by_faults, _ = self.resume("a", "--mode", "uffd", "--record")
        self.resume("b", "--mode", "file")
        self.pause(by_faults, "c", "--after", "resume")
        self.done("compact", self.store / "c", "--policy", "cap=2")
        open_to_others = {}
        for directory, names, files in os.walk(self.store):
            for name in (*names, *files):
                path = Path(directory) / name
                mode = stat.S_IMODE(path.lstat().st_mode)
                if mode & 0o077 and not path.is_symlink():
                    open_to_others[str(path.relative_to(self.store))] = oct(mode)
        # VMs of other users connect to it by a link in their jails; `.vms` is closed to them.
        self.assertEqual(open_to_others, {".vms/page-server.sock": "0o666"})

    def test_a_resume_of_a_bad_snapshot_or_into_a_used_process_is_refused(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        (self.store / "c").mkdir()
        for file in (self.store / "a").iterdir():
            if file.name != "snapfile":
                os.link(file, self.store / "c" / file.name)
        shutil.copytree(self.store / "a", self.store / "d")
        flip(self.store / "d" / "snapfile")
        for code, target, name, words in ((EXIT_FAILED, vm, "a", "has a VM already"),
                                          (EXIT_NOT_FOUND, self.waiting(), "b", "does not exist"),
                                          (EXIT_FAILED, self.waiting(), "c", "no VM state"),
                                          (EXIT_CORRUPT, self.waiting(), "d", "d/snapfile"),
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

    def test_a_resume_by_another_version_gets_a_note(self) -> None:
        self.pause(self.fresh("--version", "1.15.0"), "a")
        _, report = self.resume("a", vm=self.waiting("--version", "1.16.0"))
        self.assertIn("1.15.0", " ".join(report["notes"]))

    def test_a_vm_in_a_jail_of_another_user_is_paused_and_resumed(self) -> None:
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

    def killed_pause(self, vm: Firecracker, name: str, *options: str,
                     then: Callable[[], None] = lambda: None) -> None:
        """A pause whose process is killed before Firecracker writes; `then` is called as well."""
        vm.tell("fail create-slow")
        process = subprocess.Popen([os.environ["LAMINA"], "pause", "--api", str(vm.api_socket),
                                    "--store", str(self.store), "--name", name, *options])
        vm.wait_held()
        process.kill()
        process.wait()
        then()
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

    def test_an_unreadable_journal_is_not_taken_for_a_missing_one(self) -> None:
        vm, other = self.fresh(), self.fresh()
        self.pause(vm, "a", "--after", "resume")
        vm.tell("run 100 2")
        before = set(os.listdir(self.store / ".pending"))
        # Acknowledged, and cannot be published: its lock cannot be taken.
        self.pause_fails(EXIT_FAILED, vm, "c", "--after", "resume", "--frozen-hook",
                         f"mkdir {self.store}/.lock/c@$LAMINA_PAUSE_ID; exit 1")
        journal, = (name for name in set(os.listdir(self.store / ".pending")) - before
                    if name.endswith(".json"))
        kept = self.directory / journal
        os.rename(self.store / ".pending" / journal, kept)
        os.mkdir(self.store / ".pending" / journal)
        self.pause_fails(EXIT_FAILED, vm, "a")
        self.pause_fails(EXIT_FAILED, other, "d")  # the journal may be of this VM
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

    def test_recover_restarts_the_page_server_that_a_create_waits_for(self) -> None:
        vm = self.fresh()
        vm.tell("run 2000 1")
        self.pause(vm, "a")
        again, _ = self.resume("a", "--mode", "uffd", "--populate", "none")
        self.killed_pause(again, "b")
        wait_until(lambda: self.recover()["discarded"] or not os.listdir(self.store / ".pending"),
                   "recovered")
        # The next is full: Firecracker reads pages that the guest has not touched.
        self.killed_pause(again, "b", then=self.stop_page_servers)
        self.assertEqual(self.recover()["queued"], 0)
        self.assertEqual(again.state(), "Running")
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


class UncertainOutcomesTest(SandboxTest):
    """What could make a diff count from the wrong state, or leave a VM frozen."""

    def killed_resume(self, vm: Firecracker, name: str, *options: str) -> None:
        """A resume that is killed after it has pinned, while it waits for the page server."""
        stub = self.directory / "stop"
        stub.write_text("")
        import subprocess
        process = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-e", "inject=sendto:signal=KILL:when=2",
             os.environ["LAMINA"], "resume", "--api", str(vm.api_socket), "--store",
             str(self.store), "--name", name, *options], stderr=subprocess.DEVNULL)
        process.wait()

    def test_after_an_unacknowledged_load_the_pause_is_full(self) -> None:
        first = self.fresh()
        first.tell("run 300 1")
        self.pause(first, "a")
        other = self.fresh("--seed", "7")
        other.tell("run 300 2")
        self.pause(other, "b")
        vm = self.waiting()
        self.killed_resume(vm, "a", "--mode", "file")
        self.assertEqual(vm.state(), "Not started")
        # Another program loads another state.
        vm.done("PUT", "/snapshot/load", {
            "snapshot_path": str(self.store / "b" / "snapfile"),
            "mem_backend": {"backend_type": "File", "backend_path": str(self.dumped("b"))},
            "track_dirty_pages": True, "resume_vm": True})
        vm.tell("run 20 3")
        self.assertEqual(self.pause(vm, "c")["kind"], "full")
        self.check(self.resume("c")[0])

    def dumped(self, name: str) -> Path:
        """The memory of a snapshot as a file."""
        path = self.directory / f"{name}.memory"
        self.done("materialize", self.store / name, "--out", path)
        return path

    def test_an_invalid_journal_makes_the_next_pause_full(self) -> None:
        vm = self.fresh()
        vm.tell("run 200 1")
        self.pause(vm, "a", "--after", "resume")
        identifier = "11111111-1111-4111-8111-111111111111"
        journal = self.store / ".pending" / f"{identifier}.json"
        for text in ('{"pause": 1000}', '{"pause": 3, "vm": "x"}', "broken"):
            with self.subTest(text):
                (self.store / ".pending" / identifier).mkdir(exist_ok=True)
                (self.store / ".pending" / identifier / "memfile").write_bytes(b"x")
                journal.write_text(text)
                vm.tell("run 20 2")
                self.assertIn("--give-up", self.pause_fails(EXIT_FAILED, vm, "a"))
                self.assertEqual(vm.state(), "Running")
                outcome = lamina("recover", self.store)
                self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                self.assertEqual(len(self.pins()), 1)
                self.done("recover", self.store, "--give-up", identifier)
                self.assertEqual(self.pause(vm, "a", "--after", "resume")["kind"], "full")
                self.assert_nothing_left()

    def test_a_create_that_takes_too_long_stays_on_record(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        vm.tell("fail create-slow")
        message = self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume",
                                   "--create-timeout", "1", "--timeout", "1")
        self.assertIn("recover", message)
        vm.tell("release")
        report = self.recover()
        self.assertEqual((report["discarded"], vm.state()), (1, "Running"))
        self.assert_nothing_left()
        self.assertEqual(self.pause(vm, "a")["kind"], "full")

    def test_a_refused_pause_lets_a_vm_run_that_a_killed_one_left_frozen(self) -> None:
        self.pause(self.fresh(), "taken")
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        RecoverTest.killed_pause(self, vm, "a")  # type: ignore[arg-type]
        self.pause_fails(EXIT_FAILED, vm, "taken", "--after", "resume")
        self.assertEqual(vm.state(), "Running")
        self.assert_nothing_left()

    def test_a_name_that_is_a_link_is_refused_before_the_vm_is_frozen(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        (self.store / "link").symlink_to("a")
        self.assertIn("symbolic link", self.pause_fails(EXIT_FAILED, vm, "link"))
        self.assertEqual(vm.state(), "Running")

    def test_a_pause_whose_name_is_taken_meanwhile_gets_another_name(self) -> None:
        vm = self.fresh()
        vm.tell("run 100 1")
        self.pause(vm, "a", "--after", "resume")
        report = self.pause(vm, "b", "--after", "resume", "--frozen-hook",
                            f"ln -s a {self.store}/b")
        self.assertIn("b@", report["snapshot"])
        self.assert_nothing_left()
        self.done("verify", report["snapshot"])

    def test_after_a_queued_pause_lost_its_files_the_next_is_full(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        vm.tell("run 100 1")
        self.pause(vm, "a", "--after", "resume", "--jail", jail)
        # The hook stands between acknowledging and fetching.
        self.pause_fails(EXIT_NOT_FOUND, vm, "a", "--after", "resume", "--jail", jail,
                         "--frozen-hook", f"rm -r {jail}/lamina-*")
        self.assertEqual(vm.state(), "Running")
        report = self.pause(vm, "a", "--after", "resume", "--jail", jail)
        self.assertEqual(report["kind"], "full")
        self.assertEqual(self.pause(vm, "a", "--jail", jail)["kind"], "diff")

    def test_a_vm_that_ends_while_it_is_recovered_keeps_its_queued_pause(self) -> None:
        vm = self.fresh()
        vm.tell("run 100 1")
        outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                         "--after", "resume", "--frozen-hook", "kill -9 $PPID")
        self.assertEqual(outcome.code, -signal.SIGKILL, str(outcome))
        vm.tell("fail resume-die")
        self.assertEqual(self.recover()["completed"], 1)
        self.assertFalse(vm.is_running())
        self.assert_nothing_left()
        kept, = self.store.glob("a@*")  # without what the hook would have added
        resumed, _ = self.resume(kept.name)
        self.check(resumed)

    def test_a_queued_pause_whose_directory_is_gone_is_not_taken_for_published(self) -> None:
        for way in ("recover", "pause"):
            with self.subTest(way):
                vm = self.fresh()
                vm.tell("run 100 1")
                self.pause(vm, way, "--after", "resume")
                vm.tell("run 50 2")
                # Killed when it is acknowledged.
                outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name",
                                 way, "--after", "resume", "--frozen-hook", "kill -9 $PPID")
                self.assertEqual(outcome.code, -signal.SIGKILL, str(outcome))
                for directory in (self.store / ".pending").iterdir():
                    if directory.is_dir():
                        shutil.rmtree(directory)
                if way == "recover":
                    self.recover()
                self.assertEqual(self.pause(vm, way, "--after", "stay")["kind"], "full")
                self.assert_nothing_left()
                PauseTest.assert_same_memory(self, vm, way)  # type: ignore[arg-type]

    def test_a_disk_filled_by_the_hook_does_not_fail_the_pause(self) -> None:
        small = self.directory / "small"
        small.mkdir()
        PauseTest.mount_tmpfs(self, small, "64m")  # type: ignore[arg-type]
        vm = self.fresh()
        vm.tell("run 100 1")
        words = ("pause", "--api", vm.api_socket, "--store", small, "--name", "a", "--after",
                 "resume")
        self.done(*words)
        self.done(*words, "--frozen-hook", f"cat /dev/zero > {small}/filler 2>/dev/null; true")
        (small / "filler").unlink()
        self.done("verify", small / "a")
        self.assertEqual(os.listdir(small / ".pending"), [])

    def test_hooks_see_this_pause_and_are_killed_in_time(self) -> None:
        vm = self.fresh()
        seen = self.directory / "seen"
        os.environ["LAMINA_NAME"] = "stale"
        try:
            self.pause(vm, "a", "--after", "resume", "--frozen-hook",
                       f"echo $LAMINA_NAME > {seen}")
        finally:
            del os.environ["LAMINA_NAME"]
        self.assertEqual(seen.read_text(), "a\n")
        message = self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume", "--frozen-hook",
                                   "sleep 1000", "--hook-timeout", "1")
        self.assertIn("killed", message)
        self.assertEqual(vm.state(), "Running")

    def test_two_files_of_one_name_are_not_attached(self) -> None:
        vm = self.fresh()
        for directory in ("x", "y"):
            (self.directory / directory).mkdir()
            (self.directory / directory / "disk").write_bytes(b"d")
        self.pause_fails(EXIT_USAGE, vm, "a", "--attach", self.directory / "x" / "disk",
                         "--attach", self.directory / "y" / "disk")

    def test_a_jail_s_socket_that_is_a_link_to_another_vm_is_refused(self) -> None:
        victim = self.fresh()
        jail = self.directory / "jail"
        jail.mkdir()
        (jail / "api").symlink_to(victim.api_socket)
        outcome = lamina("pause", "--api", jail / "api", "--store", self.store, "--name", "a",
                         "--jail", jail)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual((victim.state(), self.pins()), ("Running", []))

    def test_a_jail_on_another_file_system_is_copied_from(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        PauseTest.mount_tmpfs(self, jail, "64m")  # type: ignore[arg-type]
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        vm.tell("run 300 1")
        self.pause(vm, "a", "--after", "resume", "--jail", jail)
        vm.tell("run 50 2")
        self.assertEqual(self.pause(vm, "a", "--jail", jail)["kind"], "diff")
        self.assertEqual(list(jail.glob("lamina*")), [])
        self.assertEqual([name for name in os.listdir(self.store / "a") if name[0] == "."], [])
        self.check(self.resume("a")[0])

    def test_a_store_whose_path_is_not_utf_8_is_refused_before_the_vm_is_frozen(self) -> None:
        vm = self.fresh()
        odd = self.directory / os.fsdecode(b"\xff")
        odd.mkdir()
        link = self.directory / "plain"
        link.symlink_to(odd)
        for store in (odd, link):
            outcome = lamina("pause", "--api", vm.api_socket, "--store", store, "--name", "a")
            self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
            self.assertIn("\\xff' is not UTF-8", outcome.stderr)
            self.assertEqual(os.listdir(odd / ".vms"), [])
        self.assertEqual((vm.state(), self.pause(vm, "a")["kind"]), ("Running", "full"))

    def test_a_link_in_a_jail_is_not_attached(self) -> None:
        secret = self.directory / "secret"
        secret.write_bytes(b"another tenant's")
        jail = self.directory / "jail"
        (jail / "disks").mkdir(parents=True)
        for path in (jail, jail / "disks"):
            os.chown(path, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        (jail / "disk").symlink_to(secret)
        (jail / "way").symlink_to(self.directory)
        for path in (jail / "disk", jail / "way" / "secret"):
            self.assertIn("not followed", self.pause_fails(
                EXIT_FAILED, vm, "a", "--jail", jail, "--attach", path))
            # What comes to a file's place later is not attached either.
            (jail / "disks" / "disk").write_bytes(b"disk")
            self.pause_fails(EXIT_FAILED, vm, "a", "--after", "resume", "--jail", jail, "--attach",
                             jail / "disks" / "disk", "--frozen-hook",
                             f"ln -sf {path} {jail}/disks/disk")
            (jail / "disks" / "disk").unlink()
        for path in self.store.rglob("*"):
            if path.is_file():
                self.assertNotIn(b"another tenant's", path.read_bytes())
        self.assertEqual(vm.state(), "Running")

    def test_another_directory_in_the_jail_directorys_place_is_left_alone(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        vm.tell("run 300 1")
        message = self.pause_fails(
            EXIT_FAILED, vm, "a", "--after", "resume", "--jail", jail, "--frozen-hook",
            f"cd {jail} && d=$(echo lamina-*) && mv $d moved && mkdir $d && echo > $d/precious")
        self.assertIn("is not the directory that was made there", message)
        place, = jail.glob("lamina-*")
        lamina("recover", self.store)
        self.assertTrue((place / "precious").exists())
        shutil.rmtree(place)
        (jail / "moved").rename(place)
        self.assertEqual(self.recover()["completed"], 1)
        self.assertEqual(list(jail.glob("lamina-*")), [])
        self.check(self.resume("a")[0])

    def test_a_page_server_s_log_that_is_a_link_is_refused(self) -> None:
        self.pause(self.fresh(), "a")
        log = self.store / ".vms" / "page-server.log"
        log.symlink_to(self.directory / "made")
        vm = self.waiting()
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                         "--mode", "uffd")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("page-server.log' is a symbolic link", outcome.stderr)
        self.assertFalse((self.directory / "made").exists())
        self.assertEqual(self.pins(), [])

    def test_a_pause_leaves_a_deep_tree_in_the_jail_with_a_note(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        report = self.pause(vm, "a", "--after", "resume", "--jail", jail, "--frozen-hook",
                            f"cd {jail}/lamina-* && mkdir -p a/b/c")
        self.assertIn("stays", " ".join(report["notes"]))
        self.done("verify", self.store / "a")

    def test_a_recovery_from_another_pid_namespace_keeps_live_vms(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a", "--after", "resume")
        import subprocess
        subprocess.run(["unshare", "-pf", "--mount-proc", os.environ["LAMINA"], "recover",
                        str(self.store)], check=False, capture_output=True)
        self.assertEqual(len(self.pins()), 1)
        self.assertEqual(self.pause(vm, "a")["kind"], "diff")


if __name__ == "__main__":
    main()
