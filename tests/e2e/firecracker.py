"""A stand-in for Firecracker: its process, its API, and the test's hand on its guest."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from serving import TIMEOUT_S, ask, connected, rest_if_ok, wait_until


def fake_firecracker_program() -> str:
    """The path of the program that plays Firecracker."""
    path = os.environ.get("FAKE_FIRECRACKER")
    if not path:
        raise SystemExit("set FAKE_FIRECRACKER to the path of the fake_firecracker_vmm binary")
    return os.path.abspath(path)


@dataclass(frozen=True)
class Answer:
    """What the API said to a request."""

    status: int
    body: str

    @property
    def json(self) -> Any:
        """The body, where it is JSON."""
        return json.loads(self.body)

    @property
    def fault(self) -> str:
        """The message of a refusal."""
        return self.json["fault_message"]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connects with the first request."""
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Makes the connection."""
        self.sock = connected(self._path, self.timeout)


class Firecracker:
    """One process, which ends with the block at the latest."""

    def __init__(self, *options: str | int | Path, jail: Path | None = None,
                 user: int | None = None, must_start: bool = True) -> None:
        """Returns once it listens. With a `jail`, that directory is its root.

        Without `must_start` it may as well end at once: see wait().
        """
        self._directory = Path(tempfile.mkdtemp(prefix="fc-"))
        self._directory.chmod(0o755)
        self.jail = jail
        top = self._directory if jail is None else jail
        names = self._directory if jail is None else Path("/")
        self.api_socket = top / "api"
        self.control_socket = top / "control"
        words = [fake_firecracker_program(), "--api-sock", str(names / "api"),
                 "--control", str(names / "control"), *map(str, options)]
        if jail is not None:
            words += ["--chroot", str(jail)]
        if user is not None:
            words += ["--uid", str(user), "--gid", str(user)]
        self._log = self._directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                             stdout=subprocess.PIPE, stderr=log)
        try:
            self.ready = self._wait_ready()
            if must_start and not self.ready:
                raise AssertionError(f"Firecracker does not start: {self.wait()}, {self.said()}")
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Firecracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def request(self, method: str, path: str, body: Any = None,
                timeout_s: float = TIMEOUT_S) -> Answer:
        """One request on a connection of its own; a body that is not a string is sent as JSON."""
        connection = UnixConnection(self.api_socket, timeout_s)
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        with contextlib.closing(connection):
            connection.request(method, path, text)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())

    def done(self, method: str, path: str, body: Any = None) -> Answer:
        """A request that must succeed."""
        answer = self.request(method, path, body)
        if answer.status not in (200, 204):
            raise AssertionError(f"{method} {path} {body}: {answer}, {self.said()}")
        return answer

    def state(self) -> str:
        """What GET / says: Not started, Running or Paused."""
        return self.done("GET", "/").json["state"]

    def pause(self) -> None:
        """Pauses the VM."""
        self.done("PATCH", "/vm", {"state": "Paused"})

    def resume(self) -> None:
        """Lets the VM run."""
        self.done("PATCH", "/vm", {"state": "Resumed"})

    def create(self, kind: str, state: Path | str, memory: Path | str) -> Answer:
        """Asks for a snapshot."""
        return self.request("PUT", "/snapshot/create", {
            "snapshot_type": kind, "snapshot_path": str(state), "mem_file_path": str(memory)})

    def load(self, state: Path | str, memory: Path | str, backend: str = "File",
             track: bool = True, resume: bool = True) -> Answer:
        """Asks for a load; `memory` is a file or the socket of a page server (`Uffd`)."""
        return self.request("PUT", "/snapshot/load", {
            "snapshot_path": str(state),
            "mem_backend": {"backend_type": backend, "backend_path": str(memory)},
            "track_dirty_pages": track, "resume_vm": resume})

    def control(self, line: str, timeout_s: float = TIMEOUT_S) -> str:
        """The answer to one line; see tests/stand_ins/firecracker/control.h."""
        return ask(self.control_socket, line, self.said, timeout_s)

    def tell(self, line: str) -> str:
        """A line that must be answered with ok; returns the rest of the answer."""
        return rest_if_ok(line, self.control(line), self.said)

    def wait_held(self) -> None:
        """Waits until a request is held (create-hang, create-slow)."""
        wait_until(lambda: self.control("held") == "ok yes", "a request is held")

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Waits for its end; returns its exit code (negative: a signal)."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Firecracker goes on; {self.said()}") from None

    def end(self) -> None:
        """Makes sure that nothing is left of it."""
        self.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def said(self) -> str:
        """What it printed as errors."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"Firecracker said: {text}"

    def _wait_ready(self) -> bool:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], TIMEOUT_S)[0]:
            raise AssertionError("Firecracker does not start")
        line = stdout.readline().decode()
        return line.startswith("ready ")
