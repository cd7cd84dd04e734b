#!/usr/bin/env python3
"""Lives of sandboxes at random: several of them on one store, each against its guest's own model.

Each sandbox is a thread that lets its guest run, pauses, checkpoints, resumes, forks, merges and
removes as its random numbers say; now and then one recovers the store, or kills its page server.
Every command must succeed beside those of the others, and after every resume and at the end
every byte of the guest must be right.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries. SEED repeats the operations of an earlier
run (how the sandboxes interleave remains the machine's affair), OPERATIONS is how many each does.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import EXIT_BUSY, EXIT_DONE, Outcome, lamina, main
from mounts import BTRFS, TMPFS, XFS, FileSystem, mount
from sandbox import SandboxTest, page_servers_of
from serving import wait_until

MEMORY_MIB = 8
PAGES = MEMORY_MIB << 8
SANDBOXES = 3
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
OPERATIONS = int(os.environ.get("OPERATIONS", 200))
SHORT = OPERATIONS // 5


class Sandbox:
    """One VM and the snapshots of its life."""

    def __init__(self, name: str, store: Path, server: threading.Lock, seed: int) -> None:
        """`server` is held by a thread that needs the page server."""
        self.name = name
        self.store = store
        self.server = server
        self.rng = random.Random(seed)
        self.vm = Firecracker("--start", "--memory-mib", MEMORY_MIB, "--balloon")
        self.is_paused = False
        self.snapshots: list[str] = []  # oldest first
        self.made = 0
        self.trail: list[str] = []

    def live(self, operations: int) -> None:
        """All of its life."""
        choices: list[tuple[int, Callable[[], None]]] = [
            (30, self.run), (20, self.write), (10, self.clear), (10, self.balloon),
            (12, self.touch), (10, self.checkpoint), (8, self.stop_and_resume),
            (3, self.stay), (4, self.fork), (4, self.merge), (2, self.compact), (3, self.remove),
            (2, self.recover), (1, self.kill_the_page_server)]
        weights = [weight for weight, _ in choices]
        for _ in range(operations):
            operation = self.rng.choices(choices, weights)[0][1]
            self.trail.append(operation.__name__)
            operation()
        self.stop_and_resume()

    def done(self, *words: str | Path) -> Outcome:
        """Runs the program, which must succeed."""
        outcome = lamina(*words)
        self.trail.append(" ".join(map(str, words)))
        assert outcome.code == EXIT_DONE, str(outcome)
        return outcome

    def done_at_last(self, *words: str | Path) -> None:
        """The same for a command that is refused while a `compact` of the snapshot runs."""
        self.trail.append(" ".join(map(str, words)))

        def ended() -> bool:
            outcome = lamina(*words)
            assert outcome.code in (EXIT_DONE, EXIT_BUSY), str(outcome)
            return outcome.code == EXIT_DONE
        wait_until(ended, self.trail[-1])

    def tell(self, line: str) -> None:
        """The guest does something."""
        self.trail.append(line)
        self.vm.tell(line)

    def seed(self) -> int:
        """For the guest."""
        return self.rng.randrange(1 << 30)

    def run(self) -> None:
        """Random operations of the guest."""
        self.tell(f"run {self.rng.randrange(1, 100)} {self.seed()}")

    def write(self) -> None:
        """One page."""
        self.tell(f"write {self.rng.randrange(PAGES)} {self.seed()}")

    def clear(self) -> None:
        """One page becomes zeros."""
        self.tell(f"clear {self.rng.randrange(PAGES)}")

    def balloon(self) -> None:
        """Pages are given back."""
        count = self.rng.randrange(1, 64)
        self.tell(f"balloon {self.rng.randrange(PAGES - count)} {count}")

    def touch(self) -> None:
        """Pages are read and compared."""
        self.tell(f"touch {self.rng.randrange(1, 200)} {self.seed()}")

    def pause(self, after: str) -> None:
        """Into the youngest snapshot, or a new one."""
        if not self.snapshots or self.rng.random() < 0.3:
            self.made += 1
            self.snapshots.append(f"{self.name}-{self.made}")
        kind = ["--full"] if self.rng.random() < 0.1 else []
        self.done("pause", "--api", self.vm.api_socket, "--store", self.store, "--name",
                  self.snapshots[-1], "--replace", "--after", after, *kind)

    def resume(self, snapshot: str) -> Firecracker:
        """Into a new Firecracker; every byte is right."""
        vm = Firecracker()
        try:
            with self.server:
                self.done("resume", "--api", vm.api_socket, "--store", self.store, "--name",
                          snapshot, "--mode", self.rng.choice(("uffd", "file", "auto")),
                          "--populate", self.rng.choice(("none", "working-set", "all")))
            if self.rng.random() < 0.3:
                vm.tell(f"run 20 {self.seed()}")  # before all of its memory is there
            answer = vm.control("check")
            assert answer.startswith("ok "), answer
        except BaseException:
            vm.end()
            raise
        return vm

    def checkpoint(self) -> None:
        """The VM runs on."""
        self.pause("resume")

    def stop_and_resume(self) -> None:
        """The VM goes on in another process."""
        self.pause("stop")
        self.vm.wait()
        fresh = self.resume(self.snapshots[-1])
        self.vm.end()
        self.vm = fresh

    def stay(self) -> None:
        """Paused, and perhaps paused again before it runs on."""
        self.pause("stay")
        if self.rng.random() < 0.5:
            self.pause("stay")
        self.vm.resume()

    def fork(self) -> None:
        """A clone of an older state runs; sometimes it is the one to go on."""
        if not self.snapshots:
            return
        self.made += 1
        name = f"{self.name}-{self.made}"
        self.done("fork", self.store / self.rng.choice(self.snapshots), self.store / name)
        clone = self.resume(name)
        if self.rng.random() < 0.5:
            self.vm, clone = clone, self.vm
            self.snapshots.append(name)
        else:
            self.done_at_last("rm", self.store / name)
        clone.end()

    def merge(self) -> None:
        """Of any snapshot."""
        if self.snapshots:
            self.done_at_last("merge", self.store / self.rng.choice(self.snapshots))

    def compact(self) -> None:
        """Of all sandboxes' snapshots: others may be at work on theirs."""
        if not self.snapshots:
            return
        outcome = lamina("compact", "--store", self.store)
        assert outcome.code in (EXIT_DONE, EXIT_BUSY), str(outcome)

    def remove(self) -> None:
        """Of older ones."""
        while len(self.snapshots) > 2:
            self.done_at_last("rm", self.store / self.snapshots.pop(0))

    def recover(self) -> None:
        """While the others go on."""
        if self.snapshots:  # before, there may be no store yet
            self.done("recover", self.store)

    def kill_the_page_server(self) -> None:
        """All of its processes; recover starts another."""
        with self.server:
            def none_left() -> bool:
                for pid in page_servers_of(self.store):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                return not page_servers_of(self.store)
            wait_until(none_left, "the page servers end")
            self.recover()


class LifecycleRandom(SandboxTest):
    """Several sandboxes, one store."""

    def live(self, operations: int) -> None:
        """All sandboxes at once; then nothing is left of them but their snapshots."""
        print(f"SEED={SEED}", end=" ", flush=True)
        server = threading.Lock()
        sandboxes = [Sandbox(f"s{number}", self.store, server, SEED + number)
                     for number in range(SANDBOXES)]
        try:
            with ThreadPoolExecutor(SANDBOXES) as pool:
                failures = list(pool.map(lambda sandbox: self.live_one(sandbox, operations),
                                         sandboxes))
        finally:
            for sandbox in sandboxes:
                sandbox.vm.end()
        found = [failure for failure in failures if failure]
        self.assertEqual(len(found), 0, "\n\n" + "\n\n".join(found))
        self.recover()
        self.assert_nothing_left()
        self.assertEqual(self.pins(), [])
        for name in os.listdir(self.store):
            if not name.startswith("."):
                self.done("verify", self.store / name)

    def live_one(self, sandbox: Sandbox, operations: int) -> str | None:
        """What was wrong with one."""
        try:
            sandbox.live(operations)
        except Exception as error:  # pylint: disable=broad-except  # with what led to it
            last = "\n  ".join(sandbox.trail[-30:])
            return f"{sandbox.name}: {type(error).__name__}: {error}\n  {last}"
        return None

    def use(self, system: FileSystem) -> None:
        """The store is on a file system of its own."""
        self.store = mount(self, self.directory, system) / "store"
        self.store.mkdir()
        # No process may use it when it is unmounted.
        self.addCleanup(self.stop_page_servers)

    def test_random_lives_keep_every_byte_on_the_default_file_system(self) -> None:
        self.live(OPERATIONS)

    def test_random_lives_keep_every_byte_on_xfs(self) -> None:
        self.use(XFS)
        self.live(SHORT)

    def test_random_lives_keep_every_byte_on_btrfs(self) -> None:
        self.use(BTRFS)
        self.live(SHORT)

    def test_random_lives_keep_every_byte_on_tmpfs(self) -> None:
        self.use(TMPFS)
        self.live(SHORT)


if __name__ == "__main__":
    main()
