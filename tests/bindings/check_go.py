#!/usr/bin/env python3
"""The checks of a Go module: gofmt, go vet, staticcheck, a build without cgo, and its tests.

Nothing is written into the module. What cannot be done on this machine (staticcheck without a
network, the race detector without cgo) is left out, and said so; all else must succeed.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries for tests with a real daemon.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Newer than what Debian 12's go can compile, which then does without.
STATICCHECK = "v0.8.2"
INSTALL_LIMIT_S = 300
BINARIES = ("LAMINA", "LAMINAD", "FAKE_FIRECRACKER")

Outcome = subprocess.CompletedProcess


class Go:
    """The go command, for one module."""

    def __init__(self, command: str, module: Path, scratch: Path) -> None:
        self._command = command
        self._module = module
        self.environment = {
            **os.environ,
            # A tree that belongs to another user has no commit for go.
            "GOFLAGS": "-buildvcs=false",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "LAMINA_GO_TEST_ALL": "1",
        }
        if "HOME" not in os.environ:
            self.environment.setdefault("GOCACHE", str(scratch / "cache"))
            self.environment.setdefault("GOPATH", str(scratch / "path"))
        for name in BINARIES:
            if name in os.environ:
                self.environment[name] = os.path.abspath(os.environ[name])

    def run(self, *words: str, limit_s: float | None = None, **environment: str) -> Outcome:
        """Runs `go WORD…`; its output and its errors are in stdout."""
        return self.program(self._command, *words, limit_s=limit_s, **environment)

    def program(self, *words: str, limit_s: float | None = None, **environment: str) -> Outcome:
        """Runs any program in the module."""
        return subprocess.run(words, cwd=self._module, text=True, check=False, timeout=limit_s,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**self.environment, **environment})

    def setting(self, name: str) -> str:
        """The value of `go env NAME`."""
        outcome = self.run("env", name)
        if outcome.returncode != 0:
            raise SystemExit(f"go env {name}: {outcome.stdout}")
        return outcome.stdout.strip()

    def gofmt(self) -> str:
        """The gofmt of this go."""
        beside = Path(self.setting("GOROOT")) / "bin" / "gofmt"
        return str(beside) if beside.exists() else "gofmt"

    def has_race_detector(self) -> bool:
        """Whether `go test -race` can be linked."""
        if self.setting("CGO_ENABLED") != "1" or not shutil.which(self.setting("CC").split()[0]):
            return False
        system, processor = self.setting("GOOS"), self.setting("GOARCH")
        runtime = Path(self.setting("GOROOT")) / "src" / "runtime" / "race"
        # Its place in newer versions, and in older ones.
        return any(runtime.glob(f"internal/{processor}*/race_{system}.syso")) or any(
            runtime.glob(f"race_{system}_{processor}.syso"))


def staticcheck(go: Go, tools: Path) -> Path | str:
    """The program, compiled once for each version of go; or why it is not available."""
    program = tools / f"staticcheck-{STATICCHECK}-{go.setting('GOVERSION')}"
    if program.exists():
        return program
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools) as directory:
        try:
            outcome = go.run("install", f"honnef.co/go/tools/cmd/staticcheck@{STATICCHECK}",
                             limit_s=INSTALL_LIMIT_S, GOBIN=directory, CGO_ENABLED="0")
        except subprocess.TimeoutExpired:
            return f"not installed within {INSTALL_LIMIT_S} s"
        if outcome.returncode != 0:
            return (outcome.stdout.strip().splitlines() or ["go install failed"])[-1]
        (Path(directory) / "staticcheck").replace(program)  # another run may have done the same
    return program


def packages_of(go: Go) -> list[str]:
    """All packages; without a network, those that need no other module."""
    if go.run("mod", "download").returncode == 0:
        return ["./..."]
    print("no network: only packages without dependencies are checked")
    return ["./lamina/...", "./examples/...", "./internal/..."]


def main() -> int:
    """Runs all checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--go", required=True)
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="for caches, without a HOME")
    parser.add_argument("--tools", type=Path, required=True, help="where staticcheck is kept")
    arguments = parser.parse_args()
    go = Go(arguments.go, arguments.module, arguments.scratch.absolute())
    packages = packages_of(go)
    failed = []

    def check(name: str, outcome: Outcome, must_be_silent: bool = False) -> None:
        good = outcome.returncode == 0 and not (must_be_silent and outcome.stdout.strip())
        print(f"{name}: {'ok' if good else 'FAILED'}\n{outcome.stdout}", end="", flush=True)
        if not good:
            failed.append(name)

    check("gofmt -l", go.program(go.gofmt(), "-l", "."), must_be_silent=True)
    check("go vet", go.run("vet", *packages))
    check("go build without cgo", go.run("build", *packages, CGO_ENABLED="0"))
    found = staticcheck(go, arguments.tools.absolute())
    if isinstance(found, Path):
        check("staticcheck", go.program(str(found), *packages))
    else:
        print(f"staticcheck {STATICCHECK}: left out: {found}")
    race = ["-race"] if go.has_race_detector() else []
    if not race:
        print("go test: without -race, which this go cannot link")
    # -count=1: go does not know when the daemon has changed.
    check(" ".join(["go test", *race]), go.run("test", "-count=1", *race, *packages))
    if failed:
        print("failed:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
