"""What every end-to-end test needs: guest memory, memory files, and the program.

Guest memory is modelled as a dict of pages. Memory files are written the way Firecracker writes
them, because the difference between a hole and a written zero is data:

* full: the file is as long as the memory, and every page is written, zeros too;
* diff: the file is set to the length of the memory, and each dirty page is written at its place,
  a cleared one as zeros. All else stays a hole, which means "as before".
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

PAGE_BYTES = 4096
ZERO_PAGE = bytes(PAGE_BYTES)

Case = TypeVar("Case")

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_CORRUPT = 4
EXIT_BUSY = 5
EXIT_NO_SPACE = 6
EXIT_INTERRUPTED = 130

STORE_AREAS = (".tmp", ".pending", ".vms", ".lock")
LAYER_NAME = re.compile(r"memfile\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MEMORY_FS = Path("/dev/shm")
ENOUGH_ON_TMPFS_BYTES = 512 << 20

# Tests of a sanitized program run it less often: its start takes some tenths of a second.
SANITIZED = bool(os.environ.get("LAMINA_SANITIZE"))

# A command that takes this long hangs: the files of these tests are a few megabytes.
HANG_TIMEOUT_S = 120


@dataclass
class GuestMemory:
    """The memory of a guest: pages that are not zero, by page number."""

    size_bytes: int
    pages: dict[int, bytes] = field(default_factory=dict)

    @property
    def page_count(self) -> int:
        """Pages in the memory, the last one possibly short."""
        return -(-self.size_bytes // PAGE_BYTES)

    def page_length(self, page: int) -> int:
        """Bytes of `page` that are inside the memory."""
        return min(PAGE_BYTES, self.size_bytes - page * PAGE_BYTES)

    def write(self, page: int, data: bytes) -> None:
        """Sets `page`; what is past the end of the memory is cut off."""
        data = data[: self.page_length(page)]
        if any(data):
            self.pages[page] = data
        else:
            self.pages.pop(page, None)

    def clear(self, page: int) -> None:
        """Makes `page` zeros."""
        self.pages.pop(page, None)

    def page(self, page: int) -> bytes:
        """The contents of `page`, as long as it is inside the memory."""
        return self.pages.get(page, ZERO_PAGE[: self.page_length(page)])

    def contents(self) -> bytes:
        """All of the memory."""
        return b"".join(self.page(page) for page in range(self.page_count))

    def copy(self) -> GuestMemory:
        """An independent copy."""
        return GuestMemory(self.size_bytes, dict(self.pages))


def random_page(rng: random.Random) -> bytes:
    """A page without structure, never zeros."""
    return b"\x01" + rng.randbytes(PAGE_BYTES - 1)


def random_memory(rng: random.Random, size_bytes: int, used: float = 0.5) -> GuestMemory:
    """Memory of which each page is used with the given probability, page 0 always."""
    memory = GuestMemory(size_bytes)
    for page in range(memory.page_count):
        if page == 0 or rng.random() < used:
            memory.write(page, random_page(rng))
    return memory


def change_memory(rng: random.Random, memory: GuestMemory, writes: int = 8, clears: int = 3,
                  balloon_pages: int = 0) -> set[int]:
    """Lets the guest run: returns the pages that are dirty now.

    Writes and clears hit random pages; a balloon clears a run. Some pages are written with what
    they had: dirty, yet equal.
    """
    dirty: set[int] = set()
    for _ in range(writes):
        page = rng.randrange(memory.page_count)
        memory.write(page, random_page(rng))
        dirty.add(page)
    for _ in range(clears):
        page = rng.randrange(memory.page_count)
        memory.clear(page)
        dirty.add(page)
    if balloon_pages:
        start = rng.randrange(max(1, memory.page_count - balloon_pages))
        for page in range(start, min(start + balloon_pages, memory.page_count)):
            memory.clear(page)
            dirty.add(page)
    dirty.add(rng.randrange(memory.page_count))
    return dirty


def write_full(path: Path, memory: GuestMemory) -> Path:
    """Writes a full memory file: every page, zeros too."""
    return write_diff(path, memory, range(memory.page_count))


def write_sparse_full(path: Path, memory: GuestMemory) -> Path:
    """Writes a full memory file in which the pages that are zero are holes."""
    return write_diff(path, memory, memory.pages)


def write_diff(path: Path, memory: GuestMemory, dirty: Iterable[int]) -> Path:
    """Writes a diff with the `dirty` pages as they are in `memory`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.ftruncate(fd, memory.size_bytes)
        for page in sorted(dirty):
            data = memory.page(page)
            assert os.pwrite(fd, data, page * PAGE_BYTES) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)
    return path


def data_map(path: Path | str | bytes) -> list[tuple[int, int]]:
    """The (start, end) of every run that the file system says is data."""
    runs: list[tuple[int, int]] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(fd, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break
            position = os.lseek(fd, start, os.SEEK_HOLE)
            runs.append((start, position))
    finally:
        os.close(fd)
    return runs


def some_of(cases: Iterable[Case], every: int) -> Iterator[Case]:
    """All cases; for a sanitized program the first one and every `every`th."""
    return itertools.islice(cases, 0, None, every if SANITIZED else 1)


@dataclass(frozen=True)
class Outcome:
    """How one run of the program ended."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What was printed with --json."""
        return json.loads(self.stdout)

    @property
    def error_lines(self) -> list[str]:
        """The lines on stderr."""
        return self.stderr.splitlines()

    def __str__(self) -> str:
        return (f"lamina {' '.join(self.arguments)}\nexit {self.code}\n"
                f"stdout: {self.stdout}stderr: {self.stderr}")


def program() -> str:
    """The path of the binary under test."""
    path = os.environ.get("LAMINA")
    if not path:
        raise SystemExit("set LAMINA to the path of the lamina binary")
    return os.path.abspath(path)


@functools.cache
def program_for_others() -> str:
    """The same where every user reaches it: the checkout may be below a home of mode 0700."""
    original = Path(program()).resolve()
    if all(directory.stat().st_mode & stat.S_IXOTH for directory in original.parents):
        return str(original)
    place = Path(tempfile.mkdtemp(prefix="lamina-program-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    return str(shutil.copy(original, place))


# A sanitized build cannot look for leaks while it is traced.
TRACED_ENVIRONMENT = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}


def flip(path: Path) -> None:
    """One byte in the middle is another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)


def lamina(*arguments: str | Path, prefix: Iterable[str] = (), user: int | None = None,
           cwd: Path | None = None, stdout: Any = subprocess.PIPE,
           prepare: Callable[[], None] | None = None) -> Outcome:
    """Runs the program to its end.

    `prefix` is a command that runs it (strace), `user` another uid to run as, `prepare` is called
    in the child before it.
    """
    words = tuple(os.fsdecode(argument) for argument in arguments)

    def become_user() -> None:
        if prepare is not None:
            prepare()
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)

    prefix = tuple(prefix)
    started = program() if user is None else program_for_others()
    done = subprocess.run([*prefix, started, *words], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, cwd=cwd, timeout=HANG_TIMEOUT_S, check=False,
                          env=TRACED_ENVIRONMENT if prefix else None,
                          preexec_fn=become_user if user is not None or prepare else None)
    return Outcome(words, done.returncode, os.fsdecode(done.stdout or b""),
                   os.fsdecode(done.stderr))


@contextlib.contextmanager
def stopped_after(call: str, number: int, directory: Path,
                  *arguments: str | Path) -> Iterator[list[Outcome]]:
    """Runs the program until it has made its `number`th `call`, and goes on after the block.

    The list that is handed out has the outcome then. Needs strace.
    """
    words = tuple(map(str, arguments))
    log = directory / f"strace-{uuid.uuid4()}"
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={call}", "-e",
               f"inject={call}:signal=SIGSTOP:when={number}", program(), *words]
    outcomes: list[Outcome] = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=TRACED_ENVIRONMENT) as process:
        stopped = None
        while stopped is None:
            stopped = re.search(r"(\d+) .*stopped by SIGSTOP", _text_of(log))
            if stopped is None and process.poll() is not None:
                raise AssertionError(f"{words} made no {call} number {number}")
        try:
            yield outcomes
        finally:
            os.kill(int(stopped[1]), signal.SIGCONT)
            out, err = process.communicate(timeout=HANG_TIMEOUT_S)
            outcomes.append(Outcome(words, process.returncode, os.fsdecode(out), os.fsdecode(err)))
            log.unlink()


def _text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@dataclass(frozen=True)
class Entry:
    """One file or directory of a tree, with everything of it that could be lost."""

    mode: int
    link_count: int
    size: int = 0
    digest: str = ""
    data: tuple[tuple[int, int], ...] = ()
    modified_ns: int = 0


def tree_of(root: Path, times: bool = True) -> dict[str, Entry]:
    """Everything below `root` by path, but for the store's own areas when they are empty.

    Lock files are empty and come and go, so those count as nothing too. Without `times` the
    modification times are left out.
    """
    tree: dict[str, Entry] = {}
    for directory, names, files in os.walk(root):
        at = Path(directory)
        for name in [*names, *files]:
            path = at / name
            if name in STORE_AREAS and path.is_dir() and _is_idle_area(path):
                if name in names:
                    names.remove(name)
                continue
            tree[str(path.relative_to(root))] = _entry_of(path, times)
    return tree


def _is_idle_area(area: Path) -> bool:
    entries = list(area.iterdir())
    if area.name == ".lock":
        return all(entry.is_file() and entry.stat().st_size == 0 for entry in entries)
    return not entries


def _entry_of(path: Path, times: bool) -> Entry:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        # Links of a directory count its subdirectories, which may be areas.
        target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
        return Entry(status.st_mode, 0, digest=target)
    runs = data_map(path)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for start, end in runs:  # a hole is zeros, and may be a gibibyte of them
            stream.seek(start)
            digest.update(stream.read(end - start))
    return Entry(status.st_mode, status.st_nlink, status.st_size, digest.hexdigest(), tuple(runs),
                 status.st_mtime_ns if times else 0)


def is_on_tmpfs(path: Path) -> bool:
    """Whether it is on tmpfs, as /tmp may be."""
    return subprocess.run(["stat", "--file-system", "--format=%T", str(path)], check=True,
                          capture_output=True, text=True).stdout.strip() == "tmpfs"


class LaminaTest(unittest.TestCase):
    """A test with a directory of its own and a store in it."""

    # The directory is on tmpfs, where a sync costs nothing, if that has room: for tests in which
    # processes end, and not machines. LAMINA_TEST_DIR takes precedence.
    on_tmpfs = False

    def setUp(self) -> None:
        """Makes the directory, which goes with the test."""
        base = os.environ.get("LAMINA_TEST_DIR")
        if base is None and self.on_tmpfs and os.access(MEMORY_FS, os.W_OK) and \
                shutil.disk_usage(MEMORY_FS).free >= ENOUGH_ON_TMPFS_BYTES:
            base = str(MEMORY_FS)
        self.directory = Path(tempfile.mkdtemp(prefix="lamina-", dir=base))
        self.directory.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.directory)
        self.store = self.directory / "store"
        self.store.mkdir()
        self.rng = random.Random(self.id())

    def done(self, *arguments: str | Path, **options: Any) -> Outcome:
        """Runs the program, which must succeed."""
        outcome = lamina(*arguments, **options)
        self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
        return outcome

    def refused(self, code: int, *arguments: str | Path, names: Iterable[str | Path] = (),
                **options: Any) -> Outcome:
        """Runs the program, which must fail with `code` and one line that has all of `names`."""
        outcome = lamina(*arguments, **options)
        self.assertEqual(outcome.code, code, str(outcome))
        self.assert_one_error_line(outcome, names)
        self.assertEqual(outcome.stdout, "", str(outcome))
        return outcome

    def assert_one_error_line(self, outcome: Outcome, names: Iterable[str | Path] = ()) -> None:
        """Checks that stderr is one line "lamina: …" that has all of `names`.

        A usage error may be followed by the line that points to the help.
        """
        lines = [line for line in outcome.error_lines if not line.startswith("Try 'lamina ")]
        self.assertEqual(len(lines), 1, str(outcome))
        self.assertTrue(lines[0].startswith("lamina: "), str(outcome))
        self.assertFalse(lines[0].endswith("."), str(outcome))
        for name in names:
            self.assertIn(str(name), lines[0], str(outcome))

    def ingest_full(self, memory: GuestMemory, name: str, *options: str,
                    store: Path | None = None) -> Path:
        """Stores `memory` as a first snapshot and returns its path."""
        memory_file = write_full(self.directory / f"{name}.full", memory)
        snapshot = (store or self.store) / name
        self.done("ingest", memory_file, "--out", snapshot, *options)
        memory_file.unlink(missing_ok=True)
        return snapshot

    def ingest_diff(self, memory: GuestMemory, dirty: Iterable[int], parent: Path, name: str,
                    *options: str, store: Path | None = None) -> Path:
        """Stores the `dirty` pages of `memory` over `parent` and returns the snapshot's path."""
        memory_file = write_diff(self.directory / f"{name}.diff", memory, dirty)
        snapshot = (store or self.store) / name
        self.done("ingest", memory_file, "--parent", parent, "--out", snapshot, *options)
        memory_file.unlink(missing_ok=True)
        return snapshot

    def materialized(self, snapshot: Path, *options: str, directory: Path | None = None) -> bytes:
        """The memory that `snapshot` resolves to."""
        out = (directory or self.directory) / f"out-{uuid.uuid4()}"
        self.done("materialize", snapshot, "--out", out, *options)
        try:
            return out.read_bytes()
        finally:
            out.unlink()

    def assert_memory(self, contents: bytes, memory: GuestMemory) -> None:
        """Compares page by page, so that a failure names pages instead of printing megabytes."""
        self.assertEqual(len(contents), memory.size_bytes)
        wrong = [page for page in range(memory.page_count)
                 if contents[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] != memory.page(page)]
        self.assertEqual(wrong, [], "pages that differ from the guest's")

    def assert_resolves_to(self, snapshot: Path, memory: GuestMemory, *options: str) -> None:
        """Checks that `snapshot` is intact and gives back exactly `memory`."""
        self.done("verify", snapshot)
        self.assert_memory(self.materialized(snapshot, *options), memory)

    @contextlib.contextmanager
    def unchanged(self, root: Path | None = None, times: bool = True) -> Iterator[None]:
        """Checks that nothing below `root` (the test's directory) changes meanwhile."""
        watched = root or self.directory
        before = tree_of(watched, times)
        yield
        after = tree_of(watched, times)
        differences = [f"{path}: {before.get(path)} became {after.get(path)}"
                       for path in sorted(before.keys() | after.keys())
                       if before.get(path) != after.get(path)]
        self.assertEqual(differences, [])

    def assert_store_is_clean(self, store: Path | None = None) -> None:
        """Checks that no unfinished work and no unknown file is in the store."""
        top = store or self.store
        for area in (".tmp", ".pending"):
            if (top / area).exists():
                self.assertEqual(list((top / area).iterdir()), [], f"left in {area}")
        for snapshot in top.iterdir():
            if snapshot.name in STORE_AREAS:
                continue
            for file in snapshot.iterdir():
                known = file.name in ("memfile.header", "snapshot.json", "snapfile")
                self.assertTrue(known or LAYER_NAME.fullmatch(file.name), f"stray file {file}")


def layers_of(snapshot: Path) -> list[Path]:
    """The layer files of `snapshot`, oldest first."""
    outcome = lamina("inspect", snapshot, "--json")
    assert outcome.code == EXIT_DONE, str(outcome)
    return [Path(layer["file"]) for layer in outcome.json["layers"]]


def main() -> None:
    """Runs the tests of the calling file; a skipped one is printed with its reason."""
    unittest.main(verbosity=2)
