#!/usr/bin/env python3
"""All tortures one after the other, each for its part of the time, and one table of what they found.

Each ends with a line "total: <count> <what>, <count> violations". What cannot run on this machine
is said. Exit codes: 0 nothing found, 1 violations, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
EXIT_UNAVAILABLE = 77
# What a torture may take beyond its time: it ends what it has begun.
GRACE_S = 900.0
TOTAL = re.compile(r"^total: (\d+) ([a-z ]+), (\d+) violations(.*)$", re.MULTILINE)

RAN = re.compile(r"^Ran (\d+) tests?", re.MULTILINE)


@dataclass
class Torture:
    """One kind, and its part of the time."""

    name: str
    what: str
    share: float
    run: Callable[[float], subprocess.CompletedProcess[str]]


@dataclass
class Result:
    """A row of the table."""

    name: str
    what: str
    tried: str = "-"
    violations: int = 0
    seconds: float = 0


class Tortures:
    """How each is run. `build` is a build directory."""

    def __init__(self, build: Path, seed: int) -> None:
        self._build = build
        self._seed = seed
        self.all = [
            Torture("crash", "states of a disk after a power failure", 0.16, self._binary("crash")),
            Torture("faults", "failing calls", 0.06, self._binary("faults")),
            Torture("rot", "damaged files", 0.1, self._binary("rot")),
            Torture("races", "commands that meet on one store", 0.1, self._races),
            Torture("sandboxes", "random lives of sandboxes, page servers killed", 0.1,
                    self._script("test_lifecycle_random.py")),
            Torture("servers", "page servers killed under load", 0.1,
                    self._script("test_serve.py", "Killed")),
            Torture("stores", "the same, of a store", 0.06,
                    self._script("test_serve_store.py", "KilledUnderLoad")),
            Torture("peers", "hostile peers of the page server", 0.04,
                    self._script("test_serve_peers.py")),
            Torture("linux", "a Linux guest, everything of ours killed", 0.08,
                    self._guest("linux")),
            Torture("vcpu", "a guest on KVM, everything of ours killed", 0.08, self._guest("vcpu")),
            Torture("buckets", "requests to an object store, spoiled by a proxy", 0.06,
                    self._bad_days),
            Torture("hosts", "two hosts and collectors on one bucket", 0.06, self._two_hosts)]

    def _binary(self, kind: str) -> Callable[[float], subprocess.CompletedProcess[str]]:
        return lambda minutes: self._run(minutes, self._build / "tests/torture/torture", kind,
                                         "--minutes", minutes, "--seed", self._seed)

    def _races(self, minutes: float) -> subprocess.CompletedProcess[str]:
        return self._run(minutes, sys.executable, HERE / "races.py", "--lamina", self._lamina(),
                         "--minutes", minutes, "--seed", self._seed)

    def _bad_days(self, minutes: float) -> subprocess.CompletedProcess[str]:
        return self._run(minutes, sys.executable, ROOT / "tests/object_store/bad_days.py", "--cache",
                         ROOT / ".cache/object-stores", "--seconds", minutes * 60, "--seed",
                         self._seed)

    def _two_hosts(self, minutes: float) -> subprocess.CompletedProcess[str]:
        return self._run(minutes, sys.executable, HERE / "two_hosts.py", "--cache",
                         ROOT / ".cache/object-stores", "--minutes", minutes, "--seed", self._seed)

    def _guest(self, which: str) -> Callable[[float], subprocess.CompletedProcess[str]]:
        guests = self._build / "tests/guest"
        return lambda minutes: self._run(
            minutes, sys.executable, HERE / "guests.py", which, "--lamina", self._lamina(),
            "--diff-writer", guests / "diff_writer", "--workload", guests / "workload",
            "--shim", guests / "uffd_shim.so",
            "--vcpu-guest", self._build / "tests/vcpu/vcpu_guest", "--cache", ROOT / ".cache/guest",
            "--minutes", minutes, "--cycles", 1000000, "--seed", self._seed)

    def _script(self, script: str,
                only: str = "") -> Callable[[float], subprocess.CompletedProcess[str]]:
        """A test script, again and again with other seeds."""
        def run(minutes: float) -> subprocess.CompletedProcess[str]:
            end = time.monotonic() + minutes * 60
            tests = rounds = 0
            while True:
                words = [sys.executable, ROOT / "tests/e2e" / script, *(["-k", only] if only else [])]
                done = self._run(minutes, *words, seed=self._seed + rounds)
                ran = RAN.search(done.stdout)
                tests += int(ran[1]) if ran else 0
                rounds += 1
                if done.returncode != 0 or not tests or time.monotonic() > end:
                    break
            wrong = done.returncode not in (0, EXIT_UNAVAILABLE) or not tests
            done.stdout += (f"\ntotal: {tests} tests, {int(wrong)} violations; in {rounds} rounds, "
                            "each with another seed\n")
            return done
        return run

    def _lamina(self) -> Path:
        return self._build / "src/cli/lamina"

    def _run(self, minutes: float, *words: object,
             seed: int = 1) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "LAMINA": str(self._lamina()),
            "LAMINAD": str(self._build / "src/cli/laminad"),
            "FAKE_VM": str(self._build / "tests/stand_ins/fake_vm"),
            "FAKE_FIRECRACKER": str(self._build / "tests/stand_ins/fake_firecracker_vmm"),
            "SEED": str(seed), "LAMINA_SEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=environment,
                              start_new_session=True) as process:
            try:
                said = process.communicate(timeout=minutes * 60 + GRACE_S)[0]
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(words, process.returncode, said)


def try_one(torture: Torture, minutes: float) -> Result:
    """Runs one, and prints what it has found."""
    result = Result(torture.name, torture.what)
    began = time.monotonic()
    try:
        done = torture.run(minutes)
    except subprocess.TimeoutExpired as error:
        result.violations = 1
        print(f"{torture.name} hangs: {error.stdout}")
        return result
    finally:
        result.seconds = time.monotonic() - began
    total = TOTAL.search(done.stdout)
    if done.returncode == EXIT_UNAVAILABLE:
        result.tried = "cannot run here"
    elif total is None:
        result.violations = 1
    else:
        result.tried = f"{total[1]} {total[2]}{total[4]}"
        result.violations = max(int(total[3]), int(done.returncode != 0))
    if result.violations or done.returncode == EXIT_UNAVAILABLE:
        print(f"--- {torture.name}\n{done.stdout}", flush=True)
    return result


def main() -> int:
    """Runs, prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--minutes", type=float, default=60, help="for all of it (default: 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 32),
                        help="of everything that is random")
    parser.add_argument("--only", action="append", default=[], help="one kind; repeatable")
    options = parser.parse_args()
    tortures = Tortures(options.build, options.seed)
    known = [torture.name for torture in tortures.all]
    for name in options.only:
        if name not in known:
            parser.error(f"'{name}' is none of {', '.join(known)}")
    chosen = [one for one in tortures.all if not options.only or one.name in options.only]
    shares = sum(torture.share for torture in chosen)
    print(f"--seed {options.seed}", flush=True)
    results = []
    for torture in chosen:
        results.append(try_one(torture, options.minutes * torture.share / shares))
        row = results[-1]
        print(f"{row.name:10} {row.violations:3} violations {row.seconds / 60:6.1f} min  "
              f"{row.what}: {row.tried}", flush=True)
    violations = sum(row.violations for row in results)
    print(f"{'all':10} {violations:3} violations "
          f"{sum(row.seconds for row in results) / 60:6.1f} min")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
