#!/usr/bin/env python3
"""A guest with a real processor, paused and resumed through lamina again and again.

vcpu_guest runs on KVM, pauses into files as Firecracker does, and compares itself with a model of
its payload after each run. Here its memory goes through the store between the runs: as a Full file,
then as Diffs with KVM's own dirty log, with a merge in between. At the end its checksum must be
that of a guest that was never paused.

After a resume by userfaultfd the dirty log also has pages that were only read. `--dedup parent`
must leave them out: a layer then holds only what the payload wrote and changed.

Environment: LAMINA and VCPU_GUEST are the binaries; LAMINA_SERVE is the command that serves, with
fields {lamina} {snapshot} {socket} {populate} (default: `lamina serve`).
Exit codes: 0 everything is right, 1 something is wrong, 77 cannot run on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from memory_files import EXIT_DONE, LaminaTest, lamina, main, program  # noqa: E402
from page_server import PageServer, WorkerKiller, serve_is_there  # noqa: E402

EXIT_UNAVAILABLE = 77
GUEST_TIMEOUT_S = 120
NEEDED_BYTES = 1 << 30

CYCLES = 6
MERGE_AFTER = 3
STEPS = 2048
LONG_STEPS = 256 * 512
KILLS = 50
LONGEST_LIFE_S = 0.01
DISCARDS = 3
SEED = int(os.environ.get("LAMINA_SEED", "1"))


def guest(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs vcpu_guest to its end."""
    path = os.environ.get("VCPU_GUEST")
    if not path:
        raise SystemExit("set VCPU_GUEST to the path of the vcpu_guest binary")
    return subprocess.run([path, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=GUEST_TIMEOUT_S, check=False)


class VcpuTest(LaminaTest):
    """A guest that is paused at `self.state`, its memory in `self.snapshot`."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot = self.store / "base"
        self.state = self.directory / "base.state"
        self.steps = 0

    def ran(self, *arguments: str | Path) -> dict[str, Any]:
        """Runs vcpu_guest, which must find itself right; returns what it reports."""
        done = guest(*arguments)
        self.assertEqual(done.returncode, EXIT_DONE,
                         f"vcpu_guest {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def start(self, *options: str | int) -> None:
        """Boots the guest, pauses it and stores its memory."""
        memory = self.directory / "full"
        self.ran("start", "--steps", STEPS, "--state", self.state, "--memory", memory, *options)
        self.done("ingest", memory, "--out", self.snapshot, "--layout", "compact")
        memory.unlink()
        self.steps = STEPS

    def resume(self, source: str, where: Path, number: int, *options: str) -> dict[str, Any]:
        """Resumes for STEPS steps, pauses, stores the diff; returns report and ingest in one."""
        state, diff = self.directory / f"n{number}.state", self.directory / f"n{number}.diff"
        report = self.ran("resume", "--state", self.state, source, where, "--steps", STEPS,
                          "--state-out", state, "--diff", diff, *options)
        snapshot = self.store / f"n{number}"
        ingested = self.done("ingest", diff, "--out", snapshot, "--parent", self.snapshot,
                             "--dedup", "parent", "--json").json
        diff.unlink()
        self.state, self.snapshot, self.steps = state, snapshot, self.steps + STEPS
        return report | ingested

    def merge(self) -> None:
        """Makes the snapshot one layer."""
        self.assertEqual(self.done("merge", self.snapshot, "--json").json["generation"], 0)

    def assert_only_changes_are_stored(self, report: dict[str, Any]) -> None:
        """The layer has the pages that the payload wrote and changed, and no other."""
        self.assertEqual(report["stored_blocks"], report["changed_to_data_pages"])
        self.assertEqual(report["stored_blocks"] + report["zero_blocks"]
                         + report["unchanged_blocks"], report["dirty_pages"])

    def assert_as_never_paused(self, report: dict[str, Any], *options: str | int) -> None:
        """The checksum over memory and registers is that of one run without a pause."""
        whole = self.ran("run", "--steps", self.steps, *options)
        self.assertEqual(report["steps_done"], self.steps)
        self.assertEqual(report["checksum"], whole["checksum"])

    def print_cycle(self, number: int, report: dict[str, Any]) -> None:
        """Both numbers: what the log says, and what was written."""
        print(f"  cycle {number}: {report['dirty_pages']} dirty by KVM's log, "
              f"{report['written_pages']} written, {report['changed_pages']} changed; "
              f"{report['dirty_only_read_pages']} dirty though only read; "
              f"stored {report['stored_blocks']} blocks of data", flush=True)


class MappedFile(VcpuTest):
    """Resumes from a materialized file: works without a page server."""

    def test_many_pauses_give_the_result_of_none(self) -> None:
        """The diff of a guest whose memory was mapped has what was written, no more."""
        self.start()
        report: dict[str, Any] = {}
        for number in range(1, CYCLES + 1):
            memory = self.directory / "memory"
            self.done("materialize", self.snapshot, "--out", memory)
            report = self.resume("--map", memory, number)
            memory.unlink()
            self.print_cycle(number, report)
            self.assertEqual(report["dirty_pages"], report["written_pages"])
            self.assert_only_changes_are_stored(report)
            if number == MERGE_AFTER:
                self.merge()
        self.assert_as_never_paused(report)


@unittest.skipUnless(serve_is_there(program()), "this lamina has no serve command")
class LogCost(VcpuTest):
    """What the dirty log costs a guest: measured, and not judged."""

    def test_both_kinds_are_measured_and_the_log_has_what_was_written(self) -> None:
        report = self.ran("log-cost", "--steps", 4096, "--memory-mib", 16, "--intervals", 2,
                          "--rounds", 2)
        self.assertGreater(min(report["with_log_ms"], report["without_log_ms"]), 0)
        # Half of the steps write, into 3,584 pages.
        self.assertGreater(report["dirty_pages"], 1024)
        self.assertLess(report["dirty_pages"], 3584)


class PageServed(VcpuTest):
    """Resumes through the page server."""

    def resume_served(self, number: int, populate: str, *options: str) -> dict[str, Any]:
        """One resume through a server of its own, which must end well after the guest."""
        with PageServer(program(), self.snapshot, populate) as server:
            report = self.resume("--socket", server.socket, number, *options)
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
        return report

    def test_many_pauses_give_the_result_of_none(self) -> None:
        """Pages that were only read are in the log, but not in the layer."""
        self.start()
        report: dict[str, Any] = {}
        for number in range(1, CYCLES + 1):
            # Reading all memory at the end would hide what the guest alone does not fault in.
            options = () if number == CYCLES else ("--touch-only-report",)
            report = self.resume_served(number, "none", *options)
            self.print_cycle(number, report)
            self.assertGreater(report["dirty_only_read_pages"], 0,
                               "the log has no page that was only read: nothing was tested")
            self.assert_only_changes_are_stored(report)
            if number == MERGE_AFTER:
                self.merge()
        self.assert_as_never_paused(report)

    def test_populated_memory_gives_the_same_result(self) -> None:
        """While the server fills all memory, the guest runs and pauses as otherwise."""
        self.start()
        report = self.resume_served(1, "all")
        self.print_cycle(1, report)
        self.assert_only_changes_are_stored(report)
        self.assert_as_never_paused(report)

    def run_long(self, kills: int, *options: str | int) -> None:
        """A long run on served memory, while the worker is killed again and again."""
        self.start(*options)
        with PageServer(program(), self.snapshot) as server:
            killer = WorkerKiller(server, kills, SEED, LONGEST_LIFE_S)
            report = self.ran("resume", "--state", self.state, "--socket", server.socket,
                              "--steps", LONG_STEPS, *options)
            killer.join(0)
            print(f"  {killer.kills} workers killed, seed {SEED}", flush=True)
            self.assertEqual(killer.kills > 0, kills > 0, server.said())
            self.assertEqual(server.wait(), EXIT_DONE, server.said())
        self.steps += LONG_STEPS
        self.assert_as_never_paused(report, *options)

    def test_killed_workers_change_no_byte(self) -> None:
        """Faults that a dead worker has read are served by the next one."""
        self.run_long(KILLS)

    def test_discarded_pages_are_zeros(self) -> None:
        """A page that the guest gave back never shows the snapshot's contents again."""
        self.run_long(0, "--discards", DISCARDS)

    def test_discarded_pages_are_zeros_for_the_next_worker_too(self) -> None:
        """What was given back is known after the worker that read of it has been killed."""
        self.run_long(KILLS, "--discards", DISCARDS)


def skip_without_kvm() -> None:
    """Ends with 77 where the guest says that it cannot run."""
    tried = guest("run", "--steps", 0)
    if tried.returncode == EXIT_UNAVAILABLE:
        print(tried.stderr.strip())
        sys.exit(EXIT_UNAVAILABLE)


def choose_directory() -> None:
    """Prefers tmpfs: where ext4 discards what is freed, removing one diff can take seconds."""
    shared_memory = Path("/dev/shm")
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free >= NEEDED_BYTES:
        os.environ.setdefault("LAMINA_TEST_DIR", str(shared_memory))


if __name__ == "__main__":
    skip_without_kvm()
    choose_directory()
    main()
