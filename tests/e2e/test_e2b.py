"""import e2b and export e2b: builds as E2B writes them become snapshots, and the reverse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import uuid
from pathlib import Path

import e2b_files as e2b
from bucket_server import CREDENTIALS, BucketServer
from e2b_files import Guest, HUGE_BYTES, PAGE_BYTES, name_of, read_memory
from memory_files import (EXIT_CORRUPT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_SPACE,
                          EXIT_NOT_FOUND, EXIT_USAGE, GuestMemory, LaminaTest, change_memory, flip, lamina, layers_of, main, random_memory,
                          stopped_after)
from mounts import TMPFS, fill, mount

VERSIONS = ((3, 0), (4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2))
CODECS = ("none", "zstd", "lz4")


class E2bTest(LaminaTest):
    """self.builds is laid out as E2B's object storage."""

    def setUp(self) -> None:
        super().setUp()
        self.builds = self.directory / "builds"
        self.builds.mkdir()
        self.counter = 0

    def new_name(self) -> Path:
        """A snapshot that does not exist."""
        self.counter += 1
        return self.store / f"vm-{self.counter}"

    def import_build(self, build: bytes, *options: str, directory: Path | None = None) -> Path:
        """Imports a build."""
        snapshot = self.new_name()
        self.done("import", "e2b", directory or self.builds, name_of(build), "--out", snapshot,
                  *options)
        return snapshot

    def refuse_build(self, build: bytes, code: int = EXIT_CORRUPT, *options: str,
                     names: tuple[str, ...] = ()) -> None:
        """Imports a build, which must fail and leave nothing."""
        snapshot = self.new_name()
        self.refused(code, "import", "e2b", self.builds, name_of(build), "--out", snapshot,
                     *options, names=names)
        self.assertFalse(snapshot.exists())
        self.assertEqual(list((self.store / ".tmp").glob("*")), [])

    def assert_same_memory(self, snapshot: Path, memory: bytes) -> None:
        """The snapshot is intact and has exactly this memory."""
        self.done("verify", snapshot)
        self.assertEqual(self.materialized(snapshot), memory)

    def export(self, snapshot: Path, *options: str) -> tuple[Path, bytes, dict]:
        """Exports to a directory of its own: the directory, the build, the report."""
        self.counter += 1
        out = self.directory / f"out-{self.counter}"
        out.mkdir()
        report = self.done("export", "e2b", snapshot, out, "--json", *options).json
        return out, uuid.UUID(report["build_id"]).bytes, report


class Import(E2bTest):
    """What comes in is what the guest had."""

    def test_chains_of_all_versions_and_codecs(self) -> None:
        for version, kind in VERSIONS:
            with self.subTest(version=version, kind=kind):
                guest = Guest(self.rng, self.builds, 300 * PAGE_BYTES)
                for _ in range(5):
                    build = guest.pause(guest.touch(40, 5), version, kind)
                for option in ([], ["--compact"], ["--digests", "skip"]):
                    snapshot = self.import_build(build, *option)
                    self.assert_same_memory(snapshot, bytes(guest.memory))
                    if option == ["--compact"]:
                        self.assertEqual(len(layers_of(snapshot)), 1)

    def test_compression_may_change_along_a_chain(self) -> None:
        guest = Guest(self.rng, self.builds, 200 * PAGE_BYTES + 700)
        for version, kind in ((3, 0), (4, 1), (4, 2), (5, 0), (5, 2), (5, 1)):
            build = guest.pause(guest.touch(30, 3), version, kind)
            self.assert_same_memory(self.import_build(build), bytes(guest.memory))

    def test_huge_pages_with_mappings_of_small_ones(self) -> None:
        for version, kind in ((3, 0), (4, 1), (5, 2)):
            with self.subTest(version=version, kind=kind):
                guest = Guest(self.rng, self.builds, 4 * HUGE_BYTES, HUGE_BYTES)
                guest.pause(guest.touch(20), version, kind)
                build = guest.pause(guest.touch(9, 2), version, kind, dedup=True)
                for option in ([], ["--compact"]):
                    snapshot = self.import_build(build, *option)
                    self.assert_same_memory(snapshot, bytes(guest.memory))
                facts = json.loads((snapshot / "snapshot.json").read_text())
                self.assertIn("2M", json.dumps(facts))

    def test_zeros_inside_of_blocks_are_not_stored(self) -> None:
        guest = Guest(self.rng, self.builds, 4 * HUGE_BYTES, HUGE_BYTES)
        build = guest.pause(guest.touch(7), 4, 1)
        report = self.done("import", "e2b", self.builds, name_of(build), "--out",
                           self.new_name(), "--json").json
        nonzero = sum(guest.page(page) != bytes(PAGE_BYTES) for page in range(len(guest.places)))
        self.assertEqual(report["stored_blocks"], nonzero)
        self.assertGreater(report["zero_blocks"], 500)

    def test_frames_need_not_be_whole_blocks(self) -> None:
        """E2B's own reader gives zeros here."""
        for kind in (1, 2):
            guest = Guest(self.rng, self.builds, 100 * PAGE_BYTES)
            guest.pause(guest.touch(60), 5, kind, frame_bytes=5001)
            build = guest.pause(guest.touch(20), 5, kind, frame_bytes=777)
            for option in ([], ["--digests", "skip"]):
                self.assert_same_memory(self.import_build(build, *option), bytes(guest.memory))

    def test_memory_without_data(self) -> None:
        for version in (3, 4, 5):
            guest = Guest(self.rng, self.builds, 77 * PAGE_BYTES)
            build = guest.pause(set(), version)
            self.assertFalse((self.builds / name_of(build) / "memfile").exists())
            snapshot = self.import_build(build)
            self.assert_same_memory(snapshot, bytes(guest.memory))

    def test_an_ancestor_without_entry_is_read_by_its_own_header(self) -> None:
        for kind in (0, 1, 2):
            guest = Guest(self.rng, self.builds, 100 * PAGE_BYTES)
            first = guest.pause(guest.touch(50), 4, kind)
            build = guest.pause(guest.touch(10), 4, 1)
            del guest.header.entries[first]
            guest.write_header()
            self.assert_same_memory(self.import_build(build), bytes(guest.memory))

    def test_a_build_without_header_is_a_memory(self) -> None:
        build = uuid.UUID(int=5).bytes
        (self.builds / name_of(build)).mkdir()
        memory = self.rng.randbytes(9 * PAGE_BYTES) + bytes(PAGE_BYTES)
        (self.builds / name_of(build) / "memfile").write_bytes(memory)
        self.assert_same_memory(self.import_build(build), memory)

    def test_one_place_may_be_at_several_places_of_the_guest(self) -> None:
        guest = Guest(self.rng, self.builds, 40 * PAGE_BYTES)
        build = guest.pause(set(range(20)) & guest.touch(30) or {0}, 4, 1)
        stored = [place for owner, place in guest.places if owner == build]
        for page in range(20, 40):
            guest.places[page] = (build, self.rng.choice(stored))
        guest.header.mappings = guest.mappings()
        guest.write_header()
        source = {place: guest.page(page) for page, (owner, place) in
                  reversed(list(enumerate(guest.places))) if owner == build}
        memory = b"".join(source[place] if owner == build else bytes(PAGE_BYTES)
                          for owner, place in guest.places)
        self.assert_same_memory(self.import_build(build), memory)

    def test_versions_1_and_2_and_high_bits_are_version_3(self) -> None:
        guest = Guest(self.rng, self.builds, 30 * PAGE_BYTES)
        build = guest.pause(guest.touch(12), 3)
        path = self.builds / name_of(build) / "memfile.header"
        data = path.read_bytes()
        for version in (1, 2, 3 | 7 << 16):
            path.write_bytes(struct.pack("<Q", version) + data[8:])
            self.assert_same_memory(self.import_build(build), bytes(guest.memory))

    def test_a_long_chain_becomes_one_layer(self) -> None:
        guest = Guest(self.rng, self.builds, 400 * PAGE_BYTES)
        for _ in range(270):
            build = guest.pause(guest.touch(4, 1), 5, self.rng.choice((0, 1, 2)))
        self.assert_same_memory(self.import_build(build, "--compact"), bytes(guest.memory))
        used = len({owner for owner, _ in guest.places} - {e2b.NIL})
        if used > 256:
            self.refuse_build(build, EXIT_FAILED, names=("--compact",))
        else:
            self.assertEqual(len(layers_of(self.import_build(build))), used)

    def test_the_prefetch_list_becomes_the_working_set(self) -> None:
        guest = Guest(self.rng, self.builds, 8 * HUGE_BYTES, HUGE_BYTES)
        metadata = {"version": 2, "template": {"build_id": "x", "kernel_version": "k"},
                    "prefetch": {"memory": {"indices": [3, 1, 3], "access_types": ["r", "w", "p"],
                                            "block_size": HUGE_BYTES}}}
        build = guest.pause(guest.touch(30), 4, 1, metadata=metadata)
        (self.builds / name_of(build) / "snapfile").write_bytes(b"registers")
        snapshot = self.new_name()
        report = self.done("import", "e2b", self.builds, name_of(build), "--out", snapshot,
                           "--json").json
        self.assertEqual(report["working_set_blocks"], 2 * HUGE_BYTES // PAGE_BYTES)
        out, exported, _ = self.export(snapshot)
        self.assertEqual((out / name_of(exported) / "snapfile").read_bytes(), b"registers")
        written = json.loads((out / name_of(exported) / "metadata.json").read_text())
        self.assertEqual(written["prefetch"]["memory"]["indices"], [3, 1])
        self.assertEqual(written["prefetch"]["memory"]["block_size"], HUGE_BYTES)
        self.assertEqual(written["template"], {"build_id": name_of(exported),
                                               "kernel_version": "k"})

    def test_a_prefetch_list_that_cannot_be_read_costs_a_note(self) -> None:
        guest = Guest(self.rng, self.builds, 8 * PAGE_BYTES)
        for metadata in ({"prefetch": {"memory": {"indices": [-1], "block_size": 4096}}},
                         {"prefetch": 5}, [1],
                         {"prefetch": {"memory": {"indices": [0], "block_size": 4097}}}):
            build = guest.pause(guest.touch(3), 4, 1, metadata=metadata)
            snapshot = self.import_build(build)
            self.assertFalse((snapshot / "working-set").exists())

    def test_an_import_can_be_paused_on(self) -> None:
        """The snapshot is a parent as any other, and can be merged."""
        guest = Guest(self.rng, self.builds, 64 * PAGE_BYTES)
        for _ in range(3):
            build = guest.pause(guest.touch(20), 4, 1)
        snapshot = self.import_build(build)
        memory = GuestMemory(len(guest.memory))
        for page in range(memory.page_count):
            memory.write(page, guest.page(page))
        dirty = change_memory(self.rng, memory)
        child = self.ingest_diff(memory, dirty, snapshot, "child")
        self.assert_resolves_to(child, memory)
        self.done("merge", child)
        self.assert_resolves_to(child, memory)
        # A lost header can be rebuilt from the layers.
        (snapshot / "memfile.header").unlink()
        self.done("repair", snapshot)
        self.assert_same_memory(snapshot, bytes(guest.memory))


class Refused(E2bTest):
    """What cannot be read without doubt is refused, also where E2B's reader takes it."""

    def test_a_header_that_is_cut(self) -> None:
        """Some of them; the unit tests try all."""
        for version in (3, 4, 5):
            guest = Guest(self.rng, self.builds, 20 * PAGE_BYTES)
            guest.pause(guest.touch(8), version)
            build = guest.pause(guest.touch(4), version)
            path = self.builds / name_of(build) / "memfile.header"
            data = path.read_bytes()
            for length in (0, 63, 64, 68, 69, len(data) // 2, len(data) - 1):
                path.write_bytes(data[:length])
                if version == 3 and length == 64:
                    continue  # no record: the whole memory is the build's own
                self.refuse_build(build)

    def test_a_changed_byte_of_the_data(self) -> None:
        for version, kind in ((4, 0), (4, 1), (5, 2)):
            guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
            build = guest.pause(guest.touch(30), version, kind)
            flip(self.builds / name_of(build) / ("memfile" + e2b.SUFFIX[kind]))
            self.refuse_build(build, names=(name_of(build),))

    def test_data_that_is_cut_or_missing(self) -> None:
        for version, kind in ((3, 0), (4, 0), (4, 1), (5, 2)):
            guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
            guest.pause(guest.touch(30), version, kind)
            build = guest.pause(guest.touch(10), version, kind)
            data = self.builds / name_of(build) / ("memfile" + e2b.SUFFIX[kind])
            os.truncate(data, data.stat().st_size - 1)
            self.refuse_build(build)
            data.unlink()
            self.refuse_build(build, EXIT_NOT_FOUND, names=(data.name,))
            data.symlink_to("/dev/zero")
            self.refuse_build(build, EXIT_FAILED)

    def test_an_ancestor_that_is_gone(self) -> None:
        guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
        first = guest.pause(guest.touch(30), 4, 1)
        build = guest.pause(guest.touch(5), 4, 1)
        shutil.rmtree(self.builds / name_of(first))
        self.refuse_build(build, EXIT_NOT_FOUND, names=(name_of(first),))
        self.refuse_build(build, EXIT_NOT_FOUND, "--compact", names=(name_of(first),))

    def test_a_mapping_behind_the_data(self) -> None:
        for version, kind in VERSIONS:
            guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
            build = guest.pause(guest.touch(20), version, kind)
            runs = guest.header.mappings
            at = max(i for i, run in enumerate(runs) if run[2] != e2b.NIL)
            runs[at] = (*runs[at][:3], runs[at][3] + 1)
            guest.write_header()
            self.refuse_build(build, names=("memfile",))

    def test_an_incomplete_header(self) -> None:
        guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
        build = guest.pause(guest.touch(20), 5, 1)
        path = self.builds / name_of(build) / "memfile.header"
        path.write_bytes(guest.header.encode(flags=1))
        self.refuse_build(build, names=("incomplete",))

    def test_a_header_of_another_build(self) -> None:
        guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
        first = guest.pause(guest.touch(20), 5, 1)
        second = guest.pause(guest.touch(20), 5, 1)
        shutil.copy(self.builds / name_of(first) / "memfile.header",
                    self.builds / name_of(second) / "memfile.header")
        self.refuse_build(second, names=(name_of(first),))

    def test_links_are_not_followed(self) -> None:
        secret = self.directory / "secret"
        secret.write_text("secret")
        guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
        for name in ("snapfile", "metadata.json", "memfile", "memfile.header"):
            build = guest.pause(guest.touch(20), 3)
            path = self.builds / name_of(build) / name
            if path.exists():
                path.rename(secret)
            path.symlink_to(secret)
            self.refuse_build(build, EXIT_FAILED, names=(name,))
            path.unlink()
            if name == "memfile":
                secret.rename(path)
        build = guest.pause(guest.touch(20), 3)
        (self.builds / name_of(build)).rename(self.directory / "elsewhere")
        (self.builds / name_of(build)).symlink_to(self.directory / "elsewhere")
        outcome = lamina("import", "e2b", self.builds, name_of(build), "--out", self.new_name())
        self.assertNotEqual(outcome.code, 0, str(outcome))

    def test_names(self) -> None:
        guest = Guest(self.rng, self.builds, 50 * PAGE_BYTES)
        build = guest.pause(guest.touch(20), 5, 1)
        snapshot = self.import_build(build)
        self.refused(EXIT_FAILED, "import", "e2b", self.builds, name_of(build), "--out", snapshot)
        self.refused(EXIT_USAGE, "import", "e2b", self.builds, "vm", "--out", self.new_name())
        self.refuse_build(bytes(15) + b"\1", EXIT_NOT_FOUND)
        self.refused(EXIT_NOT_FOUND, "import", "e2b", self.directory / "none", name_of(build),
                     "--out", self.new_name())
        self.refused(EXIT_USAGE, "import", "--out", self.new_name(), names=("e2b",))
        self.refused(EXIT_USAGE, "export", names=("e2b",))


class FromBucket(E2bTest):
    """A URL in the place of the directory: the same memory, the same checks."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = BucketServer()
        self.addCleanup(self.bucket.close)
        for name, value in CREDENTIALS.items():
            self.set_variable(name, value)
        # The data of the first build takes several requests.
        self.guest = Guest(self.rng, self.builds, 1500 * PAGE_BYTES)
        for pages, version, kind in ((1500, 3, 0), (80, 4, 1), (80, 4, 2), (80, 5, 0), (80, 5, 1)):
            self.build = self.guest.pause(self.guest.touch(pages, 5), version, kind,
                                          frame_bytes=50_000)

    def set_variable(self, name: str, value: str) -> None:
        """Sets a variable of the environment for this test."""
        before = os.environ.get(name)
        os.environ[name] = value
        self.addCleanup(os.environ.pop, name, None)
        if before is not None:
            self.addCleanup(os.environ.__setitem__, name, before)

    def upload(self) -> None:
        """The bucket has what the directory has, and nothing else."""
        self.bucket.objects = {
            f"/bucket/lazy/{path.relative_to(self.builds)}": path.read_bytes()
            for path in self.builds.rglob("*") if path.is_file()}

    def key_of(self, build: bytes, name: str) -> str:
        """The key of an object in the bucket."""
        return f"/bucket/lazy/{name_of(build)}/{name}"

    def import_url(self, url: str, build: bytes, *options: str) -> tuple[Path, dict]:
        """Imports a build from a URL: the snapshot, the report."""
        snapshot = self.new_name()
        report = self.done("import", "e2b", url, name_of(build), "--out", snapshot, "--json",
                           *options).json
        return snapshot, report

    def refuse_url(self, code: int, *names: str, url: str | None = None) -> None:
        """The import fails, and leaves nothing."""
        snapshot = self.new_name()
        self.refused(code, "import", "e2b", url or self.bucket.url, name_of(self.build), "--out",
                     snapshot, names=names)
        self.assertFalse(snapshot.exists())
        self.assertEqual(list((self.store / ".tmp").glob("*")), [])

    def test_the_memory_is_the_same(self) -> None:
        (self.builds / name_of(self.build) / "metadata.json").write_text("{}")
        (self.builds / name_of(self.build) / "snapfile").write_bytes(b"registers" * 400_000)
        self.upload()
        plain = self.done("import", "e2b", self.builds, name_of(self.build), "--out",
                          self.new_name(), "--json").json
        for url in (self.bucket.url, self.builds.as_uri()):
            for options in ((), ("--compact",), ("--digests", "skip")):
                with self.subTest(url=url, options=options):
                    snapshot, report = self.import_url(url, self.build, *options)
                    self.assert_same_memory(snapshot, bytes(self.guest.memory))
                    self.assertEqual((snapshot / "snapfile").read_bytes(), b"registers" * 400_000)
                    if not options:
                        for field in ("builds", "layers", "stored_blocks", "read_bytes",
                                      "checked_digests", "source_generation"):
                            self.assertEqual(report[field], plain[field], field)
        written = [method for method, _ in self.bucket.requests if method not in ("GET", "HEAD")]
        self.assertEqual(written, [])

    def test_only_what_is_live_is_fetched_without_digests(self) -> None:
        guest = Guest(self.rng, self.builds, 100 * PAGE_BYTES)
        for pages in (100, 90):
            guest.memory[:pages * PAGE_BYTES] = self.rng.randbytes(pages * PAGE_BYTES)
            build = guest.pause(set(range(pages)), 3)
        self.upload()
        snapshot, report = self.import_url(self.bucket.url, build, "--digests", "skip")
        self.assert_same_memory(snapshot, bytes(guest.memory))
        # An object that is not compressed is read in parts of 256 KiB: the last one of the first.
        self.assertEqual(report["read_bytes"], (90 + 100 - 64) * PAGE_BYTES)

    def test_damage_is_refused(self) -> None:
        self.upload()
        name = "memfile.zstd"
        whole = self.bucket.objects[self.key_of(self.build, name)]
        self.bucket.objects[self.key_of(self.build, name)] = \
            whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]
        self.refuse_url(EXIT_CORRUPT, f"s3://bucket/lazy/{name_of(self.build)}/{name}")
        self.bucket.objects[self.key_of(self.build, name)] = whole[:-1]
        self.refuse_url(EXIT_CORRUPT, name)
        del self.bucket.objects[self.key_of(self.build, name)]
        self.refuse_url(EXIT_NOT_FOUND, name)
        self.upload()
        header = self.bucket.objects[self.key_of(self.build, "memfile.header")]
        self.bucket.objects[self.key_of(self.build, "memfile.header")] = header[:-1]
        self.refuse_url(EXIT_CORRUPT, "memfile.header")

    def test_an_absence_must_be_confirmed_by_a_list(self) -> None:
        """A wrong 404 for a header would make a diff the whole memory."""
        self.build = self.guest.pause(self.guest.touch(10), 3)
        self.upload()
        key = self.key_of(self.build, "memfile.header")
        self.bucket.hidden.add(key)
        self.refuse_url(EXIT_FAILED, "memfile.header", "listed")
        self.bucket.hidden.clear()
        snapshot, _ = self.import_url(self.bucket.url, self.build)
        self.assert_same_memory(snapshot, bytes(self.guest.memory))

    def test_an_object_that_is_replaced_while_it_is_read_is_refused(self) -> None:
        """What is not compressed has no checksums, and its size may stay the same."""
        build = Guest(self.rng, self.builds, 600 * PAGE_BYTES)
        self.build = build.pause(build.touch(600), 3)
        self.upload()
        key = self.key_of(self.build, "memfile")
        self.bucket.replacements[key] = bytes(len(self.bucket.objects[key]))
        self.refuse_url(EXIT_CORRUPT, "memfile", "replaced")

    def test_urls(self) -> None:
        self.upload()
        self.refuse_url(EXIT_USAGE, "ftp", url="ftp://bucket")
        self.refuse_url(EXIT_NOT_FOUND, "none", url=(self.directory / "none").as_uri())
        self.build = bytes(15) + b"\1"
        self.refuse_url(EXIT_NOT_FOUND, name_of(self.build))


class Export(E2bTest):
    """What goes out is what the guest had, for a reader that is not lamina's."""

    def chain(self, memory_bytes: int = 200 * PAGE_BYTES) -> tuple[Path, GuestMemory]:
        """A chain of three layers with a VM state."""
        memory = random_memory(self.rng, memory_bytes)
        state = self.directory / "state"
        state.write_bytes(self.rng.randbytes(5000))
        name = f"base-{self.counter}"
        snapshot = self.ingest_full(memory, name, "--vmstate", str(state))
        for i in range(2):
            dirty = change_memory(self.rng, memory)
            snapshot = self.ingest_diff(memory, dirty, snapshot, f"{name}-{i}", "--vmstate",
                                        str(state))
        return snapshot, memory

    def test_all_versions_and_codecs(self) -> None:
        snapshot, memory = self.chain(700 * PAGE_BYTES + 99)
        for header, codecs in (("v3", ("none",)), ("v4", CODECS), ("v5", ("zstd",))):
            for codec in codecs:
                for compact in ([], ["--compact"]):
                    with self.subTest(header=header, codec=codec, compact=compact):
                        with self.unchanged(snapshot):
                            out, build, report = self.export(snapshot, "--header", header,
                                                             "--codec", codec, *compact)
                        self.assertEqual(read_memory(out, build), memory.contents())
                        self.assertEqual(report["builds"], 1 if compact else 3)
                        self.assertEqual(len(list(out.iterdir())), report["builds"])
                        back = self.store / f"back-{self.counter}"
                        self.done("import", "e2b", out, name_of(build), "--out", back)
                        self.assert_resolves_to(back, memory)
                        self.assertEqual((back / "snapfile").read_bytes(),
                                         (snapshot / "snapfile").read_bytes())

    def test_snapshots_of_one_chain_share_builds(self) -> None:
        snapshot, memory = self.chain()
        out, first, _ = self.export(snapshot)
        before = memory.copy()
        child = self.ingest_diff(memory, change_memory(self.rng, memory), snapshot, "child")
        report = self.done("export", "e2b", child, out, "--json").json
        self.assertEqual((report["builds"], report["reused_builds"]), (4, 3))
        second = uuid.UUID(report["build_id"]).bytes
        self.assertEqual(read_memory(out, second), memory.contents())
        self.assertEqual(read_memory(out, first), before.contents())
        with self.unchanged(out):
            self.refused(EXIT_FAILED, "export", "e2b", child, out, names=(name_of(second),))
            grandchild = self.ingest_diff(memory, change_memory(self.rng, memory), child,
                                          "grandchild")
            # The same layers with another codec are other objects.
            self.refused(EXIT_FAILED, "export", "e2b", grandchild, out, "--codec", "lz4",
                         names=("--compact",))

    def test_a_layer_is_not_imported_as_a_memory(self) -> None:
        snapshot, _ = self.chain()
        out, build, _ = self.export(snapshot, "--codec", "none")
        others = [path.name for path in out.iterdir() if path.name != name_of(build)]
        self.assertEqual(len(others), 2)
        for name in others:
            self.refused(EXIT_NOT_FOUND, "import", "e2b", out, name, "--out", self.new_name())

    def test_options_that_contradict_each_other(self) -> None:
        snapshot, _ = self.chain()
        out = self.directory / "out"
        out.mkdir()
        self.refused(EXIT_USAGE, "export", "e2b", snapshot, out, "--header", "v3", "--codec",
                     "zstd", names=("--header v4",))
        self.refused(EXIT_USAGE, "export", "e2b", snapshot, out, "--build-id", str(uuid.uuid4()))
        self.refused(EXIT_NOT_FOUND, "export", "e2b", snapshot, self.directory / "none")
        self.refused(EXIT_NOT_FOUND, "export", "e2b", self.store / "none", out)
        self.assertEqual(list(out.iterdir()), [])
        given = uuid.uuid4()
        self.done("export", "e2b", snapshot, out, "--compact", "--build-id", str(given))
        self.assertEqual([path.name for path in out.iterdir()], [str(given)])

    def test_a_damaged_block_is_not_exported(self) -> None:
        snapshot, _ = self.chain()
        layer = layers_of(snapshot)[0]
        with layer.open("r+b") as stream:
            stream.seek(100)
            byte = stream.read(1)
            stream.seek(100)
            stream.write(bytes([byte[0] ^ 1]))
        out = self.directory / "out"
        out.mkdir()
        self.refused(EXIT_CORRUPT, "export", "e2b", snapshot, out)
        self.assertEqual(list(out.iterdir()), [])

    def test_a_killed_export_leaves_no_part_of_a_build(self) -> None:
        """At every rename; the next export cleans up and completes."""
        snapshot, memory = self.chain()
        for number in range(1, 4):
            out = self.directory / f"killed-{number}"
            out.mkdir()
            command = ["strace", "-f", "-o", "/dev/null", "-e",
                       f"inject=renameat2:signal=SIGKILL:when={number}", "-e", "trace=renameat2"]
            outcome = lamina("export", "e2b", snapshot, out, prefix=command)
            self.assertEqual(outcome.code, -signal.SIGKILL, str(outcome))
            named = [path for path in out.iterdir() if not path.name.startswith(".")]
            # The signal comes before the call.
            self.assertEqual(len(named), number - 1)
            self.assertEqual([path for path in named if (path / "memfile.header").exists()], [])
            report = self.done("export", "e2b", snapshot, out, "--json").json
            self.assertEqual(report["reused_builds"], number - 1)
            self.assertEqual(len(list(out.iterdir())), 3)
            build = uuid.UUID(report["build_id"]).bytes
            self.assertEqual(read_memory(out, build), memory.contents())

    def test_a_running_export_is_left_alone(self) -> None:
        snapshot, memory = self.chain()
        out = self.directory / "out"
        out.mkdir()
        with stopped_after("mkdirat", 2, self.directory, "export", "e2b", snapshot, out,
                           "--compact") as outcomes:
            self.done("export", "e2b", snapshot, out, "--compact")
        self.assertEqual(outcomes[0].code, 0, str(outcomes[0]))
        builds = list(out.iterdir())
        self.assertEqual(len(builds), 2)
        for path in builds:
            self.assertEqual(read_memory(out, uuid.UUID(path.name).bytes), memory.contents())


class Unfinished(E2bTest):
    """A full disk, interruptions and kills leave nothing behind."""

    def setUp(self) -> None:
        super().setUp()
        guest = Guest(self.rng, self.builds, 400 * PAGE_BYTES)
        guest.pause(guest.touch(300), 3)
        self.build = guest.pause(guest.touch(100), 4)
        self.memory = bytes(guest.memory)

    def interrupted(self, number: int, *arguments: str | Path) -> int:
        """Sends a signal before the third write; returns the exit code."""
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e",
                   f"inject=pwrite64:signal={number}:when=3"]
        return lamina(*arguments, prefix=command).code

    def test_an_import(self) -> None:
        command = ("import", "e2b", self.builds, name_of(self.build), "--out", self.store / "vm")
        self.done(*command[:-1], self.store / "first")
        with self.unchanged():
            self.assertEqual(self.interrupted(signal.SIGINT, *command), EXIT_INTERRUPTED)
        self.interrupted(signal.SIGKILL, *command)
        self.assertFalse((self.store / "vm").exists())
        self.done(*command)
        self.assert_same_memory(self.store / "vm", self.memory)
        self.assertEqual(list((self.store / ".tmp").iterdir()), [])

    def test_an_export(self) -> None:
        snapshot = self.import_build(self.build)
        out = self.directory / "out"
        out.mkdir()
        command = ("export", "e2b", snapshot, out, "--codec", "none", "--compact")
        with self.unchanged():
            # The third write is the header's: nothing asks in between but the last check.
            self.assertEqual(self.interrupted(signal.SIGINT, *command), EXIT_INTERRUPTED)
        self.interrupted(signal.SIGKILL, *command)
        self.assertTrue(all(path.name.startswith(".") for path in out.iterdir()))
        report = self.done(*command, "--json").json
        self.assertEqual([path.name for path in out.iterdir()], [report["build_id"]])
        self.assertEqual(read_memory(out, uuid.UUID(report["build_id"]).bytes), self.memory)

    def test_a_full_disk(self) -> None:
        small = mount(self, self.directory, TMPFS)
        store = small / "store"
        store.mkdir()
        self.done("import", "e2b", self.builds, name_of(self.build), "--out", store / "first")
        fill(small)
        with self.unchanged(small, times=False):
            self.refused(EXIT_NO_SPACE, "import", "e2b", self.builds, name_of(self.build),
                         "--out", store / "vm", names=("space",))
            self.refused(EXIT_NO_SPACE, "export", "e2b", store / "first", small, names=("space",))


class RoundTrip(E2bTest):
    """Chains of E2B through lamina and back, each read by code that is not lamina's."""

    def test_a_chain_of_e2b_is_compacted(self) -> None:
        guest = Guest(self.rng, self.builds, 3 * HUGE_BYTES, HUGE_BYTES)
        for i in range(12):
            build = guest.pause(guest.touch(6, 2), 4, i % 3, dedup=i > 0)
        snapshot = self.import_build(build, "--compact")
        for header in ("v4", "v5"):
            out, exported, report = self.export(snapshot, "--header", header, "--compact")
            self.assertEqual(read_memory(out, exported), bytes(guest.memory))
            self.assertEqual(report["builds"], 1)
            self.assertLess(report["mappings"], len(guest.header.mappings))

    def test_random_chains(self) -> None:
        for _ in range(5):
            pages = self.rng.randrange(1, 600)
            size = pages * PAGE_BYTES - self.rng.choice((0, 0, 1, 4095))
            huge = self.rng.random() < 0.3
            guest = Guest(self.rng, self.builds, size, HUGE_BYTES if huge else PAGE_BYTES)
            version, _ = self.rng.choice(VERSIONS)
            for i in range(self.rng.randrange(1, 9)):
                kind = 0 if version == 3 else self.rng.randrange(3)
                build = guest.pause(guest.touch(self.rng.randrange(40), self.rng.randrange(9)),
                                    version, kind, dedup=self.rng.random() < 0.5,
                                    frame_bytes=self.rng.choice((FRAME, FRAME, 65536, 6000)))
            memory = bytes(guest.memory)
            snapshot = self.import_build(build, *self.rng.choice(([], ["--compact"])))
            self.assert_same_memory(snapshot, memory)
            out, exported, _ = self.export(snapshot, "--header", self.rng.choice(("v4", "v5")),
                                           "--codec", self.rng.choice(CODECS))
            self.assertEqual(read_memory(out, exported), memory)


FRAME = e2b.FRAME_BYTES

if __name__ == "__main__":
    main()
