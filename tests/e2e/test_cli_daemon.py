#!/usr/bin/env python3
"""The command line where a daemon keeps the store: it asks, and says the same as by itself.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from children import Report, child_at_work
from daemon import Daemon, DaemonTest
from firecracker import Firecracker
from memory_files import (EXIT_BUSY, EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED,
                          EXIT_NO_SPACE, EXIT_NOT_FOUND, EXIT_USAGE, Outcome, lamina, main, program)
from mounts import FileSystem, mount
from serving import TIMEOUT_S, wait_until

OTHER_USER = 65534
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMES = re.compile(r"\b(daemon|itself)-(text|json)\b")


def bare(text: str) -> str:
    """A text without what differs from one snapshot, process and moment to the next."""
    text = UUID.sub("ID", NAMES.sub("NAME", text))
    # A size near 1 MiB is given in KiB, too.
    text = re.sub(r"\d+(\.\d+)? (B|[KMG]iB)\b", "SIZE", re.sub(r"/tmp/fc-\w+", "FC", text))
    return re.sub(r"\d+(\.\d+)?", "N", text)


def shape(value: Any) -> Any:
    """The fields of a document and their types; texts as bare() has them."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return bare(value)
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class AskTest(DaemonTest):
    """A test of the command line with a daemon."""

    def link(self) -> Path:
        """What leads to the daemon."""
        return self.store / ".vms" / "laminad.sock"

    def say(self, vm: Firecracker, name: str, *options: str | Path, **more: Any) -> Outcome:
        """lamina pause."""
        return lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                      *options, **more)

    def snapshot(self, name: str, *options: str) -> None:
        """A snapshot that was made without the daemon."""
        vm = self.fresh()
        self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                  "--no-daemon", *options)
        vm.end()

    def done_by(self, daemon: Daemon) -> list[str]:
        """What the daemon has done, in short."""
        return [event["event"] for event in daemon.events()]


class SameTest(AskTest):
    """With and without the daemon the outcome is the same."""

    def setUp(self) -> None:
        """A daemon that does nothing unasked."""
        super().setUp()
        self.daemon = self.start("--policy", "off")

    def four(self, make: Callable[[str], list[Any]], code: int = EXIT_DONE) -> None:
        """Runs a verb by the daemon and by itself, with and without --json, on a name for each."""
        text = [self.one(make, f"{name}-text", code) for name in ("daemon", "itself")]
        self.assertEqual(bare(text[0].stdout), bare(text[1].stdout))
        self.assertEqual(bare(text[0].stderr), bare(text[1].stderr))
        documents = [self.one(make, f"{name}-json", code, "--json")
                     for name in ("daemon", "itself")]
        self.assertEqual(shape(documents[0].json), shape(documents[1].json))
        self.assertEqual(list(documents[0].json), list(documents[1].json))
        self.assertEqual(bare(documents[0].stderr), bare(documents[1].stderr))

    def one(self, make: Callable[[str], list[Any]], name: str, code: int, *options: str) -> Outcome:
        """Runs a verb once; by the daemon where the name says so, which must have noticed."""
        by_itself = ("--no-daemon",) if name.startswith("itself") else ()
        before = self.daemon.metric("laminad_http_requests_total{code=\"200\"}")
        outcome = lamina(*make(name), *by_itself, *options)
        self.assertEqual(outcome.code, code, str(outcome))
        after = self.daemon.metric("laminad_http_requests_total{code=\"200\"}")
        # The first question for the metric is counted too.
        self.assertEqual(after - before - 1, 0 if by_itself else 1, str(outcome))
        return outcome

    def test_each_command_does_the_same_with_and_without_the_daemon(self) -> None:
        vms: dict[str, Firecracker] = {}

        def pause(name: str) -> list[Any]:
            vm = vms.get(name) or self.fresh()
            vm.tell("write 1 1" if name in vms else "run 100 1")
            vms[name] = vm
            return ["pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                    "--after", "resume"]

        self.four(pause)
        self.four(pause)
        self.assertEqual({vm.state() for vm in vms.values()}, {"Running"})

        def resume(name: str) -> list[Any]:
            vms[name] = self.waiting()
            return ["resume", "--api", vms[name].api_socket, "--store", self.store, "--name", name,
                    "--mode", "file"]

        self.four(resume)
        for vm in vms.values():
            self.check(vm)
        self.four(lambda name: ["compact", self.store / name, "--policy", "full:cap=2",
                                "--dry-run"])
        self.four(lambda name: ["compact", self.store / name, "--policy", "full:cap=2"])
        self.four(lambda name: ["compact", self.store / name])
        self.four(lambda name: ["fork", self.store / name, self.store / f"{name}-fork"])
        self.four(lambda name: ["rm", self.store / name, self.store / f"{name}-fork", "--dry-run"])
        self.four(lambda name: ["rm", self.store / name, self.store / "none", self.store / name,
                                self.store / f"{name}-fork"], EXIT_NOT_FOUND)
        for vm in vms.values():
            vm.end()
        self.four(lambda name: ["recover", self.store, "--dry-run"])
        self.four(lambda name: ["recover", self.store])
        self.assert_nothing_left()
        # The daemon has done what it was asked to, and nothing else.
        done = [(event["event"], event.get("name") or event.get("snapshot", ""))
                for event in self.daemon.events()]
        self.assertEqual({Path(name).name.removesuffix("-fork") for _, name in done if name},
                         {"daemon-text", "daemon-json"})
        self.assertEqual([what for what, _ in done],
                         ["pause"] * 4 + ["resume"] * 2 + ["merge"] * 2 + ["fork"] * 2 +
                         ["delete"] * 4 + ["recover"])

    def test_options_reach_the_daemon(self) -> None:
        disk = self.directory / "disk.img"
        disk.write_bytes(b"contents")
        self.snapshot("a")
        vm = self.fresh("--vsock")
        self.assertEqual(self.say(vm, "a", "--after", "stay").code, EXIT_FAILED)  # another VM's
        report = json.loads(self.say(
            vm, "a", "--after", "stay", "--replace", "--full", "--attach", disk, "--timeout", "7",
            "--create-timeout", "70", "--json").stdout)
        self.assertEqual((report["kind"], vm.state()), ("full", "Paused"))
        self.assertEqual([path.read_bytes() for path in (self.store / "a").rglob("disk.img")],
                         [b"contents"])
        other = self.waiting("--version", "1.17.0")
        report = self.done("resume", "--api", other.api_socket, "--store", self.store, "--name", "a",
                           "--mode", "uffd", "--populate", "all", "--record", "--stay-paused",
                           "--vsock-override", "/v.sock", "--clock-realtime", "--huge-pages",
                           "transparent", "--json").json
        self.assertEqual((report["mode"], other.state()), ("uffd", "Paused"))
        self.assertEqual(self.done_by(self.daemon), ["pause", "pause", "resume"])

    def test_a_queued_pause_is_given_up_by_the_daemon(self) -> None:
        vm = self.fresh()
        self.paused(self.daemon, vm, "a", after="resume")
        unknown = "12345678-1234-4234-8234-123456789abc"
        for options in ((), ("--no-daemon",)):
            self.refused(EXIT_NOT_FOUND, "recover", self.store, "--give-up", unknown, *options,
                         names=(unknown, "queued"))
        bad = self.daemon.refused(400, "POST", "/v1/recover", {"give_up": ["x"]})
        self.assertIn("'x', which is not a pause id", bad["message"])

    def test_compact_of_the_store_asks_for_each_snapshot(self) -> None:
        vm = self.fresh()
        for number in range(3):
            vm.tell(f"write {number} 1")
            self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a",
                      "--after", "resume", "--no-daemon")
        self.done("fork", self.store / "a", self.store / "b", "--no-daemon")
        outcome = self.done("compact", "--store", self.store, "--policy", "full:cap=2",
                            "--background", "--rate", str(1 << 40), "--json")
        self.assertEqual([one["outcome"] for one in outcome.json["snapshots"]], ["merged"] * 2)
        self.assertEqual([one["snapshot"] for one in outcome.json["snapshots"]],
                         [str(self.store / "a"), str(self.store / "b")])
        self.assertEqual(self.done_by(self.daemon), ["merge", "merge"])

    def test_a_hook_runs_as_the_caller(self) -> None:
        work = self.directory / "work"
        work.mkdir()
        self.daemon.stop()
        self.daemon = self.start("--no-hooks")
        outcome = self.say(self.fresh(), "a", "--frozen-hook", "pwd > here", cwd=work)
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        self.assertEqual((work / "here").read_text().strip(), str(work))
        self.assertEqual(self.done_by(self.daemon), [])

    def test_a_command_that_the_daemon_cannot_run_runs_without_it(self) -> None:
        other = self.directory / "other"
        other.mkdir()
        self.snapshot("a")
        self.done("fork", self.store / "a", other / "b")
        self.done("fork", self.store / "a", self.store / "c", "--no-daemon")
        self.done("rm", self.store / "c", other / "b")
        odd = os.fsencode(self.directory) + b"/\xff"
        with open(odd, "wb") as stream:
            stream.write(b"x")
        vm = self.fresh()
        self.assertEqual(self.say(vm, "d", "--attach", Path(os.fsdecode(odd))).code, EXIT_DONE)
        self.assertEqual(self.done_by(self.daemon), [])


class ErrorTest(AskTest):
    """Failures are told in the same words, with the same exit code."""

    def test_failures_are_the_same_with_and_without_the_daemon(self) -> None:
        daemon = self.start("--policy", "off")
        vm = self.fresh()
        self.snapshot("a")
        self.snapshot("b")
        (self.store / "bad").mkdir()
        (self.store / "bad" / "memfile.header").write_bytes(b"x" * 100)
        (self.store / "empty").mkdir()
        here, store, none = self.directory, Path("store"), Path("./none")
        api = ["--api", vm.api_socket]
        for code, *arguments in (
                (EXIT_NOT_FOUND, "pause", "--api", none, "--store", store, "--name", "x"),
                (EXIT_NOT_FOUND, "pause", *api, "--store", none, "--name", "x"),
                (EXIT_USAGE, "pause", *api, "--store", store, "--name", "a/b"),
                (EXIT_USAGE, "pause", *api, "--store", store, "--name", ".vms"),
                (EXIT_USAGE, "pause", *api, "--store", store, "--name", "a b"),
                (EXIT_FAILED, "pause", *api, "--store", store, "--name", "a"),
                (EXIT_NOT_FOUND, "pause", *api, "--store", store, "--name", "x", "--attach", none),
                (EXIT_NOT_FOUND, "pause", *api, "--store", store, "--name", "x", "--jail", none),
                (EXIT_NOT_FOUND, "resume", *api, "--store", store, "--name", "none"),
                (EXIT_CORRUPT, "resume", *api, "--store", store, "--name", "bad"),
                (EXIT_FAILED, "resume", *api, "--store", store, "--name", "a"),
                (EXIT_USAGE, "resume", *api, "--store", store, "--name", "a",
                 "--network-override", "x"),
                (EXIT_NOT_FOUND, "fork", store / "none", store / "x"),
                (EXIT_CORRUPT, "fork", store / "bad", store / "x"),
                (EXIT_FAILED, "fork", store / "a", store / "b"),
                (EXIT_USAGE, "fork", store / "a", store / ".x"),
                (EXIT_USAGE, "fork", store / "a", store / "x y"),
                (EXIT_NOT_FOUND, "rm", store / "none"),
                (EXIT_FAILED, "rm", store / "empty"),
                (EXIT_USAGE, "rm", store / "x y", store / "a"),
                (EXIT_USAGE, "rm", store / ".vms"),
                (EXIT_NOT_FOUND, "compact", store / "none"),
                (EXIT_CORRUPT, "compact", store / "bad"),
                (EXIT_CORRUPT, "compact", "--store", store),
                (EXIT_USAGE, "compact", store / "a", "--policy", "wild"),
                (EXIT_USAGE, "recover", store, "--give-up", "x"),
                (EXIT_NOT_FOUND, "recover", none)):
            with self.subTest(arguments=arguments):
                by_daemon = lamina(*arguments, cwd=here)
                by_itself = lamina(*arguments, "--no-daemon", cwd=here)
                self.assertEqual(by_daemon.code, code, str(by_daemon))
                self.assertEqual(by_itself.code, code, str(by_itself))
                # The daemon's messages have the real paths.
                said = by_daemon.stderr.replace(f"{here}/", "")
                self.assertEqual(bare(said), bare(by_itself.stderr))
                self.assertEqual(by_daemon.stdout, by_itself.stdout)
                by_daemon = lamina(*arguments, "--json", cwd=here)
                by_itself = lamina(*arguments, "--json", "--no-daemon", cwd=here)
                said = json.loads(by_daemon.stdout.replace(f"{here}/", ""))
                self.assertEqual(shape(said), shape(by_itself.json))
        self.assertEqual(vm.state(), "Running")
        self.assertGreater(daemon.metric('laminad_http_requests_total{code="404"}'), 5)
        self.assertEqual(sorted(path.name for path in self.store.glob("[a-z]*")),
                         ["a", "b", "bad", "empty"])

    def test_paths_are_shown_as_they_were_given(self) -> None:
        daemon = self.start("--policy", "off")
        self.snapshot("a")
        (self.directory / "alias").symlink_to("store")
        for place, store, prefix in ((self.directory, "store", "store/"),
                                     (self.directory, "./store/", "./store/"),
                                     (self.directory, "alias", "alias/"),
                                     (self.store, ".", ""), (self.store, "../store", "../store/")):
            for options in ((), ("--no-daemon",)):
                with self.subTest(store=store, options=options):
                    made = self.done("fork", f"{prefix}a", f"{prefix}b", *options, cwd=place)
                    self.assertTrue(made.stdout.startswith(f"{prefix}b: pause "), made.stdout)
                    gone = self.done("rm", f"{prefix}b", *options, cwd=place)
                    self.assertTrue(gone.stdout.startswith(f"{prefix}b: removed"), gone.stdout)
                    vm = self.fresh()
                    made = self.done("pause", "--api", os.path.relpath(vm.api_socket, place),
                                     "--store", store, "--name", "c", *options, cwd=place)
                    self.assertEqual(made.stdout.split(":")[0], f"{store}/c")
                    self.done("rm", self.store / "c", "--no-daemon")
        self.assertEqual(self.done_by(daemon), ["fork", "delete", "pause"] * 5)

    def test_a_vm_that_is_being_paused_is_busy_with_and_without_the_daemon(self) -> None:
        self.start()
        vm = self.fresh()
        vm.tell("fail create-slow")
        outcomes: list[Outcome] = []
        first = threading.Thread(target=lambda: outcomes.append(self.say(vm, "a")))
        first.start()
        vm.wait_held()
        refusals = [self.say(vm, "a"), self.say(vm, "a", "--no-daemon")]
        vm.tell("release")
        first.join()
        self.assertEqual([outcome.code for outcome in refusals], [EXIT_BUSY] * 2)
        self.assertEqual(refusals[0].stderr, refusals[1].stderr)
        self.assertEqual(outcomes[0].code, EXIT_DONE, str(outcomes[0]))

    def test_a_full_disk_is_reported_once_with_a_remedy(self) -> None:
        small = FileSystem("tmpfs", kind="tmpfs", options="size=8m")
        self.store = mount(self, self.directory, small) / "store"
        self.store.mkdir()
        daemon = self.start()
        vm = self.fresh()
        outcomes = [self.say(vm, "a", *options) for options in ((), ("--no-daemon",))]
        self.assertEqual([one.code for one in outcomes], [EXIT_NO_SPACE] * 2, str(outcomes[0]))
        self.assertEqual(bare(outcomes[0].stderr), bare(outcomes[1].stderr))
        self.assertEqual(outcomes[0].stderr.count("free space on that file system"), 1)
        error = daemon.refused(507, "POST", "/v1/pause",
                               {"api_socket": str(vm.api_socket), "name": "a"})
        self.assertEqual(error["kind"], "no_space")
        self.assertEqual(vm.state(), "Running")

    def test_an_overloaded_daemon_is_not_bypassed(self) -> None:
        daemon = self.start("--workers", 1)
        self.snapshot("a")
        wait_until(lambda: daemon.done("GET", "/v1/health")["recovered"], "it has recovered")
        # A VMM that does not answer would not keep a worker; a recovery waits for this lock.
        (self.store / ".maps").mkdir(mode=0o700, exist_ok=True)
        (self.store / ".maps" / "not-empty").touch()
        lock = os.open(self.store / ".lock" / ".maps", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, lock)
            def asked() -> socket.socket:
                client = stack.enter_context(daemon.connect())
                client.sendall(b"POST /v1/recover HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
                return client

            waiting = [asked() for _ in range(257)]  # one with the worker, the others in the queue

            def all_wait() -> bool:
                # While the worker has not taken the first one yet, the last one is refused.
                for refused in select.select(waiting, [], [], 0)[0]:
                    waiting.remove(refused)
                    waiting.append(asked())
                return bool(daemon.done("GET", "/v1/health")["requests"] == 258)
            wait_until(all_wait, "all wait")
            self.assertEqual(daemon.refused(503, "POST", "/v1/recover")["kind"], "busy")
            outcome = lamina("fork", self.store / "a", self.store / "c")
            self.assertEqual(outcome.code, EXIT_BUSY, str(outcome))
            self.assertEqual(outcome.stderr, "lamina: too many requests wait\n")
            self.assertFalse((self.store / "c").exists())
            self.done("fork", self.store / "a", self.store / "c", "--no-daemon")


class GoneTest(AskTest):
    """Daemons that stop, are killed, or were never there."""

    def test_the_link_exists_while_the_daemon_runs(self) -> None:
        daemon = self.start()
        self.assertEqual(os.readlink(self.link()), str(daemon.api_socket))
        daemon.stop()
        self.assertFalse(self.link().is_symlink())
        daemon = self.start()
        self.link().unlink()
        self.link().symlink_to("/nowhere")  # of another daemon
        daemon.stop()
        self.assertEqual(os.readlink(self.link()), "/nowhere")
        self.start()
        self.assertEqual(os.readlink(self.link()), str(daemon.api_socket))
        self.assertEqual(list(self.link().parent.glob("laminad.sock?*")), [])

    def test_a_dangling_link_is_ignored(self) -> None:
        daemon = self.start()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        self.assertTrue(self.link().is_symlink() and daemon.api_socket.exists())
        vm = self.fresh()
        outcome = self.say(vm, "a", "--after", "resume")
        self.assertEqual((outcome.code, outcome.stderr), (EXIT_DONE, ""), str(outcome))
        for odd in ("file", "directory", "nothing"):
            self.link().unlink()
            target = self.directory / odd
            if odd == "file":
                target.write_bytes(b"")
            elif odd == "directory":
                target.mkdir()
            self.link().symlink_to(target)
            outcome = self.say(vm, "a", "--after", "resume")
            self.assertEqual((outcome.code, outcome.stderr), (EXIT_DONE, ""), str(outcome))

    def test_the_daemon_of_another_store_is_not_asked(self) -> None:
        self.snapshot("a")
        daemon = self.start()
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        other = self.directory / "other"
        other.mkdir()
        daemon = Daemon(other, self.directory)  # at the same socket
        self.addCleanup(daemon.end)
        self.assertEqual(os.readlink(self.link()), str(daemon.api_socket))
        outcome = self.done("fork", self.store / "a", self.store / "b")
        self.assertEqual(outcome.stderr, "")
        self.assertTrue((self.store / "b").is_dir())
        self.assertEqual(self.done_by(daemon), [])
        for path, body in (("pause", {"api_socket": "/x", "name": "a"}),
                           ("resume", {"api_socket": "/x", "name": "a"}),
                           ("fork", {"snapshot": "a", "new": "b"}), ("recover", {}),
                           ("remove", {"snapshots": ["a"]}), ("snapshots/a/compact", {})):
            error = daemon.refused(421, "POST", f"/v1/{path}", {**body, "store": str(self.store)})
            self.assertIn(str(other), error["message"])
        daemon.done("POST", "/v1/remove", {"snapshots": ["a"], "store": str(other) + "/."})

    def test_a_daemon_that_is_killed_in_a_pause_leaves_the_outcome_open(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("run 100 1")
        self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", "a", "--after",
                  "resume")
        first = self.done("inspect", self.store / "a", "--json").json["pause_id"]
        vm.tell("fail create-slow")
        outcomes: list[Outcome] = []
        pause = threading.Thread(target=lambda: outcomes.append(self.say(vm, "a", "--json")))
        pause.start()
        vm.wait_held()
        daemon.signal(signal.SIGKILL)
        pause.join()  # while the VM still writes
        outcome, = outcomes
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual(outcome.json["kind"], "failed")
        for word in ("has not answered", f"lamina ls {self.store}", f"lamina recover {self.store}"):
            self.assertIn(word, outcome.json["message"])
        vm.tell("release")
        recovered = self.recover()
        self.assertEqual((recovered["discarded"], recovered["resumed_vms"]), (1, 1))
        # Nothing was tried again: the snapshot is that of the first pause.
        self.assertEqual(self.done("inspect", self.store / "a", "--json").json["pause_id"], first)
        self.assertEqual(vm.state(), "Running")
        report = self.pause(vm, "a", "--after", "resume")
        self.assertEqual(report["kind"], "full")
        self.check(vm)
        self.assert_nothing_left()

    def test_an_interrupted_command_leaves_its_pause_to_the_daemon(self) -> None:
        daemon = self.start()
        vm = self.fresh()
        vm.tell("fail create-slow")
        with subprocess.Popen([program(), "pause", "--api", str(vm.api_socket), "--store",
                               str(self.store), "--name", "a", "--after", "resume"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pause:
            vm.wait_held()
            pause.send_signal(signal.SIGINT)
            _, said = pause.communicate(timeout=TIMEOUT_S)
        self.assertEqual(pause.returncode, EXIT_INTERRUPTED, said)
        self.assertIn("goes on with it", said)
        vm.tell("release")
        wait_until(lambda: self.done_by(daemon) == ["pause"], "the daemon has paused")
        self.assertEqual(vm.state(), "Running")
        self.done("verify", self.store / "a")

    def test_a_stopping_daemon_answers_every_connected_client(self) -> None:
        daemon = self.start()
        self.snapshot("a")
        request = b"POST /v1/recover HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        with contextlib.ExitStack() as stack:
            idle = stack.enter_context(daemon.connect())
            half = stack.enter_context(daemon.connect())
            half.sendall(request[:-1])
            wait_until(lambda: daemon.metric("laminad_http_connections") == 3, "both are there")
            daemon.signal(signal.SIGSTOP)
            late = [stack.enter_context(daemon.connect()) for _ in range(100)]
            for client in late:
                client.sendall(request)
            daemon.signal(signal.SIGTERM)
            daemon.signal(signal.SIGCONT)
            self.assertEqual(daemon.wait(), EXIT_DONE)
            for client in late:
                answer = client.recv(1 << 16)
                self.assertRegex(answer, rb"^HTTP/1.1 (200|503) ")
                if b" 503 " in answer[:20]:
                    self.assertIn(b'"stopping": true', answer)
            self.assertEqual((idle.recv(1), half.recv(1)), (b"", b""))


class Scripted:
    """A peer that listens in the daemon's place, and answers as it is told."""

    def __init__(self, path: Path) -> None:
        self.requests: list[bytes] = []
        self.answer: bytes | None = b""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def end(self) -> None:
        """No more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def will_say(self, status: int, body: Any) -> None:
        """The next answers."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = (b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                       b"\r\n%s" % (status, len(text), text))

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self.requests.append(self._read(client))
                client.sendall(self.answer or b"")

    @staticmethod
    def _read(client: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(65536)
        head, _, body = request.partition(b"\r\n\r\n")
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        while len(body) < size:
            body += client.recv(65536)
        return head + b"\r\n\r\n" + body


class ScriptedTest(AskTest):
    """Answers that a daemon of ours gives seldom, or never."""

    def setUp(self) -> None:
        """A snapshot, and the peer that answers."""
        super().setUp()
        self.snapshot("a")
        path = self.directory / "scripted.sock"
        self.daemon = Scripted(path)
        self.addCleanup(self.daemon.end)
        self.link().symlink_to(path)

    @contextlib.contextmanager
    def asked_once(self) -> Iterator[None]:
        """Checks that there is one request meanwhile."""
        before = len(self.daemon.requests)
        yield
        self.assertEqual(len(self.daemon.requests), before + 1)

    def fork(self, *options: str) -> Outcome:
        """What is asked for."""
        return lamina("fork", self.store / "a", self.store / "b", *options)

    def is_forked(self) -> bool:
        """Whether the command has done it by itself, which is undone."""
        made = (self.store / "b").is_dir()
        if made:
            self.done("rm", self.store / "b", "--no-daemon")
        return made

    def error(self, kind: str, message: str, **more: Any) -> dict[str, Any]:
        """An answer that is an error."""
        return {"error": {"kind": kind, "message": message, "notes": [], **more}}

    def test_the_command_does_what_the_daemon_has_not_begun(self) -> None:
        for status, body in ((503, self.error("busy", "stopping", stopping=True)),
                             (403, self.error("usage", "not you")),
                             (413, self.error("usage", "too large")),
                             (421, self.error("usage", "another store")), (403, b"")):
            with self.subTest(status=status), self.asked_once():
                self.daemon.will_say(status, body)
                outcome = self.fork()
                self.assertEqual((outcome.code, outcome.stderr), (EXIT_DONE, ""), str(outcome))
                self.assertTrue(self.is_forked())

    def test_a_refusal_by_the_daemon_is_the_outcome(self) -> None:
        for status, kind, code in ((503, "busy", EXIT_BUSY), (409, "busy", EXIT_BUSY),
                                   (507, "no_space", EXIT_NO_SPACE), (500, "failed", EXIT_FAILED),
                                   (500, "corrupt", EXIT_CORRUPT), (400, "usage", EXIT_USAGE),
                                   (404, "not_found", EXIT_NOT_FOUND),
                                   (503, "interrupted", EXIT_INTERRUPTED)):
            with self.subTest(kind=kind), self.asked_once():
                self.daemon.will_say(status, self.error(kind, f"no '{self.store}/a'", stopping=1))
                outcome = self.fork("--json")
                self.assertEqual(outcome.code, code, str(outcome))
                self.assertEqual(outcome.json["kind"], kind)
                self.assertTrue(outcome.json["message"].startswith(f"no '{self.store}/a'"))
                self.assertFalse(self.is_forked())

    def test_an_invalid_answer_is_an_error_and_is_not_retried(self) -> None:
        good = {"message_type": "fork", "snapshot": "b", "elapsed_ms": 1,
                "pause_id": "12345678-1234-4234-8234-123456789abc", "generation": 0,
                "linked_layers": 1, "copied_layers": 0, "linked_bytes": 1, "copied_bytes": 0,
                "notes": []}
        self.daemon.will_say(200, good)
        self.assertEqual(self.fork().code, EXIT_DONE)
        for status, body, word in (
                (200, b"", "not JSON"), (200, b"{", "not JSON"), (200, [1], "not an object"),
                (200, {**good, "generation": "x"}, "'generation'"),
                (200, {**good, "message_type": "pause"}, "'message_type'"),
                (200, {**good, "linked_layers": 1 << 32}, "'linked_layers'"),
                (200, {**good, "notes": [1]}, "'notes'"), (204, b"", "status 204"),
                (302, {"error": {}}, "status 302"), (500, b"<html>", "status 500"),
                (500, {"error": {"kind": 1, "message": "x"}}, "'kind'"),
                (503, {"error": 1}, "status 503")):
            with self.subTest(word=word), self.asked_once():
                self.daemon.will_say(status, body)
                outcome = self.fork()
                self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                self.assert_one_error_line(outcome, [word, "not understood", self.store])
                self.assertFalse(self.is_forked())

    def test_a_connection_that_breaks_leaves_the_outcome_open(self) -> None:
        for answer in (b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{",
                       b"no http at all\r\n\r\n", os.urandom(300)):
            with self.subTest(answer=answer[:20]), self.asked_once():
                self.daemon.answer = answer
                outcome = self.fork()
                self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                self.assert_one_error_line(outcome, ["has not answered", "lamina ls",
                                                     "lamina recover"])
                self.assertFalse(self.is_forked())

    def test_a_request_has_only_the_fields_that_differ_from_the_default(self) -> None:
        self.daemon.will_say(409, self.error("busy", "no"))
        vm = self.fresh()
        self.say(vm, "x")
        body = json.loads(self.daemon.requests[-1].partition(b"\r\n\r\n")[2])
        self.assertEqual(body, {"name": "x", "api_socket": str(vm.api_socket),
                                "store": os.path.realpath(self.store)})
        lamina("compact", self.store / "a")
        head, _, text = self.daemon.requests[-1].partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /v1/snapshots/a/compact HTTP/1.1\r\n"))
        self.assertEqual(json.loads(text), {"policy": "tiered",
                                            "store": os.path.realpath(self.store)})

    def test_a_daemon_of_another_user_is_not_asked(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("another user cannot be played without root")
        place = self.directory / "place"
        place.mkdir()
        os.chown(place, OTHER_USER, OTHER_USER)

        def listen(report: Report) -> None:
            os.setresuid(OTHER_USER, OTHER_USER, OTHER_USER)
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(place / "s"))
                listening.listen()
                report(b"!")
                while True:
                    client, _ = listening.accept()
                    said = client.recv(1)
                    client.close()
                    report(said or b"-")

        with child_at_work(listen) as stranger:
            self.link().unlink()
            self.link().symlink_to(place / "s")
            outcome = self.fork()
            self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
            self.assert_one_error_line(outcome, [OTHER_USER, "is not asked"])
            self.assertTrue(self.is_forked())
            self.assertEqual(stranger.report(), b"-")  # not a byte was sent


if __name__ == "__main__":
    main()
