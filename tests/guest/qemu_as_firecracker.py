"""QEMU behind the part of Firecracker's API that a resume by page faults needs.

`lamina resume` loads a snapshot into a Firecracker that was just started. Here that process becomes
QEMU: it exists and listens before the load, and becomes QEMU when the load says where the page
server listens. The API is answered from this process.
"""

from __future__ import annotations

import json
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from virtual_machine import GuestError, LaterMemory, Machine, VirtualMachine

VERSION = "1.13.0"


class Refused(Exception):
    """A request that Firecracker would answer with a fault."""


class QemuAsFirecracker:
    """One VM that waits for a snapshot, at `api_socket`. Leaving it ends the VM."""

    def __init__(self, machine: Machine, shim: Path, log_path: Path,
                 on_load: Callable[[], None] = lambda: None) -> None:
        """`on_load` is called when a load arrives, from another thread."""
        # Not next to the store: a socket's path must be short.
        self._directory = tempfile.TemporaryDirectory(prefix="lamina-qemu-")
        self.api_socket = Path(self._directory.name) / "api"
        self._on_load = on_load
        self._state = "Not started"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.api_socket))
        self.guest = VirtualMachine(machine, LaterMemory(self._listener, shim), False, log_path,
                                    wait_for_state=True)
        self._server = _Server(self._listener, self)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> QemuAsFirecracker:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._listener.close()
        self.guest.kill()
        self._directory.cleanup()

    def answer(self, method: str, path: str, body: Any) -> dict[str, Any] | None:
        """Answers a request; None has no content. Raises Refused."""
        if (method, path) == ("GET", "/"):
            return {"id": "qemu", "state": self._state, "vmm_version": VERSION,
                    "app_name": "Firecracker"}
        try:
            if (method, path) == ("PUT", "/snapshot/load"):
                self._load(body)
            elif (method, path, body) == ("PATCH", "/vm", {"state": "Resumed"}):
                self._run()
            else:
                raise Refused(f"QEMU does not play {method} {path} {body}")
        except GuestError as error:
            raise Refused(str(error)) from error
        return None

    def _load(self, body: Any) -> None:
        if self._state != "Not started" or body["mem_backend"]["backend_type"] != "Uffd":
            raise Refused(f"cannot load {body} in state '{self._state}'")
        self._on_load()
        self.guest.begin(body["mem_backend"]["backend_path"])
        self.guest.load_state(Path(body["snapshot_path"]))
        self._state = "Paused"
        if body.get("resume_vm", False):
            self._run()

    def _run(self) -> None:
        self.guest.resume()
        self._state = "Running"


class _Server(socketserver.UnixStreamServer):
    """One request at a time, as Firecracker does."""

    def __init__(self, listener: socket.socket, vm: QemuAsFirecracker) -> None:
        self.vm = vm
        super().__init__(str(vm.api_socket), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            content = self.server.vm.answer(self.command, self.path,
                                            json.loads(body) if body else None)
            status = 204 if content is None else 200
        except Refused as error:
            status, content = 400, {"fault_message": str(error)}
        text = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        if content is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_PATCH = _answer

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
