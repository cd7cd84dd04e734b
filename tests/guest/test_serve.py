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
import mmap
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from guest_image import Unavailable  # noqa: E402
from guest_run import (BOOT_TIMEOUT_S, EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG,  # noqa: E402
                       PAGE_BYTES, TICKS_TIMEOUT_S, WARM_UP_TICKS, Chain, Tool, ToolError,
                       check_files, machine_options, native_ticks, positive, prepare,
                       work_directory, wrong_ticks)
from page_server import PageServer, ServeError, WorkerKiller, serve_is_there  # noqa: E402
from virtual_machine import (GuestError, Machine, ServedMemory, Tick,  # noqa: E402
                             VirtualMachine)

# Between them the processor of a PC sees devices and firmware, not RAM.
LEGACY_START = 0xA0000
LEGACY_END = 0x100000

MERGED_PAUSE = 3
KILLS_TIMEOUT_S = 60.0
LONGEST_LIFE_S = 0.1


class ServeRun:
    """The whole run. Collects failures and goes on where it can."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path) -> None:
        self._options = options
        self._machine = machine
        self._work = work
        self._chain = Chain(Tool(options.lamina), work / "store", "written")
        self._ram_at_pause = work / "ram-at-pause"
        self._paused_at = 0
        self.failures: list[str] = []
        self.resumed: dict[str, list[Tick]] = {}

    def run(self) -> None:
        """Runs everything; raises when going on makes no sense."""
        self._run_and_pause()
        self._compare_paused("compared", 0)
        self._compare_paused("compared, killed", self._options.kills)
        self._resume("plain", kills=0)
        self._resume("killed", self._options.kills)
        native = native_ticks(self._options.workload,
                              max(ticks[-1].number for ticks in self.resumed.values()))
        for name, ticks in self.resumed.items():
            self.failures += wrong_ticks(f"the guest '{name}'", ticks, native)

    def _run_and_pause(self) -> None:
        ram = self._work / "ram"
        with VirtualMachine(self._machine, ram, True, self._work / "console.log") as guest:
            guest.console.wait_for_tick(WARM_UP_TICKS, BOOT_TIMEOUT_S)
            for number in range(1, self._options.pauses + 1):
                if number > 1:
                    guest.resume()
                    guest.console.wait_for_tick(self._paused_at + self._options.ticks,
                                                TICKS_TIMEOUT_S)
                guest.stop()
                self._paused_at = guest.console.last_tick()
                self._store_pause(guest, ram, number)
        ram.unlink()

    def _store_pause(self, guest: VirtualMachine, ram: Path, number: int) -> None:
        state = self._work / f"pause-{number:02}.state"
        guest.save_state(state)
        kind = "full" if number == 1 else "diff"
        memory_file = self._work / f"pause-{number:02}.mem"
        written = Tool(self._options.diff_writer).json(
            "--ram", ram, "--previous", self._ram_at_pause, "--out", memory_file, "--kind", kind,
            keys=("dirty_pages", "cleared_pages"))[1]
        ingested = self._chain.ingest(memory_file, kind, "auto" if number == 1 else "adopt", state)
        generation = ingested["generation"]
        if number == MERGED_PAUSE:
            generation = self._chain.merge()["generation"]
        say(f"pause {number} at tick {self._paused_at}: {kind}, {written['dirty_pages']} dirty "
            f"pages, {written['cleared_pages']} cleared, generation {generation}")
        memory_file.unlink(missing_ok=True)
        state.unlink()

    def _compare_paused(self, name: str, kills: int) -> None:
        """Has QEMU read all of the memory before the guest has run, with up to `kills` kills."""
        dump = self._work / "dump"
        with PageServer(self._options.lamina, self._chain.snapshot) as server:
            killer = WorkerKiller(server, kills, self._options.seed, LONGEST_LIFE_S)
            with self._restored("compared", server) as guest:
                guest.dump_memory(dump, self._machine.memory_bytes)
                killer.join(0)
            self._expect_good_end(name, server)
        wrong = different_pages(dump, self._ram_at_pause)
        dump.unlink()
        say(f"{name}: {self._machine.memory_bytes // PAGE_BYTES} pages, {len(wrong)} wrong, "
            f"{killer.kills} workers killed")
        if wrong:
            self.failures.append(f"{name}: {len(wrong)} wrong pages before the guest went on, "
                                 f"the first is page {wrong[0]}")

    def _resume(self, name: str, kills: int) -> None:
        start = time.monotonic()
        with PageServer(self._options.lamina, self._chain.snapshot) as server:
            killer = WorkerKiller(server, kills, self._options.seed, LONGEST_LIFE_S)
            with self._restored(name, server) as guest:
                guest.resume()
                self._wait_for_ticks(guest, self._paused_at + 1, server)
                first_tick_ms = (time.monotonic() - start) * 1000
                killer.join(KILLS_TIMEOUT_S)
                more = guest.console.last_tick() + self._options.resumed_ticks
                self._wait_for_ticks(guest, more, server)
                guest.stop()
                ticks = guest.console.ticks()
            self._expect_good_end(name, server)
        self.resumed[name] = ticks
        bad = sum(tick.bad for tick in ticks)
        say(f"{name}: first tick after {first_tick_ms:.0f} ms, {len(ticks)} ticks, bad={bad}, "
            f"{killer.kills} workers killed")
        # The line of the next tick may have left the guest in part before the pause. A tick from
        # before means memory of an older pause: consistent in itself, so no page seems bad.
        if not self._paused_at < ticks[0].number <= self._paused_at + 2:
            self.failures.append(f"the guest '{name}' began at tick {ticks[0].number}, "
                                 f"the paused one had reached {self._paused_at}")
        if killer.kills < kills:
            self.failures.append(f"only {killer.kills} of {kills} workers could be killed")

    def _restored(self, name: str, server: PageServer) -> VirtualMachine:
        """A guest whose memory is served and whose state is loaded; it does not run yet."""
        guest = VirtualMachine(self._machine, ServedMemory(server.socket, self._options.shim),
                               False, self._work / f"console-{name}.log", wait_for_state=True)
        try:
            guest.load_state(self._chain.vmstate())
        except BaseException:
            guest.kill()
            raise
        return guest

    def _wait_for_ticks(self, guest: VirtualMachine, number: int, server: PageServer) -> None:
        try:
            guest.console.wait_for_tick(number, TICKS_TIMEOUT_S)
        except GuestError as error:
            raise GuestError(f"{error}\n{server.said()}") from error

    def _expect_good_end(self, name: str, server: PageServer) -> None:
        code = server.wait()
        if code != 0:
            self.failures.append(f"after '{name}' the server ended with {code}; {server.said()}")


def different_pages(dump: Path, ram: Path) -> list[int]:
    """The pages that differ, without those that are not RAM to the processor."""
    with dump.open("rb") as left_file, ram.open("rb") as right_file, \
         mmap.mmap(left_file.fileno(), 0, prot=mmap.PROT_READ) as left, \
         mmap.mmap(right_file.fileno(), 0, prot=mmap.PROT_READ) as right:
        if len(left) != len(right):
            raise ToolError(f"the dump has {len(left)} bytes, the RAM {len(right)}")
        return [at // PAGE_BYTES for at in range(0, len(left), PAGE_BYTES)
                if not LEGACY_START <= at < LEGACY_END
                and left[at:at + PAGE_BYTES] != right[at:at + PAGE_BYTES]]


def say(text: str) -> None:
    """Prints a line of the result at once."""
    print(text, flush=True)


def parse_options() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[machine_options("128M")])
    parser.add_argument("--shim", type=lambda text: Path(text).resolve(), required=True,
                        help="the uffd_shim library")
    parser.add_argument("--pauses", type=positive, default=4, help="default: 4")
    parser.add_argument("--ticks", type=positive, default=6,
                        help="ticks from one pause to the next (default: 6)")
    parser.add_argument("--resumed-ticks", type=positive, default=25,
                        help="ticks that a restored guest must run (default: 25)")
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
