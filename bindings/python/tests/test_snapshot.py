"""The reader of snapshots: wrenn's directories, those that lamina makes, and damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from typing import Tuple

from support import DATA, HAVE_LAMINA, ROOT

import memory_files
from lamina import CorruptError, LaminaError, NotFoundError, Snapshot, UsageError, xxh3
from lamina.blocks import BLOCK_BYTES
from memory_files import GuestMemory, LaminaTest, change_memory, random_memory, random_page

sys.path.append(str(ROOT / "tests" / "vectors"))
import test_vectors as vectors


class WrennTest(unittest.TestCase):
    """Version 1 headers and layers without checksums, as wrenn wrote them."""

    def setUp(self) -> None:
        vectors.CASES.update({case["name"]: case for case in json.loads(
            (DATA / "original_v1.json").read_text())["cases"]})
        directory = tempfile.TemporaryDirectory(prefix="lamina-python-")
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)

    def write(self, case: vectors.Case) -> Path:
        """The directory of a case."""
        snapshot = self.root / case.name
        snapshot.mkdir()
        (snapshot / "memfile.header").write_bytes(case.header)
        for layer in [case, *case.parents()]:
            name = "memfile." + vectors.uuid_text(layer.fixed["build"])
            (snapshot / name).write_bytes(layer.layer_data())
        return snapshot

    def test_memory_is_what_wrenn_resolved(self) -> None:
        for name in vectors.CASES:
            with self.subTest(name):
                case = vectors.Case(name)
                path = self.write(case)
                with Snapshot.open(path) as snapshot:
                    memory = snapshot.read(0, snapshot.memory_bytes)
                    self.assertEqual(hashlib.sha256(memory).hexdigest(),
                                     case.expected["resolved_memory_sha256"])
                    self.assertEqual((snapshot.header_format, snapshot.generation,
                                      snapshot.pause_id, snapshot.created, snapshot.vmstate()),
                                     ("v1", case.expected["generation"], snapshot.build_id, None,
                                      None))
                    self.assertFalse(any(layer.has_checksums for layer in snapshot.layers()))
                    self.assertEqual(sum(extent.length for extent in snapshot.extents()),
                                     snapshot.memory_bytes)
                shutil.rmtree(path)

    def test_the_only_layer_may_have_its_old_name(self) -> None:
        case = vectors.Case("full_dense")
        path = self.write(case)
        layer, = path.glob("memfile.*-*")
        layer.rename(path / "memfile")
        with Snapshot.open(path) as snapshot:
            self.assertEqual(hashlib.sha256(snapshot.read(0, snapshot.memory_bytes)).hexdigest(),
                             case.expected["resolved_memory_sha256"])

    def test_a_layer_that_ends_early_is_refused(self) -> None:
        path = self.write(vectors.Case("full_dense"))
        layer, = path.glob("memfile.*-*")
        os.truncate(layer, layer.stat().st_size - BLOCK_BYTES)
        with self.assertRaises(CorruptError) as caught:
            Snapshot.open(path)
        self.assertIn("past its data's end", str(caught.exception))

    def test_what_is_not_a_snapshot_is_refused(self) -> None:
        file = self.root / "file"
        file.write_bytes(b"x")
        for path, error in ((self.root / "none", NotFoundError), (file / "below", NotFoundError),
                            (file, UsageError), (self.root, NotFoundError)):
            with self.subTest(path), self.assertRaises(error):
                Snapshot.open(path)
        os.mkfifo(self.root / "memfile.header")
        with self.assertRaises(LaminaError) as caught:
            Snapshot.open(self.root)
        self.assertIn("is not a file", str(caught.exception))

    def test_symbolic_links_are_not_followed(self) -> None:
        path = self.write(vectors.Case("full_dense"))
        layer, = path.glob("memfile.*-*")
        layer.rename(self.root / "elsewhere")
        layer.symlink_to(self.root / "elsewhere")
        with self.assertRaises(LaminaError) as caught:
            Snapshot.open(path)
        self.assertIn(layer.name, str(caught.exception))


@unittest.skipUnless(HAVE_LAMINA, "LAMINA is not set to the path of the program")
class WrittenTest(LaminaTest):
    """Snapshots that lamina wrote."""

    def memory_of(self, path: Path) -> bytes:
        """All that the reader reads."""
        with Snapshot.open(path) as snapshot:
            return snapshot.read(0, snapshot.memory_bytes)

    def chain(self, size_bytes: int, *options: str) -> Tuple[Path, GuestMemory]:
        """A snapshot of three layers."""
        memory = random_memory(self.rng, size_bytes)
        path = self.ingest_full(memory, "s0", *options)
        for number in (1, 2):
            dirty = change_memory(self.rng, memory, balloon_pages=5)
            path = self.ingest_diff(memory, dirty, path, f"s{number}", *options)
        return path, memory

    def test_memory_is_read_from_every_kind_of_header_and_layer(self) -> None:
        for header in ("native", "v1", "v3"):
            for layout in ("compact", "adopt"):
                with self.subTest(header=header, layout=layout):
                    store = self.store
                    self.store = self.directory / f"{header}-{layout}"
                    self.store.mkdir()
                    path, memory = self.chain(3 * (1 << 20) + 1234, "--header", header,
                                              "--layout", layout)
                    self.assert_memory(self.memory_of(path), memory)
                    self.check_against_inspect(path)
                    self.done("merge", path)
                    self.assert_memory(self.memory_of(path), memory)
                    self.check_against_inspect(path)
                    self.store = store

    def check_against_inspect(self, path: Path) -> None:
        """Everything that lamina says about the snapshot is what the reader says."""
        info = self.done("inspect", path, "--json", "--extents").json
        with Snapshot.open(path) as snapshot:
            self.assertEqual(
                (snapshot.header_format, str(snapshot.pause_id), str(snapshot.build_id),
                 str(snapshot.base_build_id), snapshot.generation, snapshot.memory_bytes,
                 snapshot.created, snapshot.parent_pause_id and str(snapshot.parent_pause_id)),
                tuple(info[name] for name in (
                    "header", "pause_id", "build_id", "base_build_id", "generation",
                    "memory_bytes", "created", "parent_pause_id")))
            self.assertEqual(
                [(str(layer.build_id), layer.layout, layer.has_checksums, layer.file_bytes)
                 for layer in snapshot.layers()],
                [tuple(layer[name] for name in ("build_id", "layout", "checksums", "file_bytes"))
                 for layer in info["layers"]])
            self.assertEqual(
                [(e.offset, e.offset + e.length, e.build_id and str(e.build_id),
                  e.storage_offset if e.build_id else 0) for e in snapshot.extents()],
                [(e["offset"], min(e["offset"] + e["length"], snapshot.memory_bytes),
                  e["build_id"], e["storage_offset"]) for e in info["extents"]])

    def test_ranges_of_any_alignment_are_read(self) -> None:
        path, memory = self.chain(1 << 20)
        whole = memory.contents()
        with Snapshot.open(path) as snapshot:
            rng = random.Random(self.id())
            for _ in range(300):
                offset = rng.randrange(len(whole) + 1)
                length = rng.randrange(min(len(whole) - offset, 70_000) + 1)
                self.assertEqual(snapshot.read(offset, length), whole[offset:offset + length])
                buffer = bytearray(length)
                snapshot.read_into(offset, buffer)
                self.assertEqual(buffer, whole[offset:offset + length])
            for offset, length in ((-1, 1), (0, -1), (len(whole), 1), (0, len(whole) + 1)):
                with self.assertRaises(UsageError):
                    snapshot.read(offset, length)
            self.assertEqual(snapshot.read(len(whole), 0), b"")
        with self.assertRaises(UsageError):
            snapshot.read(0, 1)
        snapshot.close()

    def test_without_the_library_of_xxhash_the_same_is_read(self) -> None:
        path, memory = self.chain(1 << 20)
        with unittest.mock.patch.object(xxh3, "_load_library", return_value=None), \
                unittest.mock.patch.object(xxh3, "_chosen", xxh3._Chosen()):
            self.assert_memory(self.memory_of(path), memory)
            layer = next(path.glob("memfile.*-*"))
            with Snapshot.open(path) as snapshot:
                extent = next(one for one in snapshot.extents() if one.build_id is not None
                              and str(one.build_id) in layer.name)
            data = bytearray(layer.read_bytes())
            data[extent.storage_offset + 17] ^= 1
            layer.unlink()
            layer.write_bytes(data)
            with Snapshot.open(path) as snapshot, self.assertRaises(CorruptError):
                snapshot.read(extent.offset, 1)

    def test_an_open_snapshot_is_read_after_it_was_removed(self) -> None:
        path, memory = self.chain(1 << 20)
        with Snapshot.open(path) as snapshot:
            self.done("merge", path)
            self.done("rm", path)
            self.assert_memory(snapshot.read(0, snapshot.memory_bytes), memory)
        with self.assertRaises(NotFoundError):
            Snapshot.open(path)

    def test_a_snapshot_that_is_replaced_while_it_is_opened_is_opened_anew(self) -> None:
        path, memory = self.chain(1 << 20)
        read_header = Snapshot._read_header
        merges: list[int] = []

        def merge_after_header(snapshot: Snapshot, directory: int, facts: object) -> object:
            header = read_header(snapshot, directory, facts)  # type: ignore[arg-type]
            if not merges:
                merges.append(1)
                self.done("merge", path)  # the old directory, with its layers, is removed
            return header
        with unittest.mock.patch.object(Snapshot, "_read_header", merge_after_header):
            self.assert_memory(self.memory_of(path), memory)
        with Snapshot.open(path) as snapshot:
            self.assertEqual(len(snapshot.layers()), 1)

    def test_no_descriptor_is_left_open(self) -> None:
        path, _ = self.chain(1 << 20)
        before = os.listdir("/proc/self/fd")
        Snapshot.open(path).close()
        next(path.glob("memfile.*-*")).unlink()
        with self.assertRaises(NotFoundError):
            Snapshot.open(path)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_the_vm_state_is_compared_with_its_digest(self) -> None:
        for header in ("native", "v1"):
            with self.subTest(header):
                state = self.directory / "state"
                state.write_bytes(self.rng.randbytes(5000))
                path = self.ingest_full(random_memory(self.rng, 1 << 16), f"with-{header}",
                                        "--header", header, "--vmstate", str(state))
                with Snapshot.open(path) as snapshot:
                    self.assertEqual(snapshot.vmstate(), state.read_bytes())
                memory_files.flip(path / "snapfile")
                with Snapshot.open(path) as snapshot, self.assertRaises(CorruptError):
                    snapshot.vmstate()
                (path / "snapfile").unlink()
                with Snapshot.open(path) as snapshot, self.assertRaises(NotFoundError):
                    snapshot.vmstate()

    def test_a_header_that_was_never_written_whole_is_refused(self) -> None:
        path, _ = self.chain(1 << 20)
        os.truncate(path / "memfile.header", 1 << 40)
        with self.assertRaises(CorruptError) as caught:
            Snapshot.open(path)
        self.assertIn("has a hole", str(caught.exception))


@unittest.skipUnless(HAVE_LAMINA, "LAMINA is not set to the path of the program")
class DamageTest(LaminaTest):
    """Files of a small snapshot, damaged in every way: a clean error or the right bytes."""

    def small(self, name: str, *options: str) -> Tuple[Path, bytes]:
        """A snapshot of two layers with two and one blocks, of five, and a VM state."""
        memory = GuestMemory(5 * BLOCK_BYTES - 100)
        for page in (1, 3):
            memory.write(page, random_page(self.rng))
        state = self.directory / "state"
        state.write_bytes(b"some state")
        self.ingest_full(memory, f"base-{name}", *options)
        memory.write(3, random_page(self.rng))
        memory.clear(4)
        path = self.ingest_diff(memory, [3, 4], self.store / f"base-{name}", name, *options,
                                "--vmstate", str(state))
        # Files of its own: damage must not reach the base through a link.
        copy = self.directory / f"copy-{name}"
        shutil.copytree(path, copy)
        return copy, memory.contents()

    def outcome(self, path: Path, expected: bytes) -> bool:
        """True: right bytes; False: a clean error. Wrong bytes and other exceptions fail."""
        try:
            with Snapshot.open(path) as snapshot:
                found = snapshot.read(0, snapshot.memory_bytes)
                state = snapshot.vmstate()
        except (CorruptError, NotFoundError):
            return False
        self.assertTrue(found == expected, "wrong bytes")
        self.assertIn(state, (b"some state", None))
        return True

    @staticmethod
    def end_of_data(path: Path, file: Path) -> int:
        """Where the trailer of a layer begins; 0 for another file."""
        with Snapshot.open(path) as snapshot:
            data_bytes = {layer.path: layer.data_bytes for layer in snapshot.layers()}
        return data_bytes.get(str(file), 0)

    def check_file(self, path: Path, file: Path, expected: bytes, step: int) -> None:
        """Truncations, and flipped bytes: all of the metadata, each `step`th byte of the data."""
        whole = file.read_bytes()
        end = self.end_of_data(path, file)
        places = [*range(0, end, step), *range(end, len(whole))]
        unnoticed = []
        for at in [*reversed(range(end, len(whole))), *reversed(range(0, end, 301))]:
            os.truncate(file, at)
            # snapshot.json ends with a newline that nobody misses.
            if self.outcome(path, expected) and at != len(whole) - 1:
                self.fail(f"{file.name} of {at} bytes is taken for whole")
        file.write_bytes(whole)
        with file.open("r+b") as damaged:
            for at in places:
                os.pwrite(damaged.fileno(), bytes([whole[at] ^ 1 << at % 8]), at)
                if self.outcome(path, expected):
                    unnoticed.append(at)
                os.pwrite(damaged.fileno(), whole[at:at + 1], at)
        self.assertTrue(self.outcome(path, expected))
        self.assertLess(len(unnoticed), len(places), file.name)
        # A layer has blocks that were superseded, and holes; snapshot.json has text on which
        # nothing depends.
        if file.name != "snapshot.json":
            self.assertEqual([at for at in unnoticed if at >= end], [], file.name)

    def test_truncations_and_flipped_bytes_are_errors_or_harmless(self) -> None:
        for number, (step, *options) in enumerate((
                (1, "--layout", "compact"), (301, "--layout", "adopt"),
                (301, "--header", "v1", "--layout", "compact"))):
            with self.subTest(options):
                path, expected = self.small(f"s{number}", *options)
                self.assertTrue(self.outcome(path, expected))
                for file in sorted(path.iterdir()):
                    self.check_file(path, file, expected, step)

    def test_a_missing_file_is_named(self) -> None:
        path, _ = self.small("small")
        for file in sorted(path.iterdir()):
            if file.name in ("snapshot.json", "snapfile"):
                continue
            with self.subTest(file.name):
                data = file.read_bytes()
                file.unlink()
                with self.assertRaises(NotFoundError) as caught:
                    Snapshot.open(path)
                self.assertIn(file.name, str(caught.exception))
                file.write_bytes(data)

    def test_layers_that_were_exchanged_are_noticed(self) -> None:
        path, _ = self.small("small")
        first, second = sorted(path.glob("memfile.*-*"))
        first.rename(path / "x")
        second.rename(first)
        (path / "x").rename(second)
        with self.assertRaises(CorruptError) as caught:
            Snapshot.open(path)
        self.assertIn("holds build", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
