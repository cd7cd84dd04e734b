"""The wheel and the source archive, built and installed without a network."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

from support import PACKAGE, ROOT

import build_backend
import lamina


class WheelTest(unittest.TestCase):
    """build_backend.py."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="lamina-wheel-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def test_the_version_is_lamina_s(self) -> None:
        found = re.search(r"project\(lamina VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
        assert found is not None
        self.assertEqual(lamina.__version__, found[1])
        self.assertEqual(build_backend.version(), found[1])

    def test_the_wheel_records_all_its_files(self) -> None:
        name = build_backend.build_wheel(str(self.directory))
        with zipfile.ZipFile(self.directory / name) as wheel:
            record = next(one for one in wheel.namelist() if one.endswith("/RECORD"))
            rows = {row[0]: row[1:] for row in csv.reader(wheel.read(record).decode().splitlines())}
            self.assertEqual(set(rows), set(wheel.namelist()))
            for file, (digest, size) in rows.items():
                if file == record:
                    continue
                data = wheel.read(file)
                expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                self.assertEqual((digest, size), ("sha256=" + expected.decode(), str(len(data))))
            for path in (PACKAGE / "lamina").iterdir():
                if path.suffix in (".py", ".typed"):
                    self.assertEqual(wheel.read(f"lamina/{path.name}"), path.read_bytes())

    def test_the_same_files_give_the_same_bytes(self) -> None:
        outcomes = []
        for place in ("first", "second"):
            directory = self.directory / place
            directory.mkdir()
            build_backend.build_wheel(str(directory))
            build_backend.build_sdist(str(directory))
            outcomes.append({path.name: path.read_bytes() for path in directory.iterdir()})
        self.assertEqual(outcomes[0], outcomes[1])

    def test_the_source_archive_builds_the_same_wheel(self) -> None:
        sdist = build_backend.build_sdist(str(self.directory))
        wheel = build_backend.build_wheel(str(self.directory))
        with tarfile.open(self.directory / sdist) as archive:
            for member in archive:
                path = self.directory / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                file = archive.extractfile(member)
                assert file is not None
                path.write_bytes(file.read())
        tree = self.directory / sdist[:-len(".tar.gz")]
        again = self.directory / "again"
        again.mkdir()
        subprocess.run([sys.executable, "-c", "import build_backend; "
                        f"build_backend.build_wheel({str(again)!r})"], cwd=tree, check=True)
        self.assertEqual((again / wheel).read_bytes(), (self.directory / wheel).read_bytes())

    def test_an_installed_wheel_is_used_without_the_source(self) -> None:
        # What pip does with a pure wheel: it is unpacked. (pip itself is not everywhere.)
        name = build_backend.build_wheel(str(self.directory))
        target = self.directory / "target"
        with zipfile.ZipFile(self.directory / name) as wheel:
            wheel.extractall(target)
        said = subprocess.run(
            [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(target)!r}); "
             "import lamina, lamina.api; print(lamina.__file__, lamina.Client('x'))"],
            cwd=self.directory, check=True, capture_output=True, text=True).stdout
        self.assertTrue(said.startswith(str(target)), said)


if __name__ == "__main__":
    unittest.main()
