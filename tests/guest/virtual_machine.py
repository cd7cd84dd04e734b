"""A QEMU guest that is driven from here: its monitor (QMP), its serial console, its memory.

The guest's RAM is a file that QEMU maps. With `shared=True` the file always holds what the guest's
memory holds, so a stopped guest's memory can be read from it. With `shared=False` QEMU maps it
privately: the guest starts from the file's content and never writes to it, as a restored microVM.

Device state (registers, clock, interrupt controllers) travels separately, by a migration with
`x-ignore-shared`, which leaves out the RAM. That is the counterpart of Firecracker's VM state file.

With ServedMemory there is no file: the RAM is anonymous and a page server fills it by userfaultfd,
which a library that is preloaded into QEMU arranges (uffd_shim.c). With LaterMemory the process is
there before its page server: it becomes QEMU when it is told the socket.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

QMP_TIMEOUT_S = 60.0
MIGRATION_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 20.0
LOG_TAIL_LINES = 25
PR_SET_PDEATHSIG = 1

TICK_LINE = re.compile(r"TICK (\d+) hash=([0-9a-f]{16}) bad=(\d+)")

_libc = ctypes.CDLL(None, use_errno=True)


class GuestError(Exception):
    """The guest or QEMU did not do what was asked; the text ends with the console's tail."""


@dataclass(frozen=True)
class Tick:
    """One line of the workload."""

    number: int
    hash: str
    bad: int


def parse_tick(line: str) -> Tick | None:
    """Parses a whole line of the workload. A restored guest may begin in the middle of one."""
    match = TICK_LINE.fullmatch(line.strip())
    return Tick(int(match[1]), match[2], int(match[3])) if match else None


class Console:
    """The serial console: collects ticks in a thread, lets others wait for one.

    Thread-safe. The thread ends when QEMU closes its end, at the latest when it exits.
    """

    def __init__(self, stream: Any, log_path: Path) -> None:
        self._stream = stream
        self._log_path = log_path
        self._changed = threading.Condition()
        self._ticks: list[Tick] = []
        self._tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._closed = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def ticks(self) -> list[Tick]:
        with self._changed:
            return list(self._ticks)

    def last_tick(self) -> int:
        with self._changed:
            return self._ticks[-1].number if self._ticks else 0

    def tail(self) -> str:
        with self._changed:
            lines = list(self._tail)
        return f"end of the console ({self._log_path}):\n" + "\n".join(f"  | {x}" for x in lines)

    def wait_for_tick(self, number: int, timeout_s: float) -> None:
        """Returns once the guest has printed tick `number`; raises if it ends or takes too long."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._ticks and self._ticks[-1].number >= number),
                timeout_s)
            reached = self._ticks[-1].number if self._ticks else 0
            closed = self._closed
        if reached < number:
            why = "QEMU ended" if closed else f"nothing for {timeout_s:.0f} s"
            raise GuestError(f"waiting for tick {number}, got {reached}: {why}; {self.tail()}")

    def join(self) -> None:
        self._thread.join(EXIT_TIMEOUT_S)

    def _read(self) -> None:
        with self._log_path.open("wb") as log, self._stream:
            for raw in self._stream:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip("\r\n")
                tick = parse_tick(line)
                with self._changed:
                    self._tail.append(line)
                    if tick is not None:
                        self._ticks.append(tick)
                    self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Monitor:
    """QEMU's machine protocol over a connected socket. Not thread-safe."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._events: deque[dict[str, Any]] = deque()
        deadline = time.monotonic() + QMP_TIMEOUT_S
        if "QMP" not in self._receive(deadline):
            raise GuestError("the monitor did not greet")
        self.command("qmp_capabilities")

    def command(self, name: str, descriptor: int | None = None, **arguments: Any) -> Any:
        """Runs a command and returns its result. `descriptor` is passed along with it."""
        message = json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"
        deadline = time.monotonic() + QMP_TIMEOUT_S
        try:
            if descriptor is None:
                self._socket.sendall(message)
            else:
                socket.send_fds(self._socket, [message], [descriptor])
        except OSError as error:
            raise GuestError(f"monitor command '{name}': {error}") from error
        while True:
            reply = self._receive(deadline)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise GuestError(f"monitor command '{name}': {reply['error']['desc']}")
            self._events.append(reply)

    def wait_for_event(self, name: str, wanted: Callable[[dict[str, Any]], bool],
                       timeout_s: float) -> dict[str, Any]:
        """Returns the data of the first event `name` that is wanted; forgets the ones before."""
        deadline = time.monotonic() + timeout_s
        while True:
            event = self._events.popleft() if self._events else self._receive(deadline)
            data = event.get("data", {})
            if event.get("event") == name and wanted(data):
                return data

    def forget_events(self) -> None:
        self._events.clear()

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                received = self._socket.recv(65536)
            except TimeoutError as error:
                raise GuestError("the monitor did not answer in time") from error
            except OSError as error:
                raise GuestError(f"the monitor's connection broke: {error}") from error
            if not received:
                raise GuestError("QEMU closed its monitor")
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)


@dataclass(frozen=True)
class Machine:
    """What stays the same between a guest and its restored self."""

    qemu: str
    kernel: Path
    initrd: Path
    memory_bytes: int


@dataclass(frozen=True)
class ServedMemory:
    """RAM that comes from the page server that listens at `socket`."""

    socket: Path
    shim: Path


@dataclass(frozen=True)
class LaterMemory:
    """RAM that comes from a page server that the VM learns of by begin().

    `listener` is bound. The VM's process calls listen(2) on it, so that its clients see that
    process as their peer, whoever accepts.
    """

    listener: socket.socket
    shim: Path


# Keeps its process id when it becomes QEMU.
LATER_QEMU = ["/bin/sh", "-c", 'read -r LAMINA_UFFD_SOCKET && export LAMINA_UFFD_SOCKET && '
              'exec "$@" </dev/null', "sh"]


class VirtualMachine:
    """A running QEMU. Use as a context manager: leaving it kills QEMU, whatever happened."""

    def __init__(self, machine: Machine, ram: Path | ServedMemory | LaterMemory, shared: bool,
                 log_path: Path, wait_for_state: bool = False) -> None:
        """Starts QEMU; with `wait_for_state` it runs nothing until load_state() and resume(). With
        LaterMemory nothing but kill() may be called before begin().

        REQUIRES: served memory is not shared, and waits for a state. The thread that makes a VM
        lives as long as that.
        """
        environment = dict(os.environ)
        if isinstance(ram, (ServedMemory, LaterMemory)):
            # For QEMU it is shared, so that its state is saved without it; the library knows better.
            backend = f"memory-backend-ram,id=ram,size={machine.memory_bytes},share=on"
            environment |= {"LD_PRELOAD": str(ram.shim),
                            "LAMINA_UFFD_RAM_BYTES": str(machine.memory_bytes)}
            if isinstance(ram, ServedMemory):
                environment["LAMINA_UFFD_SOCKET"] = str(ram.socket)
        else:
            backend = (f"memory-backend-file,id=ram,size={machine.memory_bytes},"
                       f"mem-path={_escaped(ram)},share={'on' if shared else 'off'}")
        ours, theirs = socket.socketpair()
        command = [
            machine.qemu, "-accel", "tcg", "-machine", "q35,memory-backend=ram",
            "-m", f"{machine.memory_bytes >> 20}M",
            "-object", backend,
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=monitor,fd={theirs.fileno()}",
            "-mon", "chardev=monitor,mode=control",
            "-kernel", str(machine.kernel), "-initrd", str(machine.initrd),
            "-append", "console=ttyS0 panic=-1 quiet loglevel=3",
        ]
        if wait_for_state:
            command += ["-S", "-incoming", "defer"]
        is_later = isinstance(ram, LaterMemory)
        if is_later:
            command = [*LATER_QEMU, *command]

        def before_exec() -> None:
            _die_with_parent()
            if isinstance(ram, LaterMemory):
                ram.listener.listen()

        self._errors_path = log_path.with_suffix(".stderr")
        with theirs, self._errors_path.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE if is_later else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, pass_fds=[theirs.fileno()],
                env=environment, preexec_fn=before_exec)
        self._socket = ours
        self.console = Console(self._process.stdout, log_path)
        if not is_later:
            self._connect_monitor()

    def begin(self, page_server: str) -> None:
        """The process becomes QEMU, with memory from this socket. REQUIRES: LaterMemory; the first
        call."""
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(os.fsencode(page_server) + b"\n")
        self._connect_monitor()

    def _connect_monitor(self) -> None:
        try:
            self._monitor = Monitor(self._socket)
            self._monitor.command("migrate-set-capabilities", capabilities=[
                {"capability": "x-ignore-shared", "state": True},
                {"capability": "events", "state": True},
            ])
        except GuestError as error:
            self.kill()
            said = self._errors_path.read_text(errors="replace").strip()
            raise GuestError(f"{error}; QEMU said: {said or 'nothing'}") from error

    def __enter__(self) -> VirtualMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def stop(self) -> None:
        """Pauses the guest: from here on its memory does not change."""
        self._monitor.command("stop")

    def resume(self) -> None:
        """Lets the guest run, for the first time or after stop(), also after save_state()."""
        self._monitor.command("cont")
        status = self._monitor.command("query-status")["status"]
        if status != "running":
            raise GuestError(f"the guest does not run after 'cont', it is '{status}'")

    def save_state(self, path: Path) -> None:
        """Writes the device state to a fresh file. REQUIRES: the guest is stopped."""
        with path.open("xb") as file:
            self._monitor.command("getfd", descriptor=file.fileno(), fdname="state")
        self._monitor.forget_events()
        self._monitor.command("migrate", uri="fd:state")
        self._wait_for_migration("saving")

    def load_state(self, path: Path) -> None:
        """Loads the device state. REQUIRES: started with wait_for_state."""
        with path.open("rb") as file:
            self._monitor.command("getfd", descriptor=file.fileno(), fdname="state")
        self._monitor.command("migrate-incoming", uri="fd:state")
        self._wait_for_migration("loading")

    def dump_memory(self, path: Path, size_bytes: int) -> None:
        """Writes the first bytes of guest-physical memory, as the processor sees it, to a file."""
        self._monitor.command("pmemsave", val=0, size=size_bytes, filename=str(path))

    def kill(self) -> None:
        """Ends QEMU now. May be called again."""
        self._process.kill()
        self._process.wait(EXIT_TIMEOUT_S)
        self.console.join()
        self._socket.close()

    def _wait_for_migration(self, what: str) -> None:
        data = self._monitor.wait_for_event(
            "MIGRATION", lambda data: data["status"] in ("completed", "failed", "cancelled"),
            MIGRATION_TIMEOUT_S)
        if data["status"] != "completed":
            said = self._errors_path.read_text(errors="replace").strip()
            raise GuestError(f"{what} the device state: {data['status']}; QEMU said: "
                             f"{said or 'nothing'}; {self.console.tail()}")


def _escaped(path: Path) -> str:
    """In a QEMU option list a comma is written twice."""
    return str(path).replace(",", ",,")


def _die_with_parent() -> None:
    """Runs in the child: even a SIGKILL of this script must not leave a QEMU behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
