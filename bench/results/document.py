#!/usr/bin/env python3
"""Writes the figures of one run of tools/bench into docs/performance.md.

    bench/results/document.py RESULTS.json [TEXT ...]

RESULTS.json is what tools/bench wrote to its --out; each TEXT what tools/bench-lifecycle forks or
generations printed. Replaces what stands between the two marks in the document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import table  # noqa: E402

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs/performance.md"
BEGIN = "<!-- tools/bench: begin -->"
END = "<!-- tools/bench: end -->"
# First part of a benchmark's name -> heading. The others come last, under their own names.
HEADINGS = {"ingest": "Ingest", "merge": "Merge", "materialize": "Materialize",
            "verify": "Verify", "guest": "Memory of a real Linux guest",
            "fault": "Page faults", "populate": "Populate", "serve": "lamina serve",
            "mapping": "Mapping", "scan": "Zero test and checksum", "page-cache": "Page cache"}
COLUMNS = ["", "plain, ms", "ours, ms", "floor, ms", "ours / floor", "budget", "others, ms"]
MAIN = ("plain", "ours", "floor")


def ratio_of(row: table.Row) -> str:
    """The median, then the extremes of the rounds."""
    spread = row.ours_over_floor
    if spread is None:
        return "–"
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"


def budget_of(row: table.Row) -> str:
    """The budget, and whether it is met."""
    if not row.budget:
        return "–"
    return f"{row.budget}: {'met' if row.met else '**not met**'}"


def cells_of(row: table.Row) -> list[str]:
    """One line of a section."""
    others = ", ".join(f"{name} {table.number(row.median(name))}" for name in row.samples
                       if name not in MAIN)
    return [f"`{row.what}`", *(table.number(row.median(name)) for name in MAIN), ratio_of(row),
            budget_of(row), others]


def remarks_on(rows: list[table.Row], results: dict[str, dict[str, Any]]) -> list[str]:
    """What the rows are, each text once for all that it applies to; then their notes."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        one = results[row.what]
        text = f"{one['what']}. Floor: {one['floor_is']}" if one["floor_is"] else one["what"]
        texts.setdefault(text, []).append(f"`{row.what}`")
    remarks = [f"- {', '.join(names)}: {text}." for text, names in texts.items() if text]
    return remarks + [f"- `{row.what}`: {note}." for row in rows for note in row.notes]


def sweep_table(rows: list[table.Row]) -> list[str]:
    """Rows whose contenders are values of one parameter ("window 16")."""
    names = sorted({name for row in rows for name in row.samples}, key=lambda name: int(name.split()[-1]))
    cells = [[f"`{row.what}`", *(table.number(row.median(name)) for name in names)]
             for row in rows]
    return [table.as_markdown(["ms", *names], cells), ""]


def sections(report: dict[str, Any]) -> list[str]:
    """A table for each group of benchmarks."""
    results = {one["name"]: one for one in report["results"]}
    groups: dict[str, list[table.Row]] = {}
    for row in table.benchmark_rows(report):
        groups.setdefault(row.what.split("/")[0], []).append(row)
    known = [group for group in HEADINGS if group in groups]
    parts = []
    for group in [*known, *sorted(set(groups) - set(known))]:
        compared = [row for row in groups[group] if "ours" in row.samples]
        swept = [row for row in groups[group] if "ours" not in row.samples]
        parts += [f"### {HEADINGS.get(group, group)}", ""]
        if compared:
            parts += [table.as_markdown(COLUMNS, [cells_of(row) for row in compared]), "",
                      *remarks_on(compared, results), ""]
        if swept:
            parts += sweep_table(swept)
    return parts


def lifecycle_section(report: dict[str, Any]) -> list[str]:
    """Pauses, resumes and forks as whole commands."""
    lines = [[one["what"], *(table.number(value) for value in
                             (table.spread_of(one["samples_ms"])[key]
                              for key in ("median", "min", "max")))]
             for one in report["lines"]]
    return ["### Pause, resume, fork", "",
            table.as_markdown(["what", "median, ms", "min", "max"], lines), ""]


def memory_section(report: dict[str, Any]) -> list[str]:
    """What operations need at most, and what a served VM keeps."""
    cells = table.memory_cells(report)
    if not cells:
        return []
    return ["### Memory", "", table.as_markdown(["what", "amount", "budget", ""], cells), ""]


def curve_sections(curves: list[dict[str, Any]]) -> list[str]:
    """Point by point."""
    parts = []
    for curve in curves:
        if not curve["points"]:
            continue
        parts += [f"### `{curve['name']}`", "", f"{curve['what']}. Floor: {curve['floor_is']}.", "",
                  table.as_markdown(table.curve_headings(curve), table.curve_cells(curve)), ""]
    return parts


def machine_lines(results: dict[str, Any]) -> list[str]:
    """What was measured on, and what else went on."""
    lines = [f"{results['machine_is']}; {results['date']}.", ""]
    shares = [f"{name}: {noise['others_share']:.1%} of the CPU time by others, "
              f"{noise['stolen_share']:.1%} by the host"
              for name, noise in results["noise"].items()]
    lines += [f"- {line}" for line in [*shares, *results["warnings"]]]
    return [*lines, ""]


def figures(results: dict[str, Any], texts: list[str]) -> str:
    """All that stands between the marks."""
    benchmarks = results.get("benchmarks", {"results": [], "memory": []})
    parts = [*machine_lines(results), "## Operations", "", *sections(benchmarks)]
    if "lifecycle" in results:
        parts += lifecycle_section(results["lifecycle"])
    for text in texts:
        parts += ["```", text.strip(), "```", ""]
    parts += memory_section(benchmarks)
    parts += ["## Curves", "", *curve_sections(results.get("curves", {}).get("curves", []))]
    return "\n".join(parts)


def put_in(document: str, text: str) -> str:
    """The document with `text` between the marks."""
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{DOCUMENT}: the marks '{BEGIN}' and '{END}' are missing; add them")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Exit code 2 for wrong arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    results, *texts = (Path(path).read_text() for path in arguments)
    DOCUMENT.write_text(put_in(DOCUMENT.read_text(), figures(json.loads(results), texts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
