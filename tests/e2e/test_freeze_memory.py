#!/usr/bin/env python3
"""Checkpoints whose diff is written to memory: what is where at each moment, and why.

The kills at every step are in test_lifecycle_crash.py.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from faults import Point, require_strace
from firecracker import Firecracker
from lives import ANSWER_OF_CREATE, ANSWER_OF_RESUME, KILL
from memory_files import (EXIT_FAILED, EXIT_NO_SPACE, MEMORY_FS, PAGE_BYTES, is_on_tmpfs, lamina,
                          main, program, stopped_after)
from mounts import FileSystem, mount
from sandbox import MEMORY_BYTES, SandboxTest

OTHER_USER = 65534
RUN_ON = ("--after", "resume")


class FreezeTest(SandboxTest):
    """A directory on tmpfs of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        if not os.access(MEMORY_FS, os.W_OK):
            self.skipTest(f"{MEMORY_FS} cannot be written")
        self.memory = Path(tempfile.mkdtemp(prefix="lamina-", dir=MEMORY_FS))
        self.addCleanup(shutil.rmtree, self.memory)

    def checkpoint(self, vm: Firecracker, *options: str | int | Path) -> dict[str, Any]:
        """A pause that lets the VM run on; its report."""
        return self.pause(vm, "a", *RUN_ON, "--freeze-directory", self.memory, *map(str, options))

    def paused_once(self) -> Firecracker:
        """A VM whose next memory file can be a diff, and whose guest has changed something."""
        vm = self.fresh()
        vm.tell("run 300 1")
        self.assertEqual(self.checkpoint(vm)["kind"], "full")
        vm.tell("run 60 2")
        return vm

    def cut_short(self, vm: Firecracker, number: int) -> None:
        """A checkpoint that is killed before the `number`th answer of Firecracker is read."""
        killed = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                        *RUN_ON, "--freeze-directory", self.memory,
                        prefix=Point("recvfrom", number, False, False).strace(KILL))
        self.assertEqual(killed.code, -signal.SIGKILL, str(killed))

    def in_memory(self) -> list[Path]:
        """The directories of pauses in memory."""
        return sorted(self.memory.glob("lamina-*"))

    def memory_file(self) -> Path:
        """The only memory file that is there."""
        found = [path for path in self.memory.glob("lamina-*/memfile.*") if path.is_file()]
        self.assertEqual(len(found), 1, str(found))
        return found[0]

    def assert_done(self, vm: Firecracker | None = None) -> None:
        """Nothing is left, and a VM gets every byte back."""
        self.assert_nothing_left()
        self.assertEqual(self.in_memory(), [])
        self.done("verify", self.store / "a")
        if vm is not None:
            self.pause(vm, "a")
            vm.wait()
        resumed, _ = self.resume("a", "--mode", "file")
        self.check(resumed)
        resumed.end()

    def pause_id(self) -> str:
        """What the name holds."""
        return json.loads((self.store / "a" / "snapshot.json").read_text())["pause_id"]


class PlaceTest(FreezeTest):
    """Memory or the disk."""

    def test_a_diff_of_a_vm_that_runs_on_is_written_to_memory(self) -> None:
        vm = self.paused_once()
        vm.tell("clear 9")
        report = self.checkpoint(vm)
        self.assertEqual((report["kind"], report["place"]), ("diff", "memory"), str(report))
        self.assertGreater(report["phases"]["frozen_ms"], 0)
        self.assertGreater(report["phases"]["durable_ms"], report["phases"]["frozen_ms"])
        self.assertEqual(vm.state(), "Running")
        vm.tell("run 60 3")
        again = self.checkpoint(vm)
        self.assertEqual((again["kind"], again["place"]), ("diff", "memory"))
        self.assertEqual(again["parent_pause_id"], report["pause_id"])
        self.assert_done(vm)

    def test_equal_blocks_of_a_vm_on_page_faults_are_not_stored(self) -> None:
        vm = self.paused_once()
        self.pause(vm, "a")
        vm.wait()
        served, _ = self.resume("a", "--mode", "uffd")
        served.tell("touch 200 3")
        served.tell("write 7 5")
        report = self.checkpoint(served)
        self.assertEqual(report["place"], "memory", str(report))
        self.assertEqual(report["stored_bytes"], PAGE_BYTES)
        self.assert_done(served)

    def test_all_else_goes_to_the_disk_and_says_why(self) -> None:
        vm = self.paused_once()
        for options, why in (((*RUN_ON, "--freeze-memory", "0"), "not to be used"),
                             ((*RUN_ON, "--freeze-memory", str(MEMORY_BYTES)), "the budget is"),
                             ((*RUN_ON, "--full"), "full memory file"),
                             (("--after", "stay"), "does not run on")):
            vm.tell("run 20 3")
            report = self.pause(vm, "a", *options, "--freeze-directory", self.memory)
            self.assertEqual(report["place"], "disk", str(report))
            self.assertIn(why, report["place_reason"])
            if "stay" in options:
                vm.resume()
        self.assert_done(vm)

    def test_a_vm_in_a_jail_writes_to_its_jail(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("a jail needs root")
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        vm = self.fresh(jail=jail, user=OTHER_USER)
        self.pause(vm, "a", *RUN_ON, "--jail", jail)
        vm.tell("run 20 3")
        report = self.pause(vm, "a", *RUN_ON, "--jail", jail, "--freeze-directory", self.memory)
        self.assertEqual((report["kind"], report["place"]), ("diff", "disk"))
        self.assertIn("in a jail", report["place_reason"])

    def test_a_directory_that_others_can_enter_or_own_is_not_trusted(self) -> None:
        vm = self.paused_once()
        disk = self.directory / "on-disk"
        disk.mkdir(mode=0o700)
        cases = [(lambda: self.memory.chmod(0o755), self.memory, "open to other users")]
        if os.geteuid() == 0:
            cases.append((lambda: (self.memory.chmod(0o700), os.chown(self.memory, OTHER_USER, 0)),
                          self.memory, f"belongs to user {OTHER_USER}"))
        if not is_on_tmpfs(disk):
            cases.append((lambda: None, disk, "not on tmpfs"))
        for prepare, directory, why in cases:
            prepare()
            vm.tell("run 20 3")
            report = self.pause(vm, "a", *RUN_ON, "--freeze-directory", directory)
            self.assertEqual((report["kind"], report["place"]), ("diff", "disk"), str(report))
            self.assertIn(why, report["place_reason"])
            self.assertEqual(list(directory.iterdir()), [])

    def test_a_small_or_coarse_tmpfs_is_not_used(self) -> None:
        vm = self.paused_once()
        for system, why in ((FileSystem("small", kind="tmpfs", options="size=8m,mode=0700"),
                             "the tmpfs has"),
                            (FileSystem("coarse", kind="tmpfs",
                                        options="size=256m,mode=0700,huge=always"),
                             "cannot be trusted")):
            place = mount(self, self.directory, system)
            vm.tell("run 20 3")
            report = self.pause(vm, "a", *RUN_ON, "--freeze-directory", place)
            self.assertEqual((report["kind"], report["place"]), ("diff", "disk"), str(report))
            self.assertIn(why, report["place_reason"])
            self.assertEqual(list(place.glob("lamina-*")), [])
        self.assert_done(vm)

    def test_what_other_pauses_have_reserved_counts(self) -> None:
        require_strace(self)
        vm = self.paused_once()
        other = self.fresh()
        self.pause(other, "b", *RUN_ON)
        budget = 2 * MEMORY_BYTES
        words = ("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a", *RUN_ON,
                 "--freeze-directory", self.memory, "--freeze-memory", str(budget), "--json")
        # Between its create and the layer.
        with stopped_after("copy_file_range,sendfile,fdatasync,fsync,sync_file_range", 4,
                           self.directory, *words) as outcomes:
            self.assertEqual(len(self.in_memory()), 1)
            report = self.pause(other, "b", *RUN_ON, "--freeze-directory", self.memory,
                                "--freeze-memory", str(budget))
            self.assertEqual(report["place"], "disk", str(report))
            self.assertIn("beside the", report["place_reason"])
        self.assertEqual(outcomes[0].json["place"], "memory", str(outcomes[0]))


class FrozenTest(FreezeTest):
    """What happens while the VM is frozen."""

    def test_the_vm_waits_for_no_call_that_changes_the_disk(self) -> None:
        require_strace(self)
        vm = self.paused_once()
        log = self.directory / "calls"
        calls = ("sendto", "fsync", "fdatasync", "sync_file_range", "renameat", "renameat2",
                 "unlinkat", "openat", "openat2", "pwrite64", "ftruncate", "mkdirat", "linkat")
        self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a", *RUN_ON,
                  "--freeze-directory", self.memory,
                  prefix=["strace", "-f", "-y", "-s", "256", "-o", str(log), "-e",
                          "trace=" + ",".join(f"?{call}" for call in calls)])
        lines = log.read_text().splitlines()
        states = {state: number for number, line in enumerate(lines)
                  for state in ("Paused", "Resumed") if "sendto(" in line and state in line}
        frozen = lines[states["Paused"] + 1:states["Resumed"]]
        self.assertTrue(any("/snapshot/create" in line for line in frozen))
        at_store = [line for line in frozen if f"<{self.store}" in line or f'"{self.store}' in line]
        self.assertEqual([line for line in at_store if "sendto(" not in line], [])
        after = lines[states["Resumed"]:]
        self.assertTrue(any("fsync(" in line and str(self.store) in line for line in after))

    def test_a_create_without_space_is_a_failed_create(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        vm.tell("fail create-enospc")
        message = self.pause_fails(EXIT_FAILED, vm, "a", *RUN_ON, "--freeze-directory", self.memory)
        self.assertIn("No space left", message)
        self.assertEqual((vm.state(), self.pause_id()), ("Running", before))
        self.assertEqual(self.in_memory(), [])
        self.assertEqual(self.checkpoint(vm)["kind"], "full")
        self.assert_done(vm)

    def test_a_disk_that_is_full_after_the_create_leaves_the_pause_queued(self) -> None:
        place = mount(self, self.directory, FileSystem("store", kind="tmpfs",
                                                       options="size=64m,mode=0700"))
        self.store = place / "store"
        self.store.mkdir()
        vm = self.paused_once()
        before = self.pause_id()
        vm.tell("run 3000 5")
        space = os.statvfs(place)
        with (place / "ballast").open("wb") as ballast:
            # What is reserved before the create still fits.
            os.posix_fallocate(ballast.fileno(), 0, space.f_bavail * space.f_frsize - (5 << 19))
        message = self.pause_fails(EXIT_NO_SPACE, vm, "a", *RUN_ON, "--freeze-directory",
                                   self.memory)
        self.assertIn("queued", message)
        self.assertEqual((vm.state(), self.pause_id()), ("Running", before))
        self.assertEqual(len(self.in_memory()), 1)
        # No newer state of the VM is stored before it.
        self.pause_fails(EXIT_NO_SPACE, vm, "a", *RUN_ON, "--freeze-directory", self.memory)
        (place / "ballast").unlink()
        self.assertEqual(self.recover()["completed"], 1)
        self.assert_done(vm)

    def test_hook_and_files_belong_to_the_state(self) -> None:
        vm = self.paused_once()
        disk = self.directory / "disk.img"
        disk.write_bytes(b"disk" * 5000)
        report = self.checkpoint(vm, "--attach", disk, "--frozen-hook", "true")
        self.assertEqual(report["place"], "memory")
        self.assertEqual((self.store / "a" / "disk.img").read_bytes(), disk.read_bytes())
        vm.tell("run 20 4")
        self.pause_fails(EXIT_FAILED, vm, "a", *RUN_ON, "--freeze-directory", self.memory,
                         "--frozen-hook", "false")
        kept = [name for name in os.listdir(self.store) if name.startswith("a@")]
        self.assertEqual(len(kept), 1)
        self.done("verify", self.store / kept[0])
        self.assertEqual((vm.state(), self.in_memory()), ("Running", []))


class LostTest(FreezeTest):
    """A pause whose process is killed, and what becomes of its files."""

    def setUp(self) -> None:
        super().setUp()
        require_strace(self)

    def test_a_killed_pause_is_completed_from_memory(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        self.cut_short(vm, ANSWER_OF_RESUME)
        self.assertEqual(len(self.in_memory()), 1)
        self.assertEqual(self.in_memory()[0].stat().st_mode & 0o777, 0o700)
        report = self.recover()
        self.assertEqual((report["completed"], report["discarded"]), (1, 0), str(report))
        self.assertEqual(vm.state(), "Running")
        self.assertNotEqual(self.pause_id(), before)
        vm.tell("run 20 4")
        self.assertEqual(self.checkpoint(vm)["kind"], "diff")
        self.assert_done(vm)

    def test_the_next_pause_completes_it_first(self) -> None:
        vm = self.paused_once()
        self.cut_short(vm, ANSWER_OF_RESUME)
        report = self.checkpoint(vm)
        self.assertEqual((report["kind"], report["place"], report["generation"]),
                         ("diff", "memory", 2), str(report))
        self.assert_done(vm)

    def test_it_is_completed_although_the_vm_has_ended(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        self.cut_short(vm, ANSWER_OF_RESUME)
        vm.kill()
        vm.wait()
        self.assertEqual(self.recover()["completed"], 1)
        self.assertNotEqual(self.pause_id(), before)
        self.assert_done()

    def test_a_create_without_a_recorded_answer_is_discarded(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        self.cut_short(vm, ANSWER_OF_CREATE)
        self.assertEqual(len(self.in_memory()), 1)
        report = self.recover()
        self.assertEqual((report["completed"], report["discarded"]), (0, 1), str(report))
        self.assertEqual((vm.state(), self.pause_id(), self.in_memory()), ("Running", before, []))
        self.assertEqual(self.checkpoint(vm)["kind"], "full")
        self.assert_done(vm)

    def test_without_its_files_the_vm_goes_on_and_its_next_pause_is_full(self) -> None:
        for how in ("all", "memory file", "state"):
            vm = self.paused_once()
            before = self.pause_id()
            self.cut_short(vm, ANSWER_OF_RESUME)
            if how == "all":
                shutil.rmtree(self.in_memory()[0])
            elif how == "state":
                (self.in_memory()[0] / "snapfile").unlink()
            else:
                self.memory_file().unlink()
            self.recover()
            self.assertEqual((vm.state(), self.pause_id()), ("Running", before), how)
            report = self.checkpoint(vm)
            self.assertEqual(report["kind"], "full", f"{how}: {report}")
            self.assert_done(vm)
            self.done("rm", self.store / "a")

    def test_a_power_failure_leaves_the_snapshot_before(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        self.cut_short(vm, ANSWER_OF_RESUME)
        vm.kill()  # the VM and the memory end with the power
        vm.wait()
        shutil.rmtree(self.in_memory()[0])
        report = self.recover()
        self.assertEqual((report["completed"], report["discarded"], report["queued"]), (0, 1, 0))
        self.assertEqual(self.pause_id(), before)
        self.assert_done()

    def test_files_of_another_boot_or_another_directory_are_not_taken(self) -> None:
        for change in ({"boot_id": "7a1f6e0e-2f0e-4d3c-9a0a-0123456789ab"}, {"inode": 1},
                       {"born_ns": 1}):
            vm = self.paused_once()
            before = self.pause_id()
            self.cut_short(vm, ANSWER_OF_RESUME)
            journal = next((self.store / ".pending").glob("*.json"))
            facts = json.loads(journal.read_text())
            facts["freeze_directory"].update(change)
            journal.write_text(json.dumps(facts))
            self.assertEqual(self.recover()["discarded"], 1)
            self.assertEqual((vm.state(), self.pause_id()), ("Running", before))
            # What is not known to be its own is left to the next reservation.
            self.assertEqual(len(self.in_memory()), 1)
            self.assertEqual(self.checkpoint(vm)["kind"], "full")
            vm.tell("run 20 5")
            self.assertEqual(self.checkpoint(vm)["place"], "memory")
            self.assert_done(vm)
            self.done("rm", self.store / "a")

    def test_holes_that_became_storage_are_noticed(self) -> None:
        vm = self.paused_once()
        before = self.pause_id()
        self.cut_short(vm, ANSWER_OF_RESUME)
        path = self.memory_file()
        allocated = path.stat().st_blocks
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            for start in range(0, len(mapping), PAGE_BYTES):
                mapping[start]  # pylint: disable=pointless-statement  # reads the page
        self.assertGreater(path.stat().st_blocks, allocated)
        self.recover()
        self.assertEqual((vm.state(), self.pause_id()), ("Running", before))
        self.assertEqual(self.checkpoint(vm)["kind"], "full")
        self.assert_done(vm)

    def test_a_mount_namespace_that_does_not_see_the_files_decides_nothing(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("a mount namespace needs root")
        if self.directory.is_relative_to(MEMORY_FS):
            self.skipTest("the store would be hidden, too")
        vm = self.paused_once()
        self.cut_short(vm, ANSWER_OF_RESUME)
        vm.kill()
        vm.wait()
        hidden = subprocess.run(
            ["unshare", "--mount", "sh", "-c",
             f'mount -t tmpfs none {MEMORY_FS} && exec "$0" "$@"', program(), "recover",
             self.store, "--json"], capture_output=True, check=False, text=True)
        if "unshare:" in hidden.stderr or "mount:" in hidden.stderr:
            self.skipTest(hidden.stderr.strip())
        self.assertEqual(hidden.returncode, EXIT_FAILED, hidden.stderr)
        self.assertEqual(json.loads(hidden.stdout)["queued"], 1)
        self.assertRegex(hidden.stdout + hidden.stderr, re.escape(str(self.in_memory()[0])))
        self.assertEqual(self.recover()["completed"], 1)
        self.assert_done()


if __name__ == "__main__":
    main()
