"""Faults at every step of a command: strace kills it there, or lets that one call fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import unittest
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memory_files import EXIT_DONE, lamina

# Calls that change the disk. openat, openat2 and ioctl only where they do: see changes_the_disk().
CHANGING_CALLS = ("openat", "openat2", "write", "pwrite64", "ftruncate", "fsync", "fdatasync",
                  "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat",
                  "rmdir", "mkdir", "mkdirat", "fallocate", "ioctl", "copy_file_range")
# What is said to another process, and what it answers.
SOCKET_CALLS = ("sendto", "recvfrom", "sendmsg", "recvmsg")


@dataclass(frozen=True)
class Point:
    """The `number`th call of `call` in a run."""

    call: str
    number: int
    failed: bool  # also without us: a probe whose failure is an answer
    # Also in the processes that it starts; each of them counts its own calls.
    follows: bool = True

    def strace(self, effect: str) -> list[str]:
        """The command that runs another with `effect` at this point."""
        return ["strace", *(["-f"] if self.follows else []), "-qq", "-o", "/dev/null", "-e",
                f"trace={self.call}", "-e", f"inject={self.call}:{effect}:when={self.number}"]

    def __str__(self) -> str:
        return f"{self.call} number {self.number}"


def require_strace(test: unittest.TestCase) -> None:
    """Skips the test where nothing can be traced."""
    if shutil.which("strace") is None:
        test.skipTest("strace is not installed")
    traced = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if traced.returncode != 0:
        test.skipTest(f"strace cannot trace here: {os.fsdecode(traced.stderr).strip()}")


def changes_the_disk(line: str) -> bool:
    """True for a line of strace's output that is about the disk and not about a terminal."""
    if re.search(r"\bopenat2?\(", line):
        return "O_CREAT" in line or "O_TMPFILE" in line
    if re.search(r"\bioctl\(", line):
        return "FICLONE" in line
    # A call that is newer than strace is shown in any case, and cannot be made to fail.
    return re.search(r"\b(write\([12],|syscall_0x)", line) is None


def reads_the_store(line: str) -> bool:
    """True for a line of strace's output that opens something to read that is not the system's."""
    opens = re.search(r"\bopenat2?\(", line) and not changes_the_disk(line)
    return bool(opens) and re.search(r'"/(etc|lib|lib64|proc|sys|usr|dev/urandom)\b', line) is None


def points_of(arguments: Iterable[str | Path], directory: Path,
              calls: Sequence[str] = CHANGING_CALLS, follows: bool = True,
              counts: Callable[[str], bool] = changes_the_disk) -> list[Point]:
    """Runs the command and lists the calls that count, by their lines of strace's output."""
    log = directory / "strace"
    traced = ",".join(f"?{call}" for call in calls)
    outcome = lamina(*arguments, prefix=["strace", *(["-f"] if follows else []), "-qq", "-o",
                                         str(log), "-e", f"trace={traced}"])
    assert outcome.code == EXIT_DONE, str(outcome)
    numbers: dict[str, int] = {}
    points = []
    for line in log.read_text().splitlines():
        called = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if called is None:
            continue
        call = called[1]
        numbers[call] = numbers.get(call, 0) + 1
        if counts(line):
            points.append(Point(call, numbers[call], " = -1 " in line, follows))
    log.unlink()
    return points
