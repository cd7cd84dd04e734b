#!/usr/bin/env python3
"""lamina's command line over a real object store, with a proxy between them that spoils requests.

For each request of push, pull, prune, rm, verify and ls, and for each fault of faulty_proxy.py: the
operation runs on a fresh copy of one prefix, with that fault at that request. Then

  - it gave the right result, or an error that names the object or the bucket;
  - the same command works;
  - after two prunes, to which all pins are past their time, the bucket has exactly the objects that
    its records name, by the driver's own reading, no pin, and no tombstone of what is not there;
  - each snapshot that was acknowledged can be pulled, and its memory is what it was.

Without --all or TORTURE=all a random sample that ends after --seconds; the seed is printed and can
be given again. --only OPERATION:NUMBER:FAULT repeats one trial. Some faults also meet all later
requests (a bucket that is full), or those of the same key (a cache that has damaged it).

Environment: LAMINA is the binary. Exit codes: 0 nothing found, 1 violations, 2 usage, 77 the server
cannot be had.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from client_host import KILLED, Host, Outcome, Violation, audit  # noqa: E402
from faulty_proxy import (FAULTS, KILLS, LASTING, OF_KEY, SLOW, TLS, FaultyProxy,  # noqa: E402
                          Scope)
from memory_files import (EXIT_DONE, EXIT_FAILED, EXIT_NO_SPACE, EXIT_NOT_FOUND,  # noqa: E402
                          GuestMemory, change_memory, program, random_memory, write_diff,
                          write_full)
from s3_client import Listed, S3Client  # noqa: E402
from servers import (BUCKET, READER_ACCESS_KEY, SERVERS, Server, Unavailable,  # noqa: E402
                     make_certificate, running)

EXIT_SKIPPED = 77
MEMORY_BYTES = 96 * 4096
LARGE_MEMORY_BYTES = 20 << 20  # more than one PUT may have
PINS_ARE_OLD_S = 2 * 24 * 3600
SERVER_WAKES_S = 60.0
LATEST_SERVER_KILL_S = 0.4
CONFLICT = re.compile(r"it was pushed as '([^']+)'")


@dataclass
class Template:
    """What each trial begins with: a host's store, and what the bucket has below a prefix."""

    store: Path
    large_store: Path
    memories: dict[str, GuestMemory]
    vmstate: bytes
    objects: dict[str, bytes] = field(default_factory=dict)  # by key behind the prefix
    old_list: list[Listed] = field(default_factory=list)  # the bucket, some pushes ago


@dataclass(frozen=True)
class Operation:
    """A command, and the snapshots that the bucket has once it has been done: name in the bucket,
    and whose memory it is."""

    words: Callable[["Trial"], list[str]]
    expected: dict[str, str]
    may_repeat_as_not_found: bool = False


OPERATIONS = {
    "push": Operation(lambda trial: ["push", trial.url, f"{trial.store}/web2", "--as", "web"],
                      {"web": "web2", "other": "other"}),
    "push_large": Operation(lambda trial: ["push", trial.url, f"{trial.large_store}/large"],
                            {"web": "web1", "other": "other", "large": "large"}),
    "pull": Operation(lambda trial: ["pull", trial.url, "web", "--store", str(trial.pulled)],
                      {"web": "web1", "other": "other"}),
    "prune": Operation(lambda trial: ["prune", trial.url, "--keep-last", "1"],
                       {"web": "web1", "other": "other"}),
    "rm": Operation(lambda trial: ["rm", trial.url, "web"], {"other": "other"}, True),
    "verify": Operation(lambda trial: ["verify", trial.url, "--data"],
                        {"web": "web1", "other": "other"}),
    "ls": Operation(lambda trial: ["ls", trial.url, "--all"], {"web": "web1", "other": "other"}),
}


class Trial(Host):
    """One operation with one fault, on a copy of the template."""

    def __init__(self, bench: "Bench", proxy: FaultyProxy, work: Path, prefix: str) -> None:
        super().__init__(proxy, work, prefix, bench.ca_file)
        self.bench = bench
        self.store: Path = work / "store"
        self.pulled: Path = work / "pulled"
        self.more_names: set[str] = set()  # with nothing but a removal
        self.pulled.mkdir(parents=True)
        subprocess.run(["cp", "-a", str(bench.template.store), str(self.store)], check=True)
        for key, body in bench.template.objects.items():
            bench.client().put(f"{prefix}/{key}", body)
        proxy.old_list = [Listed(f"{prefix}/{one.key}", one.size, one.modified, one.tag)
                          for one in bench.template.old_list]

    @property
    def large_store(self) -> Path:
        """A copy of the store with the large snapshot, which few trials need."""
        copy = self.work / "store-large"
        if not copy.exists():
            subprocess.run(["cp", "-a", str(self.bench.template.large_store), str(copy)],
                           check=True)
        return copy

    def run_operation(self, operation: Operation) -> Outcome:
        return self.remote(*operation.words(self))

    def try_fault(self, name: str, number: int, fault: str,
                  scope: Scope = Scope.ONCE) -> bool:
        """False: the fault did not apply to that request. Raises Violation."""
        operation = OPERATIONS[name]
        self.proxy.begin({number: fault}, scope)
        first = self.run_operation(operation)
        self.proxy.settle()
        spoiled = self.proxy.spoiled()
        self.proxy.begin({})
        if not spoiled:
            return False
        try:
            self._judge(name, first, fault)
            if fault == "old_list" and (kept := CONFLICT.search(first.stderr)):
                # What a store must not do, docs/remote.md: nothing is lost, and the caller is told.
                self.done("rm", self.url, kept[1])
                self.more_names.add(kept[1].replace("@", "_40"))
            if first.code != EXIT_DONE or name != "pull":
                self._repeat(operation, first)
            self._aftermath(operation)
        except Violation as violation:
            requests = "; ".join(str(exchange) for exchange in spoiled[:4])
            raise Violation(f"{violation}\n  first: {first}  spoiled: {requests}") from violation
        return True

    def try_read_only(self) -> None:
        """With credentials that may only read, reads work, and writes change nothing."""
        before = self.bench.client().list(f"{self.prefix}/")
        self.access_key = READER_ACCESS_KEY
        for name, operation in OPERATIONS.items():
            outcome = self.run_operation(operation)
            if name in ("pull", "verify", "ls"):
                if outcome.code != EXIT_DONE:
                    raise Violation(f"with read-only credentials: {outcome}")
            elif (outcome.code != EXIT_FAILED or "AccessDenied" not in outcome.stderr or
                  "v1/" not in outcome.stderr):
                raise Violation(f"with read-only credentials: {outcome}")
        if self.bench.client().list(f"{self.prefix}/") != before:
            raise Violation("read-only credentials changed the bucket")

    def try_server_kill(self, name: str, after_s: float) -> None:
        """The server is killed while the operation runs, and started again."""
        operation = OPERATIONS[name]
        killer = threading.Timer(after_s, self.bench.restart_server)
        killer.start()
        first = self.run_operation(operation)
        killer.join()
        self.bench.forget_client()
        self._judge(name, first, "")
        try:
            self._wait_for_server()
            if first.code != EXIT_DONE or name != "pull":
                self._repeat(operation, first)
            self._aftermath(operation)
        except Violation as violation:
            raise Violation(f"{violation}\n  first: {first}") from violation

    def _wait_for_server(self) -> None:
        """SeaweedFS says 500 for objects that it has, for a while after it was killed."""
        end = time.monotonic() + SERVER_WAKES_S
        while (outcome := self.remote("verify", self.url)).code != EXIT_DONE:
            if time.monotonic() > end:
                raise Violation(f"after the server was killed: {outcome}")

    def _judge(self, name: str, first: Outcome, fault: str) -> None:
        if first.code == KILLED and fault in KILLS:
            return
        if first.code == EXIT_DONE:
            if "conflict" in first.stdout or "@" in first.stdout:
                raise Violation("a push without a rival had a conflict")
            if name == "pull":
                self._compare(self.pulled / "web", "web1" if fault != "old_list" else "base",
                              "web1")
            return
        if "sSL" in first.stderr:
            raise Violation("the error spells SSL wrongly")
        if first.code < 0 or first.code > EXIT_NO_SPACE:
            raise Violation("it was ended by a signal")
        if fault in ("full", "full_507") and first.code != EXIT_NO_SPACE:
            raise Violation("a full bucket is not exit code 6")
        if first.code == EXIT_NOT_FOUND and fault != "old_list":
            raise Violation("an answer by mistake is taken for absence")
        if not any(text in first.stderr for text in (f"{BUCKET}/{self.prefix}", "v1/", "'web'")):
            raise Violation("the error names no object")
        if (self.pulled / "web").exists():
            raise Violation("a pull that failed has left a snapshot")

    def _repeat(self, operation: Operation, first: Outcome) -> None:
        again = self.run_operation(operation)
        if again.code == EXIT_DONE:
            if "conflict" in again.stdout or "@" in again.stdout:
                raise Violation(f"the repetition had a conflict: {again}")
            return
        if again.code == EXIT_NOT_FOUND and operation.may_repeat_as_not_found:
            return
        raise Violation(f"the same command does not work again: {again}")

    def _aftermath(self, operation: Operation) -> None:
        self.proxy.date_offset_s = PINS_ARE_OLD_S
        try:
            for _ in range(2):
                self.done("prune", self.url, "--keep-last", "1")
        finally:
            self.proxy.date_offset_s = 0
        wanted = set(operation.expected) | {"gone", "web"} | self.more_names
        audit(self.bench.client(), self.prefix, wanted)
        for name, memory in operation.expected.items():
            self.done("pull", self.url, name, "--store", str(self.pulled), "--as", f"{name}-last")
            self._compare(self.pulled / f"{name}-last", memory)

    def _compare(self, snapshot: Path, *memories: str) -> None:
        """The snapshot has one of these memories, and the VM state."""
        template = self.bench.template
        out = self.work / "materialized"
        out.unlink(missing_ok=True)
        outcome = self.run("materialize", str(snapshot), "--out", str(out))
        if outcome.code != EXIT_DONE:
            raise Violation(f"what was pulled cannot be read: {outcome}")
        contents = out.read_bytes()
        if not any(contents == template.memories[name].contents() for name in memories):
            raise Violation(f"'{snapshot}' has other memory than {' or '.join(memories)}")
        if (snapshot / "snapfile").read_bytes() != template.vmstate:
            raise Violation(f"'{snapshot}' has another VM state")


class Bench:
    """A server, and what trials on it begin with."""

    def __init__(self, server: Server, work: Path, tls: bool, seed: int) -> None:
        self._server, self._work = server, work
        self._own = threading.local()
        self.ca_file: Path | None = None
        self._certificates: list[tuple[Path, Path]] = []
        if tls:
            for name in ("proxy", "other"):
                directory = work / name
                directory.mkdir()
                self._certificates.append(make_certificate(directory))
            self.ca_file = self._certificates[0][0]
        self.template = self._make_template(random.Random(seed))

    def client(self) -> S3Client:
        """Of the calling thread."""
        if not hasattr(self._own, "client"):
            self._own.client = self._server.client()
        return self._own.client

    def forget_client(self) -> None:
        """Its connection is gone with the server."""
        self.client().close()

    def restart_server(self) -> None:
        self._server.kill()
        self._server.restart()

    def proxy(self) -> FaultyProxy:
        if self._certificates:
            return FaultyProxy(self._server.port, self._certificates[0], self._certificates[1])
        return FaultyProxy(self._server.port)

    def _make_template(self, rng: random.Random) -> Template:
        store = self._work / "store"
        store.mkdir()
        (self._work / "store-large").mkdir()
        state = self._work / "state"
        state.write_bytes(rng.randbytes(5000))
        memories = self._ingest_all(rng, store, state)
        proxy = self.proxy()
        host = Host(proxy, self._work, "template", self.ca_file)
        try:
            host.done("push", host.url, f"{store}/base", "--as", "web")
            old = self._listed()
            host.done("push", host.url, f"{store}/web1", "--as", "web")
            host.done("push", host.url, f"{store}/other")
            host.done("push", host.url, f"{store}/gone")
            host.done("rm", host.url, "gone")
            # What a push that was killed leaves: a pin and an object.
            proxy.begin({self._number_of_upload(host, proxy, store): "kill_after"})
            host.remote("push", host.url, f"{store}/lost")
            proxy.settle()
        finally:
            proxy.stop()
        subprocess.run(["rm", "-rf", str(store / "lost")], check=True)
        client = self.client()
        objects = {one.key: client.get(f"template/{one.key}") for one in self._listed()}
        return Template(store, self._work / "store-large", memories, state.read_bytes(), objects,
                        old)

    @staticmethod
    def _number_of_upload(host: Host, proxy: FaultyProxy, store: Path) -> int:
        """Which request of a push is the first PUT of an object."""
        proxy.begin({})
        host.done("push", host.url.replace("template", "rehearsal", 1), f"{store}/lost")
        return next(one.number for one in proxy.exchanges
                    if one.method == "PUT" and "/v1/layers/" in one.path)

    def _ingest_all(self, rng: random.Random, store: Path, state: Path) -> dict[str, GuestMemory]:
        memories: dict[str, GuestMemory] = {}

        def ingest(name: str, memory: GuestMemory, parent: str = "",
                   dirty: set[int] | None = None) -> None:
            path = self._work / f"{name}.mem"
            place = self._work / "store-large" if name == "large" else store
            words = ["ingest", str(path), "--out", str(place / name), "--vmstate", str(state)]
            if dirty is None:
                write_full(path, memory)
            else:
                write_diff(path, memory, dirty)
                words += ["--parent", str(store / parent)]
            subprocess.run([program(), *words], check=True, capture_output=True)
            path.unlink()
            memories[name] = memory.copy()

        web = random_memory(rng, MEMORY_BYTES)
        ingest("base", web)
        ingest("web1", web, "base", change_memory(rng, web))
        ingest("web2", web, "web1", change_memory(rng, web))
        for name in ("other", "gone", "lost"):
            ingest(name, random_memory(rng, MEMORY_BYTES))
        ingest("large", random_memory(rng, LARGE_MEMORY_BYTES, 1.0))
        return memories

    def _listed(self) -> list[Listed]:
        return [Listed(one.key.removeprefix("template/"), one.size, one.modified, one.tag)
                for one in self.client().list("template/")]


@dataclass(frozen=True)
class Planned:
    """A trial to be made."""

    operation: str
    number: int
    fault: str
    scope: Scope = Scope.ONCE

    def __str__(self) -> str:
        return f"{self.operation}:{self.number}:{self.fault}{self.scope.value}"

    @staticmethod
    def parse(text: str) -> Planned:
        operation, number, fault = text.split(":")
        scope = Scope(fault[-1]) if fault[-1] in "+=" else Scope.ONCE
        return Planned(operation, int(number), fault.rstrip("+="), scope)


class Run:
    """All trials of a run, in some threads."""

    def __init__(self, bench: Bench, work: Path, options: argparse.Namespace) -> None:
        self._bench, self._work, self._options = bench, work, options
        self._lock = threading.Lock()
        self._numbers = iter(range(1 << 30))
        self._count = 0
        self.requests: dict[str, int] = {}
        self.tried: Counter[str] = Counter()
        self.violations: list[str] = []
        self._end = time.monotonic() + options.seconds

    def count_requests(self) -> None:
        """How many requests each operation sends on a good day."""
        proxy = self._bench.proxy()
        for name in self._options.operations:
            with self._trial(proxy) as trial:
                proxy.begin({})
                outcome = trial.run_operation(OPERATIONS[name])
                if outcome.code != EXIT_DONE:
                    raise RuntimeError(f"on a good day: {outcome}")
                self.requests[name] = len(proxy.exchanges)
        proxy.stop()

    def planned(self) -> list[Planned]:
        """All trials."""
        faults = FAULTS + (TLS if self._options.tls else ())
        if self._options.all:
            faults += SLOW
        plans = [Planned(name, number, fault) for name, count in self.requests.items()
                 for number in range(1, count + 1) for fault in faults]
        plans += [Planned(name, number, fault, Scope.SAME_KEY)
                  for name, count in self.requests.items()
                  for number in range(1, count + 1) for fault in OF_KEY
                  if self._options.all or fault != "error_404_page"]
        plans += [Planned(name, number, fault, Scope.FROM_THEN_ON)
                  for name, count in self.requests.items()
                  for number in range(1, count + 1) for fault in LASTING
                  # Their repetitions take long.
                  if self._options.all or fault not in ("error_503", "lost_answer", "down")]
        return plans

    def run(self, plans: list[Planned]) -> None:
        self._count = len(plans)
        waiting: queue.SimpleQueue[Planned] = queue.SimpleQueue()
        for plan in plans:
            waiting.put(plan)
        threads = [threading.Thread(target=self._work_off, args=(waiting,))
                   for _ in range(self._options.parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work_off(self, waiting: queue.SimpleQueue[Planned]) -> None:
        proxy = self._bench.proxy()
        while self._options.all or self._options.only or time.monotonic() < self._end:
            try:
                plan = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                with self._trial(proxy) as trial:
                    if trial.try_fault(plan.operation, plan.number, plan.fault, plan.scope):
                        with self._lock:
                            self.tried[plan.operation] += 1
                            done = sum(self.tried.values())
                            if done % 100 == 0:
                                print(f"{done} of at most {self._count}", flush=True)
            except Exception as error:  # a thread must not end silently
                with self._lock:
                    text = str(error) if isinstance(error, Violation) else repr(error)
                    self.violations.append(f"{plan}: {text}")
                    print(f"violation: {self.violations[-1]}", flush=True)
                proxy.stop()
                proxy = self._bench.proxy()
        proxy.stop()

    def try_read_only(self) -> None:
        self._try("read-only credentials", Trial.try_read_only)

    def try_server_kills(self, count: int, rng: random.Random) -> None:
        """One at a time: they share the server."""
        for _ in range(count):
            name = rng.choice(self._options.operations)
            after_s = rng.uniform(0, LATEST_SERVER_KILL_S)
            self._try(f"{name}, server killed after {after_s:.3f} s",
                      lambda trial: trial.try_server_kill(name, after_s))

    def _try(self, what: str, act: Callable[[Trial], None]) -> None:
        proxy = self._bench.proxy()
        try:
            with self._trial(proxy) as trial:
                act(trial)
            self.tried[what.split(",")[-1].split(" after")[0].strip()] += 1
        except Violation as violation:
            self.violations.append(f"{what}: {violation}")
            print(f"violation: {self.violations[-1]}", flush=True)
        proxy.stop()

    def _trial(self, proxy: FaultyProxy) -> TrialPlace:
        with self._lock:
            number = next(self._numbers)
        return TrialPlace(self._bench, proxy, self._work / f"trial{number}", f"trial{number}")


class TrialPlace:
    """A trial whose files go when it ends."""

    def __init__(self, bench: Bench, proxy: FaultyProxy, work: Path, prefix: str) -> None:
        self._arguments = (bench, proxy, work, prefix)
        self._work = work

    def __enter__(self) -> Trial:
        return Trial(*self._arguments)

    def __exit__(self, *unused: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(SERVERS), default="seaweedfs")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("--tls", action="store_true", help="between lamina and the proxy")
    parser.add_argument("--all", action="store_true",
                        default=os.environ.get("TORTURE") == "all", help="everything: an hour")
    parser.add_argument("--operations", type=lambda text: text.split(","),
                        default=list(OPERATIONS), help="default: all")
    parser.add_argument("--faults", type=lambda text: text.split(","), help="default: all")
    parser.add_argument("--seconds", type=float, default=12, help="for a sample (default: 12)")
    parser.add_argument("--parallel", type=int, default=3, help="default: 3")
    parser.add_argument("--seed", type=int, default=os.environ.get("SEED"))
    parser.add_argument("--server-kills", type=int, help="default: 0, with --all 20")
    parser.add_argument("--only", type=Planned.parse, action="append",
                        metavar="OPERATION:NUMBER:FAULT",
                        help="with + behind it from then on, with = for the same key")
    options = parser.parse_args()
    if unknown := set(options.operations) - set(OPERATIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.server_kills is None:
        options.server_kills = 20 if options.all else 0
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


def main() -> int:
    options = parse_options()
    print(f"SEED={options.seed}", flush=True)
    options.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lamina-bad-days-") as directory:
        work = Path(directory)
        try:
            with running(options.server, options.cache, work / "server") as server:
                run = Run(Bench(server, work, options.tls, options.seed), work, options)
                if options.only:
                    run.run(options.only)
                else:
                    run.count_requests()
                    plans = [plan for plan in run.planned()
                             if options.faults is None or plan.fault in options.faults]
                    random.Random(options.seed).shuffle(plans)
                    run.run(plans)
                    if options.server == "seaweedfs":
                        run.try_read_only()
                    run.try_server_kills(options.server_kills, random.Random(options.seed))
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return EXIT_SKIPPED
    print(f"requests: {run.requests}; trials: {dict(run.tried)}")
    print(f"total: {sum(run.tried.values())} spoiled operations, "
          f"{len(run.violations)} violations (seed {options.seed})")
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main())
