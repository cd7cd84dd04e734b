"""Snapshots with attached files, and copies of them that must be the same: for test_pack.py and
test_remote.py."""

from __future__ import annotations

import os
from pathlib import Path

from memory_files import GuestMemory, LaminaTest, PAGE_BYTES
from mounts import MIB

HEX_KEY = "0123456789abcdef" * 4


class WholeSnapshotTest(LaminaTest):
    """self.snapshot, whose memory is self.memory, is copied."""

    memory: GuestMemory
    snapshot: Path

    def attach(self, snapshot: Path) -> None:
        """A sparse disk with a second name, and a script."""
        disk = snapshot / "disk.img"
        with disk.open("wb") as stream:
            stream.truncate(8 * MIB + 77)
            for offset in (PAGE_BYTES, 3 * MIB, 8 * MIB):
                stream.seek(offset)
                stream.write(self.rng.randbytes(77))
            os.fsync(stream.fileno())
        os.link(disk, snapshot / "root.img")
        (snapshot / "start.sh").write_text("#!/bin/sh\n")
        (snapshot / "start.sh").chmod(0o750)

    def assert_same_files(self, copy: Path, memory: GuestMemory | None = None) -> None:
        """Checks memory, and that every file but the layers is the same, with mode and links."""
        self.assert_resolves_to(copy, memory or self.memory)
        self.assertEqual(sorted(path.name for path in copy.iterdir()),
                         sorted(path.name for path in self.snapshot.iterdir()))
        for path in self.snapshot.iterdir():
            there = copy / path.name
            self.assertEqual(there.stat().st_size, path.stat().st_size, path.name)
            if path.name.startswith("memfile.") and path.name != "memfile.header":
                continue
            self.assertEqual(there.read_bytes(), path.read_bytes(), path.name)
            self.assertEqual(there.stat().st_mode, path.stat().st_mode, path.name)
        self.assertTrue((copy / "disk.img").samefile(copy / "root.img"))
