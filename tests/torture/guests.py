#!/usr/bin/env python3
"""A guest lives through pauses and resumes while everything of lamina's is killed.

In each cycle the guest is resumed, by the page server or from a materialized file; runs; is paused;
its memory file (Diff, now and then Full) becomes a snapshot over the last one; layers are merged by
a random policy; old snapshots are removed. While the guest runs, the page server's worker, its
supervisor, or all of its processes are killed; `ingest`, `merge`, `compact`, `materialize`, `rm` and
`recover` are killed at random moments, and then recovered.

linux   QEMU runs a stock kernel and a workload that checks all of its own memory at every tick. The
        memory given back is compared with that of the pause, page by page, before the guest runs
        (always by file, every other time by page faults), each new snapshot with the guest's RAM,
        and the ticks with those of a native run.
vcpu    a payload on KVM that is compared with a model after each run, its pages by KVM's dirty log;
        at the end its checksum must be that of a guest that was never paused.

The last line counts cycles and violations. Exit codes: 0 nothing found, 1 violations, 2 usage, 77
cannot run on this machine.
"""

from __future__ import annotations

import argparse
import ctypes
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

sys.dont_write_bytecode = True  # the source folder stays clean
TESTS = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(TESTS / "guest"), str(TESTS / "e2e")]

from guest_image import Unavailable  # noqa: E402
from guest_run import (BOOT_TIMEOUT_S, EXIT_UNAVAILABLE, EXIT_WRONG, TICKS_TIMEOUT_S,  # noqa: E402
                       WARM_UP_TICKS, Tool, ToolError, check_files, machine_options, native_ticks,
                       positive, prepare, wrong_ticks)
from killed_commands import CommandError  # noqa: E402
from serving import Server, adopt_orphans, wait_until  # noqa: E402
from snapshot_life import SnapshotLife, Violation  # noqa: E402
from virtual_machine import (GuestError, Machine, ServedMemory, Tick,  # noqa: E402
                             VirtualMachine)

BY_PAGE_FAULTS_SHARE = 0.6
FULL_SHARE = 0.1
MOST_TICKS = 4
CHUNK_BYTES = 1 << 20
PAYLOAD_STEPS = 256
MOST_PAYLOAD_ROUNDS = 128
RUN_TIMEOUT_S = 120


class IoVector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Guest(Protocol):
    """One that can be paused and resumed."""

    def begin(self) -> None:
        """Boots, and pauses for the first time."""

    def live_by_file(self) -> None:
        """Goes on from the last pause by a materialized file, until the next one."""

    def live_by_page_faults(self) -> None:
        """The same by a page server."""

    def check_merged(self) -> None:
        """The last pause is still what the guest had."""

    def end(self) -> None:
        """What must hold of the whole life."""


class LinuxGuest:
    """In QEMU."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path,
                 life: SnapshotLife) -> None:
        self._options = options
        self._machine = machine
        self._work = work
        self._life = life
        self._diff_writer = Tool(options.diff_writer)
        self._ram = work / "ram"
        self._ram_at_pause = work / "ram-at-pause"
        self._state = work / "state"
        self._paused_at = 0
        self._lives: list[list[Tick]] = []  # what it said between a resume and the next pause

    def begin(self) -> None:
        with VirtualMachine(self._machine, self._ram, True, self._work / "console") as guest:
            guest.console.wait_for_tick(WARM_UP_TICKS, BOOT_TIMEOUT_S)
            self._pause(guest)

    def live_by_file(self) -> None:
        self._life.materialize(self._ram)
        self._expect_ram_of_pause("the materialized file")
        with self._restored(self._ram) as guest:
            self._run(guest)
            self._pause(guest)

    def live_by_page_faults(self) -> None:
        with self._life.served() as server:
            memory = ServedMemory(server.socket, self._options.shim)
            with self._restored(memory) as guest:
                self._life.kill_some_of(server)
                if self._life.rng.random() < 0.5:
                    self._save_ram(guest)
                    self._expect_ram_of_pause("the memory given by page faults")
                self._run(guest, server)
                self._pause(guest, is_served=True)

    def check_merged(self) -> None:
        self._life.expect_memory(self._ram_at_pause)

    def end(self) -> None:
        native = native_ticks(self._options.workload, self._paused_at)
        # What may be missing between two lives has been looked at in _run().
        wrong = [text for ticks in self._lives for text in wrong_ticks("the guest", ticks, native)]
        if wrong:
            raise Violation("; ".join(wrong))

    def _restored(self, memory: Path | ServedMemory) -> VirtualMachine:
        guest = VirtualMachine(self._machine, memory, isinstance(memory, Path),
                               self._work / "console", wait_for_state=True)
        try:
            guest.load_state(self._life.last / "snapfile")
        except BaseException:
            guest.kill()
            raise
        return guest

    def _run(self, guest: VirtualMachine, server: Server | None = None) -> None:
        guest.resume()
        try:
            guest.console.wait_for_tick(self._paused_at + 1, TICKS_TIMEOUT_S)
            if server is not None:
                self._life.kill_some_of(server)
            guest.console.wait_for_tick(
                self._paused_at + self._life.rng.randint(2, MOST_TICKS), TICKS_TIMEOUT_S)
        except GuestError as error:
            raise Violation(f"{error}{'; ' + server.said() if server else ''}") from error
        first = guest.console.ticks()[0].number
        # The line of the next tick may have left the guest in part before the pause.
        if not self._paused_at < first <= self._paused_at + 2:
            raise Violation(f"the guest began at tick {first}, the paused one had reached "
                            f"{self._paused_at}")

    def _pause(self, guest: VirtualMachine, is_served: bool = False) -> None:
        guest.stop()
        ticks = guest.console.ticks()
        self._paused_at = ticks[-1].number
        self._lives.append(ticks)
        self._state.unlink(missing_ok=True)
        guest.save_state(self._state)
        if is_served:
            self._save_ram(guest)
        is_full = not self._life.is_begun() or self._life.rng.random() < FULL_SHARE
        memory_file = self._work / "memory"
        self._diff_writer.json("--ram", self._ram, "--previous", self._ram_at_pause, "--out",
                               memory_file, "--kind", "full" if is_full else "diff",
                               keys=("dirty_pages",))
        self._life.ingest(memory_file, "--vmstate", self._state, is_full=is_full)
        self._life.expect_memory(self._ram_at_pause)

    def _save_ram(self, guest: VirtualMachine) -> None:
        """The guest's memory as QEMU has it; what is missing is faulted in."""
        size = self._machine.memory_bytes
        at = mapping_of(guest.pid, size)
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(CHUNK_BYTES)
        with self._ram.open("wb") as file:
            for offset in range(0, size, CHUNK_BYTES):
                ours = IoVector(ctypes.addressof(buffer), CHUNK_BYTES)
                theirs = IoVector(at + offset, CHUNK_BYTES)
                count = libc.process_vm_readv(guest.pid, ctypes.byref(ours), 1,
                                              ctypes.byref(theirs), 1, 0)
                if count != CHUNK_BYTES:
                    raise Violation(f"QEMU's memory cannot be read at {offset:#x}: "
                                    f"{os.strerror(ctypes.get_errno())}")
                file.write(buffer.raw)

    def _expect_ram_of_pause(self, what: str) -> None:
        answer = self._diff_writer.json("--compare", self._ram, self._ram_at_pause,
                                        keys=("different_pages", "first_different_page"))[1]
        if answer["different_pages"]:
            raise Violation(f"{what} has {answer['different_pages']} wrong pages, the first is "
                            f"page {answer['first_different_page']}")


class VcpuGuest:
    """A payload on KVM."""

    def __init__(self, options: argparse.Namespace, work: Path, life: SnapshotLife) -> None:
        self._program = options.vcpu_guest
        self._work = work
        self._life = life
        self._state = work / "state"
        self._memory = work / "memory"
        self._steps = 0
        self._has_ended = threading.Event()
        self._last: dict[str, int] = {}

    def begin(self) -> None:
        full = self._work / "full"
        self._steps = PAYLOAD_STEPS
        self._ran("start", "--steps", self._steps, "--state", self._state, "--memory", full)
        self._life.ingest(full, "--vmstate", self._state, is_full=True)

    def live_by_file(self) -> None:
        self._life.materialize(self._memory)
        self._resume("--map", self._memory)

    def live_by_page_faults(self) -> None:
        with self._life.served() as server, ThreadPoolExecutor(1) as pool:
            self._has_ended.clear()
            kills = pool.submit(self._kill_when_served, server)
            self._resume("--socket", server.socket, kills=kills)

    def check_merged(self) -> None:
        """Its next run tells."""

    def end(self) -> None:
        whole = self._ran("run", "--steps", self._steps)
        if self._last["checksum"] != whole["checksum"]:
            raise Violation("its checksum is not that of a guest that was never paused")

    def _kill_when_served(self, server: Server) -> None:
        wait_until(lambda: server.vms_on_record() or self._has_ended.is_set(),
                   f"the guest connects; {server.said()}")
        self._life.kill_some_of(server)

    def _resume(self, *source: str | Path, kills: Future[None] | None = None) -> None:
        rounds = 1 + self._steps // PAYLOAD_STEPS * 7 % MOST_PAYLOAD_ROUNDS
        diff, state = self._work / "diff", self._work / "next-state"
        try:
            self._last = self._ran("resume", "--state", self._state, *source, "--steps",
                                   rounds * PAYLOAD_STEPS, "--state-out", state, "--diff", diff)
        finally:
            self._has_ended.set()
        # Not before: the random numbers are used by one at a time.
        if kills is not None:
            kills.result()
        self._steps += rounds * PAYLOAD_STEPS
        state.replace(self._state)
        # What was only read counts as dirty after page faults.
        self._life.ingest(diff, "--vmstate", self._state, "--dedup", "parent")

    def _ran(self, *arguments: object) -> dict[str, int]:
        """What vcpu_guest reports, which must find itself right."""
        try:
            done = subprocess.run([self._program, *map(str, arguments)], capture_output=True,
                                  text=True, check=False, timeout=RUN_TIMEOUT_S,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise Violation(f"the guest is stuck: {error}") from error
        if done.returncode == EXIT_UNAVAILABLE:
            raise Unavailable(done.stderr.strip())
        if done.returncode != 0:
            raise Violation(f"the guest is wrong: {' '.join(map(str, arguments))}: {done.stdout} "
                            f"{done.stderr}")
        return json.loads(done.stdout)


def mapping_of(pid: int, size: int) -> int:
    """Where the process maps `size` bytes of memory of its own."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0", line)
        if found and int(found[2], 16) - int(found[1], 16) == size:
            return int(found[1], 16)
    raise GuestError("QEMU's memory is not found among its mappings")


def parse_options() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[machine_options("128M")])
    parser.add_argument("guest", choices=("linux", "vcpu"))
    parser.add_argument("--shim", type=lambda text: Path(text).resolve(), required=True,
                        help="the uffd_shim library")
    parser.add_argument("--vcpu-guest", type=Path, required=True, help="the vcpu_guest program")
    parser.add_argument("--cycles", type=positive, default=100, help="default: 100")
    parser.add_argument("--minutes", type=float, default=0, help="end sooner, after so many")
    parser.add_argument("--seed", type=positive, default=random.SystemRandom().randrange(1, 1 << 32),
                        help="of everything that is random")
    options = parser.parse_args()
    options.lamina = options.lamina.resolve()
    check_files(parser, options.lamina, options.diff_writer, options.workload, options.shim,
                options.vcpu_guest, options.kernel)
    return options


def work_place(memory_bytes: int) -> Path | None:
    """tmpfs, where there is room for the files of a life."""
    shared_memory = Path("/dev/shm")
    needed = 16 * memory_bytes
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > needed:
        return shared_memory
    return None


def main() -> int:
    """Sets everything up, runs, prints; returns the exit code."""
    options = parse_options()
    os.environ["LAMINA"] = str(options.lamina)
    # A signal becomes an exception, so that every `with` on the way kills its children.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    adopt_orphans()
    began = time.monotonic()
    cycles = by_page_faults = violations = 0
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix="lamina-guests-", dir=work_place(options.memory))))
        life = SnapshotLife(options.lamina, work / "store", random.Random(options.seed))
        try:
            guest: Guest = (LinuxGuest(options, prepare(options, work), work, life)
                            if options.guest == "linux" else VcpuGuest(options, work, life))
            guest.begin()
            while cycles < options.cycles and not (
                    options.minutes and time.monotonic() - began > options.minutes * 60):
                if life.rng.random() < BY_PAGE_FAULTS_SHARE:
                    guest.live_by_page_faults()
                    by_page_faults += 1
                else:
                    guest.live_by_file()
                life.merge()
                guest.check_merged()
                life.remove_old()
                cycles += 1
            guest.end()
            life.expect_no_leftovers()
        except Unavailable as error:
            print(f"SKIP: {error}")
            return EXIT_UNAVAILABLE
        except (Violation, AssertionError, CommandError, GuestError, ToolError) as error:
            violations = 1
            print(f"{options.guest}, cycle {cycles + 1}, --seed {options.seed}: {error}")
    print(f"total: {cycles} cycles, {violations} violations; {by_page_faults} by page faults; "
          f"killed: {life.server_kills} page servers, {life.command_kills} commands; "
          f"{time.monotonic() - began:.0f} s")
    return EXIT_WRONG if violations else 0


if __name__ == "__main__":
    sys.exit(main())
