"""The tables: operations beside plain reference, floor and budget; curves point by point."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Callable

WIDE_SPREAD = 1.5
HEADINGS = ("what", "ours, ms", "plain, ms", "floor, ms", "ours / floor: min med max",
            "plain / ours: min med max", "budget", "", "spread")
FREEZE_BUDGET_MS = 2.0

Spread = dict[str, float]


@dataclass
class Row:
    """One operation. Times are samples by contender, ratios are taken round by round."""

    what: str
    samples: dict[str, list[float]]
    ours_over_floor: Spread | None = None
    plain_over_ours: Spread | None = None
    budget: str = ""
    met: bool | None = None
    notes: list[str] = field(default_factory=list)

    def median(self, contender: str) -> float | None:
        """The median time of a contender that takes part."""
        values = self.samples.get(contender)
        return statistics.median(values) if values else None

    def wide(self) -> list[str]:
        """The contenders whose rounds lie far apart."""
        return [f"{name} {max(values) / min(values):.1f}" for name, values in self.samples.items()
                if values and min(values) > 0 and max(values) / min(values) > WIDE_SPREAD]


def spread_of(values: list[float]) -> Spread:
    """Minimum, median, maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(over: list[float], under: list[float]) -> Spread:
    """Where rounds are not paired: of the medians, and the extremes of both."""
    return {"min": min(over) / max(under),
            "median": statistics.median(over) / statistics.median(under),
            "max": max(over) / min(under)}


def budget_of(budget: dict[str, float | None]) -> str:
    """≤1.3 floor, ≥4 plain, ≤5 ms."""
    parts = []
    for key, form in (("ours_over_floor", "≤ {:.3g} floor"), ("plain_over_ours", "plain ≥ {:g}"),
                      ("ours_ms", "≤ {:.3g} ms")):
        value = budget.get(key)
        if value is not None:
            parts.append(form.format(value))
    return ", ".join(parts)


def benchmark_rows(report: dict[str, Any]) -> list[Row]:
    """Of what lamina_bench wrote."""
    return [Row(one["name"], one["samples_ms"], one["ours_over_floor"], one["plain_over_ours"],
                budget_of(one["budget"]), one["met"], one["notes"]) for one in report["results"]]


def lifecycle_rows(report: dict[str, Any]) -> list[Row]:
    """Of what bench-lifecycle wrote: the freeze beside the original's and Firecracker's own, and
    every other line by itself."""
    lines = {one["what"]: one["samples_ms"] for one in report["lines"]}
    rows = []
    frozen, own = (lines.get(f"checkpoint: {name}")
                   for name in ("frozen in all", "Firecracker's own"))
    plain = lines.get("the original's way: frozen in all")
    if frozen and own and plain:
        rows.append(Row("lifecycle: frozen by a checkpoint",
                        {"ours": frozen, "plain": plain, "floor": own}, ratios(frozen, own),
                        ratios(plain, frozen)))
    for what, samples in lines.items():
        row = Row(f"lifecycle: {what}", {"ours": samples})
        if what == "checkpoint: frozen, but for Firecracker's own":
            row.budget = f"≤ {FREEZE_BUDGET_MS:g} ms"
            row.met = statistics.median(samples) <= FREEZE_BUDGET_MS
        rows.append(row)
    return rows


def number(value: float | None) -> str:
    """With as many digits as are worth reading."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def three(spread: Spread | None) -> str:
    """0.98 1.02 1.10."""
    if spread is None:
        return "–"
    return " ".join(number(spread[key]) for key in ("min", "median", "max"))


def kibibytes(size: int | None) -> str:
    """An amount of memory."""
    return "–" if size is None else f"{size / 2**10:,.0f} KiB"


def verdict(met: bool | None) -> str:
    """What the budget's column says."""
    return "" if met is None else "met" if met else "NOT MET"


def cells_of(row: Row) -> list[str]:
    """A row as HEADINGS has it."""
    return [row.what, number(row.median("ours")), number(row.median("plain")),
            number(row.median("floor")), three(row.ours_over_floor), three(row.plain_over_ours),
            row.budget, verdict(row.met), ", ".join(row.wide())]


def memory_cells(report: dict[str, Any]) -> list[list[str]]:
    """Memory that operations need or leave in use, against the budget."""
    return [[f"{one['name']}: {one['what']}", kibibytes(one["peak_growth_bytes"]),
             kibibytes(one["budget_bytes"]), verdict(one["met"])] for one in report["memory"]]


def curve_headings(curve: dict[str, Any]) -> list[str]:
    """The columns of a curve's table."""
    return [curve["x_label"], *(f"{name}, ms" for name in contenders_of(curve)),
            "ours / floor: min med max", "spread"]


def contenders_of(curve: dict[str, Any]) -> list[str]:
    """All that take part in some point, in order."""
    names: dict[str, None] = {}
    for point in curve["points"]:
        names.update(dict.fromkeys(point["samples_ms"]))
    order = {"plain": 0, "ours": 1, "floor": 2}
    return sorted(names, key=lambda name: order.get(name, 3))


def curve_cells(curve: dict[str, Any]) -> list[list[str]]:
    """Point by point, then the slopes."""
    names = contenders_of(curve)
    rows = []
    for point in curve["points"]:
        row = Row("", point["samples_ms"])
        rows.append([f"{point['x']:,.10g}", *(number(row.median(name)) for name in names),
                     three(point["ours_over_floor"]), ", ".join(row.wide())])
    slopes = [curve["slopes"].get(name) for name in names]
    rows.append(["slope", *("–" if slope is None else f"{slope:.2f}" for slope in slopes), "", ""])
    return rows


def as_text(headings: list[str] | tuple[str, ...], cells: list[list[str]]) -> str:
    """Columns of equal width; the first to the left, the rest to the right."""
    table = [list(headings), *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    aligned: list[Callable[[str, int], str]] = [str.ljust] + [str.rjust] * (len(headings) - 1)
    return "\n".join("  ".join(align(cell, width) for align, cell, width
                               in zip(aligned, row, widths)).rstrip() for row in table)


def as_markdown(headings: list[str] | tuple[str, ...], cells: list[list[str]]) -> str:
    """A table of pipes."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [list(headings), *cells]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return "\n".join([lines[0], "|---" * len(headings) + "|", *lines[1:]])
