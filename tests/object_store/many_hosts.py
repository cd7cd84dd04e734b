#!/usr/bin/env python3
"""Many hosts resume one snapshot at once, each lazily and in an empty store of its own.

Each host is a set of processes: a VM, a page server, a fetcher. The snapshot is resumed

  all    without a pack: the guest reads all of its memory and compares it
  set    with a pack: the guest touches its working set, and ends

once with all hosts at the bucket, and once with a cache between (examples/object-cache). Counted is
what the bucket has sent until the last host was done, beside

  at the bucket   hosts x what each guest touches; must be at most 1.1 times that (`all`)
  with a cache    what the snapshot has in the bucket, once; must be at most twice that

Also: through the cache, a removed object is gone at once for HEAD and for lists; another host's
write is seen; and what a host gets for a key that the bucket does not know is no object.

In `set` the rest of the memory is fetched behind the pack until the guest ends; those bytes count.
Environment: LAMINA and FAKE_FIRECRACKER are the binaries. Exit codes: 0 all of this holds, 1
something does not, 77 a server cannot be had.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from client_host import Host  # noqa: E402
from faulty_proxy import Exchange, FaultyProxy  # noqa: E402
from lazy_host import PAGE_BYTES, Template, resume_elsewhere  # noqa: E402
from s3_client import S3Client, S3Error  # noqa: E402
from servers import (ACCESS_KEY, BUCKET, SECRET_KEY, SERVERS, Unavailable,  # noqa: E402
                     running)
from serving import adopt_orphans  # noqa: E402
from shared_cache import SharedCache  # noqa: E402

EXIT_WRONG = 1
EXIT_SKIPPED = 77
MIB = 1 << 20
MOST_OF_TOUCHED = 1.1
MOST_OF_UNIQUE = 2.0
PREFIX = "many"


class Wrong(Exception):
    """Something that must hold does not."""


@dataclass
class Row:
    """All hosts, once."""

    what: str
    where: str
    requests: int
    object_bytes: int  # of layers, packs, files
    other_bytes: int  # lists, records, pins
    beside_what: str
    beside_bytes: int
    took_s: float

    @property
    def ratio(self) -> float:
        """All bytes beside what they are compared with."""
        return (self.object_bytes + self.other_bytes) / self.beside_bytes


def is_of_object(exchange: Exchange) -> bool:
    """Whether it reads an object, and not a list, a record or a pin."""
    return any(f"/v1/{kind}/" in exchange.path for kind in ("layers", "packs", "files"))


class ManyHosts:
    """A template in a bucket, and hosts that resume it."""

    def __init__(self, server_port: int, work: Path, hosts: int, at_once: int,
                 memory_mib: int) -> None:
        self._port, self._work, self._hosts, self._at_once = server_port, work, hosts, at_once
        self._origin = FaultyProxy(server_port)
        self._client = S3Client(server_port, BUCKET, ACCESS_KEY, SECRET_KEY)
        pages = (memory_mib << 20) // PAGE_BYTES
        self.template = Template(work, Host(self._origin, work, PREFIX), self._client, memory_mib,
                                 pages // 4)
        self._all_bytes = memory_mib << 20

    def stop(self) -> None:
        """Ends the proxy."""
        self._origin.stop()

    def rows(self) -> list[Row]:
        """Without a cache, then with one."""
        rows = [self._row(name, "at the bucket", self._origin.port) for name in ("bare", "packed")]
        for name in ("bare", "packed"):
            with SharedCache(self._work / f"cache-{name}", self._origin.port) as cache:
                rows.append(self._row(name, "with a cache", cache.port))
                if name == "packed":
                    self._check_what_is_not_cached(cache.port)
        return rows

    def _row(self, name: str, where: str, port: int) -> Row:
        self._origin.begin({})
        url = f"s3://{BUCKET}/{PREFIX}?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        uncounted = _Uncounted()

        def resume(number: int) -> None:
            resume_elsewhere(self.template, self._work / f"host{number}", url, name, uncounted,
                             touches_all=name == "bare")

        start = time.monotonic()
        with ThreadPoolExecutor(self._at_once) as pool:
            list(pool.map(resume, range(self._hosts)))
        took_s = time.monotonic() - start
        self._origin.settle()
        exchanges = list(self._origin.exchanges)
        of_objects = sum(one.answer_bytes for one in exchanges if is_of_object(one))
        others = sum(one.answer_bytes for one in exchanges) - of_objects
        if where == "with a cache":
            beside, size = "what the bucket has", self._unique_bytes(name)
        elif name == "bare":
            beside, size = "hosts x data", self._hosts * self._data_bytes()
        else:
            beside = "hosts x set"
            size = self._hosts * self.template.working_set_blocks() * PAGE_BYTES
        return Row("all" if name == "bare" else "set", where, len(exchanges), of_objects, others,
                   beside, size, took_s)

    def _data_bytes(self) -> int:
        """What a guest that reads everything touches, without zeros: as the bucket has it."""
        return sum(one.size for one in self.template.layers())

    def _unique_bytes(self, name: str) -> int:
        packs = self.template.packs() if name == "packed" else []
        return sum(one.size for one in [*self.template.layers(), *packs])

    def _check_what_is_not_cached(self, port: int) -> None:
        cached = S3Client(port, BUCKET, ACCESS_KEY, SECRET_KEY)
        key = f"{PREFIX}/v1/layers/probe"
        if cached.request("HEAD", key)[0] != 404:
            raise Wrong("HEAD of an object that is not there")
        cached.put(key, b"x" * 100)
        if cached.get(key) != b"x" * 100 or self._client.get(key) != b"x" * 100:
            raise Wrong("a write through the cache is not in the bucket")
        if cached.get_range(key, 10, 20) != b"x" * 20:
            raise Wrong("a range through the cache")
        self._client.delete(key)
        if cached.request("HEAD", key)[0] != 404:
            raise Wrong("the cache answers HEAD of an object that is gone")
        if any(one.key == key for one in cached.list(f"{PREFIX}/v1/layers/")):
            raise Wrong("the cache answers a list with an object that is gone")
        record = f"{PREFIX}/v1/snapshots/probe.1"
        for body in (b"one", b"two"):
            self._client.put(record, body)
            if cached.get(record) != body:
                raise Wrong("the cache keeps records")
        self._client.delete(record)
        stranger = S3Client(port, BUCKET, ACCESS_KEY, "wrong")
        try:
            stranger.get(f"{PREFIX}/v1/layers/never-fetched")
            raise Wrong("what is not in the cache is given without a signature")
        except S3Error:
            pass
        layer = self.template.layers()[0].key
        print("note: a host with a wrong secret key gets status "
              f"{stranger.request('GET', layer, more_headers={'range': 'bytes=0-9'})[0]} for an "
              "object that is in the cache")


class _Uncounted:
    """In place of a proxy, for hosts that share one."""

    exchanges: list[Exchange] = []
    round_trips = 0

    def settle(self) -> None:
        """Other hosts may have requests under way."""

    def begin(self, plan: dict[int, str]) -> None:
        """Nothing is counted for a single host."""


def table(rows: list[Row], hosts: int) -> str:
    """Markdown."""
    lines = [f"| {hosts} hosts read | | requests | MiB of objects | MiB of lists, records, pins | "
             "beside | MiB | ratio | s |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row.what} | {row.where} | {row.requests} | "
                     f"{row.object_bytes / MIB:.2f} | {row.other_bytes / MIB:.2f} | "
                     f"{row.beside_what} | {row.beside_bytes / MIB:.2f} | {row.ratio:.2f} | "
                     f"{row.took_s:.1f} |")
    return "\n".join(lines)


def judged(rows: list[Row]) -> list[str]:
    """What is above its bound."""
    bounds = {("all", "at the bucket"): MOST_OF_TOUCHED, ("all", "with a cache"): MOST_OF_UNIQUE,
              ("set", "with a cache"): MOST_OF_UNIQUE}
    return [f"'{row.what}' {row.where}: {row.ratio:.2f} times {row.beside_what}, more than {bound}"
            for row in rows
            if (bound := bounds.get((row.what, row.where))) is not None and row.ratio > bound]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(SERVERS), default="seaweedfs")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("--hosts", type=int, default=100, help="default: 100")
    parser.add_argument("--at-once", type=int, default=16,
                        help="hosts that run at a time (default: 16)")
    parser.add_argument("--memory", type=int, default=64, help="MiB (default: 64)")
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="lamina-hosts-", dir="/var/tmp") as directory:
        work = Path(directory)
        work.chmod(0o755)
        try:
            with running(options.server, options.cache, work / "server") as server:
                many = ManyHosts(server.port, work, options.hosts, options.at_once,
                                 options.memory)
                try:
                    rows = many.rows()
                finally:
                    many.stop()
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return EXIT_SKIPPED
        except (Wrong, RuntimeError, S3Error, AssertionError) as error:
            print(f"wrong: {error}")
            return EXIT_WRONG
    print(f"{options.server}, {options.memory} MiB of memory, {options.at_once} hosts at a time, "
          f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n\n"
          f"{table(rows, options.hosts)}")
    wrong = judged(rows)
    for one in wrong:
        print(f"wrong: {one}")
    return EXIT_WRONG if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
