#!/usr/bin/env python3
"""Two hosts with stores of their own push and pull the same names, while collectors prune.

Each host is a network namespace, where the kernel permits: its only way to the bucket is a line
that is cut again and again, to a proxy that spoils a third of the commands (tests/object_store).
Pins are taken for expired at random, so a push may lose its pin at any time. Names: one is removed
and pushed again all the time, so that pushes reuse objects that a collector is about to delete; the
others are only pushed, and on these

  - acknowledged states form one line: each descends from the one before it, or was told of a
    conflict and is kept under another name;
  - a pull gives a state that is not older than the newest one that was acknowledged before it
    began;

At the end, on a good day, every acknowledged state that is the newest of
its name is there; after two prunes the bucket has exactly what its records name, and after the
removal of all names nothing.

--server directory is the same over a shared directory: commands are killed at random moments.
Environment: LAMINA is the binary. Exit codes: 0 nothing found, 1 violations, 2 usage, 77 the server
cannot be had.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "object_store"))

from client_host import (Host, Outcome, Reader, Violation, audit,  # noqa: E402
                         client_environment)
from faulty_proxy import KILLS, LOST, REFUSED, REPEATED, FaultyProxy  # noqa: E402
from memory_files import (EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, GuestMemory,  # noqa: E402
                          change_memory, program, random_memory, write_diff, write_full)
from namespaces import Namespaces, enter_namespace  # noqa: E402
from servers import SERVERS, Server, Unavailable, running  # noqa: E402

EXIT_SKIPPED = 77
HOSTS = 2
COLLECTORS = 2
NAMES = ("web", "db", "mail")
REMOVED_NAME = "temporary"
REMOVED_SHARE = 0.45
MEMORY_BYTES = 64 * 4096
SPOILED_SHARE = 0.35
LATEST_REQUEST = 14
FAULTS = REFUSED + LOST + REPEATED + KILLS + ("wrong_bytes", "short_body", "other_body")
PINS_ARE_OLD_S = 2 * 24 * 3600
EXPIRES_PINS_SHARE = 0.3
LONGEST_LIFE_S = 0.08


@dataclass
class State:
    """What a guest's memory was at a pause, and what it descends from."""

    number: int  # of ours
    memory: GuestMemory
    ancestors: frozenset[int]


class Registry:
    """What was acknowledged to whom. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[bytes, State] = {}
        self._acknowledged: dict[str, dict[int, State]] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def make(self, memory: GuestMemory, parent: State | None) -> State:
        with self._lock:
            state = State(len(self._states) + 1, memory, frozenset() if parent is None else
                          parent.ancestors | {parent.number})
            # So that no two are the same.
            memory.write(0, state.number.to_bytes(4096, "little"))
            self._states[memory.contents()] = state
            return state

    def find(self, contents: bytes) -> State | None:
        with self._lock:
            return self._states.get(contents)

    def acknowledge(self, name: str, number: int, state: State) -> None:
        """Raises Violation if the acknowledged states are not one line."""
        with self._lock:
            known = self._acknowledged.setdefault(name, {})
            if known.setdefault(number, state).number != state.number:
                raise Violation(f"{name} {number} was acknowledged for two states")
            if name == REMOVED_NAME:
                return
            line = sorted(known.items())
            for (_, older), (at, newer) in zip(line, line[1:]):
                if newer.number != older.number and older.number not in newer.ancestors:
                    raise Violation(f"{name} {at} does not descend from the state before it, "
                                    "and both were acknowledged")

    def newest(self, name: str) -> tuple[int, State | None]:
        """The highest number that was acknowledged, or 0."""
        with self._lock:
            known = self._acknowledged.get(name, {})
            number = max(known, default=0)
            return number, known.get(number)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._acknowledged)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def violation(self, text: str) -> None:
        with self._lock:
            self.violations.append(text)
            print(f"violation: {text}", flush=True)


class DirectoryHost:
    """As client_host.Host, over a shared directory. Commands are killed at random moments."""

    def __init__(self, bucket: Path, rng: random.Random) -> None:
        self.url = f"file://{bucket}"
        self._bucket, self._rng = bucket, rng
        self.spoils = False

    def run(self, *words: str) -> Outcome:
        with subprocess.Popen([program(), *words], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=client_environment()) as process:
            if self.spoils:
                try:
                    process.wait(self._rng.uniform(0, LONGEST_LIFE_S))
                except subprocess.TimeoutExpired:
                    process.kill()
            out, err = process.communicate(timeout=300)
        return Outcome(words, process.returncode, out, err)

    def expire_pins(self) -> None:
        then = time.time() - PINS_ARE_OLD_S
        pins = self._bucket / "v1" / "pins"
        try:
            names = os.listdir(pins)
        except FileNotFoundError:
            return  # a directory leaves with its last file
        for name in names:
            try:
                os.utime(pins / name, (then, then))
            except FileNotFoundError:
                pass  # its push has ended


@dataclass
class Stored:
    """As s3_client.Listed."""

    key: str


class DirectoryClient:
    """The part of S3Client that an audit needs, of a directory."""

    def __init__(self, bucket: Path) -> None:
        self._bucket = bucket

    def list(self, prefix: str) -> list[Stored]:
        return [Stored(prefix + str(path.relative_to(self._bucket)))
                for path in sorted((self._bucket / "v1").rglob("*")) if path.is_file()]

    def get(self, key: str) -> bytes:
        return (self._bucket / key.removeprefix("all/")).read_bytes()


class Actor:
    """Gives commands until the time is over; spoils some of them."""

    def __init__(self, host: Host | DirectoryHost, registry: Registry, rng: random.Random) -> None:
        self._host, self._registry, self._rng = host, registry, rng

    def _remote(self, *words: str) -> tuple[Outcome, bool]:
        """The outcome, and whether the command was left in peace."""
        is_spoiled = self._rng.random() < SPOILED_SHARE
        if isinstance(self._host, DirectoryHost):
            self._host.spoils = is_spoiled
            outcome = self._host.run("remote", *words)
            self._host.spoils = False
        else:
            plan = {}
            if is_spoiled:
                plan = {self._rng.randint(1, LATEST_REQUEST): self._rng.choice(FAULTS)}
            self._host.proxy.begin(plan)
            outcome = self._host.remote(*words)
            self._host.proxy.begin({})
        self._registry.count("commands")
        if outcome.code < 0 and outcome.code != -signal.SIGKILL or outcome.code > 6:
            raise Violation(f"it was ended by a signal: {outcome}")
        return outcome, not is_spoiled

    def prune(self) -> None:
        expires = self._rng.random() < EXPIRES_PINS_SHARE
        if isinstance(self._host, DirectoryHost):
            if expires:
                self._host.expire_pins()
        else:
            self._host.proxy.date_offset_s = PINS_ARE_OLD_S if expires else 0
        outcome, is_good_day = self._remote("prune", self._host.url, "--keep-last", "2")
        if not isinstance(self._host, DirectoryHost):
            self._host.proxy.date_offset_s = 0
        if is_good_day and outcome.code != EXIT_DONE:
            raise Violation(f"on a good day: {outcome}")

    def run(self, end: float) -> None:
        while time.monotonic() < end:
            try:
                self.act()
            except Violation as violation:
                self._registry.violation(str(violation))
            except Exception as error:  # a thread must not end silently
                self._registry.violation(repr(error))
                raise

    def act(self) -> None:
        self.prune()


class Sandboxes(Actor):
    """A host, with a store of its own."""

    def __init__(self, host: Host | DirectoryHost, registry: Registry, rng: random.Random,
                 work: Path) -> None:
        super().__init__(host, registry, rng)
        self._work = work
        self._store = work / "store"
        self._store.mkdir(parents=True)
        self._states: dict[str, tuple[str, State]] = {}  # the VM of each name here
        self._made = 0

    def act(self) -> None:
        chance = self._rng.random()
        if self._rng.random() < REMOVED_SHARE:
            name = REMOVED_NAME
            if chance < 0.35:
                self._remote("rm", self._host.url, name)
                return
            if chance < 0.8 and name in self._states:
                self._push(name, *self._states[name])
                return
        else:
            name = self._rng.choice(NAMES)
        if chance < 0.55:
            self._push(name, *self._pause(name))
        elif chance < 0.9:
            self._pull(name)
        else:
            self.prune()

    def _new_name(self, name: str) -> str:
        self._made += 1
        return f"{name}-{self._made}"

    def _forget(self, snapshot: str) -> None:
        self._local("rm", str(self._store / snapshot))

    def _local(self, *words: str) -> None:
        done = subprocess.run([program(), *words], capture_output=True, text=True, check=False)
        if done.returncode != EXIT_DONE:
            raise Violation(f"lamina {' '.join(words)}: exit {done.returncode}: {done.stderr}")

    def _pause(self, name: str) -> tuple[str, State]:
        """The guest runs on and is paused."""
        parent = self._states.get(name)
        snapshot = self._new_name(name)
        path = self._work / f"{snapshot}.mem"
        words = ["ingest", str(path), "--out", str(self._store / snapshot)]
        if parent is None:
            state = self._registry.make(random_memory(self._rng, MEMORY_BYTES), None)
            write_full(path, state.memory)
        else:
            memory = parent[1].memory.copy()
            dirty = change_memory(self._rng, memory) | {0}
            state = self._registry.make(memory, parent[1])
            write_diff(path, state.memory, dirty)
            words += ["--parent", str(self._store / parent[0]), "--zeros", "written"]
        self._local(*words)
        path.unlink()
        if parent is not None:
            self._forget(parent[0])
        self._states[name] = (snapshot, state)
        return snapshot, state

    def _push(self, name: str, snapshot: str, state: State) -> None:
        outcome, is_good_day = self._remote("push", self._host.url, str(self._store / snapshot),
                                            "--as", name, "--json")
        report = json.loads(outcome.stdout) if outcome.stdout.startswith("{") else {}
        if outcome.code in (EXIT_DONE, EXIT_FAILED) and "number" in report:
            if report["conflict"] != (report["name"] != name):
                raise Violation(f"neither a conflict nor a push: {outcome}")
            self._registry.count("conflicts" if report["conflict"] else "pushes")
            self._registry.acknowledge(report["name"], report["number"], state)
            if report["conflict"]:
                del self._states[name]
                self._forget(snapshot)
        elif outcome.code == EXIT_DONE or is_good_day:
            raise Violation(f"on a good day: {outcome}")

    def _pull(self, name: str) -> None:
        least, _ = self._registry.newest(name)
        snapshot = self._new_name(name)
        outcome, is_good_day = self._remote("pull", self._host.url, name, "--store",
                                            str(self._store), "--as", snapshot, "--json")
        if outcome.code == EXIT_NOT_FOUND:
            if least and name != REMOVED_NAME:
                raise Violation(f"an acknowledged snapshot is not found: {outcome}")
            return
        if outcome.code != EXIT_DONE:
            if is_good_day:
                raise Violation(f"on a good day: {outcome}")
            return
        self._registry.count("pulls")
        number = json.loads(outcome.stdout)["number"]
        state = self._state_of(snapshot)
        if number < least and name != REMOVED_NAME:
            raise Violation(f"{name}: a pull gave {number}, but {least} was acknowledged before")
        if name in self._states:
            self._forget(self._states[name][0])
        self._states[name] = (snapshot, state)

    def _state_of(self, snapshot: str) -> State:
        out = self._work / "materialized"
        out.unlink(missing_ok=True)
        self._local("materialize", str(self._store / snapshot), "--out", str(out))
        state = self._registry.find(out.read_bytes())
        if state is None:
            raise Violation(f"'{snapshot}' is a memory that no guest ever had")
        return state

    # At the end

    def check(self, name: str) -> None:
        """On a good day the newest state is the last one that was acknowledged, or a later one."""
        least, wanted = self._registry.newest(name)
        snapshot = self._new_name("last")
        outcome = self._host.run("remote", "pull", self._host.url, name, "--store",
                                 str(self._store), "--as", snapshot, "--json")
        if outcome.code != EXIT_DONE:
            raise Violation(f"an acknowledged snapshot is lost: {outcome}")
        number = json.loads(outcome.stdout)["number"]
        state = self._state_of(snapshot)
        assert wanted is not None
        if number < least or (state is not wanted and wanted.number not in state.ancestors):
            raise Violation(f"{name} is {number} now; {least} was acknowledged")

    def done(self, *words: str) -> str:
        outcome = self._host.run("remote", *words)
        if outcome.code != EXIT_DONE:
            raise Violation(f"on a good day: {outcome}")
        return outcome.stdout

    def prune_all(self) -> None:
        """Twice, when all pins are past their time."""
        for _ in range(2):
            if isinstance(self._host, DirectoryHost):
                self._host.expire_pins()
            else:
                self._host.proxy.date_offset_s = PINS_ARE_OLD_S
            self.done("prune", self._host.url, "--keep-last", "2")
        if not isinstance(self._host, DirectoryHost):
            self._host.proxy.date_offset_s = 0

    @property
    def url(self) -> str:
        return self._host.url

    def names(self) -> list[str]:
        listing = json.loads(self.done("ls", self._host.url, "--json"))
        return [one["name"] for one in listing["snapshots"]]

    def remove_all(self) -> None:
        for name in self.names():
            self.done("rm", self._host.url, name)


class TwoHosts:
    """The whole run."""

    def __init__(self, server: Server | None, work: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._registry = Registry()
        self._namespaces = Namespaces(HOSTS + COLLECTORS if server is not None else 0)
        self._proxies: list[FaultyProxy] = []
        self._end = 0.0
        bucket = work / "bucket"
        bucket.mkdir()

        def host(number: int) -> Host | DirectoryHost:
            if server is None:
                return DirectoryHost(bucket, random.Random(self._rng.randrange(1 << 32)))
            proxy = FaultyProxy(server.port, address=self._namespaces.addresses[number])
            self._proxies.append(proxy)
            return Host(proxy, work, "all", command=self._namespaces.commands[number])

        def rng() -> random.Random:
            return random.Random(self._rng.randrange(1 << 32))

        self._client: Reader = DirectoryClient(bucket)
        if server is not None:
            self._client = server.client()
        self._hosts = [Sandboxes(host(number), self._registry, rng(), work / f"host{number}")
                       for number in range(HOSTS)]
        self._actors: list[Actor] = [*self._hosts, *(
            Actor(host(HOSTS + number), self._registry, rng()) for number in range(COLLECTORS))]

    def run(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        threads = [threading.Thread(target=actor.run, args=(self._end,)) for actor in self._actors]
        if self._namespaces.are_there:
            threads.append(threading.Thread(target=self._cut_lines))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for proxy in self._proxies:
            proxy.begin({})
            proxy.settle()
        try:
            self._check()
        except Violation as violation:
            self._registry.violation(str(violation))

    def _cut_lines(self) -> None:
        while time.monotonic() < self._end:
            time.sleep(self._rng.uniform(0.2, 1.5))
            self._namespaces.cut(self._rng.randrange(HOSTS + COLLECTORS),
                                 self._rng.uniform(0.05, 0.8))
            self._registry.count("cut lines")

    def _check(self) -> None:
        checker = self._hosts[0]
        checker.prune_all()
        objects = audit(self._client, "all", None, 2)
        checker.done("verify", checker.url, "--data")
        for name in self._registry.names():
            if name != REMOVED_NAME:
                checker.check(name)
        checker.remove_all()
        checker.prune_all()
        if left := audit(self._client, "all", None, 1):
            raise Violation(f"left over when all names are removed: {sorted(left)}")
        counts = ", ".join(f"{count} {what}" for what, count in self._registry.counts.items())
        print(f"{counts}; {len(objects)} objects at the end"
              f"{'' if self._namespaces.are_there else '; no namespaces: lines were not cut'}")

    def stop(self) -> int:
        for proxy in self._proxies:
            proxy.stop()
        self._namespaces.stop()
        return len(self._registry.violations)

    @property
    def commands(self) -> int:
        return self._registry.counts["commands"]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=[*sorted(SERVERS), "directory"], default="seaweedfs")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("--minutes", type=float, default=5, help="default: 5")
    parser.add_argument("--seed", type=int, default=os.environ.get("SEED"))
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def main() -> int:
    options = parse_options()
    if options.server != "directory":
        try:
            enter_namespace(options.server, options.cache)
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return EXIT_SKIPPED
    print(f"SEED={options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lamina-two-hosts-") as directory:
        work = Path(directory)
        try:
            with contextlib.ExitStack() as stack:
                server = None
                if options.server != "directory":
                    server = stack.enter_context(
                        running(options.server, options.cache, work / "server"))
                run = TwoHosts(server, work, options.seed)
                try:
                    run.run(options.minutes * 60)
                finally:
                    violations = run.stop()
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return EXIT_SKIPPED
    print(f"total: {run.commands} commands, {violations} violations (seed {options.seed})")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
