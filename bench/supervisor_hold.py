#!/usr/bin/env python3
"""For how long a new VM of a large snapshot holds the thread of a page server that accepts VMs.

    LAMINA=build/src/cli/lamina FAKE_VM=build/tests/stand_ins/fake_vm bench/supervisor_hold.py SNAPSHOT BYTES

SNAPSHOT is in a store and has BYTES of memory. Each VM is pinned to it and connects; while it does,
the control socket is asked again and again. Printed for each VM: the longest time that an answer
took, and the time until the VM is on record. The snapshot's files are in the page cache; nothing
else has it open when a VM connects.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))
sys.dont_write_bytecode = True

from pins import Pin  # noqa: E402
from serving import Server, Vm, adopt_orphans, wait_until  # noqa: E402

VMS = 5
PAUSE_S = 0.0005
SETTLES_S = 1.0


def ask(path: Path) -> float:
    """Seconds until the control socket has greeted and hung up."""
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with contextlib.suppress(ConnectionResetError):
            while client.recv(64):
                pass
    return time.monotonic() - begun


def longest_answer(path: Path, over: threading.Event, found: list[float]) -> None:
    """Asks until `over`; appends the longest time."""
    longest = 0.0
    while not over.is_set():
        longest = max(longest, ask(path))
        time.sleep(PAUSE_S)
    found.append(longest)


def measure(server: Server, store: Path, snapshot: Path, memory_bytes: int) -> tuple[float, float]:
    """Of one VM: the longest answer, and the time until it is on record, in seconds."""
    vm = Vm(server.socket, snapshot / "snapshot.json", regions=str(memory_bytes), wait=True,
            wait_first=True)
    pin = Pin(store, vm.pid, snapshot)
    over = threading.Event()
    found: list[float] = []
    asking = threading.Thread(target=longest_answer,
                              args=(store / ".vms" / "page-server.control", over, found))
    asking.start()
    begun = time.monotonic()
    vm.go()
    wait_until(lambda: server.vms_on_record() == 1, "the VM is on record")
    taken = time.monotonic() - begun
    time.sleep(SETTLES_S)  # the serving process opens the snapshot, too
    over.set()
    asking.join()
    vm.kill()
    vm.finish()
    wait_until(lambda: not server.states(), "the VM's state goes")
    pin.release()
    return found[0], taken


def main() -> None:
    """Prints a line for each VM."""
    adopt_orphans()
    snapshot, memory_bytes = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    store = snapshot.parent
    with tempfile.TemporaryDirectory(prefix="lamina-b-") as directory, \
            tempfile.TemporaryDirectory(prefix="lamina-b-", dir="/dev/shm") as states:
        server = Server((), Path(directory), Path(states), store=store)
        try:
            for number in range(VMS):
                longest, taken = measure(server, store, snapshot, memory_bytes)
                print(f"VM {number}: longest answer {longest * 1e3:.1f} ms, "
                      f"on record after {taken * 1e3:.1f} ms")
        except AssertionError as error:
            raise SystemExit(f"{error}; {server.said()}") from None
        finally:
            server.end()


if __name__ == "__main__":
    main()
