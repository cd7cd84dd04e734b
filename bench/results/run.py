"""Runs all benchmarks and curves, prints their tables and writes everything down.

    tools/bench [--quick] [--only NAME] [--dir DIR] [--out DIR] [--build DIR]

Builds in release mode in build-bench/, unless --build names a build. Then runs the benchmarks and
the curves of lamina_bench and the pauses of tools/bench-lifecycle, each against the plain
reference, the floor and the budget where there is one (docs/performance.md); with QEMU, also on the
memory of a real Linux guest. Takes about an hour on a quiet machine, --quick a quarter of that.

Writes to --out: results.json (every sample), tables.md (the tables, with the plots), and an SVG
for each curve that was measured.

Nothing is asserted: a budget that is not met is said, and so is what else used the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import machine  # noqa: E402
import plot  # noqa: E402
import table  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK_ROUNDS = 3
LIFECYCLE = "lifecycle/pauses"
GUEST_MEMORY = ("256M", "512M")  # --quick, else
GUEST_PAUSES = 8
GUEST = ("guest/ingest/full", "guest/ingest/diff", "guest/merge", "guest/populate")
EXIT_UNAVAILABLE = 77
MEMORY_HEADINGS = ("memory", "amount", "budget", "")


def command_line() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="smaller inputs, fewer rounds, fewer points")
    parser.add_argument("--only", default="", metavar="NAME",
                        help="only benchmarks and curves whose name contains NAME; "
                             f"the pauses are '{LIFECYCLE}'")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), metavar="DIR",
                        help="where inputs and stores are made (default: /var/tmp)")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="DIR",
                        help="where results go (default: bench-results)")
    parser.add_argument("--build", type=Path, default=ROOT / "build-bench", metavar="DIR",
                        help="measure this build instead of making one")
    return parser.parse_args()


class Session:
    """Programs run one after the other, each with the noise beside it."""

    def __init__(self, options: argparse.Namespace, facts: machine.Machine) -> None:
        self.options = options
        self.facts = facts
        self.load = os.getloadavg()[0]
        self.reports: dict[str, dict[str, Any]] = {}
        self.noise: dict[str, machine.Noise] = {}
        self.failures: list[str] = []

    def run(self, name: str, command: list[str], output: int = subprocess.DEVNULL) -> None:
        """Runs a program that writes its results as JSON; what it wrote is kept also when it
        failed later. What it prints goes to `output`."""
        report = self.options.out / f"{name}.json"
        report.unlink(missing_ok=True)
        print(f"{name}: {' '.join(command)}", file=sys.stderr)
        watch = machine.NoiseWatch()
        done = subprocess.run([*command, "--json", str(report)], check=False,
                              stdout=output)
        self.noise[name] = watch.stop()
        if done.returncode != 0:
            self.failures.append(f"{name} failed with exit code {done.returncode}")
        if report.exists():
            self.reports[name] = json.loads(report.read_text())
            report.unlink()

    def record_guest(self, build: Path, keep: Path) -> bool:
        """Pauses a real Linux guest and keeps its memory files. False when that is not possible."""
        tools = build / "tests/guest"
        command = [sys.executable, str(ROOT / "tests/guest/guest_run.py"),
                   "--lamina", str(build / "src/cli/lamina"),
                   "--diff-writer", str(tools / "diff_writer"), "--workload",
                   str(tools / "workload"), "--cache", str(ROOT / ".cache/guest"),
                   "--memory", GUEST_MEMORY[0 if self.options.quick else 1],
                   "--pauses", str(GUEST_PAUSES), "--keep", str(keep)]
        print(f"guest: {' '.join(command)}", file=sys.stderr)
        done = subprocess.run(command, check=False, stdout=sys.stderr.fileno())
        if done.returncode not in (0, EXIT_UNAVAILABLE):
            self.failures.append(f"the guest failed with exit code {done.returncode}")
        return done.returncode == 0

    def run_benchmarks(self, bench: list[str], build: Path) -> None:
        """With the memory of a real guest where that is wanted and can be had."""
        with tempfile.TemporaryDirectory("", "lamina-bench-guest-", self.options.dir) as keep:
            wanted = any(self.options.only in name for name in GUEST)
            if wanted and self.record_guest(build, Path(keep)):
                bench = [*bench, "--guest", keep]
            self.run("benchmarks", bench)

    def run_all(self) -> None:
        """What --only lets through."""
        options = self.options
        quick = ["--quick"] if options.quick else []
        build = options.build.resolve()
        bench = [str(build / "bench/lamina_bench"), "--filter", options.only, "--dir",
                 str(options.dir), *quick]
        if not options.only.startswith(("curve", "lifecycle")):
            self.run_benchmarks(bench, build)
        if not options.only.startswith("lifecycle"):
            self.run("curves", [*bench, "--curves"])
        if options.only in LIFECYCLE:
            rounds = ["--rounds", str(QUICK_ROUNDS)] if options.quick else []
            self.run("lifecycle", [str(ROOT / "tools/bench-lifecycle"), "pauses",
                                   str(options.dir), "--build", str(build), *rounds],
                     output=sys.stderr.fileno())  # all that shows how far it is

    def curves(self) -> list[dict[str, Any]]:
        """Those that have points."""
        found = self.reports.get("curves", {}).get("curves", [])
        return [curve for curve in found if curve["points"]]

    def rows(self) -> list[table.Row]:
        """Of the table of operations."""
        rows = []
        if "benchmarks" in self.reports:
            rows += table.benchmark_rows(self.reports["benchmarks"])
        if "lifecycle" in self.reports:
            rows += table.lifecycle_rows(self.reports["lifecycle"])
        return rows

    def memory(self) -> list[list[str]]:
        """Of the table of memory."""
        return table.memory_cells(self.reports.get("benchmarks", {"memory": []}))

    def skipped(self) -> list[str]:
        """What could not run here."""
        return [f"{one['name']} was skipped: {one['why']}" for report in self.reports.values()
                for one in report.get("skipped", [])]

    def warnings(self) -> list[str]:
        """About the machine, the noise, and what failed."""
        noisy = [f"{name}: {warning}" for name, noise in self.noise.items()
                 for warning in noise.warnings()]
        return [*self.failures, *self.skipped(), *self.facts.warnings(),
                *machine.load_warnings(self.load), *noisy]


def show(session: Session) -> str:
    """Everything for a terminal."""
    parts = [str(session.facts), ""]
    rows = session.rows()
    if rows:
        parts += [table.as_text(table.HEADINGS, [table.cells_of(row) for row in rows]), ""]
    if session.memory():
        parts += [table.as_text(MEMORY_HEADINGS, session.memory()), ""]
    for curve in session.curves():
        parts += [f"{curve['name']}: {curve['what']}; floor: {curve['floor_is']}",
                  table.as_text(table.curve_headings(curve), table.curve_cells(curve)), ""]
    parts += [f"warning: {warning}" for warning in session.warnings()]
    return "\n".join(parts)


def as_markdown(session: Session) -> str:
    """The same for a file."""
    parts = ["# Benchmarks", "", f"{session.facts}. {time.strftime('%Y-%m-%d')}.", ""]
    parts += [f"- {warning}" for warning in session.warnings()] or ["No noise was seen."]
    rows = session.rows()
    if rows:
        parts += ["", table.as_markdown(table.HEADINGS, [table.cells_of(row) for row in rows])]
    if session.memory():
        parts += ["", table.as_markdown(MEMORY_HEADINGS, session.memory())]
    for curve in session.curves():
        parts += ["", f"## {curve['name']}", "", f"{curve['what']}. Floor: {curve['floor_is']}.",
                  "", f"![{curve['name']}]({plot.file_name(curve)})", "",
                  table.as_markdown(table.curve_headings(curve), table.curve_cells(curve))]
    return "\n".join([*parts, ""])


def write(session: Session, out: Path) -> None:
    """results.json, tables.md and the plots."""
    results = {"machine": session.facts.as_json(), "machine_is": str(session.facts),
               "date": time.strftime("%Y-%m-%d"), "quick": session.options.quick,
               "noise": {name: vars(noise) for name, noise in session.noise.items()},
               "warnings": session.warnings(), **session.reports}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "tables.md").write_text(as_markdown(session))
    for curve in session.curves():
        (out / plot.file_name(curve)).write_text(plot.draw(curve))


def main() -> int:
    """Exit code 1 when something could not run or gave wrong data."""
    options = command_line()
    options.out.mkdir(parents=True, exist_ok=True)
    facts = machine.examine(options.dir)
    for line in (str(facts), *facts.warnings()):
        print(line, file=sys.stderr)
    session = Session(options, facts)
    session.run_all()
    write(session, options.out)
    print(show(session))
    print(f"results: {options.out}/")
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main())
