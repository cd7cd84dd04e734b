"""Pins of a store, made as a resume makes them: links to a snapshot, and facts about the VM."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_START_TIME_FIELD = 19  # of /proc/PID/stat, counted behind the name of the program


def start_time_of(pid: int) -> int:
    """When a process was started, in clock ticks since boot."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rsplit(")", 1)[1].split()[_START_TIME_FIELD])


def link_directory(source: Path, target: Path) -> None:
    """A directory with hard links to the files of another."""
    target.mkdir(mode=0o700)
    for file in source.iterdir():
        os.link(file, target / file.name)


def born_ns(path: Path) -> int:
    """When a directory was made, in nanoseconds since the epoch; 0: not known."""
    text = subprocess.run(["stat", "-c", "%W %w", str(path)], capture_output=True, check=True,
                          text=True).stdout.split()
    if text[0] == "0":
        return 0
    return int(text[0]) * 10**9 + int(text[2].split(".")[1])


def count_path(store: Path, pause_id: str) -> Path:
    """Where a store counts the resumes of a pause."""
    return store / ".counts" / f"{pause_id}@{store.stat().st_ino:x}-{born_ns(store):x}"


def identity_of(store: Path) -> dict[str, Any]:
    """What records of a store belong to, but for its host."""
    facts = store.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"device": facts.st_dev, "inode": facts.st_ino, "born_ns": born_ns(store), "host": "",
            "boot_id": boot}


class Pin:
    """The pin of one process."""

    def __init__(self, store: Path, pid: int, snapshot: Path,
                 facts: dict[str, Any] | None = None) -> None:
        """Pins `pid` to what `snapshot` is now; `facts` are other fields of vm.json."""
        area = store / ".vms"
        area.mkdir(mode=0o700, exist_ok=True)
        start_time = start_time_of(pid)
        self.path = area / f"{pid}-{start_time}"
        self.path.mkdir(mode=0o700)
        self.base = self.path / "base"
        link_directory(snapshot, self.base)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (self.path / "vm.json").write_text(json.dumps({
            "vm": 2, "belongs_to": identity_of(store), "pid": pid, "start_time": start_time,
            "boot_id": boot, "uid": 0, "api_socket": "/nowhere", "jail": "",
            "snapshot": snapshot.name, "by_page_faults": True, "needs_full": False,
            "since": "2026-01-01T00:00:00Z",
            **(facts or {})}))

    def exchange(self, snapshot: Path) -> None:
        """Makes another snapshot the base, in one step, and removes what the base was."""
        fresh = self.path / "fresh"
        link_directory(snapshot, fresh)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(fresh), _AT_FDCWD, os.fsencode(self.base),
                          _RENAME_EXCHANGE) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")
        shutil.rmtree(fresh)

    def release(self) -> None:
        """Removes it, as the process that sees the VM's end does."""
        shutil.rmtree(self.path)
