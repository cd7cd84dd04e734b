"""A sandbox's life: a Firecracker that is paused into a store and resumed from it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firecracker import Firecracker
from memory_files import MEMORY_FS, LaminaTest, lamina
from serving import STATE_MAGIC, adopt_orphans, end_processes, wait_until

MEMORY_MIB = 16
MEMORY_BYTES = MEMORY_MIB << 20
FRESH = ("--start", "--memory-mib", MEMORY_MIB)


def _processes_of(store: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """The processes whose command lines have the store, as their directories, with the words."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(store) in words:
                yield entry, words


def page_servers_of(store: Path) -> list[int]:
    """The processes that serve a store, found by their command lines."""
    found = []
    for entry, words in _processes_of(store):
        with contextlib.suppress(OSError):
            if b"serve" in words or (b"fetch" not in words and _leads_a_session(entry)):
                found.append(int(entry.name))
    return found


def fetchers_of(store: Path) -> list[int]:
    """The processes that fetch the memory of what arrives in a store."""
    return [int(entry.name) for entry, words in _processes_of(store) if b"fetch" in words]


def servers_and_fetchers_of(store: Path) -> list[int]:
    """What works for the VMs of a store."""
    return [*page_servers_of(store), *fetchers_of(store)]


def _leads_a_session(process: Path) -> bool:
    """So does what has the command line of its starter yet: it will be a page server."""
    return (process / "stat").read_text().rpartition(")")[2].split()[3] == process.name


def is_on_record(store: Path, pid: int) -> bool:
    """Whether a page server of the store, in its default state directory, has the VM on record."""
    facts = store.stat()
    tops = (Path("/run/lamina"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "lamina"),
            *MEMORY_FS.glob("lamina-*"))
    for top in tops:
        with contextlib.suppress(FileNotFoundError):  # what leaves while it is looked at
            for state in top.glob(f"store-{facts.st_dev:x}-{facts.st_ino:x}/{pid}-*/state"):
                with state.open("rb") as file:
                    if file.read(len(STATE_MAGIC)) == STATE_MAGIC:
                        return True
    return False


class SandboxTest(LaminaTest):
    """A test whose VMs and page server end with it."""

    def setUp(self) -> None:
        """Page servers become children of the test, so that their ends can be waited for."""
        super().setUp()
        adopt_orphans()
        self.addCleanup(self.stop_page_servers)

    def stop_page_servers(self, number: int = signal.SIGKILL) -> None:
        """Kills all processes that serve the store, and waits until nothing is left of them."""
        end_processes(lambda: page_servers_of(self.store), "the page servers end", number)

    def fresh(self, *options: str | int | Path, **more: Any) -> Firecracker:
        """A VM that was just started and runs."""
        vm = Firecracker(*FRESH, *options, **more)
        self.addCleanup(vm.end)
        return vm

    def waiting(self, *options: str | int | Path, **more: Any) -> Firecracker:
        """A Firecracker that waits for a snapshot."""
        vm = Firecracker(*options, **more)
        self.addCleanup(vm.end)
        return vm

    def pause(self, vm: Firecracker, name: str, *options: str | Path) -> dict[str, Any]:
        """Pauses into the store; returns the report."""
        return self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options, "--json").json

    def pause_fails(self, code: int, vm: Firecracker, name: str, *options: str | Path) -> str:
        """Pauses, which must fail; returns the message."""
        outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         *options)
        self.assertEqual(outcome.code, code, str(outcome))
        return outcome.error_lines[-1]

    def resume(self, name: str, *options: str | Path,
               vm: Firecracker | None = None) -> tuple[Firecracker, dict[str, Any]]:
        """Resumes into a new Firecracker, or into `vm`."""
        vm = vm or self.waiting()
        report = self.done("resume", "--api", vm.api_socket, "--store", self.store, "--name", name,
                           *options, "--json").json
        self.wait_on_record(vm, report)
        return vm, report

    def wait_on_record(self, vm: Firecracker, report: dict[str, Any]) -> None:
        """Waits until a VM that was resumed outlives its page server.

        Its handshake is lost with a page server that is killed before that, and the VM with it.
        """
        if report["mode"] == "uffd":
            wait_until(lambda: is_on_record(self.store, report["pid"]) or not vm.is_running(),
                       "the page server has the VM on record")

    def recover(self) -> dict[str, Any]:
        """Runs lamina recover, which must succeed."""
        return self.done("recover", self.store, "--json").json

    def check(self, vm: Firecracker) -> None:
        """Every byte of the guest is what it must be."""
        self.assertRegex(vm.control("check"), r"^ok\b")

    def assert_nothing_left(self) -> None:
        """No process has left anything half done."""
        self.assertEqual(sorted(os.listdir(self.store / ".pending")), [])
        self.assertEqual(sorted(os.listdir(self.store / ".tmp")), [])

    def pins(self) -> list[str]:
        """The names of the store's pins."""
        area = self.store / ".vms"
        return sorted(path.name for path in area.glob("[0-9]*"))
