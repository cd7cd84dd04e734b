#!/usr/bin/env python3
"""What a store's entries are called, their modes, and which locks are left.

Environment: LAMINA is the binary.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import shutil
import stat
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, GuestMemory,
                          LaminaTest, PAGE_BYTES, lamina, main, write_full)

OTHER_USER = 12345


class Terminal(LaminaTest):
    """Text from files cannot command a terminal."""

    def test_control_characters_are_escaped_in_all_output(self) -> None:
        memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        self.done("ingest", memory, "--out", self.store / "s")
        self.done("ingest", memory, "--parent", self.store / "s", "--out", self.store / "t")
        evil = "\x1b]0;title\x07\x1b[2J\n\x7f\u009b31m\u202e"
        for name in ("s", "t"):
            path = self.store / name / "snapshot.json"
            facts = json.loads(path.read_text())
            facts["created"] = evil
            if "parent" in facts:
                facts["parent"] = evil
            facts["vmm_version"] = evil
            path.write_text(json.dumps(facts))
        odd = self.store / os.fsdecode(evil.encode() + b"\xff")
        shutil.copytree(self.store / "t", odd)
        for words in (("inspect", self.store / "t"), ("ls", self.store), ("du", self.store),
                      ("inspect", odd), ("verify", odd), ("fork", odd, self.store / "x"),
                      ("ls", self.store, "--json"), ("inspect", odd, "--json"),
                      ("rm", odd), ("ingest", odd, "--out", self.store / "y")):
            with self.subTest(words[0]):
                outcome = lamina(*words)
                for text in (outcome.stdout, outcome.stderr):
                    found = [c for c in text if c != "\n" and
                             (ord(c) < 0x20 or 0x7f <= ord(c) < 0xa0)]
                    self.assertEqual(found, [], str(outcome))
                if "--json" not in words:
                    self.assertNotIn("\u202e", outcome.stdout + outcome.stderr)

    def test_a_path_that_is_not_utf_8_comes_back_in_json(self) -> None:
        store = self.directory / os.fsdecode(b"st\xffore")
        store.mkdir()
        memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        report = self.done("ingest", memory, "--out", store / "s", "--json").json
        self.assertEqual(bytes.fromhex(report["snapshot_hex"]), os.fsencode(store / "s"))
        self.assertIn("\ufffd", report["snapshot"])
        self.done("verify", store / "s")
        plain = self.done("fork", store / "s", store / "t", "--json").json
        self.assertEqual(bytes.fromhex(plain["snapshot_hex"]), os.fsencode(store / "t"))
        self.assertNotIn("pause_id_hex", plain)


class Umask(LaminaTest):
    """Under any umask of the caller, what is made can be used."""

    def test_a_umask_of_all_bits_does_not_change_modes(self) -> None:
        memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        user = OTHER_USER if os.geteuid() == 0 else None
        for path in (self.directory, self.store):
            os.chown(path, user if user is not None else -1, -1)
        memory.chmod(0o644)
        strict = {"prepare": lambda: os.umask(0o777), "user": user}
        state = self.directory / "state"
        state.write_bytes(b"state")
        self.done("ingest", memory, "--out", self.store / "s", "--vmstate", state, **strict)
        self.done("fork", self.store / "s", self.store / "t", **strict)
        self.done("merge", self.store / "s", "--out", self.store / "m", **strict)
        self.done("materialize", self.store / "t", "--out", self.directory / "out", **strict)
        self.done("recover", self.store, **strict)
        self.done("verify", self.store / "t", **strict)
        self.done("rm", self.store / "s", self.store / "t", **strict)
        for directory, names, files in os.walk(self.store):
            for name in names:
                mode = stat.S_IMODE((Path(directory) / name).stat().st_mode)
                self.assertEqual(mode, 0o700, name)
            for name in files:
                mode = stat.S_IMODE((Path(directory) / name).stat().st_mode)
                self.assertEqual(mode, 0o600, name)


class Locks(LaminaTest):
    """Lock files go with their names."""

    def locks(self) -> list[str]:
        return [name for name in os.listdir(self.store / ".lock") if name[0] != "."]

    def test_lock_files_of_removed_names_are_removed(self) -> None:
        memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        self.done("ingest", memory, "--out", self.store / "s")
        for number in range(3):
            self.done("fork", self.store / "s", self.store / f"f{number}")
            self.done("rm", self.store / f"f{number}")
            lamina("fork", self.store / "none", self.store / "new")
        self.assertEqual(self.locks(), ["s"])
        # Killed processes leave theirs.
        for name in ("left", "held"):
            (self.store / ".lock" / name).touch()
        with (self.store / ".lock" / "held").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.done("recover", self.store)
            self.assertEqual(sorted(self.locks()), ["held", "s"])

    def test_two_processes_never_hold_the_lock_of_one_name(self) -> None:
        """Ingests, removals and forks of one name at once: each is done or says that it is busy."""
        memory = GuestMemory(8 * PAGE_BYTES)
        memory.write(2, b"\x05" * PAGE_BYTES)
        file = write_full(self.directory / "memory", memory)
        self.done("ingest", file, "--out", self.store / "base")

        def work(number: int) -> set[int]:
            codes = set()
            for turn in range(12):
                words = (("fork", self.store / "base", self.store / "x") if (turn + number) % 2
                         else ("rm", self.store / "x"))
                codes.add(lamina(*words).code)
            return codes

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            codes = set().union(*pool.map(work, range(4)))
        self.assertLessEqual(codes, {EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_BUSY})
        self.assert_resolves_to(self.store / "base", memory)
        if (self.store / "x").exists():
            self.done("rm", self.store / "x")
        self.assertEqual(self.locks(), ["base"])
        self.assert_store_is_clean()


if __name__ == "__main__":
    main()
