#!/usr/bin/env python3
"""The service unit under a real systemd: started, reloaded, killed, hung, restarted, stopped.

A systemd of its own runs in namespaces of its own; the tests run in there as well. The unit is
contrib/laminad.service; only its program, its options and its times are others.

Environment: LAMINA, LAMINAD and FAKE_FIRECRACKER are the binaries. Needs root, and a machine that
was not itself started by systemd (which is left alone): else exit code 77.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from daemon import daemon_program
from firecracker import Firecracker
from memory_files import EXIT_DONE, main
from sandbox import SandboxTest, page_servers_of
from serving import wait_until

SYSTEMD = Path("/lib/systemd/systemd")
BOOTED = Path("/run/systemd/system")
CGROUPS = Path("/sys/fs/cgroup")
ROOT = Path(__file__).resolve().parent.parent.parent
UNIT = ROOT / "contrib/laminad.service"
EXAMPLE = ROOT / "docs/laminad.example.json"
PAGE_SERVER_STATES = Path("/run/lamina")
EXIT_UNAVAILABLE = 77
INSIDE = "--inside"
START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0

# What a machine needs and a namespace does not.
MASKED = ("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-kernel.socket",
          "systemd-udevd-control.socket", "systemd-tmpfiles-setup.service",
          "systemd-tmpfiles-setup-dev.service", "systemd-modules-load.service",
          "systemd-sysctl.service", "systemd-random-seed.service", "systemd-remount-fs.service",
          "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
          "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
          "proc-sys-fs-binfmt_misc.automount", "systemd-logind.service",
          "systemd-timesyncd.service", "systemd-journal-flush.service", "systemd-binfmt.service",
          "systemd-sysusers.service", "systemd-update-utmp.service",
          "systemd-machine-id-commit.service", "dbus.service", "dbus.socket", "swap.target",
          "local-fs.target")

BOOT = """
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /run/systemd/system /run/lock
for unit in {masked}; do ln -s /dev/null /run/systemd/system/$unit; done
export container=other
exec {systemd} --system --unit=basic.target --log-target=null --show-status=no
"""


class Unavailable(Exception):
    """This machine cannot do it; says why."""


@contextlib.contextmanager
def systemd() -> Iterator[int]:
    """A systemd that runs; its process id."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("nsenter") is None:
        raise Unavailable("needs root, systemd and nsenter")
    if BOOTED.exists():
        raise Unavailable("this machine has a systemd, which is left alone")
    script = BOOT.format(masked=" ".join(MASKED), systemd=SYSTEMD)
    with subprocess.Popen(["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc",
                           "--kill-child", "--mount-proc", "bash", "-c", script],
                          stdin=subprocess.DEVNULL) as process:
        try:
            yield wait_for_systemd(process)
        finally:
            process.kill()
            process.wait()
            # Those that were in them may yet be ending.
            with contextlib.suppress(AssertionError):
                wait_until(has_no_cgroups, "its control groups go", END_TIMEOUT_S)


def has_no_cgroups() -> bool:
    """Removes the control groups that it has made, if they are empty; whether all are gone."""
    made = [path for group in ("init.scope", "system.slice") for path in CGROUPS.glob(f"*/{group}")]
    for path in made:
        for top, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(top)
    return not any(path.exists() for path in made)


def wait_for_systemd(process: subprocess.Popen[bytes]) -> int:
    """Waits until it is up; returns its process id here."""
    deadline = time.monotonic() + START_TIMEOUT_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            for pid in children.read_text().split():
                done = subprocess.run([*inside(int(pid)), "systemctl", "is-system-running"],
                                      capture_output=True, text=True, check=False)
                if done.stdout.strip() in ("running", "degraded"):
                    return int(pid)
        time.sleep(0.05)
    raise Unavailable("no systemd can be started here")


def inside(pid: int) -> list[str]:
    """What runs a command in the namespaces of the process."""
    return ["nsenter", "--target", str(pid), "--mount", "--pid", "--uts", "--ipc"]


class Service(SandboxTest):
    """The unit, installed."""

    def setUp(self) -> None:
        super().setUp()
        self.api = self.directory / "api"
        self.config = self.directory / "laminad.json"
        self.configure({"store": str(self.store), "listen": f"unix:{self.api}"})
        shutil.copy(UNIT, BOOTED / "laminad.service")
        drop_in = BOOTED / "laminad.service.d"
        drop_in.mkdir(exist_ok=True)
        (drop_in / "test.conf").write_text(
            f"[Service]\nExecStart=\nExecStart={daemon_program()} --config {self.config}\n"
            "WatchdogSec=5\nRestartSec=100ms\n")
        self.systemctl("daemon-reload")
        self.addCleanup(self.systemctl, "stop", "laminad")

    def configure(self, options: dict[str, Any]) -> None:
        """Writes the daemon's options."""
        self.config.write_text(json.dumps(options))

    def systemctl(self, *words: str) -> str:
        """Runs it; it must succeed."""
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertEqual(done.returncode, EXIT_DONE, f"{words}: {done.stdout} {done.stderr}")
        return done.stdout.strip()

    def shown(self, name: str) -> str:
        """A property of the unit."""
        return self.systemctl("show", "laminad", "--property", name, "--value")

    def main_pid(self) -> int:
        """The daemon's; 0 if it does not run."""
        return int(self.shown("MainPID"))

    def is_up(self) -> bool:
        """Whether systemd says that it has started."""
        return self.shown("ActiveState") == "active" and self.shown("SubState") == "running"

    def wait_for_another(self, pid: int) -> None:
        """Waits until systemd has started another daemon."""
        wait_until(lambda: self.is_up() and self.main_pid() not in (0, pid),
                   f"another daemon than {pid} runs")

    def served_vm(self) -> Firecracker:
        """A VM whose pages come from the page server that the daemon has started."""
        vm = self.fresh()
        vm.tell("run 300 1")
        self.pause(vm, "a")
        vm, report = self.resume("a", "--mode", "uffd", "--populate", "none")
        self.assertTrue(report["started_page_server"])
        return vm

    def test_vms_survive_restarts_reloads_and_kills_of_the_daemon(self) -> None:
        self.systemctl("start", "laminad")
        self.assertTrue(self.is_up())
        self.assertTrue((self.store / ".vms" / "laminad.sock").is_symlink())
        vm = self.served_vm()
        servers = page_servers_of(self.store)
        self.assertIn("laminad.service", Path(f"/proc/{servers[0]}/cgroup").read_text())
        self.assertTrue(list(PAGE_SERVER_STATES.glob("store-*")))

        def goes_on(number: int) -> None:
            vm.tell(f"touch 50 {number}")
            self.assertEqual(page_servers_of(self.store), servers)

        pid = self.main_pid()
        self.systemctl("reload", "laminad")
        self.assertEqual(self.main_pid(), pid)
        goes_on(1)
        self.systemctl("restart", "laminad")
        self.assertNotEqual(self.main_pid(), pid)
        goes_on(2)
        # One that hangs is killed by the watchdog.
        for number, one in ((3, signal.SIGKILL), (4, signal.SIGSTOP)):
            pid = self.main_pid()
            os.kill(pid, one)
            self.wait_for_another(pid)
            goes_on(number)
        self.assertEqual(self.shown("NRestarts"), "2")
        self.systemctl("stop", "laminad")
        self.assertEqual(self.main_pid(), 0)
        goes_on(5)
        self.check(vm)
        self.systemctl("start", "laminad")
        self.assertEqual(self.pause(vm, "a")["kind"], "diff")
        self.done("verify", self.store / "a")
        self.assert_nothing_left()

    def fails_to_start(self) -> None:
        """A start must fail, and be reported as failed."""
        done = subprocess.run(["systemctl", "start", "laminad"], capture_output=True, text=True,
                              check=False, timeout=60)
        self.assertNotEqual(done.returncode, EXIT_DONE)

    def test_a_daemon_without_its_store_starts_once_the_store_is_there(self) -> None:
        self.store.rmdir()
        self.fails_to_start()
        # More often than systemd's own limit of starts.
        wait_until(lambda: int(self.shown("NRestarts")) > 8, "it is started again and again")
        self.store.mkdir()
        wait_until(self.is_up, "the next try succeeds")

    def test_a_daemon_with_wrong_options_is_not_started_again(self) -> None:
        self.configure({"store": str(self.store), "listn": f"unix:{self.api}"})
        self.fails_to_start()
        self.assertEqual(self.shown("ActiveState"), "failed")
        self.assertEqual(self.shown("NRestarts"), "0")

    def test_the_example_configuration_fits_the_unit(self) -> None:
        example = json.loads(EXAMPLE.read_text())
        example["lamina"] = os.environ["LAMINA"]
        self.configure(example)
        self.systemctl("start", "laminad")
        self.assertTrue(Path(example["listen"].removeprefix("unix:")).is_socket())
        self.assertTrue((Path(example["store"]) / ".vms" / "laminad.sock").is_symlink())
        self.assertEqual(Path("/run/laminad").stat().st_mode & 0o777, 0o755)

    def test_the_daemon_sees_the_same_files_and_devices_as_its_clients(self) -> None:
        self.systemctl("start", "laminad")
        self.assertEqual(os.readlink(f"/proc/{self.main_pid()}/ns/mnt"),
                         os.readlink("/proc/1/ns/mnt"))
        # Each of them takes devices away, and the properties of devices do not show it.
        for name in ("PrivateDevices", "ProtectClock"):
            self.assertEqual(self.shown(name), "no", name)


if __name__ == "__main__":
    if INSIDE in sys.argv:
        sys.argv.remove(INSIDE)
        main()
    try:
        with systemd() as leader:
            code = subprocess.run([*inside(leader), sys.executable, __file__, INSIDE,
                                   *sys.argv[1:]], check=False).returncode
    except Unavailable as error:
        print(f"SKIP: {error}")
        sys.exit(EXIT_UNAVAILABLE)
    sys.exit(code)
