#!/usr/bin/env python3
"""VMs that are forked alive by a request to the daemon, with both VMMs.

Environment: LAMINA, LAMINAD, FAKE_FIRECRACKER and FAKE_CLOUD_HYPERVISOR are the binaries.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

import test_daemon_crash  # as a module: its tests are not run here
from cloud_hypervisor import CloudHypervisor
from daemon import Daemon, DaemonTest
from faults import require_strace
from firecracker import Firecracker
from lives import KILL
from memory_files import EXIT_DONE, EXIT_FAILED, PAGE_BYTES, lamina, main
from serving import wait_until

PATH = "/v1/fork-live"
OTHER_USER = 65534


class LiveForkTest(DaemonTest):
    """Clones that run before their state is on the disk."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = Path(tempfile.mkdtemp(prefix="lamina-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, self.memory)

    def listening(self, *options: str | int | Path) -> Daemon:
        """A daemon that has recovered the store."""
        daemon = self.start("--freeze-directory", self.memory, *options)
        wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
        return daemon

    def source(self, daemon: Daemon) -> Firecracker:
        """A VM whose next checkpoint is a diff."""
        vm = self.fresh()
        vm.tell("run 300 1")
        self.paused(daemon, vm, "a", after="resume")
        vm.tell("run 60 2")
        return vm

    @staticmethod
    def body(vm: Firecracker, clones: list[Firecracker], **fields: Any) -> dict[str, Any]:
        """The request."""
        return {"api_socket": str(vm.api_socket), "name": "a",
                "clones": [{"api_socket": str(clone.api_socket)} for clone in clones], **fields}

    def forks_of(self, daemon: Daemon) -> list[dict[str, Any]]:
        """Its events of forks."""
        return [event for event in daemon.events() if event["event"] == "fork_live"]

    def test_clones_and_source_go_their_own_ways(self) -> None:
        daemon = self.listening()
        for mode in ("uffd", "file"):
            with self.subTest(mode):
                vm = self.source(daemon)
                clones = [self.waiting() for _ in range(3)]
                report = daemon.done("POST", PATH, self.body(vm, clones, mode=mode))
                pause = report["pause"]
                self.assertEqual((pause["kind"], pause["place"], pause["snapshot"]),
                                 ("diff", "memory", "a"))
                self.assertEqual([(one["api_socket"], one["resume"]["pid"], one["error"])
                                  for one in report["clones"]],
                                 [(str(clone.api_socket), clone.pid, None) for clone in clones])
                self.assertEqual(sorted(one["resume"]["clone"] for one in report["clones"]),
                                 [1, 2, 3])
                self.assertEqual(vm.state(), "Running")
                for number, one in enumerate([vm, *clones]):
                    self.check(one)
                    one.tell(f"run 50 {number + 10}")
                event = self.forks_of(daemon)[-1]
                self.assertEqual((event["outcome"], event["pause_id"],
                                  [one["pid"] for one in event["clones"]]),
                                 ("done", pause["pause_id"], [clone.pid for clone in clones]))
                # The snapshot is their base: each takes a diff.
                for number, clone in enumerate(clones):
                    paused = self.paused(daemon, clone, f"{mode}-{number}")
                    self.assertEqual((paused["kind"], paused["parent_pause_id"]),
                                     ("diff", pause["pause_id"]))
                    self.done("verify", self.store / f"{mode}-{number}")
                self.assertEqual(self.paused(daemon, vm, "a")["kind"], "diff")
                self.assert_nothing_left()
                daemon.done("DELETE", "/v1/snapshots/a")
        for name, value in (('live_forks_total{outcome="done"}', 2),
                            ('live_fork_clones_total{outcome="done"}', 6),
                            ("live_fork_first_clone_seconds_count", 2),
                            ("live_fork_frozen_seconds_count", 2),
                            ('pauses_total{kind="full",outcome="done"}', 2),
                            ('resumes_total{mode="uffd",outcome="done"}', 3),
                            ('resumes_total{mode="file",outcome="done"}', 3)):
            self.assertEqual(daemon.metric(f"laminad_{name}"), value, name)

    def test_what_cannot_be_forked_is_refused_before_anything_is_done(self) -> None:
        daemon = self.listening("--no-hooks")
        vm, clone = self.source(daemon), self.waiting()
        before = len(daemon.events())
        good = self.body(vm, [clone])
        one = good["clones"][0]
        for fields, status, said in (
                ({"clones": None}, 400, "'clones' is not a list of objects"),
                ({"clones": ["x"]}, 400, "'clones[0]' is not an object"),
                ({"clones": [one, {}]}, 400, "'clones[1].api_socket' is missing"),
                ({"clones": [{**one, "odd": 1}]}, 400, "'clones[0].odd' is not known"),
                ({"clones": [{**one, "drive_override": ["x"]}]}, 400,
                 "'clones[0].drive_override' has 'x'"),
                ({"clones": [one] * 257}, 400, "at most 256"),
                ({"once": True}, 400, "'once' is not known"),
                ({"vsock_override": "/x"}, 400, "'vsock_override' is not known"),
                ({"frozen_hook": "true"}, 400, "--no-hooks"),
                ({"name": "../a"}, 400, "not the name"),
                ({"store": "/"}, 421, "keeps store")):
            error = daemon.refused(status, "POST", PATH, {**good, **fields})
            self.assertIn(said, error["message"])
        self.assertEqual(len(daemon.events()), before, "nothing was begun")
        # What the library refuses is an event, as with a pause.
        for fields, status, said in (
                ({"clones": []}, 400, "no clones"),
                ({"clones": [one, one]}, 400, "given twice"),
                ({"after": "stop"}, 400, "not stopped"),
                ({"api_socket": "/nowhere"}, 404, "/nowhere")):
            error = daemon.refused(status, "POST", PATH, {**good, **fields})
            self.assertIn(said, error["message"])
        self.assertEqual([event["outcome"] for event in self.forks_of(daemon)], ["failed"] * 4)
        self.assertEqual(daemon.metric('laminad_live_forks_total{outcome="usage"}'), 3)
        self.assertEqual((vm.state(), clone.state()), ("Running", "Not started"))
        self.assertEqual(self.paused(daemon, vm, "a")["kind"], "diff")

    def test_a_clone_that_fails_fails_no_other(self) -> None:
        daemon = self.listening()
        vm = self.source(daemon)
        bad, good = self.waiting("--fail", "load-refuse"), self.waiting()
        missing = {"api_socket": "/nowhere"}
        body = self.body(vm, [bad, good], mode="file")
        report = daemon.done("POST", PATH, {**body, "clones": [*body["clones"], missing]})
        self.assertEqual([one["resume"] is None for one in report["clones"]], [True, False, True])
        self.assertEqual([one["error"] and one["error"]["kind"] for one in report["clones"]],
                         ["failed", None, "not_found"])
        self.check(good)
        self.check(vm)
        self.done("verify", self.store / "a")
        line, = daemon.logged("fork_live")
        self.assertEqual(line["level"], "warning")
        self.assertEqual(line["clones"][2]["kind"], "not_found")
        for outcome in ("done", "failed", "not_found"):
            self.assertEqual(
                daemon.metric(f'laminad_live_fork_clones_total{{outcome="{outcome}"}}'), 1)
        self.assertEqual(self.paused(daemon, good, "b")["kind"], "diff")

    def test_a_source_may_stay_paused_and_so_may_clones(self) -> None:
        daemon = self.listening()
        vm, clone = self.source(daemon), self.waiting()
        daemon.done("POST", PATH, self.body(vm, [clone], after="stay", stay_paused=True))
        self.assertEqual((vm.state(), clone.state()), ("Paused", "Paused"))
        clone.resume()
        self.check(clone)
        self.assertEqual(self.paused(daemon, clone, "b")["kind"], "diff")

    def test_each_clone_has_its_jail(self) -> None:
        def jailed(name: str) -> Path:
            jail = self.directory / name
            jail.mkdir()
            os.chown(jail, OTHER_USER, OTHER_USER)
            return jail
        daemon = self.listening()
        jails = [jailed(f"jail-{number}") for number in range(3)]
        vm = self.fresh(jail=jails[0], user=OTHER_USER)
        vm.tell("run 100 1")
        clones = [self.waiting(jail=jail, user=OTHER_USER) for jail in jails[1:]]
        body = self.body(vm, clones, jail=str(jails[0]))
        for one, jail in zip(body["clones"], jails[1:]):
            one["jail"] = str(jail)
        report = daemon.done("POST", PATH, body)
        self.assertEqual([one["error"] for one in report["clones"]], [None, None])
        for number, (clone, jail) in enumerate(zip(clones, jails[1:])):
            self.check(clone)
            paused = self.paused(daemon, clone, f"b{number}", jail=str(jail))
            self.assertEqual((paused["kind"], paused["parent_pause_id"]),
                             ("diff", report["pause"]["pause_id"]))

    def test_a_fork_that_waits_for_a_clone_holds_no_other_request_up(self) -> None:
        daemon = self.listening("--workers", 1)
        _, _, slow, thread, answers = self.held(daemon)
        daemon.done("POST", "/v1/fork", {"snapshot": "a", "new": "b"})
        self.assertEqual(answers, [])
        slow.tell("release")
        thread.join()
        self.assertEqual([one["error"] for one in answers[0]["clones"]], [None, None])

    def words(self, vm: Firecracker, clones: list[Firecracker],
              *options: str | Path) -> list[str | Path]:
        """The command."""
        return ["fork", "--live", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                "--freeze-directory", self.memory, "--json", *options,
                *[clone.api_socket for clone in clones]]

    def test_the_command_follows_the_daemon(self) -> None:
        daemon = self.listening()
        vm = self.source(daemon)
        for number, options in enumerate(((), ("--no-daemon",), ("--frozen-hook", "true"))):
            clones = [self.waiting("--fail", "load-refuse"), self.waiting()]
            outcome = lamina(*self.words(vm, clones, "--mode", "file", *options))
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn(f"clone '{clones[0].api_socket}'", str(outcome))
            report = json.loads(outcome.stdout)
            self.assertEqual(report["message_type"], "fork_live")
            self.assertEqual(report["pause"]["snapshot"], str(self.store / "a"))
            self.assertEqual(report["clones"][1]["resume"]["snapshot"], str(self.store / "a"))
            self.check(clones[1])
            self.assertEqual(len(self.forks_of(daemon)), 1, f"{number} {options}")
        refused = lamina(*self.words(vm, [vm]))
        self.assertIn("given twice", str(refused))
        self.assertEqual(len(self.forks_of(daemon)), 2)

    def held(self, daemon: Daemon) -> tuple[Firecracker, Firecracker, Firecracker,
                                            threading.Thread, list[Any]]:
        """A fork whose snapshot is stored, and one of whose clones is being loaded: the source, a
        clone that runs, the one that is held, the thread that waits for the answer."""
        vm, good, slow = self.source(daemon), self.waiting(), self.waiting("--fail", "load-slow")
        before = self.pause_id()
        answers: list[Any] = []

        def request() -> None:
            try:
                answers.append(daemon.done("POST", PATH, self.body(vm, [good, slow], mode="file")))
            except OSError as error:
                answers.append(error)
        thread = threading.Thread(target=request)
        thread.start()
        slow.wait_held()
        wait_until(lambda: self.pause_id() != before, "the snapshot is stored")
        wait_until(lambda: good.state() == "Running", "the other clone runs")
        return vm, good, slow, thread, answers

    def pause_id(self) -> str:
        """What the name holds."""
        facts = json.loads((self.store / "a" / "snapshot.json").read_text(encoding="utf-8"))
        return str(facts["pause_id"])

    def test_a_stop_waits_for_the_fork_that_runs_and_its_answer(self) -> None:
        daemon = self.listening()
        vm, good, slow, thread, answers = self.held(daemon)
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("stopping"), "it stops")
        wait_until(lambda: not daemon.api_socket.exists(), "its socket is gone")
        self.assertTrue(daemon.is_running())
        slow.tell("release")
        self.assertEqual(daemon.wait(), EXIT_DONE)
        thread.join()
        self.assertEqual([one["error"] for one in answers[0]["clones"]], [None, None])
        for one in (vm, good, slow):
            self.check(one)
        self.assertEqual(self.pause(good, "b")["kind"], "diff")

    def test_killed_beside_a_clone_that_is_being_loaded(self) -> None:
        daemon = self.listening()
        vm, good, slow, thread, answers = self.held(daemon)
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        thread.join()
        self.assertIsInstance(answers[0], OSError)
        slow.tell("release")
        daemon = self.listening()
        self.assert_nothing_left()
        wait_until(lambda: slow.state() == "Paused", "it is loaded, and nobody lets it run")
        slow.resume()
        for number, one in enumerate((vm, good, slow)):
            self.check(one)
            one.tell(f"run 50 {number + 10}")
        self.paused(daemon, vm, "a")
        self.done("verify", self.store / "a")
        # Nobody has told their pins that the base is on the disk.
        for name, clone in (("b", good), ("c", slow)):
            self.assertEqual(self.paused(daemon, clone, name)["kind"], "full")
            self.done("verify", self.store / name)
        self.assert_nothing_left()

    def test_a_fork_that_outlasts_the_stop_leaves_clones_that_run_on(self) -> None:
        daemon = self.listening("--stop-timeout", 1)
        vm, good, slow, thread, answers = self.held(daemon)
        self.assertEqual(daemon.stop(), EXIT_FAILED)
        thread.join()
        self.assertIsInstance(answers[0], OSError)
        slow.end()
        self.listening()
        self.assert_nothing_left()
        for one in (vm, good):
            self.check(one)


class CloudHypervisorTest(DaemonTest):
    """The same with the other VMM."""

    on_tmpfs = True

    def started(self, *options: str | int | Path) -> CloudHypervisor:
        """A Cloud Hypervisor; without options one that has no VM."""
        vm = CloudHypervisor(*options)
        self.addCleanup(vm.end)
        return vm

    def test_each_clone_gets_its_own_files(self) -> None:
        disk = self.directory / "disk"
        disk.write_bytes(b"0" * PAGE_BYTES)
        vm = self.started("--start", "--shared", "--memory-mib", 4, "--disk", disk,
                          "--serial-file", self.directory / "serial")
        vm.tell("run 200 1")
        clones = [self.started() for _ in range(3)]
        own = [self.directory / f"own{number}" for number in range(2)]
        for directory in own:
            directory.mkdir()
        daemon = self.start()
        # The last one would have the source's files.
        body = {"api_socket": str(vm.api_socket), "name": "f",
                "frozen_hook": "; ".join(f"cp '{disk}' '{directory}/disk'" for directory in own),
                "clones": [
                    *({"api_socket": str(clone.api_socket),
                       "drive_override": [f"_disk0={directory / 'disk'}"],
                       "serial_override": str(directory / "serial")}
                      for clone, directory in zip(clones, own)),
                    {"api_socket": str(clones[2].api_socket)}]}
        report = daemon.done("POST", PATH, body)
        self.assertIn("open for writing", report["clones"][2]["error"]["message"])
        self.assertEqual(([one.state() for one in (vm, *clones)]),
                         ["Running", "Running", "Running", "None"])
        for number, (clone, directory) in enumerate(zip(clones, own)):
            config = clone.config()
            self.assertEqual((config["disks"][0]["path"], config["serial"]["file"]),
                             (str(directory / "disk"), str(directory / "serial")))
            self.assertEqual((directory / "disk").read_bytes(), disk.read_bytes())
            clone.tell(f"run 100 {number + 5}")
            paused = daemon.done("POST", "/v1/pause", {
                "api_socket": str(clone.api_socket), "name": f"c{number}", "after": "resume"})
            self.assertEqual((paused["kind"], paused["parent_pause_id"]),
                             ("diff", report["pause"]["pause_id"]))
            self.assertEqual(clone.control("check"), "ok")
            self.done("verify", self.store / f"c{number}")

    def test_killed_at_any_sync_the_source_loses_nothing(self) -> None:
        require_strace(self)
        killed = 0
        for number in range(1, 14, 2):
            vm = self.started("--start", "--shared", "--memory-mib", 4)
            vm.tell(f"run 200 {number}")
            clones = [self.started() for _ in range(2)]
            body = {"api_socket": str(vm.api_socket), "name": f"f{number}", "clones": [
                {"api_socket": str(clone.api_socket)} for clone in clones]}
            with self.subTest(number):
                daemon = self.start()
                wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
                options = ["-o", "/dev/null", "-e", "trace=fsync", "-e",
                           f"inject=fsync:{KILL}:when={number}"]
                with test_daemon_crash.DaemonCrash.traced(daemon, options):
                    try:
                        daemon.done("POST", PATH, body)
                    except OSError:
                        wait_until(lambda: not daemon.is_running(), "it was killed")
                        killed += 1
                daemon.end()
                # One that was being loaded answers no request any more.
                for clone in clones:
                    clone.end()
                daemon = self.start()
                wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
                self.assert_nothing_left()
                self.assertEqual((vm.state(), vm.control("check")), ("Running", "ok"))
                self.assertEqual([pin for pin in self.pins() if not pin.startswith(f"{vm.pid}-")],
                                 [])
                vm.tell(f"run 100 {number + 1}")
                daemon.done("POST", "/v1/pause", {
                    "api_socket": str(vm.api_socket), "name": f"f{number}", "replace": True})
                self.done("verify", self.store / f"f{number}")
                daemon.end()
        self.assertGreater(killed, 3)


if __name__ == "__main__":
    main()
