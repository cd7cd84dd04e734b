"""Forked children of a test: each does its work until it is killed, and reports over a pipe."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

Report = Callable[[bytes], None]


class Child:
    """A forked process and the reading end of its pipe."""

    def __init__(self, pid: int, reports: int) -> None:
        self.pid = pid
        self._reports = reports

    def report(self) -> bytes:
        """Waits for the next bytes that it reports; b"" once it has ended."""
        return os.read(self._reports, 4096)


@contextlib.contextmanager
def child_at_work(work: Callable[[Report], None]) -> Iterator[Child]:
    """Forks a child that runs `work`. The block begins after the child's first report.

    `work` gets the function by which it reports. The child is killed and reaped at the end of the
    block; if it ends before its first report the test fails.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            work(lambda words: os.write(writing, words))
        os._exit(1)
    os.close(writing)
    try:
        child = Child(pid, reading)
        if not child.report():
            raise AssertionError("the child ended before it was ready")
        yield child
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
