"""Hosts as network namespaces, whose only way out is a line to ours that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from servers import SERVERS

VARIABLE = "LAMINA_TEST_NAMESPACE"


def enter_namespace(server: str, cache: Path) -> None:
    """Starts the program again in a network namespace of its own, where the kernel permits, so that
    its addresses are its own. Before, it fetches the server, which needs the network. Raises
    Unavailable."""
    if VARIABLE in os.environ:
        ip("link", "set", "lo", "up")
    elif can_have_namespaces():
        SERVERS[server].install(cache.resolve())
        os.environ[VARIABLE] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def can_have_namespaces() -> bool:
    """Root, with the programs and the permission."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare"))):
        return False
    return subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "line0", "type", "veth", "peer", "name", "x0"],
        capture_output=True, check=False).returncode == 0


class Namespaces:
    """A network namespace for each host, each with one line to this one, where there are any."""

    def __init__(self, count: int) -> None:
        self.addresses = ["127.0.0.1"] * count
        self.commands: list[tuple[str, ...]] = [()] * count
        self._holders: list[subprocess.Popen[bytes]] = []
        if VARIABLE not in os.environ:
            return
        for number in range(count):
            holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
            self._holders.append(holder)
            inside = ("nsenter", f"--target={holder.pid}", "--net")
            wait_for_namespace(holder.pid)
            ip("link", "add", f"line{number}", "type", "veth", "peer", "name", "eth0", "netns",
               str(holder.pid))
            ip("addr", "add", f"10.77.{number}.1/24", "dev", f"line{number}")
            ip("link", "set", f"line{number}", "up")
            ip("addr", "add", f"10.77.{number}.2/24", "dev", "eth0", inside=inside)
            ip("link", "set", "eth0", "up", inside=inside)
            self.addresses[number] = f"10.77.{number}.1"
            self.commands[number] = inside

    @property
    def are_there(self) -> bool:
        return bool(self._holders)

    @staticmethod
    def cut(number: int, for_s: float) -> None:
        """Packets vanish in both directions for a while."""
        ip("link", "set", f"line{number}", "down")
        time.sleep(for_s)
        ip("link", "set", f"line{number}", "up")

    def stop(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()


def ip(*words: str, inside: tuple[str, ...] = ()) -> None:
    subprocess.run([*inside, "ip", *words], check=True, stdin=subprocess.DEVNULL)


def wait_for_namespace(pid: int) -> None:
    """Until the process has left ours."""
    ours = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == ours:
        time.sleep(0.005)
