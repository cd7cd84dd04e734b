#!/usr/bin/env python3
"""The daemon, killed at every step of what it is asked to do: nothing is lost.

Commands ask the daemon, which strace kills at the n-th call with which the thread that carries the
request out changes the disk or talks to Firecracker. The next daemon recovers the store as it
starts (now and then it is killed in that as well); then what test_lifecycle_crash.py says must hold.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries. TORTURE=all takes every call
instead of a sample. SEED repeats the sample of an earlier run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import Daemon
from faults import Point, changes_the_disk
from firecracker import Firecracker
from lives import (CALLS, KILL, CrashTest, Fault, Life, Scenario, check_pause, check_resume)
from memory_files import EXIT_DONE, Outcome, lamina, main
from serving import is_traced, wait_until


class DaemonCrash(CrashTest):
    """One request, at every step."""

    def setUp(self) -> None:
        super().setUp()
        self.killed = 0

    def torture(self, scenario: Scenario) -> None:
        """Most of the faults must have happened."""
        super().torture(scenario)
        print(f"{self.killed} daemons killed", end=" ", flush=True)
        self.assertGreater(self.killed, 5)

    def points(self, life: Life, scenario: Scenario) -> list[Point]:
        """The calls of the thread that has made most of those that count."""
        log = life.directory / "strace"
        with self.daemon(life) as daemon:
            options = ["-o", log, "-e", "trace=" + ",".join(f"?{call}" for call in CALLS)]
            with self.traced(daemon, options):
                outcome = lamina(*scenario.command(life))
                assert outcome.code == EXIT_DONE, str(outcome)
        numbers: dict[tuple[str, str], int] = {}
        found: dict[str, list[Point]] = {}
        for line in log.read_text().splitlines():
            called = re.match(r"(\d+) +(\w+)\(", line)
            if called is None:
                continue
            thread, call = called[1], called[2]
            number = numbers[thread, call] = numbers.get((thread, call), 0) + 1
            if changes_the_disk(line):
                found.setdefault(thread, []).append(Point(call, number, " = -1 " in line))
        log.unlink()
        return max(found.values(), key=len)

    def faults_of(self, points: list[Point], scenario: Scenario) -> list[Fault]:
        """Kills; failing calls are the same without a daemon."""
        return [fault for fault in super().faults_of(points, scenario) if fault.effect == KILL]

    def attempt(self, life: Life, scenario: Scenario, fault: Fault) -> Outcome:
        """The command, whose daemon is killed."""
        call = fault.point.call
        with self.daemon(life) as daemon:
            options = ["-o", "/dev/null", "-e", f"trace={call}", "-e",
                       f"inject={call}:{fault.effect}:when={fault.point.number}"]
            with self.traced(daemon, options):
                outcome = lamina(*scenario.command(life))
            if outcome.code != EXIT_DONE:
                wait_until(lambda: not daemon.is_running(), f"the daemon was killed: {outcome}")
            self.killed += not daemon.is_running()
        return outcome

    def put_right(self, life: Life, outcome: Outcome, trail: list[str]) -> None:
        """By the daemon that comes after."""
        with self.daemon(life) as daemon:
            trail.append(daemon.said())
        self.check_store(life)

    @contextmanager
    def daemon(self, life: Life) -> Iterator[Daemon]:
        """One that has recovered the store; it is killed at the end."""
        daemon = Daemon(life.store, life.directory)
        try:
            wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
            yield daemon
        finally:
            daemon.end()

    @staticmethod
    @contextmanager
    def traced(daemon: Daemon, options: list[str | Path]) -> Iterator[None]:
        """All threads of the daemon are traced; what they call is counted from here on."""
        with subprocess.Popen(["strace", "-f", "-qq", "-p", str(daemon.pid), *map(str, options)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as strace:
            try:
                wait_until(lambda: is_traced(daemon.pid), "strace attaches")
                yield
            finally:
                strace.kill()  # it would wait for threads that were not joined

    def test_a_checkpoint_survives_every_fault(self) -> None:
        self.torture(Scenario(Life.renew, lambda life: life.pause_words("--after", "resume"),
                              check_pause("resume"), every=5))

    def test_a_pause_after_which_the_vm_is_stopped_survives_every_fault(self) -> None:
        self.torture(Scenario(Life.renew, lambda life: life.pause_words("--after", "stop"),
                              check_pause("stop"), every=5))

    def test_a_resume_survives_every_fault(self) -> None:
        self.torture(Scenario(self.prepare_resume,
                              lambda life: life.resume_words("--mode", "uffd"), check_resume,
                              every=4))

    def test_a_live_fork_survives_every_fault(self) -> None:
        clones: dict[Life, list[Firecracker]] = {}

        def prepare(life: Life) -> None:
            for clone in clones.pop(life, []):
                clone.end()
            life.renew()
            clones[life] = [life.new_vm() for _ in range(2)]
            for clone in clones[life]:
                self.addCleanup(clone.end)

        def command(life: Life) -> list[str | Path]:
            assert life.vm is not None and life.memory is not None
            return ["fork", "--live", "--api", life.vm.api_socket, "--store", life.store, "--name",
                    life.name, "--json", "--mode", life.rng.choice(("uffd", "file")),
                    "--freeze-directory", life.memory,
                    *[clone.api_socket for clone in clones[life]]]

        def check(life: Life, outcome: Outcome) -> None:
            assert life.vm is not None and life.vm.state() == "Running", "the source runs on"
            if outcome.code == EXIT_DONE:
                assert life.pause_id() == outcome.json["pause"]["pause_id"], str(outcome)
            for clone in clones[life]:
                # It was being loaded by the daemon that was killed.
                if not clone.is_running() or clone.state() != "Running":
                    assert outcome.code != EXIT_DONE, "a clone does not run"
                    continue
                answer = clone.control("check")
                assert answer.startswith("ok "), answer
                life.done("pause", "--api", clone.api_socket, "--store", life.store, "--name", "c",
                          "--replace")
                life.done("verify", life.store / "c")
        self.torture(Scenario(prepare, command, check, every=8, in_memory=True))

    def test_a_merge_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            life.renew()
            for _ in range(2):
                life.done(*life.pause_words("--after", "resume"))
                life.run()
            life.before = life.pause_id()

        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() == life.before, "a merge makes no other pause"
        self.torture(Scenario(
            prepare, lambda life: ["compact", life.store / life.name, "--policy", "full:cap=2"],
            check, every=3))

    def test_a_removal_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            life.renew()
            if not (life.store / "extra").exists():
                life.done("fork", life.store / life.name, life.store / "extra")

        def check(life: Life, outcome: Outcome) -> None:
            if outcome.code == EXIT_DONE:
                assert not (life.store / "extra").exists(), "it comes back"
        self.torture(Scenario(prepare, lambda life: ["rm", life.store / "extra"], check))


if __name__ == "__main__":
    main()
