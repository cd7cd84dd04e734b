"""Lost headers: what `lamina repair` rebuilds from the layers is exact, or it refuses."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from memory_files import (EXIT_CORRUPT, EXIT_NOT_FOUND, GuestMemory, LaminaTest, PAGE_BYTES,
                          SANITIZED, change_memory, flip, lamina, layers_of, main, random_memory,
                          random_page, some_of)
from mounts import ext4_in_memory

MEMORY_BYTES = 120 * PAGE_BYTES + 100
HEADER = "memfile.header"
FACTS = "snapshot.json"


def delete(path: Path) -> None:
    """The file is gone."""
    path.unlink()


def truncate(path: Path) -> None:
    """The file was cut in its middle."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """The file has no bytes, as after a crash of a file system that lost them."""
    os.truncate(path, 0)


DAMAGES: tuple[Callable[[Path], None], ...] = (delete, truncate, flip, empty)


class RepairTest(LaminaTest):
    """Builds chains of several shapes."""

    # Options of every ingest.
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.directory = ext4_in_memory(self, self.directory)
        self.store = self.directory / "store"
        self.store.mkdir(exist_ok=True)
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=0.7)

    def full_only(self) -> Path:
        """One layer."""
        return self.ingest_full(self.memory, "full", *self.options)

    def chain(self, length: int = 4) -> Path:
        """Several layers, all in use, with zeros over the data of the base."""
        parent = self.ingest_full(self.memory, "c0", *self.options)
        for number in range(1, length):
            dirty = change_memory(self.rng, self.memory, writes=6, clears=4, balloon_pages=5)
            parent = self.ingest_diff(self.memory, dirty, parent, f"c{number}", *self.options)
        return parent

    def chain_with_superseded_layers(self) -> Path:
        """The middle layers are written over in full and are in no header any more."""
        parent = self.ingest_full(self.memory, "s0", *self.options)
        for number in range(1, 5):
            for page in (7, 8, 9, 30):
                self.memory.write(page, random_page(self.rng))
            parent = self.ingest_diff(self.memory, [7, 8, 9, 30], parent, f"s{number}",
                                      *self.options)
        self.assertEqual(len(layers_of(parent)), 2)
        return parent

    def superseded_by_zeros(self) -> Path:
        """What the middle layer stored was cleared later, so nothing of it is left."""
        parent = self.ingest_full(self.memory, "z0", *self.options)
        for page in (3, 4):
            self.memory.write(page, random_page(self.rng))
        parent = self.ingest_diff(self.memory, [3, 4], parent, "z1", *self.options)
        for page in (3, 4):
            self.memory.clear(page)
        parent = self.ingest_diff(self.memory, [3, 4], parent, "z2", *self.options)
        self.memory.write(50, random_page(self.rng))
        return self.ingest_diff(self.memory, [50], parent, "z3", *self.options)

    def empty_diff(self) -> Path:
        """The youngest layer stores nothing."""
        return self.ingest_diff(self.memory, [], self.chain(3), "empty", *self.options)

    def fully_merged(self) -> Path:
        """One merged layer."""
        snapshot = self.chain()
        self.done("merge", snapshot)
        return snapshot

    def partly_merged(self) -> Path:
        """The youngest layers are merged, and so were others before."""
        snapshot = self.chain(5)
        self.done("merge", snapshot, "--layers", "2")
        dirty = change_memory(self.rng, self.memory, clears=6)
        snapshot = self.ingest_diff(self.memory, dirty, snapshot, "after", *self.options)
        self.done("merge", snapshot, "--layers", "3")
        return snapshot

    def diff_over_a_merge(self) -> Path:
        """A diff whose parent is a merged layer."""
        parent = self.fully_merged()
        dirty = change_memory(self.rng, self.memory, clears=6)
        return self.ingest_diff(self.memory, dirty, parent, "over", *self.options)

    @property
    def shapes(self) -> tuple[Callable[[], Path], ...]:
        """All of them."""
        return (self.full_only, self.chain, self.chain_with_superseded_layers,
                self.superseded_by_zeros, self.empty_diff, self.fully_merged, self.partly_merged,
                self.diff_over_a_merge)


def flip_digest(path: Path) -> None:
    """One byte of the header's digest is another. Most other fields of the facts have no checksum."""
    data = bytearray(path.read_bytes())
    data[data.index(b'"xxh3_128": "') + 20] ^= 0x40
    path.write_bytes(data)


class LostHeader(RepairTest):
    """Native headers, compact layers."""

    def test_a_lost_or_damaged_header_is_rebuilt_exactly(self) -> None:
        for number, shape in enumerate(self.shapes):
            self.new_store(shape.__name__)
            original = shape()
            damages = itertools.product(DAMAGES, (None, delete, flip_digest))
            # Of a sanitized program, other ones for each shape.
            first = number % 4 if SANITIZED else 0
            for damage, facts_damage in some_of(itertools.islice(damages, first, None), 5):
                with self.subTest(shape=shape.__name__, damage=damage.__name__,
                                  facts=facts_damage and facts_damage.__name__):
                    self.check_repair(original, damage, facts_damage)

    def new_store(self, name: str) -> None:
        """An empty store and other memory."""
        self.store = self.directory / name
        self.store.mkdir()
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=0.7)

    def check_repair(self, original: Path, damage: Callable[[Path], None],
                     facts_damage: Callable[[Path], None] | None) -> None:
        """Damages a copy of `original` and lets it be repaired."""
        snapshot = self.copy_of(original)
        damage(snapshot / HEADER)
        if facts_damage is not None:
            facts_damage(snapshot / FACTS)
        self.assertNotEqual(lamina("inspect", snapshot).code, 0, "the damage was not noticed")
        report = self.done("repair", snapshot, "--json").json
        self.assertTrue(report["header_rebuilt"])
        self.assertEqual(report["facts_rebuilt"], facts_damage is not None)
        self.assert_resolves_to(snapshot, self.memory)
        self.assert_store_is_clean()
        before, after = (self.done("inspect", path, "--json", "--extents").json
                         for path in (original, snapshot))
        same = ["build_id", "memory_bytes", "zero_blocks", "extents"]
        if before["header"] == "native" or facts_damage is None:
            same += ["pause_id", "generation"]
        if facts_damage is None:
            same += ["header", "parent_pause_id", "created"]
        self.assertEqual({key: before[key] for key in same}, {key: after[key] for key in same})
        with self.unchanged(snapshot):
            again = self.done("repair", snapshot, "--json").json
        self.assertEqual((again["header_rebuilt"], again["facts_rebuilt"]), (False, False))
        shutil.rmtree(snapshot)

    def copy_of(self, original: Path) -> Path:
        """A snapshot with the same files."""
        snapshot = original.with_name("damaged")
        snapshot.mkdir()
        for file in original.iterdir():
            if file.name in (HEADER, FACTS, "snapfile"):
                shutil.copy(file, snapshot)
            else:
                os.link(file, snapshot / file.name)
        return snapshot


class LostHeaderOfAdoptedLayers(LostHeader):
    """The same with memory files that became layers."""

    options = ("--layout", "adopt")


class LostHeaderOfVersion1(LostHeader):
    """The same with the header of wrenn's snapshot package, which has no checksum."""

    options = ("--header", "v1")

    def check_repair(self, original: Path, damage: Callable[[Path], None],
                     facts_damage: Callable[[Path], None] | None) -> None:
        if damage is flip and facts_damage is not None:
            return  # without its digest a flip need not be noticed
        super().check_repair(original, damage, facts_damage)


class LostHeaderOfVersion3(LostHeaderOfVersion1):
    """The same with version number 3."""

    options = ("--header", "v3", "--layout", "adopt")


class LostFacts(RepairTest):
    """snapshot.json alone."""

    def test_lost_facts_are_rebuilt_and_the_memory_stays(self) -> None:
        for header in ("native", "v1"):
            self.options = ("--header", header)
            self.memory = random_memory(self.rng, MEMORY_BYTES)
            self.store = self.directory / header
            self.store.mkdir()
            snapshot = self.chain()
            pause_id = self.done("inspect", snapshot, "--json").json["pause_id"]
            for damage in (delete, truncate, empty):
                with self.subTest(header=header, damage=damage.__name__):
                    damage(snapshot / FACTS)
                    report = self.done("repair", snapshot, "--json").json
                    self.assertEqual((report["header_rebuilt"], report["facts_rebuilt"]),
                                     (False, True))
                    self.assert_resolves_to(snapshot, self.memory)
                    info = self.done("inspect", snapshot, "--json").json
                    self.assertEqual(info["pause_id"], pause_id)

    def test_the_vm_state_is_kept_and_checked_after_a_repair(self) -> None:
        state = self.directory / "state"
        state.write_bytes(b"registers" * 50)
        self.options = ("--vmstate", str(state))
        snapshot = self.full_only()
        (snapshot / HEADER).unlink()
        self.done("repair", snapshot)
        self.done("verify", snapshot)
        flip(snapshot / "snapfile")
        self.assertEqual(lamina("verify", snapshot).code, EXIT_CORRUPT)


class Refused(RepairTest):
    """What cannot be proven right is not written."""

    def refuses(self, code: int, snapshot: Path, *names: str) -> None:
        """Repair must fail and change nothing."""
        with self.unchanged():
            self.refused(code, "repair", snapshot, names=[*names])

    def test_a_missing_layer_is_named_and_nothing_is_rebuilt(self) -> None:
        for shape in (self.chain, self.chain_with_superseded_layers, self.partly_merged,
                      self.diff_over_a_merge):
            self.store = self.directory / shape.__name__
            self.store.mkdir()
            self.memory = random_memory(self.rng, MEMORY_BYTES)
            snapshot = shape()
            layers = layers_of(snapshot)
            (snapshot / HEADER).unlink()
            for layer in layers[:-1]:
                with self.subTest(shape=shape.__name__, layer=layers.index(layer)):
                    aside = layer.rename(self.directory / "aside")
                    self.refuses(EXIT_NOT_FOUND, snapshot, str(snapshot), layer.name[-36:])
                    aside.rename(layer)
            self.done("repair", snapshot)
            self.assert_resolves_to(snapshot, self.memory)

    def test_an_altered_v1_header_is_not_certified(self) -> None:
        """Without its digest, only the trailers can tell that a record was made zeros."""
        self.options = ("--header", "v1")
        snapshot = self.chain()
        (snapshot / FACTS).unlink()
        header = bytearray((snapshot / HEADER).read_bytes())
        record = next(at for at in range(64, len(header), 40) if any(header[at + 16:at + 32]))
        header[record + 16:record + 40] = bytes(24)
        (snapshot / HEADER).write_bytes(header)
        self.refuses(EXIT_CORRUPT, snapshot, "different memory")

    def test_new_facts_fit_a_v1_header_that_another_program_wrote(self) -> None:
        """A record in two pieces means the same; the digest is of the bytes that are there."""
        self.options = ("--header", "v1")
        snapshot = self.chain()
        (snapshot / FACTS).unlink()
        header = (snapshot / HEADER).read_bytes()
        records = [header[at:at + 40] for at in range(64, len(header), 40)]
        at = next(i for i, record in enumerate(records)
                  if struct.unpack_from("<Q", record, 8)[0] > PAGE_BYTES and any(record[16:32]))
        offset, length = struct.unpack_from("<2Q", records[at])
        (storage,) = struct.unpack_from("<Q", records[at], 32)
        build = records[at][16:32]
        records[at:at + 1] = [
            struct.pack("<2Q", offset, PAGE_BYTES) + build + struct.pack("<Q", storage),
            struct.pack("<2Q", offset + PAGE_BYTES, length - PAGE_BYTES) + build
            + struct.pack("<Q", storage + PAGE_BYTES)]
        (snapshot / HEADER).write_bytes(header[:64] + b"".join(records))
        self.done("repair", snapshot)
        self.assert_resolves_to(snapshot, self.memory)

    def test_a_vm_state_is_not_given_to_the_pause_before_it(self) -> None:
        """Header, facts and the youngest layer are lost; the VM state is there."""
        snapshot = self.chain()
        youngest = layers_of(snapshot)[-1]
        for lost in (snapshot / HEADER, snapshot / FACTS, youngest):
            lost.unlink()
        (snapshot / "snapfile").write_bytes(b"state")
        self.refuses(EXIT_CORRUPT, snapshot, "snapfile")

    def test_new_facts_are_not_written_while_a_layer_is_missing(self) -> None:
        snapshot = self.chain()
        (snapshot / FACTS).unlink()
        layers_of(snapshot)[0].unlink()
        self.refuses(EXIT_NOT_FOUND, snapshot, "missing")

    def test_without_the_youngest_layer_nothing_is_rebuilt(self) -> None:
        """The older ones are a valid state, but not this snapshot's: snapshot.json says so."""
        snapshot = self.chain()
        youngest = layers_of(snapshot)[-1]
        youngest.unlink()
        (snapshot / HEADER).unlink()
        self.refuses(EXIT_NOT_FOUND, snapshot, str(snapshot), youngest.name[-36:])

    def test_without_layers_nothing_is_rebuilt(self) -> None:
        snapshot = self.chain()
        for layer in layers_of(snapshot):
            layer.unlink()
        (snapshot / HEADER).unlink()
        (snapshot / FACTS).unlink()
        self.refuses(EXIT_NOT_FOUND, snapshot, str(snapshot))

    def test_a_missing_layer_under_a_good_header_is_named(self) -> None:
        snapshot = self.chain()
        missing = layers_of(snapshot)[1]
        missing.unlink()
        self.refuses(EXIT_NOT_FOUND, snapshot, missing.name)

    def test_a_damaged_layer_is_corrupt_and_nothing_is_rebuilt(self) -> None:
        snapshot = self.chain()
        layers = layers_of(snapshot)
        (snapshot / HEADER).unlink()
        for layer in layers:
            for damage, words in ((self.flip_footer, "footer does not match"),
                                  (self.flip_trailer, "checksums do not match"),
                                  (self.cut_one_byte, "has no trailer"), (empty, "has no trailer")):
                with self.subTest(layer=layers.index(layer), damage=damage.__name__):
                    aside = self.directory / "aside"
                    layer.rename(aside)
                    shutil.copy(aside, layer)
                    damage(layer)
                    self.refuses(EXIT_CORRUPT, snapshot, str(layer), words)
                    aside.replace(layer)

    @staticmethod
    def flip_footer(path: Path) -> None:
        """One byte of the fixed footer."""
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)

    @staticmethod
    def flip_trailer(path: Path) -> None:
        """One byte of the trailer before the footer: a checksum."""
        data = bytearray(path.read_bytes())
        data[-258] ^= 1
        path.write_bytes(data)

    @staticmethod
    def cut_one_byte(path: Path) -> None:
        """The last byte is gone."""
        os.truncate(path, path.stat().st_size - 1)

    def foreign(self, memory: GuestMemory, name: str) -> Path:
        """The only layer of another snapshot."""
        other = self.ingest_full(memory, name)
        return layers_of(other)[0]

    def test_a_foreign_layer_in_the_directory_is_refused(self) -> None:
        for facts in (True, False):
            with self.subTest(facts=facts):
                self.store = self.directory / f"facts-{facts}"
                self.store.mkdir()
                snapshot = self.chain()
                stray = self.foreign(random_memory(self.rng, MEMORY_BYTES), "stranger")
                os.link(stray, snapshot / stray.name)
                (snapshot / HEADER).unlink()
                if not facts:
                    (snapshot / FACTS).unlink()
                self.refuses(EXIT_CORRUPT, snapshot, str(snapshot))

    def test_a_childs_layer_in_the_directory_is_refused(self) -> None:
        """The child's state is valid in itself, but it is another pause: snapshot.json says so."""
        snapshot = self.chain()
        child_memory = self.memory.copy()
        dirty = change_memory(self.rng, child_memory)
        child = self.ingest_diff(child_memory, dirty, snapshot, "child")
        stray = layers_of(child)[-1]
        os.link(stray, snapshot / stray.name)
        (snapshot / HEADER).unlink()
        self.refuses(EXIT_CORRUPT, snapshot, str(snapshot), "5 layers, but snapshot.json names 4")

    def test_a_siblings_layer_in_a_merged_directory_is_refused(self) -> None:
        """A sibling names the merged base as its own, yet was never over the merged state."""
        for facts in (True, False):
            with self.subTest(facts=facts):
                self.store = self.directory / f"fork-{facts}"
                self.store.mkdir()
                self.memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
                base = self.full_only()
                fork_memory = self.memory.copy()
                dirty = change_memory(self.rng, fork_memory, clears=0)
                fork = self.ingest_diff(fork_memory, dirty, base, "fork")
                dirty = change_memory(self.rng, self.memory, clears=0)
                snapshot = self.ingest_diff(self.memory, dirty, base, "vm")
                self.done("merge", snapshot)
                stray = layers_of(fork)[-1]
                os.link(stray, snapshot / stray.name)
                (snapshot / HEADER).unlink()
                if not facts:
                    (snapshot / FACTS).unlink()
                self.refuses(EXIT_CORRUPT, snapshot, str(snapshot), stray.name[-36:],
                             "both look like the youngest")

    def test_layers_that_were_merged_away_in_the_directory_are_refused(self) -> None:
        snapshot = self.chain()
        merged_away = [self.directory / layer.name for layer in layers_of(snapshot)]
        for layer, aside in zip(layers_of(snapshot), merged_away):
            os.link(layer, aside)
        self.done("merge", snapshot, "--layers", "3")
        for aside in merged_away[1:]:
            os.link(aside, snapshot / aside.name)
        (snapshot / HEADER).unlink()
        self.refuses(EXIT_CORRUPT, snapshot, str(snapshot), "5 layers, but snapshot.json names 2")


if __name__ == "__main__":
    main()
