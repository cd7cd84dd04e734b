"""File systems for tests: made in a file, mounted through a loop device, gone with the test.

The files are in memory where there is room, since a sync of a disk takes milliseconds and each
command makes several. If LAMINA_TEST_DIR is set they are on that file system.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from memory_files import MEMORY_FS, LaminaTest

MIB = 1 << 20
# An image goes there only if so many of its size have room: tests run side by side.
IMAGES_WITH_ROOM = 4

MixIn = TypeVar("MixIn", bound=type)


@dataclass(frozen=True)
class FileSystem:
    """How a kind of file system is made and mounted."""

    name: str
    make: Sequence[str] = ()  # without it there is no image: the kernel makes the file system
    kind: str = ""
    options: str = ""
    image_bytes: int = 64 * MIB
    has_reflink: bool = False
    prepare: Callable[[Path], None] = lambda _: None  # what it needs before it is used


EXT4 = FileSystem("ext4", ("mkfs.ext4", "-q", "-F", "-b", "4096"), "ext4")
# Its holes are finer than a page.
EXT4_1K = FileSystem("ext4 with 1 KiB blocks", ("mkfs.ext4", "-q", "-F", "-b", "1024"), "ext4")
XFS = FileSystem("xfs", ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"), "xfs",
                 image_bytes=320 * MIB, has_reflink=True)
# It claims a large preferred block, yet is exact.
XFS_LARGEIO = FileSystem("xfs with largeio", XFS.make, "xfs", "largeio,swalloc",
                         image_bytes=320 * MIB, has_reflink=True)
BTRFS = FileSystem("btrfs", ("mkfs.btrfs", "-q", "-f"), "btrfs", image_bytes=256 * MIB,
                   has_reflink=True)
TMPFS = FileSystem("tmpfs", kind="tmpfs", options="size=128m")
RAMFS = FileSystem("ramfs", kind="ramfs")  # knows no holes: all is data


class MountedStore:
    """A store on a fresh file system. A mix-in, for a test case with a directory and a store."""

    system: FileSystem

    def setUp(self) -> None:
        """Mounts the file system and makes the store on it."""
        super().setUp()
        self.mounted = mount(self, self.directory, self.system)
        self.store = self.mounted / "store"
        self.store.mkdir()


def on_each(*systems: FileSystem, base: type = LaminaTest) -> Callable[[MixIn], MixIn]:
    """Makes a test case per file system of a mix-in of tests: FilesOnExt4, FilesOnXfs, ...

    They stand in the mix-in's module, where unittest finds them.
    """
    def make(tests: MixIn) -> MixIn:
        module = sys.modules[tests.__module__]
        for system in systems:
            words = "".join(word[0].upper() + word[1:] for word in system.name.split())
            name = f"{tests.__name__}On{words}"
            setattr(module, name, type(name, (tests, MountedStore, base), {
                "__module__": tests.__module__, "system": system,
                "__doc__": f"{tests.__doc__} On {system.name}."}))
        return tests
    return make


def mount(test: unittest.TestCase, directory: Path, system: FileSystem,
          image: Path | None = None) -> Path:
    """Mounts a fresh `system` below `directory`; it is unmounted when `test` ends.

    `image` is the file to make it in, for a test that damages the disk below a file system. Skips
    the test where this machine cannot do it.
    """
    if os.geteuid() != 0:
        test.skipTest("mounting needs root")
    name = system.name.replace(" ", "-")
    point = directory / f"mount-{name}"
    point.mkdir()
    options = system.options
    source = "lamina-test"
    if system.make:
        if shutil.which(system.make[0]) is None:
            test.skipTest(f"{system.make[0]} is not installed")
        given = image is not None
        image = image or _new_image(directory, system.image_bytes)
        with image.open("wb") as stream:
            stream.truncate(system.image_bytes)
        test.addCleanup(image.unlink, missing_ok=True)
        made = _run([*system.make, str(image)])
        if made.returncode != 0:
            test.skipTest(f"{system.make[0]} failed: {made.stderr.strip()}")
        source = str(image)
        options = ",".join(part for part in ("loop", options) if part)
    command = ["mount", "-t", system.kind, *(["-o", options] if options else []), source]
    mounted = _run([*command, str(point)])
    if mounted.returncode != 0:
        test.skipTest(f"cannot mount {system.name}: {mounted.stderr.strip()}")
    test.addCleanup(unmount, point)
    if system.make and not given:
        image.unlink()  # the loop device keeps it: nothing stays when the test is killed
    system.prepare(point)
    return point


def ext4_in_memory(test: unittest.TestCase, directory: Path) -> Path:
    """An ext4 below `directory` whose syncs take no time; `directory` itself if it cannot be made.

    For tests that kill processes and not machines: what the disk does makes no difference. With
    LAMINA_TEST_DIR they are to be on that file system.
    """
    if os.geteuid() != 0 or "LAMINA_TEST_DIR" in os.environ:
        return directory
    return mount(test, directory, EXT4)


def remount(point: Path, options: str) -> None:
    """Changes the options of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(point)], check=True)


def bind(test: unittest.TestCase, source: Path, point: Path) -> Path:
    """Makes `source` visible at `point` through a mount of its own."""
    if os.geteuid() != 0:
        test.skipTest("mounting needs root")
    point.mkdir()
    mounted = _run(["mount", "--bind", str(source), str(point)])
    if mounted.returncode != 0:
        test.skipTest(f"cannot mount: {mounted.stderr.strip()}")
    test.addCleanup(unmount, point)
    return point


def mount_overlay(test: unittest.TestCase, directory: Path, lower: Path, upper: Path,
                  options: str = "") -> Path:
    """Mounts an overlay whose upper layer is a fresh directory in `upper`."""
    if os.geteuid() != 0:
        test.skipTest("mounting needs root")
    number = len(list(directory.glob("overlay-*")))
    point = directory / f"overlay-{number}"
    layer, work = (upper / f"{name}-{number}" for name in ("upper", "work"))
    for made in (point, layer, work):
        made.mkdir()
    layers = f"lowerdir={lower},upperdir={layer},workdir={work}"
    words = ",".join(part for part in (layers, options) if part)
    mounted = _run(["mount", "-t", "overlay", "-o", words, "lamina-test", str(point)])
    if mounted.returncode != 0:
        test.skipTest(f"cannot mount an overlay: {mounted.stderr.strip()}")
    test.addCleanup(unmount, point)
    return point


def unmount(point: Path) -> None:
    """Unmounts, at once or as soon as the last user has gone."""
    if _run(["umount", str(point)]).returncode != 0:
        subprocess.run(["umount", "-l", str(point)], check=True)


def fill(directory: Path) -> Path:
    """Fills the file system to its last block; returns the file to remove to free it again."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as stream:
        end = 0
        for size in (64 * MIB, 8 * MIB):  # most of it costs no time
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(stream.fileno(), end, size)
                    end += size
        stream.seek(end)
        for size in (MIB, 4096, 512):
            try:
                while stream.write(b"\xff" * size) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.fsync(stream.fileno())
    return path


def _new_image(directory: Path, size_bytes: int) -> Path:
    """An empty file in memory or, where that is not wanted or has no room, in `directory`."""
    if "LAMINA_TEST_DIR" not in os.environ and os.access(MEMORY_FS, os.W_OK):
        if shutil.disk_usage(MEMORY_FS).free >= IMAGES_WITH_ROOM * size_bytes:
            directory = MEMORY_FS
    fd, path = tempfile.mkstemp(prefix="lamina-image-", dir=directory)
    os.close(fd)
    return Path(path)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
