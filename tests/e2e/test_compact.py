"""compact: chains stay short under every policy, and nothing is ever half merged."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import unittest
from pathlib import Path
from threading import Event, Thread

from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, GuestMemory,
                          LaminaTest, Outcome, PAGE_BYTES, change_memory, lamina, layers_of, main,
                          random_memory, stopped_after, tree_of, write_diff, write_full)
from mounts import ext4_in_memory
from test_crash import CrashTest

PAGES = 1024
MEMORY_BYTES = PAGES * PAGE_BYTES
PAUSES = 40

needs_strace = unittest.skipIf(shutil.which("strace") is None, "strace is not installed")


def run_guest(rng: random.Random, memory: GuestMemory) -> set[int]:
    """Lets the guest run: mostly in a hot area, sometimes far and wide."""
    dirty = change_memory(rng, memory, writes=rng.choice((1, 2, 2, 4, 24)), clears=1)
    for _ in range(6):
        page = rng.randrange(16)
        memory.write(page, rng.randbytes(PAGE_BYTES))
        dirty.add(page)
    return dirty


class CompactTest(LaminaTest):
    """A sandbox that is paused again and again under one name."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = ext4_in_memory(self, self.directory)
        self.store = self.directory / "store"
        self.store.mkdir(exist_ok=True)
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.vm = self.ingest_full(self.memory, "vm")
        self.truth = self.directory / "truth"

    def pause(self, *options: str) -> None:
        """One more layer on `vm`."""
        dirty = run_guest(self.rng, self.memory)
        self.ingest_diff(self.memory, dirty, self.vm, "vm", "--replace", *options)

    def pauses(self, count: int) -> None:
        """Some more layers."""
        for _ in range(count):
            self.pause()

    def compact(self, *options: str | Path, code: int = EXIT_DONE) -> dict:
        """Compacts `vm` and returns what was reported of it."""
        outcome = lamina("compact", self.vm, "--json", *options)
        self.assertEqual(outcome.code, code, str(outcome))
        self.assertEqual(outcome.json["exit_code"], code)
        [report] = outcome.json["snapshots"]
        return report

    def assert_right(self, snapshot: Path | None = None, memory: GuestMemory | None = None) -> None:
        """The snapshot is intact and is the guest's memory."""
        self.truth.unlink(missing_ok=True)
        write_full(self.truth, memory or self.memory)
        self.done("verify", snapshot or self.vm, "--against", self.truth)


class Policies(CompactTest):
    """40 pauses under each policy."""

    def live(self, policy: str, most_layers: int, *ingest_options: str) -> list[dict]:
        """Pauses and compacts in turn; never more than `most_layers` are left."""
        reports = []
        for number in range(PAUSES):
            with self.subTest(pause=number):
                self.pause(*ingest_options)
                before = len(layers_of(self.vm))
                report = self.compact("--policy", policy)
                self.assertEqual(report["layers_before"], before)
                self.assertEqual(report["layers_after"], len(layers_of(self.vm)))
                self.assertLessEqual(report["layers_after"], most_layers)
                self.assert_right()
                reports.append(report)
        self.assert_memory(self.materialized(self.vm), self.memory)
        self.assert_store_is_clean()
        return reports

    def test_the_full_policy_merges_all_layers_at_its_cap(self) -> None:
        reports = self.live("cap=8", 7)
        merged = [report for report in reports if report["outcome"] == "merged"]
        self.assertGreater(len(merged), 3)
        for report in merged:
            self.assertEqual((report["layers_before"], report["layers_after"]), (8, 1))

    def test_tiered_writes_much_less_than_full(self) -> None:
        reports = self.live("tiered", 7)
        self.assertIn("merged", [report["outcome"] for report in reports])
        written = sum(report["written_bytes"] for report in reports)
        by_full = len(self.memory.pages) * PAGE_BYTES * (PAUSES // 7)  # each merge rewrites all
        self.assertLess(written, by_full / 2)

    def test_tiered_keeps_small_limits(self) -> None:
        self.live("tiered:soft=3,ratio=3", 2)

    def test_tiered_keeps_its_limit_with_version_1_headers(self) -> None:
        self.live("tiered:soft=4", 3, "--header", "v1")

    def test_tiered_keeps_its_limit_with_adopted_layers(self) -> None:
        self.live("tiered:soft=4", 3, "--layout", "adopt")

    def test_the_off_policy_merges_nothing(self) -> None:
        reports = self.live("off", PAUSES + 1)
        self.assertEqual({report["outcome"] for report in reports}, {"nothing"})
        self.assertFalse(reports[-1]["next_pause_must_wait"])

    def test_layers_of_unknown_order_are_merged_all_or_not_at_all(self) -> None:
        """Layers and a header as wrenn's snapshot package leaves them: no trailers, no facts."""
        for _ in range(4):
            self.pause("--header", "v1")
        for layer in self.done("inspect", self.vm, "--json").json["layers"]:
            blocks = layer["live_blocks"] + layer["dead_blocks"]
            os.truncate(layer["file"], blocks * PAGE_BYTES)
        (self.vm / "snapshot.json").unlink()
        count = len(layers_of(self.vm))
        report = self.compact("--policy", f"tiered:soft={count + 1}")
        self.assertEqual(report["outcome"], "nothing")
        report = self.compact("--policy", f"tiered:soft={count}")
        self.assertEqual((report["outcome"], report["layers_after"]), ("merged", 1))
        self.assert_right()

    def test_a_late_merge_still_reduces_the_layers(self) -> None:
        self.pauses(12)
        report = self.compact()
        self.assertGreater(report["layers_before"], 8)
        self.assertLess(report["layers_after"], 8)
        self.assert_right()


class DryRun(CompactTest):
    """What a dry run says is what the merge then does."""

    FIGURES = ("pause_id", "layers_before", "layers_after", "merged_layers", "read_bytes",
               "written_bytes", "freed_bytes", "duplicated_bytes", "next_pause_must_wait")

    def figures(self, report: dict) -> dict:
        """Those that a dry run foretells."""
        return {name: report[name] for name in self.FIGURES}

    def assert_foretold(self, policy: str) -> dict:
        """Compares a dry run with the run."""
        with self.unchanged():
            planned = self.compact("--policy", policy, "--dry-run")
        self.assertEqual(planned["outcome"], "planned")
        merged = self.compact("--policy", policy)
        self.assertEqual(merged["outcome"], "merged")
        self.assertEqual(self.figures(planned), self.figures(merged))
        self.assert_right()
        return merged

    def test_the_run_does_what_the_dry_run_said_under_every_policy(self) -> None:
        for policy in ("cap=4", "tiered:soft=4", "tiered:soft=6,ratio=1"):
            self.pauses(8)
            with self.subTest(policy=policy):
                report = self.assert_foretold(policy)
                self.assertGreater(report["freed_bytes"], 0)
                self.assertEqual(report["duplicated_bytes"], 0)

    def test_what_a_child_links_is_duplicated_not_freed(self) -> None:
        self.pauses(5)
        child_memory = self.memory.copy()
        child = self.ingest_diff(child_memory, run_guest(self.rng, child_memory), self.vm, "child")
        shared = [path for path in layers_of(self.vm) if path.stat().st_nlink == 2]
        self.assertEqual(len(shared), len(layers_of(self.vm)))
        expected = sum(path.stat().st_blocks * 512 for path in shared)
        report = self.assert_foretold("cap=3")
        self.assertEqual(report["duplicated_bytes"], expected)
        self.assertEqual(report["freed_bytes"], 0)
        self.assert_right(child, child_memory)

    def test_a_short_chain_is_left_alone(self) -> None:
        with self.unchanged():
            self.assertEqual(self.compact("--dry-run")["outcome"], "nothing")
            self.assertEqual(self.compact()["outcome"], "nothing")


class Races(CompactTest):
    """Another writer of the same name comes in between."""

    @needs_strace
    def test_a_pause_during_the_merge_wins_and_the_merge_is_done_again(self) -> None:
        self.pauses(4)
        with stopped_after("fsync", 1, self.directory, "compact", self.vm, "--json", "--policy",
                           "cap=2") as outcomes:
            self.pause()
        [outcome] = outcomes
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        [report] = outcome.json["snapshots"]
        self.assertEqual((report["outcome"], report["attempts"]), ("merged", 2))
        self.assertEqual(len(layers_of(self.vm)), 1)
        self.assert_right()
        self.assert_store_is_clean()

    @needs_strace
    def test_a_merge_that_is_not_needed_any_more_is_not_done_again(self) -> None:
        self.pauses(4)
        with stopped_after("fsync", 1, self.directory, "compact", self.vm, "--json", "--policy",
                           "cap=2") as outcomes:
            self.done("merge", self.vm)
            with_merge = tree_of(self.vm)
        [report] = outcomes[0].json["snapshots"]
        self.assertEqual((report["outcome"], report["attempts"]), ("nothing", 1))
        self.assertEqual(tree_of(self.vm), with_merge)
        self.assert_right()

    @needs_strace
    def test_a_snapshot_that_is_removed_during_the_merge_stays_removed(self) -> None:
        self.pauses(4)
        with stopped_after("fsync", 1, self.directory, "compact", self.vm, "--policy",
                           "cap=2") as outcomes:
            shutil.rmtree(self.vm)
        self.assertEqual(outcomes[0].code, EXIT_NOT_FOUND, str(outcomes[0]))
        self.assertFalse(self.vm.exists())
        self.assert_store_is_clean()

    def test_a_writer_that_does_not_end_lets_the_merge_be_dropped(self) -> None:
        self.pauses(4)
        with (self.store / ".lock/vm").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.unchanged(self.vm):
                report = self.compact("--policy", "full:cap=2,hard=4", code=EXIT_BUSY)
        self.assertEqual((report["outcome"], report["attempts"]), ("dropped", 4))
        self.assertTrue(report["next_pause_must_wait"])
        self.assertEqual(report["layers_before"], report["layers_after"])
        self.assertIn("dropped", report["notes"][-1])
        self.assert_store_is_clean()
        self.assert_right()
        self.assertFalse(self.compact("--policy", "full:cap=2,hard=4")["next_pause_must_wait"])

    def test_concurrent_pauses_and_merges_keep_every_byte(self) -> None:
        ended = Event()
        outcomes: list[Outcome] = []

        def keep_compacting() -> None:
            while not ended.is_set():
                outcomes.append(lamina("compact", self.vm, "--json", "--policy", "cap=2"))

        compactor = Thread(target=keep_compacting)
        compactor.start()
        try:
            for number in range(30):
                diff = write_diff(self.directory / f"{number}.diff", self.memory,
                                  run_guest(self.rng, self.memory))
                arguments = ("ingest", diff, "--parent", self.vm, "--out", self.vm, "--replace")
                while (paused := lamina(*arguments)).code == EXIT_BUSY:
                    pass
                self.assertEqual(paused.code, EXIT_DONE, str(paused))
                self.assert_right()
        finally:
            ended.set()
            compactor.join()
        self.assertLessEqual({outcome.code for outcome in outcomes}, {EXIT_DONE, EXIT_BUSY},
                             "\n".join(map(str, outcomes)))
        self.compact("--policy", "cap=2")
        self.assertEqual(len(layers_of(self.vm)), 1)
        self.assert_right()
        self.assert_store_is_clean()


class ManySnapshots(CompactTest):
    """Several snapshots in one run."""

    def setUp(self) -> None:
        super().setUp()
        self.pauses(3)
        self.other_memory = self.memory.copy()
        dirty = run_guest(self.rng, self.other_memory)
        self.other = self.ingest_diff(self.other_memory, dirty, self.vm, "other")

    def test_every_snapshot_of_a_store_is_merged(self) -> None:
        (self.store / "notes").mkdir()
        (self.store / "file").touch()
        (self.store / "link").symlink_to("vm")
        reports = self.done("compact", "--store", self.store, "--policy", "cap=2",
                            "--json").json["snapshots"]
        self.assertEqual([(report["snapshot"], report["outcome"]) for report in reports],
                         [(str(self.other), "merged"), (str(self.vm), "merged")])
        self.assert_right()
        self.assert_right(self.other, self.other_memory)

    @needs_strace
    def test_a_snapshot_of_a_store_removed_meanwhile_is_reported_gone(self) -> None:
        with stopped_after("fsync", 1, self.directory, "compact", "--store", self.store, "--policy",
                           "cap=2", "--json") as outcomes:
            shutil.rmtree(self.vm)
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))
        self.assertEqual([report["outcome"] for report in outcomes[0].json["snapshots"]],
                         ["merged", "gone"])

    def test_an_empty_store_has_nothing_to_merge(self) -> None:
        empty = self.directory / "empty"
        empty.mkdir()
        with self.unchanged():
            self.assertIn("no snapshots", self.done("compact", "--store", empty).stdout)
            self.assertEqual(self.done("compact", "--store", empty, "--json").json["snapshots"], [])

    def test_a_symbolic_link_is_refused(self) -> None:
        link = self.store / "link"
        link.symlink_to("vm")
        with self.unchanged():
            self.refused(EXIT_FAILED, "compact", link, "--policy", "cap=2",
                         names=[link, "symbolic link"])

    def test_a_failure_does_not_stop_the_others(self) -> None:
        layers_of(self.other)[0].unlink()
        none = self.store / "none"
        outcome = lamina("compact", none, self.other, self.vm, "--policy", "cap=2", "--json")
        self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
        document = json.loads(outcome.stdout)
        self.assertEqual([report["outcome"] for report in document["snapshots"]],
                         ["failed", "failed", "merged"])
        self.assertEqual(len(outcome.error_lines), 2)
        self.assertEqual(len(layers_of(self.vm)), 1)
        self.assert_right()


class BackgroundMerges(CompactTest):
    """Beside the VMs that run."""

    def test_a_limited_or_background_merge_gives_the_same_result(self) -> None:
        self.pauses(3)
        report = self.compact("--policy", "cap=2", "--background", "--rate", str(1 << 40))
        self.assertEqual((report["outcome"], report["notes"]), ("merged", []))
        self.assert_right()

    @needs_strace
    def test_a_background_merge_runs_in_the_idle_class(self) -> None:
        self.pauses(3)
        log = self.directory / "strace"
        self.done("compact", self.vm, "--policy", "cap=2", "--background",
                  prefix=["strace", "-f", "-o", str(log), "-e",
                          "trace=ioprio_set,setpriority,pwrite64,copy_file_range"])
        lines = log.read_text().splitlines()
        [idle] = [line for line in lines if "IOPRIO_CLASS_IDLE" in line]
        [nice] = [line for line in lines if "setpriority(PRIO_PROCESS, 0, 19)" in line]
        written = {line.split()[0] for line in lines if "pwrite64(" in line}
        self.assertEqual({idle.split()[0], nice.split()[0]}, written)


class Crash(CrashTest):
    """compact at every step."""

    def test_a_merge_of_the_youngest_layers_survives_every_fault(self) -> None:
        self.full_snapshot("base", self.memory)
        self.template.others = {"base": self.memory.copy()}
        self.diff_snapshot("one", "base", self.memory)
        self.template.others["one"] = self.memory.copy()
        self.diff_snapshot("vm", "one", self.memory)
        self.template.snapshot = "vm"
        self.template.before = self.template.after = self.memory
        self.try_everywhere(lambda s: ["compact", s.store / "vm", "--policy",
                                       "tiered:soft=3,ratio=1"])


if __name__ == "__main__":
    main()
