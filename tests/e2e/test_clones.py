#!/usr/bin/env python3
"""What tells clones apart, snapshots that may be resumed once, and VMs that are forked alive.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from faults import Point, require_strace
from firecracker import Firecracker
from lives import KILL
from memory_files import EXIT_FAILED, EXIT_USAGE, lamina, main
from sandbox import SandboxTest
from serving import wait_until

RUN_ON = ("--after", "resume")


class IdentityTest(SandboxTest):
    """What each resume is given of its own."""

    def test_each_resume_has_an_id_and_a_number(self) -> None:
        self.pause(self.fresh(), "a")
        with ThreadPoolExecutor(4) as pool:
            reports = [report for _, report in pool.map(
                lambda _: self.resume("a", "--mode", "file"), range(4))]
        self.assertEqual(sorted(report["clone"] for report in reports), [1, 2, 3, 4])
        self.assertEqual(len({report["resume_id"] for report in reports}), 4)
        self.assertEqual({report["generation_device"] for report in reports}, {"vmgenid"})
        self.done("fork", self.store / "a", self.store / "b")
        self.assertEqual(self.resume("b", "--mode", "file")[1]["clone"], 5, "the same pause")
        old = self.waiting("--version", "1.7.0")
        self.assertEqual(self.resume("a", "--mode", "file", vm=old)[1]["generation_device"], "none")

    def test_metadata_has_the_identity_before_the_vm_runs(self) -> None:
        self.pause(self.fresh(), "a")
        metadata = self.directory / "metadata.json"
        metadata.write_text(json.dumps({"tenant": "t1"}))
        vm = self.waiting("--mmds")
        _, report = self.resume("a", "--mmds", metadata, "--stay-paused", vm=vm)
        self.assertEqual(vm.state(), "Paused")
        self.assertEqual(vm.done("GET", "/mmds").json, {"tenant": "t1", "lamina": {
            "clone": "1", "resume_id": report["resume_id"], "pause_id": report["pause_id"],
            "snapshot": "a"}})
        vm.resume()
        self.check(vm)

    def test_without_a_metadata_service_the_vm_does_not_run(self) -> None:
        self.pause(self.fresh(), "a")
        metadata = self.directory / "metadata.json"
        metadata.write_text("{}")
        vm = self.waiting()
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                         "--mode", "file", "--mmds", metadata)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("was killed before its VM ran", str(outcome))
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.assertEqual(self.pins(), [])

    def test_bad_metadata_is_refused_before_anything_is_loaded(self) -> None:
        self.pause(self.fresh(), "a")
        metadata = self.directory / "metadata.json"
        vm = self.waiting("--mmds")
        for text in ("[]", "", '{"lamina": 1}'):
            metadata.write_text(text)
            outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name",
                             "a", "--mmds", metadata)
            self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
        self.assertEqual(vm.state(), "Not started")
        self.assertEqual(self.pins(), [])


class OnceTest(SandboxTest):
    """A snapshot that may be resumed only once."""

    def setUp(self) -> None:
        super().setUp()
        vm = self.fresh()
        vm.tell("run 100 1")
        self.pause(vm, "a", "--once")

    def resume_fails(self, name: str, *options: str | Path,
                     vm: Firecracker | None = None) -> str:
        """Resumes, which must fail; returns what was said."""
        vm = vm or self.waiting()
        outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         "--mode", "file", *options)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        return str(outcome)

    def consumed(self, name: str = "a") -> bool:
        """What inspect says."""
        info = self.done("inspect", self.store / name, "--json").json
        self.assertTrue(info["once"])
        return bool(info["consumed"])

    def test_it_is_resumed_once_whatever_its_name_and_layers(self) -> None:
        self.assertFalse(self.consumed())
        first, report = self.resume("a", "--mode", "file")
        self.check(first)
        self.assertTrue(self.consumed())
        waiting = self.waiting()
        self.assertRegex(self.resume_fails("a", vm=waiting),
                         f"only once, and was at .* by process {first.pid}-")
        self.assertEqual(waiting.state(), "Not started")
        self.assertEqual(len(self.pins()), 1)
        self.done("merge", self.store / "a")
        self.resume_fails("a")
        self.recover()
        self.resume_fails("a")
        shutil.copytree(self.store / "a", self.directory / "copy")
        shutil.rmtree(self.store / "a")
        (self.directory / "copy").rename(self.store / "b")
        self.resume_fails("b")
        # What it is paused into is another state.
        self.assertEqual(self.pause(first, "c")["parent_pause_id"], report["pause_id"])
        for _ in range(2):
            self.check(self.resume("c", "--mode", "file")[0])

    def test_a_load_that_fails_gives_it_back(self) -> None:
        vm = self.waiting("--fail", "load-refuse")
        self.resume_fails("a", vm=vm)
        vm.wait()
        self.assertFalse(self.consumed())
        self.check(self.resume("a", "--mode", "file")[0])

    def test_a_refusal_before_the_load_gives_it_back(self) -> None:
        metadata = self.directory / "metadata.json"
        metadata.write_text("{}")
        self.resume_fails("a", "--mmds", metadata)
        self.assertFalse(self.consumed())

    def test_a_mark_that_cannot_be_stored_is_not_there(self) -> None:
        """No space for it: that is said, and the state can be resumed when there is some."""
        require_strace(self)
        failed = 0
        for call in ("pwrite64", "fsync"):
            for number in range(1, 12):
                vm = self.waiting()
                point = Point(call, number, False, follows=False)
                outcome = lamina("resume", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                                 "--mode", "file", prefix=point.strace("error=ENOSPC"))
                with self.subTest(str(point)):
                    self.assertNotIn("only once", str(outcome))
                    if outcome.code and vm.is_running() and vm.state() == "Not started":
                        failed += 1
                        self.assertFalse(self.consumed())
                vm.end()
                if self.consumed():
                    self.pause(self.fresh(), "a", "--once", "--replace")
        self.assertGreater(failed, 3)

    def test_killed_at_any_call_it_runs_at_most_once(self) -> None:
        require_strace(self)
        traced = self.directory / "trace"
        vm = self.waiting()
        words = ("resume", "--store", self.store, "--name", "a", "--mode", "file", "--api")
        self.done("pause", "--api", self.fresh().api_socket, "--store", self.store, "--name",
                  "trace", "--once")
        lamina(*words[:4], "trace", *words[5:], vm.api_socket,
               prefix=["strace", "-f", "-qq", "-o", str(traced), "-e", "trace=sendto,fsync"])
        calls = re.findall(r"\b(sendto|fsync)\(", traced.read_text())
        vm.end()
        running = 0
        for call in ("sendto", "fsync"):
            for number in range(1, calls.count(call) + 1):
                name = f"{call}-{number}"
                source = self.fresh()
                self.pause(source, name, "--once")
                vm = self.waiting()
                killed = lamina(*words[:4], name, *words[5:], vm.api_socket,
                                prefix=Point(call, number, False).strace(KILL))
                with self.subTest(name):
                    self.assertIn(killed.code, (-signal.SIGKILL, 128 + signal.SIGKILL),
                                  str(killed))
                    ran = vm.is_running() and vm.state() == "Running"
                    loaded = vm.is_running() and vm.state() != "Not started"
                    running += ran
                    self.assertTrue(self.consumed(name) or not loaded)
                    if self.consumed(name):
                        self.assertIn("only once", self.resume_fails(name))
                        if not loaded:
                            self.check(self.resume(name, "--mode", "file", "--again")[0])
                    else:
                        self.check(self.resume(name, "--mode", "file")[0])
                        self.resume_fails(name)
                vm.end()


class LiveForkTest(SandboxTest):
    """Clones that run before their state is on the disk."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = Path(tempfile.mkdtemp(prefix="lamina-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, self.memory)

    def words(self, vm: Firecracker, clones: list[Firecracker],
              *options: str | Path) -> list[str | Path]:
        """The command."""
        return ["fork", "--live", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                "--freeze-directory", self.memory, *options,
                *[clone.api_socket for clone in clones], "--json"]

    def fork(self, vm: Firecracker, clones: list[Firecracker],
             *options: str | Path) -> dict[str, Any]:
        """Forks; the report."""
        return self.done(*self.words(vm, clones, *options)).json

    def source(self) -> Firecracker:
        """A VM whose next checkpoint is a diff."""
        vm = self.fresh()
        vm.tell("run 300 1")
        self.pause(vm, "a", *RUN_ON)
        vm.tell("run 60 2")
        return vm

    def test_clones_and_source_go_their_own_ways(self) -> None:
        for mode in ("uffd", "file"):
            with self.subTest(mode):
                vm = self.source()
                clones = [self.waiting() for _ in range(3)]
                report = self.fork(vm, clones, "--mode", mode)
                self.assertEqual((report["pause"]["kind"], report["pause"]["place"]),
                                 ("diff", "memory"))
                self.assertEqual(report["notes"], [])
                self.assertEqual(sorted(clone["resume"]["clone"] for clone in report["clones"]),
                                 [1, 2, 3])
                self.assertLessEqual(report["readable_ms"], report["clones_ms"])
                self.assertEqual(vm.state(), "Running")
                for number, one in enumerate([vm, *clones]):
                    self.check(one)
                    one.tell(f"run 50 {number + 10}")
                    self.check(one)
                # Settled: each takes a diff against the snapshot.
                for number, clone in enumerate(clones):
                    paused = self.pause(clone, f"{mode}-{number}")
                    self.assertEqual((paused["kind"], paused["parent_pause_id"]),
                                     ("diff", report["pause"]["pause_id"]))
                    self.check(self.resume(f"{mode}-{number}", "--mode", "file")[0])
                self.assertEqual(self.pause(vm, "a")["kind"], "diff")
                self.check(self.resume("a", "--mode", "file")[0])
                self.assert_nothing_left()
                self.done("rm", self.store / "a")

    def test_a_first_fork_is_of_a_full_memory_file(self) -> None:
        vm = self.fresh()
        vm.tell("run 300 1")
        clone = self.waiting()
        self.assertEqual(self.fork(vm, [clone])["pause"]["kind"], "full")
        self.check(clone)
        self.check(vm)

    def test_a_clone_that_fails_fails_no_other(self) -> None:
        vm = self.source()
        bad, good = self.waiting("--fail", "load-refuse"), self.waiting()
        outcome = lamina(*self.words(vm, [bad, good], "--mode", "file"))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.check(good)
        self.check(vm)
        self.done("verify", self.store / "a")
        self.assertEqual(self.pause(good, "b")["kind"], "diff")

    def test_what_makes_no_sense_is_refused(self) -> None:
        vm = self.source()
        clone = self.waiting()
        for clones in ([], [clone, clone], [vm]):
            self.assertEqual(lamina(*self.words(vm, clones)).code, EXIT_USAGE)
        self.assertEqual(clone.state(), "Not started")

    def sync_of_layer(self) -> int:
        """The number of the fsync, in the thread of the pause, that syncs the new layer."""
        require_strace(self)
        vm = self.source()
        traced = self.directory / "trace"
        outcome = lamina(*self.words(vm, [self.waiting()], "--mode", "uffd"),
                         prefix=["strace", "-y", "-qq", "-o", str(traced), "-e", "trace=fsync"])
        self.assertEqual(outcome.code, 0, str(outcome))
        self.done("rm", self.store / "a")
        lines = [line for line in traced.read_text().splitlines() if line.startswith("fsync(")]
        layers = [number for number, line in enumerate(lines, 1)
                  if re.search(r"/\.pending/[^>]*/memfile\.[0-9a-f-]{36}>", line)]
        self.assertTrue(layers, str(lines))
        return layers[0]

    def test_if_it_cannot_be_stored_clones_run_on_and_take_full_files(self) -> None:
        number = self.sync_of_layer()
        vm, clone = self.source(), self.waiting()
        outcome = lamina(*self.words(vm, [clone], "--mode", "uffd"),
                         prefix=Point("fsync", number, False, False).strace("error=EIO"))
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertIn("acknowledged and queued", str(outcome))
        self.assertIn("1 of 1 clones run from what was not stored", str(outcome))
        self.assertIn(f"clone '{clone.api_socket}' runs: process {clone.pid}", str(outcome))
        self.check(clone)
        clone.tell("run 50 9")
        self.assertEqual(len(os.listdir(self.store / ".pending")), 2, "a directory and a journal")
        report = self.pause(clone, "b", *RUN_ON)
        self.assertEqual(report["kind"], "full")
        self.assertIn("was not on the disk", report["reason"])
        clone.tell("run 50 10")
        self.assertEqual(self.pause(clone, "b")["kind"], "diff")
        self.check(self.resume("b", "--mode", "file")[0])
        self.assertEqual(self.recover()["completed"], 1)
        self.assert_nothing_left()
        vm.tell("run 50 11")
        self.assertEqual(self.pause(vm, "a")["kind"], "diff")
        self.check(self.resume("a", "--mode", "file")[0])

    def test_killed_before_it_is_stored_clones_run_on(self) -> None:
        number = self.sync_of_layer()
        vm, clones = self.source(), [self.waiting(), self.waiting()]
        killed = lamina(*self.words(vm, clones, "--mode", "file"),
                        prefix=Point("fsync", number, False, False).strace(KILL))
        self.assertIn(killed.code, (-signal.SIGKILL, 128 + signal.SIGKILL), str(killed))
        self.assertEqual(vm.state(), "Running")
        for name, clone in zip(("b", "c"), clones, strict=True):
            # It was being loaded in another thread of the killed process.
            if not clone.is_running() or clone.state() != "Running":
                continue
            self.check(clone)
            self.assertEqual(self.pause(clone, name)["kind"], "full")
            self.check(self.resume(name, "--mode", "file")[0])
        for clone in clones:
            clone.end()
        self.assertEqual(self.recover()["completed"], 1)
        self.assert_nothing_left()
        self.check(self.resume("a", "--mode", "file")[0])
        self.assertEqual(self.pause(vm, "a")["kind"], "diff")


class WorkingSetTest(SandboxTest):
    """Resumes record what they need, unasked."""

    def inspected(self, name: str) -> dict[str, Any]:
        """What inspect says."""
        return self.done("inspect", self.store / name, "--json").json

    def recorded(self, name: str, resumes: int) -> dict[str, Any]:
        """The same, once so many recordings of the state are on record."""
        wait_until(lambda: len(self.inspected(name)["last_resumes"]) >= resumes,
                   f"{resumes} recordings of {name}")
        return self.inspected(name)

    def resume_and_touch(self, name: str, seed: int, *options: str) -> None:
        """A VM that reads some pages and ends."""
        vm, _ = self.resume(name, "--mode", "uffd", *options)
        vm.tell(f"touch 200 {seed}")
        vm.end()

    def setUp(self) -> None:
        super().setUp()
        vm = self.fresh()
        vm.tell("run 3000 1")
        self.pause(vm, "a")

    def test_the_second_resume_has_the_set_of_the_first(self) -> None:
        self.assertEqual(self.inspected("a")["working_set_blocks"], 0)
        self.resume_and_touch("a", 7)
        first = self.recorded("a", 1)
        self.assertGreater(first["working_set_blocks"], 0)
        self.assertFalse(first["last_resumes"][0]["replayed"])
        self.assertEqual(first["last_resumes"][0]["known_blocks"], 0)
        self.resume_and_touch("a", 7)
        second = self.recorded("a", 2)["last_resumes"][1]
        self.assertTrue(second["replayed"])
        self.assertGreaterEqual(second["known_blocks"] * 10, second["used_blocks"] * 9)
        self.done("verify", self.store / "a")
        self.done("merge", self.store / "a")
        self.assertEqual(self.inspected("a")["working_set_blocks"], first["working_set_blocks"])
        self.done("fork", self.store / "a", self.store / "b")
        self.assertEqual(self.inspected("b")["working_set_blocks"], first["working_set_blocks"])

    def test_a_resume_without_a_fault_is_on_record(self) -> None:
        self.resume_and_touch("a", 7)
        self.recorded("a", 1)
        vm, _ = self.resume("a", "--mode", "uffd")
        vm.end()
        second = self.recorded("a", 2)["last_resumes"][1]
        self.assertTrue(second["replayed"])
        self.assertEqual(second["known_blocks"], second["used_blocks"])

    def test_a_vm_that_is_paused_soon_gives_its_set_to_the_child(self) -> None:
        vm, _ = self.resume("a", "--mode", "uffd")
        vm.tell("touch 200 7")
        self.pause(vm, "a")
        vm.wait()
        wait_until(lambda: self.inspected("a")["working_set_blocks"] > 0, "the child has a set")
        self.done("verify", self.store / "a")

    def test_nothing_is_recorded_that_is_not_to_be(self) -> None:
        self.resume_and_touch("a", 7, "--no-record")
        self.resume_and_touch("a", 7, "--populate", "all")
        self.resume_and_touch("a", 7)
        info = self.recorded("a", 1)
        self.assertEqual(len(info["last_resumes"]), 1)


if __name__ == "__main__":
    main()
