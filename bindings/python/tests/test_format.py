"""Headers, trailers and snapshot.json: golden files, and every truncation and flipped byte."""

from __future__ import annotations

import json
import struct
import unittest
import uuid
from typing import Callable, Iterator, List, Tuple

from support import DATA

from lamina import CorruptError
from lamina.blocks import BLOCK_BYTES, NIL, FileDigest, LayerFact, blocks_for
from lamina.facts import decode_facts
from lamina.header import Header, decode_header
from lamina.trailer import FOOTER_BYTES, Trailer, decode_footer
from lamina.trailer import decode_trailer as decode_trailer_of
from lamina.xxh3 import digest64

BASE = uuid.UUID("11111111-1111-4111-8111-111111111111")
DIFF = uuid.UUID("22222222-2222-4222-8222-222222222222")
PAUSE = uuid.UUID("33333333-3333-4333-8333-333333333333")
HEADER = (DATA / "header_native_v1.bin").read_bytes()
COMPACT_HEADER = (DATA / "header_native_compact_v1.bin").read_bytes()
COMPACT_KINDS = (DATA / "header_native_compact_kinds_v1.bin").read_bytes()
TRAILER = (DATA / "trailer_v2.bin").read_bytes()
TRAILER_FILE_BYTES = 2 * BLOCK_BYTES + len(TRAILER)
V1_CASES = json.loads((DATA / "original_v1.json").read_text())["cases"]
FACTS = {
    "version": 1, "pause_id": str(PAUSE), "build_id": str(DIFF), "created": "2026-12-01T00:00:00Z",
    "generation": 1, "memory_bytes": 32768, "header_format": "native",
    "header": {"bytes": 370, "xxh3_128": "00112233445566778899aabbccddeeff"},
    "layers": [{"build_id": str(BASE), "checksums": True},
               {"build_id": str(DIFF), "checksums": True}],
    "origin": {"vmm_version": "1.7.0"}, "added_later": [1, 2, 3],
}


def extents_of(header: Header) -> List[Tuple[int, int, int, int]]:
    """Start, end, layer number and storage block of each extent."""
    table = header.extents
    return [(table.starts[i], table.end(i), table.layers[i], table.storage[i])
            for i in range(len(table))]


def decode_trailer(data: bytes, file_bytes: int = TRAILER_FILE_BYTES) -> Trailer:
    """A trailer from its bytes, the way that a layer's is read."""
    footer = decode_footer(data[-FOOTER_BYTES:], file_bytes)
    if footer is None:
        raise CorruptError("no trailer")
    return decode_trailer_of(data, footer)


def flips(data: bytes) -> Iterator[bytes]:
    """Every byte of `data` changed, one at a time."""
    for at in range(len(data)):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]


class FormatTest(unittest.TestCase):
    """The decoders."""

    def all_refused(self, decode: Callable[[bytes], object], inputs: Iterator[bytes]) -> None:
        """Every input is CorruptError."""
        for number, data in enumerate(inputs):
            with self.subTest(number), self.assertRaises(CorruptError):
                decode(data)

    def test_the_golden_native_header_is_decoded(self) -> None:
        header = decode_header(HEADER)
        self.assertEqual((header.format, header.pause_id, header.build_id, header.base_build_id),
                         ("native", PAUSE, DIFF, BASE))
        self.assertEqual((header.memory_bytes, header.generation, header.vmstate), (32768, 1, None))
        self.assertEqual(header.layers, (LayerFact(BASE, True, 5), LayerFact(DIFF, True, 2)))
        self.assertEqual(extents_of(header), [(0, 2, 1, 0), (2, 4, 2, 0), (4, 5, 0, 0),
                                              (5, 6, 1, 4), (6, 8, 0, 0)])

    def test_the_golden_header_with_compact_extents_is_the_same(self) -> None:
        self.assertEqual(decode_header(COMPACT_HEADER), decode_header(HEADER))

    def test_every_kind_of_compact_extent_is_decoded(self) -> None:
        self.assertEqual(extents_of(decode_header(COMPACT_KINDS)),
                         [(0, 10, 1, 0), (10, 310, 0, 0), (310, 565, 2, 310), (565, 570, 1, 10),
                          (570, 600, 2, 570), (600, 856, 1, 20), (856, 857, 62, 90000),
                          (857, 858, 63, 255), (858, 860, 70, 256), (860, 2000, 70, 0)])

    def test_every_damage_of_compact_extents_is_refused(self) -> None:
        self.all_refused(decode_header, (COMPACT_HEADER[:n] for n in range(len(COMPACT_HEADER))))
        self.all_refused(decode_header, iter([COMPACT_HEADER + b"\0"]))
        self.all_refused(decode_header, flips(COMPACT_HEADER))

    def test_invalid_compact_extents_are_refused(self) -> None:
        # Behind right checksums, that is: from a program with a fault, or an attacker.
        def header(count: int, *section: int) -> bytes:
            data = bytearray(COMPACT_HEADER[:320]) + bytes(section)
            struct.pack_into("<Q", data, 16, len(data))
            struct.pack_into("<I", data, 100, count)
            struct.pack_into("<Q", data, 112, digest64(bytes(section)))
            struct.pack_into("<Q", data, 144, len(section))
            struct.pack_into("<Q", data, 248, digest64(bytes(data[:248])))
            return bytes(data)

        self.assertEqual(extents_of(decode_header(header(2, 4, 0, 5, 3))),
                         [(0, 5, 1, 0), (5, 8, 0, 0)])
        self.all_refused(decode_header, iter([
            header(3, 4, 0, 5, 3), header(0xFFFFFFFF, 4, 0, 5, 3), header(2, 12, 0, 5, 3),
            header(2, 252, 0, 5, 3, 3, 0), header(2, 4, 1, 5, 3), header(2, 4, 252, 5, 3, 0, 0),
            header(2, 4, 0, 5, 4), header(2, 4, 0, 5, 0, 0, 0, 0, 0), header(2, 4, 0, 5, 2),
            header(2, 4, 0, 5, 3, 0), header(2, 7, 0, 5, 3), header(2, 7, 0, 5, 3, 1, 0, 0, 0),
            header(0)]))

    def test_every_truncated_native_header_is_refused(self) -> None:
        self.all_refused(decode_header, (HEADER[:n] for n in range(len(HEADER))))
        self.all_refused(decode_header, iter([HEADER + b"\0"]))

    def test_every_flipped_byte_of_a_native_header_is_refused(self) -> None:
        self.all_refused(decode_header, flips(HEADER))

    def test_the_golden_trailer_is_decoded(self) -> None:
        trailer = decode_trailer(TRAILER)
        self.assertEqual((trailer.footer.build_id, trailer.footer.pause_id), (DIFF, PAUSE))
        self.assertEqual((trailer.footer.layout, trailer.data_blocks), ("compact", 2))
        self.assertEqual(trailer.chain, (BASE,))
        self.assertEqual((list(trailer.starts), list(trailer.counts)), ([2], [2]))
        self.assertEqual(list(trailer.checksums), [0x0123456789ABCDEF, 0xFEDCBA9876543210])

    def test_an_extent_has_its_checksums_only_at_its_place(self) -> None:
        trailer = decode_trailer(TRAILER)
        self.assertEqual(trailer.checksum_index(2, 2, 0), 0)
        self.assertEqual(trailer.checksum_index(3, 1, 1), 1)
        for start, count, storage in ((2, 3, 0), (2, 1, 1), (3, 1, 0), (1, 1, 0), (4, 1, 2)):
            self.assertIsNone(trailer.checksum_index(start, count, storage))

    def test_every_truncated_trailer_is_refused(self) -> None:
        self.all_refused(decode_trailer, (TRAILER[n:] for n in range(1, len(TRAILER))))
        self.all_refused(lambda data: decode_trailer(data, TRAILER_FILE_BYTES - 1),
                         iter([TRAILER]))

    def test_every_flipped_byte_of_a_trailer_is_refused(self) -> None:
        self.all_refused(decode_trailer, flips(TRAILER))

    def test_headers_of_wrenn_are_decoded(self) -> None:
        self.assertGreaterEqual(len(V1_CASES), 38)
        for case in V1_CASES:
            with self.subTest(case["name"]):
                data = bytes.fromhex(case["expected"]["header_hex"])
                header = decode_header(data)
                self.assertEqual(header.format, "v1")
                self.assertEqual(header.generation, case["expected"]["generation"])
                ids = [NIL, *(layer.build_id for layer in header.layers)]
                # Block by block, as extents that are adjacent are joined.
                found = {block: (ids[layer], storage + block - start if layer else 0)
                         for start, end, layer, storage in extents_of(header)
                         for block in range(start, end)}
                self.assertEqual(found, self.blocks_of_records(data, header.memory_bytes))

    @staticmethod
    def blocks_of_records(data: bytes, memory_bytes: int) -> dict[int, tuple[uuid.UUID, int]]:
        """Where each block is, read from the records by slices."""
        def number(at: int) -> int:
            return int.from_bytes(data[at:at + 8], "little")
        blocks = {}
        for at in range(64, len(data), 40):
            build = uuid.UUID(bytes=data[at + 16:at + 32])
            first, storage = number(at) // BLOCK_BYTES, number(at + 32) // BLOCK_BYTES
            for i in range(-(-number(at + 8) // BLOCK_BYTES)):
                blocks[first + i] = (build, storage + i if build != NIL else 0)
        return {block: place for block, place in blocks.items()
                if block * BLOCK_BYTES < memory_bytes}

    def test_a_v1_header_without_records_is_one_layer(self) -> None:
        data = bytes.fromhex(V1_CASES[0]["expected"]["header_hex"])[:64]
        header = decode_header(data)
        self.assertEqual(extents_of(header), [(0, header.memory_bytes // BLOCK_BYTES, 1, 0)])

    def test_truncated_and_changed_v1_headers_end_in_a_value_or_corrupt(self) -> None:
        # They have no checksum: snapshot.json has their digest.
        case = max(V1_CASES[:24], key=lambda case: len(case["expected"]["header_hex"]))
        data = bytes.fromhex(case["expected"]["header_hex"])
        refused = 0
        for changed in [*(data[:n] for n in range(len(data))), *flips(data)]:
            try:
                header = decode_header(changed)
            except CorruptError:
                refused += 1
                continue
            self.assertEqual(header.extents.end(len(header.extents) - 1),
                             blocks_for(header.memory_bytes))
        self.assertGreater(refused, len(data))

    def test_facts_are_decoded(self) -> None:
        facts = decode_facts(json.dumps(FACTS).encode())
        self.assertEqual((facts.pause_id, facts.build_id, facts.generation), (PAUSE, DIFF, 1))
        self.assertEqual(facts.header,
                         FileDigest(370, bytes.fromhex("00112233445566778899aabbccddeeff")))
        self.assertEqual(facts.layers, (LayerFact(BASE, True), LayerFact(DIFF, True)))
        self.assertEqual((facts.vmstate, facts.parent, facts.parent_pause_id), (None, None, None))
        self.assertEqual(facts.origin, {"vmm_version": "1.7.0"})

    def test_facts_of_a_wrong_form_are_refused(self) -> None:
        def changed(**fields: object) -> bytes:
            return json.dumps({**FACTS, **fields}).encode()
        self.all_refused(decode_facts, iter([
            b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"version": NaN}',
            changed(version=2), changed(version=True), changed(version=1.0),
            changed(pause_id="x"), changed(pause_id=3), changed(memory_bytes=-1),
            changed(memory_bytes=1 << 64), changed(header_format="v2"), changed(header={}),
            changed(header={"bytes": 1, "xxh3_128": "00"}), changed(vmstate=None),
            changed(header={"bytes": 1, "xxh3_128": "00112233445566778899AABBCCDDEEFF"}),
            changed(layers={}), changed(layers=[{}]), changed(layers=[{"build_id": str(BASE)}]),
            changed(layers=[{"build_id": str(BASE), "checksums": 1}]), changed(origin=[]),
            changed(origin={"cpu": 1}), changed(parent=1), changed(parent_pause_id="")]))
        for name in set(FACTS) - {"origin", "added_later"}:
            fields = {key: value for key, value in FACTS.items() if key != name}
            self.all_refused(decode_facts, iter([json.dumps(fields).encode()]))


if __name__ == "__main__":
    unittest.main()
