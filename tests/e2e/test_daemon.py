#!/usr/bin/env python3
"""The daemon: the whole life of sandboxes over HTTP, with hostile clients and signals.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import Daemon, DaemonTest, daemon_program
from firecracker import Firecracker, UnixConnection
from memory_files import EXIT_BUSY, EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, main
from sandbox import page_servers_of
from serving import TIMEOUT_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
OPENAPI = ROOT / "docs" / "openapi.json"
OTHER_USER = 65534


class LifeTest(DaemonTest):
    """What clients use it for."""

    def test_a_vm_is_paused_resumed_forked_listed_and_removed(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("run 300 1")
        first = self.paused(daemon, vm, "a", after="resume")
        self.assertEqual((first["kind"], vm.state()), ("full", "Running"))
        vm.tell("run 50 2")
        second = self.paused(daemon, vm, "a")
        self.assertEqual((second["kind"], second["parent_pause_id"]), ("diff", first["pause_id"]))
        self.assertEqual(vm.wait(), -signal.SIGKILL)

        by_faults, report = self.resumed(daemon, "a", mode="uffd", populate="none")
        self.assertEqual((report["mode"], report["started_page_server"]), ("uffd", True))
        self.check(by_faults)
        by_file, report = self.resumed(daemon, "a", mode="file")
        self.assertEqual((report["mode"], report["pid"]), ("file", by_file.pid))
        self.check(by_file)
        sessions = daemon.done("GET", "/v1/sessions")["sessions"]
        self.assertEqual({one["pid"] for one in sessions}, {by_faults.pid, by_file.pid})

        fork = daemon.done("POST", "/v1/fork", {"snapshot": "a", "new": "b"})
        self.assertEqual(fork["pause_id"], second["pause_id"])
        listing = daemon.done("GET", "/v1/snapshots?tree=true")
        self.assertEqual([one["name"] for one in listing["snapshots"]], ["a", "b"])
        self.assertEqual(len(listing["tree"]), 3)  # the first pause has been replaced
        facts = daemon.done("GET", "/v1/snapshots/a")
        self.assertEqual((facts["pause_id"], len(facts["layers"])), (second["pause_id"], 2))

        self.assertFalse(daemon.done("DELETE", "/v1/snapshots/a?dry_run=true")["removed"])
        pause = facts["pause_id"]
        for other, status in ((str(uuid.uuid4()), 404), ("x", 400)):
            daemon.refused(status, "DELETE", f"/v1/snapshots/a?pause_id={other}")
        removed = daemon.done("DELETE", f"/v1/snapshots/a?pause_id={pause}")
        self.assertEqual((removed["removed"], removed["running_vms"]), (True, 2))
        daemon.refused(404, "GET", "/v1/snapshots/a")
        self.check(by_faults)
        self.done("verify", self.store / "b")
        self.assert_nothing_left()

        kinds = [event["event"] for event in daemon.events()]
        self.assertEqual(kinds, ["pause", "pause", "resume", "resume", "fork", "delete"])
        numbers = [event["sequence"] for event in daemon.events()]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 6)))
        self.assertEqual(len(daemon.events(numbers[3])), 2)
        self.assert_metrics(daemon)

    def test_a_fork_that_fails_is_an_event(self) -> None:
        daemon = self.start()
        daemon.refused(404, "POST", "/v1/fork", {"snapshot": "none", "new": "b"})
        events = [event for event in daemon.events() if event["event"] == "fork"]
        self.assertEqual([(one["source"], one["snapshot"], one["outcome"], one["kind"])
                          for one in events], [("none", "b", "failed", "not_found")])

    def assert_metrics(self, daemon: Daemon) -> None:
        """What the life above must have counted. Figures of the store may be old ones for a while."""
        expected = {
            'laminad_pauses_total{kind="full",outcome="done"}': 1,
            'laminad_pauses_total{kind="diff",outcome="done"}': 1,
            'laminad_resumes_total{mode="uffd",outcome="done"}': 1,
            'laminad_resumes_total{mode="file",outcome="done"}': 1,
            'laminad_pause_phase_seconds_count{phase="frozen"}': 2,
            'laminad_pause_phase_seconds_bucket{phase="complete",le="+Inf"}': 2,
            'laminad_removals_total{outcome="done"}': 1,
            'laminad_forks_total{outcome="done"}': 1,
            "laminad_snapshots": 1, "laminad_chain_layers_max": 2,
            "laminad_chain_layers_mean": 2, "laminad_running_vms": 2,
            "laminad_queued_pauses": 0}
        found: dict[str, float] = {}

        def are_right() -> bool:
            with contextlib.suppress(AssertionError):  # those of the store are not there yet
                found.update({name: daemon.metric(name) for name in expected})
            return found == expected
        wait_until(are_right, f"{found} become {expected}")
        self.assertGreater(daemon.metric('laminad_allocated_bytes{place="snapshots"}'), 0)
        self.assertGreater(daemon.metric('laminad_http_requests_total{code="200"}'), 5)

    def test_the_hook_and_files_belong_to_the_state_unless_hooks_are_refused(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(b"before")
        daemon = self.start()
        vm = self.fresh()
        self.paused(daemon, vm, "a", after="resume", attach=[str(disk)],
                    frozen_hook=f"echo $LAMINA_NAME > {disk}")
        self.assertEqual([path.read_text() for path in (self.store / "a").rglob("disk.img")],
                         ["a\n"])
        daemon.stop()
        daemon = self.start("--no-hooks")
        error = daemon.refused(400, "POST", "/v1/pause", {
            "api_socket": str(vm.api_socket), "name": "b", "frozen_hook": "true"})
        self.assertIn("--no-hooks", error["message"])
        self.assertEqual(vm.state(), "Running")

    def test_the_daemon_merges_by_itself_what_the_policy_wants_merged(self) -> None:
        daemon = self.start("--policy", "cap=4")
        vm = self.fresh()
        for number in range(7):
            vm.tell(f"write {number} {number + 1}")
            self.paused(daemon, vm, "a", after="resume")
        wait_until(lambda: daemon.done("GET", "/v1/health")["queued_merges"] == 0, "merges end")
        merges = [event for event in daemon.events() if event["event"] == "merge"]
        self.assertIn("merged", [event["outcome"] for event in merges])
        self.assertLess(len(daemon.done("GET", "/v1/snapshots/a")["layers"]), 7)
        self.assertGreaterEqual(daemon.metric('laminad_merges_total{outcome="merged"}'), 1)
        self.assertGreater(daemon.metric('laminad_merge_bytes_total{kind="written"}'), 0)
        vm.tell("write 9 9")
        self.paused(daemon, vm, "a", after="stay")
        self.done("verify", self.store / "a")

    def test_at_the_hard_limit_a_pause_waits_for_the_merge(self) -> None:
        daemon = self.start("--policy", "full:cap=3,hard=3")
        vm = self.fresh()
        for number in range(12):
            vm.tell(f"write {number} {number + 1}")
            report = self.paused(daemon, vm, "a", after="resume")
            # What is merged in time is dropped at most once; then the pause waits.
            self.assertLess(report["generation"], 4)

    def test_waiting_merges_are_done_at_the_start_and_by_compact(self) -> None:
        vm = self.fresh()
        for number in range(4):
            vm.tell(f"write {number} {number + 1}")
            self.pause(vm, "a", "--after", "resume")
        self.done("fork", self.store / "a", self.store / "b")
        daemon = self.start("--policy", "off")
        before = len(daemon.done("GET", "/v1/snapshots/a")["layers"])
        self.assertGreater(before, 2)
        planned = daemon.done("POST", "/v1/snapshots/b/compact",
                              {"policy": "full:cap=2", "dry_run": True})
        self.assertEqual(planned["outcome"], "planned")
        merged = daemon.done("POST", "/v1/snapshots/b/compact", {"policy": "full:cap=2"})
        self.assertEqual((merged["outcome"], merged["layers_after"]), ("merged", 1))
        self.assertEqual(len(daemon.done("GET", "/v1/snapshots/a")["layers"]), before)
        daemon.stop()
        daemon = self.start("--policy", "cap=3")
        wait_until(lambda: len(daemon.done("GET", "/v1/snapshots/a")["layers"]) == 1, "a is merged")

    def test_pins_of_ended_vms_are_released_from_time_to_time(self) -> None:
        daemon = self.start("--recover-interval", 1)
        vm = self.fresh()
        self.paused(daemon, vm, "a", after="resume")
        self.assertEqual(len(self.pins()), 1)
        vm.end()
        wait_until(lambda: not self.pins(), "the pin is released")
        wait_until(lambda: "recover" in [one["event"] for one in daemon.events()], "it is told")
        self.assertEqual(daemon.metric('laminad_recovered_total{what="released_pins"}'), 1)

    def test_metrics_have_a_socket_of_their_own_with_those_of_the_page_server(self) -> None:
        own = self.directory / "metrics"
        daemon = self.start("--metrics", f"unix:{own}")
        vm = self.fresh()
        self.paused(daemon, vm, "a")
        self.resumed(daemon, "a", mode="uffd")
        wait_until(lambda: "\nlamina_sessions 1\n" in self.get(own, "/metrics"), "it is served")
        self.assertIn("\nlaminad_running_vms 1\n", self.get(own, "/metrics"))
        self.assertIn("there is no", self.get(own, "/v1/health"))

    @staticmethod
    def get(path: Path, url: str) -> str:
        """What a socket answers."""
        with contextlib.closing(UnixConnection(path)) as connection:
            connection.request("GET", url)
            return connection.getresponse().read().decode()


class DescriptionTest(DaemonTest):
    """docs/openapi.json is what the daemon does."""

    def setUp(self) -> None:
        """Starts a daemon."""
        super().setUp()
        self.document = json.loads(OPENAPI.read_text(encoding="utf-8"))
        self.daemon = self.start()

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema without the reference to it."""
        if "allOf" in schema:
            return {**self.resolve(schema["allOf"][0]), "nullable": schema.get("nullable", False)}
        if "$ref" not in schema:
            return schema
        return self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]

    def assert_fits(self, value: Any, schema: dict[str, Any], where: str) -> None:
        """The value has what the schema says, and nothing else."""
        schema = self.resolve(schema)
        if value is None:
            return self.assertTrue(schema.get("nullable"), f"{where} is null")
        kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
                 "number": (int, float)}
        self.assertIsInstance(value, kinds[schema["type"]], where)
        if "enum" in schema:
            self.assertIn(value, schema["enum"], where)
        if schema["type"] == "array":
            for item in value:
                self.assert_fits(item, schema["items"], where + "[]")
        if schema["type"] == "object" and "properties" in schema:
            properties = schema["properties"]
            self.assertEqual(set(value) - set(properties), set(), f"{where} has more")
            self.assertEqual(set(schema.get("required", [])) - set(value), set(),
                             f"{where} lacks some")
            for name, item in value.items():
                self.assert_fits(item, properties[name], f"{where}.{name}")

    def answer_fits(self, method: str, path: str, template: str, body: Any = None) -> Any:
        """A request whose answer is as described."""
        operation = self.document["paths"][template][method.lower()]
        value = self.daemon.done(method, path, body)
        content = operation["responses"]["200"]["content"]
        self.assert_fits(value, content["application/json"]["schema"], f"{method} {template}")
        return value

    def test_the_daemon_serves_its_description(self) -> None:
        self.assertEqual(self.daemon.done("GET", "/v1/openapi.json"), self.document)

    def test_every_path_has_the_methods_that_are_described_and_no_other(self) -> None:
        for template, item in self.document["paths"].items():
            described = {name.upper() for name in item} & {"GET", "POST", "DELETE", "PUT", "PATCH"}
            error = self.daemon.refused(405, "PATCH", template.replace("{name}", "a"))
            self.assertIn("not PATCH", error["message"])
            allowed = set(self.daemon.headers["Allow"].split(", "))
            self.assertEqual(allowed, described, template)

    def test_answers_have_the_keys_that_are_described(self) -> None:
        vm = self.fresh()
        body = {"api_socket": str(vm.api_socket), "name": "a", "after": "resume"}
        self.answer_fits("POST", "/v1/pause", "/v1/pause", body)
        vm.tell("write 1 1")
        self.answer_fits("POST", "/v1/pause", "/v1/pause", {**body, "after": "stop"})
        self.answer_fits("POST", "/v1/resume", "/v1/resume", {
            "api_socket": str(self.waiting().api_socket), "name": "a", "mode": "file"})
        self.answer_fits("POST", "/v1/fork", "/v1/fork", {"snapshot": "a", "new": "b"})
        source = self.fresh()
        self.answer_fits("POST", "/v1/fork-live", "/v1/fork-live", {
            "api_socket": str(source.api_socket), "name": "live", "clones": [
                {"api_socket": str(self.waiting().api_socket)}, {"api_socket": "/nowhere"}]})
        (self.store / "damaged").mkdir()
        (self.store / "damaged" / "memfile.header").write_bytes(b"x")
        self.answer_fits("GET", "/v1/snapshots?tree=true", "/v1/snapshots")
        one = "/v1/snapshots/{name}"
        self.answer_fits("GET", "/v1/snapshots/a", one)
        for body in ({"dry_run": True, "policy": "full:cap=2"}, {"policy": "full:cap=2"}, {}):
            self.answer_fits("POST", "/v1/snapshots/a/compact", one + "/compact", body)
        for url in ("/v1/snapshots/b?dry_run=true", "/v1/snapshots/b"):
            self.answer_fits("DELETE", url, one)
        removal = {"snapshots": ["b", "damaged"], "store": str(self.store)}
        self.answer_fits("POST", "/v1/remove", "/v1/remove", {**removal, "dry_run": True})
        self.answer_fits("POST", "/v1/remove", "/v1/remove", removal)
        for url in ("/v1/sessions", "/v1/health", "/v1/version"):
            self.answer_fits("GET", url, url)
        self.answer_fits("POST", "/v1/recover", "/v1/recover", {"dry_run": True})
        self.answer_fits("POST", "/v1/recover", "/v1/recover")
        event = self.resolve({"$ref": "/Event"})
        for found in self.daemon.events():
            self.assertEqual(set(event["required"]) - set(found), set())
            self.assertIn(found["event"], event["properties"]["event"]["enum"])

    def test_every_described_field_is_known_and_its_type_is_checked(self) -> None:
        for template, item in self.document["paths"].items():
            for method in {"get", "post", "delete"} & set(item):
                path = template.replace("{name}", "nothing")
                for name, schema in self.fields_of(item[method]).items():
                    self.assert_is_known(method.upper(), path, name, schema)
                self.assert_unknown_is_refused(method.upper(), path)

    def fields_of(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The fields that a request may have, in its query or its body."""
        fields = {one["name"]: one["schema"] for one in operation.get("parameters", [])}
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            fields.update(self.resolve(content["schema"])["properties"])
        return fields

    def assert_is_known(self, method: str, path: str, name: str, schema: dict[str, Any]) -> None:
        """A field of the wrong type is refused for its type: it is known."""
        bad: Any = {"string": 7, "boolean": "x", "integer": "x", "array": 7}[schema["type"]]
        answer = (self.daemon.request(method, path, {name: bad}) if method == "POST"
                  else self.daemon.request(method, f"{path}?{name}={bad}"))
        message = answer.json["error"]["message"]
        self.assertEqual(answer.status, 400, f"{path} {name}")
        self.assertNotIn("not known", message, f"{path} {name}")
        if "is missing" not in message:
            self.assertIn(f"'{name}'", message)

    def assert_unknown_is_refused(self, method: str, path: str) -> None:
        """A field that is not described names itself in the refusal."""
        error = (self.daemon.refused(400, method, path, {"odd_field": 1}) if method == "POST"
                 else self.daemon.refused(400, method, path + "?odd_field=1"))
        self.assertIn("'odd_field'", error["message"])

    def test_every_metric_of_the_dashboard_exists(self) -> None:
        board = (ROOT / "contrib" / "grafana-dashboard.json").read_text(encoding="utf-8")
        json.loads(board)
        names = {re.sub("_(bucket|sum|count)$", "", name)
                 for name in re.findall(r"\blaminad?_[a-z_]+", board)}
        self.assertGreater(len(names), 10)
        text = self.daemon.request("GET", "/metrics").body
        known = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
        source = (ROOT / "src" / "server" / "metrics.cc").read_text(encoding="utf-8")
        known |= {"lamina_" + name for name in re.findall(r'"([a-z_]+)"', source)}
        self.assertEqual(names - known, set())


class FreezeMemoryTest(DaemonTest):
    """Where the diffs of VMs that run on are written."""

    def test_the_settings_hold_for_requests_that_say_nothing(self) -> None:
        memory = Path(tempfile.mkdtemp(prefix="lamina-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, memory)
        for settings, fields, place in (
                (("--freeze-directory", memory), {}, "memory"),
                (("--freeze-directory", memory), {"freeze_memory": 0}, "disk"),
                (("--freeze-memory", 0), {}, "disk"),
                (("--freeze-memory", 0), {"freeze_memory": 1 << 30,
                                          "freeze_directory": str(memory)}, "memory")):
            daemon = self.start(*settings)
            vm = self.fresh()
            self.paused(daemon, vm, "a", after="resume", replace=True)
            vm.tell("write 1 1")
            report = self.paused(daemon, vm, "a", after="resume", **fields)
            self.assertEqual((report["kind"], report["place"]), ("diff", place), str(report))
            self.assertGreater(report["phases"]["durable_ms"], report["phases"]["frozen_ms"])
            counts = {name: daemon.metric(f'laminad_pause_places_total{{place="{name}"}}')
                      for name in ("memory", "disk")}
            self.assertEqual(counts, {"memory": 1, "disk": 1} if place == "memory"
                             else {"memory": 0, "disk": 2})
            self.assertEqual(
                daemon.metric('laminad_pause_phase_seconds_count{phase="durable"}'), 2)
            self.assertEqual(daemon.events()[-1]["place"], place)
            daemon.stop()
            vm.end()


class ErrorTest(DaemonTest):
    """Failures, and hostile clients."""

    def test_failures_have_the_status_and_kind_that_belong_together(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        pause = {"api_socket": str(vm.api_socket), "name": "a"}
        for status, kind, method, path, body in (
                (400, "usage", "POST", "/v1/pause", "no json"),
                (400, "usage", "POST", "/v1/pause", "[1]"),
                (400, "usage", "POST", "/v1/pause", "{}"),
                (400, "usage", "POST", "/v1/pause", {**pause, "name": "../x"}),
                (400, "usage", "POST", "/v1/pause", {**pause, "name": ".vms"}),
                (400, "usage", "POST", "/v1/pause", {**pause, "name": "a\0b"}),
                (400, "usage", "POST", "/v1/pause", {**pause, "name": "a b"}),
                (400, "usage", "POST", "/v1/pause", {**pause, "after": "dance"}),
                (400, "usage", "POST", "/v1/pause", {**pause, "timeout": -1}),
                (400, "usage", "POST", "/v1/pause", {**pause, "timeout": 0.5}),
                (400, "usage", "POST", "/v1/pause", {**pause, "hook_timeout": 0}),
                (400, "usage", "POST", "/v1/pause?full=true", pause),
                (421, "usage", "POST", "/v1/pause", {**pause, "store": str(self.directory)}),
                (421, "usage", "POST", "/v1/pause", {**pause, "store": "/nowhere"}),
                (404, "not_found", "POST", "/v1/recover", {"store": str(self.store)}),
                (400, "usage", "POST", "/v1/recover", {"give_up": ["x"]}),
                (400, "usage", "POST", "/v1/recover", {"give_up": "x"}),
                (400, "usage", "POST", "/v1/remove", {}),
                (400, "usage", "POST", "/v1/remove", {"snapshots": []}),
                (400, "usage", "POST", "/v1/remove", {"snapshots": ["../x"]}),
                (400, "usage", "POST", "/v1/remove", {"snapshots": ["a b"]}),
                (404, "not_found", "POST", "/v1/pause", {**pause, "api_socket": "/nowhere"}),
                (400, "usage", "POST", "/v1/fork", {"snapshot": "a", "new": "x/y"}),
                (404, "not_found", "POST", "/v1/fork", {"snapshot": "a", "new": "b"}),
                (404, "not_found", "DELETE", "/v1/snapshots/a", None),
                (400, "usage", "DELETE", "/v1/snapshots/.vms", None),
                (400, "usage", "GET", "/v1/snapshots", "body"),
                (400, "usage", "POST", "/v1/snapshots/a/compact", {"policy": "wild"}),
                (404, "not_found", "GET", "/v1/snapshots/a/b", None),
                (404, "not_found", "GET", "/v1/snapshots/", None),
                (404, "not_found", "GET", "/", None),
                (405, "usage", "PUT", "/v1/pause", None)):
            error = daemon.refused(status, method, path, body)
            self.assertEqual(error["kind"], kind, f"{method} {path} {body}: {error}")
        self.assertEqual((vm.state(), os.listdir(self.store)), ("Running", [".vms"]))
        (self.store / "bad").mkdir()
        (self.store / "bad" / "memfile.header").write_bytes(b"x" * 100)
        self.assertEqual(daemon.refused(500, "GET", "/v1/snapshots/bad")["kind"], "corrupt")

    def test_a_failed_removal_does_not_stop_the_others(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        self.paused(daemon, vm, "a")
        report = daemon.done("POST", "/v1/remove", {"snapshots": ["none", "a", "a"]})
        self.assertEqual([one["removed"] for one in report["snapshots"]], [False, True])
        self.assertEqual(report["snapshots"][0]["error"]["kind"], "not_found")
        self.assertIn("a' is named more than once", "".join(report["notes"]))
        self.assertEqual([one["event"] for one in daemon.events()], ["pause", "delete"])
        self.assertEqual(daemon.metric('laminad_removals_total{outcome="done"}'), 1)
        self.assertEqual(daemon.metric('laminad_removals_total{outcome="failed"}'), 1)

    def test_a_taken_name_and_a_missing_program_have_errors_of_their_own(self) -> None:
        daemon = self.start("--lamina", self.directory / "missing")
        self.paused(daemon, self.fresh(), "a")
        daemon.done("POST", "/v1/fork", {"snapshot": "a", "new": "b"})
        error = daemon.refused(409, "POST", "/v1/fork", {"snapshot": "a", "new": "b"})
        self.assertIn("already exists", error["message"])
        error = daemon.refused(500, "POST", "/v1/resume", {
            "api_socket": str(self.waiting().api_socket), "name": "a", "mode": "uffd"})
        self.assertEqual(error["kind"], "failed")
        self.assertIn(f"start '{self.directory}/missing': no such file", error["message"])

    def test_numbers_of_events_grow_when_the_clock_was_set_back(self) -> None:
        vm = self.fresh()
        numbers = []
        for _ in range(2):
            daemon = self.start()
            self.paused(daemon, vm, "a", after="resume")
            numbers.append(daemon.events()[-1]["sequence"])
            self.assertEqual(daemon.stop(), EXIT_DONE)
            # As a day later, before the clock was set back.
            lock = self.store / ".vms" / "laminad.lock"
            lock.write_text(f"{int(lock.read_text()) + 86_400_000:020}\n")
        daemon = self.start()
        self.paused(daemon, vm, "a", after="resume")
        numbers.append(daemon.events(numbers[-1])[-1]["sequence"])
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreater(numbers[1], numbers[0] + 86_000_000)

    def test_a_hook_that_takes_too_long_fails(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        error = daemon.refused(500, "POST", "/v1/pause", {
            "api_socket": str(vm.api_socket), "name": "a", "after": "resume",
            "frozen_hook": "exec sleep 1000", "hook_timeout": 1})
        self.assertIn("a@", error["message"])
        self.assertEqual(vm.state(), "Running")

    def test_a_vm_that_is_being_paused_is_busy(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("fail create-slow")
        first = threading.Thread(target=self.paused, args=(daemon, vm, "a"))
        first.start()
        vm.wait_held()
        error = daemon.refused(409, "POST", "/v1/pause",
                               {"api_socket": str(vm.api_socket), "name": "a"})
        self.assertEqual(error["kind"], "busy")
        vm.tell("release")
        first.join()
        self.assertEqual(vm.wait(), -signal.SIGKILL)

    def test_hostile_bytes_end_in_an_error_or_a_closed_connection(self) -> None:
        daemon = self.start("--request-timeout", 1)
        head = b"POST /v1/pause HTTP/1.1\r\nHost: x\r\n"
        for number, text in enumerate((
                os.urandom(4096) + b"\r\n\r\n", b"\0" * 100_000, b"GET", b"\r\n" * 50_000,
                b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000,
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000, b"GET /" + b"a" * 100_000,
                head + b"Content-Length: 99999999999999999999\r\n\r\n",
                head + b"Content-Length: -1\r\n\r\n",
                head + b"Content-Length: 5000000\r\n\r\n" + b"x" * 100_000,
                head + b"Content-Length: 5000000\r\n\r\n",
                head + b"Transfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 +
                b"\r\n8000\r\n" + b"x" * 0x8000 + b"\r\n1\r\nx\r\n" * 1000,
                head + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
                head + b"Content-Length: 65000\r\n\r\n" + b"[" * 65_000,
                b"GET /v1/snapshots/%00%ff%2e%2e%2f HTTP/1.1\r\nHost: x\r\n\r\n")):
            with self.subTest(number), daemon.connect() as client:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(text)
                    client.shutdown(socket.SHUT_WR)
                answer = self.read_all(client)
                if answer:
                    self.assertRegex(answer.split(b"\r\n")[0], rb"^HTTP/1\.[01] [45]\d\d ")
        self.assertEqual(daemon.done("GET", "/v1/health")["status"], "ok")
        with daemon.connect() as client:
            client.sendall(head + b"Content-Length: 65537\r\n\r\n")
            self.assertTrue(self.read_all(client).startswith(b"HTTP/1.1 413 "))
        self.assertEqual(daemon.refused(400, "POST", "/v1/pause", "x" * 65_536)["kind"], "usage")

    def test_clients_that_do_not_end_their_request_are_cut_off(self) -> None:
        daemon = self.start("--request-timeout", 3)
        vm = self.fresh()
        vm.tell("fail create-slow")
        body = json.dumps({"api_socket": str(vm.api_socket), "name": "a"}).encode()
        with daemon.connect() as silent, daemon.connect() as slow, daemon.connect() as waiting:
            # One whose request is worked on waits for as long as that takes.
            waiting.sendall(b"POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: "
                            b"%d\r\n\r\n%s" % (len(body), body))
            slow.sendall(b"GET /v1/health HTTP/1.1\r\nHost:")
            vm.wait_held()
            self.assertEqual((silent.recv(1), slow.recv(1)), (b"", b""))
            vm.tell("release")
            self.assertTrue(waiting.recv(4096).startswith(b"HTTP/1.1 200 "))

    @staticmethod
    def read_all(client: socket.socket) -> bytes:
        """What comes until the connection is closed."""
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
        return answer

    def test_idle_and_slow_clients_do_not_block_others(self) -> None:
        daemon = self.start()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(daemon.connect()) for _ in range(200)]
            for client in clients[:100]:
                client.sendall(b"POST /v1/pause HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
            vm = self.fresh()
            self.paused(daemon, vm, "a")
            wait_until(lambda: daemon.metric("laminad_http_connections") >= 200, "all are there")
            self.assertEqual(daemon.metric("laminad_http_requests_running"), 1)
        wait_until(lambda: daemon.metric("laminad_http_connections") == 1, "all are gone")

    def test_a_user_who_may_not_connect_gets_status_403(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("another user cannot be played without root")
        daemon = self.start("--listen-mode", "0666")
        self.assertEqual(self.status_as(OTHER_USER, daemon), 403)
        daemon.stop()
        daemon = self.start("--listen-mode", "0666", "--allow-uid", OTHER_USER)
        self.assertEqual(self.status_as(OTHER_USER, daemon), 200)

    @staticmethod
    def status_as(user: int, daemon: Daemon) -> int:
        """The status of a request by another user."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                os.setresuid(user, user, user)
                with daemon.connect() as client:
                    # A refused client is answered before it has sent anything.
                    with contextlib.suppress(BrokenPipeError):
                        client.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                    os.write(writing, client.recv(4096))
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            return int(answer.read().split()[1])

    def test_bad_options_and_a_second_daemon_are_refused(self) -> None:
        listen = ("--listen", f"unix:{self.directory / 'other'}")
        config = self.directory / "config.json"
        config.write_text('{"polcy": "off"}')
        daemon = self.start()
        for code, *options in (
                (EXIT_USAGE,), (EXIT_USAGE, "--store", self.store), (EXIT_USAGE, "--odd"),
                (EXIT_USAGE, "--store", self.store, "--listen", "/without/scheme"),
                (EXIT_USAGE, "--store", self.store, *listen, "--policy", "wild"),
                (EXIT_USAGE, "--store", self.store, *listen, "--recover-interval", "0"),
                (EXIT_USAGE, "--store", self.store, *listen, "--config", config),
                (EXIT_NOT_FOUND, "--store", self.directory / "none", *listen),
                (EXIT_BUSY, "--store", self.store, *listen)):
            outcome = subprocess.run([daemon_program(), *map(str, options)], capture_output=True,
                                     text=True, timeout=TIMEOUT_S, check=False)
            self.assertEqual(outcome.returncode, code, f"{options}: {outcome.stderr}")
            said = json.loads(outcome.stderr)
            self.assertEqual(said["level"], "error")
            if code == EXIT_NOT_FOUND:
                self.assertIn(f"mkdir {self.directory / 'none'}", said["remedy"])
            elif code == EXIT_BUSY:  # btrfs hides which process it is
                self.assertRegex(said["message"], f"already, (process {daemon.pid}|another process)$")


class EndTest(DaemonTest):
    """Restarts, kills and signals."""

    def test_vms_live_through_a_restart_of_the_daemon(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("run 300 1")
        self.paused(daemon, vm, "a")
        vm, _ = self.resumed(daemon, "a", mode="uffd", populate="none")
        servers = page_servers_of(self.store)
        self.assertEqual(daemon.stop(), EXIT_DONE)
        vm.tell("touch 50 1")
        daemon = self.start()
        self.assertEqual(page_servers_of(self.store), servers)
        self.check(vm)
        self.assertEqual(self.paused(daemon, vm, "a", after="resume")["kind"], "diff")
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        self.stop_page_servers()
        daemon = self.start()
        wait_until(lambda: page_servers_of(self.store), "VMs have a page server again")
        self.check(vm)

    def test_the_next_daemon_settles_the_pause_of_a_killed_one(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("run 100 1")
        self.paused(daemon, vm, "a", after="resume")
        vm.tell("fail create-slow")
        pause = threading.Thread(target=self.fails, args=(daemon, vm, "a"))
        pause.start()
        vm.wait_held()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        pause.join()
        vm.tell("release")
        daemon = self.start()
        wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
        wait_until(lambda: vm.state() == "Running", "the VM runs again")
        self.assert_nothing_left()
        event, = (one for one in daemon.events() if one["event"] == "recover")
        self.assertEqual((event["discarded"], event["resumed_vms"]), (1, 1))
        self.assertEqual(self.paused(daemon, vm, "a")["kind"], "full")
        self.done("verify", self.store / "a")

    def fails(self, daemon: Daemon, vm: Firecracker, name: str) -> None:
        """A pause that gets no answer."""
        with self.assertRaises(OSError):
            self.paused(daemon, vm, name)

    def test_a_stop_waits_for_the_pause_that_runs_and_its_answer(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("fail create-slow")
        reports: list[dict[str, Any]] = []
        pause = threading.Thread(
            target=lambda: reports.append(self.paused(daemon, vm, "a", after="resume")))
        pause.start()
        vm.wait_held()
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("stopping"), "it stops")
        wait_until(lambda: not daemon.api_socket.exists(), "its socket is gone")
        self.assertTrue(daemon.is_running())
        vm.tell("release")
        self.assertEqual(daemon.wait(), EXIT_DONE)
        pause.join()
        self.assertEqual([report["kind"] for report in reports], ["full"])
        self.assertEqual(vm.state(), "Running")

    def test_a_pause_that_outlasts_the_stop_is_left_to_the_next_start(self) -> None:
        daemon = self.start("--stop-timeout", 1)
        vm = self.fresh()
        vm.tell("fail create-slow")
        pause = threading.Thread(target=self.fails, args=(daemon, vm, "a"))
        pause.start()
        vm.wait_held()
        self.assertEqual(daemon.stop(), 1)
        pause.join()
        vm.tell("release")
        daemon = self.start()
        wait_until(lambda: vm.state() == "Running", "the VM runs again")

    def test_the_file_of_options_is_read_again_at_a_hangup(self) -> None:
        config = self.directory / "config.json"
        config.write_text('{"policy": "off", "no_hooks": false}')
        daemon = self.start("--config", config)
        config.write_text('{"policy": "full:cap=2,hard=9", "no_hooks": true}')
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: daemon.logged("reload"), "it reads the file")
        vm = self.fresh()
        body = {"api_socket": str(vm.api_socket), "name": "a", "frozen_hook": "true"}
        daemon.refused(400, "POST", "/v1/pause", body)
        self.paused(daemon, vm, "a")
        report = daemon.done("POST", "/v1/snapshots/a/compact", {"dry_run": True})
        self.assertEqual(report["policy"], "full:cap=2,hard=9")
        self.assertNotIn("needs_restart", daemon.logged("reload")[0])
        config.write_text("nonsense")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: len(daemon.logged("reload")) == 2, "it refuses the file")
        self.assertEqual(daemon.logged("reload")[1]["level"], "error")
        config.write_text('{"policy": "off", "workers": 3}')
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: len(daemon.logged("reload")) == 3, "it reads the file once more")
        self.assertEqual(daemon.logged("reload")[2]["needs_restart"], ["workers"])

    def test_a_service_manager_is_told_and_its_watchdog_fed(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            path = self.directory / "notify"
            manager.bind(str(path))
            manager.settimeout(TIMEOUT_S)
            daemon = self.start(environment={"NOTIFY_SOCKET": str(path),
                                             "WATCHDOG_USEC": "200000"})
            said: list[str] = []
            while "WATCHDOG=1" not in said[-1:] or "READY" not in "".join(said):
                said.append(manager.recv(4096).decode())
            daemon.signal(signal.SIGTERM)
            while "STOPPING=1" not in said:
                said.append(manager.recv(4096).decode())
            self.assertEqual(daemon.wait(), EXIT_DONE)

    def test_the_examples_are_valid(self) -> None:
        example = json.loads((ROOT / "docs" / "laminad.example.json").read_text())
        example.update(store=str(self.store), listen=f"unix:{self.directory / 'laminad.sock'}",
                       metrics=f"unix:{self.directory / 'm'}", lamina=os.environ["LAMINA"])
        config = self.directory / "config.json"
        config.write_text(json.dumps(example))
        daemon = self.start("--config", config)
        self.assertEqual(daemon.done("GET", "/v1/health")["status"], "ok")
        self.assertGreater(len(daemon.request("GET", "/metrics").body), 1000)
        help_text = subprocess.run([daemon_program(), "--help"], capture_output=True, text=True,
                                   check=True).stdout
        options = set(re.findall(r"^  --([a-z-]+)", help_text, re.MULTILINE))
        self.assertEqual({name.replace("_", "-") for name in example}, options - {"config"})


if __name__ == "__main__":
    main()
