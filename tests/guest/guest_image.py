"""What a guest boots from: a stock Linux kernel and an initrd that carries the programs."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
FETCH_TIMEOUT_S = 180


class Unavailable(Exception):
    """Something the run needs is not on this machine; says what and how to get it."""


def find_kernel(cache: Path) -> Path:
    """Returns a kernel image from the cache, which is filled from Debian's archive if it is empty.

    The package is only unpacked, never installed, so this needs no privileges.
    """
    cached = sorted(cache.glob("vmlinuz-*"))
    if cached:
        return cached[-1]
    for tool in ("apt-cache", "apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise Unavailable(f"'{tool}' is needed to fetch a kernel; or give --kernel")
    cache.mkdir(parents=True, exist_ok=True)
    depends = _run(["apt-cache", "depends", KERNEL_METAPACKAGE], cache)
    match = re.search(r"Depends: (linux-image-\S+-cloud-amd64)\s", depends)
    if match is None:
        raise Unavailable(f"apt knows no package '{KERNEL_METAPACKAGE}' (apt-get update?); "
                          "or give --kernel")
    with tempfile.TemporaryDirectory(dir=cache) as scratch_name:
        scratch = Path(scratch_name)
        scratch.chmod(0o755)
        _run(["apt-get", "download", match[1]], scratch)
        package = next(scratch.glob("*.deb"))
        _run(["dpkg", "-x", str(package), "root"], scratch)
        image = next((scratch / "root/boot").glob("vmlinuz-*"))
        # A rename within the cache: a run that is killed here leaves no half kernel behind.
        return image.rename(cache / image.name)


def write_initrd(path: Path, programs: dict[str, Path]) -> None:
    """Writes an uncompressed initrd with the given programs: path in the guest -> file here."""
    with path.open("wb") as out:
        for number, name in enumerate(("bin", "proc", "sys"), start=1):
            out.write(_cpio_entry(number, name, stat.S_IFDIR | 0o755, b""))
        for number, (name, source) in enumerate(programs.items(), start=100):
            out.write(_cpio_entry(number, name, stat.S_IFREG | 0o755, source.read_bytes()))
        out.write(_cpio_entry(0, "TRAILER!!!", 0, b""))


def _cpio_entry(inode: int, name: str, mode: int, content: bytes) -> bytes:
    """One entry of cpio's "newc" format: 13 hex fields, name, content, each padded to 4 bytes."""
    name_bytes = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name_bytes), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name_bytes) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _run(command: list[str], directory: Path) -> str:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True,
                              timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"'{' '.join(command)}' took over {FETCH_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise Unavailable(f"'{' '.join(command)}' failed: {done.stderr.strip()}; "
                          "or give --kernel")
    return done.stdout
