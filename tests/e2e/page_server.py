"""A `lamina serve` process for a test: start it, kill its workers, wait for its end."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
POLL_S = 0.002

# What is run. LAMINA_SERVE overrides it, with the same fields.
SERVE_TEMPLATE = "{lamina} serve {snapshot} --socket {socket} --populate {populate} --once"

# In /proc/net/unix: __SO_ACCEPTCON, the socket listens.
LISTENING = 0x10000


class ServeError(Exception):
    """The page server did not do what was asked; the text ends with what it said."""


def serve_template() -> str:
    """The command that serves, with fields for the binary, snapshot, socket and populate."""
    return os.environ.get("LAMINA_SERVE", SERVE_TEMPLATE)


def serve_is_there(lamina: str | Path) -> bool:
    """Whether this binary has a page server, or another one is given."""
    if "LAMINA_SERVE" in os.environ:
        return True
    # With an unknown verb, --help prints the general help.
    done = subprocess.run([str(lamina), "serve", "--help"], capture_output=True, check=False,
                          text=True, timeout=START_TIMEOUT_S)
    return done.returncode == 0 and "--socket" in done.stdout


class PageServer:
    """Serves one VM from a snapshot. As a context manager it ends with the block, at the latest."""

    def __init__(self, lamina: str | Path, snapshot: Path, populate: str = "none") -> None:
        """Returns once the server listens at `socket`."""
        # Not next to the snapshot: a socket's path must be short.
        self._directory = tempfile.TemporaryDirectory(prefix="lamina-serve-")
        self.socket = Path(self._directory.name) / "socket"
        self._log = Path(self._directory.name) / "log"
        words = [word.format(lamina=lamina, snapshot=snapshot, socket=self.socket,
                             populate=populate) for word in shlex.split(serve_template())]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=subprocess.STDOUT)
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.end()

    def wait(self) -> int:
        """Waits until the server ends by itself, since its VM has; returns its exit code."""
        try:
            return self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ServeError(f"the server goes on after its VM has ended; {self.said()}") from error

    def end(self) -> None:
        """Ends it now, if it has not ended. May be called again."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._directory.cleanup()

    def workers(self) -> list[int]:
        """The process ids of its children, whichever thread has made them."""
        found: list[int] = []
        for children in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except (FileNotFoundError, ProcessLookupError):  # the thread has ended
                pass
        return found

    def has_ended(self) -> bool:
        """Whether the server itself is gone."""
        return self._process.poll() is not None

    def said(self) -> str:
        """What it has printed."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"the page server said: {text.strip()[-2000:] or 'nothing'}"

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(self.socket):
            if self.has_ended():
                raise ServeError(f"the server ended with {self._process.returncode} before it "
                                 f"listened; {self.said()}")
            if time.monotonic() > deadline:
                raise ServeError(f"no server at '{self.socket}'; {self.said()}")
            time.sleep(POLL_S)


class WorkerKiller:
    """A thread that kills a server's worker again and again while its VM runs.

    Each kill waits for a worker that was not killed before, then for a random moment: so every
    stage of a worker's life is hit, its first moments too.
    """

    def __init__(self, server: PageServer, kills: int, seed: int, longest_life_s: float) -> None:
        self._server = server
        self._wanted = kills
        self._random = random.Random(seed)
        self._longest_life_s = longest_life_s
        self._stop = threading.Event()
        self._killed: set[int] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def kills(self) -> int:
        """How many workers have been killed so far."""
        return len(self._killed)

    def join(self, timeout_s: float) -> None:
        """Waits until all kills are done; after the timeout it stops killing."""
        self._thread.join(timeout_s)
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while len(self._killed) < self._wanted and not self._stop.is_set():
            fresh = [pid for pid in self._server.workers() if pid not in self._killed]
            if not fresh:
                if self._server.has_ended():
                    return
                self._stop.wait(POLL_S)
                continue
            # Short lives are as likely as long ones on a scale of magnitudes.
            self._stop.wait(self._longest_life_s * 10 ** self._random.uniform(-2, 0))
            for pid in fresh:
                # Only while it is the server's child: else the id may be another process's.
                if pid in self._server.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self._killed.add(pid)


def _listens(path: Path) -> bool:
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) == 8 and fields[7] == str(path) and int(fields[3], 16) & LISTENING:
            return True
    return False
