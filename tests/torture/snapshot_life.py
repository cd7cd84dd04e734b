"""The snapshots of one guest's life, made while everything of lamina's is killed."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killed_commands import KilledCommands
from serving import Server

MOST_SERVER_KILLS = 6
LONGEST_LIFE_S = 0.1
KEPT_SNAPSHOTS = 3
MERGES: list[tuple[str, ...]] = [(), ("merge", "--full"), ("merge", "--layers", "2"),
                                 ("compact", "--policy", "tiered:soft=4"),
                                 ("compact", "--policy", "full:cap=3"), ("compact",)]


class Violation(Exception):
    """Something that must never be."""


class SnapshotLife:
    """A store with the pauses of one guest, each over the one before. Not thread-safe, but for
    kill_some_of()."""

    def __init__(self, lamina: Path, store: Path, rng: random.Random) -> None:
        store.mkdir()
        self.rng = rng
        self._store = store
        self._commands = KilledCommands(lamina, store, rng)
        self._snapshots: list[Path] = []
        self._made = 0
        self.server_kills = 0

    @property
    def command_kills(self) -> int:
        """How many commands were killed."""
        return self._commands.kills

    @property
    def last(self) -> Path:
        """The last pause. REQUIRES: there is one."""
        return self._snapshots[-1]

    def is_begun(self) -> bool:
        """Whether there was a pause."""
        return bool(self._snapshots)

    def ingest(self, memory_file: Path, *options: str | Path, is_full: bool = False) -> None:
        """Makes the file the next pause, and removes it."""
        self._made += 1
        snapshot = self._store / f"pause-{self._made:04}"
        words: list[str | Path] = ["ingest", memory_file, "--out", snapshot, "--zeros", "written",
                                   "--kind", "full" if is_full else "diff", *options]
        if self._snapshots:
            words += ["--parent", self.last]
        # Of a full file over a parent only what differs is stored; neither can be adopted then.
        compares = self._snapshots and is_full or "--dedup" in options
        layouts = ("auto",) if compares else ("auto", "compact", "adopt")
        self._commands.do(*words, "--layout", self.rng.choice(layouts), is_done=snapshot.exists)
        self._snapshots.append(snapshot)
        memory_file.unlink(missing_ok=True)

    def materialize(self, out: Path) -> None:
        """Writes the memory of the last pause to `out`, which is replaced."""
        out.unlink(missing_ok=True)
        self._commands.do("materialize", self.last, "--out", out, is_done=out.exists)

    def merge(self) -> None:
        """Merges layers of the last pause, or not, as a random policy says."""
        merge = self.rng.choice(MERGES)
        if not merge:
            return
        layers = self._layer_count()
        # What was killed has been done or not. What has been done may have left too few layers for
        # it to be given again.
        self._commands.do(merge[0], self.last, *merge[1:],
                          is_done=lambda: self._layer_count() < layers)

    def _layer_count(self) -> int:
        return len(self._commands.report("inspect", self.last)["layers"])

    def remove_old(self) -> None:
        """Removes pauses that are no longer needed."""
        while len(self._snapshots) > KEPT_SNAPSHOTS and self.rng.random() < 0.7:
            oldest = self._snapshots.pop(0)
            self._commands.do("rm", oldest, is_done=lambda path=oldest: not path.exists())

    def expect_memory(self, truth: Path) -> None:
        """The last pause is what the guest had, by lamina's own reading."""
        report = self._commands.report("verify", self.last, "--against", truth)
        if report["corrupt_blocks"] or report["different_blocks"]:
            raise Violation(f"{self.last.name} is not what the guest had: {report}")

    def expect_no_leftovers(self) -> None:
        """What was killed has left nothing."""
        for area in (".tmp", ".pending", ".vms"):
            left = [name for name in os.listdir(self._store / area) if not name.startswith(".")]
            if left:
                raise Violation(f"{area} still has {left}")

    @contextmanager
    def served(self) -> Iterator[Server]:
        """A page server for the last pause, which must end well when it is told to."""
        populate = self.rng.choice(("none", "none", "working-set", "all"))
        options = ["--populate", populate, *(["--record"] if self.rng.random() < 0.3 else [])]
        # What outlives a process must be on tmpfs.
        with tempfile.TemporaryDirectory(prefix="lamina-", dir="/dev/shm") as short:
            directory = Path(short)
            (directory / "states").mkdir(0o700)
            server = Server([self.last], directory, directory / "states", *options)
            try:
                yield server
                code = server.stop()
                if code != 0:
                    raise Violation(f"the page server ended with {code}; {server.said()}")
            finally:
                server.end()

    def kill_some_of(self, server: Server) -> None:
        """Kills its worker, its supervisor, or all of it, up to MOST_SERVER_KILLS times."""
        for _ in range(self.rng.randint(0, MOST_SERVER_KILLS)):
            # Short lives are as likely as long ones on a scale of magnitudes.
            time.sleep(LONGEST_LIFE_S * 10 ** self.rng.uniform(-2, 0))
            what = self.rng.random()
            if what < 0.6:
                server.wait_for_another(server.kill_worker())
            elif what < 0.8:
                server.kill_supervisor()
            else:
                server.kill_all()
                server.start()
            self.server_kills += 1
