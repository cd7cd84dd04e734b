"""What a process may inherit from its starter, and what it has of it in the end (/proc)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

HANDLED = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
IGNORED = {signal.SIGPIPE, signal.SIGXFSZ}
ODD_NICE = min(os.nice(0) + 10, 19)  # whatever the tests run with
ODD_OOM_SCORE = 500
ODD_OPEN_FILES = 256
IOPRIO_SET, IOPRIO_GET = 251, 252  # x86-64
IOPRIO_IDLE = 3 << 13


def odd_start(directory: Path | None = None) -> Callable[[], None]:
    """For a child before its exec: all that an agent could have left in it."""
    def prepare() -> None:
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1,
                       signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        os.setpriority(os.PRIO_PROCESS, 0, ODD_NICE)
        ctypes.CDLL(None).syscall(IOPRIO_SET, 1, 0, IOPRIO_IDLE)
        Path("/proc/self/oom_score_adj").write_text(str(ODD_OOM_SCORE))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (ODD_OPEN_FILES, hard))
        resource.setrlimit(resource.RLIMIT_CPU, (3600, 3600))
        os.umask(0o777)
        if directory is not None:
            os.chdir(directory)
    return prepare


def _status(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1]
    raise AssertionError(f"no {name}")


def _signals(pid: int, name: str) -> set[int]:
    mask = int(_status(pid, name), 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def ignored(pid: int) -> set[int]:
    """The signals that it ignores."""
    return _signals(pid, "SigIgn")


def blocked(pid: int) -> set[int]:
    """The signals that its first thread blocks."""
    return _signals(pid, "SigBlk")


def umask(pid: int) -> int:
    """Its umask."""
    return int(_status(pid, "Umask"), 8)


def nice(pid: int) -> int:
    """The nice value of its first thread."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


def io_class(pid: int) -> int:
    """The I/O class of its first thread; 0: none."""
    return ctypes.CDLL(None).syscall(IOPRIO_GET, 1, pid) >> 13


def oom_score(pid: int) -> int:
    """Its oom_score_adj."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def limit(pid: int, kind: int) -> tuple[int, int]:
    """Soft and hard limit."""
    return resource.prlimit(pid, kind)


def files(pid: int) -> dict[int, str]:
    """Where its descriptors lead."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(path.name)] = os.readlink(path)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found
