#!/usr/bin/env python3
"""How a pause was taken is recorded with its snapshot, and shown without a daemon.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from console import Console
from memory_files import lamina, main
from sandbox import SandboxTest

PHASES = ("prepare_ms", "pause_ms", "create_ms", "journal_ms", "hook_ms", "resume_ms", "frozen_ms")


class PauseRecord(SandboxTest):
    """The field `pause` of snapshot.json."""

    def info(self, name: str) -> dict[str, Any]:
        """What inspect says."""
        return self.done("inspect", self.store / name, "--json").json

    def facts(self, name: str) -> Path:
        """The file."""
        return self.store / name / "snapshot.json"

    def assert_records(self, name: str, report: dict[str, Any]) -> None:
        """The snapshot says what the report of its pause did."""
        pause = self.info(name)["pause"]
        self.assertEqual((pause["kind"], pause["reason"]), (report["kind"], report["reason"]))
        for phase in PHASES:
            self.assertAlmostEqual(pause["phases"][phase], report["phases"][phase], delta=0.001)

    def test_kind_reason_and_phases_are_kept_with_each_snapshot(self) -> None:
        vm = self.fresh()
        first = self.pause(vm, "first", "--after", "resume")
        vm.tell("write 7 3")
        second = self.pause(vm, "second", "--after", "resume", "--freeze-memory", "0")
        self.assertEqual((first["kind"], second["kind"]), ("full", "diff"))
        self.assertGreater(first["phases"]["create_ms"], 0)
        self.assert_records("first", first)
        self.assert_records("second", second)
        text = self.done("inspect", self.store / "first").stdout
        self.assertIn(f"\n  kind        full: {first['reason']}\n", text)
        self.assertRegex(text, r"\n  phases      prepare \d+\.\d ms, .*; frozen \d+\.\d in all\n")

        # A merge and a fork of the snapshot keep it.
        self.done("merge", self.store / "second")
        self.assertEqual(len(self.info("second")["layers"]), 1)
        self.assert_records("second", second)
        self.done("fork", self.store / "second", self.store / "third")
        self.assert_records("third", second)

    def test_console_and_report_show_it_without_a_daemon(self) -> None:
        vm = self.fresh()
        first = self.pause(vm, "first", "--after", "resume")
        second = self.pause(vm, "second", "--full")
        console = Console("--store", self.store)
        self.addCleanup(console.end)
        data = console.request("api/snapshot?name=second").json
        self.assertEqual(data["pause"]["reason"], "asked for")
        self.assertEqual([(one["name"], one["pause"]["kind"], one["pause"]["reason"])
                          for one in data["line"]],
                         [("second", "full", second["reason"]), ("first", "full", first["reason"])])
        plain = console.request("plain/snapshot?name=second").body
        self.assertIn("asked for", plain)
        self.assertIn("Phase: create", plain)
        page = self.directory / "report.html"
        self.done("report", self.store / "second", "-o", page)
        self.assertIn("asked for", page.read_text())

    def test_a_pause_that_is_completed_after_a_crash_has_its_reason_but_no_phases(self) -> None:
        vm = self.fresh()
        # The hook runs after the acknowledgement.
        lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a", "--after",
               "resume", "--frozen-hook", "kill -KILL $PPID")
        self.assertEqual(self.recover()["completed"], 1)
        name, = (one["name"] for one in self.done("ls", self.store, "--json").json["snapshots"])
        pause = self.info(name)["pause"]
        self.assertEqual((pause["kind"], pause["phases"]), ("full", None))
        self.assertTrue(pause["reason"])
        self.assertNotIn("phases", self.done("inspect", self.store / name).stdout)

    def test_snapshots_without_a_record_or_with_an_unknown_one_are_read_as_before(self) -> None:
        vm = self.fresh()
        self.pause(vm, "a")
        facts = json.loads(self.facts("a").read_text())
        for pause in (None, {}, {"kind": "partial", "reason": "new"}, [1], "text",
                      {"kind": "full", "reason": "r", "phases": {"pause_ms": "soon"}}):
            facts["pause"] = pause
            if pause is None:
                del facts["pause"]
            self.facts("a").write_text(json.dumps(facts))
            known = self.info("a")["pause"]
            self.assertTrue(known is None or known == {"kind": "full", "reason": "r",
                                                       "phases": None}, pause)
            self.done("verify", self.store / "a")
        again, _ = self.resume("a")
        self.check(again)


if __name__ == "__main__":
    main()
