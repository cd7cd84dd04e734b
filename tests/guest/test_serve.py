#!/usr/bin/env python3
"""A Linux guest that goes on from memory which a page server gives it, page by page.

QEMU runs the workload of guest_run.py, which checks all of its own memory at every tick. The guest
is paused a few times; the first memory file is Full, the others are Diffs; one snapshot is merged.
Then the last pause is resumed through `lamina serve`:

  compared   the guest stays paused and every page that it can see is compared with its RAM, once
             plainly and once while the server's worker is killed
  plain      it runs; pages come as it touches them
  killed     it runs while the server's worker is killed again and again at random moments

Its ticks must be those of a native run of the workload, with no bad page, and the server must end
by itself once the guest has ended.

Environment: LAMINA_SERVE is the command that serves, with fields {lamina} {snapshot} {socket}
{populate} (default: `lamina serve`); LAMINA_SEED replays the moments of the kills.
Exit codes: 0 everything is right, 1 something is wrong, 2 usage, 77 cannot run on this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from guest_image import Unavailable  # noqa: E402
from guest_run import (EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG, PAGE_BYTES,  # noqa: E402
                       TICKS_TIMEOUT_S, ToolError, check_files, machine_options, native_ticks,
                       positive, prepare, work_directory, wrong_ticks)
from page_server import PageServer, ServeError, WorkerKiller, serve_is_there  # noqa: E402
from served_guest import ServedGuest, served_guest_options  # noqa: E402
from virtual_machine import GuestError, Machine, Tick, VirtualMachine  # noqa: E402

MERGED_PAUSE = 3
KILLS_TIMEOUT_S = 60.0
LONGEST_LIFE_S = 0.1


class ServeRun(ServedGuest):
    """The whole run. Goes on where it can."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path) -> None:
        super().__init__(options, machine, work, work / "store")
        self.resumed: dict[str, list[Tick]] = {}

    def run(self) -> None:
        """Runs everything; raises when going on makes no sense."""
        self.run_and_pause()
        self._compare_paused("compared", 0)
        self._compare_paused("compared, killed", self.options.kills)
        self._resume("plain", kills=0)
        self._resume("killed", self.options.kills)
        native = native_ticks(self.options.workload,
                              max(ticks[-1].number for ticks in self.resumed.values()))
        for name, ticks in self.resumed.items():
            self.failures += wrong_ticks(f"the guest '{name}'", ticks, native)

    def stored(self, number: int, kind: str, written: dict[str, Any],
               ingested: dict[str, Any]) -> None:
        generation = ingested["generation"]
        if number == MERGED_PAUSE:
            generation = self.chain.merge()["generation"]
        say(f"pause {number} at tick {self.paused_at}: {kind}, {written['dirty_pages']} dirty "
            f"pages, {written['cleared_pages']} cleared, generation {generation}")

    def _compare_paused(self, name: str, kills: int) -> None:
        """Compares the memory before the guest has run, with up to `kills` kills meanwhile."""
        with PageServer(self.options.lamina, self.chain.snapshot) as server:
            killer = WorkerKiller(server, kills, self.options.seed, LONGEST_LIFE_S)
            with self.restored("compared", server, self.chain.vmstate()) as guest:
                wrong = self.wrong_pages(guest)
                killer.join(0)
            self.check_end(name, server)
        say(f"{name}: {self.machine.memory_bytes // PAGE_BYTES} pages, {len(wrong)} wrong, "
            f"{killer.kills} workers killed")
        self.check_pages(name, wrong)

    def _resume(self, name: str, kills: int) -> None:
        start = time.monotonic()
        with PageServer(self.options.lamina, self.chain.snapshot) as server:
            killer = WorkerKiller(server, kills, self.options.seed, LONGEST_LIFE_S)
            with self.restored(name, server, self.chain.vmstate()) as guest:
                guest.resume()
                self._wait_for_ticks(guest, self.paused_at + 1, server)
                first_tick_ms = (time.monotonic() - start) * 1000
                killer.join(KILLS_TIMEOUT_S)
                more = guest.console.last_tick() + self.options.resumed_ticks
                self._wait_for_ticks(guest, more, server)
                guest.stop()
                ticks = guest.console.ticks()
            self.check_end(name, server)
        self.resumed[name] = ticks
        bad = sum(tick.bad for tick in ticks)
        say(f"{name}: first tick after {first_tick_ms:.0f} ms, {len(ticks)} ticks, bad={bad}, "
            f"{killer.kills} workers killed")
        self.check_beginning(name, ticks)
        if killer.kills < kills:
            self.failures.append(f"only {killer.kills} of {kills} workers could be killed")

    def _wait_for_ticks(self, guest: VirtualMachine, number: int, server: PageServer) -> None:
        try:
            guest.console.wait_for_tick(number, TICKS_TIMEOUT_S)
        except GuestError as error:
            raise GuestError(f"{error}\n{server.said()}") from error


def say(text: str) -> None:
    """Prints a line of the result at once."""
    print(text, flush=True)


def parse_options() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[machine_options("128M"), served_guest_options(pauses=4, ticks=6)])
    parser.add_argument("--kills", type=positive, default=50,
                        help="how often the worker is killed (default: 50)")
    parser.add_argument("--seed", type=positive, default=os.environ.get("LAMINA_SEED", "1"),
                        help="of the moments of the kills (default: %(default)s)")
    options = parser.parse_args()
    check_files(parser, options.lamina, options.diff_writer, options.workload, options.shim,
                options.kernel)
    return options


def main() -> int:
    """Sets everything up, runs, prints; returns the exit code."""
    options = parse_options()
    # A signal becomes an exception, so that every `with` on the way kills its children.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    if not serve_is_there(options.lamina):
        print("SKIP: this lamina has no serve command")
        return EXIT_UNAVAILABLE
    with ExitStack() as stack:
        try:
            work = work_directory(options, stack)
            machine = prepare(options, work)
        except FileExistsError as error:
            print(f"test_serve: {error}", file=sys.stderr)
            return EXIT_USAGE
        except Unavailable as error:
            print(f"SKIP: {error}")
            return EXIT_UNAVAILABLE
        run = ServeRun(options, machine, work)
        try:
            run.run()
        except (GuestError, ServeError, ToolError, OSError) as error:
            run.failures.append(str(error))
        for failure in run.failures:
            print(f"failure: {failure}")
        print(f"WRONG: {len(run.failures)} failures, seed {options.seed}" if run.failures else
              "RIGHT: every page was served as it was paused, and the guests went on with it")
        return EXIT_WRONG if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
