"""A lamina daemon, and requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from firecracker import Answer, Firecracker, UnixConnection
from sandbox import SandboxTest
from serving import TIMEOUT_S, wait_until


def daemon_program() -> str:
    """The path of the daemon."""
    path = os.environ.get("LAMINAD")
    if not path:
        raise SystemExit("set LAMINAD to the path of the laminad binary")
    return os.path.abspath(path)


class Daemon:
    """One process, which listens when this returns."""

    def __init__(self, store: Path, directory: Path, *options: str | int | Path,
                 environment: dict[str, str] | None = None) -> None:
        self.api_socket = directory / "laminad.sock"
        self._log = directory / "laminad.log"
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [daemon_program(), "--store", str(store), "--listen", f"unix:{self.api_socket}",
                 *map(str, options)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})
        wait_until(lambda: self.logged("ready") or not self.is_running(), "the daemon listens")
        if not self.is_running():
            raise AssertionError(f"the daemon does not start: {self.said()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        """One request on a connection of its own; a body that is not a string is sent as JSON."""
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        with contextlib.closing(UnixConnection(self.api_socket)) as connection:
            connection.request(method, path, text)
            response = connection.getresponse()
            self.headers = dict(response.getheaders())
            return Answer(response.status, response.read().decode())

    def done(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; its JSON."""
        answer = self.request(method, path, body)
        if answer.status != 200:
            raise AssertionError(f"{method} {path} {body}: {answer}; {self.said()}")
        return answer.json

    def refused(self, status: int, method: str, path: str, body: Any = None) -> Any:
        """A request that must fail so; its error."""
        answer = self.request(method, path, body)
        if answer.status != status:
            raise AssertionError(f"{method} {path} {body}: {answer}, not {status}")
        return answer.json["error"]

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The events that it keeps."""
        answer = self.request("GET", f"/v1/events?after={after}")
        return [json.loads(line) for line in answer.body.splitlines()]

    def metric(self, name: str) -> float:
        """The value of one metric, with its labels."""
        text = self.request("GET", "/metrics").body
        for line in text.splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name} in {text}")

    def connect(self) -> socket.socket:
        """A bare connection."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(self.api_socket))
        except BaseException:
            client.close()
            raise
        client.settimeout(TIMEOUT_S)
        return client

    def log_lines(self) -> list[dict[str, Any]]:
        """What this process has logged, in whole lines: it may be in the middle of one."""
        text = self._log.read_bytes()[self._seen:].rpartition(b"\n")[0].decode(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        return [line for line in self.log_lines() if line["event"] == event]

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for its end; returns its exit code (negative: a signal)."""
        try:
            return self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon goes on; {self.said()}") from None

    def stop(self) -> int:
        """SIGTERM, and waits."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """Makes sure that nothing is left of it."""
        self._process.kill()
        self._process.wait()

    def said(self) -> str:
        """What it logged."""
        return f"the daemon said: {self._log.read_text(errors='replace')[-4000:]}"


class DaemonTest(SandboxTest):
    """A test with a daemon."""

    def start(self, *options: str | int | Path, **more: Any) -> Daemon:
        """Starts one, which ends with the test."""
        daemon = Daemon(self.store, self.directory, *options, **more)
        self.addCleanup(daemon.end)
        return daemon

    def paused(self, daemon: Daemon, vm: Firecracker, name: str, **fields: Any) -> dict[str, Any]:
        """Pauses by request."""
        return daemon.done("POST", "/v1/pause",
                           {"api_socket": str(vm.api_socket), "name": name, **fields})

    def resumed(self, daemon: Daemon, name: str, **fields: Any) -> tuple[Firecracker, Any]:
        """Resumes by request into a new Firecracker."""
        vm = self.waiting()
        report = daemon.done("POST", "/v1/resume",
                             {"api_socket": str(vm.api_socket), "name": name, **fields})
        self.wait_on_record(vm, report)
        return vm, report
