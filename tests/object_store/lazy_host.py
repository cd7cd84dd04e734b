"""Hosts with empty stores, on which a VM runs while its memory is fetched from a bucket.

The VM is the stand-in for Firecracker (FAKE_FIRECRACKER), whose guest knows what each of its pages
must hold. It touches pages at random, the same ones on each host.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from client_host import Host, client_environment  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from firecracker import Firecracker  # noqa: E402
from memory_files import program  # noqa: E402
from s3_client import Listed, S3Client  # noqa: E402
from sandbox import servers_and_fetchers_of  # noqa: E402
from serving import end_processes, wait_until  # noqa: E402

PAGE_BYTES = 4096
LONG_S = 600.0
ARRIVAL_S = 600.0


def call(*words: str | Path) -> str:
    """Runs the program, which must succeed; what it printed."""
    done = subprocess.run([program(), *map(str, words)], capture_output=True, text=True,
                          check=False, stdin=subprocess.DEVNULL, timeout=LONG_S,
                          env=client_environment())
    if done.returncode != 0:
        raise RuntimeError(f"lamina {' '.join(map(str, words))}: exit {done.returncode}: "
                           f"{done.stderr}")
    return done.stdout


@dataclass
class Resume:
    """One resume, from the beginning of the command on."""

    running_s: float  # until the command has ended
    touched_s: float  # until the guest has touched what it touches
    requests_running: int
    round_trips_running: int
    requests: int
    round_trips: int
    received_bytes: int
    asked_twice: int  # requests for a range that was asked for before


class Template:
    """A snapshot of two layers in the bucket: as `bare`, and with a recorded working set, and so a
    pack, as `packed`."""

    def __init__(self, work: Path, host: Host, client: S3Client, memory_mib: int, touches: int,
                 share_in_use: float = 0.25) -> None:
        self.store = work / "template"
        self.store.mkdir()
        self.touch = f"touch {touches} 7"
        self._client, self._prefix = client, host.prefix
        pages = (memory_mib << 20) // PAGE_BYTES
        with Firecracker("--start", "--memory-mib", memory_mib) as vm:
            for number, share in enumerate((share_in_use, 0.03)):
                vm.tell(f"run {int(pages * share * 2)} {number + 1}")
                call("pause", "--api", vm.api_socket, "--store", self.store, "--name", "vm",
                     "--after", "resume")
        host.done("push", host.url, str(self.store / "vm"), "--as", "bare")
        self.resume_here("--mode", "uffd")
        wait_until(lambda: self.working_set_blocks() > 0, "the working set is recorded")
        host.done("push", host.url, str(self.store / "vm"), "--as", "packed")
        if not self.packs():
            raise RuntimeError("the push of a recorded working set has sent no pack")

    def working_set_blocks(self) -> int:
        """How many blocks the recorded resume has touched."""
        blocks: int = json.loads(call("inspect", self.store / "vm", "--json"))[
            "working_set_blocks"]
        return blocks

    def packs(self) -> list[Listed]:
        """The pack, as an object."""
        return self._client.list(f"{self._prefix}/v1/packs/")

    def layers(self) -> list[Listed]:
        """The layers, as objects."""
        return self._client.list(f"{self._prefix}/v1/layers/")

    def resume_here(self, *options: str) -> float:
        """Resumes where the layers are; seconds until all is touched."""
        start = time.monotonic()
        try:
            with Firecracker() as vm:
                call("resume", "--api", vm.api_socket, "--store", self.store, "--name", "vm",
                     *options)
                vm.tell(self.touch)
                took_s = time.monotonic() - start
                vm.end()
                if options:
                    wait_until(lambda: self.working_set_blocks() > 0, "it is recorded")
            return took_s
        finally:
            end_processes(lambda: servers_and_fetchers_of(self.store), "the page server ends")


def resume_elsewhere(template: Template, store: Path, url: str, name: str, proxy: FaultyProxy,
                     touches_all: bool = False) -> Resume:
    """Resumes in an empty store, and lets the guest touch its pages, or all there are; each must
    hold what it has to. Nothing of the host is left afterwards."""
    store.mkdir()
    proxy.settle()  # else the end of an earlier request counts for this resume
    proxy.begin({})
    try:
        with Firecracker() as vm:
            start = time.monotonic()
            call("resume", "--api", vm.api_socket, "--store", store, "--name", name, "--remote",
                 url, "--mode", "uffd")
            running_s = time.monotonic() - start
            requests_running, round_trips_running = len(proxy.exchanges), proxy.round_trips
            if touches_all:
                said = vm.control("check", LONG_S)
                if not said.startswith("ok "):
                    raise RuntimeError(f"the guest has other memory: {said}")
            else:
                vm.tell(template.touch)
            touched_s = time.monotonic() - start
            exchanges = list(proxy.exchanges)
            round_trips = proxy.round_trips
    finally:
        end_processes(lambda: servers_and_fetchers_of(store), "page server and fetcher end")
        shutil.rmtree(store)
    asked = [(one.path, one.request.header("range")) for one in exchanges
             if one.method == "GET" and one.request.header("range")]
    return Resume(running_s, touched_s, requests_running, round_trips_running, len(exchanges),
                  round_trips, sum(one.answer_bytes for one in exchanges),
                  len(asked) - len(set(asked)))
