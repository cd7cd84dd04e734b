"""Files that are taken from others: data that cannot be written back, files that a process can
still write, and files in another user's directory."""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NO_SPACE, EXIT_NOT_FOUND,
                          LaminaTest, PAGE_BYTES, lamina, main, random_memory, stopped_after,
                          write_full)
from mounts import (BTRFS, EXT4, FileSystem, MIB, TMPFS, XFS, fill, mount, on_each, unmount)
from sandbox import SandboxTest

SMALL_BYTES = 64 * PAGE_BYTES
USER = 12345
VICTIM = 23456


class ThinStorage(LaminaTest):
    """A disk that has less storage than it says, and runs out of it while a file is written back."""

    def thin(self, system: FileSystem) -> tuple[Path, Path]:
        """Mounts `system` on storage that is full: the mount, and the file to remove."""
        below = mount(self, self.directory, FileSystem("thin", kind="tmpfs", options="size=96m"))
        image = below / "image"
        with image.open("wb") as stream:
            stream.truncate(400 * MIB)
        make = {"ext4": ["mkfs.ext4", "-q", "-F", "-J", "size=8", "-E",
                         "lazy_itable_init=0,lazy_journal_init=0"],
                "xfs": list(XFS.make)}[system.name]
        subprocess.run([*make, str(image)], check=True, capture_output=True)
        point = self.directory / "mount"
        point.mkdir()
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
        self.addCleanup(unmount, point)
        (point / "store").mkdir()
        first = write_full(point / "first", random_memory(self.rng, SMALL_BYTES))
        self.done("ingest", first, "--out", point / "store/first")
        # All of the journal has storage by then: what fails is data, and the file system goes on.
        for number in range(1500):
            with (point / f"journal-{number % 8}").open("wb") as stream:
                stream.write(bytes([number % 256]))
                os.fsync(stream.fileno())
        os.sync()
        ballast = fill(below)
        # For the file system's own records: a data block that is lost is what this is about.
        os.truncate(ballast, ballast.stat().st_size - 6 * MIB)
        return point, ballast

    def expect_refused_after_a_failed_sync(self, system: FileSystem, layout: str,
                                           code: int) -> None:
        """The second try, with room, must not trust what the first has left in the cache."""
        point, ballast = self.thin(system)
        source = point / "memory"
        source.write_bytes(random.Random(1).randbytes(24 * MIB))  # not synced
        first = lamina("ingest", source, "--layout", layout, "--out", point / "store/new")
        self.assertEqual(first.code, EXIT_NO_SPACE, str(first))
        ballast.unlink()
        second = lamina("ingest", source, "--layout", layout, "--out", point / "store/new")
        self.assertEqual(second.code, code, str(second))
        self.assertIn("part of it may be lost", second.stderr)
        self.assertIn("have the VMM write the memory again", second.stderr)
        self.assertFalse((point / "store/new").exists())
        self.done("verify", point / "store/first")

    def test_an_adopted_file_on_ext4_is_refused_after_a_failed_sync(self) -> None:
        self.expect_refused_after_a_failed_sync(EXT4, "adopt", EXIT_NOT_FOUND)

    def test_an_adopted_file_on_xfs_is_refused_after_a_failed_sync(self) -> None:
        self.expect_refused_after_a_failed_sync(XFS, "adopt", EXIT_NOT_FOUND)

    def test_a_file_to_clone_is_refused_after_a_failed_sync(self) -> None:
        self.expect_refused_after_a_failed_sync(XFS, "compact", EXIT_FAILED)


@on_each(EXT4, XFS, BTRFS, TMPFS)
class OpenFiles:
    """A process can still write the file."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, SMALL_BYTES)
        self.source = write_full(self.mounted / "memory", self.memory)
        self.out = self.store / "new"

    def expect_refused(self, *options: str) -> None:
        """The file stays where it is, and can be ingested once no process has it open."""
        contents, status = self.source.read_bytes(), self.source.stat()
        self.refused(EXIT_BUSY, "ingest", self.source, "--out", self.out, *options,
                     names=[self.source, "open for writing"])
        self.assertEqual(self.source.read_bytes(), contents)
        after = self.source.stat()
        self.assertEqual((after.st_ino, after.st_mode, after.st_uid),
                         (status.st_ino, status.st_mode, status.st_uid))
        self.assertFalse(self.out.exists())
        self.assert_store_is_clean()

    def expect_taken(self, *options: str) -> None:
        self.done("ingest", self.source, "--out", self.out, *options)
        self.assertFalse(self.source.exists())
        self.assert_resolves_to(self.out, self.memory)

    def test_a_file_open_for_writing_is_neither_adopted_nor_consumed(self) -> None:
        for options in (["--layout", "adopt"], ["--consume"], ["--consume", "--layout", "compact"]):
            with self.subTest(options=options), self.source.open("r+b"):
                self.expect_refused(*options)
        self.expect_taken("--layout", "adopt")

    def test_a_file_mapped_for_writing_is_neither_adopted_nor_consumed(self) -> None:
        with self.source.open("r+b") as stream:
            mapping = mmap.mmap(stream.fileno(), 0, mmap.MAP_SHARED)
        with mapping:
            for options in (["--layout", "adopt"], ["--consume"],
                            ["--consume", "--layout", "compact"]):
                with self.subTest(options=options):
                    self.expect_refused(*options)
        self.expect_taken("--consume")

    def test_a_file_open_for_reading_is_adopted(self) -> None:
        with self.source.open("rb") as stream, \
             mmap.mmap(stream.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ):
            self.expect_taken("--layout", "adopt")

    def test_a_process_that_opens_the_file_at_any_moment_cannot_write_the_layer(self) -> None:
        layouts = (["--layout", "adopt"], ["--consume", "--layout", "compact"])
        for number in range(12):
            source = write_full(self.mounted / f"memory-{number}", self.memory)
            out = self.store / f"new-{number}"
            opened: list[int] = []
            begin = threading.Event()

            def open_it(path: Path = source, kept: list[int] = opened, turns: int = number,
                        start: threading.Event = begin) -> None:
                start.wait()
                for _ in range(turns * 4000):
                    pass
                try:
                    kept.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
                except OSError:
                    pass

            thread = threading.Thread(target=open_it)
            thread.start()
            begin.set()
            outcome = lamina("ingest", source, "--out", out, *layouts[number % 2])
            thread.join()
            for fd in opened:
                os.pwrite(fd, b"x" * PAGE_BYTES, 0)
                os.close(fd)
            self.assertIn(outcome.code, (EXIT_DONE, EXIT_BUSY, EXIT_FAILED), str(outcome))
            if outcome.code == EXIT_DONE:
                self.assert_resolves_to(out, self.memory)
            else:
                self.assertTrue(source.exists(), str(outcome))

    def test_a_file_opened_for_writing_while_it_is_read_is_not_consumed(self) -> None:
        self.ingest_full(self.memory, "first", store=self.store)  # else its directories are synced
        with stopped_after("fsync", 1, self.directory, "ingest", self.source, "--out", self.out,
                           "--consume", "--layout", "compact") as outcomes:
            with self.assertRaises(BlockingIOError):
                os.close(os.open(self.source, os.O_RDWR | os.O_NONBLOCK))
        self.assertEqual(outcomes[0].code, EXIT_BUSY, str(outcomes[0]))
        self.assertTrue(self.source.exists())
        self.expect_taken("--consume", "--layout", "compact")


class OtherUsersDirectories(LaminaTest):
    """Root takes a memory file from a directory that another user may change at any moment."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.memory = random_memory(self.rng, SMALL_BYTES)
        self.evil = self.directory / "evil"
        self.victim = self.directory / "victim"
        for home, user in ((self.evil, USER), (self.victim, VICTIM)):
            (home / "snap").mkdir(parents=True)
            write_full(home / "snap/memory", random_memory(self.rng, SMALL_BYTES))
            for path in (home, home / "snap", home / "snap/memory"):
                os.chown(path, user, user)
        self.victim.chmod(0o700)
        self.done("ingest", write_full(self.directory / "first", self.memory), "--out",
                  self.store / "first")
        self.treasure = (self.victim / "snap/memory").read_bytes()

    def assert_victim_has_it(self) -> None:
        self.assertEqual((self.victim / "snap/memory").read_bytes(), self.treasure)
        self.assertEqual((self.victim / "snap/memory").stat().st_uid, VICTIM)
        found = [path for path in self.evil.rglob("*")
                 if path.is_file() and path.read_bytes() == self.treasure]
        self.assertEqual(found, [])

    def test_a_directory_replaced_by_a_link_loses_no_file(self) -> None:
        """At each moment: after every system call that looks at the file, or moves it."""
        for call, most in (("openat", 40), ("renameat2", 3), ("fsync", 6)):
            for number in range(1, most):
                evil = self.evil / "snap"
                try:
                    with stopped_after(call, number, self.directory, "ingest", evil / "memory",
                                       "--layout", "adopt", "--out",
                                       self.store / f"{call}-{number}") as outcomes:
                        evil.rename(self.evil / "aside")
                        evil.symlink_to(self.victim / "snap")
                except AssertionError:  # it makes no more of these calls
                    break
                self.assert_victim_has_it()
                if evil.is_symlink():
                    evil.unlink()
                    (self.evil / "aside").rename(evil)
                if outcomes[0].code == EXIT_DONE:
                    write_full(evil / "memory", random_memory(self.rng, SMALL_BYTES))
                self.assertTrue((evil / "memory").exists(), f"{call} {number}: {outcomes[0]}")

    def test_a_link_that_another_user_has_made_is_not_followed(self) -> None:
        link = self.evil / "link"
        link.symlink_to(self.victim / "snap")
        os.chown(link, USER, USER, follow_symlinks=False)
        for options in (["--layout", "adopt"], ["--consume"], []):
            self.refused(EXIT_FAILED, "ingest", link / "memory", "--out", self.store / "x", *options,
                         names=[link / "memory", "symbolic link"])
        self.assert_victim_has_it()

    def test_an_own_link_is_followed(self) -> None:
        source = write_full(self.directory / "memory", self.memory)
        (self.directory / "link").symlink_to(source)
        self.done("ingest", self.directory / "link", "--out", self.store / "x", "--layout", "adopt")
        self.assertFalse(source.exists())
        self.assert_resolves_to(self.store / "x", self.memory)

    def test_a_file_of_another_user_gets_its_owner_and_mode_back(self) -> None:
        source = self.evil / "snap/memory"
        source.chmod(0o640)
        before = source.read_bytes()
        killed = lamina("ingest", source, "--out", self.store / "x", "--layout", "adopt",
                        prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                                "-e", "inject=renameat2:signal=SIGKILL:when=2"])
        self.assertEqual(killed.code, -9)
        self.assertFalse(source.exists())
        [layer] = [path for path in (self.store / ".pending").rglob("memfile.*-*")]
        status = layer.stat()
        self.assertEqual((status.st_uid, status.st_mode & 0o777), (0, 0o600))
        self.done("fork", self.store / "first", self.store / "second")
        status = source.stat()
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o777),
                         (USER, USER, 0o640))
        self.assertEqual(source.read_bytes(), before)

    def crafted(self, target: Path, **changes: object) -> None:
        """An unfinished adoption that never was: puts `target` down as where the file came from."""
        pause = str(uuid.uuid4())
        layer = f"memfile.{uuid.uuid4()}"
        place = self.store / ".pending" / pause
        place.mkdir()
        (place / layer).write_bytes(b"* * * * * root id\n")
        journal = {"adoption": 2, "source": "/innocent", "source_hex": bytes(target).hex(),
                   "layer": layer, "bytes": 18, "mode": 0o4755, "user": 0, "group": 0,
                   "inode": (place / layer).stat().st_ino, "born_ns": 1,
                   "directory_inode": target.parent.stat().st_ino, "copy_inode": 0,
                   "copy_born_ns": 0} | changes
        (self.store / f".pending/{pause}.json").write_text(json.dumps(journal))

    def test_a_crafted_journal_makes_root_create_nothing(self) -> None:
        place = self.directory / "etc"
        place.mkdir()
        self.crafted(place / "a")
        self.crafted(place / "b", born_ns=0)
        self.crafted(place / "c", adoption=1)
        self.crafted(place / "d", inode=1)
        outcome = self.done("fork", self.store / "first", self.store / "second")
        self.assertEqual(list(place.iterdir()), [])
        self.assertRegex(outcome.stderr, "left alone|not acted upon|no journal")

    def test_a_copied_store_does_not_put_files_back(self) -> None:
        source = write_full(self.directory / "memory", self.memory)
        contents = source.read_bytes()
        killed = lamina("ingest", source, "--out", self.store / "x", "--layout", "adopt",
                        prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                                "-e", "inject=renameat2:signal=SIGKILL:when=2"])
        self.assertEqual(killed.code, -9)
        copy = self.directory / "copy"
        subprocess.run(["cp", "-a", str(self.store), str(copy)], check=True)
        outcome = self.done("fork", copy / "first", copy / "second")
        self.assertRegex(outcome.stderr, "left alone|not acted upon|no journal")
        self.assertFalse(source.exists())
        self.done("fork", self.store / "first", self.store / "second")
        self.assertEqual(source.read_bytes(), contents)

    def test_a_file_is_put_back_only_into_the_directory_that_it_came_from(self) -> None:
        """The file is put back into the directory that it came from, and into no other."""
        home = self.directory / "home"
        home.mkdir()
        source = write_full(home / "memory", self.memory)
        killed = lamina("ingest", source, "--out", self.store / "x", "--layout", "adopt",
                        prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2",
                                "-e", "inject=renameat2:signal=SIGKILL:when=2"])
        self.assertEqual(killed.code, -9)
        home.rename(self.directory / "moved")
        home.mkdir()
        outcome = self.done("fork", self.store / "first", self.store / "second")
        self.assertIn("could not be put back", outcome.stderr)
        self.assertEqual(list(home.iterdir()), [])
        home.rmdir()
        (self.directory / "moved").rename(home)
        self.done("fork", self.store / "first", self.store / "third")
        self.assertTrue(source.exists())


class FilesOfVmms(SandboxTest):
    """A VMM's user keeps its memory file open after it was handed over."""

    def test_a_kept_descriptor_cannot_change_the_snapshot(self) -> None:
        for in_jail in (False, True):
            with self.subTest(in_jail=in_jail):
                if in_jail and os.geteuid() != 0:
                    self.skipTest("needs root")
                self.expect_kept_descriptor_harmless(in_jail)

    def expect_kept_descriptor_harmless(self, in_jail: bool) -> None:
        jail = None
        if in_jail:
            jail = self.directory / "jail"
            jail.mkdir()
            os.chown(jail, USER, USER)
        reached, go = self.directory / f"reached{in_jail}", self.directory / f"go{in_jail}"
        os.mkfifo(reached)
        os.mkfifo(go)
        with self.fresh(**({"jail": jail, "user": USER} if in_jail else {})) as vm:
            vm.control("run 50 1")
            files: list[mmap.mmap] = []

            def spy() -> None:
                reached.read_bytes()
                top = jail if jail is not None else self.store / ".pending"
                while len(files) < 2:  # they come while the hook waits
                    for name in ("memfile.*", "snapfile"):
                        for path in top.rglob(name):
                            with path.open("r+b") as stream:
                                if os.fstat(stream.fileno()).st_size and len(files) < 2:
                                    files.append(mmap.mmap(stream.fileno(), 0))
                go.write_bytes(b"x")

            thread = threading.Thread(target=spy)
            thread.start()
            name = f"vm{in_jail}"
            options = ["--jail", jail] if jail is not None else []
            self.pause(vm, name, "--after", "stay", "--frozen-hook",
                       f"echo x > {reached}; cat {go}", *options)
            thread.join()
            truth = self.materialized(self.store / name)
            for mapping in files:
                mapping[: PAGE_BYTES] = b"E" * PAGE_BYTES
                mapping.flush()
            self.done("verify", self.store / name)
            self.assertEqual(self.materialized(self.store / name), truth)


class Limits(LaminaTest):
    """What a file system or its administrator allows."""

    def test_a_copy_made_at_the_link_limit_is_what_further_forks_link(self) -> None:
        point = mount(self, self.directory, EXT4)
        store = point / "store"
        store.mkdir()
        memory = random_memory(self.rng, SMALL_BYTES)
        first = self.ingest_full(memory, "first", store=store)
        [layer] = first.glob("memfile.*-*")
        links = point / "links"
        links.mkdir()
        for file in (layer, first / "memfile.header", first / "snapshot.json"):
            (links / file.name).mkdir()
            try:
                for number in range(65000):
                    os.link(file, links / file.name / str(number))
            except OSError:
                pass
        # Each of these puts copies in the places of the three files.
        with ThreadPoolExecutor() as pool:
            at_once = list(pool.map(lambda number: self.done("fork", first, store / f"at-{number}"),
                                    range(8)))
        self.assertTrue(any("was copied" in outcome.stderr for outcome in at_once))
        for number in range(8):
            self.assert_resolves_to(store / f"at-{number}", memory)
        self.assert_resolves_to(first, memory)
        self.done("fork", first, store / "fork-0")
        for number in range(1, 4):
            outcome = self.done("fork", first, store / f"fork-{number}")
            self.assertNotIn("was copied", outcome.stderr)
        for name in (layer.name, "memfile.header", "snapshot.json"):
            inodes = {(store / f"fork-{number}" / name).stat().st_ino for number in range(4)}
            self.assertEqual(len(inodes), 1, name)
            copies = {(store / f"at-{number}" / name).stat().st_ino for number in range(8)}
            self.assertLessEqual(inodes, copies, name)
        self.assert_resolves_to(first, memory)
        self.assert_resolves_to(store / "fork-3", memory)
        self.assert_store_is_clean(store)

    def test_a_file_of_another_quota_project_is_copied_and_consumed(self) -> None:
        point = mount(self, self.directory, XFS)
        store = point / "store"
        store.mkdir()
        changed = subprocess.run(["chattr", "-p", "7", "+P", str(store)], check=False,
                                 capture_output=True)
        if changed.returncode != 0:
            self.skipTest("chattr knows no projects")
        memory = random_memory(self.rng, SMALL_BYTES)
        source = write_full(point / "memory", memory)
        self.refused(EXIT_FAILED, "ingest", source, "--out", store / "x", "--layout", "adopt",
                     names=[source, "--layout compact"])
        self.assertTrue(source.exists())
        self.assert_store_is_clean(store)
        self.done("ingest", source, "--out", store / "x", "--consume")
        self.assertFalse(source.exists())
        self.assert_resolves_to(store / "x", memory)
        self.assert_store_is_clean(store)

    def test_a_snapshot_can_be_removed_from_a_btrfs_whose_metadata_is_full(self) -> None:
        point = mount(self, self.directory, FileSystem("btrfs", BTRFS.make, "btrfs",
                                                       image_bytes=200 * MIB))
        store = point / "store"
        store.mkdir()
        for name in ("a", "b"):
            self.ingest_full(random_memory(self.rng, 1024 * PAGE_BYTES), name, store=store)
        fill(point)
        number = 0
        try:
            while True:
                (point / f"i{number}").touch(exist_ok=False)
                number += 1
        except OSError:
            pass
        os.sync()
        self.done("rm", store / "a")
        self.assertFalse((store / "a").exists())
        self.done("verify", store / "b")


if __name__ == "__main__":
    main()
