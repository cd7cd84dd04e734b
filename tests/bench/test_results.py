"""The plots, tables and noise of tools/bench, from made-up results: nothing is measured."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench/results"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "guest"))

import document  # noqa: E402
import guest_run  # noqa: E402
import machine  # noqa: E402
import plot  # noqa: E402
import run  # noqa: E402
import table  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def measured(samples: dict[str, list[float]], **more: Any) -> dict[str, Any]:
    """A result as lamina_bench writes it."""
    both = "ours" in samples and "floor" in samples
    return {"samples_ms": samples,
            "times_ms": {name: table.spread_of(values) for name, values in samples.items()},
            "ours_over_floor": {"min": 1.0, "median": 1.25, "max": 2.0} if both else None,
            "plain_over_ours": None, **more}


def made_up_curve() -> dict[str, Any]:
    """Three points; the plain reference leaves out the last."""
    points = [measured({"ours": [1.0, 1.1, 1.2], "floor": [1.0, 1.0, 1.0],
                        "plain": [9.0, 10.0, 30.0]}, x=1),
              measured({"ours": [2.0, 2.1, 2.2], "floor": [1.0, 1.0, 1.0],
                        "plain": [90.0, 100.0, 110.0]}, x=1000),
              measured({"ours": [3.0, 3.1, 3.2], "floor": [1.0, 1.0, 1.0]}, x=1000000)]
    return {"name": "curve/a/b", "what": "x < y & z", "floor_is": "less", "x_label": "extents",
            "points": points, "slopes": {"ours": 0.07, "floor": 0.0, "plain": 0.33}}


def made_up_report() -> dict[str, Any]:
    """One benchmark that misses its budget, one figure of memory, one skipped."""
    budget = {"ours_over_floor": 1.2, "plain_over_ours": None, "ours_ms": None}
    result = measured({"ours": [5.0, 6.0, 9.0], "floor": [4.0, 4.8, 5.0]}, name="merge/copy",
                      what="eight layers become one", floor_is="bare copies", budget=budget,
                      met=False, notes=[])
    memory = {"name": "memory/merge", "what": "peak growth", "peak_growth_bytes": 1 << 20,
              "budget_bytes": 2 << 20, "met": True}
    return {"results": [result], "memory": [memory], "curves": [],
            "skipped": [{"name": "merge/reflink", "why": "no loop device"}]}


class Plots(unittest.TestCase):
    """plot.py."""

    def setUp(self) -> None:
        self.curve = made_up_curve()
        self.root = ET.fromstring(plot.draw(self.curve))

    def texts(self) -> list[str]:
        """All words of the drawing."""
        return [element.text or "" for element in self.root.iter(SVG + "text")]

    def test_has_title_labels_and_legend(self) -> None:
        """Also where words have characters that XML reserves."""
        for words in ("curve/a/b", "x < y & z", "extents", "time, ms", "ours", "plain", "floor"):
            self.assertIn(words, self.texts())

    def test_has_a_line_per_contender_with_the_points_it_took_part_in(self) -> None:
        """The plain reference has two."""
        counts = sorted(len(line.attrib["points"].split())
                        for line in self.root.iter(SVG + "polyline"))
        self.assertEqual(counts, [2, 3, 3])

    def test_everything_is_inside_and_larger_is_higher(self) -> None:
        """The axes are logarithmic: equal factors are equal distances."""
        line = next(line for line in self.root.iter(SVG + "polyline")
                    if len(line.attrib["points"].split()) == 3)
        places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
        xs, ys = zip(*places)
        self.assertAlmostEqual(xs[1] - xs[0], xs[2] - xs[1], delta=0.2)
        self.assertGreater(ys[0], ys[2])
        for circle in self.root.iter(SVG + "circle"):
            self.assertTrue(0 <= float(circle.attrib["cx"]) <= plot.WIDTH)
            self.assertTrue(0 <= float(circle.attrib["cy"]) <= plot.HEIGHT)

    def test_one_point_and_equal_times_are_drawn(self) -> None:
        """Where both axes have no length."""
        self.curve["points"] = [measured({"ours": [1.0]}, x=5)]
        ET.fromstring(plot.draw(self.curve))

    def test_times_of_zero_are_drawn(self) -> None:
        """A logarithmic axis has no zero."""
        self.curve["points"] = [measured({"ours": [0.0, 1.0]}, x=5)]
        ET.fromstring(plot.draw(self.curve))

    def test_ticks_are_decades_or_steps_between_them(self) -> None:
        """Decades where there are many, steps between them where there are few."""
        self.assertEqual(plot.ticks(1, 100), [1, 2, 5, 10, 20, 50, 100])
        self.assertEqual(len(plot.ticks(1, 1e6)), 7)
        self.assertEqual([plot.number(value) for value in (0.5, 512, 20000, 1e7)],
                         ["0.5", "512", "20k", "10M"])

    def test_a_file_name_omits_the_group(self) -> None:
        """Without the group's name."""
        self.assertEqual(plot.file_name(self.curve), "a-b.svg")


class Tables(unittest.TestCase):
    """table.py."""

    def test_row_shows_ratio_budget_verdict_and_spread(self) -> None:
        """Of a benchmark that misses its budget."""
        cells = table.cells_of(table.benchmark_rows(made_up_report())[0])
        self.assertEqual(cells, ["merge/copy", "6.00", "–", "4.80", "1.00 1.25 2.00", "–",
                                 "≤ 1.2 floor", "NOT MET", "ours 1.8"])

    def test_freeze_is_compared_with_wrenns_and_firecrackers(self) -> None:
        """bench-lifecycle's lines become one row, and one each."""
        lines = [{"what": what, "samples_ms": samples} for what, samples in (
            ("checkpoint: frozen in all", [10.0, 12.0]), ("checkpoint: Firecracker's own", [8.0]),
            ("checkpoint: frozen, but for Firecracker's own", [1.5]),
            ("the original's way: frozen in all", [100.0]))]
        rows = table.lifecycle_rows({"lines": lines})
        self.assertEqual(len(rows), 5)
        self.assertEqual(rows[0].ours_over_floor, {"min": 1.25, "median": 1.375, "max": 1.5})
        self.assertEqual([row.met for row in rows].count(True), 1)

    def test_curve_has_a_line_per_point_and_the_slopes(self) -> None:
        """A contender that left a point out has a dash there."""
        cells = table.curve_cells(made_up_curve())
        self.assertEqual([row[0] for row in cells], ["1", "1,000", "1,000,000", "slope"])
        self.assertEqual(cells[2][1], "–")
        self.assertEqual(cells[3][1:4], ["0.33", "0.07", "0.00"])
        self.assertEqual(cells[0][-1], "plain 3.3")

    def test_columns_have_one_width(self) -> None:
        """And a pipe in a cell does not end it."""
        lines = table.as_text(("a", "b"), [["long", "1"], ["x", "200"]]).splitlines()
        self.assertEqual(lines, ["a       b", "long    1", "x     200"])
        self.assertEqual(table.as_markdown(("a",), [["x|y"]]), "| a |\n|---|\n| x\\|y |")


class NoiseSeen(unittest.TestCase):
    """machine.py."""

    def test_shares_of_others_and_host(self) -> None:
        """Of 10 seconds: 4 busy, 1 of them ours, 2 stolen."""
        before = machine.CpuTimes(100, 100, 10)
        noise = machine.noise_between(before, machine.CpuTimes(104, 104, 12), 1, 5)
        self.assertAlmostEqual(noise.others_share, 0.3)
        self.assertAlmostEqual(noise.stolen_share, 0.2)
        self.assertEqual(len(noise.warnings()), 2)
        self.assertEqual(len(machine.load_warnings(0.7)), 1)
        self.assertEqual(machine.load_warnings(0.1), [])
        self.assertEqual(machine.noise_between(before, before, 0, 5).warnings(), [])

    def test_proc_stat_is_read(self) -> None:
        """All of this machine's time is busy, idle or stolen."""
        times = machine.CpuTimes.parse("cpu  100 0 300 1000 50 0 0 200 0 0\ncpu0 1 2 3\n")
        ticks = machine.TICKS_PER_SECOND
        self.assertEqual((times.busy, times.idle, times.stolen),
                         (400 / ticks, 1050 / ticks, 200 / ticks))
        self.assertGreater(machine.CpuTimes.now().idle, 0)

    def test_machine_is_described(self) -> None:
        """Whatever cannot be seen is said to be so."""
        facts = machine.examine(Path("."))
        self.assertGreater(facts.cpus, 0)
        self.assertNotEqual(facts.file_system, "unknown")

    def test_a_host_that_takes_free_memory_is_seen(self) -> None:
        """By the balloon's features, as long as there are blocks of that order."""
        buddies = "Node 0, zone   Normal  1 2 3 4 5 6 7 8 9 10 11\n"
        without, reporting = "0110000", "0110010"
        self.assertEqual(machine.reported_order([without, reporting], 9, buddies), 9)
        self.assertIsNone(machine.reported_order([without], 9, buddies))
        self.assertIsNone(machine.reported_order([reporting], 11, buddies))
        self.assertIsNone(machine.reported_order([""], 9, ""))
        facts = replace(machine.examine(Path(".")), reported_order=9)
        self.assertIn("given back to the host", " ".join(facts.warnings()))
        self.assertEqual(replace(facts, reported_order=None).warnings(), [])


class GuestInput(unittest.TestCase):
    """The memory files that guest_run.py keeps for the benchmarks."""

    def test_written_zeros_stay_written(self) -> None:
        """Else a page that the guest cleared would be one that it did not change."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            source, target = Path(name, "source"), Path(name, "target")
            page = guest_run.PAGE_BYTES
            with source.open("wb") as file:
                for number, data in ((0, b"a" * page), (3, bytes(page)), (9, b"b" * 2 * page)):
                    os.pwrite(file.fileno(), data, number * page)
                os.truncate(file.fileno(), 16 * page)
            guest_run.copy_with_holes(source, target)
            self.assertEqual(target.read_bytes(), source.read_bytes())
            for path in (source, target):
                with path.open("rb") as file:
                    self.assertEqual(list(guest_run.data_extents(file.fileno())),
                                     [(0, page), (3 * page, 4 * page), (9 * page, 11 * page)])


class Results(unittest.TestCase):
    """run.py, with a program that only writes results."""

    def test_results_are_written_and_shown(self) -> None:
        """What failed after its results were written is shown and said to have failed."""
        with tempfile.TemporaryDirectory() as name:
            out = Path(name)
            session = run.Session(Namespace(out=out, quick=True), machine.examine(out))
            for number, report in enumerate((made_up_report(), {"curves": [made_up_curve()]})):
                source = out / "source"
                source.write_text(json.dumps(report))
                program = f'cp {source} "$1"; exit {number}'
                with contextlib.redirect_stderr(io.StringIO()):
                    session.run(("benchmarks", "curves")[number], ["sh", "-c", program])
            run.write(session, out)
            shown = run.show(session)
            self.assertIn("NOT MET", shown)
            self.assertIn("merge/reflink was skipped: no loop device", shown)
            self.assertIn("curves failed with exit code 1", shown)
            self.assertIn("![curve/a/b](a-b.svg)", (out / "tables.md").read_text())
            self.assertIn("noise", json.loads((out / "results.json").read_text()))
            ET.parse(out / "a-b.svg")
            text = document.figures(json.loads((out / "results.json").read_text()), ["a text\n"])
            for expected in ("- `merge/copy`: eight layers become one. Floor: bare copies.",
                             "≤ 1.2 floor: **not met**", "- curves failed with exit code 1",
                             "### `curve/a/b`", "memory/merge: peak growth", "```\na text\n```"):
                self.assertIn(expected, text)


class Document(unittest.TestCase):
    """document.py."""

    def test_only_what_is_between_the_marks_is_replaced(self) -> None:
        """Without them nothing is written."""
        old = f"before {document.BEGIN} old {document.END} after"
        self.assertEqual(document.put_in(old, "new"),
                         f"before {document.BEGIN}\n\nnew\n{document.END} after")
        self.assertRaises(SystemExit, document.put_in, "no marks", "new")

    def test_the_document_has_the_marks(self) -> None:
        """In docs/performance.md."""
        self.assertIn("new", document.put_in(document.DOCUMENT.read_text(), "new"))


if __name__ == "__main__":
    unittest.main()
