"""Chains of pauses on every file system that a store may be on, against a model of the memory."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import uuid
from pathlib import Path

from memory_files import (EXIT_FAILED, GuestMemory, LaminaTest, PAGE_BYTES, SANITIZED, change_memory,
                          lamina, main, random_memory, write_diff, write_full, write_sparse_full)
from mounts import (BTRFS, EXT4, EXT4_1K, MountedStore, RAMFS, TMPFS, XFS, XFS_LARGEIO, mount,
                    on_each)

PAUSES = 4 if SANITIZED else 12
# No multiple of the page, so that the last page is short.
MEMORY_BYTES = 300 * PAGE_BYTES + 1234


@on_each(EXT4, EXT4_1K, XFS, XFS_LARGEIO, BTRFS, TMPFS)
class ChainOfPauses:
    """What every file system must do."""

    def test_a_chain_of_random_pauses_resolves_to_the_guests_memory_after_every_step(self) -> None:
        seed = int(os.environ.get("LAMINA_TEST_SEED", random.randrange(1 << 32)))
        print(f"LAMINA_TEST_SEED={seed}", flush=True)
        rng = random.Random(seed)
        memory = random_memory(rng, MEMORY_BYTES, used=0.6)
        states: list[tuple[Path, GuestMemory]] = []
        for number in range(PAUSES):
            snapshot = self._pause(rng, number, memory, states)
            states.append((snapshot, memory.copy()))
            if rng.random() < 0.4:
                self._merge(rng, snapshot)
            if rng.random() < 0.2:
                fork = self.store / f"fork-{number}"
                self.done("merge", snapshot, "--out", fork)
                states.append((fork, memory.copy()))
            self._check(snapshot, memory)
        for snapshot, expected in states:
            self._check(snapshot, expected)
        self.assert_store_is_clean(self.store)

    def _pause(self, rng: random.Random, number: int, memory: GuestMemory,
               states: list[tuple[Path, GuestMemory]]) -> Path:
        """Lets the guest run and stores the memory file of the pause that follows."""
        memory_file = self.mounted / f"memory-{number}"
        snapshot = self.store / f"pause-{number}"
        layout = rng.choice([("--layout", "compact"), ("--layout", "adopt"), ("--consume",)])
        if not states:
            writer = rng.choice([write_full, write_sparse_full])
            self.done("ingest", writer(memory_file, memory), "--out", snapshot, *layout)
        else:
            dirty = change_memory(rng, memory, writes=rng.choice([0, 3, 40]),
                                  clears=rng.choice([0, 5]), balloon_pages=rng.choice([0, 0, 70]))
            dedup = ("--dedup", "parent") if rng.random() < 0.3 else ()
            self.done("ingest", write_diff(memory_file, memory, dirty), "--out", snapshot,
                      "--parent", states[-1][0], *layout, *dedup)
        consumed = layout != ("--layout", "compact")
        self.assertEqual(memory_file.exists(), not consumed)
        memory_file.unlink(missing_ok=True)
        return snapshot

    def _merge(self, rng: random.Random, snapshot: Path) -> None:
        """Merges all layers, or some of the youngest."""
        layers = len(self.done("inspect", snapshot, "--json").json["layers"])
        some = ("--layers", str(rng.randint(1, layers))) if rng.random() < 0.6 else ("--full",)
        merged = self.done("merge", snapshot, *some, "--json").json
        if merged["merged"] and some == ("--full",):
            self.assertEqual(merged["generation"], 0)

    def _check(self, snapshot: Path, memory: GuestMemory) -> None:
        """Reads the memory in every way there is."""
        self.done("verify", snapshot)
        for mode in ("auto", "never"):
            contents = self.materialized(snapshot, "--reflink", mode, directory=self.mounted)
            self.assert_memory(contents, memory)
        if self.system.has_reflink:
            contents = self.materialized(snapshot, "--reflink", "always", directory=self.mounted)
            self.assert_memory(contents, memory)
        else:
            out = self.mounted / "never-made"
            self.refused(EXIT_FAILED, "materialize", snapshot, "--out", out, "--reflink", "always",
                         names=[out, "--reflink auto"])
            self.assertFalse(out.exists())

    def test_zeros_over_data_and_an_empty_diff_keep_their_meaning(self) -> None:
        memory = random_memory(self.rng, MEMORY_BYTES, used=1.0)
        base = self.store / "base"
        self.done("ingest", write_full(self.mounted / "base", memory), "--out", base)
        for page in (3, 4, 5, 100, memory.page_count - 1):
            memory.clear(page)
        zeros = write_diff(self.mounted / "zeros", memory, [3, 4, 5, 100, memory.page_count - 1])
        self.done("ingest", zeros, "--parent", base, "--out", self.store / "z", "--layout", "adopt")
        self._check(self.store / "z", memory)
        empty = write_diff(self.mounted / "empty", memory, [])
        self.done("ingest", empty, "--parent", self.store / "z", "--out", self.store / "e")
        self._check(self.store / "e", memory)
        self.done("merge", self.store / "e")
        self._check(self.store / "e", memory)

    def test_a_layer_of_another_program_that_ends_inside_a_block_is_materialized(self) -> None:
        size = 9 * PAGE_BYTES - 100
        contents = self.rng.randbytes(size)
        build = uuid.uuid4()
        snapshot = self.store / "old"
        snapshot.mkdir()
        (snapshot / f"memfile.{build}").write_bytes(contents)
        (snapshot / "memfile.header").write_bytes(
            struct.pack("<QQQQ", 1, PAGE_BYTES, size, 0) + build.bytes + build.bytes +
            struct.pack("<QQ", 0, size) + build.bytes + struct.pack("<Q", 0))
        sharing = ["auto", "never"] + (["always"] if self.system in (XFS, BTRFS) else [])
        for reflink in sharing:
            with self.subTest(reflink=reflink):
                found = self.materialized(snapshot, "--reflink", reflink, directory=self.store)
                self.assertEqual(found, contents)

    def test_doctor_says_what_the_file_system_can_do_and_leaves_nothing(self) -> None:
        with self.unchanged(self.mounted):
            report = self.done("doctor", self.store, "--json").json
        self.assertTrue(report["usable"])
        found = {finding["subject"]: finding for finding in report["file_system"]}
        self.assertEqual(found["holes"]["verdict"], "good", found["holes"])
        self.assertEqual(found["exchange"]["verdict"], "good", found["exchange"])
        self.assertEqual(found["links"]["verdict"], "good", found["links"])
        self.assertEqual(found["owner"]["verdict"], "good", found["owner"])
        reflink = "good" if self.system.has_reflink else "warning"
        self.assertEqual(found["reflink"]["verdict"], reflink, found["reflink"])

    def test_a_parent_on_another_file_system_is_copied(self) -> None:
        memory = random_memory(self.rng, MEMORY_BYTES)
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        base = self.ingest_full(memory, "base", "--layout", "adopt", store=elsewhere)
        dirty = change_memory(self.rng, memory, balloon_pages=20)
        diff = write_diff(self.mounted / "diff", memory, dirty)
        outcome = self.done("ingest", diff, "--parent", base, "--out", self.store / "child")
        self.assertIn("copied", outcome.stderr)
        for layer in (self.store / "child").glob("memfile.*-*"):
            self.assertEqual(layer.stat().st_nlink, 1)
        for layer in base.glob("memfile.*"):
            layer.unlink()  # the child must not need it
        self._check(self.store / "child", memory)

    def test_a_memory_file_on_another_file_system_is_consumed_but_not_adopted(self) -> None:
        memory = random_memory(self.rng, MEMORY_BYTES)
        memory_file = write_full(self.directory / "memory", memory)
        with self.unchanged(self.mounted):
            self.refused(EXIT_FAILED, "ingest", memory_file, "--out", self.store / "a",
                         "--layout", "adopt", names=[memory_file, "--layout compact"])
        report = self.done("ingest", memory_file, "--out", self.store / "a", "--consume", "--json")
        self.assertEqual(report.json["layout"], "compact")
        self.assertFalse(memory_file.exists())
        self._check(self.store / "a", memory)


class CleanUp(MountedStore, LaminaTest):
    """ext4 can forbid the removal of a directory."""

    system = EXT4

    def test_a_directory_that_cannot_be_removed_is_named_and_the_command_succeeds(self) -> None:
        memory = random_memory(self.rng, 16 * PAGE_BYTES)
        snapshot = self.ingest_full(memory, "vm")
        left = self.store / ".tmp" / str(uuid.uuid4())
        left.mkdir()
        subprocess.run(["chattr", "+i", left], check=True)
        try:
            outcome = self.done("merge", snapshot)
            self.assertIn(f"'{left}'", outcome.stderr)
            self.assertIn("could not be removed", outcome.stderr)
        finally:
            subprocess.run(["chattr", "-i", left], check=True)
        self.done("merge", snapshot)
        self.assert_store_is_clean()


class UnfitDirectories(LaminaTest):
    """What is wrong with a directory and not with its file system."""

    def test_doctor_says_that_others_may_write_to_the_directory(self) -> None:
        open_to_all = self.directory / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        outcome = lamina("doctor", open_to_all, "--json")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        found = {one["subject"]: one for one in outcome.json["file_system"]}
        self.assertEqual(found["owner"]["verdict"], "bad", found["owner"])
        self.assertIn(f"chmod go-w {open_to_all}", found["owner"]["detail"])

    def test_doctor_says_that_the_path_is_too_long_for_firecracker(self) -> None:
        deep = self.directory / ("d" * 100)
        deep.mkdir()
        report = self.done("doctor", deep, "--json").json
        found = {one["subject"]: one for one in report["file_system"]}
        self.assertEqual(found["path"]["verdict"], "warning", found["path"])


class WithoutHoles(LaminaTest):
    """A file system that knows no holes."""

    def test_doctor_says_that_a_store_cannot_be_here(self) -> None:
        mounted = mount(self, self.directory, RAMFS)
        outcome = self.run_doctor(mounted)
        found = {finding["subject"]: finding for finding in outcome["file_system"]}
        self.assertFalse(outcome["usable"])
        self.assertEqual(found["holes"]["verdict"], "bad", found["holes"])
        self.assertEqual(list(mounted.iterdir()), [])

    def run_doctor(self, directory: Path) -> dict:
        """The report on a directory that is not usable."""
        outcome = lamina("doctor", directory, "--json")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        return outcome.json

    def test_memory_is_materialized_onto_it(self) -> None:
        mounted = mount(self, self.directory, RAMFS)
        memory = random_memory(self.rng, MEMORY_BYTES)
        snapshot = self.ingest_full(memory, "a")
        self.assert_memory(self.materialized(snapshot, directory=mounted), memory)
        self.assertEqual(list(mounted.iterdir()), [])


if __name__ == "__main__":
    main()
