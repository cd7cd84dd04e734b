"""A running lamina ui, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memory_files import program
from serving import TIMEOUT_S


@dataclass
class Page:
    """A response."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Console:
    """One process; it listens when this returns."""

    def __init__(self, *options: str | Path) -> None:
        self._process = subprocess.Popen([program(), "ui", *map(str, options)],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(f"the console does not start: {self._process.communicate()[1]}")
        parts = urlsplit(self.url)
        self.host = parts.netloc
        self.token = parts.path

    def request(self, path: str, method: str = "GET", token: str | None = None,
                headers: dict[str, str] | None = None) -> Page:
        """One request, by default as the console's own page sends it."""
        fields = {"Host": self.host, **(headers or {})}
        address, _, port = self.host.rpartition(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.putrequest(method, (self.token if token is None else token) + path,
                                  skip_host=True)
            for name, value in fields.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Page(answer.status, dict(answer.getheaders()), answer.read().decode())

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """The server-sent events of one response: kind, data, id."""
        found = []
        for part in self.request(f"api/live?after={after}").body.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in part.splitlines())
            if "event" in fields:
                found.append({"kind": fields["event"], "data": json.loads(fields["data"]),
                              "id": fields.get("id")})
        return found

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT_S)

    def end(self) -> None:
        """Makes sure that nothing is left of it."""
        self._process.kill()
        self._process.communicate()
