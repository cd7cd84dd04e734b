"""Where page servers keep what outlives them: found again, out of others' hands, and not for ever."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

from memory_files import EXIT_FAILED, lamina, program
from sandbox import SandboxTest
from serving import adopt_orphans, wait_until

_USER = 1_000_000_000 + os.getpid()  # of this run only
_SHARED_MEMORY = Path("/dev/shm")


class StateDirectories(SandboxTest):
    """State directories on tmpfs."""

    def setUp(self) -> None:
        """A tmpfs directory of the test's own."""
        super().setUp()
        self.states = Path(tempfile.mkdtemp(prefix="lamina-states-", dir=_SHARED_MEMORY))
        self.addCleanup(shutil.rmtree, self.states)

    @contextlib.contextmanager
    def serving(self, store: Path, *options: str | Path, user: int | None = None,
                environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """A page server that listens; killed at the end, with its worker."""
        log = self.directory / f"log-{store.name}"
        words = [program(), "serve", "--store", str(store), *map(str, options)]
        with log.open("wb") as output, subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, user=user,
                group=user, extra_groups=[] if user else None, start_new_session=True,
                env=environment) as server:
            try:
                wait_until(lambda: (store / ".vms" / "page-server.sock").exists()
                           or server.poll() is not None, "it listens")
                self.assertIsNone(server.poll(), log.read_text())
                yield server
            finally:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
                # Its worker holds the directory until it has ended, too.
                with contextlib.suppress(ChildProcessError):
                    while True:
                        os.waitpid(-server.pid, 0)
        (store / ".vms" / "page-server.sock").unlink(missing_ok=True)

    def other(self, name: str) -> Path:
        """Another store."""
        path = self.directory / name
        path.mkdir()
        return path

    def of(self, store: Path) -> Path:
        """The state directory of a store."""
        facts = store.stat()
        return self.states / f"store-{facts.st_dev:x}-{facts.st_ino:x}"

    def test_directories_of_stores_without_servers_and_vms_are_removed(self) -> None:
        gone, living = self.other("gone"), self.other("living")
        # Made before the one that goes: a later one could have its inode, and so its directory.
        busy, last = self.other("busy"), self.other("last")
        options = ("--state-dir", self.states)
        # A VM that runs, and what one has left that has ended.
        with self.serving(living, *options):
            start = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
            (self.of(living) / f"{os.getpid()}-{start}").mkdir(0o700)
        with self.serving(gone, *options):
            self.assertTrue(self.of(gone).is_dir())
        ended = subprocess.Popen(["true"])
        start = Path(f"/proc/{ended.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        ended.wait()
        (self.of(gone) / f"{ended.pid}-{start}").mkdir(0o700)
        (self.of(gone) / f"{ended.pid}-{start}" / "state").write_bytes(bytes(4096))
        foreign = self.states / "store-1-2"  # of an unknown pid namespace
        foreign.mkdir(0o700)
        left = self.of(gone), self.of(living)
        shutil.rmtree(gone)
        with self.serving(busy, *options), self.serving(last, *options):
            wait_until(lambda: not left[0].exists(), "what is abandoned is removed")
            self.assertTrue(left[1].is_dir())
            self.assertTrue(foreign.is_dir())
            self.assertTrue(self.of(busy).is_dir())

    def test_another_users_directory_in_the_place_of_ours_is_passed_over(self) -> None:
        store = self.other("users")
        os.chown(store, _USER, _USER)
        squatted = _SHARED_MEMORY / f"lamina-{_USER}"
        squatted.mkdir(0o755)
        self.addCleanup(self.remove_shared)
        environment = {"PATH": os.environ["PATH"]}

        def own() -> list[str]:
            return [path.name for path in _SHARED_MEMORY.glob(f"lamina-{_USER}*")
                    if path.stat().st_uid == _USER]

        with self.serving(store, user=_USER, environment=environment):
            (first,) = own()
        self.assertEqual(list(squatted.iterdir()), [])
        # The next one goes on where this one was, whether the name is free by then or not.
        for free in (False, True):
            if free:
                squatted.rmdir()
            with self.serving(store, user=_USER, environment=environment):
                self.assertEqual(own(), [first])
        self.assertEqual(first.split(".")[0], squatted.name)

    def test_one_that_others_may_read_is_used_and_what_is_in_it_is_private(self) -> None:
        """Otherwise a mode that changes would hide the VMs of a killed server from the next one."""
        store = self.other("readable")
        self.states.chmod(0o755)
        with self.serving(store, "--state-dir", self.states):
            self.assertEqual(self.of(store).stat().st_mode & 0o777, 0o700)
        self.of(store).chmod(0o755)
        refused = lamina("serve", "--store", store, "--state-dir", self.states)
        self.assertEqual(refused.code, EXIT_FAILED, str(refused))
        self.assertIn("mode 755", refused.stderr)

    @staticmethod
    def remove_shared() -> None:
        """What the test has made in /dev/shm."""
        for path in _SHARED_MEMORY.glob(f"lamina-{_USER}*"):
            shutil.rmtree(path)


if __name__ == "__main__":
    adopt_orphans()
    unittest.main()
