"""What is left when the program is killed, interrupted or refused a system call, at every step.

A first run under strace lists the calls that change the disk. Then the command is run again in a
fresh copy of the same scene for each of them, and strace kills it there, interrupts it, or lets
that one call fail. At every step:

* a snapshot that was there is intact and resolves to its old memory, or to its new one;
* a new snapshot is complete and right, or not visible;
* a memory file that was to be adopted is in the published snapshot, or back in its place after the
  next command that writes to the store, bit for bit and hole for hole;
* the same command can be given again, and nothing is left behind.

TORTURE=all takes every point and every failure instead of a sample; SEED repeats a sample.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from faults import Point, points_of, require_strace
from memory_files import (EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_SPACE, GuestMemory,
                          LaminaTest, Outcome, PAGE_BYTES, STORE_AREAS, change_memory,
                          data_map, lamina, main, random_memory, write_diff, write_full)
from mounts import XFS, ext4_in_memory, mount
from pins import identity_of

MEMORY_BYTES = 64 * PAGE_BYTES - 1000
WORKERS = 2

# Those that a signal may end early.
INTERRUPTIBLE_CALLS = ("openat", "openat2", "pwrite64", "ftruncate", "fsync", "fallocate",
                       "copy_file_range")
NO_SPACE_CALLS = ("openat", "openat2", "pwrite64", "ftruncate", "fsync", "renameat", "renameat2",
                  "linkat", "mkdirat", "fallocate", "ioctl", "copy_file_range")

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
TAKES_ALL = os.environ.get("TORTURE") == "all"
# Of the runs: kills at half of the points, a third of all else.
KILLS_TAKEN = 1 / 2
OTHERS_TAKEN = 1 / 3

NOTE_OF_RETURN = re.compile(r"'([^']*)' is back in its place")


def copy_exactly(source: Path, target: Path) -> None:
    """Copies a tree with its hard links and its holes, and without making new ones."""
    links: dict[int, Path] = {}
    for directory, names, files in os.walk(source):
        at = target / Path(directory).relative_to(source)
        at.mkdir(exist_ok=True)
        shutil.copymode(directory, at)
        for name in files:
            path = Path(directory) / name
            status = path.stat()
            if status.st_ino in links:
                os.link(links[status.st_ino], at / name)
                continue
            links[status.st_ino] = at / name
            with path.open("rb") as reader, (at / name).open("wb") as writer:
                writer.truncate(status.st_size)
                for start, end in data_map(path):
                    os.pwrite(writer.fileno(), os.pread(reader.fileno(), end - start, start), start)
            shutil.copystat(path, at / name)


class Scene:
    """A directory in which one command is tried: `store` with snapshots, and memory files."""

    # Given by the test: what the command makes, and what its snapshot must resolve to then.
    snapshot: str | None = None
    before: GuestMemory | None = None  # what `snapshot` resolved to before; None: it was not there
    after: GuestMemory
    adopted: str | None = None  # the memory file that the command takes
    holes_are_kept: bool = True  # the same file has the same holes when it comes back
    out: str | None = None  # the file that the command makes
    readable_before: bool = True  # False for a snapshot that the command repairs

    def __init__(self, directory: Path):
        self.directory = directory
        self.others: dict[str, GuestMemory] = {}

    def at(self, directory: Path) -> Scene:
        """The same in another directory."""
        scene = Scene(directory)
        scene.__dict__.update(self.__dict__ | {"directory": directory})
        return scene

    @property
    def store(self) -> Path:
        """The store of the scene."""
        return self.directory / "store"

    def file(self, name: str) -> Path:
        """A file of the scene."""
        return self.directory / name


Command = Callable[[Scene], list[str | Path]]


class CrashTest(LaminaTest):
    """Builds scenes, and tries one command in them in every way."""

    def setUp(self) -> None:
        super().setUp()
        require_strace(self)
        self.base = self.base_directory()
        self.template = Scene(self.base / "template")
        self.template.store.mkdir(parents=True)
        self.rng = random.Random(1)
        self.memory = random_memory(self.rng, MEMORY_BYTES, used=0.6)
        for page in range(20, 40):  # long enough to be punched
            self.memory.clear(page)
        self.pages_of_others = random_memory(self.rng, 5 * PAGE_BYTES, used=1.0)
        self.writes_expected = Lock()

    def base_directory(self) -> Path:
        """Where the scenes are."""
        return ext4_in_memory(self, self.directory)

    def full_snapshot(self, name: str, memory: GuestMemory, *options: str) -> Path:
        """Adds a snapshot of its own to the template."""
        path = write_full(self.template.file("tmp"), memory)
        self.done("ingest", path, "--out", self.template.store / name, *options)
        path.unlink(missing_ok=True)
        return self.template.store / name

    def diff_snapshot(self, name: str, parent: str, memory: GuestMemory, *options: str) -> Path:
        """Lets the guest run and adds a snapshot over `parent` to the template."""
        dirty = change_memory(self.rng, memory)
        path = write_diff(self.template.file("tmp"), memory, dirty)
        self.done("ingest", path, "--out", self.template.store / name,
                  "--parent", self.template.store / parent, *options)
        path.unlink(missing_ok=True)
        return self.template.store / name

    def try_everywhere(self, command: Command) -> None:
        """Kills, interrupts and fails the command at every point, each in a fresh scene."""
        probe = self.fresh("probe")
        points = points_of(command(probe), self.directory)
        self.assertGreater(len(points), 5)
        self.check_success(probe, "no fault")
        jobs: list[tuple[Point, str]] = []
        for point in points:
            jobs.append((point, "signal=SIGKILL"))
            jobs.append((point, "signal=SIGINT"))
            if point.failed:
                continue
            jobs.append((point, "error=EIO"))
            if point.call in NO_SPACE_CALLS:
                jobs.append((point, "error=ENOSPC"))
            if point.call in INTERRUPTIBLE_CALLS:
                jobs.append((point, "error=EINTR"))
        if not TAKES_ALL:
            rng = random.Random(SEED)
            jobs = [job for job in jobs if rng.random() <
                    (KILLS_TAKEN if job[1] == "signal=SIGKILL" else OTHERS_TAKEN)]
        print(f"SEED={SEED} {len(points)} points, {len(jobs)} runs", flush=True)
        self.try_all(lambda point, effect: self.try_one(command, point, effect), jobs)

    def try_all(self, run: Callable[..., None], jobs: Sequence[tuple[Any, ...]]) -> None:
        """Calls `run` with each job, several at once; reports all that failed."""
        def failure(job: tuple[Any, ...]) -> str | None:
            try:
                run(*job)
            except Exception as error:  # pylint: disable=broad-except  # all jobs are reported
                return f"{' '.join(map(str, job))}: {type(error).__name__}: {error}"
            return None
        with ThreadPoolExecutor(WORKERS) as pool:
            found = [text for text in pool.map(failure, jobs) if text]
        self.assertEqual(len(found), 0, "\n\n" + "\n\n".join(found))

    def try_one(self, command: Command, point: Point, effect: str) -> None:
        """One run with one fault."""
        scene = self.fresh(f"{point.call}-{point.number}-{effect}")
        try:
            outcome = lamina(*command(scene), prefix=point.strace(effect))
            self.check_outcome(scene, outcome, effect)
            self.check_readers(scene, outcome)
            published = self.is_published(scene)
            self.next_writer(scene)
            self.check_memory_file(scene, published)
            if not published:
                again = lamina(*command(scene))
                self.assertEqual(again.code, EXIT_DONE, f"again: {again}")
            self.check_success(scene, f"{effect} at {point}")
        finally:
            shutil.rmtree(scene.directory)

    def fresh(self, name: str) -> Scene:
        """A copy of the template."""
        directory = self.base / name
        copy_exactly(self.template.directory, directory)
        return self.template.at(directory)

    def check_outcome(self, scene: Scene, outcome: Outcome, effect: str) -> None:
        """Checks exit code and message."""
        if effect == "signal=SIGKILL":
            self.assertEqual(outcome.code, -9, str(outcome))
        elif effect == "signal=SIGINT":
            self.assertIn(outcome.code, (EXIT_DONE, EXIT_INTERRUPTED), str(outcome))
        elif effect == "error=EINTR":
            self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        else:
            expected = EXIT_NO_SPACE if effect == "error=ENOSPC" else EXIT_FAILED
            self.assertIn(outcome.code, (EXIT_DONE, expected), str(outcome))
            if outcome.code != EXIT_DONE:
                self.assert_one_error_line(outcome)
                reason = os.strerror(errno.ENOSPC if expected == EXIT_NO_SPACE else errno.EIO)
                self.assertIn(reason.lower(), outcome.stderr.lower())
        if outcome.code == EXIT_DONE:
            self.assertTrue(self.is_published(scene), f"reports success: {outcome}")

    def is_published(self, scene: Scene) -> bool:
        """True when what the command makes is there, as far as it is visible."""
        if scene.out is not None:
            return scene.file(scene.out).exists()
        snapshot = scene.store / scene.snapshot
        if scene.before is None:
            return snapshot.exists()
        verified = lamina("verify", snapshot, "--against", self.file_of(scene.after))
        if not scene.readable_before:
            return verified.code == EXIT_DONE
        if scene.before is scene.after:  # a merge: the files tell
            return len(list(snapshot.glob("memfile.*-*"))) != self.layers_before(scene)
        return verified.code == EXIT_DONE

    def layers_before(self, scene: Scene) -> int:
        """Layer files of the snapshot in the template."""
        return len(list((self.template.store / scene.snapshot).glob("memfile.*-*")))

    def file_of(self, memory: GuestMemory) -> Path:
        """A full memory file of `memory`, to compare with. Runs that go on at once share it."""
        path = self.base / f"expected-{id(memory)}"
        with self.writes_expected:
            if not path.exists():
                write_full(path, memory)
        return path

    def check_resolves(self, snapshot: Path, *memories: GuestMemory) -> None:
        """Checks that a snapshot is intact and resolves to one of `memories`."""
        outcomes = [lamina("verify", snapshot, "--against", self.file_of(memory))
                    for memory in dict.fromkeys(map(id, memories)) and memories]
        if all(outcome.code != EXIT_DONE for outcome in outcomes):
            raise AssertionError("; ".join(map(str, outcomes)))

    def check_readers(self, scene: Scene, outcome: Outcome) -> None:
        """Checks what a reader finds right after the fault."""
        for name, memory in scene.others.items():
            self.check_resolves(scene.store / name, memory)
        if scene.out is not None:
            self.check_out(scene)
        if scene.snapshot is None:
            return
        snapshot = scene.store / scene.snapshot
        if scene.before is None:
            if snapshot.exists():
                self.check_resolves(snapshot, scene.after)
        elif scene.readable_before:
            self.assertTrue(snapshot.exists(), str(outcome))
            if outcome.code == EXIT_DONE:
                self.check_resolves(snapshot, scene.after)
            else:
                self.check_resolves(snapshot, scene.before, scene.after)

    def check_out(self, scene: Scene) -> None:
        """The file that is made is whole or not there."""
        path = scene.file(scene.out)
        if path.exists():
            self.assert_memory(path.read_bytes(), scene.after)

    def next_writer(self, scene: Scene) -> None:
        """Another command writes to the same store: it puts in order what was left."""
        memory_file = write_full(scene.file("other.full"), self.pages_of_others)
        outcome = lamina("ingest", memory_file, "--out", scene.store / "other")
        memory_file.unlink()
        self.assertEqual(outcome.code, EXIT_DONE, f"next writer: {outcome}")
        for returned in NOTE_OF_RETURN.findall(outcome.stderr):
            self.assertTrue(Path(returned).exists(), f"it says that it is back: {outcome}")
        self.assert_store_is_orderly(scene)

    def assert_store_is_orderly(self, scene: Scene) -> None:
        """Checks that no unfinished work is left."""
        for area in (".tmp", ".pending"):
            self.assertEqual(list((scene.store / area).iterdir()), [], f"left in {area}")

    def check_memory_file(self, scene: Scene, published: bool) -> None:
        """Checks that the memory file was published or is back as it was."""
        if scene.adopted is None:
            return
        path, original = scene.file(scene.adopted), self.template.file(scene.adopted)
        if published:
            self.assertFalse(path.exists(), "published and in its place")
            return
        self.assertTrue(path.exists(), "the memory file is gone")
        self.assertEqual(path.read_bytes(), original.read_bytes())
        self.assertEqual(path.stat().st_mode, original.stat().st_mode)
        if scene.holes_are_kept:
            self.assertEqual(data_map(path), data_map(original))

    def check_success(self, scene: Scene, what: str) -> None:
        """Checks the scene after the command has run through."""
        for name, memory in scene.others.items():
            self.check_resolves(scene.store / name, memory)
        if scene.snapshot is not None:
            self.check_resolves(scene.store / scene.snapshot, scene.after)
        if scene.out is not None:
            self.check_out(scene)
        self.assert_store_is_clean(scene.store)
        known = {"store", scene.out, *(path.name for path in self.template.directory.iterdir())}
        strays = [path.name for path in scene.directory.iterdir() if path.name not in known]
        self.assertEqual(strays, [], what)
        names = {*STORE_AREAS, "other", scene.snapshot, *scene.others}
        self.assertLessEqual({path.name for path in scene.store.iterdir()}, names, what)


class Ingest(CrashTest):
    """ingest at every step."""

    def test_a_compact_ingest_survives_every_fault(self) -> None:
        scene = self.template
        write_full(scene.file("memory"), self.memory)
        scene.snapshot, scene.after = "new", self.memory
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--out", s.store / "new"])

    def test_a_compact_ingest_of_a_diff_with_vm_state_survives_every_fault(self) -> None:
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        dirty = change_memory(self.rng, self.memory)
        write_diff(scene.file("memory"), self.memory, dirty)
        scene.file("state").write_bytes(b"state" * 100)
        scene.snapshot, scene.after = "new", self.memory
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--parent", s.store / "base",
                                       "--out", s.store / "new", "--vmstate", s.file("state")])

    def test_the_adoption_of_a_full_file_survives_every_fault(self) -> None:
        scene = self.template
        write_full(scene.file("memory"), self.memory)
        scene.snapshot, scene.after, scene.adopted = "new", self.memory, "memory"
        scene.holes_are_kept = False  # in a full file a hole means the same as zeros
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--out", s.store / "new",
                                       "--layout", "adopt"])

    def test_the_adoption_of_a_diff_survives_every_fault(self) -> None:
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        dirty = change_memory(self.rng, self.memory, balloon_pages=20)
        write_diff(scene.file("memory"), self.memory, dirty)
        scene.snapshot, scene.after, scene.adopted = "new", self.memory, "memory"
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--parent", s.store / "base",
                                       "--out", s.store / "new", "--layout", "adopt"])

    def test_a_replacement_by_a_compact_ingest_survives_every_fault(self) -> None:
        self.replace()

    def test_a_replacement_by_an_adoption_survives_every_fault(self) -> None:
        self.replace("--layout", "adopt")

    def replace(self, *layout: str) -> None:
        """A diff over a snapshot takes that snapshot's name."""
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory, "--layout", "adopt")
        scene.before = self.memory.copy()
        dirty = change_memory(self.rng, self.memory)
        write_diff(scene.file("memory"), self.memory, dirty)
        scene.snapshot, scene.after = "vm", self.memory
        scene.adopted = "memory" if layout else None
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--parent", s.store / "vm",
                                       "--out", s.store / "vm", "--replace", *layout])

    def test_a_memory_file_is_put_back_though_that_is_killed_too(self) -> None:
        """The clean-up after a crash is a command like any other."""
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        dirty = change_memory(self.rng, self.memory)
        memory_file = write_diff(scene.file("memory"), self.memory, dirty)
        original, holes = memory_file.read_bytes(), data_map(memory_file)
        write_full(scene.file("small"), self.pages_of_others)
        self.leave_adopted(memory_file, "--parent", scene.store / "base")

        def recover(where: Scene) -> list[str | Path]:
            return ["ingest", where.file("small"), "--out", where.store / "small"]

        def try_one(point: Point, effect: str) -> None:
            fresh = self.fresh_with_adoption(f"{point.call}-{point.number}-{effect}")
            lamina(*recover(fresh), prefix=point.strace(effect))
            self.next_writer(fresh)
            self.assertTrue(fresh.file("memory").exists(), "the memory file is gone")
            self.assertEqual(fresh.file("memory").read_bytes(), original)
            self.assertEqual(data_map(fresh.file("memory")), holes)
            shutil.rmtree(fresh.directory)

        probe = self.fresh_with_adoption("probe")
        points = points_of(recover(probe), self.directory)
        self.assertTrue(probe.file("memory").exists(), "the clean-up puts it back")
        self.try_all(try_one, [(point, effect) for point in points
                               for effect in ("signal=SIGKILL", "error=EIO", "error=ENOSPC")])

    def test_an_unreadable_directory_is_not_taken_for_a_missing_one(self) -> None:
        """Too many open files, for a moment, while a memory file waits to be put back."""
        scene = self.template
        memory_file = write_full(scene.file("memory"), self.memory)
        original = memory_file.read_bytes()
        self.full_snapshot("first", self.memory)
        write_full(scene.file("small"), self.pages_of_others)
        self.leave_adopted(memory_file)

        def recover(where: Scene) -> list[str | Path]:
            return ["ingest", where.file("small"), "--out", where.store / "small"]

        def try_one(number: int, last: int) -> None:
            fresh = self.fresh_with_adoption(f"{number}-{last}")
            lamina(*recover(fresh),
                   prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e",
                           f"inject=openat:error=ENFILE:when={number}..{last}"])
            self.done("ingest", fresh.file("small"), "--out", fresh.store / "small2")
            self.assertTrue(fresh.file("memory").exists(), "the memory file is gone")
            self.assertEqual(fresh.file("memory").read_bytes(), original)
            shutil.rmtree(fresh.directory)

        probe = self.fresh_with_adoption("probe")
        opens = len(points_of(recover(probe), self.directory, ["openat"], counts=lambda _: True))
        self.assertTrue(probe.file("memory").exists(), "the clean-up puts it back")
        self.try_all(try_one, [(number, last) for number in range(1, opens + 1)
                               for last in range(number, number + 3)])

    def leave_adopted(self, memory_file: Path, *options: str | Path) -> None:
        """An adoption of the template's memory file is killed right before it is published."""
        killed = lamina("ingest", memory_file, "--out", self.template.store / "new", "--layout",
                        "adopt", *options,
                        prefix=Point("renameat2", 2, False).strace("signal=SIGKILL"))
        self.assertEqual(killed.code, -9)
        self.assertFalse(memory_file.exists())

    def fresh_with_adoption(self, name: str) -> Scene:
        """A copy of the template with its unfinished adoption."""
        scene = self.template.at(self.base / name)
        copy_with_adoption(self.template.directory, scene.directory)
        return scene

    def test_an_unfinished_adoption_survives_a_copy_of_the_store(self) -> None:
        """It is left alone there: which file was taken from where cannot be told of a copy."""
        scene = self.template
        self.full_snapshot("first", self.pages_of_others)
        original = write_full(scene.file("memory"), self.memory).read_bytes()
        killed = lamina("ingest", scene.file("memory"), "--out", scene.store / "new",
                        "--layout", "adopt",
                        prefix=Point("renameat2", 2, False).strace("signal=SIGKILL"))
        self.assertEqual(killed.code, -9)
        fresh = self.fresh("copy")
        shutil.rmtree(scene.directory)
        self.done("ingest", write_full(fresh.file("small"), self.pages_of_others), "--out",
                  fresh.store / "small")
        found = [path for path in self.directory.rglob("*") if path.is_file()
                 and path.read_bytes()[: len(original)] == original]
        self.assertEqual(len(found), 1, "copies of the memory that are left")


def born_ns(path: Path) -> int:
    """When the file was made; 0 where its file system does not say."""
    text = subprocess.run(["stat", "--printf", "%w", str(path)], check=True, capture_output=True,
                          text=True, env=os.environ | {"TZ": "UTC"}).stdout
    if text == "-":
        return 0
    second, fraction = text.split(" +")[0].split(".")
    moment = datetime.datetime.fromisoformat(second).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction)


def copy_with_adoption(source: Path, target: Path) -> None:
    """Copies a store with an unfinished adoption as if it had been made in the new place."""
    copy_exactly(source, target)
    for path in (target / "store/.pending").glob("*.json"):
        journal = json.loads(path.read_text())
        journal["source"] = journal["source"].replace(str(source), str(target))
        journal["source_hex"] = journal["source"].encode().hex()
        journal["belongs_to"] = identity_of(target / "store")
        file = path.with_suffix("") / journal["layer"]
        journal["inode"] = file.stat().st_ino
        journal["born_ns"] = born_ns(file)
        journal["directory_inode"] = Path(journal["source"]).parent.stat().st_ino
        path.write_text(json.dumps(journal))


class Merge(CrashTest):
    """merge at every step."""

    def setUp(self) -> None:
        super().setUp()
        self.full_snapshot("base", self.memory)
        self.template.others = {"base": self.memory.copy()}
        self.diff_snapshot("middle", "base", self.memory, "--layout", "adopt")
        self.template.others["middle"] = self.memory.copy()
        self.diff_snapshot("vm", "middle", self.memory)

    def test_a_merge_in_place_survives_every_fault(self) -> None:
        self.template.snapshot = "vm"
        self.template.before = self.template.after = self.memory
        self.try_everywhere(lambda s: ["merge", s.store / "vm"])

    def test_a_merge_of_the_youngest_layers_survives_every_fault(self) -> None:
        self.template.snapshot = "vm"
        self.template.before = self.template.after = self.memory
        self.try_everywhere(lambda s: ["merge", s.store / "vm", "--layers", "2"])

    def test_a_merge_into_a_new_snapshot_survives_every_fault(self) -> None:
        self.template.others["vm"] = self.memory
        self.template.snapshot, self.template.after = "new", self.memory
        self.try_everywhere(lambda s: ["merge", s.store / "vm", "--out", s.store / "new"])


class Repair(CrashTest):
    """repair at every step."""

    def broken_snapshot(self, *lost: str) -> None:
        """A chain whose youngest snapshot has lost files."""
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory)
        for name in lost:
            (scene.store / "vm" / name).unlink()
        scene.snapshot, scene.before, scene.after = "vm", self.memory, self.memory
        scene.readable_before = False

    def is_published(self, scene: Scene) -> bool:
        """A repair can always be given again."""
        return False

    def check_outcome(self, scene: Scene, outcome: Outcome, effect: str) -> None:
        if outcome.code == EXIT_DONE:
            self.check_resolves(scene.store / "vm", scene.after)
        elif effect == "signal=SIGINT":  # short, so that it need not ask: the signal ends it
            self.assertEqual(outcome.code, -signal.SIGINT, str(outcome))
        else:
            super().check_outcome(scene, outcome, effect)

    def test_a_repair_of_the_header_survives_every_fault(self) -> None:
        self.broken_snapshot("memfile.header")
        self.try_everywhere(lambda s: ["repair", s.store / "vm"])

    def test_a_repair_of_the_facts_survives_every_fault(self) -> None:
        self.broken_snapshot("snapshot.json")
        self.try_everywhere(lambda s: ["repair", s.store / "vm"])

    def test_a_repair_of_both_survives_every_fault(self) -> None:
        self.broken_snapshot("memfile.header", "snapshot.json")
        self.try_everywhere(lambda s: ["repair", s.store / "vm"])


class Materialize(CrashTest):
    """materialize at every step."""

    def test_a_materialize_survives_every_fault(self) -> None:
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory)
        scene.others["vm"] = scene.after = self.memory
        scene.out = "out"
        self.try_everywhere(lambda s: ["materialize", s.store / "vm", "--out", s.file("out")])


class ShortCommand(CrashTest):
    """So short that it need not ask about an interruption: the signal ends it."""

    def check_outcome(self, scene: Scene, outcome: Outcome, effect: str) -> None:
        if effect == "signal=SIGINT" and outcome.code == -signal.SIGINT:
            return
        super().check_outcome(scene, outcome, effect)


class Fork(ShortCommand):
    """fork at every step."""

    def test_a_fork_survives_every_fault(self) -> None:
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory)
        scene.others["vm"] = self.memory
        scene.snapshot, scene.after = "new", self.memory
        self.try_everywhere(lambda s: ["fork", s.store / "vm", s.store / "new"])


class Remove(ShortCommand):
    """rm at every step: the snapshot is there whole, or gone."""

    def is_published(self, scene: Scene) -> bool:
        return not (scene.store / "vm").exists()

    def check_readers(self, scene: Scene, outcome: Outcome) -> None:
        for name, memory in scene.others.items():
            self.check_resolves(scene.store / name, memory)
        if (scene.store / "vm").exists():
            self.check_resolves(scene.store / "vm", scene.after)

    def check_success(self, scene: Scene, what: str) -> None:
        super().check_success(scene, what)
        self.assertFalse((scene.store / "vm").exists(), what)

    def test_the_removal_of_a_snapshot_with_shared_layers_survives_every_fault(self) -> None:
        scene = self.template
        self.full_snapshot("base", self.memory)
        scene.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory)
        scene.after = self.memory.copy()
        self.diff_snapshot("child", "vm", self.memory)
        scene.others["child"] = self.memory
        self.try_everywhere(lambda s: ["rm", s.store / "vm"])


class OnXfs(CrashTest):
    """Where data is cloned instead of copied."""

    def base_directory(self) -> Path:
        return mount(self, self.directory, XFS)

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, 100 * PAGE_BYTES, used=1.0)

    def test_a_compact_ingest_by_cloning_survives_every_fault(self) -> None:
        scene = self.template
        write_full(scene.file("memory"), self.memory)
        scene.snapshot, scene.after = "new", self.memory
        self.try_everywhere(lambda s: ["ingest", s.file("memory"), "--out", s.store / "new"])

    def test_a_merge_by_cloning_survives_every_fault(self) -> None:
        self.full_snapshot("base", self.memory)
        self.template.others = {"base": self.memory.copy()}
        self.diff_snapshot("vm", "base", self.memory)
        self.template.snapshot = "vm"
        self.template.before = self.template.after = self.memory
        self.try_everywhere(lambda s: ["merge", s.store / "vm"])

    def test_a_materialize_by_cloning_survives_every_fault(self) -> None:
        self.full_snapshot("vm", self.memory)
        self.template.others = {"vm": self.memory}
        self.template.after, self.template.out = self.memory, "out"
        self.try_everywhere(lambda s: ["materialize", s.store / "vm", "--out", s.file("out")])


if __name__ == "__main__":
    main()
