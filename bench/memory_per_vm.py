#!/usr/bin/env python3
"""What each further VM costs the page server in memory, by the size of the VM's memory.

    LAMINA=build/src/cli/lamina FAKE_VM=build/tests/stand_ins/fake_vm bench/memory_per_vm.py

For each size some VMs of one snapshot are served: idle (one page touched), then all of them used
(in each 64 MiB a page of data and one of zeros: a page of the server's bits is for 128 MiB). Printed is the slope: the memory of both
processes that is theirs alone (Pss_Anon) and the VM's state on tmpfs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))
sys.dont_write_bytecode = True

from memory_files import PAGE_BYTES, lamina  # noqa: E402
from serving import Server, Vm, adopt_orphans, wait_until  # noqa: E402

SIZES_MIB = (256, 1024, 4096)
VMS = 3
STRIDE_BYTES = 32 << 20


def own_bytes(pid: int) -> int:
    """Memory of a process that is no file's; what it shares with a fork is halved."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss_Anon:\s*(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1]) << 10


def total_bytes(server: Server) -> tuple[int, int]:
    """Of the server's processes, and of the states."""
    states = sum((server.state / name / "state").stat().st_blocks * 512
                 for name in server.states())
    return own_bytes(server.pid) + own_bytes(server.worker()), states


def measure(directory: Path, states: Path, size_mib: int, touched: bool) -> tuple[float, float]:
    """KiB for each further VM: of the processes, of the state."""
    memory = directory / "memory"
    pages = (size_mib << 20) // PAGE_BYTES
    with memory.open("wb") as file:
        file.truncate(size_mib << 20)
        for offset in range(0, size_mib << 20, 2 * STRIDE_BYTES):
            os.pwrite(file.fileno(), b"\x55" * PAGE_BYTES, offset)
    (directory / "store").mkdir(exist_ok=True)
    snapshot = directory / "store" / f"s{size_mib}-{touched}"
    outcome = lamina("ingest", memory, "--out", snapshot)
    assert outcome.code == 0, str(outcome)
    sockets = directory / f"{size_mib}-{touched}"
    sockets.mkdir()
    server = Server([snapshot], sockets, states, "--workers", "1")
    touches = range(0, pages, STRIDE_BYTES // PAGE_BYTES) if touched else [0]
    vms = []
    totals = []
    try:
        for count in range(VMS):
            vms.append(Vm(server.socket, memory, "--touch", *touches, wait=True).wait_touched())
            wait_until(lambda: server.vms_on_record() == count + 1, "the VM is on record")
            totals.append(total_bytes(server))
    finally:
        for vm in vms:
            vm.kill()
            vm.finish()
        server.end()
    first, last = totals[0], totals[-1]
    return ((last[0] - first[0]) / (VMS - 1) / 1024, (last[1] - first[1]) / (VMS - 1) / 1024)


def main() -> None:
    """Prints a table."""
    adopt_orphans()
    print("memory   VM is     processes  state on tmpfs  together  (KiB for each further VM)")
    with tempfile.TemporaryDirectory() as directory, \
            tempfile.TemporaryDirectory(dir="/dev/shm") as states:
        for size_mib in SIZES_MIB:
            for touched in (False, True):
                own, state = measure(Path(directory), Path(states), size_mib, touched)
                print(f"{size_mib:5} MiB {'touched' if touched else 'idle':8}  {own:9.0f}"
                      f"  {state:14.0f}  {own + state:8.0f}")


if __name__ == "__main__":
    main()
