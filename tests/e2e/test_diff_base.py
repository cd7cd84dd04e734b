"""What a diff counts from is a fact about the VM's process, not about a store.

Every create clears the VM's dirty bits. So whenever another store, a copy, a store that was put
back, or a caller in another namespace has taken a memory file in between, the next one must be a
full one; each state is compared byte for byte with the guest.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import unittest
import unittest.mock
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from firecracker import fake_firecracker_program
from memory_files import EXIT_BUSY, EXIT_FAILED, MEMORY_FS, lamina, program
from sandbox import SandboxTest
from serving import wait_until

_MARK = 10  # RLIMIT_LOCKS, see src/os/process_mark.h
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
_CAP_SYS_RESOURCE = 24
_USER = 61234
_ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def may_raise_limits() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    found = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(found and int(found[1], 16) >> _CAP_SYS_RESOURCE & 1)


class DiffBase(SandboxTest):
    """One VM, and the stores that take its memory."""

    def setUp(self) -> None:
        """The guest writes something before each pause."""
        super().setUp()
        self.vm = self.fresh("--no-discards")
        self._seed = 0

    def checkpoint(self, store: Path, *prefix: str, **more: Any) -> dict[str, Any]:
        """A checkpoint of a guest that has gone on; the state must be the guest's."""
        self._seed += 1
        self.vm.tell(f"run 60 {self._seed}")
        return self.compare(store, self.pause_into(store, "vm", prefix, **more))

    def pause_into(self, store: Path, name: str, prefix: tuple[str, ...] = (),
                   **more: Any) -> dict[str, Any]:
        """Pauses, and leaves the VM paused, so that its memory can be looked at."""
        return self.done("pause", "--api", self.vm.api_socket, "--store", store, "--name", name,
                         "--after", "stay", "--json", prefix=prefix, **more).json

    def compare(self, store: Path, report: dict[str, Any], name: str = "vm") -> dict[str, Any]:
        """The snapshot is what the guest has, which then runs on."""
        truth = Path(f"{self.vm.control_socket.parent}/truth")
        made = self.directory / "made"
        self.vm.tell(f"dump {truth}")
        self.done("materialize", store / name, "--out", made)
        self.assertTrue(truth.read_bytes() == made.read_bytes(), report)
        truth.unlink()
        made.unlink()
        self.vm.resume()
        return report

    def assert_full(self, report: dict[str, Any], why: str) -> None:
        """It is a full one, and says why."""
        self.assertEqual(report["kind"], "full", report)
        self.assertIn(why, report["reason"])

    def other(self, name: str) -> Path:
        """Another store."""
        path = self.directory / name
        path.mkdir()
        return path


class Stores(DiffBase):
    """Several stores, and stores that were somewhere else in between."""

    def test_a_pause_into_another_store_makes_the_next_one_full(self) -> None:
        other = self.other("other")
        self.checkpoint(self.store)
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")
        self.checkpoint(other)
        self.assert_full(self.checkpoint(self.store), "another store")
        self.assert_full(self.checkpoint(other), "another store")
        self.assertEqual(self.checkpoint(other)["kind"], "diff")

    def test_a_store_restored_from_a_backup_gets_a_full_pause(self) -> None:
        self.checkpoint(self.store)
        backup = self.directory / "backup"
        subprocess.run(["cp", "-a", str(self.store), str(backup)], check=True)
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")
        # Into the same directory: the store is what it was, but for its age.
        for entry in self.store.iterdir():
            shutil.rmtree(entry)
        subprocess.run(["cp", "-a", f"{backup}/.", str(self.store)], check=True)
        self.assert_full(self.checkpoint(self.store), "put back")
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")

    def test_a_pause_into_a_copy_makes_the_next_one_full(self) -> None:
        self.checkpoint(self.store)
        copy = self.directory / "copy"
        subprocess.run(["cp", "-a", str(self.store), str(copy)], check=True)
        self.checkpoint(copy)
        self.assert_full(self.checkpoint(self.store), "a copy")

    def test_a_resumed_vm_counts_from_what_was_loaded(self) -> None:
        self.checkpoint(self.store)
        other = self.other("other")
        self.vm, _ = self.resume("vm", "--mode", "file")
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")
        self.checkpoint(other)
        self.assert_full(self.checkpoint(self.store), "another store")


class Records(DiffBase):
    """What is kept with the process."""

    def test_without_a_record_the_pause_is_full(self) -> None:
        self.checkpoint(self.store)
        resource.prlimit(self.vm.pid, _MARK, _UNLIMITED)
        self.assert_full(self.checkpoint(self.store), "not on record")
        resource.prlimit(self.vm.pid, _MARK, (77, resource.RLIM_INFINITY))
        self.assert_full(self.checkpoint(self.store), "not on record")
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")

    def test_a_limit_without_room_is_raised_or_the_next_pause_is_full(self) -> None:
        """Raising it needs CAP_SYS_RESOURCE."""
        resource.prlimit(self.vm.pid, _MARK, (77, 77))
        self.checkpoint(self.store)
        again = self.checkpoint(self.store)
        if may_raise_limits():
            self.assertEqual(again["kind"], "diff", again["reason"])
        else:
            self.assert_full(again, "not on record")

    def test_after_a_failed_create_the_next_pause_is_full(self) -> None:
        self.checkpoint(self.store)
        other = self.other("other")
        self.vm.tell("run 60 99")
        self.vm.tell("fail create-refuse")
        outcome = lamina("pause", "--api", self.vm.api_socket, "--store", other, "--name", "vm")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assert_full(self.checkpoint(self.store), "was not acknowledged, or")

    def test_a_vm_whose_record_this_user_may_not_change_is_not_paused(self) -> None:
        """Else the record would say that the dirty bits count from what they do not."""
        self.checkpoint(self.store)
        prefix = ("setpriv", "--bounding-set", "-sys_resource,-setuid,-setgid",
                  f"--regid={_USER}", "--clear-groups")
        outcome = lamina("pause", "--api", self.vm.api_socket, "--store", self.other("other"),
                         "--name", "vm", "--after", "resume", prefix=prefix)
        self.assertEqual(outcome.code, 1, str(outcome))
        self.assertIn("CAP_SYS_RESOURCE", outcome.stderr)
        self.assertEqual(self.vm.state(), "Running")
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")

    def test_a_failed_pause_by_root_makes_the_users_next_one_full(self) -> None:
        """The user has a store; root has another lamina at work on the same VM."""
        program_of_user = self.directory / "firecracker"
        program_of_user.write_text(
            f'#!/bin/sh\nchown {_USER} "$(dirname "$2")"\nexec setpriv --reuid={_USER} '
            f'--regid={_USER} --clear-groups "{fake_firecracker_program()}" "$@"\n')
        program_of_user.chmod(0o755)
        with unittest.mock.patch.dict(os.environ, {"FAKE_FIRECRACKER": str(program_of_user)}):
            self.vm = self.fresh("--no-discards")
        users = self.other("users")
        os.chown(users, _USER, _USER)
        self.checkpoint(users, user=_USER)
        self.assertEqual(self.checkpoint(users, user=_USER)["kind"], "diff")
        self.vm.tell("run 60 7")
        # By root, in whose store the VM may not write: the create fails once it was asked for.
        outcome = lamina("pause", "--api", self.vm.api_socket, "--store", self.other("roots"),
                         "--name", "vm", "--after", "resume")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assert_full(self.checkpoint(users, user=_USER), "was not acknowledged")
        self.assertEqual(self.checkpoint(users, user=_USER)["kind"], "diff")


class Meetings(DiffBase):
    """Several callers at one VM."""

    def test_a_second_store_waits_for_the_end_of_the_frozen_hook(self) -> None:
        other = self.other("other")
        inside, go_on = self.directory / "inside", self.directory / "go-on"
        os.mkfifo(go_on)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(lamina, "pause", "--api", self.vm.api_socket, "--store", self.store,
                                "--name", "vm", "--after", "resume", "--frozen-hook",
                                f"touch '{inside}'; read x < '{go_on}'")
            wait_until(inside.exists, "the hook runs")
            second = lamina("pause", "--api", self.vm.api_socket, "--store", other, "--name", "vm")
            self.assertEqual(second.code, EXIT_BUSY, str(second))
            self.assertEqual(self.vm.state(), "Paused")
            go_on.write_text("x\n")
            self.assertEqual(first.result().code, 0)
        self.assertEqual(self.checkpoint(self.store)["kind"], "diff")

    def test_a_lock_on_the_pidfd_by_another_user_does_not_delay_a_pause(self) -> None:
        """Every user may lock a pidfd."""
        code = ("import os, fcntl, sys\n"
                f"os.setuid({_USER})\n"
                f"fcntl.flock(os.pidfd_open({self.vm.pid}), fcntl.LOCK_EX)\n"
                "print('locked', flush=True)\n"
                "sys.stdin.read()\n")
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as stranger:
            assert stranger.stdin is not None and stranger.stdout is not None
            self.assertEqual(stranger.stdout.readline(), "locked\n")
            self.checkpoint(self.store)
            self.assertEqual(self.checkpoint(self.store)["kind"], "diff")
            stranger.stdin.close()

    def test_concurrent_pauses_into_several_stores_succeed_or_are_busy(self) -> None:
        """What is published is the guest's memory at one moment."""
        stores = [self.other(f"store-{number}") for number in range(3)]
        for round_number in range(4):
            self.vm.tell(f"run 60 {round_number + 1}")
            with ThreadPoolExecutor(len(stores)) as pool:
                outcomes = list(pool.map(lambda store: lamina(
                    "pause", "--api", self.vm.api_socket, "--store", store, "--name", "vm",
                    "--after", "resume"), stores))
            self.assertIn(0, [outcome.code for outcome in outcomes], outcomes)
            for outcome in outcomes:
                self.assertIn(outcome.code, (0, EXIT_BUSY), str(outcome))
        for store in stores:
            self.checkpoint(store)


class Namespaces(DiffBase):
    """lamina inside and outside the VM's pid, mount and time namespaces."""

    def test_a_pause_from_the_other_pid_namespace_makes_the_next_one_full(self) -> None:
        store = self.store
        self.checkpoint(store)
        script = self.directory / "inside.py"
        script.write_text(
            "import resource, subprocess, sys, os\n"
            "sys.path.insert(0, os.environ['E2E'])\n"
            "from firecracker import Firecracker\n"
            "vm = Firecracker('--start', '--memory-mib', 16, '--no-discards')\n"
            "vm.tell('run 60 1')\n"
            "print(vm.api_socket, vm.control_socket, flush=True)\n"
            "for line in sys.stdin:\n"
            "    out = subprocess.run(line.split(), capture_output=True, text=True)\n"
            "    print((out.stdout if out.returncode == 0 else out.stderr).replace('\\n', ' '),"
            " flush=True)\n"
            "vm.end()\n")
        with subprocess.Popen([*_ELSEWHERE, "python3", str(script)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "E2E": str(Path(__file__).parent)}) as inside:
            assert inside.stdin is not None and inside.stdout is not None
            api, control = inside.stdout.readline().split()
            self.vm.api_socket, self.vm.control_socket = Path(api), Path(control)
            words = (f"{program()} pause --api {api} --store {store} --name inner"
                     " --after stay --json\n")

            def pause_inside() -> dict[str, Any]:
                self.vm.tell("run 60 5")
                inside.stdin.write(words)
                inside.stdin.flush()
                return self.compare(store, json.loads(inside.stdout.readline()), "inner")

            def pause_outside() -> dict[str, Any]:
                self.vm.tell("run 60 6")
                return self.compare(store, self.pause_into(store, "outer"), "outer")

            pause_inside()
            self.assertEqual(pause_inside()["kind"], "diff")
            pause_outside()
            self.assertEqual(pause_outside()["kind"], "diff")
            self.assert_full(pause_inside(), "another than its base")
            self.assert_full(pause_outside(), "another than its base")
            inside.stdin.close()

    def test_a_private_tmpfs_and_time_namespace_do_not_hide_a_pause(self) -> None:
        if self.directory.is_relative_to(MEMORY_FS):
            self.skipTest("the stores would be hidden, too")
        other = self.other("other")
        apart = ("unshare", "--mount", "--ipc", "--net", "--time", "--boottime", "86400", "--fork",
                 "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run; exec "$@"',
                 "sh")
        self.checkpoint(self.store)
        self.checkpoint(other, *apart)
        self.assert_full(self.checkpoint(self.store), "another store")
        self.assert_full(self.checkpoint(other, *apart), "another store")
        self.assertEqual(self.checkpoint(other, *apart)["kind"], "diff")


if __name__ == "__main__":
    unittest.main()
