"""A record acts only on what it belongs to: copies of stores, other hosts, boots and namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from firecracker import Firecracker
from memory_files import EXIT_FAILED, EXIT_NOT_FOUND, lamina, random_memory, write_full
from sandbox import SandboxTest, page_servers_of
from serving import wait_until

_USER = 61235
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_HOST = Path("/etc/machine-id")
_DBUS = Path("/var/lib/dbus/machine-id")
_OTHER_ID = "0123456789abcdef0123456789abcdef"
_OTHER_BOOT = "11111111-2222-4333-8444-555555555555"


class CopiedStoreTest(SandboxTest):
    """What the tests of this file share."""

    def copy(self, name: str = "copy") -> Path:
        """A copy of the store, as users make one."""
        path = self.directory / name
        subprocess.run(["cp", "-a", str(self.store), str(path)], check=True)
        return path

    def queue_pause(self, vm: Firecracker, *options: str | Path, name: str = "vm",
                    in_memory: bool = False) -> str:
        """A checkpoint whose process is killed once Firecracker has acknowledged it."""
        if not in_memory:
            options = ("--freeze-memory", "0", *options)
        outcome = lamina("pause", "--api", vm.api_socket, "--store", self.store, "--name", name,
                         "--after", "resume", "--frozen-hook", "kill -KILL $PPID", *options)
        self.assertEqual(outcome.code, -signal.SIGKILL, str(outcome))
        self.assertEqual(vm.state(), "Paused")
        (journal,) = [path for path in (self.store / ".pending").glob("*.json")
                      if json.loads(path.read_text())["name"] == name]
        self.assertEqual(json.loads(journal.read_text())["acknowledged"], not in_memory)
        return journal.stem

    def recovered(self, store: Path, *options: str, **more: Any) -> dict[str, Any]:
        """The report of a recovery that leaves nothing queued."""
        return self.done("recover", store, *options, "--json", **more).json

    def truth_of(self, vm: Firecracker) -> bytes:
        """The guest's memory now."""
        path = vm.control_socket.parent / "truth"
        vm.tell(f"dump {'/truth' if vm.jail else path}")
        try:
            return path.read_bytes()
        finally:
            path.unlink()

    def assert_memory_is(self, snapshot: Path, truth: bytes) -> None:
        """A snapshot is intact and has the guest's memory."""
        self.done("verify", snapshot)
        self.assertTrue(self.materialized(snapshot) == truth, "another memory than the guest's")


class Copies(CopiedStoreTest):
    """Copies on the same host, made while something is under way."""

    def test_a_copy_does_not_thaw_the_vm_of_a_frozen_hook(self) -> None:
        vm = self.fresh("--no-discards")
        vm.tell("run 60 1")
        inside, go_on = self.directory / "inside", self.directory / "go-on"
        os.mkfifo(go_on)
        with ThreadPoolExecutor(1) as pool:
            pause = pool.submit(lamina, "pause", "--api", vm.api_socket, "--store", self.store,
                                "--name", "vm", "--after", "resume", "--frozen-hook",
                                f"touch '{inside}'; read x < '{go_on}'")
            wait_until(inside.exists, "the hook runs")
            copy = self.copy()
            report = self.recovered(copy)
            self.assertEqual((report["completed"], report["resumed_vms"], report["released_pins"],
                              report["foreign"]), (0, 0, 0, 2))
            self.assertEqual(vm.state(), "Paused")
            go_on.write_text("x\n")
            self.assertEqual(pause.result().code, 0)
        self.assertEqual(vm.state(), "Running")

    def test_foreign_records_are_shown(self) -> None:
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm", "--after", "resume")
        identifier = self.queue_pause(vm)
        copy = self.copy()
        listing = self.done("ls", copy, "--json").json
        (pin,) = listing["pins"]
        self.assertIn("copied", pin["foreign"])
        self.assertFalse(pin["running"])
        (pending,) = listing["pending"]
        self.assertEqual(pending["id"], identifier)
        self.assertIn("copied", pending["foreign"])
        self.assertIn("not acted upon", self.done("ls", copy).stdout)
        for record in (*self.done("ls", self.store, "--json").json["pins"],
                       *self.done("ls", self.store, "--json").json["pending"]):
            self.assertIsNone(record["foreign"])
        findings = self.done("doctor", copy, "--json").json["file_system"]
        self.assertIn("--adopt-store", {f["subject"]: f["detail"] for f in findings}["records"])
        self.assertIn("--adopt-store", self.done("recover", copy).stderr)

    def test_a_copy_is_adopted_and_the_original_goes_on(self) -> None:
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm", "--after", "resume")
        vm.tell("run 60 2")
        identifier = self.queue_pause(vm)
        truth = self.truth_of(vm)
        copy = self.copy()
        before = self.recovered(copy)
        self.assertEqual((before["completed"], before["foreign"]), (0, 2))
        dry = self.recovered(copy, "--adopt-store", "--dry-run")
        self.assertEqual(dry["adopted"], 2)
        self.assertEqual(self.recovered(copy)["foreign"], 2)
        report = self.recovered(copy, "--adopt-store")
        self.assertEqual((report["adopted"], report["completed"], report["released_pins"],
                          report["resumed_vms"]), (2, 1, 1, 0))
        self.assertEqual(vm.state(), "Paused")
        self.assert_memory_is(copy / f"vm@{identifier}", truth)
        self.assertEqual(self.recovered(copy, "--adopt-store")["adopted"], 0)
        # The original store is not affected.
        report = self.recovered(self.store)
        self.assertEqual((report["completed"], report["resumed_vms"], report["foreign"]), (1, 1, 0))
        self.assert_memory_is(self.store / f"vm@{identifier}", truth)
        self.assertEqual(vm.state(), "Running")
        self.assertEqual(self.pause(vm, "vm-2", "--after", "resume")["kind"], "diff")
        self.assert_memory_is(self.store / "vm-2", self.truth_of(vm))

    def test_a_copy_leaves_the_memory_file_in_memory_to_the_original(self) -> None:
        memory = Path(tempfile.mkdtemp(prefix="lamina-", dir="/dev/shm"))
        self.addCleanup(shutil.rmtree, memory)
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm", "--after", "resume")
        vm.tell("run 60 2")
        identifier = self.queue_pause(vm, "--freeze-directory", memory, in_memory=True)
        truth = self.truth_of(vm)
        copy = self.copy()
        outcome = self.done("recover", copy, "--adopt-store", "--json")
        self.assertEqual((outcome.json["completed"], outcome.json["discarded"],
                          outcome.json["foreign"]), (0, 0, 1))
        self.assertIn("its own store has to complete it", "".join(outcome.json["notes"]))
        self.assertEqual(len(list(memory.glob("lamina-*/memfile.*"))), 1)
        report = self.recovered(self.store)
        self.assertEqual((report["completed"], report["resumed_vms"]), (1, 1))
        self.assert_memory_is(self.store / f"vm@{identifier}", truth)
        self.assertEqual(list(memory.glob("lamina-*")), [])
        # Once the files are gone, the copy can adopt what is left of it.
        report = self.recovered(copy, "--adopt-store")
        self.assertEqual((report["adopted"], report["discarded"]), (1, 1))

    def test_a_copy_leaves_the_memory_file_in_a_jail_to_the_original(self) -> None:
        jail = self.directory / "jail"
        jail.mkdir()
        os.chown(jail, _USER, _USER)
        vm = self.fresh(jail=jail, user=_USER)
        self.pause(vm, "vm", "--after", "resume", "--jail", jail)
        vm.tell("run 60 2")
        identifier = self.queue_pause(vm, "--jail", jail)
        inside = sorted(jail.glob("lamina-*/*"))
        self.assertTrue(inside)
        copy = self.copy()
        self.recovered(copy)
        report = self.recovered(copy, "--adopt-store")
        self.assertEqual((report["completed"], report["foreign"]), (0, 1))
        self.assertIn("jail", " ".join(report["notes"]))
        self.assertEqual(sorted(jail.glob("lamina-*/*")), inside)
        outcome = lamina("recover", copy, "--give-up", identifier)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertEqual(sorted(jail.glob("lamina-*/*")), inside)
        self.assertEqual(vm.state(), "Paused")
        self.assertEqual(self.recovered(self.store)["completed"], 1)
        self.assertEqual(vm.state(), "Running")

    def test_recovering_a_copy_starts_no_page_server(self) -> None:
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm")
        served, _ = self.resume("vm", "--mode", "uffd", "--populate", "none")
        copy = self.copy()
        self.assertEqual(self.recovered(copy)["foreign"], 1)
        self.assertEqual(page_servers_of(copy), [])
        self.done("rm", copy / "vm")
        self.check(served)

    def test_a_pause_into_a_copy_takes_over_the_pin(self) -> None:
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm", "--after", "resume")
        copy = self.copy()
        self.store, original = copy, self.store
        self.assertEqual(self.pause(vm, "vm", "--after", "resume")["kind"], "full")
        self.assertEqual(self.pause(vm, "vm", "--after", "resume")["kind"], "diff")
        self.assertEqual(self.recovered(copy)["foreign"], 0)
        self.store = original
        self.assertEqual(self.pause(vm, "vm", "--after", "resume")["kind"], "full")

    def test_the_source_of_an_ingest_is_put_back_by_its_own_store_only(self) -> None:
        memory = random_memory(self.rng, 64 * 4096)
        source = self.directory / "memory"
        for number in range(1, 60):
            source.unlink(missing_ok=True)
            write_full(source, memory)
            lamina("ingest", source, "--out", self.store / "s", "--layout", "adopt",
                   prefix=("strace", "-f", "-o", "/dev/null", "-e",
                           f"inject=fsync:signal=KILL:when={number}"))
            if not source.exists():
                break
        self.assertFalse(source.exists(), "never killed with the file taken over")
        (identifier,) = [path.stem for path in (self.store / ".pending").glob("*.json")]
        copy = self.copy()
        self.assertIn("--adopt-store", " ".join(self.recovered(copy)["notes"]))
        self.done("ingest", write_full(self.directory / "other", memory), "--out", copy / "t")
        self.assertFalse(source.exists())
        report = self.recovered(copy, "--adopt-store")
        self.assertEqual(report["adopted"], 1)
        self.assertFalse(source.exists())
        self.assertEqual((copy / f"{identifier}.memory").read_bytes(), memory.contents())
        self.assertEqual(list((copy / ".pending").iterdir()), [])
        self.recovered(self.store)
        self.assertEqual(source.read_bytes(), memory.contents())

    def test_a_renamed_store_completes_its_pauses(self) -> None:
        vm = self.fresh("--no-discards")
        self.queue_pause(vm)
        moved = self.directory / "moved"
        self.store.rename(moved)
        self.assertEqual(self.recovered(moved)["completed"], 1)
        self.assertEqual(vm.state(), "Running")

    def test_a_copy_counts_resumes_from_zero(self) -> None:
        self.pause(self.fresh("--no-discards"), "vm")
        self.resume("vm", "--mode", "file")
        copy = self.copy()
        counts = [self.done("ls", store, "--json").json["snapshots"][0]["resumes"]
                  for store in (self.store, copy)]
        self.assertEqual(counts, [1, 0])


class Elsewhere(CopiedStoreTest):
    """Other hosts, boots and namespaces, by files that are mounted over those of the kernel."""

    @contextlib.contextmanager
    def another(self, boot: str | None = None, host: str | None = None) -> Iterator[tuple[str, ...]]:
        """A prefix by which lamina sees another boot, or host; an empty one has no id."""
        mounts = []
        with tempfile.TemporaryDirectory() as directory:
            for path, text in ((_BOOT, boot), (_HOST, host), (_DBUS, host)):
                if text is None or not path.exists():
                    continue
                fake = Path(directory) / path.as_posix().replace("/", "-")
                fake.write_text(f"{text}\n")
                mounts.append(f"mount --bind '{fake}' '{path}'")
            yield ("unshare", "--mount", "sh", "-c", " && ".join((*mounts, 'exec "$@"')), "sh")

    def test_after_a_reboot_the_pause_is_completed_and_its_pin_released(self) -> None:
        vm = self.fresh("--no-discards")
        truth = self.truth_of(vm)
        identifier = self.queue_pause(vm)
        with self.another(boot=_OTHER_BOOT) as prefix:
            report = self.recovered(self.store, prefix=prefix)
        self.assertEqual((report["completed"], report["released_pins"], report["resumed_vms"]),
                         (1, 1, 0))
        self.assert_memory_is(self.store / f"vm@{identifier}", truth)

    def test_a_copy_made_before_a_reboot_leaves_foreign_records_alone(self) -> None:
        self.queue_pause(self.fresh("--no-discards"))
        copy = self.copy()
        with self.another(boot=_OTHER_BOOT) as prefix:
            report = self.recovered(copy, prefix=prefix)
        self.assertEqual((report["completed"], report["foreign"]), (0, 2))

    def test_a_host_leaves_the_records_of_another_host_alone(self) -> None:
        vm = self.fresh("--no-discards")
        identifier = self.queue_pause(vm)
        with self.another(_OTHER_BOOT, _OTHER_ID) as prefix:
            report = self.recovered(self.store, prefix=prefix)
            self.assertEqual((report["completed"], report["released_pins"], report["foreign"]),
                             (0, 0, 2))
            (pin,) = self.done("ls", self.store, "--json", prefix=prefix).json["pins"]
            self.assertIn("another host", pin["foreign"])
            outcome = lamina("recover", self.store, "--give-up", identifier, prefix=prefix)
            self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
            self.assertIn("another host", outcome.stderr)
        self.assertEqual(vm.state(), "Paused")
        self.assertEqual(self.recovered(self.store)["completed"], 1)
        self.assertEqual(vm.state(), "Running")

    def test_after_a_reboot_records_of_a_host_without_id_are_left_alone(self) -> None:
        self.queue_pause(self.fresh("--no-discards"))
        with self.another(_OTHER_BOOT, "") as prefix:
            report = self.recovered(self.store, prefix=prefix)
            self.assertEqual((report["completed"], report["foreign"]), (0, 2))
            (pin,) = self.done("ls", self.store, "--json", prefix=prefix).json["pins"]
            self.assertIn("machine-id", pin["foreign"])

    def test_a_container_on_the_same_kernel_completes_the_hosts_pauses(self) -> None:
        vm = self.fresh("--no-discards")
        self.queue_pause(vm)
        with self.another(host=_OTHER_ID) as prefix:
            self.assertEqual(self.recovered(self.store, prefix=prefix)["completed"], 1)
        self.assertEqual(vm.state(), "Running")

    def test_a_pause_from_another_time_namespace_uses_the_same_pin(self) -> None:
        vm = self.fresh("--no-discards")
        self.pause(vm, "vm", "--after", "resume")
        apart = ("unshare", "--time", "--boottime", "86400", "--monotonic", "7", "--fork")
        report = self.done("pause", "--api", vm.api_socket, "--store", self.store, "--name", "vm",
                           "--after", "resume", "--json", prefix=apart).json
        self.assertEqual(report["kind"], "diff")
        self.assertEqual(len(self.pins()), 1)
        self.assertEqual(self.recovered(self.store, prefix=apart)["released_pins"], 0)
        self.assertEqual(len(self.pins()), 1)


class Containers(CopiedStoreTest):
    """A pause inside a pid namespace, and a recovery outside of it."""

    @contextlib.contextmanager
    def container(self) -> Iterator[subprocess.Popen[str]]:
        """A pid namespace with a VM whose acknowledged pause is queued."""
        script = self.directory / "inside.py"
        script.write_text(
            "import os, subprocess, sys\n"
            "sys.path.insert(0, os.environ['E2E'])\n"
            "from firecracker import Firecracker\n"
            "vm = Firecracker('--start', '--memory-mib', 16, '--no-discards')\n"
            "vm.tell('run 60 1')\n"
            "vm.tell('dump ' + sys.argv[2])\n"
            "subprocess.run([os.environ['LAMINA'], 'pause', '--api', str(vm.api_socket), '--store',"
            " sys.argv[1], '--name', 'vm', '--frozen-hook', 'kill -KILL $PPID'])\n"
            "print('queued', flush=True)\n"
            "sys.stdin.read()\n"
            "vm.end()\n")
        with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                               "python3", str(script), str(self.store),
                               str(self.directory / "truth")],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "E2E": str(Path(__file__).parent)}) as process:
            assert process.stdout is not None and process.stdin is not None
            self.assertEqual(process.stdout.readline(), "queued\n")
            yield process
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def test_a_pause_in_a_container_is_completed_once_the_container_has_ended(self) -> None:
        with self.container():
            outcome = lamina("recover", self.store, "--json")
            self.assertEqual(outcome.code, EXIT_FAILED)
            self.assertIn("another pid namespace", " ".join(outcome.json["notes"]))
            self.assertEqual(len(self.pins()), 1)
        report = self.recovered(self.store)
        self.assertEqual((report["completed"], report["released_pins"]), (1, 1))
        (snapshot,) = self.store.glob("vm@*")
        self.assert_memory_is(snapshot, (self.directory / "truth").read_bytes())

    def test_a_recovery_from_a_sibling_namespace_leaves_the_pause_alone(self) -> None:
        with self.container():
            pass
        beside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        # With another number than the one that has just become free.
        with subprocess.Popen([*beside, "sleep", "1000"]) as other:
            try:
                outcome = lamina("recover", self.store, "--json", prefix=beside)
            finally:
                other.kill()
        if outcome.code == 0:  # the number was given again after all: then it is its own namespace
            self.assertEqual(outcome.json["completed"], 1)
            return
        self.assertIn("cannot be told", " ".join(outcome.json["notes"]))
        self.assertEqual(self.recovered(self.store)["completed"], 1)


class Recoveries(CopiedStoreTest):
    """What recover asks of many VMs, and of its caller."""

    def test_a_silent_vm_does_not_delay_the_others(self) -> None:
        vms = [self.fresh("--no-discards") for _ in range(3)]
        for number, vm in enumerate(vms):
            self.queue_pause(vm, name=f"vm-{number}")
        for silent in (vms[0], vms[2]):
            os.kill(silent.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            recovery = pool.submit(lamina, "recover", self.store, "--json")
            try:
                wait_until(lambda: bool(list(self.store.glob("vm-1@*"))), "the other's is completed")
                self.assertFalse(recovery.done())
            finally:
                for silent in (vms[0], vms[2]):
                    os.kill(silent.pid, signal.SIGCONT)
            self.assertEqual(recovery.result().json["completed"], 3)

    def test_an_id_that_is_not_queued_is_refused_before_anything_is_done(self) -> None:
        vm = self.fresh("--no-discards")
        identifier = self.queue_pause(vm)
        typo = identifier[:-1] + ("0" if identifier[-1] != "0" else "1")
        self.refused(EXIT_NOT_FOUND, "recover", self.store, "--give-up", identifier, "--give-up",
                     typo, names=(typo, "queued"))
        self.assertEqual(vm.state(), "Paused")
        self.assertEqual(self.recovered(self.store, "--give-up", identifier)["discarded"], 1)
        self.refused(EXIT_NOT_FOUND, "recover", self.store, "--give-up", identifier)


if __name__ == "__main__":
    unittest.main()
