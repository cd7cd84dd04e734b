#!/usr/bin/env python3
"""What the object tier sends over lines of 5, 20 and 80 ms: requests, dependent round trips, bytes.

A real object store runs on this machine, behind a proxy (tests/object_store/faulty_proxy.py) that
delays each answer by the round trip and counts. A memory of --memory with a quarter in use is
pushed, then a diff of 3 % of it, then the whole is pulled into an empty store. Next to the pull the
floor: curl fetches the same objects in plain parallel ranges of 2 MiB.

Dependent round trips: the longest chain of requests of which each was sent after the answer to the
one before it; an upper bound, since some are sent late because data was not ready. They and the
bytes hardly depend on the machine; times do.

Then resumes on empty hosts (lazy_resumes.py).

Prints tables for docs/performance.md. Nothing is asserted. Needs curl and zstd for the floors.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "object_store"))

from client_host import Host  # noqa: E402
from faulty_proxy import FaultyProxy  # noqa: E402
from lazy_resumes import late_rows, lazy_rows, lazy_table  # noqa: E402
from memory_files import PAGE_BYTES, program  # noqa: E402
from serving import adopt_orphans  # noqa: E402
from servers import ACCESS_KEY, BUCKET, SECRET_KEY, SERVERS, running  # noqa: E402

MIB = 1 << 20
RANGE_BYTES = 2 * MIB
PARALLEL = 8
DIRTY_SHARE = 0.03
USED_SHARE = 0.25


@dataclass
class Row:
    """One operation at one distance."""

    rtt_ms: float
    what: str
    requests: int
    round_trips: int
    bytes: int
    floor_bytes: int | None
    took_s: float
    floor_s: float | None = None


def live_page(rng: random.Random) -> bytes:
    """A page that halves by compression, as much of a guest's memory does."""
    return rng.randbytes(PAGE_BYTES // 2) + bytes([rng.randrange(256)]) * (PAGE_BYTES // 2)


def write_memories(work: Path, size_bytes: int, rng: random.Random) -> tuple[Path, Path]:
    """A full memory file and a diff, which is dirty in runs of pages."""
    full, diff = work / "full.mem", work / "diff.mem"
    pages = size_bytes // PAGE_BYTES
    with full.open("wb") as file:
        for _ in range(pages // 16):
            is_used = rng.random() < USED_SHARE
            for _ in range(16):
                file.write(live_page(rng) if is_used else bytes(PAGE_BYTES))
    with diff.open("wb") as file:
        file.truncate(size_bytes)
        for run in rng.sample(range(pages // 4), int(pages * DIRTY_SHARE) // 4):
            file.seek(run * 4 * PAGE_BYTES)
            for _ in range(4):
                file.write(live_page(rng))
    return full, diff


def compressed_bytes(path: Path) -> int | None:
    """What zstd -1 makes of the pages that are not zeros, at once."""
    if shutil.which("zstd") is None:
        return None
    zero = bytes(PAGE_BYTES)
    with path.open("rb") as file:
        live = b"".join(page for page in iter(lambda: file.read(PAGE_BYTES), b"") if page != zero)
    done = subprocess.run(["zstd", "-1", "-q", "-c"], input=live, capture_output=True, check=True)
    return len(done.stdout)


def plain_ranges_s(proxy: FaultyProxy, objects: list[tuple[str, int]], work: Path) -> float | None:
    """How long curl takes for the same bytes."""
    if shutil.which("curl") is None:
        return None
    lines = []
    for key, size in objects:
        for start in range(0, size, RANGE_BYTES):
            end = min(size, start + RANGE_BYTES) - 1
            lines.append(f'url = "http://127.0.0.1:{proxy.port}/{BUCKET}/{key}"\n'
                         f'range = "{start}-{end}"\noutput = "/dev/null"\n'
                         'aws-sigv4 = "aws:amz:us-east-1:s3"\n'
                         f'user = "{ACCESS_KEY}:{SECRET_KEY}"\nfail\nsilent\n')
    config = work / "curl"
    config.write_text("next\n".join(lines))
    start_s = time.monotonic()
    subprocess.run(["curl", "--no-progress-meter", "--parallel", "--parallel-immediate",
                    "--parallel-max", str(PARALLEL), "--config", str(config)], check=True)
    return time.monotonic() - start_s


class Bench:
    """All operations at one distance."""

    def __init__(self, port: int, rtt_ms: float, store: Path, work: Path) -> None:
        self._rtt_ms, self._store, self._work = rtt_ms, store, work
        self.proxy = FaultyProxy(port, round_trip_s=rtt_ms / 1000)
        self._host = Host(self.proxy, work, f"bench{rtt_ms:g}")

    def run(self, what: str, is_push: bool, floor_bytes: int | None, *words: str) -> Row:
        self.proxy.begin({})
        start = time.monotonic()
        self._host.done(words[0], self._host.url, *words[1:])
        took_s = time.monotonic() - start
        exchanges = self.proxy.exchanges
        moved = sum(len(one.request.body) if is_push else one.answer_bytes for one in exchanges)
        return Row(self._rtt_ms, what, len(exchanges), self.proxy.round_trips, moved, floor_bytes,
                   took_s)

    def rows(self, live: tuple[int | None, int | None], objects_of: object) -> list[Row]:
        full, diff = live
        both = None if full is None or diff is None else full + diff
        rows = [self.run("push, full", True, full, "push", f"{self._store}/full", "--as", "vm"),
                self.run("push, 3 % diff", True, diff, "push", f"{self._store}/diff", "--as", "vm")]
        other = self._work / f"other{self._rtt_ms:g}"
        other.mkdir()
        pull = self.run("pull", False, both, "pull", "vm", "--store", str(other))
        shutil.rmtree(other)
        pull.floor_s = plain_ranges_s(self.proxy, objects_of(self._host.prefix), self._work)
        return [*rows, pull]


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| RTT, ms | operation | requests | dependent round trips | MiB | MiB / live | s | "
             "time / curl's |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row.bytes / row.floor_bytes:.2f}" if row.floor_bytes else "-"
        against = f"{row.took_s / row.floor_s:.2f}" if row.floor_s else "-"
        lines.append(f"| {row.rtt_ms:g} | {row.what} | {row.requests} | {row.round_trips} | "
                     f"{row.bytes / MIB:.2f} | {ratio} | {row.took_s:.2f} | {against} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(SERVERS), default="seaweedfs")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("--memory", type=int, default=256, help="MiB (default: 256)")
    parser.add_argument("--rtt-ms", type=float, nargs="+", default=[5, 20, 80])
    parser.add_argument("--touches", type=int, default=4000,
                        help="of pages, by a guest that is resumed lazily (default: 4000)")
    parser.add_argument("--resumes", type=int, default=50,
                        help="of a guest of 16 MiB, with and without late answers (default: 50)")
    parser.add_argument("--late-share", type=float, default=0.01, help="default: 0.01")
    parser.add_argument("--late-s", type=float, default=1.0, help="default: 1")
    parser.add_argument("--only", choices=["push", "lazy", "late"], help="one part of it")
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="lamina-bench-", dir="/var/tmp") as directory:
        work = Path(directory)
        store = work / "store"
        store.mkdir()
        full, diff = write_memories(work, options.memory * MIB, random.Random(1))
        live = compressed_bytes(full), compressed_bytes(diff)
        for name, more in (("full", []), ("diff", ["--parent", str(store / "full")])):
            subprocess.run([program(), "ingest", str(work / f"{name}.mem"), "--out",
                            str(store / name), *more], check=True, capture_output=True)
        rows: list[Row] = []
        tables: list[str] = []
        with running(options.server, options.cache, work / "server") as server:

            def objects_of(prefix: str) -> list[tuple[str, int]]:
                client = server.client()
                return [(one.key, one.size) for kind in ("layers", "files")
                        for one in client.list(f"{prefix}/v1/{kind}/")]

            for rtt_ms in options.rtt_ms if options.only in (None, "push") else []:
                bench = Bench(server.port, rtt_ms, store, work)
                rows += bench.rows(live, objects_of)
                bench.proxy.stop()
            if rows:
                tables.append(table(rows))
            if options.only in (None, "lazy"):
                tables.append(lazy_table(lazy_rows(work, server.port, options.rtt_ms,
                                                   options.memory, options.touches)))
            if options.only in (None, "late"):
                rtt_ms = options.rtt_ms[len(options.rtt_ms) // 2]
                tables.append(f"{rtt_ms:g} ms, {options.late_s:g} s late:\n\n" + late_rows(
                    work, server.port, rtt_ms, 16, 500, options.resumes, options.late_share,
                    options.late_s))
    print(f"{options.server}, {options.memory} MiB of memory, load average "
          f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n\n" + "\n\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
