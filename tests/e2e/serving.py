"""A page server with all its processes, and VMs that know what their memory must hold.

A server is a process group: a supervisor and its worker, or what is left of them after a kill.
Orphans become children of the test, so that their ends can be waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from memory_files import program, program_for_others

# A condition that must come true; a machine that does much else may take long over it.
TIMEOUT_S = 90.0
POLL_S = 0.001
EXIT_STUCK = 3
# When a thread of a VM counts as stuck. A page server may give up a takeover after 20 s, and a busy
# machine make the VM wait.
STUCK_S = 120
LONGEST_SOCKET_PATH = 107
HUGE_PAGE_BYTES = 2 << 20
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
STATE_MAGIC = b"LAMAVMS1"

# What a log must not have: a worker that ended otherwise than by SIGKILL, or a sanitizer's report.
CRASH_WORDS = ("ended by itself", "Sanitizer", "runtime error", "terminate called", "crashed")

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes this process the parent of those whose parent was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Polls until `condition` holds; returns what it returned."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in vain for {timeout_s:.0f} s: {what}")
        time.sleep(POLL_S)


def has_ended(pid: int) -> bool:
    """Whether nothing is left of a process that was killed; a child is reaped by that.

    Its command line does not tell: the memory goes first, and only then its files and locks.
    """
    with contextlib.suppress(ChildProcessError):  # another one's child, or reaped
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return True
    return not Path(f"/proc/{pid}").exists()


def end_processes(find: Callable[[], Iterable[int]], what: str,
                  number: int = signal.SIGKILL) -> None:
    """Signals all processes that `find` finds, until there are none and those have ended wholly.

    What they held is free then. Their orphans must be this process' children: adopt_orphans().
    """
    signalled: set[int] = set()

    def none_left() -> bool:
        found = set(find())
        for pid in found:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, number)
        signalled.update(found)
        signalled.difference_update([pid for pid in signalled if has_ended(pid)])
        return not found and not signalled
    wait_until(none_left, what)


def connected(path: Path, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A client of a Unix socket. Waits while the backlog is full, as programs do."""
    client = socket.socket(socket.AF_UNIX)
    try:
        # With settimeout() the descriptor does not block, and connect() fails at once.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                          struct.pack("ll", max(1, int(timeout_s)), 0))
        client.connect(str(path))
        client.settimeout(timeout_s)
    except OSError:
        client.close()
        raise
    return client


def waits_for_pages(pid: int) -> bool:
    """Whether a thread of the process waits for a page of its userfaultfd."""
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # closed meanwhile, or the process ends
        found = re.search(r"^total:\s*(\d+)", text, re.MULTILINE)
        if found and int(found[1]) > 0:
            return True
    return False


def is_traced(pid: int) -> bool:
    """Whether all of its threads are."""
    try:
        threads = [Path(f"/proc/{pid}/task/{thread}/status").read_text()
                   for thread in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):  # one has ended meanwhile
        return False
    return all(re.search(r"^TracerPid:\s*[1-9]", text, re.MULTILINE) for text in threads)


def fake_vm_program() -> str:
    """The path of the program that plays the VM."""
    path = os.environ.get("FAKE_VM")
    if not path:
        raise SystemExit("set FAKE_VM to the path of the fake_vm binary")
    return path


class Vm:
    """One fake VM. It goes on until finish(), or by itself when it was started without `wait`."""

    def __init__(self, socket_path: Path, truth: Path, *options: str | int | Path,
                 regions: str | None = None, wait: bool = False, wait_first: bool = False) -> None:
        """Returns at once; `truth` is the file with the memory, which gives one region too.

        With `wait_first` it connects when go() is called.
        """
        words = [fake_vm_program(), "--socket", str(socket_path), "--truth", str(truth),
                 "--regions", regions or str(truth.stat().st_size), "--timeout", str(STUCK_S),
                 *map(str, options),
                 *(["--wait"] if wait else []), *(["--wait-first"] if wait_first else [])]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
        self._words = words
        self._out = b""
        self._err = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_connected(self) -> Vm:
        """Waits until its handshake was sent."""
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], TIMEOUT_S)[0]:
            raise AssertionError("the VM does not connect")
        self._out += os.read(stdout.fileno(), 4096)
        if b"connected\n" not in self._out:
            raise AssertionError(f"the VM did not connect: {self.finish()}, {self.said()}")
        return self

    def go(self) -> Vm:
        """Lets it connect."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(b"!")
        stdin.flush()
        return self

    def wait_touched(self) -> Vm:
        """Waits until the pages of --touch have been read."""
        stdout = self._process.stdout
        assert stdout is not None
        while b"touched\n" not in self._out:
            if not select.select([stdout], [], [], TIMEOUT_S)[0]:
                raise AssertionError("the VM does not get its pages")
            more = os.read(stdout.fileno(), 4096)
            if not more:
                raise AssertionError(f"the VM has ended: {self.finish()}, {self.said()}")
            self._out += more
        return self

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def finish(self, timeout_s: float = 2 * TIMEOUT_S) -> int:
        """Lets it come to its end; returns its exit code (negative: a signal)."""
        try:
            out, err = self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            raise AssertionError(f"the VM hangs: {err.decode()}") from None
        self._out += out
        self._err += err
        return self._process.returncode

    def report(self) -> dict[str, Any]:
        """What it counted."""
        return json.loads(self._out.decode().splitlines()[-1])

    def said(self) -> str:
        """All of its output."""
        return f"{' '.join(self._words[1:])}: {self._out.decode()} {self._err.decode()}"


class Server:
    """`lamina serve` with the given snapshots or a store, in a process group of its own."""

    def __init__(self, snapshots: Sequence[Path], directory: Path, state: Path,
                 *options: str | Path, user: int | None = None, log: int | None = None,
                 store: Path | None = None, environment: dict[str, str] | None = None) -> None:
        """Starts it; returns once it listens. Sockets are `directory`/0, 1, ...; a store has one.

        `user` is the uid that runs it, `log` a descriptor for what it prints, instead of a file;
        `environment` replaces that of this process.
        """
        self.directory = directory
        self.state = state
        self.sockets = [directory / str(number) for number in range(len(snapshots))]
        self.metrics_socket = directory / "metrics"
        self._log = directory / "log"
        self._log.touch()
        self._log_fd = log
        self._words = [program() if user is None else program_for_others(), "serve",
                       *map(str, snapshots)]
        for path in self.sockets:
            self._words += ["--socket", str(path)]
        if store is None:
            self._words += ["--metrics", str(self.metrics_socket)]
        else:
            self._words += ["--store", str(store)]
            self.sockets = [store / ".vms" / "page-server.sock"]
            self.metrics_socket = store / ".vms" / "page-server.metrics"
            facts = store.stat()
            self.state = state / f"store-{facts.st_dev:x}-{facts.st_ino:x}"
        self._words += ["--state-dir", str(state), *map(str, options)]
        self._user = user
        self._environment = environment
        self.start()

    @property
    def socket(self) -> Path:
        """The first socket."""
        return self.sockets[0]

    def start(self) -> None:
        """Starts the same command (again)."""
        self.launch()
        try:
            wait_until(lambda: self._is_up() or self.has_ended(), "the server listens")
        except AssertionError:
            self.end()
            raise
        if self.has_ended():
            raise AssertionError(f"the server ended; {self.said()}")

    def launch(self) -> None:
        """Starts the same command without waiting for it."""
        with self._log.open("ab") as log:
            out = log if self._log_fd is None else self._log_fd
            self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL, stdout=out,
                                             stderr=out, start_new_session=True, user=self._user,
                                             env=self._environment,
                                             group=self._user,
                                             extra_groups=None if self._user is None else [])
        self.pid = self._group = self._process.pid

    def has_ended(self) -> bool:
        """Whether the supervisor has ended; its exit code is not taken."""
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def workers(self) -> list[int]:
        """The children of the supervisor that serve (others try a new program)."""
        found: list[int] = []
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # reaped meanwhile
                    name, _, facts = Path(f"/proc/{child}/stat").read_text().rpartition(")")
                    if name.endswith("(lamina-worker") and facts.split()[0] not in "ZX":
                        found.append(int(child))
        return found

    def worker(self) -> int:
        """The serving process, once there is one."""
        return wait_until(self.workers, f"there is a worker; {self.said()}")[0]

    def kill_worker(self) -> int:
        """SIGKILL to the worker; returns which one it was."""
        pid = self.worker()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_another(self, worker: int) -> int:
        """Waits until `worker` has ended and another one is there; returns that one.

        While a new program takes over there are both.
        """
        def others() -> list[int]:
            workers = self.workers()
            return [] if worker in workers else workers
        return wait_until(others, f"worker {worker} is succeeded; {self.said()}")[0]

    def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor; returns when its worker has taken over and has a worker."""
        worker = self.worker()
        self.kill_supervisor_only()
        self.pid = worker
        wait_until(lambda: self.workers() or self.has_ended(), "the worker takes over")
        if self.has_ended():
            raise AssertionError(f"no process takes over; {self.said()}")

    def kill_supervisor_only(self) -> None:
        """SIGKILL to the supervisor; its worker is left to itself."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._process.returncode = -signal.SIGKILL

    def kill_all(self) -> None:
        """SIGKILL to all processes at once; returns when they are gone."""
        os.killpg(self._group, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-self._group, 0)
        self._process.returncode = -signal.SIGKILL

    def stop_short(self) -> None:
        """SIGSTOP to all processes: a peer that connects now waits."""
        os.killpg(self._group, signal.SIGSTOP)

    def signal(self, number: int) -> None:
        """A signal to the supervisor."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Waits until it ends by itself; returns its exit code."""
        wait_until(self.has_ended, f"the server ends; {self.said()}", timeout_s)
        status = os.waitpid(self.pid, 0)[1]
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """Makes sure that no process is left."""
        with contextlib.suppress(ProcessLookupError):
            self.kill_all()

    def leftovers(self) -> list[int]:
        """Processes of its group that still run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == self._group and fields[0] != "Z":
                    found.append(int(path.parent.name))
        return found

    def states(self) -> list[str]:
        """The directories of VMs."""
        return sorted(name for name in os.listdir(self.state) if name != ".lock")

    def vms_on_record(self) -> int:
        """How many VMs have a whole state: from there on they can be taken over."""
        count = 0
        for name in self.states():
            with contextlib.suppress(FileNotFoundError), \
                    (self.state / name / "state").open("rb") as state:
                count += state.read(8) == STATE_MAGIC
        return count

    def log(self) -> list[str]:
        """The lines that it has printed."""
        return self._log.read_text(errors="replace").splitlines()

    def said(self) -> str:
        """The end of its log."""
        return "the server said:\n" + "\n".join(self.log()[-12:])

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with its labels."""
        samples = {}
        for line in self.metrics_text().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metrics_text(self) -> str:
        """What the metrics socket answers."""
        with connected(self.metrics_socket) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        head, body = answer.decode().split("\r\n\r\n", 1)
        assert head.startswith("HTTP/1.0 200"), head
        return body

    def _is_up(self) -> bool:
        # The metrics socket is made last, and a killed server leaves its path behind.
        if not self.workers():
            return False
        listening = {fields[7] for fields in
                     (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
                     if len(fields) == 8 and fields[3] == "00010000"}
        return all(str(path) in listening or self._listens_by_number(path, listening)
                   for path in (*self.sockets, self.metrics_socket))

    @staticmethod
    def _listens_by_number(path: Path, listening: set[str]) -> bool:
        """A path that is too long for a socket is bound through its directory's descriptor."""
        return len(str(path)) > LONGEST_SOCKET_PATH and any(
            name.startswith("/proc/self/fd/") and name.endswith(f"/{path.name}")
            for name in listening)


@contextlib.contextmanager
def huge_pages(count: int) -> Iterator[bool]:
    """Reserves huge pages; False where none are available. Others that do so wait."""
    try:
        lock = HUGE_PAGES.open("r+")
    except OSError:
        yield False
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = int(lock.read())
        try:
            if before < count:
                HUGE_PAGES.write_text(str(count))
            yield int(HUGE_PAGES.read_text()) >= count
        finally:
            HUGE_PAGES.write_text(str(before))


def ask(path: Path, line: str, said: Callable[[], str], timeout_s: float) -> str:
    """The answer of a stand-in's control socket to one line; `said`: what it has printed."""
    with connected(path, timeout_s) as client:
        client.sendall(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            piece = client.recv(4096)
            if not piece:
                raise AssertionError(f"no answer to '{line}'; {said()}")
            answer += piece
    return answer.decode().rstrip("\n")


def rest_if_ok(line: str, answer: str, said: Callable[[], str]) -> str:
    """What follows "ok" in the answer to `line`; anything else fails."""
    if answer.split(" ", 1)[0] != "ok":
        raise AssertionError(f"{line}: {answer}; {said()}")
    return answer.partition(" ")[2]
