"""Golden cases made with wrenn's snapshot package, in both directions.

Reading: directories as wrenn wrote them (version 1 header, layers without trailers) must
resolve to the memory digests of the cases. Writing: the same inputs through lamina with a compact
layout and a version 1 header must give wrenn's layer data and an equal header.

Usage: LAMINA=path/to/lamina test_vectors.py original_v1.json
"""

import functools
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BLOCK = 4096
NIL = bytes(16)
MASK = (1 << 64) - 1
CASES: dict[str, dict] = {}


def splitmix64(x: int) -> int:
    """The generator that fills the blocks of the cases."""
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


@functools.cache
def block_contents(seed: int, block: int) -> bytes:
    """One block: 512 words, or zeros for seed 0."""
    if seed == 0:
        return bytes(BLOCK)
    base = seed * 1000003 + block * 512
    return struct.pack("<512Q", *(splitmix64((base + word) & MASK) for word in range(512)))


def decode_header(data: bytes) -> tuple[dict, list[tuple]]:
    """A version 1 header: its fixed part, and its records without the storage of zeros."""
    version, block, size, generation = struct.unpack_from("<4Q", data)
    fixed = {"version": version, "block": block, "size": size, "generation": generation,
             "build": data[32:48], "base": data[48:64]}
    records = []
    for at in range(64, len(data), 40):
        offset, length = struct.unpack_from("<2Q", data, at)
        build = data[at + 16:at + 32]
        (storage,) = struct.unpack_from("<Q", data, at + 32)
        records.append((offset, length, build, 0 if build == NIL else storage))
    return fixed, records


def uuid_text(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Case:
    """One golden case with its input files made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.input = CASES[name]["input"]
        self.expected = CASES[name]["expected"]
        self.header = bytes.fromhex(self.expected["header_hex"])
        self.fixed, self.records = decode_header(self.header)
        self.is_merge = self.input["op"] == "merge"

    def parents(self) -> list["Case"]:
        """The case's ancestors, nearest first."""
        parent = self.input.get("parent")
        if parent is None:
            return []
        case = Case(parent)
        return [case] + case.parents()

    def blocks(self) -> list[tuple[int, bytes]]:
        """What the memory file has written, cut to its size."""
        size = self.input["memfile_size"]
        written = []
        for extent in self.input.get("data_extents") or []:
            for index in range(extent["count"]):
                block = extent["block"] + index
                data = block_contents(extent["seed"], block)
                written.append((block, data[:max(0, size - block * BLOCK)]))
        return written

    def write_memory_file(self, path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(self.input["memfile_size"])
            for block, data in self.blocks():
                os.pwrite(file.fileno(), data, block * BLOCK)
            os.fsync(file.fileno())

    def layer_data(self) -> bytes:
        """The compact layer as wrenn wrote it."""
        if not self.is_merge:
            padded = (data.ljust(BLOCK, b"\0") for _, data in sorted(self.blocks()))
            return b"".join(data for data in padded if any(data))
        layers = {case.fixed["build"]: case.layer_data() for case in self.parents()}
        parent = self.parents()[0]
        return b"".join(layers[build][storage:storage + length]
                        for _, length, build, storage in parent.records if build != NIL)


class VectorsTest(unittest.TestCase):
    """Every case is a subtest, so that one failure does not hide another."""

    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="lamina-vectors-")
        self.addCleanup(self.directory.cleanup)
        self.root = Path(self.directory.name)

    def lamina(self, *arguments: object) -> dict:
        done = subprocess.run([os.environ["LAMINA"], *map(str, arguments), "--json"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def memory_digest(self, snapshot: Path) -> str:
        out = self.root / "memory"
        self.lamina("materialize", snapshot, "--out", out)
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        out.unlink()
        return digest

    def test_directories_that_wrenn_wrote_are_read(self) -> None:
        for name in CASES:
            with self.subTest(case=name):
                case = Case(name)
                snapshot = self.root / ("read-" + name)
                snapshot.mkdir()
                (snapshot / "memfile.header").write_bytes(case.header)
                for layer in [case, *case.parents()]:
                    data = layer.layer_data()
                    self.assertEqual(hashlib.sha256(data).hexdigest(),
                                     layer.expected["diff_sha256"], "the test's own recipe")
                    path = snapshot / ("memfile." + uuid_text(layer.fixed["build"]))
                    path.write_bytes(data)
                self.assertEqual(self.memory_digest(snapshot),
                                 case.expected["resolved_memory_sha256"])
                inspected = self.lamina("inspect", snapshot)
                self.assertEqual(inspected["generation"], case.expected["generation"])
                self.assertFalse(any(layer["checksums"] for layer in inspected["layers"]))
                self.check_merge_gives_checksums(snapshot, case)

    def check_merge_gives_checksums(self, snapshot: Path, case: Case) -> None:
        self.lamina("merge", snapshot)
        self.assertEqual(self.memory_digest(snapshot), case.expected["resolved_memory_sha256"])
        verified = self.lamina("verify", snapshot)
        self.assertEqual(verified["unchecked_blocks"], 0)
        self.assertEqual(verified["checked_blocks"] * BLOCK,
                         sum(length for _, length, build, _ in case.records if build != NIL))

    def test_files_are_written_as_wrenn_writes_them(self) -> None:
        store = self.root / "store"
        store.mkdir()
        builds: dict[bytes, bytes] = {NIL: NIL}  # wrenn's build ids to ours
        for name in CASES:
            with self.subTest(case=name):
                case = Case(name)
                snapshot = store / name
                own = self.write_with_lamina(case, store, snapshot)
                builds[case.fixed["build"]] = own
                layer = snapshot / ("memfile." + uuid_text(own))
                data = layer.read_bytes()[:case.expected["diff_length"]]
                self.assertEqual(len(data), case.expected["diff_length"])
                self.assertEqual(hashlib.sha256(data).hexdigest(), case.expected["diff_sha256"])

                fixed, records = decode_header((snapshot / "memfile.header").read_bytes())
                expected = dict(case.fixed, build=own, base=builds[case.fixed["base"]])
                self.assertEqual(fixed, expected)
                self.assertEqual(records, [(offset, length, builds[build], storage)
                                           for offset, length, build, storage in case.records])
                self.assertEqual(self.memory_digest(snapshot),
                                 case.expected["resolved_memory_sha256"])
                self.lamina("verify", snapshot)

    def write_with_lamina(self, case: Case, store: Path, snapshot: Path) -> bytes:
        """Ingests or merges a case; returns the build id of the new layer."""
        parent = case.input.get("parent")
        if case.is_merge:
            report = self.lamina("merge", store / parent, "--full", "--out", snapshot)
            return bytes.fromhex(report["build_id"].replace("-", ""))
        memory = self.root / "memory-file"
        case.write_memory_file(memory)
        options = ["--layout", "compact", "--header", "v1", "--build-id", case.input["build_id"],
                   "--zeros", case.input.get("zeros", "written")]
        if parent is not None:
            options += ["--parent", store / parent]
        self.lamina("ingest", memory, "--out", snapshot, *options)
        return bytes.fromhex(case.input["build_id"].replace("-", ""))


if __name__ == "__main__":
    with open(sys.argv.pop(1), encoding="utf-8") as vectors:
        CASES.update({case["name"]: case for case in json.load(vectors)["cases"]})
    unittest.main()
