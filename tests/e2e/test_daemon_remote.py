#!/usr/bin/env python3
"""The daemon pushes after each pause: to a directory, or SeaweedFS where that can be had.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries. SEED repeats the moments of an
earlier run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import Daemon, DaemonTest
from firecracker import Firecracker
from memory_files import EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, lamina, main
from serving import wait_until

URL_VARIABLE = "LAMINA_TEST_BUCKET"
HEX_KEY = "0f" * 32
LONG_AGO_S = 3 * 24 * 3600


class DaemonRemoteTest(DaemonTest):
    """An empty bucket, and daemons that push to it."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = self.directory / "bucket"
        self.bucket.mkdir()
        self.url = f"file://{self.bucket}"
        if URL_VARIABLE in os.environ:
            base_url, _, options = os.environ[URL_VARIABLE].partition("?")
            self.url = f"{base_url}/{self.id()}-{os.getpid()}?{options}"

    def needs_a_directory(self) -> None:
        """Skips over a server, which cannot be moved away."""
        if URL_VARIABLE in os.environ:
            self.skipTest("only over a directory")

    def pushing(self, *options: str | int | Path, **more: Any) -> Daemon:
        """A daemon that pushes."""
        return self.start("--push", self.url, "--push-retry", 1, *options, **more)

    def remote(self, action: str, *arguments: str | Path) -> dict[str, Any]:
        """Runs a verb, which must succeed; returns its report."""
        return self.done("remote", action, self.url, *arguments, "--json").json

    def states(self) -> dict[str, str]:
        """The pause ids of the newest states in the bucket, by name."""
        return {one["name"]: one["pause_id"] for one in self.remote("ls")["snapshots"]}

    def local_states(self) -> dict[str, str]:
        """The pause ids of the snapshots in the store, by name."""
        listing = self.done("ls", self.store, "--json").json
        return {one["name"]: one["pause_id"] for one in listing["snapshots"]}

    def drained(self, daemon: Daemon) -> None:
        """Waits until nothing waits to be pushed."""
        wait_until(lambda: daemon.done("GET", "/v1/push")["queue"] == [],
                   f"the queue is empty: {daemon.said()}")

    @staticmethod
    def looked(daemon: Daemon) -> None:
        """Waits until the daemon, which pushes nothing, has read the bucket's id."""
        requests = 'laminad_remote_requests_total{outcome="done"}'
        before = daemon.metric(requests)
        wait_until(lambda: daemon.metric(requests) > before, "the bucket's id is read")

    @staticmethod
    def pushes(daemon: Daemon, outcome: str) -> list[dict[str, Any]]:
        """The events of pushes with that outcome."""
        return [event for event in daemon.events()
                if event["event"] == "push" and event["outcome"] == outcome]

    def changed(self, vm: Firecracker) -> None:
        """Lets the guest write."""
        vm.tell(f"run 20 {self.rng.randrange(1 << 30)}")


class Pushes(DaemonRemoteTest):
    """What happens after a pause."""

    def test_each_pause_is_pushed(self) -> None:
        daemon = self.pushing()
        vm = self.fresh()
        vm.tell("run 300 1")
        first = self.paused(daemon, vm, "a", after="resume")
        self.drained(daemon)
        self.assertEqual(self.states(), {"a": first["pause_id"]})
        self.changed(vm)
        second = self.paused(daemon, vm, "a", after="resume")
        self.drained(daemon)
        self.assertEqual(self.states(), {"a": second["pause_id"]})
        pushed = self.pushes(daemon, "done")
        self.assertEqual([event["number"] for event in pushed], [1, 2])
        self.assertEqual(daemon.metric('laminad_pushes_total{outcome="done"}'), 2)
        self.assertEqual(daemon.metric("laminad_push_queue"), 0)
        self.assertEqual(daemon.metric("laminad_push_oldest_seconds"), 0)
        self.assertGreater(daemon.metric("laminad_push_bytes_total"), 0)
        self.assertGreater(daemon.metric('laminad_remote_requests_total{outcome="done"}'), 0)
        self.assertEqual(daemon.done("GET", "/v1/health")["queued_pushes"], 0)
        other = self.directory / "other"
        other.mkdir()
        self.remote("pull", "a", "--store", other)
        self.done("verify", other / "a")

    def test_secrets_are_never_named(self) -> None:
        environment = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret",
                       "AWS_SESSION_TOKEN": "secret-token"}
        daemon = self.start("--push", "s3://bucket?endpoint=http://127.0.0.1:1", "--push-parallel",
                            1, environment=environment)
        vm = self.fresh()
        self.paused(daemon, vm, "a", after="resume")
        wait_until(lambda: daemon.done("GET", "/v1/push")["queue"][0]["state"] == "pushing",
                   "the push runs")
        said = daemon.request("GET", "/v1/push").body + daemon.request("GET", "/metrics").body
        daemon.refused(500, "POST", "/v1/pull", {"name": "a", "as": "b"})
        self.assertEqual(daemon.metric('laminad_pulls_total{outcome="failed"}'), 1)
        self.assertGreater(daemon.metric('laminad_remote_requests_total{outcome="unavailable"}'), 1)
        self.assertGreater(daemon.metric("laminad_remote_retries_total"), 1)
        said += json.dumps(daemon.events())
        self.assertEqual(daemon.stop(), EXIT_DONE)  # while the push waits for the bucket
        said += daemon.said()
        for secret in environment.values():
            self.assertNotIn(secret, said)

    def test_only_names_that_match_are_pushed(self) -> None:
        daemon = self.pushing("--push-names", "web-*")
        vm = self.fresh()
        self.paused(daemon, vm, "other", after="resume")
        self.paused(daemon, vm, "web-1", after="resume")
        self.drained(daemon)
        self.assertEqual(list(self.states()), ["web-1"])

    def test_pauses_of_other_processes_are_found(self) -> None:
        vm = self.fresh()
        report = self.pause(vm, "a", "--after", "resume", "--no-daemon")
        daemon = self.pushing("--recover-interval", 1)
        self.drained(daemon)
        wait_until(lambda: self.states() == {"a": report["pause_id"]}, "it was found at the start")
        self.changed(vm)
        report = self.pause(vm, "a", "--after", "resume", "--no-daemon")
        wait_until(lambda: self.states() == {"a": report["pause_id"]}, "it was found later")

    def test_pushes_are_encrypted_with_the_key_of_the_daemon(self) -> None:
        key = self.directory / "key"
        key.write_text(HEX_KEY)
        key.chmod(0o600)
        daemon = self.pushing("--push-key-file", key)
        self.paused(daemon, self.fresh(), "a")
        self.drained(daemon)
        self.assertTrue(self.remote("ls")["snapshots"][0]["encrypted"])
        self.assertNotIn(HEX_KEY, daemon.said())
        daemon.done("POST", "/v1/pull", {"name": "a", "as": "copy"})
        self.assertEqual(len(set(self.local_states().values())), 1)

    def test_a_missing_key_file_fails_once_and_is_noticed_when_it_is_back(self) -> None:
        key = self.directory / "key"
        key.write_text(HEX_KEY)
        key.chmod(0o600)
        daemon = self.pushing("--push-key-file", key, "--recover-interval", 1)
        away = key.rename(self.directory / "away")
        self.paused(daemon, self.fresh(), "a")
        wait_until(lambda: [entry["state"] for entry in daemon.done("GET", "/v1/push")["queue"]]
                   == ["failed"], "the push has failed for good")
        failures = self.pushes(daemon, "failed")
        self.assertEqual(len(failures), 1)
        self.assertIn(str(key), failures[0]["remedy"])
        away.rename(key)
        self.drained(daemon)
        self.assertEqual(list(self.states()), ["a"])
        self.assertTrue(self.remote("ls")["snapshots"][0]["encrypted"])

    def test_a_limit_of_the_bandwidth_is_kept(self) -> None:
        daemon = self.pushing("--push-rate", 1 << 30)
        vm = self.fresh()
        vm.tell("run 300 1")
        self.paused(daemon, vm, "a")
        self.drained(daemon)
        self.remote("verify", "--data")

    def test_a_conflict_is_kept_under_another_name_and_is_not_repeated(self) -> None:
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        vm = self.fresh()
        self.done("pause", "--api", vm.api_socket, "--store", elsewhere, "--name", "a", "--after",
                  "resume")
        theirs = self.remote("push", elsewhere / "a")
        daemon = self.pushing("--recover-interval", 1)
        ours = self.paused(daemon, self.fresh(), "a")
        self.drained(daemon)
        kept = f"a@{ours['pause_id']}"
        self.assertEqual(self.states(), {"a": theirs["pause_id"], kept: ours["pause_id"]})
        event, = self.pushes(daemon, "conflict")
        self.assertEqual(event["published_as"], kept)
        daemon.end()
        daemon = self.pushing()
        wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has looked")
        self.drained(daemon)
        self.assertEqual(daemon.metric('laminad_pushes_total{outcome="conflict"}'), 0)

    def test_a_bucket_that_cannot_be_used_ends_the_start(self) -> None:
        for url in ("ftp://host/x", "s3://id:secretsecret@bucket"):
            with self.subTest(url=url), self.assertRaises(AssertionError) as failed:
                self.start("--push", url)
            self.assertNotIn("secretsecret", str(failed.exception))


class LongPushes(DaemonRemoteTest):
    """A push that does not end: it may send one byte in a second."""

    def test_nothing_waits_for_a_push(self) -> None:
        daemon = self.pushing("--push-rate", 1, "--stop-timeout", 5)
        vm = self.fresh()
        vm.tell("run 300 1")
        first = self.paused(daemon, vm, "a", after="resume")

        def queued() -> list[tuple[str, str]]:
            return [(entry["state"], entry["pause_id"])
                    for entry in daemon.done("GET", "/v1/push")["queue"]]
        wait_until(lambda: queued() == [("pushing", first["pause_id"])], "the push runs")
        self.changed(vm)
        second = self.paused(daemon, vm, "a")
        self.assertEqual(queued(), [("pushing", second["pause_id"])])
        self.assertEqual(daemon.done("POST", "/v1/snapshots/a/compact",
                                     {"policy": "full:cap=2"})["outcome"], "merged")
        vm, _ = self.resumed(daemon, "a", mode="file")
        self.check(vm)
        daemon.done("DELETE", "/v1/snapshots/a")
        self.assertEqual(daemon.stop(), EXIT_DONE)
        self.assertEqual(self.remote("ls")["snapshots"], [])

    def test_the_state_is_pushed_by_the_next_daemon(self) -> None:
        daemon = self.pushing("--push-rate", 1)
        report = self.paused(daemon, self.fresh(), "a")
        wait_until(lambda: daemon.done("GET", "/v1/push")["queue"][0]["state"] == "pushing",
                   "the push runs")
        self.assertEqual(daemon.stop(), EXIT_DONE)
        daemon = self.pushing()
        wait_until(lambda: self.states() == {"a": report["pause_id"]}, "it is pushed")


    def test_a_push_that_cannot_be_interrupted_does_not_keep_the_daemon(self) -> None:
        gate = self.directory / "gate"
        os.mkfifo(gate)
        daemon = self.pushing("--push-parallel", 1, "--push-key-command", f"read line < {gate}")
        self.paused(daemon, self.fresh(), "a")
        gate_opened = os.open(gate, os.O_WRONLY)  # once the command waits
        self.assertEqual(daemon.stop(), EXIT_DONE)
        os.close(gate_opened)
        self.assertEqual(daemon.logged("stopped")[0]["abandoned_pushes"], 1)


class Outages(DaemonRemoteTest):
    """The bucket is away for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.needs_a_directory()
        self.away = self.directory / "away"

    def test_the_latest_state_is_pushed_when_the_bucket_is_back(self) -> None:
        self.bucket.rename(self.away)
        daemon = self.pushing()
        vm = self.fresh()
        reports = []
        for _ in range(3):
            self.changed(vm)
            reports.append(self.paused(daemon, vm, "a", after="resume"))
        wait_until(lambda: daemon.done("GET", "/v1/push")["queue"][0]["failed_attempts"] > 1,
                   "it is tried again")
        entry, = daemon.done("GET", "/v1/push")["queue"]
        self.assertEqual((entry["name"], entry["pause_id"]), ("a", reports[-1]["pause_id"]))
        self.assertEqual(entry["error"]["kind"], "not_found")
        self.assertEqual(daemon.metric("laminad_push_queue"), 1)
        self.assertEqual(len(self.pushes(daemon, "failed")), 1)  # not one for each attempt
        daemon.end()
        daemon = self.pushing()
        wait_until(lambda: daemon.done("GET", "/v1/push")["queue"], "the queue is known again")
        self.away.rename(self.bucket)
        self.drained(daemon)
        listing = self.remote("ls", "--all")["snapshots"]
        self.assertEqual([(one["name"], one["pause_id"], one["number"]) for one in listing],
                         [("a", reports[-1]["pause_id"], 1)])

    def test_an_emptied_bucket_gets_all_states_again(self) -> None:
        daemon = self.pushing("--recover-interval", 1)
        vm = self.fresh()
        self.paused(daemon, vm, "a", after="resume")
        self.paused(daemon, self.fresh(), "b")
        self.drained(daemon)
        self.changed(vm)
        self.paused(daemon, vm, "a", after="resume")
        self.drained(daemon)
        states = self.local_states()
        self.assertEqual(self.states(), states)
        self.looked(daemon)
        for round_number in range(3):
            if round_number == 0:
                shutil.rmtree(self.bucket / "v1")
            elif round_number == 1:  # another host pushes before this daemon has looked
                self.bucket.rename(self.away)
                self.bucket.mkdir()
                self.remote("push", self.store / "b", "--as", "other")
                shutil.rmtree(self.away)
            else:  # while no daemon runs
                daemon.end()
                shutil.rmtree(self.bucket / "v1")
                daemon = self.pushing("--recover-interval", 1)
            wait_until(lambda: states.items() <= self.states().items(),
                       f"round {round_number}: they are pushed again")
            if round_number == 0:
                wait_until(lambda: any(event["event"] == "bucket_changed"
                                       for event in daemon.events()), "the daemon says so")
        self.drained(daemon)
        self.remote("verify", "--data")

    def test_an_outage_is_not_taken_for_an_emptied_bucket(self) -> None:
        daemon = self.pushing("--recover-interval", 1)
        self.paused(daemon, self.fresh(), "a")
        self.drained(daemon)
        self.looked(daemon)
        self.bucket.rename(self.away)
        recovers = 'laminad_recovers_total{outcome="done"}'
        before = daemon.metric(recovers)
        wait_until(lambda: daemon.metric(recovers) > before + 1, "it looks")
        self.assertEqual(daemon.done("GET", "/v1/push")["queue"], [])
        self.away.rename(self.bucket)
        self.drained(daemon)
        self.assertEqual(len(self.pushes(daemon, "done")), 1)
        self.assertEqual(self.pushes(daemon, "already_there"), [])

    def test_a_removed_snapshot_is_not_pushed(self) -> None:
        self.bucket.rename(self.away)
        daemon = self.pushing()
        self.paused(daemon, self.fresh(), "a")
        wait_until(lambda: self.pushes(daemon, "failed"), "the first attempt has failed")
        daemon.done("DELETE", "/v1/snapshots/a")
        self.drained(daemon)
        self.away.rename(self.bucket)

    def test_a_descendant_follows_though_older_states_were_never_pushed(self) -> None:
        daemon = self.pushing("--policy", "full:cap=2")
        vm = self.fresh()
        self.paused(daemon, vm, "a", after="resume")
        self.drained(daemon)
        self.bucket.rename(self.away)
        for _ in range(4):
            self.changed(vm)
            last = self.paused(daemon, vm, "a", after="resume")
        for record in (self.store / ".pushed").iterdir():  # as if the first push was killed
            record.unlink()
        self.away.rename(self.bucket)
        self.drained(daemon)
        self.assertEqual(self.states(), {"a": last["pause_id"]})


class Requests(DaemonRemoteTest):
    """The requests about a bucket."""

    def test_a_snapshot_is_pushed_and_pulled_on_request(self) -> None:
        daemon = self.start()
        report = self.paused(daemon, self.fresh(), "a")
        self.assertEqual(daemon.done("GET", "/v1/push"),
                         {"message_type": "push_queue", "url": "", "names": "*", "queue": []})
        error = daemon.refused(400, "POST", "/v1/push", {"name": "a"})
        self.assertIn("--push", error["remedy"])
        pushed = daemon.done("POST", "/v1/push", {"name": "a", "url": self.url, "as": "b"})
        self.assertEqual((pushed["name"], pushed["number"]), ("b", 1))
        daemon.refused(404, "POST", "/v1/push", {"name": "none", "url": self.url})
        daemon.refused(400, "POST", "/v1/push", {"name": "../a", "url": self.url})
        daemon.refused(400, "POST", "/v1/pull", {"name": "b", "as": "x/y", "url": self.url})
        daemon.refused(409, "POST", "/v1/pull", {"name": "b", "as": "a", "url": self.url})
        pulled = daemon.done("POST", "/v1/pull", {"name": "b", "url": self.url})
        self.assertEqual((pulled["snapshot"], pulled["pause_id"]), ("b", report["pause_id"]))
        planned = daemon.done("POST", "/v1/remote/prune", {"url": self.url, "dry_run": True})
        self.assertEqual(planned["kept_snapshots"], 1)
        pruned = daemon.done("POST", "/v1/remote/prune", {"url": self.url, "keep_last": 1})
        self.assertEqual(pruned["removed_objects"], 0)
        self.assertEqual([event["event"] for event in daemon.events()
                          if event["event"] in ("push", "pull", "prune")],
                         ["push", "push", "pull", "pull", "prune"])

    def test_the_command_line_asks_the_daemon(self) -> None:
        key = self.directory / "key"
        key.write_text(HEX_KEY)
        key.chmod(0o600)
        daemon = self.start("--push", self.url, "--push-names", "none", "--push-key-file", key)
        self.paused(daemon, self.fresh(), "a")
        words = ("remote", "push", self.url, self.store / "a", "--as", "b", "--by-daemon")
        pushed = self.done(*words, "--json").json
        self.assertEqual((pushed["snapshot"], pushed["name"]), (str(self.store / "a"), "b"))
        self.assertTrue(self.remote("ls")["snapshots"][0]["encrypted"])
        pulled = self.done("remote", "pull", self.url, "b", "--store", self.store, "--by-daemon",
                           "--json").json
        self.assertEqual(pulled["snapshot"], str(self.store / "b"))
        self.assertEqual([event["event"] for event in daemon.events()][1:], ["push", "pull"])
        self.assertEqual(lamina(*words, "--key-file", key).code, EXIT_USAGE)
        self.assertEqual(daemon.stop(), EXIT_DONE)
        self.assertEqual(lamina(*words).code, EXIT_NOT_FOUND)

    def test_a_vm_is_resumed_from_the_bucket(self) -> None:
        daemon = self.pushing()
        vm = self.fresh()
        vm.tell("run 300 1")
        paused = self.paused(daemon, vm, "a")
        self.drained(daemon)
        daemon.done("DELETE", "/v1/snapshots/a")
        refused = self.waiting()
        daemon.refused(404, "POST", "/v1/resume",
                       {"api_socket": str(refused.api_socket), "name": "a"})
        daemon.refused(404, "POST", "/v1/resume",
                       {"api_socket": str(refused.api_socket), "name": "none", "pull": True})
        vm, report = self.resumed(daemon, "a", pull=True, mode="file")
        self.assertEqual(report["pause_id"], paused["pause_id"])
        self.check(vm)
        self.assertEqual(daemon.done("GET", "/v1/push")["queue"], [])


class Kills(DaemonRemoteTest):
    """Daemons are killed at random moments."""

    ROUNDS = 12
    NAMES = ("a", "b", "c")

    def setUp(self) -> None:
        super().setUp()
        self.needs_a_directory()
        seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
        print(f"SEED={seed}", end=" ", flush=True)
        self.moments = random.Random(seed)
        self.answered = 0

    def pause_all(self, daemon: Daemon, vms: dict[str, Firecracker]) -> None:
        """Pauses until the daemon is dead. A VM that was killed with its daemon frozen runs on after
        the recovery; until then its guest does not answer as it should."""
        while daemon.is_running():
            for name, vm in vms.items():
                vm.control(f"run 20 {self.rng.randrange(1 << 30)}")
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer = daemon.request("POST", "/v1/pause", {
                        "api_socket": str(vm.api_socket), "name": name, "after": "resume"})
                    self.answered += answer.status == 200

    def test_the_latest_state_of_each_name_arrives(self) -> None:
        vms = {name: self.fresh() for name in self.NAMES}
        for vm in vms.values():
            vm.tell("run 300 1")
        for number in range(self.ROUNDS):
            daemon = self.pushing("--push-parallel", 3)
            before = self.answered
            client = threading.Thread(target=self.pause_all, args=(daemon, vms))
            client.start()
            if number % 2 == 1:
                wait_until(lambda before=before: self.answered > before, "a pause is answered")
            time.sleep(self.moments.uniform(0, 0.3))  # the moment of the kill
            daemon.end()
            client.join()
        daemon = self.pushing("--recover-interval", 1)
        wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
        wait_until(lambda: self.states() == self.local_states(), "everything is pushed")
        self.drained(daemon)
        self.assertLessEqual(set(self.states()), set(self.NAMES), daemon.said())
        daemon.stop()
        self.assert_nothing_leaks()
        self.assertTrue(self.remote("verify", "--data")["intact"])

    def assert_nothing_leaks(self) -> None:
        """Pins of killed pushes expire; then a prune leaves only what manifests need."""
        before = self.remote("du")
        print(f"{self.answered} pauses, {before['snapshots']} states pushed, {before['pins']} pins of "
              "killed pushes", end=" ", flush=True)
        self.assertGreaterEqual(self.answered, self.ROUNDS // 2)
        then = time.time() - LONG_AGO_S
        for path in self.bucket.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))
        self.remote("prune", "--keep-last", "1")
        self.remote("prune", "--keep-last", "1")
        use = self.remote("du")
        self.assertEqual(use["objects"], use["referenced_objects"])
        self.assertEqual((use["pins"], use["tombstones"]), (0, 0))


def over_seaweedfs() -> int:
    """The same over a real server. 77: it cannot be had."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "object_store"))
    from servers import ACCESS_KEY, SECRET_KEY, Unavailable, running
    cache = Path(os.environ["LAMINA_SERVER_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lamina-server-") as work:
        try:
            with running("seaweedfs", cache, Path(work)) as server:
                environment = os.environ | {URL_VARIABLE: server.url,
                                            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                                            "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
                return subprocess.run([sys.executable, __file__], env=environment,
                                      check=False).returncode
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return 77


if __name__ == "__main__":
    if sys.argv[1:] == ["--seaweedfs"]:
        sys.exit(over_seaweedfs())
    main()
