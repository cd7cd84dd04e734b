#!/usr/bin/env python3
"""A busy host: many sandboxes at once in one store, by commands, through a daemon, and by its API.

Each sandbox is a thread with a VM of its own that pauses, checkpoints, resumes, forks, merges,
removes, lists, exports and recovers as its random numbers say. Some names are shared by all. Every
operation must succeed, or be refused for a right reason: the object is busy, or somebody else has
removed or made it. No message may be about a file that is lamina's own affair, every guest must be
right after every resume, and in the end nothing is left but the snapshots that are acknowledged.

In the second test processes are killed meanwhile: commands, VMs and the daemon.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries. SEED repeats the operations of
an earlier run (how they interleave remains the machine's affair). SANDBOXES and OPERATIONS (of
each) are for longer runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import Daemon, DaemonTest
from firecracker import Firecracker
from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, MEMORY_FS, lamina,
                          main, program)
from serving import wait_until

MEMORY_MIB = 8
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
SANDBOXES = int(os.environ.get("SANDBOXES", 16))
OPERATIONS = int(os.environ.get("OPERATIONS", 5))
SHARED = ("shared-0", "shared-1")

# What only a fault of lamina can make it say here.
INTERNAL = re.compile(r"no such file|rename to|rmdir|unlink|file exists|not empty|corrupt|damaged"
                      r"|is missing|could not be removed|find out what", re.IGNORECASE)
# What a killed process has left is removed by others, who say so.
LEFT = re.compile(r"did not end|left by a process|stays queued", re.IGNORECASE)
CODES = {"busy": EXIT_BUSY, "not_found": EXIT_NOT_FOUND}


@dataclass(frozen=True)
class Reply:
    """How one operation ended: with the exit code, or that of the API's error."""

    what: str
    code: int
    text: str
    json: Any

    def __str__(self) -> str:
        return f"{self.what}\n  exit {self.code}: {self.text[:1000]}"


class Unknown(Exception):
    """The daemon was killed before it answered."""


class Host:
    """The store, its daemon, and the memory for diffs, which two stores share."""

    def __init__(self, directory: Path, freeze: Path, kills: bool) -> None:
        self.directory = directory
        self.store = directory / "store"
        self.other = directory / "other"
        self.other.mkdir()
        self.freeze = freeze
        self.kills = kills
        self.daemons = 0
        self.daemon = self.start()

    def start(self) -> Daemon:
        """A daemon that merges and recovers as often as it can."""
        self.daemons += 1
        directory = self.directory / f"daemon-{self.daemons}"
        directory.mkdir()
        return Daemon(self.store, directory, "--recover-interval", 1, "--policy", "tiered:soft=3",
                      "--freeze-directory", self.freeze)

    def kill_daemon(self) -> None:
        """By SIGKILL; then another."""
        self.daemon.signal(signal.SIGKILL)
        self.daemon.wait()
        self.daemon = self.start()

    def start_second(self) -> None:
        """It is refused as long as the first runs."""
        directory = self.directory / "second"
        directory.mkdir(exist_ok=True)
        try:
            second = Daemon(self.store, directory)
        except AssertionError as error:
            assert "has a daemon already" in str(error), str(error)
            return
        second.end()
        raise AssertionError("a store has two daemons")


class Sandbox:
    """One VM, and its snapshots with their pause ids."""

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.name = f"s{number}"
        self.rng = random.Random(SEED + number)
        self.trail: deque[str] = deque(maxlen=30)
        self.snapshots: dict[str, str] = {}
        self.made = 0
        self.vm = self.fresh()

    @staticmethod
    def fresh() -> Firecracker:
        """A VM that was just started and runs."""
        return Firecracker("--start", "--memory-mib", MEMORY_MIB, "--balloon")

    def start_over(self) -> None:
        """With another VM. What is in the store of the old one is not known."""
        self.vm.end()
        self.snapshots.clear()
        self.vm = self.fresh()

    def live(self, operations: int) -> str | None:
        """All of its life; returns what was wrong."""
        choices: list[tuple[int, Callable[[], None]]] = [
            (10, self.checkpoint), (6, self.stop_and_resume), (3, self.stay), (5, self.fork),
            (4, self.fork_live), (5, self.remove), (4, self.merge), (1, self.compact),
            (2, self.recover), (3, self.list), (3, self.read), (8, self.share), (2, self.race),
            (1, self.pause_elsewhere)]
        if self.host.kills:
            choices += [(3, self.kill_command), (2, self.start_over)]
        weights = [weight for weight, _ in choices]
        try:
            for _ in range(operations):
                operation = self.rng.choices(choices, weights)[0][1]
                self.trail.append(operation.__name__)
                try:
                    operation()
                except Unknown:
                    self.start_over()
            self.check(self.vm)
        except Exception as error:  # pylint: disable=broad-except  # with what led to it
            last = "\n  ".join(self.trail)
            return f"{self.name}: {type(error).__name__}: {error}\n  {last}\n{self.vm.said()}"
        return None

    # How operations are asked for.

    def command(self, *words: str | Path, follow: bool = False) -> Reply:
        """Runs the program, which follows the daemon or not."""
        options = [*words, "--json"]
        if not follow and words[0] in ("pause", "resume", "fork", "rm", "compact", "recover"):
            options.append("--no-daemon")
        outcome = lamina(*options)
        self.trail.append(f"{' '.join(map(str, options))}: {outcome.code} {outcome.stderr}")
        if "has not answered" in outcome.stderr and self.host.kills:
            raise Unknown
        report = json.loads(outcome.stdout) if outcome.code == EXIT_DONE else None
        return self.looked_at(Reply(" ".join(map(str, options)), outcome.code, outcome.stderr,
                                    report))

    def request(self, method: str, path: str, body: Any = None) -> Reply:
        """Asks the daemon."""
        what = f"{method} {path} {body}"
        try:
            answer = self.host.daemon.request(method, path, body)
        except OSError:
            if self.host.kills:
                raise Unknown from None
            raise
        except Exception:
            if self.host.kills:  # an answer that is cut short
                raise Unknown from None
            raise
        self.trail.append(f"{what}: {answer.status} {answer.body[:500]}")
        if answer.status == 200:
            notes = answer.json.get("notes") or []
            return self.looked_at(Reply(what, EXIT_DONE, "\n".join(notes), answer.json))
        kind = answer.json["error"]["kind"]
        return self.looked_at(Reply(what, CODES.get(kind, EXIT_FAILED), answer.body, None))

    def looked_at(self, reply: Reply) -> Reply:
        """What it says is for the caller, and not about lamina's own files."""
        if reply.code != EXIT_NOT_FOUND:
            assert not INTERNAL.search(reply.text), str(reply)
            assert self.host.kills or not LEFT.search(reply.text), str(reply)
        return reply

    def done(self, operation: Callable[[], Reply]) -> Reply:
        """It must succeed, sooner or later: others may keep it busy."""
        def ended() -> Reply | None:
            reply = operation()
            assert reply.code in (EXIT_DONE, EXIT_BUSY), str(reply)
            return reply if reply.code == EXIT_DONE else None
        return wait_until(ended, self.trail[-1])

    @staticmethod
    def may_fail(reply: Reply, *codes: int, text: str = "") -> bool:
        """It succeeds, or fails with one of the codes or such a text."""
        assert reply.code in (EXIT_DONE, *codes) or (text and text in reply.text), str(reply)
        return reply.code == EXIT_DONE

    # What it does.

    def run(self) -> None:
        """Random operations of the guest."""
        self.vm.tell(f"run {self.rng.randrange(1, 60)} {self.rng.randrange(1 << 30)}")

    def new_name(self) -> str:
        """Of a snapshot of this sandbox."""
        self.made += 1
        return f"{self.name}-{self.made}"

    def any_name(self) -> str:
        """Of a snapshot that it has, or will have."""
        return self.rng.choice([*self.snapshots]) if self.snapshots else self.new_name()

    def own(self) -> str | None:
        """A snapshot that it has."""
        return self.rng.choice([*self.snapshots]) if self.snapshots else None

    def check(self, vm: Firecracker) -> None:
        """Every byte of a guest is right."""
        answer = vm.control("check")
        assert answer.startswith("ok "), answer

    def pause(self, after: str) -> str:
        """Into a snapshot of its own."""
        self.run()
        name = self.new_name() if self.rng.random() < 0.4 else self.any_name()
        way = self.rng.randrange(3)

        def operation() -> Reply:
            if way == 0:
                return self.request("POST", "/v1/pause", {
                    "api_socket": str(self.vm.api_socket), "name": name, "after": after})
            return self.command("pause", "--api", self.vm.api_socket, "--store", self.host.store,
                                "--name", name, "--after", after, "--replace", "--freeze-directory",
                                self.host.freeze, follow=way == 1)
        if way == 0 and name in self.snapshots:
            way = 1  # the VM may not descend from what it replaces
        report = self.done(operation).json
        assert report["snapshot"].split("/")[-1] == name, report
        self.snapshots[name] = report["pause_id"]
        if after != "stop":
            assert self.vm.state() == ("Running" if after == "resume" else "Paused"), name
        return name

    def checkpoint(self) -> None:
        """The VM runs on."""
        self.pause("resume")

    def stay(self) -> None:
        """The VM stays paused for a moment."""
        self.pause("stay")
        self.vm.resume()

    def pause_elsewhere(self) -> None:
        """Into another store, with the same memory for diffs."""
        self.run()
        self.done(lambda: self.command(
            "pause", "--api", self.vm.api_socket, "--store", self.host.other, "--name", self.name,
            "--after", "resume", "--replace", "--freeze-directory", self.host.freeze))

    def resume(self, name: str) -> Firecracker:
        """Into a new Firecracker."""
        mode = self.rng.choice(("uffd", "file", "auto"))
        way = self.rng.randrange(3)
        vm = Firecracker()

        def operation() -> Reply:
            if way == 0:
                return self.request("POST", "/v1/resume", {
                    "api_socket": str(vm.api_socket), "name": name, "mode": mode})
            return self.command("resume", "--api", vm.api_socket, "--store", self.host.store,
                                "--name", name, "--mode", mode, follow=way == 1)
        try:
            self.done(operation)
            self.check(vm)
        except BaseException:
            vm.end()
            raise
        return vm

    def stop_and_resume(self) -> None:
        """The VM goes on in another process."""
        name = self.pause("stop")
        self.vm.wait()
        fresh = self.resume(name)
        self.vm.end()
        self.vm = fresh

    def fork(self) -> None:
        """A clone of an older state runs for a moment."""
        source = self.own()
        if source is None:
            return
        name = self.new_name()
        store = self.host.store
        if self.rng.random() < 0.5:
            self.done(lambda: self.request("POST", "/v1/fork", {"snapshot": source, "new": name}))
        else:
            self.done(lambda: self.command("fork", store / source, store / name))
        self.snapshots[name] = self.snapshots[source]
        self.resume(name).end()

    def fork_live(self) -> None:
        """A clone of the VM, which runs on."""
        self.run()
        name = self.new_name()
        with Firecracker() as clone:
            reply = self.done(lambda: self.request("POST", "/v1/fork-live", {
                "api_socket": str(self.vm.api_socket), "name": name,
                "clones": [{"api_socket": str(clone.api_socket)}]}))
            one, = reply.json["clones"]
            assert not one.get("error"), one
            self.check(clone)
        self.snapshots[name] = reply.json["pause"]["pause_id"]
        assert self.vm.state() == "Running"

    def remove(self) -> None:
        """Until few are left."""
        while len(self.snapshots) > 2:
            name = self.any_name()
            if self.rng.random() < 0.5:
                self.done(lambda gone=name: self.request(  # type: ignore[misc]
                    "DELETE", f"/v1/snapshots/{gone}"))
            else:
                self.done(lambda gone=name: self.command(  # type: ignore[misc]
                    "rm", self.host.store / gone, follow=True))
            del self.snapshots[name]

    def merge(self) -> None:
        """One of its own."""
        name = self.own()
        if name is None:
            return
        if self.rng.random() < 0.5:
            self.may_fail(self.command("merge", self.host.store / name), EXIT_BUSY)
        else:
            self.may_fail(self.command("compact", self.host.store / name, "--policy", "full:cap=2"),
                          EXIT_BUSY)

    def compact(self) -> None:
        """All of the store: some of it may be removed meanwhile."""
        self.may_fail(self.command("compact", "--store", self.host.store), EXIT_BUSY,
                      EXIT_NOT_FOUND)

    def recover(self) -> None:
        """While all others go on."""
        reply = self.command("recover", self.host.store, follow=self.rng.random() < 0.5)
        self.may_fail(reply, *([EXIT_FAILED] if self.host.kills else []))

    def list(self) -> None:
        """What it has is there, and everything can be read."""
        if self.rng.random() < 0.5:
            listing = self.request("GET", "/v1/snapshots").json
        else:
            listing = self.command("ls", self.host.store).json
        found = {snapshot["name"]: snapshot["pause_id"] for snapshot in listing["snapshots"]}
        missing = self.snapshots.items() - found.items()
        assert not missing, f"not listed: {missing}"
        for entry in (*listing["snapshots"], *listing["pins"]):
            assert not entry.get("error") or self.host.kills, entry

    def read(self) -> None:
        """One of its own, and the sizes of all."""
        name = self.own()
        if name is None:
            return
        out = self.host.directory / f"export-{self.name}"
        self.may_fail(self.command("verify", self.host.store / name))
        self.may_fail(self.command("export", "firecracker", self.host.store / name, out))
        self.may_fail(self.command("du", self.host.store))
        shutil.rmtree(out)

    def share(self) -> None:
        """Something with a name that all have."""
        snapshot = self.host.store / self.rng.choice(SHARED)
        source = self.own()
        choice = self.rng.randrange(6)
        if choice == 0 and source is not None:
            self.may_fail(self.command("fork", self.host.store / source, snapshot), EXIT_BUSY,
                          text="already exists")
        elif choice == 1:
            self.may_fail(self.command("rm", snapshot), EXIT_BUSY, EXIT_NOT_FOUND)
        elif choice == 2:
            self.may_fail(self.command("merge", snapshot), EXIT_BUSY, EXIT_NOT_FOUND)
        elif choice == 3:
            self.may_fail(self.command("verify", snapshot), EXIT_NOT_FOUND)
        elif choice == 4:
            with Firecracker() as vm:
                if self.may_fail(self.command("resume", "--api", vm.api_socket, "--store",
                                              self.host.store, "--name", snapshot.name),
                                 EXIT_BUSY, EXIT_NOT_FOUND):
                    self.check(vm)
        else:
            self.run()
            self.may_fail(self.command("pause", "--api", self.vm.api_socket, "--store",
                                       self.host.store, "--name", snapshot.name, "--after",
                                       "resume", "--replace"), EXIT_BUSY)

    def race(self) -> None:
        """Two processes pause the VM at once."""
        self.run()

        def one(name: str) -> Reply:
            return self.command("pause", "--api", self.vm.api_socket, "--store", self.host.store,
                                "--name", name, "--after", "resume")
        names = [self.new_name(), self.new_name()]
        with ThreadPoolExecutor(len(names)) as pool:
            for name, reply in zip(names, pool.map(one, names)):
                if self.may_fail(reply, EXIT_BUSY):
                    self.snapshots[name] = reply.json["pause_id"]
        assert self.vm.state() == "Running"

    def kill_command(self) -> None:
        """A pause that is killed at any step. After a recovery the VM runs."""
        self.run()
        words = [program(), "pause", "--api", self.vm.api_socket, "--store", self.host.store,
                 "--name", f"{self.name}-killed", "--after", "resume", "--replace", "--no-daemon",
                 "--freeze-directory", self.host.freeze]
        with subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.rng.random() * 0.1)
            process.kill()

        def runs() -> bool:
            self.recover()
            return self.vm.state() == "Running"
        wait_until(runs, "the VM runs")


class BusyHostTest(DaemonTest):
    """Many sandboxes, one store."""

    on_tmpfs = True

    def setUp(self) -> None:
        super().setUp()
        print(f"SEED={SEED}", end=" ", flush=True)
        self.freeze = Path(tempfile.mkdtemp(prefix="lamina-busy-", dir=MEMORY_FS))
        self.addCleanup(shutil.rmtree, self.freeze)

    def host(self, kills: bool) -> Host:
        """A host whose store has a snapshot."""
        vm = self.fresh()
        self.pause(vm, SHARED[0], "--no-daemon")
        host = Host(self.directory, self.freeze, kills)
        self.addCleanup(lambda: host.daemon.end())  # pylint: disable=unnecessary-lambda
        return host

    def live(self, host: Host, sandboxes: list[Sandbox]) -> None:
        """All at once."""
        with ThreadPoolExecutor(len(sandboxes)) as pool:
            lives = [pool.submit(sandbox.live, OPERATIONS) for sandbox in sandboxes]
            rng = random.Random(SEED)
            while host.kills and not all(life.done() for life in lives):
                time.sleep(0.5 + rng.random())
                host.start_second()
                host.kill_daemon()
            failures = [life.result() for life in lives]
        found = [failure for failure in failures if failure]
        self.assertEqual(len(found), 0, "\n\n" + "\n\n".join(found))

    def go_through(self, kills: bool) -> None:
        """Lives of all sandboxes; then what is acknowledged is there, and nothing else."""
        host = self.host(kills)
        sandboxes = [Sandbox(host, number) for number in range(SANDBOXES)]
        try:
            self.live(host, sandboxes)
        finally:
            for sandbox in sandboxes:
                sandbox.vm.end()
        self.assertEqual(host.daemon.stop(), 0, host.daemon.said())
        for store in (host.store, host.other):
            if not any(store.iterdir()):
                continue
            for _ in range(2):  # the second has nothing to do
                report = self.done("recover", store, "--json").json
            report.pop("message_type")
            self.assertEqual({name: value for name, value in report.items() if value}, {})
            self.assert_no_leftovers(store)
        self.assertEqual([path.name for path in self.freeze.glob("lamina-*")], [])
        for sandbox in sandboxes:
            for name, pause_id in sandbox.snapshots.items():
                facts = json.loads((host.store / name / "snapshot.json").read_text())
                self.assertEqual(facts["pause_id"], pause_id, name)

    def assert_no_leftovers(self, store: Path) -> None:
        """Snapshots that are whole, and what is about them."""
        names = {path.name for path in store.iterdir() if not path.name.startswith(".")}
        for area in (".pending", ".tmp", ".maps"):
            if (store / area).exists():
                self.assertEqual(os.listdir(store / area), [], area)
        self.assertEqual([path.name for path in (store / ".vms").glob("[0-9]*")], [])
        locks = {name for name in os.listdir(store / ".lock") if not name.startswith(".")}
        self.assertLessEqual(locks, names)
        for name in names:
            self.done("verify", store / name)

    def test_many_operations_at_once_do_not_meet(self) -> None:
        self.go_through(kills=False)

    def test_neither_do_they_when_processes_are_killed(self) -> None:
        self.go_through(kills=True)


if __name__ == "__main__":
    main()
