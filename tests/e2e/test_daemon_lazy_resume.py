#!/usr/bin/env python3
"""POST /v1/resume with "lazy": a VM runs while its memory is fetched from the daemon's bucket.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from bucket_server import Mood
from daemon import Daemon, DaemonTest
from firecracker import Firecracker
from memory_files import main
from serving import wait_until, waits_for_pages
from test_remote_resume import RemoteResumeTest


class LazyResume(RemoteResumeTest, DaemonTest):
    """A daemon of a host that has nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = self.start("--push", self.bucket.url)

    def start(self, *options: Any, **more: Any) -> Daemon:
        """The fetcher outlives the daemon, and is a child of the page server."""
        return super().start("--lamina", os.environ["LAMINA"], *options, **more)

    def pulls(self) -> list[dict[str, Any]]:
        """The events of pulls."""
        return [event for event in self.daemon.events() if event["event"] == "pull"]

    def waits(self, name: str, vm: Firecracker) -> float:
        """A figure of a VM's waits for the network; -1 if the page server does not tell in time."""
        text = self.daemon.request("GET", "/metrics").body
        found = re.search(rf'(?m)^lamina_vm_network_{name}{{vm="{vm.pid}-\d+"}} (\S+)$', text)
        return float(found[1]) if found else -1

    def test_the_vm_runs_before_its_memory_is_here(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, report = self.resumed(self.daemon, "a", lazy=True)
        self.assertEqual((vm.state(), report["mode"]), ("Running", "uffd"))
        self.assertEqual(report["pause_id"], self.paused["pause_id"])
        self.assertEqual(self.bucket.layer_reads, 0)
        event, = self.pulls()
        self.assertEqual((event["outcome"], event["pulled"]), ("begun", "a"))
        # A second VM shares what arrives: it needs no pin of its own.
        other, _ = self.resumed(self.daemon, "a", lazy=True)
        self.assertEqual((len(self.arrivals()), len(self.pulls())), (1, 1))
        self.assertEqual(len(self.bucket.keys("/v1/pins/")), 1)
        with self.checking(vm, other):
            wait_until(lambda: waits_for_pages(vm.pid), "a thread waits")
            wait_until(lambda: self.waits("waiting_faults", vm) > 0, "its wait is shown")
            self.assertRegex(self.done("top", "--store", self.store, "--once").stdout,
                             rf"(?m)^ *{vm.pid} .* \d+, \d+ now ")
            self.bucket.mood = Mood.GOOD
        self.check_whole()
        wait_until(lambda: self.waits("wait_seconds_count", vm) > 0, "its waits are counted")
        wait_until(lambda: self.waits("waiting_faults", vm) == 0, "no wait is left")
        self.assertEqual(self.daemon.done("GET", "/v1/push")["queue"], [])
        self.assertEqual(self.daemon.metric('laminad_pulls_total{outcome="done"}'), 1)

    def test_a_file_is_made_when_everything_is_here(self) -> None:
        vm, report = self.resumed(self.daemon, "a", lazy=True, mode="file")
        self.assertEqual(report["mode"], "file")
        self.check_whole()
        self.check(vm)
        event, = self.pulls()
        self.assertEqual(event["outcome"], "done")

    def test_a_recovery_meanwhile_leaves_it_alone(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resumed(self.daemon, "a", lazy=True, wait_limit=7200)
        self.assertEqual(self.daemon.done("POST", "/v1/recover", {})["removed_arrivals"], 0)
        self.daemon.end()
        self.stop_everything()
        self.daemon = self.start("--push", self.bucket.url)
        with self.checking(vm):
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def late(self) -> dict[str, float]:
        """Late requests by event; empty while the daemon has not read the store."""
        self.daemon.done("POST", "/v1/recover", {})  # the figures are read anew
        text = self.daemon.request("GET", "/metrics").body
        return {event: float(count) for event, count in
                re.findall(r'^laminad_late_requests_total{event="(\w+)"} (\S+)$', text, re.M)}

    def test_late_requests_are_counted(self) -> None:
        self.bucket.mood = Mood.LATE
        vm, _ = self.resumed(self.daemon, "a", lazy=True)
        with self.checking(vm):
            wait_until(lambda: self.bucket.mood == Mood.GOOD, "a range is asked for again")
            # The server lets both requests go: either may be answered first.
            wait_until(lambda: self.late().get("sent", 0) > 0, "the fetcher has counted it")
        self.check_whole()

        def all_ended() -> dict[str, float]:
            late = self.late()
            return late if late and late["won"] + late["given_up"] == late["sent"] else {}
        late = wait_until(all_ended, "all have ended")
        self.daemon.end()
        self.stop_everything()
        self.daemon = self.start("--push", self.bucket.url)
        self.assertEqual(wait_until(self.late, "the store is read"), late)

    def test_what_cannot_be_resumed_is_refused(self) -> None:
        waiting = self.waiting()
        request = {"api_socket": str(waiting.api_socket), "name": "none", "lazy": True}
        self.daemon.refused(404, "POST", "/v1/resume", request)
        self.daemon.refused(400, "POST", "/v1/resume", {**request, "wait_limit": 0})
        self.assertEqual((self.arrivals(), self.bucket.keys("/v1/pins/")), ([], []))
        self.daemon.end()
        self.daemon = self.start()
        error = self.daemon.refused(400, "POST", "/v1/resume", {**request, "name": "a"})
        self.assertIn("--push", error["remedy"])


if __name__ == "__main__":
    main()
