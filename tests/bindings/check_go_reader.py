#!/usr/bin/env python3
"""The tests of the Go packages that read snapshots, and of those that replace wrenn's.

Nothing is written into the module. 77: go is older than 1.19, or the one dependency
(github.com/google/uuid) cannot be fetched.

Environment: LAMINA and FAKE_VM are the binaries. LAMINA_WRENN_CHECK may name a check of replacements
of wrenn's package: a Go module that imports the package as dropin.local/snapshot, and demands wrenn's
meaning of zeros unless DROPIN_ZEROS=zero.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
OLDEST_GO = (1, 19)
UNIT_TESTS = ("./internal/xxh3/...", "./reader/...", "./wrenn/...")
FUZZ_TARGETS = {
    "./reader": ("FuzzDecodeHeader", "FuzzDecodeTrailer", "FuzzFacts", "FuzzOpen"),
    "./wrenn/snapshot": ("FuzzDeserialize",),
    "./wrenn/uffd": ("FuzzRegions",),
}
CHECKED_PACKAGE = "dropin.local/snapshot"
OWN_PACKAGE = "lamina/go/wrenn/snapshot"
GO_MOD = """module dropin.local/check

go {go}

require {module} v0.0.0

require github.com/google/uuid {uuid}

replace {module} => {directory}
"""


class Go:
    """The go command."""

    def __init__(self, command: str, scratch: Path) -> None:
        self._command = command
        self.failed: list[str] = []
        self.environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false",
                            "GOTOOLCHAIN": "local", "GOWORK": "off"}
        if "HOME" not in os.environ:
            self.environment.setdefault("GOCACHE", str(scratch / "cache"))
            self.environment.setdefault("GOPATH", str(scratch / "path"))
        for name in ("LAMINA", "FAKE_VM"):
            if name in os.environ:
                self.environment[name] = os.path.abspath(os.environ[name])

    def run(self, directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `go WORD…` in a directory; output and errors are in stdout."""
        return subprocess.run((self._command, *words), cwd=directory, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**self.environment, **environment})

    def check(self, name: str, directory: Path, *words: str, **environment: str) -> None:
        """Runs `go WORD…`, which must succeed."""
        outcome = self.run(directory, *words, **environment)
        print(f"{name}: {'ok' if outcome.returncode == 0 else 'FAILED'}\n{outcome.stdout}",
              end="", flush=True)
        if outcome.returncode != 0:
            self.failed.append(name)

    def version(self) -> tuple[int, ...]:
        """Its version; (0,) if it does not say."""
        found = re.search(r"go(\d+)\.(\d+)", self.run(Path("/"), "env", "GOVERSION").stdout)
        return tuple(map(int, found.groups())) if found else (0,)


def check_copied_sources(go: Go, module: Path) -> None:
    """Builds the packages where wrenn has them: copied, with the one import changed."""
    with tempfile.TemporaryDirectory() as scratch:
        for package in ("snapshot", "uffd"):
            directory = Path(scratch) / "internal" / package
            directory.mkdir(parents=True)
            for path in (module / "wrenn" / package).glob("*.go"):
                text = path.read_text().replace(f'"{OWN_PACKAGE}"', '"example.org/w/internal/snapshot"')
                (directory / path.name).write_text(text)
        text = (module / "go.mod").read_text().replace("module lamina/go", "module example.org/w")
        (Path(scratch) / "go.mod").write_text(text)
        shutil.copy(module / "go.sum", scratch)
        go.check("sources in wrenn's place", Path(scratch), "vet", "./...")


def check_replacement(go: Go, check: Path, module: Path, vectors: Path) -> None:
    """Runs a check of replacements against wrenn/snapshot."""
    uuid = re.search(r"google/uuid (\S+)", (module / "go.mod").read_text())
    version = re.search(r"^go (\S+)", (check / "go.mod").read_text(), re.MULTILINE)
    if uuid is None or version is None:
        raise SystemExit("go.mod: no version of uuid, or of go")

    def copy(directory: Path, module_path: str, replacement: Path) -> None:
        shutil.copytree(check, directory)
        directory.chmod(0o755)
        for path in directory.iterdir():
            path.chmod(0o644)
        (directory / "go.mod").write_text(GO_MOD.format(
            go=version[1], module=module_path, uuid=uuid[1], directory=replacement))

    with tempfile.TemporaryDirectory() as scratch:
        # As a package of this module.
        imported = Path(scratch) / "imported"
        copy(imported, "lamina/go", module)
        for path in imported.glob("*.go"):
            path.write_text(path.read_text().replace(
                f'"{CHECKED_PACKAGE}"', f'snapshot "{OWN_PACKAGE}"'))
        # Its files in the place of wrenn's: a module of their own.
        sources = Path(scratch) / "sources"
        sources.mkdir()
        for path in (module / "wrenn/snapshot").glob("*.go"):
            if not path.name.endswith("_test.go"):
                shutil.copy(path, sources)
        (sources / "go.mod").write_text(
            f"module {CHECKED_PACKAGE}\n\ngo 1.19\n\nrequire github.com/google/uuid {uuid[1]}\n")
        copied = Path(scratch) / "copied"
        copy(copied, CHECKED_PACKAGE, sources)
        for name, directory in (("imported", imported), ("copied", copied)):
            go.check(f"replacement, {name}", directory, "test", "-count=1", ".",
                     DROPIN_ZEROS="zero", DROPIN_VECTORS=str(vectors))
            go.check(f"replacement, {name}, wrenn's zeros", directory, "test", "-count=1",
                     "-tags", "wrenn_zeros_inherit", ".", DROPIN_VECTORS=str(vectors))


def main() -> int:
    """Runs all checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--go", default="go")
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="for caches, without a HOME")
    parser.add_argument("--fuzz", metavar="SECONDS", help="also search, this long for each target")
    arguments = parser.parse_args()
    go = Go(arguments.go, arguments.scratch.absolute())
    module = arguments.module.absolute()
    if go.version() < OLDEST_GO:
        print("go is older than 1.19")
        return SKIPPED
    fetched = go.run(module, "mod", "download")
    if fetched.returncode != 0:
        print(f"the dependency cannot be fetched: {fetched.stdout}")
        return SKIPPED
    go.check("go vet", module, "vet", *UNIT_TESTS, "./e2e/...")
    go.check("unit tests", module, "test", *UNIT_TESTS)
    go.check("wrenn's zeros", module, "test", "-tags", "wrenn_zeros_inherit", "./wrenn/snapshot")
    # -count=1: go does not know when the program has changed.
    go.check("with lamina", module, "test", "-count=1", "./e2e/...")
    check_copied_sources(go, module)
    if arguments.fuzz:
        for package, targets in FUZZ_TARGETS.items():
            for target in targets:
                go.check(f"{target} in {package}", module, "test", "-run", "^$", "-fuzz",
                         f"^{target}$", "-fuzztime", f"{arguments.fuzz}s", package)
    replacement_check = os.environ.get("LAMINA_WRENN_CHECK")
    if replacement_check:
        # wrenn wrote these, and the check reads them too.
        vectors = Path(__file__).resolve().parents[1] / "data" / "original_v1.json"
        check_replacement(go, Path(replacement_check).absolute(), module, vectors)
    if go.failed:
        print("failed:", ", ".join(go.failed))
    return 1 if go.failed else 0


if __name__ == "__main__":
    sys.exit(main())
