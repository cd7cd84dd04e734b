#!/usr/bin/env python3
"""Holes and written zeros of diffs that were preallocated, read, copied or are in an overlay.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_FAILED, GuestMemory, LaminaTest, PAGE_BYTES, data_map, main,
                          random_memory, random_page, write_diff)
from mounts import (BTRFS, EXT4, FileSystem, MountedStore, TMPFS, XFS, mount, mount_overlay,
                    on_each)
from sandbox import SandboxTest


def set_extent_size(directory: Path) -> None:
    """New files in an xfs directory, or below it, get their storage in pieces of 1 MiB."""
    subprocess.run(["xfs_io", "-c", "extsize 1m", directory], check=True)


PAGES = 2048
MEMORY_BYTES = PAGES * PAGE_BYTES
EXT4_DIOREAD_LOCK = FileSystem("ext4 with dioread_lock", EXT4.make, "ext4", "dioread_lock")
XFS_EXTENT_SIZE = FileSystem("xfs with extent size", XFS.make, "xfs", image_bytes=XFS.image_bytes,
                             prepare=set_extent_size)
TMPFS_HUGE = FileSystem("tmpfs with 2 MiB pages", kind="tmpfs", options="size=128m,huge=always")


def write_preallocated(path: Path, memory: GuestMemory, dirty: Iterable[int],
                       ranges: Iterable[tuple[int, int]]) -> Path:
    """A diff of the `dirty` pages, written to a file of which page `ranges` were preallocated."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.ftruncate(fd, memory.size_bytes)
        for start, count in ranges:
            os.posix_fallocate(fd, start * PAGE_BYTES, count * PAGE_BYTES)
        for page in sorted(dirty):
            assert os.pwrite(fd, memory.page(page), page * PAGE_BYTES) == PAGE_BYTES
        os.fsync(fd)
    finally:
        os.close(fd)
    return path


def read_by_checksum(path: Path) -> None:
    """Reads all of a file, as any process may."""
    subprocess.run(["sha256sum", path], check=True, stdout=subprocess.DEVNULL)


def read_by_mapping(path: Path) -> None:
    """Reads one byte of each page of a file through a mapping."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as view:
        for offset in range(0, len(view), PAGE_BYTES):
            _ = view[offset]


def read_nothing(_: Path) -> None:
    """Leaves a file alone."""


def read_a_part(path: Path) -> None:
    """Reads the first half of a file."""
    with path.open("rb") as stream:
        stream.read(path.stat().st_size // 2)


READERS = (read_nothing, read_by_checksum, read_by_mapping, read_a_part)


@on_each(EXT4, XFS, BTRFS)
class PreallocatedDiffs:
    """What a diff says does not depend on how its file was made and which processes read it."""

    readers: tuple[Callable[[Path], None], ...] = READERS

    def setUp(self) -> None:
        """A parent most of whose pages have data."""
        super().setUp()
        self.seed = int(os.environ.get("LAMINA_TEST_SEED", random.randrange(1 << 32)))
        print(f"LAMINA_TEST_SEED={self.seed}", flush=True)
        self.rng = random.Random(self.seed)
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=0.9)
        self.parent = self.ingest_full(self.memory, "parent", "--layout", "compact")

    def run_guest(self) -> tuple[GuestMemory, set[int]]:
        """The memory after random runs of writes and clears, and the pages that are dirty."""
        memory = self.memory.copy()
        dirty: set[int] = set()
        for _ in range(self.rng.randint(5, 40)):
            start = self.rng.randrange(PAGES)
            cleared = self.rng.random() < 0.4
            for page in range(start, min(PAGES, start + self.rng.choice([1, 1, 2, 9, 60]))):
                memory.write(page, b"" if cleared else random_page(self.rng))
                dirty.add(page)
        return memory, dirty

    def ranges(self) -> list[tuple[int, int]]:
        """All of the file, or random parts of it."""
        if self.rng.random() < 0.5:
            return [(0, PAGES)]
        starts = [self.rng.randrange(PAGES) for _ in range(self.rng.randint(1, 6))]
        return [(start, min(self.rng.choice([1, 7, 300]), PAGES - start)) for start in starts]

    def test_each_block_is_what_the_guest_had(self) -> None:
        for reader in self.readers:
            for layout in ("compact", "adopt"):
                dedup = self.rng.choice(("none", "parent"))
                with self.subTest(reader=reader.__name__, layout=layout, dedup=dedup):
                    self.check_one(reader, layout, dedup)

    def check_one(self, reader: Callable[[Path], None], layout: str, dedup: str) -> None:
        """One diff, written, read and stored."""
        memory, dirty = self.run_guest()
        diff = write_preallocated(self.mounted / "diff", memory, dirty, self.ranges())
        reader(diff)
        child = self.store / "child"
        self.done("ingest", diff, "--parent", self.parent, "--out", child, "--layout", layout,
                  "--dedup", dedup)
        self.assert_memory(self.materialized(child, directory=self.mounted), memory)
        self.done("verify", child)
        self.done("rm", child)
        diff.unlink(missing_ok=True)


class DiffsOnXfsWithExtentSize(PreallocatedDiffs, MountedStore, LaminaTest):
    """xfs, in a directory whose files are preallocated by the file system itself."""

    system = XFS_EXTENT_SIZE

    def ranges(self) -> list[tuple[int, int]]:
        """Nothing else is preallocated."""
        return []


class DiffsOnTmpfs(PreallocatedDiffs, MountedStore, LaminaTest):
    """tmpfs, where only a read through a mapping fills holes, and nothing can tell afterwards."""

    system = TMPFS
    readers = (read_nothing, read_by_checksum, read_a_part)

    def ranges(self) -> list[tuple[int, int]]:
        """What is preallocated is refused."""
        return []

    def test_a_preallocated_diff_is_refused(self) -> None:
        for reader in READERS:
            with self.subTest(reader.__name__):
                memory, dirty = self.run_guest()
                diff = write_preallocated(self.mounted / "diff", memory, dirty,
                                          [(100, 700), (50, 400)])
                if reader is read_by_mapping:
                    with diff.open("rb") as stream, mmap.mmap(stream.fileno(), 500 * PAGE_BYTES,
                                                              prot=mmap.PROT_READ) as view:
                        _ = view[110 * PAGE_BYTES], view[490 * PAGE_BYTES]
                else:
                    reader(diff)
                self.refused(EXIT_FAILED, "ingest", diff, "--parent", self.parent, "--out",
                             self.store / "child", names=[diff, "preallocated"])
                diff.unlink()


class FilledByTheFileSystem(LaminaTest):
    """ext4 with dioread_lock writes zeros around a page of a preallocated run."""

    def setUp(self) -> None:
        """A parent to count from."""
        super().setUp()
        self.mounted = mount(self, self.directory, EXT4_DIOREAD_LOCK)
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        self.parent = self.ingest_full(self.memory, "parent", store=self.mounted)

    def test_a_diff_in_a_preallocated_file_is_refused(self) -> None:
        memory = self.memory.copy()
        memory.write(1003, random_page(self.rng))
        diff = write_preallocated(self.mounted / "diff", memory, [1003], [(1000, 200)])
        self.assertNotEqual(data_map(diff), [(1003 * PAGE_BYTES, 1004 * PAGE_BYTES)],
                            "the file system does what this test is about")
        self.refused(EXIT_FAILED, "ingest", diff, "--parent", self.parent, "--out",
                     self.mounted / "child", names=[diff, "preallocated", "new file"])

    def test_a_diff_in_a_new_file_is_stored(self) -> None:
        memory = self.memory.copy()
        memory.write(1003, random_page(self.rng))
        memory.clear(1100)
        diff = write_diff(self.mounted / "diff", memory, [1003, 1100])
        child = self.mounted / "child"
        self.done("ingest", diff, "--parent", self.parent, "--out", child)
        self.assert_resolves_to(child, memory)

    def test_doctor_says_that_preallocated_files_are_refused(self) -> None:
        report = self.done("doctor", self.mounted, "--json").json
        holes, = (finding for finding in report["file_system"] if finding["subject"] == "holes")
        self.assertIn("preallocated files are refused", holes["detail"])


class OverlayTest(LaminaTest):
    """A diff in an overlay is trusted only where a new file beside it has the same storage."""

    def setUp(self) -> None:
        """A coarse lower layer below an exact upper one."""
        super().setUp()
        self.lower = mount(self, self.directory, TMPFS_HUGE)
        self.upper = mount(self, self.directory, EXT4)
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        self.parent = self.ingest_full(self.memory, "parent")

    def diff_in(self, directory: Path) -> tuple[Path, GuestMemory]:
        """A diff of three pages far apart, one cleared."""
        memory = self.memory.copy()
        memory.write(5, random_page(self.rng))
        memory.write(600, random_page(self.rng))
        memory.clear(1500)
        return write_diff(directory / "diff", memory, [5, 600, 1500]), memory

    def test_a_file_of_a_lower_layer_is_refused(self) -> None:
        self.diff_in(self.lower)
        for options in ("xino=off", "xino=on"):
            with self.subTest(options):
                merged = mount_overlay(self, self.directory, self.lower, self.upper, options)
                self.refused(EXIT_FAILED, "ingest", merged / "diff", "--parent", self.parent,
                             "--out", self.store / "child",
                             names=[merged / "diff", "lower layer",
                                    "directory that it was written"])

    def test_a_file_of_the_upper_layer_is_stored(self) -> None:
        merged = mount_overlay(self, self.directory, self.lower, self.upper)
        diff, memory = self.diff_in(merged)
        self.done("ingest", diff, "--parent", self.parent, "--out", self.store / "child")
        self.assert_resolves_to(self.store / "child", memory)

    def test_a_preallocated_file_of_the_upper_layer_is_stored(self) -> None:
        merged = mount_overlay(self, self.directory, self.lower, self.upper)
        memory = self.memory.copy()
        memory.write(5, random_page(self.rng))
        diff = write_preallocated(merged / "diff", memory, [5], [(0, PAGES)])
        read_by_checksum(diff)
        self.done("ingest", diff, "--parent", self.parent, "--out", self.store / "child")
        self.assert_resolves_to(self.store / "child", memory)

    def test_a_file_of_a_lower_layer_on_the_same_file_system_is_stored(self) -> None:
        lower = self.upper / "lower"
        lower.mkdir()
        diff, memory = self.diff_in(lower)
        merged = mount_overlay(self, self.directory, lower, self.upper)
        self.done("ingest", merged / diff.name, "--parent", self.parent, "--out",
                  self.store / "child")
        self.assert_resolves_to(self.store / "child", memory)

    def test_doctor_says_what_an_overlay_cannot_do(self) -> None:
        merged = mount_overlay(self, self.directory, self.lower, self.upper)
        report = self.done("doctor", merged, "--json").json
        overlay, = (found for found in report["file_system"] if found["subject"] == "overlay")
        self.assertEqual(overlay["verdict"], "warning")


@on_each(EXT4, XFS, XFS_EXTENT_SIZE, BTRFS, TMPFS, base=SandboxTest)
class QueuedDiffs:
    """A diff that is acknowledged and not yet a snapshot may be read by any process."""

    def test_a_diff_that_the_frozen_hook_reads_has_every_block(self) -> None:
        reader = (f"{sys.executable} -c 'import sys; sys.path.insert(0, sys.argv[1]); "
                  "import test_holes, pathlib; getattr(test_holes, sys.argv[2])"
                  "(*pathlib.Path(sys.argv[3]).glob(\"memfile.*-*\"))' "
                  f"{Path(__file__).parent} %s {self.store}/.pending/$LAMINA_PAUSE_ID")
        vm = self.fresh("--seed", "3")
        vm.tell("run 500 1")
        self.pause(vm, "a", "--after", "resume")
        for number, read in enumerate((read_by_checksum, read_by_mapping)):
            with self.subTest(read.__name__):
                vm.tell(f"run 300 {number + 2}")
                vm.tell(f"clear {number + 9}")
                report = self.pause(vm, "a", "--after", "stay", "--frozen-hook",
                                    reader % read.__name__)
                self.assertEqual(report["kind"], "diff", report["reason"])
                truth = self.directory / f"truth-{number}"
                self.assertEqual(vm.create("Full", self.directory / "state", truth).status, 204)
                contents = truth.read_bytes()
                found = self.materialized(self.store / "a", directory=self.mounted)
                wrong = [page for page in range(len(contents) // PAGE_BYTES)
                         if contents[page * PAGE_BYTES:(page + 1) * PAGE_BYTES] !=
                         found[page * PAGE_BYTES:(page + 1) * PAGE_BYTES]]
                self.assertEqual(wrong, [])
                vm.resume()


class CopiedDiffTest(LaminaTest):
    """Plain cp makes holes of written zeros. Nothing can tell afterwards, but it can be guessed."""

    NOTE = "written zeros"

    def setUp(self) -> None:
        """A parent to count from."""
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        self.parent = self.ingest_full(self.memory, "parent")

    def diff(self, data: int, zeros: int) -> Path:
        """A diff with so many pages of data and of zeros, with holes between them."""
        pages = self.rng.sample(range(PAGES), data + zeros)
        memory = self.memory.copy()
        for page in pages[:data]:
            memory.write(page, random_page(self.rng))
        for page in pages[data:]:
            memory.clear(page)
        return write_diff(self.directory / f"diff-{data}-{zeros}", memory, pages)

    def notes(self, diff: Path, *options: str) -> list[str]:
        """What an ingest remarks, as text and as JSON."""
        words = ["ingest", diff, "--parent", self.parent, "--out", self.store / "child",
                 "--replace", *options]
        found = self.done(*words, "--json").json["notes"]
        self.assertEqual([line for line in self.done(*words).error_lines if self.NOTE in line],
                         [f"lamina: {note}" for note in found if self.NOTE in note])
        return [note for note in found if self.NOTE in note]

    def test_a_large_diff_without_any_zeros_gets_a_note(self) -> None:
        note, = self.notes(self.diff(600, 0))
        self.assertIn("cp", note)
        self.assertIn("--zeros written", note)

    def test_the_note_is_printed_when_unchanged_blocks_are_left_out_too(self) -> None:
        self.assertEqual(len(self.notes(self.diff(600, 0), "--dedup", "parent")), 1)

    def test_the_zeros_option_silences_the_note(self) -> None:
        diff = self.diff(600, 0)
        self.assertEqual(self.notes(diff, "--zeros", "written"), [])
        self.assertEqual(self.notes(diff, "--zeros", "inherit"), [])

    def test_a_diff_with_zeros_and_a_small_one_get_no_note(self) -> None:
        self.assertEqual(self.notes(self.diff(600, 1)), [])
        self.assertEqual(self.notes(self.diff(100, 0)), [])

    def test_a_full_file_gets_no_note(self) -> None:
        full = write_diff(self.directory / "full", self.memory, range(PAGES))
        outcome = self.done("ingest", full, "--out", self.store / "full", "--json")
        self.assertEqual(outcome.json["notes"], [])

    def test_a_diff_copied_by_cp_gets_the_note_and_one_copied_by_tar_does_not(self) -> None:
        diff = self.diff(600, 20)
        copy = self.directory / "copy"
        subprocess.run(["cp", diff, copy], check=True)
        self.assertEqual(len(self.notes(copy)), 1)
        unpacked = self.directory / "unpacked"
        unpacked.mkdir()
        archive = self.directory / "archive"
        subprocess.run(["tar", "-C", diff.parent, "-Scf", archive, diff.name], check=True)
        subprocess.run(["tar", "-C", unpacked, "-xf", archive], check=True)
        self.assertEqual(data_map(unpacked / diff.name), data_map(diff))
        self.assertEqual(self.notes(unpacked / diff.name), [])


if __name__ == "__main__":
    main()
