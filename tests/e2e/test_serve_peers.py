#!/usr/bin/env python3
"""The page server lied to, asked and misused.

Environment: LAMINA and FAKE_VM are the binaries.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import sys
import threading
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import EXIT_BUSY, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE
from served_snapshots import OTHER_USER, SHARED_MEMORY, ServeTest, run
from serving import Server, Vm, wait_until

SILENT_CONNECTIONS = 3000
SILENT_PROCESSES = 1100
FOREVER = 1 << 60


class HostilePeers(ServeTest):
    """Peers that lie, stall and die, while a good VM is served."""

    REFUSED = ("endless", "nested", "scalar", "no-regions", "many-regions",
               "huge-size", "huge-offset", "huge-address", "huge-number", "negative", "float",
               "empty-region", "unaligned", "beyond", "overlapping", "shared-offsets",
               "no-descriptor", "pipe", "regular-file", "too-many-descriptors")
    # Those of them that hand over no userfaultfd. The others would wait for their memory for ever.
    WITHOUT = ("no-descriptor", "pipe", "regular-file")

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("h", 1024, 2)

    def assert_served(self, server: Server) -> None:
        """A good VM is served, at once."""
        vm = Vm(server.socket, self.truth_file)
        self.assertEqual(vm.finish(8), EXIT_DONE, vm.said())

    def test_invalid_handshakes_are_refused(self) -> None:
        with self.serving(self.snapshot) as server:
            good = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            for kind in self.REFUSED:
                with self.subTest(kind=kind):
                    before = server.metrics()["lamina_peers_refused_total"]
                    peer = Vm(server.socket, self.truth_file, "--misbehave", kind)
                    self.assertEqual(peer.finish(),
                                     EXIT_DONE if kind in self.WITHOUT else -signal.SIGKILL,
                                     f"{peer.said()} {server.said()}")
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"], before + 1)
                    self.assertIn(f"process {peer.pid} is refused: ", server.log()[-1])
            self.assert_right(good)
            self.end_cleanly(server)

    def test_peers_that_die_do_not_disturb_others(self) -> None:
        with self.serving(self.snapshot) as server:
            for kind in ("die-after-connect", "die-after-handshake"):
                for _ in range(10):
                    peer = Vm(server.socket, self.truth_file, "--misbehave", kind)
                    self.assertEqual(peer.finish(), -signal.SIGKILL)
            for number in range(10):
                vm = Vm(server.socket, self.truth_file, "--die-after", 1 + 40 * number,
                        "--threads", 4)
                self.assertEqual(vm.finish(), -signal.SIGKILL)
            self.assert_served(server)
            self.assertEqual(server.metrics()["lamina_vms_killed_total"], 0, server.said())
            self.end_cleanly(server)

    def test_an_unusable_userfaultfd_kills_the_vm_and_leaks_no_descriptor(self) -> None:
        """One that cannot be read, and one that hands descriptors to its reader."""
        with self.serving(self.snapshot) as server:
            peer = Vm(server.socket, self.truth_file, "--misbehave", "raw-userfaultfd")
            self.assert_killed(peer)
            self.wait_idle(server)
            before = len(os.listdir(f"/proc/{server.worker()}/fd"))
            for _ in range(3):
                self.assert_killed(Vm(server.socket, self.truth_file, "--misbehave", "fork"))
            self.wait_idle(server)
            wait_until(lambda: len(os.listdir(f"/proc/{server.worker()}/fd")) <= before,
                       "no descriptor is kept")
            self.assert_served(server)
            self.end_cleanly(server)

    def test_silent_peers_are_refused_after_the_timeout(self) -> None:
        with self.serving(self.snapshot) as server:
            peers = [Vm(server.socket, self.truth_file, "--misbehave", kind)
                     for kind in ("silent", "half", "garbage")]
            self.assertEqual(peers[0].finish(), EXIT_DONE, peers[0].said())
            for peer in peers[1:]:
                self.assertEqual(peer.finish(), -signal.SIGKILL, peer.said())
            self.assertEqual(server.metrics()["lamina_peers_refused_total"], 3)
            self.end_cleanly(server)

    def test_a_vm_is_served_beside_a_crowd_of_one_process(self) -> None:
        """All but its first connection are refused."""
        with self.serving(self.snapshot) as server, contextlib.ExitStack() as stack:
            good = Vm(server.socket, self.truth_file, "--operations", FOREVER, wait=True)
            for number in range(SILENT_CONNECTIONS):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(server.socket))
                if number % 1000 == 0:
                    self.assert_served(server)
            self.assert_served(server)
            self.assert_right(good)
            stack.close()
            self.end_cleanly(server)

    def test_a_vm_is_served_beside_a_crowd_of_processes(self) -> None:
        """More than the server lets wait; each has its own claim to be served."""
        with self.serving(self.snapshot) as server:
            held, holds = os.pipe()
            gate, opens = os.pipe()
            children = []
            for _ in range(SILENT_PROCESSES):
                child = os.fork()
                if child == 0:
                    with contextlib.suppress(BaseException):
                        os.close(holds)
                        os.close(opens)
                        os.read(gate, 1)
                        client = socket.socket(socket.AF_UNIX)
                        client.connect(str(server.socket))
                        os.read(held, 1)
                    os._exit(0)
                children.append(child)
            os.close(held)
            os.close(gate)
            os.close(opens)  # all connect now: the first ones are not let wait for ever
            try:
                wait_until(lambda: len(server.states()) >= SILENT_PROCESSES // 2, server.said())
                self.assert_served(server)
                # Workers that come meanwhile do not keep the crowd's descriptors.
                server.wait_for_another(server.kill_worker())
                self.assert_served(server)
            finally:
                os.close(holds)
                for child in children:
                    os.waitpid(child, 0)
            self.end_cleanly(server)

    def test_other_users_are_served_only_if_allowed(self) -> None:
        cases = (((), False), (("--socket-mode", "0666"), False),
                 (("--socket-mode", "0666", "--allow-uid", str(OTHER_USER)), True))
        for options, allowed in cases:
            with self.subTest(options=options), \
                    self.serving(self.snapshot, options=options) as server:
                vm = Vm(server.socket, self.truth_file, "--user", OTHER_USER,
                        *(() if allowed else ("--misbehave", "silent")))
                code = vm.finish()
                if not options:
                    self.assertEqual(code, EXIT_FAILED, vm.said())
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"], 0)
                else:
                    self.assertEqual(code, EXIT_DONE, vm.said() + server.said())
                    self.assertEqual(server.metrics()["lamina_peers_refused_total"],
                                     0 if allowed else 1)
                    self.assertEqual(any(f"--allow-uid {OTHER_USER}" in line
                                         for line in server.log()), not allowed)
                self.end_cleanly(server)

    def test_a_server_that_may_not_kill_its_peer_refuses_it(self) -> None:
        """A page that could not be served would leave such a VM hanging."""
        for path in (self.store, *self.store.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
        with self.serving(self.snapshot, user=OTHER_USER) as server:
            peer = Vm(server.socket, self.truth_file, "--misbehave", "silent")
            self.assertEqual(peer.finish(), EXIT_DONE, server.said())
            wait_until(lambda: "may not be killed" in server.said(), "the refusal is logged")
            self.end_cleanly(server)

    def test_sockets_and_states_have_the_given_modes(self) -> None:
        for options, mode in (((), 0o600), (("--socket-mode", "0660"), 0o660)):
            with self.serving(self.snapshot, options=options) as server:
                vm = Vm(server.socket, self.truth_file, wait=True).wait_connected()
                wait_until(lambda: server.vms_on_record() == 1, server.said())
                self.assertEqual(server.socket.stat().st_mode & 0o777, mode)
                self.assertEqual(server.metrics_socket.stat().st_mode & 0o777, 0o600)
                directory = server.state / server.states()[0]
                self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
                self.assertEqual((directory / "state").stat().st_mode & 0o777, 0o600)
                self.assert_right(vm)
                self.end_cleanly(server)


class Metrics(ServeTest):
    """The figures, and the clients that read them."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, self.memory = self.chain("m", 1024, 2)

    def test_metrics_parse_and_are_plausible(self) -> None:
        with self.serving(self.snapshot) as server:
            vm = Vm(server.socket, self.truth_file, "--operations", 3000, "--threads", 1)
            self.assert_right(vm)
            self.wait_idle(server)
            text = server.metrics_text()
            sample = re.compile(r'lamina_[a-z_]+(\{(kind|le)="[^"]+"\})? [0-9.e+-]+')
            helped, typed = set(), set()
            for line in text.splitlines():
                if line.startswith("# HELP "):
                    helped.add(line.split()[2])
                elif line.startswith("# TYPE "):
                    typed.add(line.split()[2])
                else:
                    self.assertRegex(line, f"^{sample.pattern}$")
            self.assertEqual(helped, typed)
            values = server.metrics()
            self.assertEqual(values["lamina_supervisor_pid"], server.pid)
            self.assertEqual(values["lamina_sessions"], 0)
            self.assertEqual(values["lamina_sessions_started_total"], 1)
            self.assertEqual(values["lamina_vms_killed_total"], 0)
            self.assertEqual(values["lamina_removes_total"], vm.report()["removes"])
            faults = sum(values[f'lamina_faults_total{{kind="{kind}"}}']
                         for kind in ("data", "zero", "present"))
            self.assertGreater(faults, 0)
            self.assertEqual(values["lamina_fault_seconds_count"], faults)
            self.assertLessEqual(values['lamina_filled_bytes_total{kind="data"}'],
                                 self.memory.size_bytes)
            self.assertGreaterEqual(values['lamina_filled_bytes_total{kind="data"}'],
                                    self.memory.size_bytes // 8)
            buckets = [value for name, value in values.items()
                       if name.startswith("lamina_fault_seconds_bucket{")]
            self.assertEqual(buckets, sorted(buckets))
            self.assertEqual(buckets[-1], faults)
            status = self.done("serve", "--status", "--metrics", server.metrics_socket).stdout
            self.assertIn("0 served now, 1 in all", status)
            self.assertIn(f"process       {server.pid} (", status)
            server.kill_supervisor()
            self.assertEqual(server.metrics()["lamina_supervisor_pid"], server.pid)
            self.end_cleanly(server)
        self.refused(EXIT_USAGE, "serve", "--status")
        self.refused(EXIT_NOT_FOUND, "serve", "--status", "--metrics", server.metrics_socket)

    def test_silent_clients_do_not_block_the_metrics(self) -> None:
        with self.serving(self.snapshot) as server, contextlib.ExitStack() as stack:
            stopping = threading.Event()
            clients: list[socket.socket] = []

            def connect() -> None:
                while not stopping.is_set():
                    client = socket.socket(socket.AF_UNIX)
                    client.settimeout(5)
                    with contextlib.suppress(OSError):
                        client.connect(str(server.metrics_socket))
                    clients.append(client)
                    if len(clients) > 200:
                        clients.pop(0).close()

            thread = threading.Thread(target=connect)
            thread.start()
            stack.callback(lambda: [client.close() for client in clients])
            stack.callback(thread.join)
            stack.callback(stopping.set)
            self.assert_right(Vm(server.socket, self.truth_file))
            for _ in range(20):
                self.assertIn("in all", self.done("serve", "--status", "--metrics",
                                                  server.metrics_socket).stdout)
            stopping.set()
            thread.join()
            self.end_cleanly(server)


class Usage(ServeTest):
    """What is refused at once, with one line and the right exit code."""

    def setUp(self) -> None:
        super().setUp()
        self.snapshot, self.truth_file, _ = self.chain("u", 64, 1)
        self.path = self.sockets / "s"

    def refuse(self, code: int, *arguments: str | Path, names: tuple[str | Path, ...] = ()) -> None:
        """`lamina serve` with `arguments`, which must fail."""
        self.refused(code, "serve", *arguments, names=names)

    def test_a_low_limit_of_open_files_is_refused(self) -> None:
        """Below it poll(2) could refuse all descriptors that the server waits for."""
        limit = (40, 40)
        self.refused(EXIT_FAILED, "serve", self.snapshot, "--socket", self.path, "--state-dir",
                     self.states, names=("RLIMIT_NOFILE", "40", "ulimit"),
                     prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))

    def test_invalid_options_are_refused(self) -> None:
        snapshot, path, state = self.snapshot, self.path, ("--state-dir", self.states)
        for code, arguments, names in (
                (EXIT_USAGE, (), ["SNAPSHOT"]),
                (EXIT_USAGE, (snapshot,), ["--socket"]),
                (EXIT_USAGE, ("--socket", path), ["SNAPSHOT"]),
                (EXIT_USAGE, (snapshot, snapshot, "--socket", path), ["2 SNAPSHOTs"]),
                (EXIT_USAGE, (snapshot, snapshot, "--socket", path, "--socket", path), [path]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", "99"), ["'99'"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", "7777"), ["'7777'"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-mode", ""), ["--socket-mode"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--populate", "some"), ["--populate"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--workers", "0"), ["--workers"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--workers", "x"), ["--workers"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--allow-uid", "-1"), ["--allow-uid"]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--socket-group", "no-such"),
                 ["no-such"]),
                (EXIT_USAGE, (snapshot, "--socket", ""), []),
                (EXIT_USAGE, (snapshot, "--socket", self.sockets / ("x" * 110)), ["x" * 110]),
                (EXIT_USAGE, (snapshot, "--socket", path, "--metrics", path), [path]),
                (EXIT_NOT_FOUND, (self.store / "none", "--socket", path), ["none"]),
                (EXIT_NOT_FOUND, (snapshot, "--socket", self.sockets / "none" / "s"), ["none"])):
            with self.subTest(arguments=arguments):
                self.refuse(code, *arguments, *state, names=tuple(names))
                self.assertFalse(path.exists())
        self.assertEqual([name for name in os.listdir(self.states) if name != ".lock"], [])

    def test_an_existing_file_or_a_live_socket_is_not_replaced(self) -> None:
        state = ("--state-dir", self.states)
        self.path.write_text("precious")
        self.refuse(EXIT_FAILED, self.snapshot, "--socket", self.path, *state, names=(self.path,))
        self.assertEqual(self.path.read_text(), "precious")
        other = self.sockets / "other"
        with self.serving(self.snapshot) as server:
            self.refuse(EXIT_BUSY, self.snapshot, "--socket", server.socket, *state,
                        names=(server.socket,))
            # The first socket is not left behind when the second cannot be made.
            self.refuse(EXIT_BUSY, self.snapshot, self.snapshot, "--socket", other, "--socket",
                        server.socket, *state, names=(server.socket,))
            self.assertFalse(other.exists())
            self.refuse(EXIT_BUSY, self.snapshot, "--socket", other, "--metrics",
                        server.metrics_socket, *state, names=(server.metrics_socket,))
            self.assertFalse(other.exists())
            self.assert_right(Vm(server.socket, self.truth_file))
            self.end_cleanly(server)

    def test_a_state_directory_must_be_closed_to_other_writers_and_on_tmpfs(self) -> None:
        wide = self.states / "wide"
        wide.mkdir()
        wide.chmod(0o770)
        for code, state, name in ((EXIT_FAILED, wide, "chmod go-rwx"),
                                  (EXIT_FAILED, self.directory / "disk", "tmpfs"),
                                  (EXIT_NOT_FOUND, self.states / "none" / "there", "none")):
            if name == "tmpfs" and self.directory.is_relative_to(SHARED_MEMORY):
                continue
            self.refuse(code, self.snapshot, "--socket", self.path, "--state-dir", state,
                        names=(state, name))
            self.assertFalse(self.path.exists())


if __name__ == "__main__":
    run()
