"""Bad input of every kind: the exit code, one line that says what is wrong, and nothing changed."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from memory_files import (EXIT_BUSY, EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED,
                          EXIT_NO_SPACE, EXIT_NOT_FOUND, EXIT_USAGE, GuestMemory, LaminaTest,
                          PAGE_BYTES, change_memory, data_map, lamina, layers_of, main,
                          random_memory, random_page, some_of, stopped_after, write_diff,
                          write_full)
from mounts import (BTRFS, EXT4, FileSystem, MIB, RAMFS, XFS, bind, fill, mount, on_each,
                    remount)

MEMORY_BYTES = 64 * PAGE_BYTES
OTHER_USER = 65534
VERBS = ("ingest", "merge", "compact", "materialize", "inspect", "ls", "du", "rm", "fork", "verify",
         "repair", "doctor", "serve", "pause", "resume", "recover", "pack", "unpack", "fork-live",
         "ui", "report", "top",
         "remote-push", "remote-pull", "remote-fetch", "remote-ls", "remote-du", "remote-rm",
         "remote-prune", "remote-verify", "remote-check", "remote-keys-ls", "remote-keys-rotate",
         "remote-keys-destroy", "import-e2b", "export-e2b")


class BadMemoryFile(LaminaTest):
    """Paths that are not memory files."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.parent = self.ingest_full(self.memory, "parent")

    def refuses(self, code: int, memory_file: Path, *options: str | Path,
                names: tuple[str, ...] = (), **run: object) -> None:
        """ingest must fail, as full, as diff, compact and adopting, and change nothing."""
        for kind in ([], ["--parent", self.parent]):
            for layout in ("compact", "adopt"):
                with self.subTest(kind=kind, layout=layout), self.unchanged():
                    self.refused(code, "ingest", memory_file, "--out", self.store / "new", *kind,
                                 "--layout", layout, *options, names=(memory_file, *names), **run)

    def test_a_missing_file_is_not_found(self) -> None:
        self.refuses(EXIT_NOT_FOUND, self.directory / "missing")

    def test_a_path_below_a_file_is_not_found(self) -> None:
        self.refuses(EXIT_NOT_FOUND, self.parent / "memfile.header" / "x")

    def test_an_empty_file_is_refused(self) -> None:
        path = self.directory / "empty"
        path.touch()
        self.refuses(EXIT_FAILED, path, names=("empty",))

    def test_a_file_larger_than_any_memory_is_refused(self) -> None:
        mounted = mount(self, self.directory, XFS)  # others have smaller limits
        path = mounted / "huge"
        with path.open("wb") as stream:
            stream.truncate(1 << 55)
        with self.unchanged(self.store):
            self.refused(EXIT_FAILED, "ingest", path, "--out", self.store / "new",
                         names=[path, 1 << 55])

    def test_a_diff_of_another_size_than_its_parent_is_refused(self) -> None:
        for difference in (-PAGE_BYTES, -1, 1, PAGE_BYTES):
            path = self.directory / f"size{difference}"
            write_diff(path, GuestMemory(MEMORY_BYTES + difference), [])
            for layout in ("compact", "adopt"):
                with self.subTest(difference=difference), self.unchanged():
                    self.refused(EXIT_FAILED, "ingest", path, "--parent", self.parent, "--out",
                                 self.store / "new", "--layout", layout,
                                 names=[path, MEMORY_BYTES + difference, MEMORY_BYTES, self.parent])

    def test_a_directory_is_refused(self) -> None:
        path = self.directory / "directory"
        path.mkdir()
        self.refuses(EXIT_FAILED, path, names=("directory, not a file",))

    def test_a_fifo_without_a_writer_is_refused_without_waiting(self) -> None:
        path = self.directory / "fifo"
        os.mkfifo(path)
        self.refuses(EXIT_FAILED, path, names=("not a file",))

    def test_devices_are_refused(self) -> None:
        for device in ("/dev/zero", "/dev/null", "/dev/tty"):
            if Path(device).exists():
                with self.subTest(device=device), self.unchanged():
                    self.refused(EXIT_FAILED, "ingest", device, "--out", self.store / "new",
                                 names=[device])

    def test_a_loop_of_symbolic_links_is_refused(self) -> None:
        path = self.directory / "loop"
        path.symlink_to(path)
        self.refuses(EXIT_FAILED, path, names=("symbolic links",))

    def test_a_dangling_link_is_not_found(self) -> None:
        path = self.directory / "dangling"
        path.symlink_to("nowhere")
        self.refuses(EXIT_NOT_FOUND, path)

    def test_a_file_that_the_user_may_not_read_is_refused(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("another user needs root")
        path = write_full(self.directory / "private", self.memory)
        path.chmod(0o600)
        for directory in (self.store, *self.store.iterdir()):
            if directory.is_dir():
                os.chown(directory, OTHER_USER, OTHER_USER)
        for file in self.parent.iterdir():
            file.chmod(0o644)
        with self.unchanged():
            self.refused(EXIT_FAILED, "ingest", path, "--out", self.store / "new",
                         names=[path, "permission denied"], user=OTHER_USER)

    def test_a_file_with_a_second_name_is_not_adopted(self) -> None:
        path = write_full(self.directory / "memory", self.memory)
        os.link(path, self.directory / "second")
        with self.unchanged():
            self.refused(EXIT_FAILED, "ingest", path, "--out", self.store / "new", "--layout",
                         "adopt", names=[path, "2 names", "--layout compact"])

    def test_the_layer_of_a_snapshot_is_neither_adopted_nor_consumed(self) -> None:
        """Published layers are never written, moved or removed."""
        layer = layers_of(self.parent)[0]
        for options in (["--layout", "adopt"], ["--consume"],
                        ["--consume", "--layout", "compact"]):
            with self.subTest(options=options):
                with self.unchanged():
                    self.refused(EXIT_FAILED, "ingest", layer, "--out", self.store / "new",
                                 *options, names=[layer, "belongs to a snapshot"])

    def test_a_vm_state_that_is_missing_or_not_a_file_is_refused(self) -> None:
        memory_file = write_full(self.directory / "memory", self.memory)
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        for state, code in ((self.directory / "none", EXIT_NOT_FOUND), (fifo, EXIT_FAILED),
                            (self.directory, EXIT_FAILED)):
            with self.subTest(state=state.name), self.unchanged():
                self.refused(code, "ingest", memory_file, "--out", self.store / "new",
                             "--vmstate", state, "--layout", "adopt", names=[state])

    def test_a_file_whose_name_is_not_utf8_is_put_back_under_that_name(self) -> None:
        name = os.fsencode(self.directory) + b"/mem\xff"
        write_full(Path(os.fsdecode(name)), self.memory)
        before = sorted(os.listdir(os.fsencode(self.directory)))
        outcome = lamina("ingest", os.fsdecode(name), "--out", self.store / "new", "--layout",
                         "adopt", prefix=self.fail_publishing())
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual(sorted(os.listdir(os.fsencode(self.directory))), before)

    def fail_publishing(self) -> list[str]:
        """The command under which the second renameat2 fails: the memory file is in the store."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e",
                "inject=renameat2:error=EIO:when=2"]

    def test_a_consumed_file_on_a_bind_mount_is_stored_compact(self) -> None:
        """The same file system, yet no rename reaches across: not a reason to fail."""
        inner = self.directory / "inner"
        inner.mkdir()
        bound = bind(self, inner, self.directory / "bound")
        memory_file = write_full(bound / "memory", self.memory)
        self.done("ingest", memory_file, "--out", self.store / "new", "--consume")
        self.assert_resolves_to(self.store / "new", self.memory)


class BadSnapshot(LaminaTest):
    """Directories that are damaged snapshots, or not snapshots."""

    DATA_READERS = (("verify",), ("materialize",), ("merge",), ("merge", "--out"))
    READERS = (*DATA_READERS, ("inspect",), ("ingest",), ("compact",))

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.parent = self.ingest_full(self.memory, "parent")
        dirty = change_memory(self.rng, self.memory)
        self.snapshot = self.ingest_diff(self.memory, dirty, self.parent, "vm")
        self.diff = write_diff(self.directory / "next", self.memory, [1])

    def refuses(self, code: int, *names: str | Path, snapshot: Path | None = None,
                readers: tuple[tuple[str, ...], ...] = READERS) -> None:
        """Every verb that reads the snapshot must fail and change nothing."""
        path = snapshot or self.snapshot
        for reader in readers:
            arguments: list[str | Path] = [reader[0], path]
            if reader[0] == "materialize":
                arguments += ["--out", self.directory / "out"]
            if reader[0] == "ingest":
                arguments = ["ingest", self.diff, "--parent", path, "--out", self.store / "new",
                             "--layout", "adopt"]
            if len(reader) > 1:
                arguments += ["--out", self.store / "new"]
            with self.subTest(reader=reader), self.unchanged():
                self.refused(code, *arguments, names=names)

    def alter(self, path: Path, offset: int) -> None:
        """Flips one bit of a copy that takes the file's place: a linked layer stays whole."""
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.unlink()
        path.write_bytes(data)

    def test_a_missing_snapshot_is_not_found(self) -> None:
        path = self.store / "none"
        self.refuses(EXIT_NOT_FOUND, path, snapshot=path)

    def test_a_dangling_link_is_not_found(self) -> None:
        path = self.directory / "dangling"
        path.symlink_to(self.directory / "nothing")
        for verb in ("verify", "inspect"):
            self.refused(EXIT_NOT_FOUND, verb, path, names=[path, "does not exist"])

    def test_a_file_is_a_usage_error(self) -> None:
        """Exit 1 of verify would say that the memory differs."""
        for verb in ("verify", "merge"):
            with self.unchanged():
                self.refused(EXIT_USAGE, verb, self.diff,
                             names=[self.diff, "is a file", "memfile.header"])
        with self.unchanged():
            self.refused(EXIT_USAGE, "verify", self.snapshot, "--against", self.directory,
                         names=[self.directory, "memory file"])

    def test_an_empty_directory_is_not_found(self) -> None:
        path = self.directory / "empty"
        path.mkdir()
        self.refuses(EXIT_NOT_FOUND, path, "memfile.header", snapshot=path)

    def test_a_store_is_said_to_be_one(self) -> None:
        self.refuses(EXIT_NOT_FOUND, self.store, "is a store", f"{self.store}/NAME",
                     snapshot=self.store)

    def test_a_missing_layer_is_named(self) -> None:
        layer = layers_of(self.snapshot)[0]
        layer.unlink()
        self.refuses(EXIT_NOT_FOUND, layer.name, "missing")

    def test_a_truncated_layer_is_corrupt(self) -> None:
        layer = layers_of(self.snapshot)[-1]
        whole = layer.read_bytes()
        for length in (0, 1, 255, 256, PAGE_BYTES - 1, PAGE_BYTES, len(whole) - PAGE_BYTES,
                       len(whole) - 257, len(whole) - 256, len(whole) - 1):
            with self.subTest(length=length):
                layer.write_bytes(whole[:length])
                self.refuses(EXIT_CORRUPT, layer.name)

    def test_a_layer_with_bytes_after_its_trailer_is_corrupt(self) -> None:
        layer = layers_of(self.snapshot)[-1]
        for more in (b"\0", bytes(256), bytes(PAGE_BYTES)):
            whole = layer.read_bytes()
            layer.write_bytes(whole + more)
            self.refuses(EXIT_CORRUPT, layer.name)
            layer.write_bytes(whole)

    def test_a_changed_byte_of_a_trailer_is_found_by_every_reader(self) -> None:
        layer = layers_of(self.snapshot)[-1]
        whole = layer.read_bytes()
        lists_end = -256 - 8 * self.checksum_count(layer)
        for offset in (-256, -248, -240, -200, -150, -128, -120, -100, -9, -8, -1,
                       lists_end - 1, lists_end - 20):
            with self.subTest(offset=offset):
                self.alter(layer, offset)
                self.refuses(EXIT_CORRUPT, layer.name)
                layer.write_bytes(whole)

    def test_a_changed_checksum_is_found_by_every_reader_of_data(self) -> None:
        """A reader of headers does not see it; a child of the snapshot does not hide it."""
        layer = layers_of(self.snapshot)[-1]
        for offset in (-257, -256 - 8 * self.checksum_count(layer)):
            with self.subTest(offset=offset):
                whole = layer.read_bytes()
                self.alter(layer, offset)
                self.refuses(EXIT_CORRUPT, layer.name, readers=self.DATA_READERS)
                self.done("ingest", self.diff, "--parent", self.snapshot, "--out",
                          self.store / "child", "--layout", "compact")
                self.refuses(EXIT_CORRUPT, layer.name, snapshot=self.store / "child",
                             readers=self.DATA_READERS)
                self.done("rm", self.store / "child")
                layer.unlink()
                layer.write_bytes(whole)

    @staticmethod
    def checksum_count(layer: Path) -> int:
        """The layer stores so many blocks."""
        count: int = struct.unpack_from("<Q", layer.read_bytes()[-256:], 120)[0]
        return count

    def test_a_changed_byte_of_data_is_found_by_verify_and_materialize(self) -> None:
        layer = layers_of(self.snapshot)[-1]
        self.alter(layer, 5)
        with self.unchanged():
            outcome = lamina("verify", self.snapshot)
        self.assertEqual(outcome.code, EXIT_CORRUPT, str(outcome))
        self.assertIn(layer.name, outcome.stderr)
        with self.unchanged():
            self.refused(EXIT_CORRUPT, "materialize", self.snapshot, "--out",
                         self.directory / "out", names=[layer.name, "checksum"])

    def test_a_merge_of_changed_data_is_refused(self) -> None:
        """Its result would have fresh checksums over wrong data."""
        layer = layers_of(self.snapshot)[-1]
        self.alter(layer, 5)
        for out in ([], ["--out", self.store / "merged"]):
            with self.unchanged():
                self.refused(EXIT_CORRUPT, "merge", self.snapshot, *out,
                             names=[layer.name, "checksum"])

    def test_exchanged_layers_are_corrupt(self) -> None:
        first, second = layers_of(self.snapshot)
        aside = self.directory / "aside"
        first.rename(aside)
        second.rename(first)
        aside.rename(second)
        self.refuses(EXIT_CORRUPT, str(self.snapshot), "holds build")

    def test_a_layer_that_is_a_directory_or_a_fifo_is_refused(self) -> None:
        layer = layers_of(self.snapshot)[-1]
        layer.unlink()
        layer.mkdir()
        self.refuses(EXIT_FAILED, layer.name)
        layer.rmdir()
        os.mkfifo(layer)
        self.refuses(EXIT_FAILED, layer.name)

    def test_a_header_of_garbage_of_any_length_is_corrupt(self) -> None:
        header = self.snapshot / "memfile.header"
        magic = b"LAMINAHD" + self.rng.randbytes(300)
        version1 = struct.pack("<Q", 1) + self.rng.randbytes(300)
        for kind, source in (("noise", self.rng.randbytes(300)), ("native", magic),
                             ("version 1", version1), ("zeros", bytes(300))):
            for length in some_of(range(201), 10):
                header.write_bytes(source[:length])
                outcome = lamina("inspect", header)
                with self.subTest(kind=kind, length=length):
                    self.assertEqual(outcome.code, EXIT_CORRUPT, str(outcome))
                    self.assert_one_error_line(outcome, [header])
            self.refuses(EXIT_CORRUPT, header)

    def test_truncations_and_bit_flips_of_the_native_header_are_corrupt(self) -> None:
        header = self.snapshot / "memfile.header"
        whole = header.read_bytes()
        for length in some_of(range(0, len(whole), 7), 8):
            header.write_bytes(whole[:length])
            self.assertEqual(lamina("verify", self.snapshot).code, EXIT_CORRUPT, length)
        for offset in some_of(range(0, len(whole), 5), 8):
            header.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1 :])
            self.assertEqual(lamina("verify", self.snapshot).code, EXIT_CORRUPT, offset)

    def test_a_header_of_an_unknown_version_is_refused(self) -> None:
        header = self.snapshot / "memfile.header"
        for version in (0, 2, 4, 1 << 63):
            header.write_bytes(struct.pack("<Q", version) + bytes(56))
            self.refuses(EXIT_CORRUPT, header, f"{version:#x}", "version 1 or 3")

    def test_a_native_header_of_an_unknown_version_is_refused(self) -> None:
        header = self.snapshot / "memfile.header"
        data = bytearray(header.read_bytes())
        struct.pack_into("<I", data, 8, 2)
        header.write_bytes(data)
        self.refuses(EXIT_CORRUPT, header, "version 2", "version 1")

    def test_a_header_or_snapshot_json_that_is_not_a_file_is_refused(self) -> None:
        for name in ("memfile.header", "snapshot.json"):
            path = self.snapshot / name
            aside = path.rename(self.directory / "aside")
            path.mkdir()
            self.refuses(EXIT_FAILED, path)
            path.rmdir()
            os.mkfifo(path)
            self.refuses(EXIT_FAILED, path)
            path.unlink()
            aside.rename(path)

    def test_a_damaged_snapshot_json_is_corrupt(self) -> None:
        facts = self.snapshot / "snapshot.json"
        whole = facts.read_text()
        for text in ("", "{", "[]", "null", whole[:100], "{}", whole.replace("pause_id", "pause"),
                     whole.replace('"memory_bytes": ', '"memory_bytes": -'), "[" * 100_000):
            with self.subTest(text=text[:20]):
                facts.write_text(text)
                self.refuses(EXIT_CORRUPT, facts, "lamina repair")

    def test_the_snapshot_json_of_another_snapshot_is_corrupt(self) -> None:
        shutil.copy(self.parent / "snapshot.json", self.snapshot)
        self.refuses(EXIT_CORRUPT, self.snapshot, "different snapshots")

    def test_a_changed_vm_state_is_found_by_verify(self) -> None:
        state = self.directory / "state"
        state.write_bytes(b"registers")
        full = write_full(self.directory / "full", self.memory)
        self.done("ingest", full, "--out", self.store / "s", "--vmstate", state)
        (self.store / "s" / "snapfile").write_bytes(b"Registers")
        outcome = lamina("verify", self.store / "s")
        self.assertEqual(outcome.code, EXIT_CORRUPT, str(outcome))
        self.assertIn("snapfile", outcome.stderr)


class BadVersion1Header(LaminaTest):
    """Hostile headers of the format that has no checksum."""

    def setUp(self) -> None:
        super().setUp()
        self.base = uuid.UUID(int=1)
        self.snapshot = self.store / "old"
        self.snapshot.mkdir()
        self.layer = self.snapshot / f"memfile.{self.base}"
        self.layer.write_bytes(b"".join(random_page(self.rng) for _ in range(8)))

    def header(self, *records: tuple[int, int, int, int], size: int = 8 * PAGE_BYTES,
               block: int = PAGE_BYTES, version: int = 1, own: int = 1) -> bytes:
        """A header; a record is (offset, length, build, storage offset), builds being numbers."""
        data = struct.pack("<QQQQ", version, block, size, 0)
        data += uuid.UUID(int=own).bytes + self.base.bytes
        for offset, length, build, storage in records:
            data += struct.pack("<QQ", offset, length) + uuid.UUID(int=build).bytes
            data += struct.pack("<Q", storage)
        return data

    def refuses(self, data: bytes, *names: str, code: int = EXIT_CORRUPT) -> None:
        """Every reader must refuse the header."""
        header = self.snapshot / "memfile.header"
        header.write_bytes(data)
        for arguments in (["inspect"], ["verify"], ["merge"],
                          ["materialize", "--out", self.directory / "out"]):
            with self.unchanged():
                self.refused(code, arguments[0], self.snapshot, *arguments[1:],
                             names=[self.snapshot, *names])

    def test_a_valid_header_is_read(self) -> None:
        page = PAGE_BYTES
        data = self.header((0, 2 * page, 1, 4 * page), (2 * page, 5 * page, 0, 77),
                           (7 * page, page, 1, 0))
        (self.snapshot / "memfile.header").write_bytes(data)
        stored = self.layer.read_bytes()
        expected = stored[4 * page : 6 * page] + bytes(5 * page) + stored[:page]
        self.assertEqual(self.materialized(self.snapshot), expected)

    def test_a_huge_sparse_header_is_refused(self) -> None:
        data = self.header((0, 8 * PAGE_BYTES, 1, 0))
        header = self.snapshot / "memfile.header"
        header.write_bytes(data)
        os.truncate(header, 1 << 30)
        for verb in ("inspect", "verify", "merge"):
            with self.unchanged():
                self.refused(EXIT_CORRUPT, verb, self.snapshot, names=[header, "hole"])

    def test_overlapping_extents_are_refused(self) -> None:
        page = PAGE_BYTES
        self.refuses(self.header((0, 5 * page, 1, 0), (4 * page, 4 * page, 1, 4 * page)),
                     "extent 1 starts at 0x4000, before 0x5000")

    def test_extents_out_of_order_are_refused(self) -> None:
        page = PAGE_BYTES
        self.refuses(self.header((4 * page, 4 * page, 1, 0), (0, 4 * page, 1, 0)),
                     "extent 0 starts at 0x4000, past 0x0")

    def test_a_gap_between_extents_is_refused(self) -> None:
        page = PAGE_BYTES
        self.refuses(self.header((0, 2 * page, 1, 0), (3 * page, 5 * page, 1, 0)),
                     "extent 1 starts at 0x3000, past 0x2000")

    def test_extents_that_end_before_the_memory_are_refused(self) -> None:
        self.refuses(self.header((0, 7 * PAGE_BYTES, 1, 0)), "0x7000", "0x8000")

    def test_extents_that_end_past_the_memory_are_refused(self) -> None:
        self.refuses(self.header((0, 9 * PAGE_BYTES, 1, 0)), "0x9000")

    def test_numbers_that_wrap_around_are_refused(self) -> None:
        page, top = PAGE_BYTES, 1 << 64
        for name, data in {
            "length": self.header((0, page, 1, 0), (page, top - page, 1, 0)),
            "length and page": self.header((0, page, 1, 0), (page, top - 1, 1, 0)),
            "storage": self.header((0, 8 * page, 1, top - page)),
            "storage end": self.header((0, 8 * page, 1, top - 8 * page)),
            "storage in blocks": self.header((0, 8 * page, 1, (1 << 32) * page)),
            "memory size": self.header((0, 8 * page, 1, 0), size=top - 1),
            "memory size in blocks": self.header((0, 8 * page, 1, 0), size=(1 << 32) * page),
            "huge zeros": self.header((0, top - page, 0, 0), size=top - page),
        }.items():
            with self.subTest(name):
                self.refuses(data)

    def test_unaligned_extents_are_refused(self) -> None:
        page = PAGE_BYTES
        for data in (self.header((0, page + 1, 1, 0), (page + 1, 7 * page - 1, 1, 0)),
                     self.header((0, 8 * page, 1, 1)), self.header((0, 8 * page, 1, 512)),
                     self.header((0, 2 * page, 1, 0), (2 * page, 6 * page, 1, 0), block=4 * page)):
            with self.subTest(data=data[64:]):
                self.refuses(data)

    def test_empty_extents_are_refused(self) -> None:
        self.refuses(self.header((0, 0, 1, 0), (0, 8 * PAGE_BYTES, 1, 0)), "extent 0")

    def test_an_extent_past_the_end_of_its_layer_is_refused(self) -> None:
        page = PAGE_BYTES
        self.refuses(self.header((0, 8 * page, 1, page)), self.layer.name, "0x9000", "0x8000")

    def test_a_missing_layer_is_named(self) -> None:
        page = PAGE_BYTES
        self.refuses(self.header((0, page, 1, 0), (page, 7 * page, 5, 0)), str(uuid.UUID(int=5)),
                     code=EXIT_NOT_FOUND)

    def test_an_invalid_block_size_is_refused(self) -> None:
        for block in (0, 1, 512, 4095, 4097, 3 * PAGE_BYTES, 4 * MIB, 1 << 63):
            with self.subTest(block=block):
                self.refuses(self.header((0, 8 * PAGE_BYTES, 1, 0), block=block), str(block))

    def test_a_memory_size_of_zero_is_refused(self) -> None:
        self.refuses(self.header(size=0), "memory size 0")

    def test_a_nil_build_id_is_refused(self) -> None:
        self.refuses(self.header((0, 8 * PAGE_BYTES, 1, 0), own=0), "nil")

    def test_more_layers_than_the_file_limit_are_read_and_merged(self) -> None:
        """Chains of thousands exist; the usual limit of 1024 files must not lock them in."""
        count = 1500
        page = PAGE_BYTES
        data = self.header(*((number * page, page, number + 1, 0) for number in range(count)),
                           size=count * page)
        (self.snapshot / "memfile.header").write_bytes(data)
        for number in range(count):
            (self.snapshot / f"memfile.{uuid.UUID(int=number + 1)}").write_bytes(b"\1" * page)

        def limit_files() -> None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))

        self.done("verify", self.snapshot, prepare=limit_files)
        self.done("merge", self.snapshot, prepare=limit_files)


class BadDiff(LaminaTest):
    """Diffs whose holes cannot be trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        self.parent = self.ingest_full(self.memory, "parent")

    def test_a_dense_diff_with_zeros_over_data_is_refused_as_ambiguous(self) -> None:
        changed = GuestMemory(MEMORY_BYTES, {3: random_page(self.rng)})
        dense = write_full(self.directory / "dense", changed)
        for layout in ("compact", "adopt"):
            with self.unchanged(times=False):
                self.refused(EXIT_FAILED, "ingest", dense, "--parent", self.parent, "--out",
                             self.store / "new", "--layout", layout,
                             names=[dense, "--zeros written", "--zeros inherit"])
        self.done("ingest", dense, "--parent", self.parent, "--out", self.store / "written",
                  "--zeros", "written")
        self.assert_resolves_to(self.store / "written", changed)
        self.done("ingest", dense, "--parent", self.parent, "--out", self.store / "inherit",
                  "--zeros", "inherit")
        merged = self.memory.copy()
        merged.write(3, changed.page(3))
        self.assert_resolves_to(self.store / "inherit", merged)

    def test_a_dense_diff_without_zeros_is_stored(self) -> None:
        other = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        self.ingest_diff(other, range(other.page_count), self.parent, "new")
        self.assert_resolves_to(self.store / "new", other)

    def refuses_here(self, system: FileSystem, pages: int) -> None:
        """A diff on `system` must be refused, and a full file accepted."""
        mounted = mount(self, self.directory, system)
        memory = GuestMemory(pages * PAGE_BYTES, {1: random_page(self.rng)})
        parent = self.ingest_full(memory, "small")
        diff = write_diff(mounted / "diff", memory, [1])
        for zeros in ([], ["--zeros", "written"]):
            with self.unchanged(self.store):
                self.refused(EXIT_FAILED, "ingest", diff, "--parent", parent, "--out",
                             self.store / "new", *zeros, names=[diff, "4 KiB", "full"])
        self.done("ingest", write_full(mounted / "full", memory), "--out", self.store / "full")
        self.assert_resolves_to(self.store / "full", memory)

    def test_a_diff_that_is_mounted_by_itself_is_refused(self) -> None:
        """Its neighbours are on another file system, where holes may be exact when its are not."""
        coarse = mount(self, self.directory,
                       FileSystem("tmpfs", kind="tmpfs", options="size=64m,huge=always"))
        memory = GuestMemory(1024 * PAGE_BYTES, {1: random_page(self.rng)})
        parent = self.ingest_full(memory, "small")
        diff = write_diff(coarse / "diff", memory, [1])
        point = self.directory / "bound"
        point.touch()
        self.assertEqual(subprocess.run(["mount", "--bind", diff, point], check=False).returncode, 0)
        self.addCleanup(subprocess.run, ["umount", str(point)], check=False)
        self.refused(EXIT_FAILED, "ingest", point, "--parent", parent, "--out",
                     self.store / "new", names=[point, "mounted by itself"])

    def test_a_diff_on_a_file_system_without_holes_is_refused(self) -> None:
        self.refuses_here(RAMFS, 1024)

    def test_a_diff_on_tmpfs_with_huge_pages_is_refused(self) -> None:
        self.refuses_here(FileSystem("tmpfs", kind="tmpfs", options="size=64m,huge=always"), 1024)

    def test_a_diff_on_tmpfs_with_huge_pages_within_size_is_refused(self) -> None:
        self.refuses_here(FileSystem("tmpfs", kind="tmpfs", options="size=64m,huge=within_size"),
                          4096)

    def test_a_diff_on_a_read_only_mount_is_refused(self) -> None:
        mounted = mount(self, self.directory, EXT4)
        diff = write_diff(mounted / "diff", self.memory, [1])
        remount(mounted, "ro")
        with self.unchanged(self.store):
            self.refused(EXIT_FAILED, "ingest", diff, "--parent", self.parent, "--out",
                         self.store / "new", names=[diff, "read-only"])


class Busy(LaminaTest):
    """Two writers of one snapshot."""

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Holds the lock of `name` as another writer would."""
        with (self.store / ".lock" / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def test_a_second_writer_is_told_busy_and_changes_nothing(self) -> None:
        memory = random_memory(self.rng, MEMORY_BYTES)
        parent = self.ingest_full(memory, "base")
        snapshot = self.ingest_diff(memory, change_memory(self.rng, memory), parent, "vm")
        full = write_full(self.directory / "full", memory)
        with self.locked("vm"), self.unchanged():
            for arguments in (["ingest", full, "--out", snapshot, "--replace"],
                              ["ingest", full, "--out", snapshot, "--replace", "--layout", "adopt"],
                              ["merge", snapshot], ["merge", parent, "--out", snapshot],
                              ["repair", snapshot]):
                self.refused(EXIT_BUSY, *arguments, names=[snapshot, "try again"])
            self.done("verify", snapshot)
        self.done("merge", snapshot)
        self.assert_resolves_to(snapshot, memory)

    def test_an_ingest_whose_parent_is_replaced_meanwhile_is_busy(self) -> None:
        """Both pauses replace their parent: the second must not drop the first."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        memory = random_memory(self.rng, MEMORY_BYTES)
        snapshot = self.ingest_full(memory, "vm")
        memory.write(5, random_page(self.rng))
        first = write_diff(self.directory / "first", memory, [5])
        with_first = memory.copy()
        memory.write(6, random_page(self.rng))
        second = write_diff(self.directory / "second", memory, [6])
        # The second stops after it has opened its memory file, which is after its parent.
        log = self.directory / "strace"
        ingest = ["ingest", second, "--parent", snapshot, "--out", snapshot, "--replace"]
        probe = lamina(*ingest[:4], "--out", self.store / "probe",
                       prefix=["strace", "-f", "-o", str(log), "-e", "trace=openat"])
        self.assertEqual(probe.code, EXIT_DONE, str(probe))
        opens = log.read_text().splitlines()
        number = next(index for index, line in enumerate(opens, 1) if f'"{second.name}"' in line)
        with stopped_after("openat", number, self.directory, *ingest) as outcomes:
            self.done("ingest", first, "--parent", snapshot, "--out", snapshot, "--replace")
        self.assertEqual(outcomes[0].code, EXIT_BUSY, str(outcomes[0]))
        self.assert_one_error_line(outcomes[0], [snapshot, "replaced by another process"])
        self.assert_resolves_to(snapshot, with_first)
        self.done(*ingest)
        self.assert_resolves_to(snapshot, memory)

    def test_a_snapshot_made_or_removed_meanwhile_is_read_whole_or_not_found(self) -> None:
        """Before and after each look at it: never is a part of it missing, or it a file."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        source = self.ingest_full(random_memory(self.rng, MEMORY_BYTES), "source")
        snapshot = self.store / "vm"
        log = self.directory / "strace"
        change = {True: ("rm", snapshot), False: ("fork", source, snapshot)}
        for verb, there in itertools.product(("verify", "inspect"), (True, False)):
            if there:
                self.done("fork", source, snapshot)
            lamina(verb, snapshot, prefix=["strace", "-f", "-o", str(log), "-e", "trace=openat"])
            looks = [number for number, line in enumerate(log.read_text().splitlines(), 1)
                     if f'"{snapshot.name}"' in line or "memfile." in line]
            self.assertTrue(looks)
            for number in looks:
                with stopped_after("openat", number, self.directory, verb, snapshot) as outcomes:
                    self.done(*change[there])
                if outcomes[0].code != EXIT_DONE:
                    self.assertEqual(outcomes[0].code, EXIT_NOT_FOUND, str(outcomes[0]))
                    self.assertIn(f"snapshot '{snapshot}' does not exist", outcomes[0].stderr)
                self.done(*change[not there])
            if there:
                self.done("rm", snapshot)

    def test_a_memory_file_replaced_meanwhile_is_not_consumed(self) -> None:
        """The VMM wrote its next pause to the same path: only what was ingested may go."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        memory = random_memory(self.rng, MEMORY_BYTES)
        newer = random_memory(self.rng, MEMORY_BYTES)
        self.ingest_full(memory, "first")
        path = write_full(self.directory / "memory", memory)
        with stopped_after("fsync", 2, self.directory, "ingest", path, "--out", self.store / "vm",
                           "--consume", "--layout", "compact") as outcomes:
            write_full(self.directory / "newer", newer).rename(path)
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))
        self.assert_resolves_to(self.store / "vm", memory)
        self.assertTrue(path.exists(), "the newer memory file is gone")
        self.assert_memory(path.read_bytes(), newer)

    def test_a_memory_file_exchanged_during_its_adoption_is_not_taken(self) -> None:
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        memory = random_memory(self.rng, MEMORY_BYTES)
        newer = random_memory(self.rng, MEMORY_BYTES)
        self.ingest_full(memory, "first")
        path = write_full(self.directory / "memory", memory)
        # Its journal is synced, and the file not yet moved.
        with stopped_after("fsync", 1, self.directory, "ingest", path, "--out", self.store / "vm",
                           "--layout", "adopt") as outcomes:
            write_full(self.directory / "newer", newer).rename(path)
        self.assertEqual(outcomes[0].code, EXIT_FAILED, str(outcomes[0]))
        self.assertIn("was replaced", outcomes[0].stderr)
        self.assertFalse((self.store / "vm").exists())
        self.assert_memory(path.read_bytes(), newer)


@on_each(FileSystem("small ext4", EXT4.make, "ext4", image_bytes=24 * MIB),
         FileSystem("small tmpfs", kind="tmpfs", options="size=24m"), XFS, BTRFS)
class NoSpace:
    """The store's file system is full."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, 1024 * PAGE_BYTES + 5, used=0.9)
        full = write_full(self.mounted / "full", self.memory)
        self.base = self.store / "base"
        self.done("ingest", full, "--out", self.base, "--layout", "adopt")
        dirty = change_memory(self.rng, self.memory, writes=300)
        self.vm = self.store / "vm"
        diff = write_diff(self.mounted / "diff", self.memory, dirty)
        self.done("ingest", diff, "--parent", self.base, "--out", self.vm, "--consume")

    def refuses_until_there_is_room(self, *arguments: str | Path,
                                    memory_file: Path | None = None) -> None:
        """Fails on a full disk with nothing changed, and succeeds when there is room."""
        filler = fill(self.mounted)
        with self.unchanged(self.mounted, times=False):
            self.refused(EXIT_NO_SPACE, *arguments, names=["no space left", "free space"])
        self.assert_store_is_clean()
        filler.unlink()
        if memory_file is not None:
            self.assertTrue(memory_file.exists())
        self.done(*arguments)
        self.assert_store_is_clean()

    def test_a_full_disk_fails_a_compact_ingest_cleanly(self) -> None:
        full = write_full(self.mounted / "memory", self.memory)
        self.refuses_until_there_is_room("ingest", full, "--out", self.store / "new")
        self.assert_resolves_to(self.store / "new", self.memory)

    def test_a_full_disk_fails_a_compact_ingest_from_another_file_system_cleanly(self) -> None:
        full = write_full(self.directory / "memory", self.memory)
        self.refuses_until_there_is_room("ingest", full, "--out", self.store / "new")
        self.assert_resolves_to(self.store / "new", self.memory)

    def test_a_full_disk_fails_the_adoption_of_a_full_file_cleanly(self) -> None:
        full = write_full(self.mounted / "memory", self.memory)
        self.refuses_until_there_is_room("ingest", full, "--out", self.store / "new", "--layout",
                                         "adopt", memory_file=full)
        self.assert_resolves_to(self.store / "new", self.memory)

    def test_a_full_disk_fails_the_adoption_of_a_diff_cleanly(self) -> None:
        dirty = change_memory(self.rng, self.memory, writes=100)
        diff = write_diff(self.mounted / "memory", self.memory, dirty)
        before = data_map(diff)
        self.refuses_until_there_is_room("ingest", diff, "--parent", self.vm, "--out",
                                         self.store / "new", "--layout", "adopt", memory_file=diff)
        self.assertNotEqual(before, [])
        self.assert_resolves_to(self.store / "new", self.memory)

    def test_a_full_disk_fails_a_merge_cleanly(self) -> None:
        self.refuses_until_there_is_room("merge", self.vm)
        self.assert_resolves_to(self.vm, self.memory)

    def test_a_full_disk_fails_a_materialize_cleanly(self) -> None:
        out = self.mounted / "out"
        self.refuses_until_there_is_room("materialize", self.vm, "--out", out, "--reflink", "never")
        self.assert_memory(out.read_bytes(), self.memory)

    def test_a_full_disk_fails_doctor_cleanly(self) -> None:
        self.refuses_until_there_is_room("doctor", self.mounted)


class Interrupted(LaminaTest):
    """A signal that ends programs ends this one, in the way of the verb."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot = self.ingest_full(random_memory(self.rng, MEMORY_BYTES), "vm")

    def signalled(self, name: str, call: str) -> list[str]:
        """The command under which the first `call` brings the signal."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                f"inject={call}:signal={name}:when=1"]

    def test_a_signal_ends_a_verb_that_does_not_check_for_it(self) -> None:
        for verb in ("inspect", "repair"):
            with self.subTest(verb=verb), self.unchanged():
                outcome = lamina(verb, self.snapshot, prefix=self.signalled("SIGINT", "statx"))
                self.assertEqual(outcome.code, -signal.SIGINT, str(outcome))

    def test_an_interrupted_doctor_leaves_nothing(self) -> None:
        with self.unchanged():
            self.refused(EXIT_INTERRUPTED, "doctor", self.directory,
                         prefix=self.signalled("SIGINT", "fsync"))

    def test_an_ignored_signal_stays_ignored(self) -> None:
        """As under nohup."""
        self.done("materialize", self.snapshot, "--out", self.directory / "out",
                  prefix=self.signalled("SIGHUP", "fsync"),
                  prepare=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))


class ReadOnly(LaminaTest):
    """What only reads works where nothing can be written; what writes says why it cannot."""

    def check(self, store: Path, memory: GuestMemory, **run: object) -> None:
        """All verbs on a store that cannot be written."""
        full = write_full(self.directory / "full", memory)
        full.chmod(0o644)
        snapshot = store / "vm"
        out = self.directory / "open"
        out.mkdir()
        out.chmod(0o777)
        self.done("inspect", snapshot, "--extents", **run)
        self.done("verify", snapshot, "--against", full, **run)
        self.done("materialize", snapshot, "--out", out / "memory", **run)
        self.assert_memory((out / "memory").read_bytes(), memory)
        with self.unchanged(store):
            self.refused(EXIT_FAILED, "ingest", full, "--out", store / "new", names=[store], **run)
            self.refused(EXIT_FAILED, "merge", snapshot, names=[store], **run)
            self.refused(EXIT_FAILED, "merge", snapshot, "--out", store / "new", names=[store],
                         **run)
            self.refused(EXIT_FAILED, "materialize", snapshot, "--out", store / "out",
                         names=[store], **run)
            outcome = lamina("doctor", store, **run)
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))

    def test_a_read_only_mount_is_read_and_not_written(self) -> None:
        mounted = mount(self, self.directory, EXT4)
        memory = random_memory(self.rng, MEMORY_BYTES)
        self.ingest_full(memory, "vm", store=mounted)
        remount(mounted, "ro")
        self.check(mounted, memory)

    def test_another_users_store_is_read_and_not_written(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("another user needs root")
        memory = random_memory(self.rng, MEMORY_BYTES)
        snapshot = self.ingest_full(memory, "vm")
        self.store.chmod(0o755)
        snapshot.chmod(0o755)
        for file in snapshot.iterdir():
            file.chmod(0o644)
        self.check(self.store, memory, user=OTHER_USER)


class BadTarget(LaminaTest):
    """Targets that cannot be made."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.snapshot = self.ingest_full(self.memory, "vm")
        self.full = write_full(self.directory / "full", self.memory)

    def test_an_existing_target_is_refused(self) -> None:
        for layout in ("compact", "adopt"):
            with self.unchanged():
                self.refused(EXIT_FAILED, "ingest", self.full, "--out", self.snapshot, "--layout",
                             layout, names=[self.snapshot, "--replace"])
        with self.unchanged():
            self.refused(EXIT_FAILED, "merge", self.snapshot, "--out", self.snapshot,
                         names=[self.snapshot])
            self.refused(EXIT_FAILED, "materialize", self.snapshot, "--out", self.full,
                         names=[self.full])

    def test_a_memory_is_materialized_without_proc(self) -> None:
        """An unnamed file could not be given its name there."""
        if os.environ.get("LAMINA_SANITIZE"):
            self.skipTest("sanitizers need /proc themselves")
        hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"']
        if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("/proc cannot be hidden")
        out = self.directory / "out"
        self.done("materialize", self.snapshot, "--out", out, prefix=hidden)
        self.assert_memory(out.read_bytes(), self.memory)
        with self.unchanged():
            self.refused(EXIT_FAILED, "materialize", self.snapshot, "--out", out, prefix=hidden,
                         names=[out, "exists"])

    def test_an_existing_snapshot_is_replaced_with_replace(self) -> None:
        other = random_memory(self.rng, MEMORY_BYTES)
        path = write_full(self.directory / "other", other)
        self.done("ingest", path, "--out", self.snapshot, "--replace")
        self.assert_resolves_to(self.snapshot, other)

    def test_a_file_or_another_directory_is_not_replaced(self) -> None:
        (self.store / "file").write_text("precious")
        (self.store / "directory").mkdir()
        (self.store / "directory" / "precious").touch()
        for name, code, words in (("file", EXIT_NOT_FOUND, "not a directory"),
                                  ("directory", EXIT_FAILED, "is not a snapshot")):
            for layout in ("compact", "adopt"):
                with self.unchanged():
                    self.refused(code, "ingest", self.full, "--out", self.store / name, "--replace",
                                 "--layout", layout, names=[self.store / name, words])

    def test_a_missing_store_is_not_found(self) -> None:
        path = self.directory / "none" / "vm"
        with self.unchanged():
            self.refused(EXIT_NOT_FOUND, "ingest", self.full, "--out", path,
                         names=[path.parent, "make the directory first"])
            self.refused(EXIT_NOT_FOUND, "merge", self.snapshot, "--out", path, names=[path.parent])
            self.refused(EXIT_NOT_FOUND, "materialize", self.snapshot, "--out", path,
                         names=[path.parent, "make the directory first"])
            self.refused(EXIT_NOT_FOUND, "doctor", path.parent,
                         names=[path.parent, "make the directory first"])

    def test_a_snapshot_is_not_taken_for_a_store(self) -> None:
        inside = self.snapshot / "vm"
        for arguments in (["ingest", self.full, "--out", inside],
                          ["merge", self.snapshot, "--out", inside],
                          ["fork", self.snapshot, inside]):
            with self.subTest(arguments=arguments[0]), self.unchanged():
                self.refused(EXIT_USAGE, *arguments, names=[self.snapshot, "not a store"])

    def test_a_file_is_not_taken_for_a_directory(self) -> None:
        inside = self.full / "vm"
        for arguments in (["ingest", self.full, "--out", inside],
                          ["materialize", self.snapshot, "--out", inside],
                          ["doctor", self.full], ["ls", self.full]):
            with self.subTest(arguments=arguments[0]), self.unchanged():
                self.refused(EXIT_NOT_FOUND, *arguments, names=[self.full, "not a directory"])

    def test_an_empty_directory_is_listed_as_one_without_snapshots(self) -> None:
        empty = self.directory / "empty"
        empty.mkdir()
        with self.unchanged():
            self.refused(EXIT_NOT_FOUND, "ls", empty, names=[empty, "no snapshot was ever stored"])

    def test_invalid_names_are_usage_errors(self) -> None:
        for name in ("..", ".", ".tmp", ".pending", ".lock", "a/../..", "a\nb", "a b", "-a", "ä",
                     "a\x1b[31m", "x" * 201, "a*", "a;b"):
            target = f"{self.store}/{name}"
            for arguments in (["ingest", self.full, "--out", target],
                              ["ingest", self.full, "--out", target, "--layout", "adopt"],
                              ["merge", self.snapshot, "--out", target]):
                with self.subTest(name=name, verb=arguments[0]), self.unchanged():
                    outcome = lamina(*arguments)
                    self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                    self.assertIn("cannot name a snapshot", outcome.stderr)
                    if "\n" not in name:
                        self.assert_one_error_line(outcome)

    def test_a_message_is_one_line_for_any_name(self) -> None:
        for name in ("a\nb", "a\x1b[2Jb"):
            outcome = lamina("inspect", self.directory / name)
            self.assertEqual(outcome.code, EXIT_NOT_FOUND)
            self.assert_one_error_line(outcome)

    def test_the_last_part_of_a_path_is_the_name(self) -> None:
        (self.store / "a").mkdir()
        self.done("ingest", self.full, "--out", f"{self.store}/a/../b/")
        self.assert_resolves_to(self.store / "b", self.memory)

    def test_a_symbolic_link_to_a_snapshot_is_not_written_through(self) -> None:
        """Its lock would be another's, and the link would be exchanged, not the snapshot."""
        link = self.store / "link"
        link.symlink_to("vm")
        memory_file = write_full(self.directory / "new", self.memory)
        with self.unchanged():
            self.refused(EXIT_FAILED, "merge", link, names=["link", "symbolic link"])
            self.refused(EXIT_FAILED, "repair", link, names=["link", "symbolic link"])
            self.refused(EXIT_FAILED, "ingest", memory_file, "--out", link, "--replace",
                         names=["link", "symbolic link"])
        self.assert_memory(self.materialized(link), self.memory)

    def test_a_merge_names_the_entry_that_it_cannot_carry_over(self) -> None:
        for name, make in (("extra", Path.mkdir), ("dangling", lambda p: p.symlink_to("nowhere"))):
            with self.subTest(name=name):
                make(self.snapshot / name)
                with self.unchanged(self.snapshot):
                    self.refused(EXIT_FAILED, "merge", self.snapshot, "--out",
                                 self.store / "merged", names=[name, "move it out of the snapshot"])
                (self.snapshot / name).unlink() if name == "dangling" else (
                    self.snapshot / name).rmdir()

    def test_a_failed_command_reports_what_it_cleaned_up(self) -> None:
        left = self.store / ".tmp" / str(uuid.uuid4())
        left.mkdir()
        (left / "memfile").write_bytes(b"what was being built")
        memory_file = write_full(self.directory / "new", self.memory)
        outcome = lamina("ingest", memory_file, "--out", self.snapshot, "--json")
        self.assertEqual(outcome.code, EXIT_FAILED)
        self.assertIn(f"removed '{left}'", outcome.stderr)
        self.assertIn(f"removed '{left}'", outcome.json["notes"][0])
        self.assertFalse(left.exists())

    def test_stray_files_in_the_pending_area_are_kept(self) -> None:
        """It may hold the only copy: unknown files are left alone, and writers go on."""
        pending = self.store / ".pending"
        (pending / "memory").write_bytes(b"the only copy")
        (pending / "notes.json").write_bytes(b"{}")
        (pending / "odd.json").mkdir()
        self.done("ingest", self.full, "--out", self.store / "new")
        self.assertEqual((pending / "memory").read_bytes(), b"the only copy")
        self.assertEqual((pending / "notes.json").read_bytes(), b"{}")


class CommandLine(LaminaTest):
    """Invalid arguments, and what is printed."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.snapshot = self.ingest_full(self.memory, "vm")
        self.full = write_full(self.directory / "full", self.memory)
        self.out = self.store / "new"

    def test_an_unwritable_stderr_does_not_change_the_exit_code(self) -> None:
        missing = self.store / "missing"
        for way in ("2>&-", "2>/dev/full", "2>&1 | true"):
            with self.subTest(way=way):
                command = f'"$LAMINA" inspect "{missing}" {way}; echo ${{PIPESTATUS[0]}}'
                done = subprocess.run(["bash", "-c", command], capture_output=True, text=True,
                                      check=False)
                self.assertIn(done.stdout.strip(), {"3"})

    def test_an_invalid_choice_lists_the_valid_ones(self) -> None:
        self.refused(EXIT_USAGE, "ingest", self.full, "--out", self.out, "--layout", "adopted",
                     names=["--layout", "'adopted'", "auto|compact|adopt"])

    def test_an_option_error_names_the_option_and_its_value(self) -> None:
        ingest = ["ingest", self.full]
        for arguments, names in (
            ([*ingest, "--out="], ["--out", "''", "SNAPSHOT"]),
            ([*ingest, "--out"], ["--out needs a value", "SNAPSHOT"]),
            ([*ingest, "--out", self.out, "--kind="], ["--kind", "''", "full|diff"]),
            ([*ingest, "--out", self.out, "--out", "b"], ["--out", f"'{self.out}'", "'b'", "once"]),
            ([*ingest, f"--out={self.out}", "--out", "b"], ["--out", f"'{self.out}'", "'b'"]),
            (["merge", self.snapshot, "--layers"], ["--layers needs a value", "N"]),
            *((["merge", self.snapshot, "--layers", value], ["--layers", f"'{value}'", "from 1 to"])
              for value in ("abc", "0", "-1", "1x", "4294967296")),
            (["merge", self.snapshot, "--full", "--layers", "1"],
             ["--full", "--layers 1", "one of"]),
            (["inspect", self.snapshot, "--json=x"], ["--json takes no value", "'x'"]),
        ):
            with self.subTest(arguments=arguments), self.unchanged():
                outcome = lamina(*arguments)
                self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                self.assert_one_error_line(outcome, names)

    def test_an_option_before_the_verb_is_refused_with_the_right_order(self) -> None:
        for arguments, names in (
            (["--json", "inspect", self.snapshot], ["'--json'", "after the verb",
                                                    "'lamina inspect --json'"]),
            (["--out", self.out, "ingest", self.full], ["'--out'", "'lamina ingest --out'"]),
            (["--layers=2", "inspect", self.snapshot], ["'--layers=2'", "after", "merge"]),
            (["--json"], ["'--json'", "after a verb", "inspect"]),
            (["--jsonn"], ["unknown option '--jsonn'"]),
        ):
            with self.subTest(arguments=arguments), self.unchanged():
                outcome = lamina(*arguments)
                self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                self.assert_one_error_line(outcome, names)

    def test_an_existing_directory_as_a_target_is_refused(self) -> None:
        plain = self.directory / "plain"
        plain.mkdir()
        with self.unchanged():
            self.refused(EXIT_FAILED, "ingest", self.full, "--out", plain,
                         names=[plain, "NAME"])

    def test_invalid_combinations_are_usage_errors(self) -> None:
        ingest = ["ingest", self.full, "--out", self.out]
        parent = ["--parent", self.snapshot]
        own_id = layers_of(self.snapshot)[0].name.removeprefix("memfile.")
        for arguments in (
            [*ingest, "--kind", "diff"], [*ingest, "--dedup", "parent"],
            [*ingest, *parent, "--kind", "full", "--layout", "adopt"],
            [*ingest, "--build-id", "0"], [*ingest, "--build-id", str(uuid.UUID(int=0))],
            [*ingest, *parent, "--build-id", own_id], [*ingest, "--layout", "none"],
            [*ingest, "--zeros", "maybe"], [*ingest, "--kind", "half"], [*ingest, "extra"],
            ["ingest", "--out", self.out], ["ingest", self.full], ["merge"], ["materialize"],
            ["materialize", self.snapshot], ["inspect"], ["verify"], ["repair"], ["doctor"],
            ["ls"], ["du"], ["rm"], ["fork"], ["fork", self.snapshot],
            ["merge", self.snapshot, "--layers", "0"], ["merge", self.snapshot, "--layers", "2"],
            ["merge", self.snapshot, "--layers", "-1"], ["merge", self.snapshot, "--layers", "x"],
            ["merge", self.snapshot, "--layers", "4294967297"],
            ["merge", self.snapshot, "--full", "--layers", "1"], ["compact"],
            ["compact", self.snapshot, "--store", self.store],
            ["compact", self.snapshot, "--policy", "tired"],
            ["compact", self.snapshot, "--policy", "cap=1"],
            ["compact", self.snapshot, "--rate", "0"], ["compact", self.snapshot, "--rate", "1k"],
            ["materialize", self.snapshot, "--out", self.full, "--reflink", "perhaps"],
            ["materialize", self.snapshot, "--out", self.directory / ".."], [],
        ):
            with self.subTest(arguments=arguments), self.unchanged():
                outcome = lamina(*arguments)
                self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                self.assertEqual(outcome.stdout, "")
                if arguments:
                    self.assert_one_error_line(outcome)

    def test_an_empty_argument_is_a_usage_error(self) -> None:
        """From a script whose variable is not set: a diff must not be stored as a full file."""
        ingest = ["ingest", self.full, "--out", self.out]
        for arguments in ([*ingest, "--parent", ""], [*ingest, "--vmstate", ""],
                          [*ingest, "--build-id", ""], ["merge", self.snapshot, "--out", ""],
                          ["compact", ""], ["compact", "--store", ""],
                          ["compact", self.snapshot, "--policy", ""],
                          ["verify", self.snapshot, "--against", ""],
                          ["rm", self.snapshot, ""], ["ls", ""], ["fork", self.snapshot, ""]):
            with self.subTest(arguments=arguments[-2:]), self.unchanged():
                self.refused(EXIT_USAGE, *arguments)

    def test_a_typing_mistake_gets_a_suggestion(self) -> None:
        for arguments, meant in ((["ingst"], "ingest"), (["merg", "x"], "merge"),
                                 (["ingest", self.full, "--outt", self.out], "--out"),
                                 (["merge", self.snapshot, "--layer", "1"], "--layers"),
                                 (["verify", self.snapshot, "--jsn"], "--json"),
                                 (["ingest", self.full, "--out", self.out, "--parnt=x"],
                                  "--parent")):
            with self.subTest(arguments=arguments), self.unchanged():
                self.refused(EXIT_USAGE, *arguments, names=["did you mean", meant])

    def test_help_fits_a_terminal_and_names_the_exit_codes(self) -> None:
        for arguments in (["--help"], *([verb, "--help"] for verb in VERBS)):
            outcome = self.done(*arguments)
            self.assertEqual(outcome.stderr, "")
            self.assertIn("Exit codes", outcome.stdout)
            for line in outcome.stdout.splitlines():
                self.assertLessEqual(len(line), 80, line)

    def test_help_lists_the_exit_codes_that_the_verb_has(self) -> None:
        writes = {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_CORRUPT, EXIT_BUSY,
                  EXIT_NO_SPACE}
        reads = writes - {EXIT_BUSY, EXIT_NO_SPACE}
        expected = {"ingest": writes | {EXIT_INTERRUPTED}, "merge": writes | {EXIT_INTERRUPTED},
                    "compact": writes | {EXIT_INTERRUPTED},
                    "materialize": (writes - {EXIT_BUSY}) | {EXIT_INTERRUPTED}, "inspect": reads,
                    "verify": reads | {EXIT_INTERRUPTED}, "repair": writes, "serve": writes,
                    "pause": writes | {EXIT_INTERRUPTED}, "resume": writes | {EXIT_INTERRUPTED},
                    "pack": writes | {EXIT_INTERRUPTED}, "unpack": writes | {EXIT_INTERRUPTED},
                    "import-e2b": writes | {EXIT_INTERRUPTED},
                    "export-e2b": writes | {EXIT_INTERRUPTED},
                    "remote-push": writes | {EXIT_INTERRUPTED},
                    "remote-pull": writes | {EXIT_INTERRUPTED},
                    "remote-fetch": writes | {EXIT_INTERRUPTED},
                    "remote-ls": (reads - {EXIT_CORRUPT}) | {EXIT_INTERRUPTED},
                    "remote-du": reads | {EXIT_INTERRUPTED},
                    "remote-rm": {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_BUSY,
                                  EXIT_INTERRUPTED},
                    "remote-prune": reads | {EXIT_INTERRUPTED},
                    "remote-verify": reads | {EXIT_INTERRUPTED},
                    "remote-check": (reads - {EXIT_CORRUPT}) | {EXIT_INTERRUPTED},
                    "remote-keys-ls": reads | {EXIT_INTERRUPTED},
                    "remote-keys-rotate": reads | {EXIT_INTERRUPTED},
                    "remote-keys-destroy": (writes - {EXIT_NO_SPACE}) | {EXIT_INTERRUPTED},
                    "recover": writes | {EXIT_INTERRUPTED},
                    "fork": writes | {EXIT_INTERRUPTED},
                    "fork-live": writes | {EXIT_INTERRUPTED},
                    "rm": (writes - {EXIT_CORRUPT}) | {EXIT_INTERRUPTED},
                    "ls": reads - {EXIT_CORRUPT}, "du": reads - {EXIT_CORRUPT},
                    "ui": {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_BUSY},
                    "report": writes - {EXIT_BUSY}, "top": reads - {EXIT_CORRUPT},
                    "doctor": {EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_NO_SPACE,
                               EXIT_INTERRUPTED}}
        for verb in VERBS:
            listed = self.done(verb, "--help").stdout.split("Exit codes:")[1]
            self.assertEqual({int(code) for code in re.findall(r"\b\d+\b", listed)},
                             expected[verb], verb)

    def test_the_verb_help_prints_what_the_option_prints(self) -> None:
        self.assertEqual(self.done("help").stdout, self.done("--help").stdout)
        for verb in VERBS:
            self.assertEqual(self.done("help", verb).stdout, self.done(verb, "--help").stdout)
        self.assertEqual(self.done("-V").stdout, self.done("--version").stdout)
        self.refused(EXIT_USAGE, "help", "ingst", names=["'ingst'", "did you mean 'ingest'"])
        self.refused(EXIT_USAGE, "hepl", names=["did you mean 'help'"])

    def test_json_is_printed_by_every_verb(self) -> None:
        diff = write_diff(self.directory / "diff", self.memory, [1])
        out = self.directory / "out"
        for arguments in (["ingest", diff, "--parent", self.snapshot, "--out", self.out],
                          ["inspect", self.out], ["inspect", self.out, "--extents"],
                          ["inspect", self.out / "memfile.header"], ["verify", self.out],
                          ["verify", self.out, "--against", self.full], ["merge", self.out],
                          ["merge", self.out], ["compact", self.out],
                          ["compact", "--store", self.store],
                          ["materialize", self.out, "--out", out],
                          ["repair", self.out], ["doctor", self.store],
                          ["fork", self.out, self.store / "fork"], ["ls", self.store],
                          ["ls", self.store, "--tree"], ["du", self.store],
                          ["pack", self.out, "-o", self.directory / "packed"],
                          ["unpack", self.directory / "packed", self.store / "unpacked"],
                          ["rm", self.store / "fork", "--dry-run"], ["rm", self.store / "fork"],
                          ["recover", self.store]):
            with self.subTest(arguments=arguments):
                outcome = self.done(*arguments, "--json")
                self.assertEqual(outcome.json["message_type"], arguments[0])

    def test_json_is_printed_for_usage_errors_too(self) -> None:
        for arguments in (["inspect"], ["inspect", self.snapshot, "extra"],
                          ["inspect", self.snapshot, "--extentss"], ["ingst"],
                          ["merge", self.snapshot, "--layers", "abc"],
                          ["merge", self.snapshot, "--full", "--layers", "1"]):
            with self.subTest(arguments=arguments), self.unchanged():
                outcome = lamina(*arguments, "--json")
                self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
                self.assertEqual(outcome.json["message_type"], "error")
                self.assertEqual(outcome.json["kind"], "usage")
                self.assertEqual(outcome.json["exit_code"], EXIT_USAGE)
                self.assert_one_error_line(outcome, [outcome.json["message"]])

    def test_a_header_alone_leaves_the_facts_of_layer_files_unknown(self) -> None:
        for form in ("native", "v1"):
            snapshot = self.ingest_full(self.memory, form, "--header", form)
            outcome = self.done("inspect", snapshot / "memfile.header", "--json")
            (layer,) = outcome.json["layers"]
            for key in ("file", "layout", "dead_blocks", "file_bytes", "allocated_bytes",
                        "link_count"):
                self.assertIsNone(layer[key], key)
            self.assertEqual(layer["checksums"], True if form == "native" else None)
            self.assertEqual(layer["live_blocks"], len(self.memory.pages))
            outcome = self.done("inspect", snapshot / "memfile.header")
            row = next(line for line in outcome.stdout.splitlines() if layer["build_id"] in line
                       and line.lstrip().startswith("0 "))
            self.assertEqual([row.split()[i] for i in (2, 5, 6)], ["-", "-", "-"], row)

    def test_json_is_printed_for_errors_too(self) -> None:
        none = self.directory / "none"
        for arguments in (["ingest", none, "--out", self.out], ["inspect", none], ["verify", none],
                          ["merge", none], ["compact", none], ["compact", "--store", none],
                          ["materialize", none, "--out", self.directory / "o"],
                          ["repair", none], ["doctor", none], ["ls", none], ["du", none],
                          ["rm", none], ["fork", none, self.out], ["recover", none],
                          ["pause", "--api", none, "--store", self.store, "--name", "a"],
                          ["resume", "--api", none, "--store", none, "--name", "a"]):
            with self.subTest(arguments=arguments), self.unchanged():
                outcome = lamina(*arguments, "--json")
                self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
                self.assertEqual(outcome.json["message_type"], "error")
                self.assertEqual(outcome.json["exit_code"], EXIT_NOT_FOUND)
                self.assertIn(str(none), outcome.json["message"])
                self.assert_one_error_line(outcome, [none])

    def test_an_unwritable_result_is_a_failure_with_a_message(self) -> None:
        with open("/dev/full", "w", encoding="ascii") as full:
            for arguments in (["inspect", self.snapshot], ["inspect", self.snapshot, "--json"]):
                outcome = lamina(*arguments, stdout=full)
                self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                self.assert_one_error_line(outcome)


if __name__ == "__main__":
    main()
