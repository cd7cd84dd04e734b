#!/usr/bin/env python3
"""lamina's main job on real input: a Linux guest is paused, stored and restored.

QEMU runs a stock kernel with a workload that checks its own memory. The guest is paused again and
again. At each pause its memory is written to a file as Firecracker would write it (the first one
Full, the others Diffs in which a hole means "unchanged" and a written zero means "cleared"), lamina
ingests the file with the previous snapshot as parent, and merges when the chain reaches its cap.
After each step the snapshot is materialized and compared with the guest's RAM, page by page. At the
end the guest is restored from the last materialized file and the VM state in the store, and must go
on as if nothing had happened: no bad page, and the same hashes as a native run of the workload.

A second chain ingests the same files with `--zeros inherit`, which takes written zeros for holes.
It is the control: it must come out wrong, or the run would not have shown anything.

Exit codes: 0 everything is right, 1 something is wrong, 2 usage, 77 cannot run on this machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator

sys.dont_write_bytecode = True  # the source folder stays clean

from guest_image import Unavailable, find_kernel, write_initrd  # noqa: E402
from virtual_machine import GuestError, Machine, Tick, VirtualMachine, parse_tick  # noqa: E402

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 77

TOOL_TIMEOUT_S = 120
BOOT_TIMEOUT_S = 120.0
TICKS_TIMEOUT_S = 120.0
MIN_RESUMED_TICKS = 20
WARM_UP_TICKS = 5
PAGE_BYTES = 4096
MIB = 1 << 20


class ToolError(Exception):
    """A command failed; says which one, its exit code and what it printed."""


@dataclasses.dataclass
class Pause:
    """What one pause gave; a row of the table."""

    pause: int
    tick: int
    kind: str
    dirty_pages: int = 0
    cleared_pages: int = 0
    data_bytes: int = 0
    state_save_ms: float = 0.0
    write_ms: float = 0.0
    ingest_ms: float = 0.0
    layer_bytes: int = 0  # as lamina reports it: an adopted layer keeps its holes
    layer_allocated_bytes: int = 0
    layout: str = ""
    generation: int = 0
    merge_ms: float | None = None
    materialize_ms: float = 0.0
    wrong_pages: int = 0
    wrong_pages_inherit: int = 0
    verify_failures: int = 0


@dataclasses.dataclass
class Resume:
    """How the restored guest did."""

    from_tick: int
    first_tick_ms: float = 0.0
    ticks: int = 0
    bad: int = 0


class Tool:
    """An external program that prints one JSON object."""

    def __init__(self, program: Path) -> None:
        self._program = program.resolve()

    def run(self, *arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Returns the exit code and stdout; raises if the code is not an allowed one."""
        command = [str(self._program), *map(str, arguments)]
        text = " ".join(command)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  stdin=subprocess.DEVNULL, timeout=TOOL_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"'{text}' took over {TOOL_TIMEOUT_S} s") from error
        if done.returncode not in allowed:
            raise ToolError(f"'{text}' exited with {done.returncode}: "
                            f"{(done.stderr.strip() or done.stdout.strip())[-2000:]}")
        return done.returncode, done.stdout

    def json(self, *arguments: str | Path, keys: tuple[str, ...],
             allowed: tuple[int, ...] = (0,)) -> tuple[int, dict[str, Any]]:
        """Like run(), for a command that prints one object with at least these keys."""
        code, output = self.run(*arguments, "--json", allowed=allowed)
        text = " ".join(map(str, arguments))
        try:
            answer = json.loads(output)
        except json.JSONDecodeError as error:
            raise ToolError(f"'{text}' printed no JSON: {output[:200]!r}") from error
        missing = [key for key in keys if key not in answer]
        if missing:
            raise ToolError(f"'{text}' printed an object without {', '.join(missing)}: "
                            f"{output[:500]!r}")
        return code, answer


class Chain:
    """A store with one snapshot per pause, each the parent of the next."""

    def __init__(self, lamina: Tool, store: Path, zeros: str) -> None:
        store.mkdir()
        self._lamina = lamina
        self._store = store
        self._zeros = zeros
        self._parent: Path | None = None
        self.snapshot = store

    def ingest(self, memory_file: Path, kind: str, layout: str,
               vmstate: Path | None = None) -> dict[str, Any]:
        """Adds the memory file as the next snapshot. Layout `adopt` takes the file away."""
        self._parent = self.snapshot if self.snapshot != self._store else None
        self.snapshot = self._store / memory_file.stem
        arguments: list[str | Path] = ["ingest", memory_file, "--out", self.snapshot,
                                       "--kind", kind, "--layout", layout, "--zeros", self._zeros]
        if self._parent is not None:
            arguments += ["--parent", self._parent]
        if vmstate is not None:
            arguments += ["--vmstate", vmstate]
        return self._lamina.json(
            *arguments, keys=("elapsed_ms", "layer_bytes", "layout", "generation", "build_id"))[1]

    def allocated_bytes(self, build_id: str) -> int:
        """What the last snapshot's layer takes on the disk."""
        return (self.snapshot / f"memfile.{build_id}").stat().st_blocks * 512

    def vmstate(self) -> Path:
        """The last snapshot's VM state, as it was given at ingest."""
        return self.snapshot / "snapfile"

    def merge(self) -> dict[str, Any]:
        """Makes the last snapshot independent of its parents."""
        return self._lamina.json("merge", self.snapshot, "--full",
                                 keys=("elapsed_ms", "generation"))[1]

    def materialize(self, out: Path) -> None:
        """Writes the last snapshot's whole memory to a fresh file."""
        out.unlink(missing_ok=True)
        self._lamina.run("materialize", self.snapshot, "--out", out, "--reflink", "auto")

    def verify(self, memory: Path) -> str | None:
        """Lets lamina compare the last snapshot with the memory; returns what it has to object."""
        code, answer = self._lamina.json(
            "verify", self.snapshot, "--against", memory, allowed=(0, 1, 4),
            keys=("checked_blocks", "corrupt_blocks", "compared_blocks", "different_blocks"))
        wrong = answer["corrupt_blocks"] + answer["different_blocks"]
        compared_all = answer["compared_blocks"] * PAGE_BYTES == memory.stat().st_size
        if code == 0 and wrong == 0 and answer["checked_blocks"] > 0 and compared_all:
            return None
        return f"verify of '{self.snapshot}' exited with {code}: {json.dumps(answer)}"


class GuestRun:
    """The whole run: collects pauses and failures, goes on after a failure where it can."""

    def __init__(self, options: argparse.Namespace, machine: Machine, work: Path) -> None:
        self._options = options
        self._machine = machine
        self._work = work
        self._diff_writer = Tool(options.diff_writer)
        lamina = Tool(options.lamina)
        self._chain = Chain(lamina, work / "store", "written")
        self._control = Chain(lamina, work / "store-inherit", "inherit")
        self._ram = work / "ram"
        self._previous = work / "ram-at-pause"
        self._materialized = work / "materialized"
        self._materialized_control = work / "materialized-inherit"
        self.pauses: list[Pause] = []
        self.resume: Resume | None = None
        self.failures: list[str] = []
        self.phases_s: dict[str, float] = {}

    def run(self) -> None:
        """Runs everything; raises GuestError or ToolError when going on makes no sense."""
        self._run_and_pause()
        self._resume()
        with self._phase("native run"):
            self._compare_with_native_run()
        self._check_control()

    def _run_and_pause(self) -> None:
        with VirtualMachine(self._machine, self._ram, True, self._work / "console.log") as guest:
            with self._phase("boot"):
                guest.console.wait_for_tick(WARM_UP_TICKS, BOOT_TIMEOUT_S)
            with self._phase("pauses"):
                for number in range(1, self._options.pauses + 1):
                    self._pause(guest, number)
                    if number < self._options.pauses:
                        guest.resume()
                        guest.console.wait_for_tick(self.pauses[-1].tick + self._options.ticks,
                                                    TICKS_TIMEOUT_S)
            self._first_guest_ticks = guest.console.ticks()

    def _pause(self, guest: VirtualMachine, number: int) -> None:
        guest.stop()
        row = Pause(number, guest.console.last_tick(), "full" if number == 1 else "diff")
        self.pauses.append(row)

        state = self._work / f"pause-{number:02}.state"
        start = time.monotonic()
        guest.save_state(state)
        row.state_save_ms = _elapsed_ms(start)

        memory_file = self._work / f"pause-{number:02}.mem"
        start = time.monotonic()
        written = self._diff_writer.json("--ram", self._ram, "--previous", self._previous,
                                         "--out", memory_file, "--kind", row.kind,
                                         keys=("dirty_pages", "cleared_pages"))[1]
        row.write_ms = _elapsed_ms(start)
        row.dirty_pages = written["dirty_pages"]
        row.cleared_pages = written["cleared_pages"]
        row.data_bytes = data_bytes(memory_file)
        if row.data_bytes != row.dirty_pages * PAGE_BYTES:
            self._fail(row, f"'{memory_file}' has {row.data_bytes} bytes of data for "
                            f"{row.dirty_pages} dirty pages: this file system's holes are coarser "
                            "than a page, choose another --work")
        if row.kind == "diff" and row.cleared_pages == 0:
            self._fail(row, "no page was cleared, so written zeros were not tested")

        if self._options.keep is not None:
            copy_with_holes(memory_file, self._options.keep / memory_file.name)
        # The control first: the adopting ingest takes the file away.
        control_generation = self._control.ingest(memory_file, row.kind, "compact")["generation"]
        adopting = "adopt" if row.kind == "diff" else "auto"
        ingested = self._chain.ingest(memory_file, row.kind, adopting, vmstate=state)
        memory_file.unlink(missing_ok=True)
        state.unlink(missing_ok=True)  # the restored guest gets the one in the store
        row.ingest_ms = ingested["elapsed_ms"]
        row.layer_bytes = ingested["layer_bytes"]
        row.layer_allocated_bytes = self._chain.allocated_bytes(ingested["build_id"])
        row.layout = ingested["layout"]
        row.generation = ingested["generation"]
        self._check_step(row, "ingest")

        if row.generation >= self._options.cap:
            merged = self._chain.merge()
            row.merge_ms = merged["elapsed_ms"]
            row.generation = merged["generation"]
            if row.generation != 0:
                self._fail(row, f"the merged snapshot has generation {row.generation}, not 0")
            self._check_step(row, "merge")
        if control_generation >= self._options.cap:
            self._control.merge()
        self._control.materialize(self._materialized_control)
        row.wrong_pages_inherit = self._different_pages(self._materialized_control)[0]

    def _check_step(self, row: Pause, step: str) -> None:
        """Resolves the last snapshot and compares it with the guest's RAM: once page by
        page without lamina's help, once with its own verify."""
        start = time.monotonic()
        self._chain.materialize(self._materialized)
        row.materialize_ms += _elapsed_ms(start)
        wrong, first = self._different_pages(self._materialized)
        if wrong > 0:
            row.wrong_pages += wrong
            self._fail(row, f"after {step}: {wrong} wrong pages, the first is page {first}")
        objection = self._chain.verify(self._previous)
        if objection is not None:
            row.verify_failures += 1
            self._fail(row, f"after {step}: {objection}")

    def _different_pages(self, memory: Path) -> tuple[int, int | None]:
        answer = self._diff_writer.json("--compare", memory, self._previous,
                                        keys=("different_pages", "first_different_page"))[1]
        return answer["different_pages"], answer["first_different_page"]

    def _resume(self) -> None:
        paused_at = self.pauses[-1].tick
        self.resume = Resume(paused_at)
        start = time.monotonic()
        with self._phase("resumed guest"), \
             VirtualMachine(self._machine, self._materialized, False,
                            self._work / "console-resumed.log", wait_for_state=True) as guest:
            guest.load_state(self._chain.vmstate())
            guest.resume()
            guest.console.wait_for_tick(paused_at + 1, TICKS_TIMEOUT_S)
            self.resume.first_tick_ms = _elapsed_ms(start)
            # The line of tick paused_at + 1 may have left the guest in part before the pause.
            first = guest.console.ticks()[0].number
            guest.console.wait_for_tick(first + self._options.resumed_ticks - 1, TICKS_TIMEOUT_S)
            guest.stop()
            ticks = guest.console.ticks()
        self.resume.ticks = len(ticks)
        self.resume.bad = sum(tick.bad for tick in ticks)
        self._resumed_ticks = ticks
        if first > paused_at + 2:
            self.failures.append(f"the resumed guest began at tick {first}, "
                                 f"the paused one had reached {paused_at}")

    def _compare_with_native_run(self) -> None:
        """Both guests must have said, for each tick, what the workload says natively."""
        native = native_ticks(self._options.workload, self._resumed_ticks[-1].number)
        for name, ticks in (("the paused guest", self._first_guest_ticks),
                            ("the resumed guest", self._resumed_ticks)):
            self.failures += wrong_ticks(name, ticks, native)

    def _check_control(self) -> None:
        if sum(row.wrong_pages_inherit for row in self.pauses) == 0:
            self.failures.append("control: --zeros inherit gave no wrong page; "
                                 "this run cannot tell right from wrong")

    def _fail(self, row: Pause, what: str) -> None:
        self.failures.append(f"pause {row.pause}: {what}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.phases_s[name] = round(time.monotonic() - start, 2)


def native_ticks(workload: Path, last: int) -> dict[int, Tick]:
    """What the workload says without any guest, by tick."""
    output = Tool(workload).run("--ticks", str(last))[1]
    native = {tick.number: tick for tick in map(parse_tick, output.splitlines()) if tick}
    if any(tick.bad for tick in native.values()):
        raise ToolError("the workload finds its own memory bad in a native run")
    return native


def wrong_ticks(name: str, ticks: list[Tick], native: dict[int, Tick]) -> list[str]:
    """What is wrong with the ticks of a guest: gaps, bad pages, other hashes."""
    numbers = [tick.number for tick in ticks]
    wrong: list[str] = []
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        wrong.append(f"{name} skipped ticks: {numbers}")
    for tick in ticks:
        if tick != native.get(tick.number):
            wrong.append(f"{name}: {tick} instead of {native.get(tick.number)}")
            break
    return wrong


def data_extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of what is not holes. Must be asked before anything maps the file."""
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def data_bytes(path: Path) -> int:
    """Bytes of the file that are not holes."""
    with path.open("rb") as file:
        return sum(end - start for start, end in data_extents(file.fileno()))


def copy_with_holes(source: Path, target: Path) -> None:
    """Written zeros stay written, holes stay holes."""
    with source.open("rb") as old, target.open("wb") as new:
        os.truncate(new.fileno(), os.fstat(old.fileno()).st_size)
        for start, end in data_extents(old.fileno()):
            while start < end:
                data = os.pread(old.fileno(), min(end - start, 1 << 20), start)
                start += os.pwrite(new.fileno(), data, start)


def table(pauses: list[Pause]) -> str:
    """The result as text, one line per pause."""
    header = ("pause", "kind", "dirty", "cleared", "data MiB", "ingest ms", "layer KiB",
              "generation", "merged ms", "wrong pages", "with inherit")
    rows = [(str(p.pause), p.kind, str(p.dirty_pages), str(p.cleared_pages),
             f"{p.data_bytes / MIB:.1f}", f"{p.ingest_ms:.1f}",
             f"{p.layer_allocated_bytes / 1024:.0f}", str(p.generation),
             "-" if p.merge_ms is None else f"{p.merge_ms:.1f}",
             str(p.wrong_pages), str(p.wrong_pages_inherit)) for p in pauses]
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths))
                     for row in (header, *rows))


def verdict(run: GuestRun) -> str:
    """The last line."""
    if run.failures:
        return f"WRONG: {len(run.failures)} failures, first: {run.failures[0].splitlines()[0]}"
    assert run.resume is not None
    return (f"RIGHT: {len(run.pauses)} pauses, 0 wrong pages, verify passed; the guest resumed "
            f"from the materialized file ran {run.resume.ticks} ticks, bad={run.resume.bad}, "
            "hashes equal to the native run")


def parse_size(text: str) -> int:
    """'256M' or '1G' in bytes."""
    match = re.fullmatch(r"([1-9]\d*)([MG])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 256M or 1G")
    return int(match[1]) * (MIB if match[2] == "M" else MIB << 10)


def positive(text: str) -> int:
    """An integer of 1 or more."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def machine_options(memory: str) -> argparse.ArgumentParser:
    """The options that say which guest is run with which programs, as a parent of a parser."""
    cache_home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--lamina", type=Path, required=True, help="the lamina program")
    parser.add_argument("--diff-writer", type=Path, required=True, help="the diff_writer program")
    parser.add_argument("--workload", type=Path, required=True, help="the static workload")
    parser.add_argument("--work", type=Path,
                        help="directory for guest and stores, kept (default: one that is removed)")
    parser.add_argument("--memory", type=parse_size, default=memory, help="default: %(default)s")
    parser.add_argument("--kernel", type=Path, help="a vmlinuz (default: Debian's, by apt-get)")
    parser.add_argument("--cache", type=lambda text: Path(text).resolve(),
                        default=Path(cache_home) / "lamina-guest",
                        help="where a fetched kernel is kept (default: %(default)s)")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="default: %(default)s")
    parser.add_argument("--busybox", default="busybox", help="a static one (default: %(default)s)")
    return parser


def check_files(parser: argparse.ArgumentParser, *given: Path | None) -> None:
    """Exits with 2 when a file that was given is not there."""
    for path in given:
        if path is not None and not path.is_file():
            parser.error(f"'{path}' is not a file")


def parse_options() -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[machine_options("256M")])
    parser.add_argument("--pauses", type=positive, default=10, help="default: 10")
    parser.add_argument("--cap", type=positive, default=8,
                        help="merge at this generation (default: 8)")
    parser.add_argument("--ticks", type=positive, default=8,
                        help="ticks from one pause to the next (default: 8)")
    parser.add_argument("--resumed-ticks", type=positive, default=25,
                        help="ticks that the restored guest must run (default: 25)")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--keep", type=Path,
                        help="leave a copy of each pause's memory file in this directory")
    options = parser.parse_args()
    if options.keep is not None and not options.keep.is_dir():
        parser.error(f"--keep '{options.keep}' is not a directory")
    check_files(parser, options.lamina, options.diff_writer, options.workload, options.kernel)
    if options.resumed_ticks < MIN_RESUMED_TICKS:
        parser.error(f"--resumed-ticks must be {MIN_RESUMED_TICKS} or more")
    return options


def prepare(options: argparse.Namespace, work: Path) -> Machine:
    """Finds or makes what the guest boots from; raises Unavailable."""
    def program(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            raise Unavailable(f"program '{name}' not found")
        return found

    qemu = program(options.qemu)
    initrd = work / "initrd"
    write_initrd(initrd, {
        "init": Path(__file__).resolve().parent / "init",
        "bin/busybox": Path(program(options.busybox)),
        "bin/workload": options.workload,
    })
    kernel = options.kernel or find_kernel(options.cache)
    return Machine(qemu, kernel.resolve(), initrd, options.memory)


def work_directory(options: argparse.Namespace, stack: ExitStack) -> Path:
    """The directory to work in: --work, which must be empty, or one that goes with `stack`."""
    if options.work is None:
        base = os.environ.get("TMPDIR", "/var/tmp")  # /tmp is often no real file system
        return Path(stack.enter_context(tempfile.TemporaryDirectory("", "lamina-guest-", base)))
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        raise FileExistsError(f"--work '{options.work}' is not empty")
    return options.work.resolve()


def write_json(run: GuestRun, machine: Machine, path: Path) -> None:
    """The same result for programs."""
    path.write_text(json.dumps({
        "right": not run.failures,
        "failures": run.failures,
        "kernel": machine.kernel.name,
        "memory_bytes": machine.memory_bytes,
        "phases_s": run.phases_s,
        "pauses": [dataclasses.asdict(pause) for pause in run.pauses],
        "resume": dataclasses.asdict(run.resume) if run.resume else None,
    }, indent=2) + "\n")


def main() -> int:
    """Sets everything up, runs, prints; returns the exit code."""
    options = parse_options()
    # A signal becomes an exception, so that every `with` on the way kills its children.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))

    with ExitStack() as stack:
        try:
            work = work_directory(options, stack)
        except FileExistsError as error:
            print(f"guest_run: {error}", file=sys.stderr)
            return EXIT_USAGE
        try:
            machine = prepare(options, work)
        except Unavailable as error:
            print(f"SKIP: {error}")
            return EXIT_UNAVAILABLE

        run = GuestRun(options, machine, work)
        try:
            run.run()
        except (GuestError, ToolError, OSError) as error:
            run.failures.append(str(error))
        print(table(run.pauses))
        print("phases:", ", ".join(f"{name} {took:.1f} s" for name, took in run.phases_s.items()))
        if run.resume is not None and run.resume.ticks > 0:
            print(f"resumed guest: first new tick after {run.resume.first_tick_ms:.0f} ms "
                  f"(QEMU's start included)")
        for failure in run.failures:
            print(f"failure: {failure}")
        if options.json is not None:
            write_json(run, machine, options.json)
        print(verdict(run))
        return EXIT_WRONG if run.failures else 0


def _elapsed_ms(start: float) -> float:
    return round((time.monotonic() - start) * 1000, 1)


if __name__ == "__main__":
    sys.exit(main())
