"""Golden builds that E2B's own code wrote, imported, exported and read by other code.

They are in directories of the one that $LAMINA_E2B_VECTORS names, each with an index.json of its
cases and a directory for each case.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from e2b_files import read_memory
from memory_files import EXIT_CORRUPT, EXIT_FAILED, EXIT_NOT_FOUND, LaminaTest, lamina, main

INDEXES = sorted(Path(os.environ.get("LAMINA_E2B_VECTORS") or "none").glob("*/index.json"))
# lamina has no snapshot of a memory of 0 bytes.
EMPTY = ("v3-size-zero", "v4-size-zero", "v5-size-zero")
EXPORTS = (("v3", "none"), ("v4", "none"), ("v4", "zstd"), ("v4", "lz4"), ("v5", "none"),
           ("v5", "zstd"), ("v5", "lz4"))


def all_cases() -> list[tuple[Path, dict[str, Any]]]:
    """The cases with their directories."""
    return [(index.parent / case["name"], case) for index in INDEXES
            for case in json.loads(index.read_text())["cases"]]


class Vectors(LaminaTest):
    """Each case gives the memory that E2B's code computed, or is refused."""

    def setUp(self) -> None:
        super().setUp()
        self.count = 0

    def imported(self, directory: Path, build: str, *options: str) -> Path | None:
        """The snapshot, or None if the build is refused, with nothing left."""
        self.count += 1
        snapshot = self.store / f"vm-{self.count}"
        outcome = lamina("import", "e2b", directory, build, "--out", snapshot, *options)
        if outcome.code == 0:
            return snapshot
        self.assertIn(outcome.code, (EXIT_CORRUPT, EXIT_NOT_FOUND), str(outcome))
        self.assert_one_error_line(outcome)
        self.assertFalse(snapshot.exists())
        return None

    def check(self, number: int, directory: Path, case: dict[str, Any]) -> None:
        """One case."""
        expected = case["expected"]
        if case["name"] in EMPTY:
            self.refused(EXIT_FAILED, "import", "e2b", directory, case["build"], "--out",
                         self.store / "vm", names=("0 bytes",))
            return
        options = ["--compact"] if number % 2 else []
        snapshot = self.imported(directory, case["build"], *options)
        if snapshot is None:
            self.assertIn(expected["result"], ("refuse", "either"))
            return
        self.assertIn(expected["result"], ("memory", "either"))
        self.done("verify", snapshot)
        memory = self.materialized(snapshot)
        if "memory_sha256" in expected:
            self.assertEqual(hashlib.sha256(memory).hexdigest(), expected["memory_sha256"])
        header, codec = EXPORTS[number % len(EXPORTS)]
        out = self.directory / "out"
        out.mkdir()
        report = self.done("export", "e2b", snapshot, out, "--header", header, "--codec", codec,
                           "--json").json
        self.assertEqual(read_memory(out, uuid.UUID(report["build_id"]).bytes), memory)
        shutil.rmtree(out)
        shutil.rmtree(snapshot)

    def test_all_cases(self) -> None:
        cases = all_cases()
        self.assertGreater(len(cases), 0)
        for number, (directory, case) in enumerate(cases):
            with self.subTest(case=case["name"]):
                self.check(number, directory, case)
        print(len(cases), "cases")

    def test_all_cuts(self) -> None:
        for directory, case in all_cases():
            copy = self.directory / case["name"]
            if case.get("cuts"):
                shutil.copytree(directory, copy)
            header = copy / case["build"] / "memfile.header"
            whole = header.read_bytes() if header.exists() else b""
            for cut in case.get("cuts", []):
                with self.subTest(case=case["name"], cut=cut["bytes"]):
                    header.write_bytes(whole[:cut["bytes"]])
                    snapshot = self.imported(copy, case["build"])
                    if cut["expected"] == "refuse":
                        self.assertIsNone(snapshot)


if __name__ == "__main__":
    main()
