#!/usr/bin/env python3
"""What one resume touches first is replayed by the next ones.

Environment: LAMINA and FAKE_VM are the binaries.
"""

from __future__ import annotations

import shutil
import struct
import sys

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import PAGE_BYTES, change_memory, random_memory
from served_snapshots import ServeTest, decode_working_set, run
from serving import Vm, wait_until


class WorkingSets(ServeTest):
    """What one resume touched first is replayed by the next ones."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, self.memory = self.chain("w", 1024, 3)
        self.file = self.snapshot / "working-set"
        data = sorted(self.memory.pages)
        self.touched = self.rng.sample(data, 60)
        # Neighbours too: they are joined in the file.
        start = self.rng.randrange(len(data) - 20)
        self.touched += [page for page in data[start : start + 20] if page not in self.touched]

    def record(self) -> None:
        """One resume that touches some pages, recorded."""
        with self.serving(self.snapshot, options=("--record",)) as server:
            self.assert_right(Vm(server.socket, self.truth_file, "--touch",
                                 ",".join(map(str, self.touched))))
            self.end_cleanly(server)

    def replayed(self) -> tuple[float, list[str]]:
        """Serves with --populate working-set: bytes that were populated, and the log."""
        with self.serving(self.snapshot, options=("--populate", "working-set")) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", 500, wait=True)
            vm.wait_connected()
            wait_until(lambda: server.vms_on_record() == 1, server.said())
            if self.file.exists() and not any("no working set" in line for line in server.log()):
                expected = len(decode_working_set(self.file)[1]) * PAGE_BYTES
                wait_until(lambda: server.metrics()["lamina_populated_bytes_total"] >= expected,
                           server.said())
            self.assert_right(vm)
            populated = server.metrics()["lamina_populated_bytes_total"]
            self.end_cleanly(server)
            return populated, server.log()

    def test_first_touches_are_recorded_in_order_and_replayed(self) -> None:
        self.record()
        self.assertEqual(decode_working_set(self.file), (self.memory.size_bytes, self.touched))
        self.done("verify", self.snapshot)
        populated, log = self.replayed()
        self.assertEqual(populated, len(self.touched) * PAGE_BYTES)
        self.assertEqual(log, [])

    def test_a_working_set_survives_a_merge_and_is_passed_to_a_child(self) -> None:
        self.record()
        content = self.file.read_bytes()
        self.done("merge", self.snapshot)
        self.assertEqual(self.file.read_bytes(), content)
        dirty = change_memory(self.rng, self.memory)
        child = self.ingest_diff(self.memory, dirty, self.snapshot, "child")
        self.assertEqual((child / "working-set").read_bytes(), content)
        self.done("verify", child)

    def test_a_killed_worker_loses_no_recorded_touch(self) -> None:
        with self.serving(self.snapshot, options=("--record",)) as server:
            vm = Vm(server.socket, self.truth_file, "--touch", ",".join(map(str, self.touched)))
            vm.wait_connected()
            server.wait_for_another(server.kill_worker())
            self.assert_right(vm)
            self.end_cleanly(server)
        pages = decode_working_set(self.file)[1]
        self.assertEqual([*dict.fromkeys(pages)], self.touched)

    def test_a_damaged_working_set_is_ignored(self) -> None:
        self.record()
        content = self.file.read_bytes()
        other, _, _ = self.chain("o", 100, 1)
        foreign = content[:16] + struct.pack("<Q", 100 * PAGE_BYTES) + content[24:]
        cases = {"flipped": content[:40] + bytes([content[40] ^ 1]) + content[41:],
                 "cut": content[:-9], "empty": b"", "foreign": foreign, "text": b"hello\n" * 20}
        for name, bad in cases.items():
            with self.subTest(name):
                self.file.write_bytes(bad)
                populated, log = self.replayed()
                self.assertEqual(populated, 0)
                self.assertEqual(len(log), 1, log)
                self.assertIn("no working set to replay", log[0])
        self.file.unlink()
        self.file.mkdir()
        self.assertIn("no working set to replay", self.replayed()[1][0])
        self.file.rmdir()
        # A valid one, of another snapshot's memory.
        memory = random_memory(self.rng, 100 * PAGE_BYTES)
        with self.serving(other, options=("--record",)) as server:
            truth = self.directory / "other.truth"
            self.done("materialize", other, "--out", truth)
            self.assert_right(Vm(server.socket, truth, "--touch", "0"))
            self.end_cleanly(server)
        del memory
        shutil.copyfile(other / "working-set", self.file)
        self.assertIn("409600 bytes of memory", self.replayed()[1][0])


if __name__ == "__main__":
    run()
