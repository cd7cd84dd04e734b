#!/usr/bin/env python3
"""Two of everything on one store: commands that meet, some of them killed.

Each thread owns a snapshot, which it replaces by full files and diffs and which must always be what
it wrote last. On all snapshots, its own and the others', it lets loose merges, policies, forks,
removals, repairs, readers and recoveries. A command may be killed at a random moment. Each memory
has a digest of itself in its first page, so that one that is a mixture shows whoever reads it.

A command may find that a name is gone, taken or in use (exit codes 3, 1 with "already exists", 5),
or that there are fewer layers than it was to merge. Anything else is a violation, above all 4: corrupt. At the end nothing is left but snapshots.

The last line counts commands and violations. Exit codes: 0 nothing found, 1 violations, 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from killed_commands import (EXIT_DONE, EXIT_NOT_FOUND, KILLED, TIMEOUT_S, CommandError,  # noqa: E402
                             run_until)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUSY = 5

PAGE_BYTES = 4096
PAGES = 48
OWNERS = 6
FORKS = 4
KILLED_SHARE = 0.15
LONGEST_LIFE_S = 0.03
SHARED = "shared"


class Violation(Exception):
    """Something that must never be."""


def digest_of(pages: bytes) -> bytes:
    """What the first page of a memory is, whose other pages these are."""
    return hashlib.sha256(pages).digest().ljust(PAGE_BYTES, b"\0")


class Owner:
    """One thread: owns a snapshot, and meddles with those of the others."""

    def __init__(self, lamina: Path, work: Path, number: int, seed: int) -> None:
        self._lamina = lamina
        self._store = work / "store"
        self._files = work / f"files-{number}"
        self._files.mkdir()
        self._own = self._store / f"own-{number}"
        self._rng = random.Random(seed + number)
        self._memory: bytes | None = None
        self._made = 0
        self.commands = 0
        self.kills = 0

    def live(self, until: Callable[[], bool]) -> None:
        """Works until it is told to stop; then its snapshot must be there, and right."""
        choices: list[tuple[int, Callable[[], None]]] = [
            (8, self._replace_by_diff), (3, self._replace_by_full), (2, self._replace_shared),
            (6, self._check_own), (6, self._check_any), (4, self._merge), (3, self._compact),
            (1, self._compact_all), (3, self._fork), (3, self._remove), (2, self._repair),
            (2, self._verify), (2, self._look), (2, self._recover)]
        weights = [weight for weight, _ in choices]
        self._replace_by_full()
        while not until():
            self._rng.choices(choices, weights)[0][1]()
        self._check_own()

    # --- its own

    def _replace_by_full(self) -> None:
        pages = self._random_pages(PAGES - 1)
        memory = digest_of(pages) + pages
        file = self._new_file()
        file.write_bytes(memory)
        self._replace_own(memory, file)

    def _replace_by_diff(self) -> None:
        if self._memory is None:
            return
        memory = bytearray(self._memory)
        dirty = self._rng.sample(range(1, PAGES), self._rng.randint(1, 6))
        for page in dirty:
            contents = b"" if self._rng.random() < 0.3 else self._random_pages(1)
            memory[page * PAGE_BYTES:(page + 1) * PAGE_BYTES] = contents.ljust(PAGE_BYTES, b"\0")
        memory[:PAGE_BYTES] = digest_of(bytes(memory[PAGE_BYTES:]))
        file = self._new_file()
        with file.open("wb") as stream:
            stream.truncate(len(memory))
            for page in (0, *dirty):
                stream.seek(page * PAGE_BYTES)
                stream.write(memory[page * PAGE_BYTES:(page + 1) * PAGE_BYTES])
        self._replace_own(bytes(memory), file, "--parent", self._own, "--zeros", "written")

    def _replace_own(self, memory: bytes, file: Path, *options: str | Path) -> None:
        layout = self._rng.choice(("auto", "compact", "adopt"))
        code = self._run("ingest", file, "--out", self._own, "--replace", "--layout", layout,
                         "--vmstate", self._vmstate(), *options)
        if code == EXIT_DONE:
            self._memory = memory
        elif code == KILLED:
            # The old or the new one; which, recovery settles.
            self._run("recover", self._store, may_be_killed=False)
            found = self._memory_of(self._own)
            if found not in (self._memory, memory):
                raise Violation(f"{self._own.name} is neither old nor new after a kill")
            self._memory = found
        file.unlink(missing_ok=True)

    def _check_own(self) -> None:
        if self._memory_of(self._own) != self._memory:
            raise Violation(f"{self._own.name} is not what was acknowledged last")

    # --- anybody's

    def _replace_shared(self) -> None:
        pages = self._random_pages(PAGES - 1)
        file = self._new_file()
        file.write_bytes(digest_of(pages) + pages)
        self._run("ingest", file, "--out", self._store / SHARED, "--replace", "--vmstate",
                  self._vmstate())
        file.unlink(missing_ok=True)

    def _check_any(self) -> None:
        name = self._any()
        memory = self._memory_of(name)
        if memory is not None and memory[:PAGE_BYTES] != digest_of(memory[PAGE_BYTES:]):
            raise Violation(f"{name.name} is a mixture")

    def _merge(self) -> None:
        self._run("merge", self._any(), *self._rng.choice(((), ("--layers", "2"))))

    def _compact(self) -> None:
        policy = self._rng.choice(("tiered:soft=2", "full:cap=2", "tiered"))
        self._run("compact", self._any(), "--policy", policy)

    def _compact_all(self) -> None:
        self._run("compact", "--store", self._store, "--policy", "tiered:soft=3")

    def _fork(self) -> None:
        self._run("fork", self._any(), self._a_fork())

    def _remove(self) -> None:
        self._run("rm", self._rng.choice((self._a_fork(), self._store / SHARED)))

    def _repair(self) -> None:
        self._run("repair", self._any())

    def _verify(self) -> None:
        self._run("verify", self._any())

    def _look(self) -> None:
        self._run(self._rng.choice(("ls", "du")), self._store)

    def _recover(self) -> None:
        self._run("recover", self._store)

    def _any(self) -> Path:
        names = [f"own-{self._rng.randrange(OWNERS)}", SHARED]
        return self._rng.choice((self._store / self._rng.choice(names), self._a_fork()))

    def _a_fork(self) -> Path:
        return self._store / f"fork-{self._rng.randrange(FORKS)}"

    # --- commands

    def _memory_of(self, snapshot: Path) -> bytes | None:
        """All of its memory; nothing when it is not there."""
        out = self._new_file()
        code = self._run("materialize", snapshot, "--out", out, may_be_killed=False)
        if code == EXIT_NOT_FOUND:
            return None
        memory = out.read_bytes()
        out.unlink()
        return memory

    def _run(self, *words: str | Path, may_be_killed: bool = True) -> int:
        self.commands += 1
        moment_s = None
        if may_be_killed and self._rng.random() < KILLED_SHARE:
            moment_s = self._rng.uniform(0, LONGEST_LIFE_S)
        code, said = run_until(moment_s, self._lamina, *words)
        self.kills += code == KILLED
        if code in (EXIT_DONE, EXIT_NOT_FOUND, EXIT_BUSY, KILLED) or \
                (code, True) in ((EXIT_FAILED, "already exists" in said),
                                 (EXIT_USAGE, "can be merged" in said)):
            return code
        raise Violation(f"'{' '.join(map(str, words))}' exited with {code}: {said.strip()}")

    def _new_file(self) -> Path:
        self._made += 1
        return self._files / f"{self._made}"

    def _vmstate(self) -> Path:
        """A VM state unlike all others: verify checks that a snapshot has its own."""
        file = self._files / "vmstate"
        file.write_bytes(self._rng.randbytes(300))
        return file

    def _random_pages(self, count: int) -> bytes:
        """A third of them zeros."""
        return b"".join(bytes(PAGE_BYTES) if self._rng.random() < 0.3
                        else self._rng.randbytes(PAGE_BYTES) for _ in range(count))


def run(lamina: Path, work: Path, minutes: float, seed: int) -> tuple[list[Owner], list[str]]:
    """All of them at once; what they did, and what was wrong."""
    (work / "store").mkdir()
    owners = [Owner(lamina, work, number, seed) for number in range(OWNERS)]
    end = time.monotonic() + minutes * 60
    failed = threading.Event()

    def live(owner: Owner) -> str | None:
        try:
            owner.live(lambda: failed.is_set() or time.monotonic() > end)
        except (CommandError, Violation, OSError) as error:
            failed.set()
            return str(error)
        return None

    with ThreadPoolExecutor(OWNERS) as pool:
        found = [failure for failure in pool.map(live, owners) if failure]
    if not found:
        subprocess.run([lamina, "recover", work / "store"], check=True, timeout=TIMEOUT_S,
                       stdout=subprocess.DEVNULL)
        for area in (".tmp", ".pending", ".vms"):
            left = [name for name in os.listdir(work / "store" / area) if name[0] != "."]
            found += [f"{area} still has {left}"] if left else []
    return owners, found


def main() -> int:
    """Runs, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lamina", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--minutes", type=float, default=5, help="default: 5")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32),
                        help="of what is random, but for how they interleave")
    options = parser.parse_args()
    began = time.monotonic()
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="lamina-races-", dir=place) as work:
        owners, found = run(options.lamina, Path(work), options.minutes, options.seed)
        for violation in found:
            print(f"--seed {options.seed}: {violation}")
    print(f"total: {sum(owner.commands for owner in owners)} commands, {len(found)} violations; "
          f"{sum(owner.kills for owner in owners)} killed; {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
