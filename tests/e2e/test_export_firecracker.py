#!/usr/bin/env python3
"""lamina export: directories that another program loads by itself.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import (EXIT_CORRUPT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_SPACE,
                          EXIT_NOT_FOUND, EXIT_USAGE, PAGE_BYTES, data_map, flip, lamina,
                          layers_of, main, random_memory, stopped_after)
from mounts import EXT4, MIB, XFS, fill, mount
from sandbox import SandboxTest

EXPORTED = ["README.md", "load.json", "mem_file", "snapshot_file"]


class LoadTest(SandboxTest):
    """Firecracker goes on from an exported pause, without lamina."""

    def paused_chain(self, disk: Path) -> Path:
        """A VM that ran, was paused three times, and has ended; its last snapshot."""
        vm = self.fresh()
        for seed, after in ((1, "resume"), (2, "resume"), (3, "stop")):
            vm.tell(f"run 200 {seed}")
            self.pause(vm, "web", "--after", after, "--attach", disk)
        vm.wait()
        return self.store / "web"

    def loaded(self, directory: Path) -> Firecracker:
        """A Firecracker that was started in the directory and sent its request."""
        with contextlib.chdir(directory):
            vm = self.waiting()
        vm.done("PUT", "/snapshot/load", (directory / "load.json").read_text())
        return vm

    def test_firecracker_loads_an_export_by_its_own_api(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(self.rng.randbytes(10_000))
        snapshot = self.paused_chain(disk)
        out = self.directory / "export"
        report = self.done("export", "firecracker", snapshot, out, "--json").json
        expected = self.materialized(snapshot)
        info = self.done("inspect", snapshot, "--json").json
        self.assertEqual(
            (report["message_type"], report["directory"], report["pause_id"],
             report["memory_bytes"], report["attached"], report["notes"]),
            ("export_firecracker", str(out), info["pause_id"], len(expected), ["disk.img"], []))
        self.assertEqual(sorted(path.name for path in out.iterdir()), [*EXPORTED[:1], "attached",
                                                                       *EXPORTED[1:]])
        self.assertTrue((out / "mem_file").read_bytes() == expected, "memory differs")
        self.assertEqual((out / "snapshot_file").read_bytes(),
                         (snapshot / "snapfile").read_bytes())
        self.assertEqual((out / "attached" / "disk.img").read_bytes(), disk.read_bytes())

        # Nothing of lamina is needed any more, and the directory can be moved.
        shutil.rmtree(self.store)
        self.store.mkdir()
        moved = self.directory / "elsewhere"
        out.rename(moved)
        first, second = self.loaded(moved), self.loaded(moved)
        for vm in (first, second):
            self.assertEqual(vm.state(), "Running")
            self.check(vm)
        first.tell("run 100 7")
        self.check(first)
        self.check(second)
        self.assertTrue((moved / "mem_file").read_bytes() == expected, "memory was changed")

    def test_memory_on_huge_pages_is_refused(self) -> None:
        state = self.directory / "state"
        state.write_bytes(b"state")
        snapshot = self.ingest_full(random_memory(self.rng, 4 * MIB), "huge", "--vmstate",
                                    str(state), "--huge-pages", "2M")
        self.refused(EXIT_FAILED, "export", "firecracker", snapshot, self.directory / "out",
                     names=[snapshot, "2 MiB pages", "--mode uffd"])


class ExportTest(SandboxTest):
    """What is written, and what is refused."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, 64 * PAGE_BYTES + 100)
        self.state = self.directory / "state"
        self.state.write_bytes(self.rng.randbytes(5000))
        self.snapshot = self.ingest_full(self.memory, "vm", "--vmstate", str(self.state))
        disk = self.snapshot / "disk.img"
        with disk.open("wb") as stream:
            stream.truncate(2 * MIB)
            stream.seek(MIB)
            stream.write(b"x" * PAGE_BYTES)
            os.fsync(stream.fileno())
        os.link(disk, self.snapshot / "root.img")
        (self.snapshot / "start.sh").write_text("#!/bin/sh\n")
        (self.snapshot / "start.sh").chmod(0o750)
        (self.snapshot / "working-set").write_bytes(b"a hint")
        self.place = self.directory / "place"
        self.place.mkdir()
        self.out = self.place / "out"

    def export_refused(self, code: int, *names: str | Path, out: Path | None = None) -> None:
        """An export that must fail, and leave nothing."""
        before = sorted(self.place.rglob("*"))
        self.refused(code, "export", "firecracker", self.snapshot, out or self.out, names=names)
        self.assertEqual(sorted(self.place.rglob("*")), before)

    def check_export(self, out: Path) -> None:
        """All of an export of self.snapshot."""
        self.assertEqual(sorted(os.listdir(out)),
                         ["README.md", "attached", "load.json", "mem_file", "snapshot_file"])
        self.assert_memory((out / "mem_file").read_bytes(), self.memory)
        self.assertEqual((out / "snapshot_file").read_bytes(), self.state.read_bytes())
        self.assertEqual(json.loads((out / "load.json").read_text()), {
            "snapshot_path": "snapshot_file", "resume_vm": True,
            "mem_backend": {"backend_type": "File", "backend_path": "mem_file"}})
        attached = out / "attached"
        self.assertEqual(sorted(os.listdir(attached)), ["disk.img", "root.img", "start.sh"])
        self.assertTrue((attached / "disk.img").samefile(attached / "root.img"))
        self.assertEqual(data_map(attached / "disk.img"), data_map(self.snapshot / "disk.img"))
        self.assertEqual((attached / "start.sh").stat().st_mode & 0o777, 0o750)
        self.assertEqual(os.stat(out).st_mode & 0o777, 0o700)
        for name in EXPORTED:
            self.assertEqual((out / name).stat().st_mode & 0o777, 0o600)

    def test_zeros_are_holes(self) -> None:
        self.done("export", "firecracker", self.snapshot, f"{self.out}/")  # a slash does no harm
        self.check_export(self.out)
        pages = sorted(self.memory.pages)
        runs = data_map(self.out / "mem_file")
        self.assertTrue(all(any(start <= page * PAGE_BYTES < end for start, end in runs)
                            for page in pages))
        self.assertLess(sum(end - start for start, end in runs), self.memory.size_bytes)

    def test_storage_is_shared_where_the_file_system_can(self) -> None:
        place = mount(self, self.directory, XFS)
        store = place / "store"
        store.mkdir()
        snapshot = self.ingest_full(self.memory, "vm", "--vmstate", str(self.state), "--layout",
                                    "compact", store=store)
        report = self.done("export", "firecracker", snapshot, place / "out", "--reflink", "always",
                           "--json").json
        self.assertEqual(report["cloned_bytes"], report["data_bytes"])
        self.assert_memory((place / "out" / "mem_file").read_bytes(), self.memory)

    def test_what_exists_or_cannot_be_made_is_refused(self) -> None:
        self.out.mkdir()
        (self.out / "mine").write_text("x")
        self.export_refused(EXIT_FAILED, self.out, "already exists")
        self.export_refused(EXIT_FAILED, "already exists", out=self.out / "mine")
        self.export_refused(EXIT_NOT_FOUND, self.place / "none", out=self.place / "none" / "out")
        self.export_refused(EXIT_USAGE, "cannot name", out=Path(f"{self.place}/.."))
        self.assertEqual((self.out / "mine").read_text(), "x")

    def test_usage_errors_say_what_is_known(self) -> None:
        for arguments, name in ((["export"], "'export' needs a format: "),
                                (["export", "--json"], "'export' needs a format"),
                                (["export", "firecraker", "a", "b"], "export-firecracker"),
                                (["export", "firecracker"], ""),
                                (["export", "firecracker", "a"], ""),
                                (["export", "firecracker", "a", "b", "--reflink", "x"], "'x'")):
            with self.subTest(arguments):
                outcome = lamina(*arguments)
                self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                self.assertIn(name, outcome.stderr)
        self.assertIn("load.json", self.done("help", "export", "firecracker").stdout)

    def test_damage_is_found(self) -> None:
        for name in ("snapfile", layers_of(self.snapshot)[0].name, "memfile.header"):
            with self.subTest(name):
                path = self.snapshot / name
                whole = path.read_bytes()
                flip(path)
                self.export_refused(EXIT_CORRUPT, name)
                path.write_bytes(whole)
        (self.snapshot / "snapfile").unlink()
        self.export_refused(EXIT_NOT_FOUND, "snapfile")

    def test_a_snapshot_without_a_vm_state_is_refused(self) -> None:
        self.snapshot = self.ingest_full(self.memory, "bare")
        self.export_refused(EXIT_FAILED, "no VM state", "lamina materialize")

    def test_only_files_are_exported(self) -> None:
        (self.snapshot / "link").symlink_to("/etc/passwd")
        self.export_refused(EXIT_FAILED, "link", "only files can")

    def test_a_full_disk_is_reported_and_leaves_nothing(self) -> None:
        self.place = mount(self, self.directory, EXT4)
        self.out = self.place / "out"
        fill(self.place)
        self.export_refused(EXIT_NO_SPACE, "space")

    def traced(self, call: str, number: int, when: int) -> int:
        """Sends a signal after a call; returns the exit code."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                   f"inject={call}:signal={number}:when={when}"]
        return lamina("export", "firecracker", self.snapshot, self.out, prefix=command).code

    def test_an_interrupt_leaves_nothing(self) -> None:
        self.assertEqual(self.traced("pwrite64", signal.SIGINT, 2), EXIT_INTERRUPTED)
        self.assertEqual(os.listdir(self.place), [])

    def test_a_kill_leaves_no_directory_of_that_name(self) -> None:
        for when in range(1, 7):
            self.traced("fsync", signal.SIGKILL, when)
            self.assertFalse(self.out.exists())
            self.assertTrue(all(name.startswith(".out.") for name in os.listdir(self.place)))
        self.done("export", "firecracker", self.snapshot, self.out)
        self.check_export(self.out)

    def test_a_failed_sync_is_a_failure(self) -> None:
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        total = 0
        for when in range(1, 12):
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e",
                       f"inject=fsync:error=EIO:when={when}"]
            outcome = lamina("export", "firecracker", self.snapshot, self.out, prefix=command)
            if outcome.code == 0:
                break
            total = when
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            left = os.listdir(self.place)
            self.assertIn(left, ([], ["out"]))
            if left:  # only the last sync, of the directory around it, comes after the name
                shutil.rmtree(self.out)
        # snapshot_file, mem_file, two attached files and their directory, load.json, README.md,
        # the directory, the one around it.
        self.assertEqual(total, 9)

    def test_a_snapshot_that_is_removed_meanwhile_is_exported_whole(self) -> None:
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        with stopped_after("pwrite64", 1, self.directory, "export", "firecracker", self.snapshot,
                           self.out) as outcomes:
            self.done("rm", self.snapshot)
        self.assertEqual(outcomes[0].code, 0, str(outcomes[0]))
        self.assert_memory((self.out / "mem_file").read_bytes(), self.memory)


if __name__ == "__main__":
    main()
