"""Draws a curve as SVG: both axes logarithmic, one line per contender with its minimum and maximum.

A curve is an object as lamina_bench writes it under "curves".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 130, 58, 56
COLORS = {"ours": "#1a7f37", "plain": "#c2410c", "floor": "#57606a"}
OTHER_COLORS = ("#0969da", "#8250df", "#bf3989")
DASHES = {"floor": "6 4"}
SMALLEST_MS = 1e-6


@dataclass(frozen=True)
class Line:
    """The points of one contender: x, and minimum, median and maximum in milliseconds."""

    name: str
    points: list[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)


def lines_of(curve: dict[str, Any]) -> list[Line]:
    """One line per contender, in the order of the curve; points that one left out are not there."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for point in curve["points"]:
        for name, times in point["times_ms"].items():
            if times is None:
                continue
            values = (max(times[key], SMALLEST_MS) for key in ("min", "median", "max"))
            found.setdefault(name, []).append((float(point["x"]), *values))
    order = {"plain": 0, "ours": 1, "floor": 2}
    return [Line(name, found[name]) for name in sorted(found, key=lambda name: order.get(name, 3))]


def ticks(low: float, high: float) -> list[float]:
    """Round values between `low` and `high`: decades, or 1, 2 and 5 of each where those are few."""
    steps = (1.0,) if math.log10(high / low) > 3 else (1.0, 2.0, 5.0)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    all_ticks = [step * 10.0 ** decade for decade in decades for step in steps]
    return [tick for tick in all_ticks if low * 0.999 <= tick <= high * 1.001]


def number(value: float) -> str:
    """A short label: 20k, 1M, 0.5."""
    for limit, letter in ((1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if letter == 'k' else 1e6):g}{letter}"
    return f"{value:g}"


def widened(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty, with some room at both ends."""
    room = max((high / low) ** 0.05, 1.15)
    return low / room, high * room


def text(x: float, y: float, words: str, more: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def stroke(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    """A straight line."""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f"{more}/>")


def draw_axes(across: Axis, up: Axis, xs: list[float], x_label: str) -> list[str]:
    """Grid, ticks and labels. The ticks of x are the points where they are few."""
    parts = []
    x_ticks = xs if len(xs) <= 10 else ticks(across.low, across.high)
    for x in x_ticks:
        place = across.place(x)
        parts.append(stroke(place, up.start, place, up.end, "#eaeef2"))
        parts.append(text(place, up.start + 18, number(x), 'text-anchor="middle"'))
    for y in ticks(up.low, up.high):
        place = up.place(y)
        parts.append(stroke(across.start, place, across.end, place, "#eaeef2"))
        parts.append(text(across.start - 8, place + 4, number(y), 'text-anchor="end"'))
    parts.append(stroke(across.start, up.start, across.end, up.start, "#24292f"))
    parts.append(stroke(across.start, up.start, across.start, up.end, "#24292f"))
    middle = (up.start + up.end) / 2
    parts.append(text((across.start + across.end) / 2, up.start + 42, x_label,
                      'text-anchor="middle"'))
    parts.append(text(18, middle, "time, ms",
                      f'text-anchor="middle" transform="rotate(-90 18 {middle:.1f})"'))
    return parts


def draw_line(line: Line, across: Axis, up: Axis, color: str) -> list[str]:
    """The medians joined, each with a bar from its minimum to its maximum."""
    places = [(across.place(x), up.place(low), up.place(median), up.place(high))
              for x, low, median, high in line.points]
    path = " ".join(f"{x:.1f},{median:.1f}" for x, _, median, _ in places)
    dash = f'stroke-dasharray="{DASHES[line.name]}"' if line.name in DASHES else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" {dash}/>']
    for x, low, median, high in places:
        parts.append(stroke(x, low, x, high, color, 'stroke-width="1" opacity="0.6"'))
        parts.append(f'<circle cx="{x:.1f}" cy="{median:.1f}" r="3" fill="{color}"/>')
    return parts


def colors_of(lines: list[Line]) -> dict[str, str]:
    """A color for each line."""
    others = [line.name for line in lines if line.name not in COLORS]
    more = {name: OTHER_COLORS[i % len(OTHER_COLORS)] for i, name in enumerate(others)}
    return {line.name: COLORS.get(line.name) or more[line.name] for line in lines}


def draw_legend(lines: list[Line], colors: dict[str, str]) -> list[str]:
    """The contenders' names, at the right."""
    parts = []
    for i, line in enumerate(lines):
        x, y = WIDTH - RIGHT + 18, TOP + 12 + 22 * i
        dash = f'stroke-dasharray="{DASHES[line.name]}"' if line.name in DASHES else ""
        parts.append(stroke(x, y, x + 26, y, colors[line.name], f'stroke-width="2" {dash}'))
        parts.append(text(x + 34, y + 4, line.name))
    return parts


def draw(curve: dict[str, Any]) -> str:
    """The SVG document."""
    lines = lines_of(curve)
    xs = [float(point["x"]) for point in curve["points"]]
    lows = [low for line in lines for _, low, _, _ in line.points]
    highs = [high for line in lines for _, _, _, high in line.points]
    across = Axis(*widened(min(xs), max(xs)), LEFT, WIDTH - RIGHT)
    up = Axis(*widened(min(lows), max(highs)), HEIGHT - BOTTOM, TOP)
    colors = colors_of(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#24292f">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 22, curve["name"], 'font-size="15" font-weight="bold"'),
        text(LEFT, 42, curve["what"]),
        *draw_axes(across, up, xs, curve["x_label"]),
    ]
    for line in lines:
        parts += draw_line(line, across, up, colors[line.name])
    parts += draw_legend(lines, colors)
    return "\n".join([*parts, "</svg>", ""])


def file_name(curve: dict[str, Any]) -> str:
    """curve/merge/layers/copy: merge-layers-copy.svg."""
    return curve["name"].removeprefix("curve/").replace("/", "-") + ".svg"
