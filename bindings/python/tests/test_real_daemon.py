"""The client with a real laminad and the stand-in for Firecracker."""

from __future__ import annotations

import threading
import unittest
from pathlib import Path

from support import HAVE_DAEMON

import lamina

if HAVE_DAEMON:
    from daemon import Daemon, DaemonTest
    from firecracker import Firecracker
else:
    class DaemonTest(unittest.TestCase):  # type: ignore[no-redef]
        """Stands for the real one, whose programs are not there."""


@unittest.skipUnless(HAVE_DAEMON, "LAMINA, LAMINAD and FAKE_FIRECRACKER are not set")
class RealDaemonTest(DaemonTest):
    """Every operation, and the errors that programs handle."""

    def client_of(self, daemon: Daemon, timeout_s: float = 60) -> lamina.Client:
        """A client whose requests end."""
        return lamina.Client(daemon.api_socket, timeout_s)

    def running(self, client: lamina.Client, name: str) -> Firecracker:
        """A VM with a snapshot, which runs on."""
        vm = self.fresh()
        vm.tell("run 200 1")
        client.pause(str(vm.api_socket), name, after="resume")
        return vm

    def test_a_sandbox_lives_through_all_operations(self) -> None:
        daemon = self.start("--policy", "off")
        client = self.client_of(daemon)
        vm = self.running(client, "a")
        vm.tell("run 50 2")
        report = client.pause(str(vm.api_socket), "a")
        self.assertEqual((report.snapshot, report.kind, report.generation, report.message_type),
                         ("a", "diff", 1, "pause"))
        self.assertGreater(report.phases.create_ms, 0)
        self.assertEqual(report.memory_bytes, 16 << 20)

        fork = client.fork("a", "b")
        self.assertEqual((fork.snapshot, fork.pause_id, fork.linked_layers),
                         ("b", report.pause_id, 2))
        info = client.inspect("b")
        self.assertEqual((info.pause_id, info.generation, len(info.layers), info.extents),
                         (report.pause_id, 1, 2, None))
        self.assertEqual(info.layers[-1].build_id, info.build_id)
        with lamina.Snapshot.open(info.path) as snapshot:
            self.assertEqual((snapshot.pause_id, snapshot.build_id),
                             (report.pause_id, info.build_id))
            self.assertEqual(snapshot.read(0, snapshot.memory_bytes),
                             self.materialized(Path(info.path)))
            self.assertEqual(len(snapshot.vmstate() or b""), info.vmstate_bytes)

        planned = client.compact("b", policy="full:cap=2", dry_run=True)
        self.assertEqual((planned.outcome, planned.layers_before), ("planned", 2))
        merged = client.compact("b", policy="full:cap=2")
        self.assertEqual((merged.outcome, merged.layers_after), ("merged", 1))

        resumed = self.waiting()
        result = client.resume(str(resumed.api_socket), "b", mode="file", stay_paused=True)
        self.assertEqual((result.pid, result.mode, result.pause_id),
                         (resumed.pid, "file", report.pause_id))
        self.check(resumed)

        source, clone = self.fresh(), self.waiting()
        forked = client.fork_live(str(source.api_socket), "live", [
            {"api_socket": str(clone.api_socket)},
            {"api_socket": "/nowhere", "vsock_override": "/v"}], mode="file")
        good, bad = forked.clones
        self.assertEqual((good.resume and good.resume.pid, good.error, bad.resume),
                         (clone.pid, None, None))
        self.assertEqual(bad.error and bad.error.kind, "not_found")
        self.check(clone)
        for one in (source, clone):
            one.end()
        client.remove("live")
        client.recover()

        listing = client.list(tree=True)
        self.assertEqual([one.name for one in listing.snapshots], ["a", "b"])
        # VMs are counted by their pause, which the two share.
        self.assertEqual([one.running_vms for one in listing.snapshots], [1, 1])
        self.assertIsNone(listing.snapshots[0].error)
        # The first pause was replaced, and is only known as a parent.
        self.assertEqual([one.name for one in listing.tree or ()], [None, "a", "b"])
        self.assertIsNone(client.list().tree)
        session, = (one for one in client.sessions().sessions if one.running)
        self.assertEqual((session.pid, session.snapshot), (resumed.pid, "b"))

        self.assertFalse(client.remove("a", dry_run=True).removed)
        removal = client.remove("a")
        self.assertEqual((removal.removed, removal.snapshot, removal.error), (True, "a", None))
        removals = client.remove_several(["b", "none"])
        self.assertEqual([one.removed for one in removals.snapshots], [True, False])
        missing = removals.snapshots[1].error
        self.assertEqual((missing and missing.kind, missing and missing.exit_code),
                         ("not_found", 3))
        self.assertEqual(client.recover(dry_run=True).dry_run, True)
        self.assertEqual(client.recover().completed, 0)
        self.assertEqual(client.list().snapshots, ())

        events = client.events()
        self.assertEqual([event.event for event in events if event.event != "recover"],
                         ["pause", "pause", "fork", "merge", "resume", "fork_live", "delete",
                          "delete", "delete"])
        numbers = [event.sequence for event in events]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
        self.assertEqual(client.events(after=numbers[-2]), events[-1:])
        first = next(event for event in events if event.event == "pause")
        self.assertEqual(first.fields["kind"], "full")

    def test_the_daemon_describes_itself(self) -> None:
        client = self.client_of(self.start())
        health = client.health()
        self.assertEqual((health.status, Path(health.store)), ("ok", self.store))
        self.assertEqual(client.version().api, "v1")
        self.assertEqual(client.openapi()["info"]["title"], "laminad")
        self.assertIn("laminad_http_requests_running 1", client.metrics().splitlines())

    def test_refusals_have_kind_status_and_remedy(self) -> None:
        client = self.client_of(self.start())
        vm = self.running(client, "a")
        client.fork("a", "b")
        with self.assertRaises(lamina.NotFoundError) as missing:
            client.inspect("none")
        self.assertEqual((missing.exception.kind, missing.exception.status), ("not_found", 404))
        with self.assertRaises(lamina.ExistsError) as taken:
            client.fork("a", "b")
        self.assertEqual(taken.exception.status, 409)
        for name in (".hidden", "", "..", "a/b"):
            with self.subTest(name), self.assertRaises(lamina.LaminaError) as wrong:
                client.inspect(name)
            self.assertIn(wrong.exception.status, (400, 404, 405))
        with self.assertRaises(lamina.UsageError) as other:
            client.pause(str(vm.api_socket), "a", store="/somewhere/else")
        self.assertEqual(other.exception.status, 421)
        with self.assertRaises(lamina.UsageError) as range_error:
            client.compact("a", rate=0)
        self.assertIn("rate", range_error.exception.message)
        with self.assertRaises(lamina.NotFoundError):
            client.pause(f"{self.directory}/no-such.sock", "c")
        (self.store / "a" / "memfile.header").write_bytes(b"nonsense")
        with self.assertRaises(lamina.CorruptError) as corrupt:
            client.inspect("a")
        self.assertEqual(corrupt.exception.status, 500)

    def test_a_request_that_takes_too_long_is_carried_out(self) -> None:
        daemon = self.start()
        client = self.client_of(daemon)
        vm = self.fresh()
        vm.tell("fail create-slow")
        with self.assertRaises(lamina.UnknownOutcomeError) as late:
            client.with_timeout(0.2).pause(str(vm.api_socket), "a", after="resume")
        self.assertIn("no answer within 0.2 s", str(late.exception))
        self.assertIsNone(late.exception.status)
        vm.wait_held()
        with self.assertRaises(lamina.BusyError) as busy:
            client.pause(str(vm.api_socket), "a")
        self.assertEqual((busy.exception.status, busy.exception.stopping), (409, False))
        vm.tell("release")
        events = client.follow_events(interval_s=0.005)
        done = next(event for event in events if event.event == "pause"
                    and event.fields.get("outcome") != "failed")
        self.assertEqual(done.fields["snapshot"], "a")

    def test_a_daemon_that_ends_leaves_the_outcome_unknown(self) -> None:
        daemon = self.start()
        client = self.client_of(daemon)
        vm = self.fresh()
        vm.tell("fail create-slow")
        errors: list[BaseException] = []

        def pause() -> None:
            try:
                client.pause(str(vm.api_socket), "a")
            except lamina.LaminaError as error:
                errors.append(error)
        thread = threading.Thread(target=pause)
        thread.start()
        vm.wait_held()
        daemon.end()
        thread.join()
        vm.tell("release")
        self.assertEqual([type(error) for error in errors], [lamina.UnknownOutcomeError])
        with self.assertRaises(lamina.ConnectError):
            client.version()

    def test_threads_share_a_client(self) -> None:
        client = self.client_of(self.start())
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(client.health().status))
                   for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, ["ok"] * 20)


if __name__ == "__main__":
    unittest.main()
