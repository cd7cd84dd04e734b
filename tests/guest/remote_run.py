#!/usr/bin/env python3
"""A Linux guest is paused on one host and goes on on another one; between them only a bucket.

Host A and host B have a store each, and, where the kernel permits, a network namespace each, whose
only line leads to a proxy before a real object store (tests/object_store). QEMU runs the workload
of guest_run.py on host A, which checks all of its own memory at every tick. The guest is paused and
pushed: the first memory file is Full, the others are Diffs. Then host A's store is deleted. Host B
pulls the newest state and resumes it through `lamina serve`:

  compared   the guest stays paused, and every page that it can see is compared with its RAM
  resumed    it runs; its ticks must be those of a native run of the workload, with no bad page

With --lazy it then does both once more with `lamina resume --remote` in empty stores, which fetches
the memory while the guest waits for it, page by page. QEMU plays Firecracker for that.

Prints requests, dependent round trips and bytes of each step, and the time to the first tick.

--pull and --serve replace the two commands of host B, with fields {lamina} {url} {name} {store}
{snapshot} {socket} {populate}; --pull '' runs none.
Exit codes: 0 everything is right, 1 something is wrong, 2 usage, 77 cannot run on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean
TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "e2e"), str(TESTS / "object_store")]

from client_host import client_environment  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from guest_image import Unavailable as NoGuest, find_kernel  # noqa: E402
from guest_run import (EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG, MIB, PAGE_BYTES,  # noqa: E402
                       TICKS_TIMEOUT_S, ToolError, check_files, machine_options, native_ticks,
                       prepare, work_directory, wrong_ticks)
from namespaces import Namespaces, enter_namespace  # noqa: E402
from page_server import SERVE_TEMPLATE, PageServer, ServeError, serve_is_there  # noqa: E402
from qemu_as_firecracker import QemuAsFirecracker  # noqa: E402
from sandbox import servers_and_fetchers_of  # noqa: E402
from served_guest import ServedGuest, served_guest_options  # noqa: E402
from servers import BUCKET, SERVERS, Server, Unavailable, running  # noqa: E402
from serving import adopt_orphans, end_processes, wait_until  # noqa: E402
from virtual_machine import GuestError, Machine, Tick, VirtualMachine  # noqa: E402

# What host B runs before it serves.
PULL_TEMPLATE = "{lamina} remote pull {url} {name} --store {store} --json"
NAME = "sandbox-1"
COMMAND_TIMEOUT_S = 300
ARRIVAL_TIMEOUT_S = 300.0


@dataclass
class Step:
    """A row of the table: what one command did over the line."""

    host: str
    what: str
    requests: int
    round_trips: int
    sent_bytes: int
    received_bytes: int
    took_ms: float


@dataclass
class BucketHost:
    """A host: a store, and a line to the bucket."""

    letter: str
    store: Path
    proxy: FaultyProxy
    command: tuple[str, ...]

    @property
    def url(self) -> str:
        """The bucket, as the host reaches it."""
        return (f"s3://{BUCKET}/demo?endpoint=http://{self.proxy.address}:{self.proxy.port}"
                "&region=us-east-1")

    def run(self, what: str, words: list[str]) -> Step:
        """Runs a command on the host, and counts what it sends."""
        self.proxy.begin({})
        start = time.monotonic()
        self.call(words)
        return self.step(what, start)

    def call(self, words: list[str]) -> None:
        """Runs a command on the host, which must succeed."""
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S,
                              env=client_environment())
        if done.returncode != 0:
            raise ToolError(f"'{shlex.join(words)}' exited with {done.returncode}: "
                            f"{done.stderr.strip()}")

    def step(self, what: str, start: float) -> Step:
        """What went over the line since the proxy's counters began."""
        exchanges = list(self.proxy.exchanges)
        return Step(self.letter, what, len(exchanges), self.proxy.round_trips,
                    sum(len(one.request.body) for one in exchanges),
                    sum(one.answer_bytes for one in exchanges), (time.monotonic() - start) * 1000)


class RemoteRun(ServedGuest):
    """The whole run. Goes on where it can."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path,
                 hosts: list[BucketHost]) -> None:
        self._a, self._b = hosts
        super().__init__(options, machine, work, self._a.store)
        self.steps: list[Step] = []
        self.wrong: list[int] = []
        self.resumed: list[Tick] = []
        self.first_tick_ms = 0.0
        self.resumed_lazily: list[Tick] = []
        self.wrong_lazily: list[int] = []
        self.lazy_first_tick_ms = 0.0

    def run(self) -> None:
        """Runs everything; raises when going on makes no sense."""
        self.run_and_pause()
        shutil.rmtree(self._a.store)  # host A is gone
        start = time.monotonic()
        self._b.proxy.begin({})
        if self.options.pull:
            self.steps.append(self._b.run("pull", self._words(self.options.pull)))
        pulled_s = time.monotonic() - start
        self._compare_paused()
        self._resume_on_b(pulled_s)
        if self.options.lazy:
            self._compare_lazily()
            self._resume_lazily()
        native = native_ticks(self.options.workload, self.resumed[-1].number)
        self.failures += wrong_ticks("the guest on host B", self.resumed, native)
        if self.options.lazy:
            native = native_ticks(self.options.workload, self.resumed_lazily[-1].number)
            self.failures += wrong_ticks("the guest that was resumed lazily",
                                         self.resumed_lazily, native)

    def _words(self, template: str) -> list[str]:
        return [word.format(lamina=self.options.lamina.resolve(), url=self._b.url, name=NAME,
                            store=self._b.store) for word in shlex.split(template)]

    def stored(self, number: int, kind: str, written: dict[str, Any],
               ingested: dict[str, Any]) -> None:
        self.steps.append(self._a.run(
            f"push of pause {number} ({kind}, {written['dirty_pages']} pages)",
            [str(self.options.lamina.resolve()), "remote", "push", self._a.url,
             str(self.chain.snapshot), "--as", NAME, "--json"]))

    def _restored_on_b(self, name: str, server: PageServer) -> VirtualMachine:
        return self.restored(name, server, self._b.store / NAME / "snapfile")

    def _compare_paused(self) -> None:
        with PageServer(self.options.lamina, self._b.store / NAME) as server:
            with self._restored_on_b("compared", server) as guest:
                self.wrong = self.wrong_pages(guest)
            server.wait()
        self.check_pages("host B", self.wrong)

    def _resume_on_b(self, pulled_s: float) -> None:
        start = time.monotonic()
        self._b.proxy.begin({})
        with PageServer(self.options.lamina, self._b.store / NAME) as server:
            with self._restored_on_b("resumed", server) as guest:
                guest.resume()
                guest.console.wait_for_tick(self.paused_at + 1, TICKS_TIMEOUT_S)
                self.first_tick_ms = (pulled_s + time.monotonic() - start) * 1000
                self.steps.append(self._b.step("resume after the pull: until the first tick",
                                               start))
                more = guest.console.last_tick() + self.options.resumed_ticks
                guest.console.wait_for_tick(more, TICKS_TIMEOUT_S)
                guest.stop()
                self.resumed = guest.console.ticks()
            self.check_end("resumed", server)
        self.steps.append(self._b.step(f"resume, {len(self.resumed)} ticks", start))
        self.check_beginning("on host B", self.resumed)

    @contextmanager
    def _lazy_guest(self, name: str, start: float,
                    *options: str) -> Iterator[tuple[VirtualMachine, BucketHost]]:
        """A guest that host B has resumed into an empty store. At the end its memory has arrived,
        and no process of the host is left."""
        store = self.work / f"host-b-{name}"
        store.mkdir()
        host = replace(self._b, store=store)

        def loads() -> None:
            self.steps.append(host.step(f"{name}: until the VM can be loaded", start))
            if (store / NAME).exists():
                self.failures.append(f"'{name}': all was there before the VM was loaded")

        host.proxy.begin({})
        try:
            with QemuAsFirecracker(self.machine, self.options.shim,
                                   self.work / f"console-{name}.log", loads) as vm:
                host.call([str(self.options.lamina.resolve()), "resume", "--api",
                           str(vm.api_socket), "--store", str(store), "--name", NAME,
                           "--remote", host.url, "--mode", "uffd", *options])
                self.steps.append(host.step(f"{name}: until the command has ended", start))
                yield vm.guest, host
                wait_until((store / NAME / "snapshot.json").exists,
                           f"'{name}': the memory arrives", ARRIVAL_TIMEOUT_S)
        finally:
            end_processes(lambda: servers_and_fetchers_of(store),
                          f"'{name}': page server and fetcher end")

    def _compare_lazily(self) -> None:
        start = time.monotonic()
        with self._lazy_guest("compared lazily", start, "--stay-paused", "--populate",
                              "none") as (guest, host):
            self.wrong_lazily = self.wrong_pages(guest)
            self.steps.append(host.step("compared lazily: until all is read", start))
        self.check_pages("host B, lazily", self.wrong_lazily)

    def _resume_lazily(self) -> None:
        start = time.monotonic()
        with self._lazy_guest("resumed lazily", start) as (guest, host):
            guest.console.wait_for_tick(self.paused_at + 1, TICKS_TIMEOUT_S)
            self.lazy_first_tick_ms = (time.monotonic() - start) * 1000
            self.steps.append(host.step("resumed lazily: until the first tick", start))
            more = guest.console.last_tick() + self.options.resumed_ticks
            guest.console.wait_for_tick(more, TICKS_TIMEOUT_S)
            guest.stop()
            self.resumed_lazily = guest.console.ticks()
            wait_until((host.store / NAME / "snapshot.json").exists, "the memory arrives",
                       ARRIVAL_TIMEOUT_S)
            self.steps.append(host.step(f"resumed lazily: until all is here, "
                                        f"{len(self.resumed_lazily)} ticks", start))
        self.check_beginning("resumed lazily", self.resumed_lazily)

    def table(self) -> str:
        """The result as text, one line per step."""
        header = ("host", "step", "requests", "round trips", "sent MiB", "received MiB", "ms")
        rows = [(step.host, step.what, str(step.requests), str(step.round_trips),
                 f"{step.sent_bytes / MIB:.2f}", f"{step.received_bytes / MIB:.2f}",
                 f"{step.took_ms:.0f}") for step in self.steps]
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        return "\n".join("  ".join(cell.ljust(width) if at < 2 else cell.rjust(width)
                                   for at, (cell, width) in enumerate(zip(row, widths)))
                         for row in (header, *rows))

    def as_json(self) -> str:
        return json.dumps({
            "right": not self.failures, "failures": self.failures,
            "memory_bytes": self.machine.memory_bytes, "rtt_ms": self.options.rtt_ms,
            "wrong_pages": len(self.wrong), "first_tick_ms": self.first_tick_ms,
            "ticks": len(self.resumed), "wrong_pages_lazily": len(self.wrong_lazily),
            "lazy_first_tick_ms": self.lazy_first_tick_ms, "steps": [vars(step) for step in self.steps]}, indent=2)


def parse_options() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[machine_options("256M"), served_guest_options(pauses=3, ticks=8)])
    parser.add_argument("--server", choices=sorted(SERVERS), default="seaweedfs",
                        help="default: seaweedfs")
    parser.add_argument("--server-cache", type=Path, required=True,
                        help="where downloads of servers are kept")
    parser.add_argument("--rtt-ms", type=float, default=5,
                        help="of the line to the bucket (default: 5)")
    parser.add_argument("--pull", default=PULL_TEMPLATE, help="default: %(default)s")
    parser.add_argument("--serve", default=os.environ.get("LAMINA_SERVE", SERVE_TEMPLATE),
                        help="default: %(default)s")
    parser.add_argument("--lazy", action="store_true",
                        help="also resume while the memory is fetched")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    check_files(parser, options.lamina, options.diff_writer, options.workload, options.shim,
                options.kernel)
    return options


def make_hosts(server: Server, work: Path, namespaces: Namespaces,
               rtt_ms: float) -> list[BucketHost]:
    hosts = []
    for number, letter in enumerate("AB"):
        proxy = FaultyProxy(server.port, round_trip_s=rtt_ms / 1000,
                            address=namespaces.addresses[number])
        store = work / f"host-{letter.lower()}"
        if letter == "B":
            store.mkdir()  # host A's is made by its chain
        hosts.append(BucketHost(letter, store, proxy, namespaces.commands[number]))
    return hosts


def run_all(options: argparse.Namespace, stack: ExitStack) -> RemoteRun:
    """Everything from the server to the verdict. Raises Unavailable, NoGuest, FileExistsError."""
    work = work_directory(options, stack)
    machine = prepare(options, work)
    server = stack.enter_context(running(options.server, options.server_cache, work / "server"))
    namespaces = Namespaces(2)
    stack.callback(namespaces.stop)
    hosts = make_hosts(server, work, namespaces, options.rtt_ms)
    for host in hosts:
        stack.callback(host.proxy.stop)
    run = RemoteRun(options, machine, work, hosts)
    try:
        run.run()
    except (AssertionError, GuestError, ServeError, ToolError, OSError) as error:
        run.failures.append(str(error))
    where = "a network namespace each" if namespaces.are_there else "one network"
    print(f"{options.server}, {options.rtt_ms:g} ms away; hosts A and B have a store each, and "
          f"{where}; memory {machine.memory_bytes // MIB} MiB")
    return run


def main() -> int:
    """Sets everything up, runs, prints; returns the exit code."""
    options = parse_options()
    # A signal becomes an exception, so that every `with` on the way kills its children.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    os.environ["LAMINA_SERVE"] = options.serve
    adopt_orphans()
    if not serve_is_there(options.lamina):
        print("SKIP: this lamina has no serve command")
        return EXIT_UNAVAILABLE
    with ExitStack() as stack:
        try:
            # While there is a network.
            options.kernel = options.kernel or find_kernel(options.cache)
            enter_namespace(options.server, options.server_cache)
            run = run_all(options, stack)
        except FileExistsError as error:
            print(f"remote_run: {error}", file=sys.stderr)
            return EXIT_USAGE
        except (Unavailable, NoGuest) as error:
            print(f"SKIP: {error}")
            return EXIT_UNAVAILABLE
        print(run.table())
        for failure in run.failures:
            print(f"failure: {failure}")
        if options.json is not None:
            options.json.write_text(run.as_json() + "\n")
        if run.failures:
            print(f"WRONG: {len(run.failures)} failures, first: {run.failures[0].splitlines()[0]}")
            return EXIT_WRONG
        print(f"RIGHT: {options.memory // PAGE_BYTES} pages, {len(run.wrong)} wrong; host A's "
              f"store was deleted, host B had the first tick {run.first_tick_ms:.0f} ms after it "
              f"began to pull; {len(run.resumed)} ticks, bad=0, hashes equal to the native run")
        if options.lazy:
            print(f"RIGHT: resumed lazily, {len(run.wrong_lazily)} wrong pages; the first tick "
                  f"{run.lazy_first_tick_ms:.0f} ms after the command began; "
                  f"{len(run.resumed_lazily)} ticks, bad=0, hashes equal to the native run")
        return 0


if __name__ == "__main__":
    sys.exit(main())
