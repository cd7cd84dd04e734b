#!/usr/bin/env python3
"""A store in an overlay whose lower layer has snapshots: what cannot be renamed there.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_FAILED, PAGE_BYTES, lamina, main, random_memory,
                          random_page, write_diff, write_full)
from mounts import EXT4, mount, mount_overlay
from sandbox import SandboxTest

LOWER_LAYER = "lower layer of an overlay"


class LowerLayerSnapshots(SandboxTest):
    """Two snapshots, made before the overlay was mounted over them."""

    def setUp(self) -> None:
        """Makes the snapshots and mounts the overlay."""
        super().setUp()
        disk = mount(self, self.directory, EXT4)
        lower = disk / "lower"
        (lower / "store").mkdir(parents=True)
        self.memory = random_memory(self.rng, 64 * PAGE_BYTES)
        parent = self.ingest_full(self.memory, "parent", store=lower / "store")
        self.memory.write(3, random_page(self.rng))
        self.ingest_diff(self.memory, [3], parent, "a", store=lower / "store")
        self.disk, self.lower = disk, lower
        self.mount("redirect_dir=off")

    def mount(self, options: str) -> None:
        """The store as the overlay shows it."""
        merged = mount_overlay(self, self.directory, self.lower, self.disk, options)
        self.store = merged / "store"

    def refused_here(self, *words: str | Path) -> None:
        """A command that must say why it cannot be done, and leave the snapshot."""
        outcome = lamina(*words)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn(LOWER_LAYER, outcome.error_lines[-1])
        self.assertIn("redirect_dir=on", outcome.error_lines[-1])
        self.assert_resolves_to(self.store / "a", self.memory)
        self.assert_nothing_left()

    def test_replacing_a_lower_snapshot_is_refused_and_the_memory_file_stays(self) -> None:
        memory = random_memory(self.rng, 64 * PAGE_BYTES)
        memory_file = write_full(self.store.parent / "memory", memory)
        self.refused_here("ingest", memory_file, "--out", self.store / "a", "--replace",
                          "--layout", "compact")
        self.assertEqual(memory_file.read_bytes(), memory.contents())

    def test_merging_a_lower_snapshot_needs_another_name(self) -> None:
        self.refused_here("merge", self.store / "a", "--full")
        self.done("merge", self.store / "a", "--full", "--out", self.store / "b")
        self.assert_resolves_to(self.store / "b", self.memory)

    def test_removing_a_lower_snapshot_is_refused(self) -> None:
        self.refused_here("rm", self.store / "a")

    def test_a_pause_over_a_lower_snapshot_gets_another_name(self) -> None:
        vm = self.fresh()
        vm.tell("run 100 1")
        report = self.pause(vm, "a", "--replace", "--after", "resume")
        name = f"a@{report['pause_id']}"
        self.assertEqual(report["snapshot"], str(self.store / name))
        note, = (note for note in report["notes"] if name in note)
        self.assertIn(LOWER_LAYER, note)
        self.assert_nothing_left()
        self.done("verify", self.store / name)
        self.assert_resolves_to(self.store / "a", self.memory)
        vm.tell("run 100 2")
        again = self.pause(vm, "mine", "--after", "resume")
        self.assertEqual((again["kind"], again["parent_pause_id"]), ("diff", report["pause_id"]),
                         again["reason"])
        self.check(vm)

    def test_merge_replace_and_rm_succeed_with_redirect_dir(self) -> None:
        self.mount("redirect_dir=on")
        self.done("merge", self.store / "a", "--full")
        self.assert_resolves_to(self.store / "a", self.memory)
        diff = write_diff(self.store.parent / "diff", self.memory, [])
        self.done("ingest", diff, "--parent", self.store / "parent", "--out",
                  self.store / "parent", "--replace")
        self.done("rm", self.store / "parent", self.store / "a")
        self.assert_nothing_left()


if __name__ == "__main__":
    main()
