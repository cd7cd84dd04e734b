#!/usr/bin/env python3
"""Stores and paths that another user has made, or can change: root is not led astray.

Environment: LAMINA is the binary.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_FAILED, GuestMemory, LaminaTest, Outcome, PAGE_BYTES, lamina, main,
                          tree_of, write_full)
from mounts import ext4_in_memory
from pins import Pin

SOME_ID = "0a1b2c3d-1111-4222-8333-444455556666"
AREAS = (".tmp", ".pending", ".vms", ".maps", ".counts", ".lock")
SECRET = b"for its owner only. " * 12
OTHER_USER = 12345
# It has no driver: opening it fails, and a device with one might do something.
UNUSED_DEVICE = os.makedev(60, 99)


class Crafted(LaminaTest):
    """A store that another user made, and root's commands over it.

    In turn each entry that lamina opens is something else: a link to a file or a directory of a
    third, a pipe, a device. Nothing outside may change, hang or be revealed.
    """

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("another user's store needs root")
        self.directory = ext4_in_memory(self, self.directory)
        self.store = self.directory / "store"
        self.store.mkdir(exist_ok=True)
        memory = GuestMemory(8 * PAGE_BYTES)
        memory.write(3, b"\x07" * PAGE_BYTES)
        self.file = write_full(self.directory / "memory", memory)
        state = self.directory / "state"
        state.write_bytes(b"state")
        self.done("ingest", self.file, "--out", self.store / "s", "--vmstate", state)
        (self.store / "s" / "working-set").write_bytes(b"damaged")
        info = self.done("inspect", self.store / "s", "--json").json
        pause = info["pause_id"]
        layer = next(path.name for path in (self.store / "s").iterdir()
                     if path.name.startswith("memfile.") and path.name != "memfile.header")
        pin = Pin(self.store, os.getpid(), self.store / "s", {"by_page_faults": False})
        (pin.path / "map").write_bytes(b"map")
        for area, name in ((".maps", SOME_ID), (".counts", pause), (".lock", "gone"),
                           (".pending", f"{SOME_ID}.json"), (".vms", "page-server.lock"),
                           (".vms", "page-server.log"), (".vms", "laminad.lock")):
            (self.store / area).mkdir(mode=0o700, exist_ok=True)
            (self.store / area / name).write_bytes(b"")
        for area in (".pending", ".tmp"):
            (self.store / area / SOME_ID).mkdir()
        at = f".vms/{pin.path.name}"
        self.files = ["s/memfile.header", "s/snapshot.json", f"s/{layer}", "s/snapfile",
                      "s/working-set", f"{at}/vm.json", f"{at}/map", f"{at}/base/memfile.header",
                      f".maps/{SOME_ID}", f".counts/{pause}", ".lock/s", ".lock/f", ".lock/gone",
                      f".pending/{SOME_ID}.json", ".vms/page-server.lock", ".vms/page-server.log",
                      ".vms/laminad.lock", ".vms/laminad.sock"]
        self.directories = [*AREAS, "s", at, f"{at}/base", f".pending/{SOME_ID}",
                            f".tmp/{SOME_ID}"]
        # A snapshot of a third, whose memory is secret.
        self.outside = self.directory / "outside"
        third = self.outside / "store"
        third.mkdir(parents=True)
        memory.write(1, SECRET.ljust(PAGE_BYTES, b"!"))
        secret = write_full(self.directory / "secret", memory)
        self.done("ingest", secret, "--out", third / "s", "--vmstate", secret)
        secret.unlink()
        (self.outside / "secret").write_bytes(SECRET)
        self.before = tree_of(self.outside)
        self.kept = self.directory / "kept"
        self.store.rename(self.kept)

    def put(self, entry: str, kind: str) -> None:
        """A fresh store, with something else as `entry`."""
        if self.store.exists():
            shutil.rmtree(self.store)
        shutil.copytree(self.kept, self.store, symlinks=True)
        shutil.copystat(self.kept, self.store)
        place = self.store / entry
        if place.is_dir():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        if kind == "link to a file":
            place.symlink_to(self.outside / "secret")
        elif kind == "link to a snapshot":
            place.symlink_to(self.outside / "store" / "s")
        elif kind == "link to nothing":
            place.symlink_to(self.outside / "new")
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            os.mknod(place, 0o600 | stat.S_IFCHR, UNUSED_DEVICE)

    def reading(self) -> list[tuple[str | Path, ...]]:
        """Commands that only read the store."""
        snapshot = self.store / "s"
        return [("ls", self.store), ("ls", self.store, "--json"), ("du", self.store),
                ("inspect", snapshot), ("verify", snapshot),
                ("materialize", snapshot, "--out", self.directory / "out"),
                ("serve", "--status", "--store", self.store)]

    def writing(self) -> list[tuple[str | Path, ...]]:
        """Commands that write to it; the last removes the snapshot."""
        snapshot = self.store / "s"
        return [("recover", self.store), ("fork", snapshot, self.store / "f"),
                ("repair", snapshot), ("merge", snapshot, "--out", self.store / "m"),
                ("ingest", self.file, "--out", self.store / "g"), ("rm", snapshot)]

    def assert_safe(self, outcome: Outcome) -> None:
        """Nothing outside has changed, and nothing of it has come out."""
        self.assertEqual(tree_of(self.outside), self.before, str(outcome))
        self.assertNotIn(SECRET.decode(), outcome.stdout + outcome.stderr)
        self.assertGreaterEqual(outcome.code, 0, str(outcome))
        out = self.directory / "out"
        if out.exists():
            self.assertNotIn(SECRET, out.read_bytes(), str(outcome))
            out.unlink()

    def assert_nothing_secret_in_the_store(self) -> None:
        for directory, _, names in os.walk(self.store):
            for name in names:
                path = Path(directory) / name
                if stat.S_ISREG(path.lstat().st_mode):
                    self.assertNotIn(SECRET, path.read_bytes(), path)

    def each(self) -> Iterator[tuple[str, str]]:
        """Every entry, as each kind."""
        for entry in [*self.files, *self.directories]:
            kinds = (("link to a snapshot", "link to nothing", "pipe") if entry in self.directories
                     else ("link to a file", "link to nothing", "pipe", "device"))
            for kind in kinds:
                self.put(entry, kind)
                yield entry, kind

    def test_entries_of_a_store_never_lead_out_of_it(self) -> None:
        for entry, kind in self.each():
            with self.subTest(entry=entry, kind=kind):
                for words in (*self.reading()[:6:2], *self.writing()):
                    self.assert_safe(lamina(*words))
                self.assert_nothing_secret_in_the_store()

    def test_recover_does_not_write_another_users_store(self) -> None:
        for entry, kind in self.each():
            self.give_away()
            with self.subTest(entry=entry, kind=kind), self.unchanged(self.store):
                for words in (*self.reading()[1::4], self.writing()[0]):
                    self.assert_safe(lamina(*words))

    def give_away(self) -> None:
        """The store is another user's."""
        for path in (self.store, *self.store.rglob("*")):
            os.lchown(path, OTHER_USER, OTHER_USER)

    def test_another_users_store_is_read_and_not_written(self) -> None:
        shutil.copytree(self.kept, self.store)
        self.give_away()
        with self.unchanged(self.store):
            for words in self.reading()[:-1]:
                self.done(*words)
                (self.directory / "out").unlink(missing_ok=True)
            for words in (*self.writing(), ("serve", "--store", self.store)):
                self.refused(EXIT_FAILED, *words, names=[f"belongs to user {OTHER_USER}",
                                                         f"setpriv --reuid {OTHER_USER}"])
        self.directory.chmod(0o755)
        for words in self.writing()[1:4]:
            self.done(*words, user=OTHER_USER)

    def test_a_readable_store_of_root_is_read_and_not_written_by_others(self) -> None:
        shutil.copytree(self.kept, self.store)
        for path in (self.store, *self.store.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        with self.unchanged(self.store):
            for words in (("ls", self.store), ("inspect", self.store / "s"),
                          ("verify", self.store / "s"), ("du", self.store)):
                self.done(*words, user=OTHER_USER)
            self.refused(EXIT_FAILED, "fork", self.store / "s", self.store / "f", user=OTHER_USER,
                         names=["belongs to user 0", "run lamina as that user"])

    def test_a_store_that_others_may_write_to_is_not_written(self) -> None:
        shutil.copytree(self.kept, self.store)
        for area, mode in ((".", 0o777), (".", 0o775), (".vms", 0o1777), (".maps", 0o722),
                           (".counts", 0o770)):
            with self.subTest(area=area, mode=oct(mode)):
                place = self.store / area
                before = stat.S_IMODE(place.stat().st_mode)
                place.chmod(mode)
                self.refused(EXIT_FAILED, "fork", self.store / "s", self.store / "f",
                             names=["other users may write to", "chmod go-w"])
                place.chmod(before)
        self.store.chmod(0o1777)  # as a fresh tmpfs has it
        self.done("fork", self.store / "s", self.store / "f")

    def test_a_link_to_a_sibling_is_read_through(self) -> None:
        shutil.copytree(self.kept, self.store)
        (self.store / "latest").symlink_to("s")
        self.done("verify", self.store / "latest")
        (self.store / "out").symlink_to(self.outside / "store" / "s")
        (self.store / "up").symlink_to("..")
        for name in ("out", "up"):
            self.refused(EXIT_FAILED, "verify", self.store / name,
                         names=["leads out of its directory"])


class CallersPaths(LaminaTest):
    """Links in paths that a caller gives are followed only where no other user can make them."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("another user needs root")
        self.memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        self.secret = self.directory / "secret"
        self.secret.write_bytes(SECRET)
        self.theirs = self.directory / "jail"
        self.theirs.mkdir()
        os.chown(self.theirs, OTHER_USER, OTHER_USER)

    def test_own_links_are_followed(self) -> None:
        (self.directory / "a").symlink_to("memory")
        (self.directory / "b").symlink_to(self.directory / "a")
        (self.directory / "way").symlink_to(".")
        self.done("ingest", self.directory / "way" / "b", "--out", self.store / "s",
                  "--vmstate", "/proc/self/cmdline")
        self.done("ingest", f"{self.directory}/store/../b", "--out", self.store / "t")
        self.done("ingest", "../memory", "--out", "u", cwd=self.store)

    def test_links_in_another_users_directory_are_not_followed(self) -> None:
        deep = self.theirs / "ours"
        deep.mkdir()
        for place in (self.theirs, deep):
            (place / "state").symlink_to(self.secret)
            (place / "mem").symlink_to(self.memory)
            (place / "way").symlink_to(self.directory)
            os.lchown(place / "way", OTHER_USER, OTHER_USER)
            for words in ((place / "mem",), (place / "way" / "memory",),
                          (self.memory, "--vmstate", place / "state")):
                with self.unchanged():
                    self.refused(EXIT_FAILED, "ingest", *words, "--out", self.store / "s",
                                 names=["symbolic link", "not followed"])

    def test_in_a_shared_directory_another_users_link_is_not_followed(self) -> None:
        shared = self.directory / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        (shared / "theirs").symlink_to(self.memory)
        os.lchown(shared / "theirs", OTHER_USER, OTHER_USER)
        (shared / "ours").symlink_to(self.memory)
        self.refused(EXIT_FAILED, "ingest", shared / "theirs", "--out", self.store / "s",
                     names=["symbolic link", "not followed"])
        self.done("ingest", shared / "ours", "--out", self.store / "s")

    def test_a_hard_link_to_a_third_users_file_is_not_read(self) -> None:
        os.link(self.secret, self.theirs / "state")
        self.refused(EXIT_FAILED, "ingest", self.memory, "--out", self.store / "s", "--vmstate",
                     self.theirs / "state", names=["2 hard links", "may have linked it there"])


if __name__ == "__main__":
    main()
