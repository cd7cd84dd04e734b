"""A guest that is paused a few times, and then goes on from memory that a page server gives it.

What runs and pauses it is the same in each test; a test says where the pauses go and what is done
with the restored guests.
"""

from __future__ import annotations

import argparse
import mmap
from pathlib import Path
from typing import Any

from guest_run import (BOOT_TIMEOUT_S, PAGE_BYTES, TICKS_TIMEOUT_S, WARM_UP_TICKS, Chain, Tool,
                       ToolError, positive)
from page_server import PageServer
from virtual_machine import Machine, ServedMemory, Tick, VirtualMachine

# Between them the processor of a PC sees devices and firmware, not RAM.
LEGACY_START = 0xA0000
LEGACY_END = 0x100000


class ServedGuest:
    """The life of a guest up to its last pause, and guests restored from it. Collects failures."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path,
                 store: Path) -> None:
        self.options, self.machine, self.work = options, machine, work
        self.chain = Chain(Tool(options.lamina), store, "written")
        self.ram_at_pause = work / "ram-at-pause"
        self.paused_at = 0
        self.failures: list[str] = []

    def stored(self, number: int, kind: str, written: dict[str, Any],
               ingested: dict[str, Any]) -> None:
        """Called after each pause is in the store, with what the diff writer and ingest said."""
        raise NotImplementedError

    def run_and_pause(self) -> None:
        """The guest's life; the first memory file is Full, the others are Diffs."""
        ram = self.work / "ram"
        with VirtualMachine(self.machine, ram, True, self.work / "console.log") as guest:
            guest.console.wait_for_tick(WARM_UP_TICKS, BOOT_TIMEOUT_S)
            for number in range(1, self.options.pauses + 1):
                if number > 1:
                    guest.resume()
                    guest.console.wait_for_tick(self.paused_at + self.options.ticks,
                                                TICKS_TIMEOUT_S)
                guest.stop()
                self.paused_at = guest.console.last_tick()
                self._store(guest, ram, number)
        ram.unlink()

    def _store(self, guest: VirtualMachine, ram: Path, number: int) -> None:
        state = self.work / f"pause-{number:02}.state"
        guest.save_state(state)
        kind = "full" if number == 1 else "diff"
        memory_file = self.work / f"pause-{number:02}.mem"
        written = Tool(self.options.diff_writer).json(
            "--ram", ram, "--previous", self.ram_at_pause, "--out", memory_file, "--kind", kind,
            keys=("dirty_pages", "cleared_pages"))[1]
        ingested = self.chain.ingest(memory_file, kind, "auto" if number == 1 else "adopt", state)
        self.stored(number, kind, written, ingested)
        memory_file.unlink(missing_ok=True)
        state.unlink()

    def restored(self, name: str, server: PageServer, vmstate: Path) -> VirtualMachine:
        """A guest whose memory is served and whose state is loaded; it does not run yet."""
        guest = VirtualMachine(self.machine, ServedMemory(server.socket, self.options.shim),
                               False, self.work / f"console-{name}.log", wait_for_state=True)
        try:
            guest.load_state(vmstate)
        except BaseException:
            guest.kill()
            raise
        return guest

    def wrong_pages(self, guest: VirtualMachine) -> list[int]:
        """Has QEMU read all of a restored guest's memory, which has not run yet, and compares it
        with the RAM at the last pause."""
        dump = self.work / "dump"
        guest.dump_memory(dump, self.machine.memory_bytes)
        wrong = different_pages(dump, self.ram_at_pause)
        dump.unlink()
        return wrong

    def check_pages(self, name: str, wrong: list[int]) -> None:
        """Of a guest that was compared before it ran."""
        if wrong:
            self.failures.append(f"{name}: {len(wrong)} wrong pages before the guest went on, "
                                 f"the first is page {wrong[0]}")

    def check_beginning(self, name: str, ticks: list[Tick]) -> None:
        """The line of the next tick may have left the guest in part before the pause. A tick from
        before means memory of an older pause: consistent in itself, so no page seems bad."""
        if not self.paused_at < ticks[0].number <= self.paused_at + 2:
            self.failures.append(f"the guest '{name}' began at tick {ticks[0].number}, "
                                 f"the paused one had reached {self.paused_at}")

    def check_end(self, name: str, server: PageServer) -> None:
        """A server ends by itself once its guest has ended."""
        code = server.wait()
        if code != 0:
            self.failures.append(f"after '{name}' the server ended with {code}; {server.said()}")


def served_guest_options(pauses: int, ticks: int) -> argparse.ArgumentParser:
    """Options of each such test, with these defaults; a parent for its parser."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shim", type=lambda text: Path(text).resolve(), required=True,
                        help="the uffd_shim library")
    parser.add_argument("--pauses", type=positive, default=pauses, help="default: %(default)s")
    parser.add_argument("--ticks", type=positive, default=ticks,
                        help="ticks from one pause to the next (default: %(default)s)")
    parser.add_argument("--resumed-ticks", type=positive, default=25,
                        help="ticks that a restored guest must run (default: %(default)s)")
    return parser


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
