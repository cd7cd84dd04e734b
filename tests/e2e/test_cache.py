#!/usr/bin/env python3
"""--cache-bytes: two hosts and a bucket; the second one bounds the disk that its snapshots take.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries. SEED repeats the sample of an
earlier run, TORTURE=all takes every call.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import DaemonTest
from faults import CHANGING_CALLS, Point, points_of, require_strace
from memory_files import EXIT_DONE, lamina, main

NAMES = ("a", "b", "c")
NOTHING = 0
WORKERS = 2


class CacheTest(DaemonTest):
    """Three pauses in a bucket, and a host that has nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = self.directory / "bucket"
        self.bucket.mkdir()
        self.url = f"file://{self.bucket}"
        origin = self.store
        origin.mkdir(exist_ok=True)
        self.pauses = {}
        for number, name in enumerate(NAMES):
            vm = self.fresh()
            vm.tell(f"run 200 {number}")
            self.pauses[name] = self.pause(vm, name, "--after", "stop")["pause_id"]
            vm.end()
            self.done("remote", "push", self.url, origin / name)
        self.store = self.directory / "other"
        self.store.mkdir()

    def pull(self, name: str, bound: int | None = None) -> dict:
        """Pulls into the second store; returns the report."""
        options = [] if bound is None else ["--cache-bytes", str(bound)]
        return self.done("remote", "pull", self.url, name, "--store", self.store, *options,
                         "--json").json

    def here(self) -> list[str]:
        """The names of the snapshots in the store."""
        return sorted(path.name for path in self.store.iterdir() if path.name[0] != ".")

    def bound_of(self, *names: str) -> int:
        """What these snapshots take."""
        inodes = {status.st_ino: status.st_blocks * 512 for name in names
                  for status in (path.stat() for path in (self.store / name).iterdir())}
        return sum(inodes.values())


class Eviction(CacheTest):
    """What goes, and what stays."""

    def test_the_least_recently_resumed_makes_room_and_comes_back(self) -> None:
        self.pull("a")
        self.pull("b")
        vm, _ = self.resume("a", "--mode", "file")  # so b is the oldest now
        vm.end()
        self.recover()
        report = self.pull("c", self.bound_of("a", "b") * 5 // 4)
        self.assertEqual(report["evicted"], ["b"])
        self.assertGreater(report["evicted_bytes"], 0)
        self.assertEqual(report["cache_bytes"], self.bound_of("a", "c"))
        self.assertEqual(self.here(), ["a", "c"])
        vm, _ = self.resume("b", "--remote", self.url, "--mode", "file",
                            "--cache-bytes", str(self.bound_of("a", "c") * 5 // 4))
        self.check(vm)
        self.assertEqual(self.here(), ["b", "c"])
        self.assert_nothing_left()

    def test_a_vm_keeps_what_it_runs_from_and_a_note_says_so(self) -> None:
        self.pull("a")
        vm, _ = self.resume("a", "--mode", "uffd")
        outcome = self.done("remote", "pull", self.url, "b", "--store", self.store,
                            "--cache-bytes", "1", "--json")
        self.assertEqual(outcome.json["evicted"], [])
        self.assertEqual(self.here(), ["a", "b"])
        notes = " ".join(outcome.json["notes"])
        self.assertIn("bytes above its bound of 1", notes)
        self.assertIn("1 that VMs run from", notes)
        self.check(vm)
        vm.tell("run 10 3")
        self.pause(vm, "own", "--after", "stop")
        vm.end()
        self.recover()
        # The pause was not pushed, and holds the layers of its base.
        self.pull("c", NOTHING)
        self.assertEqual(self.here(), ["a", "c", "own"])
        vm, _ = self.resume("own")
        self.check(vm)

    def test_what_the_bucket_does_not_have_stays(self) -> None:
        self.pull("a")
        self.pull("b")
        self.done("remote", "rm", self.url, "a")
        outcome = self.done("remote", "pull", self.url, "c", "--store", self.store,
                            "--cache-bytes", str(NOTHING), "--json")
        self.assertEqual(outcome.json["evicted"], ["b"])
        self.assertIn("1 that the bucket does not have any more",
                      " ".join(outcome.json["notes"]))
        self.done("verify", self.store / "a")

    def test_a_bucket_that_is_away_is_no_reason_to_fail_or_to_evict(self) -> None:
        self.pull("a")
        self.pull("b")
        self.bucket.rename(self.directory / "away")
        vm, _ = self.resume("b", "--remote", self.url, "--cache-bytes", "1")
        self.check(vm)
        self.assertEqual(self.here(), ["a", "b"])

    def test_a_resume_beside_evictions_finds_its_snapshot_or_pulls_it(self) -> None:
        for number in range(6):
            vm = self.waiting()
            with ThreadPoolExecutor(WORKERS) as pool:
                resumed = pool.submit(lamina, "resume", "--api", vm.api_socket, "--store",
                                      self.store, "--name", "a", "--remote", self.url, "--mode",
                                      ("file", "uffd")[number % 2])
                evicted = pool.submit(lamina, "remote", "pull", self.url, "b", "--store",
                                      self.store, "--cache-bytes", str(NOTHING))
            self.assertEqual(resumed.result().code, EXIT_DONE, str(resumed.result()))
            self.assertEqual(evicted.result().code, EXIT_DONE, str(evicted.result()))
            self.check(vm)
            vm.end()
            self.stop_page_servers()
            self.recover()
            self.done("rm", self.store / "b")

    def test_the_daemon_bounds_its_cache_and_counts(self) -> None:
        self.pull("a")
        self.pull("b")
        daemon = self.start("--push", self.url, "--cache-bytes", self.bound_of("a"))
        report = daemon.done("POST", "/v1/pull", {"name": "c"})
        self.assertEqual(report["evicted"], ["a", "b"])
        self.assertEqual(self.here(), ["c"])
        self.assertEqual(daemon.metric("laminad_evictions_total"), 2)
        self.assertEqual(daemon.metric("laminad_evicted_bytes_total"), report["evicted_bytes"])
        self.assertEqual(daemon.metric("laminad_cache_bytes"), self.bound_of("c"))
        vm, _ = self.resumed(daemon, "a", pull=True)
        self.check(vm)
        self.assertEqual(self.here(), ["a"])
        self.assertEqual(daemon.metric("laminad_evictions_total"), 3)


class Crash(CacheTest):
    """A pull that evicts, killed at every step."""

    def test_a_kill_leaves_each_snapshot_whole_or_evicted(self) -> None:
        require_strace(self)
        seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"SEED={seed}", end=" ", flush=True)
        self.pull("a")
        self.pull("b")
        template = self.store
        copies = (self.directory / f"copy-{number}" for number in itertools.count())

        def fresh() -> tuple[Path, list[str | Path]]:
            store = next(copies)
            shutil.copytree(template, store)
            return store, ["remote", "pull", self.url, "c", "--store", store, "--cache-bytes",
                           str(NOTHING)]

        store, command = fresh()
        points = points_of(command, self.directory, CHANGING_CALLS, follows=False)
        self.assertEqual([path.name for path in store.iterdir() if path.name[0] != "."], ["c"])
        removing = [point for point in points if point.call in ("renameat2", "unlinkat")]
        self.assertGreater(len(removing), 10)
        rng = random.Random(seed)
        every = 1 if os.environ.get("TORTURE") == "all" else 3
        taken = [(point, *fresh()) for point in points[rng.randrange(every)::every]]
        print(f"{len(points)} points, {len(taken)} rounds", flush=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = list(pool.map(lambda one: self.round(*one), taken))
        self.assertIn(True, outcomes)   # some have evicted before they were killed
        self.assertIn(False, outcomes)  # and some have not

    def round(self, point: Point, store: Path, command: list[str | Path]) -> bool:
        """One kill. Whether something was evicted then."""
        lamina(*command, prefix=point.strace("signal=SIGKILL"))
        there = [name for name in NAMES if (store / name).exists()]
        for name in NAMES:
            if name not in there:
                self.done("remote", "pull", self.url, name, "--store", store)
            outcome = self.done("inspect", store / name, "--json")
            self.assertEqual(outcome.json["pause_id"], self.pauses[name], str(point))
            self.done("verify", store / name)
        self.done("recover", store)
        self.assertEqual(os.listdir(store / ".tmp"), [], str(point))
        shutil.rmtree(store)
        return not {"a", "b"} <= set(there)


if __name__ == "__main__":
    main()
