"""The store's everyday commands: what ls and du say, what rm takes away, what fork gives."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE,
                          LaminaTest, PAGE_BYTES, SANITIZED, change_memory, lamina, layers_of,
                          main, random_memory, stopped_after, write_full)
from pins import count_path, identity_of

MEMORY_BYTES = 64 * PAGE_BYTES
OTHER_USER = 65534
FORKS = 40 if SANITIZED else 1000


def allocated(*paths: Path) -> int:
    """What stat(2) says the files below `paths` allocate, each inode once."""
    inodes: dict[tuple[int, int], int] = {}
    for path in paths:
        for directory, _, files in os.walk(path):
            for name in files:
                status = (Path(directory) / name).lstat()
                inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())



class StoreTest(LaminaTest):
    """A chain of three: base, middle, young."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.base_memory = self.memory.copy()
        self.base = self.ingest_full(self.memory, "base")
        dirty = change_memory(self.rng, self.memory)
        self.middle_memory = self.memory.copy()
        self.middle = self.ingest_diff(self.memory, dirty, self.base, "middle")
        dirty = change_memory(self.rng, self.memory)
        self.young = self.ingest_diff(self.memory, dirty, self.middle, "young")

    def ls(self, *options: str, store: Path | None = None) -> Any:
        """What ls says, as JSON."""
        return self.done("ls", store or self.store, "--json", *options).json

    def listed(self, name: str) -> Any:
        """What ls says of one snapshot."""
        (found,) = [entry for entry in self.ls()["snapshots"] if entry["name"] == name]
        return found

    def pin(self, snapshot: Path, process: subprocess.Popen[bytes]) -> Path:
        """What a running VM leaves in the store: links to what it was resumed from."""
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        start = int(stat.rpartition(")")[2].split()[19])
        pin = self.store / ".vms" / f"{process.pid}-{start}"
        (pin / "base").mkdir(parents=True)
        for file in snapshot.iterdir():
            os.link(file, pin / "base" / file.name)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (pin / "vm.json").write_text(json.dumps({
            "vm": 2, "belongs_to": identity_of(self.store), "pid": process.pid,
            "start_time": start, "boot_id": boot, "uid": 0,
            "api_socket": "/run/vm.sock", "jail": "", "snapshot": snapshot.name,
            "by_page_faults": True, "needs_full": False, "since": "2026-01-01T00:00:00Z"}))
        return pin

    def running_vm(self) -> subprocess.Popen[bytes]:
        """A process that runs until the test ends."""
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process


class Listing(StoreTest):
    """ls and du."""

    def test_each_snapshot_is_listed_with_what_it_is(self) -> None:
        listing = self.ls()
        self.assertEqual([entry["name"] for entry in listing["snapshots"]],
                         ["base", "middle", "young"])
        by_name = {entry["name"]: entry for entry in listing["snapshots"]}
        for name, layers, parent in (("base", 1, None), ("middle", 2, "base"),
                                     ("young", 3, "middle")):
            entry = by_name[name]
            self.assertEqual((entry["layers"], entry["generation"], entry["parent"]),
                             (layers, layers - 1, parent))
            self.assertEqual(entry["memory_bytes"], MEMORY_BYTES)
            self.assertEqual(entry["parent_pause_id"], by_name[parent]["pause_id"] if parent
                             else None)
            self.assertIsNone(entry["error"])
        self.assertEqual(listing["notes"], [])

    def test_sizes_are_those_of_stat(self) -> None:
        self.done("fork", self.young, self.store / "fork")
        for entry in self.ls()["snapshots"]:
            files = list((self.store / entry["name"]).iterdir())
            own = sum(f.stat().st_blocks * 512 for f in files if f.stat().st_nlink == 1)
            shared = sum(f.stat().st_blocks * 512 for f in files if f.stat().st_nlink > 1)
            self.assertEqual((entry["own_bytes"], entry["shared_bytes"]), (own, shared))
        totals = self.ls()["totals"]
        self.assertEqual(totals["allocated_bytes"], allocated(self.store))
        self.assertEqual(totals["snapshot_bytes"], allocated(self.store))

    def test_dead_bytes_are_those_of_inspect(self) -> None:
        for entry in self.done("du", self.store, "--json").json["snapshots"]:
            layers = self.done("inspect", self.store / entry["name"], "--json").json["layers"]
            dead = sum(layer["dead_blocks"] for layer in layers)
            self.assertEqual(entry["dead_bytes"], dead * PAGE_BYTES)
        self.assertGreater(dead, 0)

    def test_du_reports_what_removing_several_frees(self) -> None:
        self.done("fork", self.young, self.store / "fork")
        du = self.done("du", self.store, "young", "fork", "--json").json
        self.assertEqual([entry["name"] for entry in du["snapshots"]], ["young", "fork"])
        self.assertEqual([entry["freed_by_rm_bytes"] for entry in du["snapshots"]], [0, 0])
        before = allocated(self.store)
        self.done("rm", self.young, self.store / "fork")
        self.assertEqual(before - allocated(self.store), du["freed_by_rm_of_all_bytes"])
        self.refused(EXIT_NOT_FOUND, "du", self.store, "base", "young", names=["'young'"])

    def test_a_tree_shows_forks_beside_each_other_and_missing_parents(self) -> None:
        self.done("fork", self.middle, self.store / "amiddle")
        rows = [(row["depth"], row["name"]) for row in self.ls("--tree")["tree"]]
        self.assertEqual(rows, [(0, "base"), (1, "amiddle"), (1, "middle"), (2, "young")])
        shown = self.done("ls", self.store, "--tree").stdout.splitlines()
        self.assertTrue(shown[2].startswith("├─ amiddle"), shown)
        self.assertTrue(shown[4].startswith("   └─ young"), shown)
        self.done("rm", self.base)
        rows = [(row["depth"], row["name"], row["missing_name"]) for row in
                self.ls("--tree")["tree"]]
        self.assertEqual(rows, [(0, None, "base"), (1, "amiddle", None), (1, "middle", None),
                                (2, "young", None)])
        self.assertIn("base (not here)", self.done("ls", self.store, "--tree").stdout)

    def test_nothing_from_a_file_reaches_the_terminal_raw(self) -> None:
        path = self.young / "snapshot.json"
        facts = json.loads(path.read_text())
        facts["parent"] = "\x1b[2J\n\u009b31m\u202eevil"
        facts["created"] = "\x1b]0;x\x07" + "y" * 1000
        path.write_text(json.dumps(facts))
        for options in ([], ["--tree"]):
            shown = self.done("ls", self.store, *options).stdout
            for character in "\x1b\x07\u009b\u202e":
                self.assertNotIn(character, shown)
            self.assertIn("\\x1b[2J\\x0a", shown)

    def test_damaged_snapshots_are_listed_with_what_is_wrong(self) -> None:
        header = self.middle / "memfile.header"
        header.write_bytes(header.read_bytes()[:-1])
        layers_of(self.young)[0].unlink()
        (self.store / "lost").mkdir()
        shutil.copy(layers_of(self.base)[0], self.store / "lost")
        with self.unchanged():
            listing = self.ls()
            errors = {entry["name"]: entry["error"] for entry in listing["snapshots"]}
            self.assertIsNone(errors["base"])
            self.assertEqual(errors["middle"]["kind"], "corrupt")
            self.assertIn("missing", errors["young"]["message"])
            self.assertIn("lamina repair", errors["lost"]["remedy"])
            self.assertIn("middle (damaged)", self.done("ls", self.store).stdout)
            self.done("du", self.store)

    def test_other_entries_are_noted(self) -> None:
        (self.store / "file").write_text("x")
        (self.store / "directory").mkdir()
        (self.store / "link").symlink_to(self.base)
        notes = " ".join(self.ls()["notes"])
        for name in ("file", "directory", "link"):
            self.assertIn(f"{self.store}/{name}", notes)
        self.assertEqual(len(self.ls()["snapshots"]), 3)

    def test_an_empty_store_is_listed_and_another_directory_is_refused(self) -> None:
        self.done("rm", self.base, self.middle, self.young)
        self.assertEqual(self.ls()["snapshots"], [])
        self.done("du", self.store)
        empty = self.directory / "empty"
        empty.mkdir()
        file = self.directory / "plain"
        file.touch()
        for path, words in ((empty, "is empty"), (self.directory / "none", "does not exist"),
                            (file, "is not a directory")):
            self.refused(EXIT_NOT_FOUND, "ls", path, names=[path, words])
            self.refused(EXIT_NOT_FOUND, "du", path, names=[path, words])
        snapshot = self.ingest_full(self.memory, "vm")
        self.refused(EXIT_NOT_FOUND, "ls", snapshot, names=["is a snapshot", "lamina inspect"])

    def test_a_user_with_only_read_access_can_list(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("another user needs root")
        for directory, _, files in os.walk(self.store):
            Path(directory).chmod(0o755)
            for name in files:
                (Path(directory) / name).chmod(0o644)
        with self.unchanged():
            listing = self.done("ls", self.store, "--json", user=OTHER_USER).json
        self.assertEqual([entry["error"] for entry in listing["snapshots"]], [None] * 3)

    def test_running_vms_queued_pauses_counts_and_maps_are_shown(self) -> None:
        middle = self.listed("middle")["pause_id"]
        pin = self.pin(self.middle, self.running_vm())
        dead = self.store / ".vms" / f"{2**22 + 1}-17"
        shutil.copytree(pin, dead)
        facts = json.loads((dead / "vm.json").read_text())
        (dead / "vm.json").write_text(json.dumps(facts | {"pid": 2**22 + 1, "start_time": 17}))
        (self.store / ".vms" / "12-34").mkdir()
        pause = str(uuid.uuid4())
        pending = self.store / ".pending"
        (pending / pause).mkdir()
        (pending / pause / "memfile").write_bytes(bytes(8 * PAGE_BYTES))
        (pending / f"{pause}.json").write_text('{"pause": 1}')
        (self.store / ".counts").mkdir()
        count_path(self.store, middle).write_bytes(bytes(5))
        (self.store / ".maps").mkdir()
        (self.store / ".maps" / middle).write_bytes(bytes(3 * PAGE_BYTES))
        listing = self.ls()
        entries = {entry["name"]: entry for entry in listing["snapshots"]}
        self.assertEqual((entries["middle"]["running_vms"], entries["middle"]["resumes"]), (1, 5))
        self.assertEqual((entries["base"]["running_vms"], entries["base"]["resumes"]), (0, 0))
        pins = {entry["name"]: entry for entry in listing["pins"]}
        self.assertTrue(pins[pin.name]["running"])
        self.assertEqual(pins[pin.name]["base_pause_id"], middle)
        self.assertFalse(pins[dead.name]["running"])
        self.assertIsNotNone(pins["12-34"]["error"])
        (queued,) = listing["pending"]
        self.assertEqual((queued["id"], queued["kind"]), (pause, "pause"))
        self.assertEqual(queued["allocated_bytes"], allocated(pending / pause))
        (mapped,) = listing["maps"]
        self.assertEqual((mapped["pause_id"], mapped["used"]), (middle, False))
        self.assertEqual(listing["totals"]["pending_bytes"], allocated(pending / pause))
        self.assertEqual(listing["totals"]["map_bytes"], allocated(self.store / ".maps"))
        self.assertIn(pause, self.done("ls", self.store).stdout)


class Remove(StoreTest):
    """rm."""

    def test_removing_a_snapshot_keeps_shared_layers(self) -> None:
        expected = self.listed("middle")["own_bytes"]
        before = allocated(self.store)
        report = self.done("rm", self.middle, "--json").json["snapshots"][0]
        self.assertFalse(self.middle.exists())
        self.assertEqual(report["freed_bytes"], expected)
        self.assertEqual(report["freed_bytes"], before - allocated(self.store))
        self.assertGreater(report["remaining_bytes"], 0)
        self.assert_resolves_to(self.young, self.memory)
        self.assert_resolves_to(self.base, self.base_memory)
        self.assert_store_is_clean()
        self.assertFalse((self.store / ".lock" / "middle").exists())

    def test_a_dry_run_says_what_would_go_and_changes_nothing(self) -> None:
        with self.unchanged():
            planned = self.done("rm", "--dry-run", self.young, self.middle, self.base,
                                "--json").json["snapshots"]
            self.refused(EXIT_NOT_FOUND, "rm", "--dry-run", self.store / "none")
        self.assertFalse(any(entry["removed"] for entry in planned))
        done = self.done("rm", self.young, self.middle, self.base, "--json").json["snapshots"]
        for key in ("snapshot", "freed_bytes", "remaining_bytes"):
            self.assertEqual([entry[key] for entry in planned], [entry[key] for entry in done], key)
        self.assertEqual(allocated(self.store), 0)

    def test_a_failure_does_not_stop_the_others(self) -> None:
        lock = os.open(self.store / ".lock" / "middle", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.addCleanup(os.close, lock)
        none = self.store / "none"
        outcome = lamina("rm", none, self.middle, self.base, self.base, f"{self.base}/")
        self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
        self.assertIn("none' does not exist", outcome.stderr)
        self.assertIn("is being written by another process", outcome.stderr)
        self.assertIn("more than once", outcome.stderr)
        self.assertTrue(self.middle.exists())
        self.assertFalse(self.base.exists())
        self.refused(EXIT_BUSY, "rm", self.middle)
        self.assertEqual(lamina("rm", self.middle, none).code, EXIT_BUSY)

    def test_other_entries_are_not_removed(self) -> None:
        pin = self.pin(self.base, self.running_vm())
        (self.store / "link").symlink_to(self.base)
        (self.store / "directory").mkdir()
        (self.store / "file").touch()
        (self.store / "nowhere").symlink_to("gone")
        for code, *path in ((EXIT_USAGE, ".vms"), (EXIT_USAGE, ".tmp"), (EXIT_USAGE, ".."),
                            (EXIT_USAGE, "."), (EXIT_USAGE, ".vms", pin.name),
                            (EXIT_USAGE, ".vms", pin.name, "base"),
                            (EXIT_USAGE, "x", "..", "..", "-"), (EXIT_FAILED, "link"),
                            (EXIT_FAILED, "nowhere"), (EXIT_FAILED, "directory"),
                            (EXIT_FAILED, "file"), (EXIT_NOT_FOUND, "a", "b"),
                            (EXIT_FAILED, "base", "memfile.header"),
                            (EXIT_NOT_FOUND, "..", "x")):
            for options in ([], ["--dry-run"]):
                with self.subTest(path=path, options=options), self.unchanged():
                    self.refused(code, "rm", "/".join([str(self.store), *path]), *options)
        with self.unchanged():
            lamina("rm", self.middle, self.store / ".vms")
            self.refused(EXIT_USAGE, "rm", "../x/..", cwd=self.store)
            self.refused(EXIT_USAGE, "fork", self.base, pin / "new")

    def test_a_running_vm_keeps_what_it_was_resumed_from(self) -> None:
        pin = self.pin(self.middle, self.running_vm())
        report = self.done("rm", self.middle, "--json").json["snapshots"][0]
        self.assertEqual((report["running_vms"], report["freed_bytes"]), (1, 0))
        self.assert_resolves_to(pin / "base", self.middle_memory)
        self.assertGreater(self.ls()["totals"]["pin_bytes"], 0)

    def test_one_of_two_concurrent_removals_succeeds(self) -> None:
        with stopped_after("renameat2", 1, self.directory, "rm", self.middle) as outcomes:
            self.refused(EXIT_NOT_FOUND, "rm", self.middle)
            self.done("rm", self.young)  # its clean-up leaves the other's files alone
            self.assertEqual(len(list((self.store / ".tmp").iterdir())), 1)
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))
        self.assert_store_is_clean()

    def test_a_listing_is_right_while_snapshots_come_and_go(self) -> None:
        """A list never fails, and never shows one that is half removed as damaged."""
        def churn() -> None:
            for number in range(60):
                self.done("fork", self.young, self.store / f"f{number % 3}")
                self.done("rm", self.store / f"f{number % 3}")

        with ThreadPoolExecutor(1) as pool:
            churning = pool.submit(churn)
            while not churning.done():
                for entry in self.ls()["snapshots"]:
                    self.assertIsNone(entry["error"])
            churning.result()
        self.assertEqual(len(self.ls()["snapshots"]), 3)

    def test_a_damaged_snapshot_can_be_removed(self) -> None:
        (self.young / "memfile.header").write_bytes(b"x")
        self.done("rm", self.young)
        self.assertFalse(self.young.exists())


class Fork(StoreTest):
    """fork."""

    def test_a_fork_outlives_its_source(self) -> None:
        fork = self.store / "fork"
        before = allocated(self.store)
        report = self.done("fork", self.young, fork, "--json").json
        self.assertEqual(allocated(self.store), before)
        self.assertEqual(report["pause_id"], self.listed("young")["pause_id"])
        self.assertEqual((report["linked_layers"], report["copied_layers"]), (3, 0))
        self.assertEqual(report["linked_bytes"],
                         sum(layer.stat().st_blocks * 512 for layer in layers_of(fork)))
        self.done("rm", self.young, self.middle, self.base)
        full = write_full(self.directory / "full", self.memory)
        self.done("verify", fork, "--against", full)
        self.assert_store_is_clean()

    def test_many_forks_take_no_space(self) -> None:
        before = allocated(self.store)
        start = time.monotonic()
        for number in range(FORKS):
            self.done("fork", self.young, self.store / f"fork-{number}")
        forked = time.monotonic()
        self.assertEqual(len(self.ls()["snapshots"]), FORKS + 3)
        print(f"{FORKS} forks in {forked - start:.1f} s, listed in {time.monotonic() - forked:.2f} s")
        self.assertEqual(allocated(self.store), before)

    def test_a_fork_onto_another_file_system_copies_the_layers(self) -> None:
        if not os.access("/dev/shm", os.W_OK):
            self.skipTest("no second file system")
        other = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, other)
        if other.stat().st_dev == self.store.stat().st_dev:
            self.skipTest("no second file system")
        report = self.done("fork", self.young, other / "fork", "--json").json
        self.assertEqual((report["linked_layers"], report["copied_layers"]), (0, 3))
        self.assertEqual(len([note for note in report["notes"] if "was copied" in note]), 3)
        self.assert_resolves_to(other / "fork", self.memory)

    def test_an_existing_name_is_refused(self) -> None:
        (self.store / "directory").mkdir()
        (self.store / "link").symlink_to("gone")
        for name in ("base", "directory", "link"):
            with self.subTest(name=name), self.unchanged():
                self.refused(EXIT_FAILED, "fork", self.young, self.store / name, names=[name])
        for name in ("../x/..", ".vms", "-x", "a b"):
            with self.subTest(name=name), self.unchanged():
                self.refused(EXIT_USAGE, "fork", self.young, f"{self.store}/{name}")
        with self.unchanged():
            self.refused(EXIT_NOT_FOUND, "fork", self.young, self.store / "a" / "b")
            self.refused(EXIT_NOT_FOUND, "fork", self.store / "none", self.directory / "b")


if __name__ == "__main__":
    main()
