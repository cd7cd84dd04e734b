"""A stand-in for Cloud Hypervisor: its process, its API, and the test's hand on its guest."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from firecracker import Answer, UnixConnection
from serving import TIMEOUT_S, ask, rest_if_ok, wait_until


def fake_cloud_hypervisor_program() -> str:
    """The path of the program that plays Cloud Hypervisor."""
    path = os.environ.get("FAKE_CLOUD_HYPERVISOR")
    if not path:
        raise SystemExit("set FAKE_CLOUD_HYPERVISOR to the path of the fake_cloud_hypervisor binary")
    return os.path.abspath(path)


class CloudHypervisor:
    """One process; end() ends it."""

    def __init__(self, *options: str | int | Path) -> None:
        """Returns once it listens."""
        self._directory = Path(tempfile.mkdtemp(prefix="ch-"))
        self.api_socket = self._directory / "api"
        self.control_socket = self._directory / "control"
        self._log = self._directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [fake_cloud_hypervisor_program(), "--api-socket", str(self.api_socket),
                 "--control", str(self.control_socket), *map(str, options)],
                stdout=subprocess.PIPE, stderr=log)
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], TIMEOUT_S)[0]:
            raise AssertionError("the stand-in does not start")
        if not stdout.readline().startswith(b"ready "):
            raise AssertionError(self.said())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def request(self, method: str, name: str, body: Any = None,
                timeout_s: float = TIMEOUT_S) -> Answer:
        """One request on a connection of its own."""
        connection = UnixConnection(self.api_socket, timeout_s)
        with contextlib.closing(connection):
            connection.request(method, f"/api/v1/{name}",
                               None if body is None else json.dumps(body))
            response = connection.getresponse()
            return Answer(response.status, response.read().decode())

    def done(self, method: str, name: str) -> Answer:
        """A request that must succeed."""
        answer = self.request(method, name)
        if answer.status not in (200, 204):
            raise AssertionError(f"{method} {name}: {answer}, {self.said()}")
        return answer

    def state(self, timeout_s: float = TIMEOUT_S) -> str:
        """Running, Paused or None."""
        answer = self.request("GET", "vm.info", timeout_s=timeout_s)
        return "None" if answer.status == 404 else answer.json["state"]

    def config(self) -> Any:
        """The configuration of its VM."""
        return self.done("GET", "vm.info").json["config"]

    def control(self, line: str) -> str:
        """The answer to one line; see tests/stand_ins/cloud_hypervisor/main.cc."""
        return ask(self.control_socket, line, self.said, TIMEOUT_S)

    def tell(self, line: str) -> str:
        """A line that must be answered with ok; returns the rest of the answer."""
        return rest_if_ok(line, self.control(line), self.said)

    def memfds(self) -> list[Path]:
        """The files of its shared memory, to be opened."""
        links = Path(f"/proc/{self.pid}/fd").iterdir()
        return [link for link in links if os.readlink(link).startswith("/memfd:")]

    def wait_held(self) -> None:
        """Waits until a migration is held."""
        wait_until(lambda: self.control("held") == "ok yes", "a migration is held")

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Waits for its end; returns its exit code."""
        return self._process.wait(TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def end(self) -> None:
        """Makes sure that nothing is left of it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def said(self) -> str:
        """What it printed as errors."""
        return f"the stand-in said: {self._log.read_text(errors='replace')}"
