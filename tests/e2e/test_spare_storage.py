#!/usr/bin/env python3
"""Giving back the storage of zeros: after publication, without a lock, and not for ever.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from faults import require_strace
from memory_files import (EXIT_DONE, GuestMemory, LaminaTest, PAGE_BYTES, lamina, layers_of, main,
                          random_page, stopped_after, write_diff, write_full)
from sandbox import SandboxTest

RUNS = 200
RUN_PAGES = 16
LONG_RUN_PAGES = 128
PUNCH = re.compile(r"fallocate\(\d+, FALLOC_FL_KEEP_SIZE\|FALLOC_FL_PUNCH_HOLE, (\d+), (\d+)\)")


class IngestTest(LaminaTest):
    """An adopting ingest."""

    def setUp(self) -> None:
        """Memory with many short runs of zeros, and a long one at the end."""
        super().setUp()
        require_strace(self)
        page = random_page(self.rng)
        pages = {run * (RUN_PAGES + 1): page for run in range(RUNS)}
        end = RUNS * (RUN_PAGES + 1)
        pages[end] = page
        self.memory = GuestMemory((end + 1 + LONG_RUN_PAGES) * PAGE_BYTES, pages)
        self.trace = self.directory / "trace"

    def traced(self, delay_us: int, *words: str | Path) -> list[str]:
        """The renames and changes of storage of a command, each of the latter taking a while."""
        outcome = lamina(*words, prefix=[
            "strace", "-f", "-o", self.trace, "-e", "trace=fallocate,renameat2", "-e",
            f"inject=fallocate:delay_enter={delay_us}"])
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        return self.trace.read_text().splitlines()

    def ingest(self, delay_us: int) -> list[str]:
        """Adopts the memory as snapshot "a"."""
        memory_file = write_full(self.directory / "memory", self.memory)
        return self.traced(delay_us, "ingest", memory_file, "--out", self.store / "a", "--layout",
                           "adopt")

    def test_slow_calls_are_limited_and_the_longest_run_comes_first(self) -> None:
        lines = self.ingest(delay_us=30_000)
        punches = [match for line in lines if (match := PUNCH.search(line))]
        self.assertGreater(len(punches), 0)
        self.assertLess(len(punches), RUNS // 10)
        self.assertEqual(int(punches[0][2]), LONG_RUN_PAGES * PAGE_BYTES)
        self.assert_resolves_to(self.store / "a", self.memory)

    def test_the_snapshot_is_published_before_storage_is_given_back(self) -> None:
        lines = self.ingest(delay_us=0)
        first = next(i for i, line in enumerate(lines) if PUNCH.search(line))
        published = [i for i, line in enumerate(lines) if "renameat2" in line and '"a"' in line]
        self.assertLess(published[0], first, lines)

    def test_storage_is_given_back_and_reported(self) -> None:
        memory_file = write_full(self.directory / "memory", self.memory)
        report = self.done("ingest", memory_file, "--out", self.store / "a", "--layout", "adopt",
                           "--json").json
        layer, = layers_of(self.store / "a")
        self.assertEqual(report["layer_allocated_bytes"], layer.stat().st_blocks * 512)
        self.assertLess(report["layer_allocated_bytes"],
                        self.memory.size_bytes - LONG_RUN_PAGES * PAGE_BYTES // 2)
        self.assert_resolves_to(self.store / "a", self.memory)

    def test_storage_of_unchanged_blocks_is_given_back(self) -> None:
        full = {page: random_page(self.rng) for page in range(256)}
        memory = GuestMemory(256 * PAGE_BYTES, full)
        parent = self.ingest_full(memory, "parent")
        memory.write(200, random_page(self.rng))
        diff = write_diff(self.directory / "diff", memory, range(100, 220))
        report = self.done("ingest", diff, "--parent", parent, "--out", self.store / "child",
                           "--layout", "adopt", "--dedup", "parent", "--json").json
        self.assertEqual(report["unchanged_blocks"], 119)
        self.assertLess(report["layer_allocated_bytes"], 60 * PAGE_BYTES)
        self.assert_resolves_to(self.store / "child", memory)

    def test_a_snapshot_is_replaced_while_its_storage_is_given_back(self) -> None:
        memory_file = write_full(self.directory / "memory", self.memory)
        other = GuestMemory(8 * PAGE_BYTES, {0: random_page(self.rng)})
        with stopped_after("fallocate", 3, self.directory, "ingest", memory_file, "--out",
                           self.store / "a", "--layout", "adopt") as outcomes:
            self.assert_resolves_to(self.store / "a", self.memory)
            new = write_full(self.directory / "new", other)
            self.done("ingest", new, "--out", self.store / "a", "--replace")
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))
        self.assert_resolves_to(self.store / "a", other)


class PauseTest(SandboxTest):
    """A pause whose memory file is a full one."""

    def test_a_vm_is_paused_again_while_storage_is_given_back(self) -> None:
        require_strace(self)
        vm = self.fresh()
        vm.tell("run 300 1")
        with stopped_after("fallocate", 2, self.directory, "pause", "--api", vm.api_socket,
                           "--store", self.store, "--name", "a", "--after", "resume") as outcomes:
            self.done("verify", self.store / "a")
            vm.tell("run 100 2")
            self.assertEqual(self.pause(vm, "a", "--after", "resume")["kind"], "diff")
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))
        self.done("verify", self.store / "a")
        self.assert_nothing_left()
        self.check(vm)


if __name__ == "__main__":
    main()
