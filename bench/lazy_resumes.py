"""Lazy resumes on an empty host, beside what they cannot be faster than.

`pack`: the snapshot has a recorded working set; the guest touches it. Beside: the same resume where
the layers are, six round trips, and curl for the bytes of the pack. `no pack`: the same touches of
a snapshot without a recorded working set. Beside: one request for each block that is touched, one
after the other (a sample of them is sent, and the time multiplied).
`late`: some requests are answered late; a line for the resumes without that, and one with it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from client_host import Host
from faulty_proxy import FaultyProxy
from lazy_host import Resume, Template, resume_elsewhere
from s3_client import S3Client
from servers import ACCESS_KEY, BUCKET, SECRET_KEY

MIB = 1 << 20
ROUND_TRIPS_BEFORE = 6
SAMPLED_FAULTS = 40
FAULT_BYTES = 32 << 10  # a frame of 64 KiB, compressed


@dataclass
class LazyRow:
    """One resume at one distance."""

    rtt_ms: float
    what: str
    resume: Resume
    beside: str
    beside_s: float


def lazy_rows(work: Path, port: int, rtts_ms: list[float], memory_mib: int,
              touches: int) -> list[LazyRow]:
    """A resume with a pack and one without for each distance."""
    fast = FaultyProxy(port)
    rows = []
    template = Template(work, Host(fast, work, "lazy"), _client(port), memory_mib, touches)
    fast.stop()
    local_s = min(template.resume_here() for _ in range(3))
    blocks = template.working_set_blocks()
    for rtt_ms in rtts_ms:
        proxy = FaultyProxy(port, round_trip_s=rtt_ms / 1000)
        url = Host(proxy, work, "lazy").url
        packs_s = _one_by_one_s(proxy, [(one.key, 0, one.size) for one in template.packs()])
        layer = max(template.layers(), key=lambda one: one.size)
        step = max(1, (layer.size - FAULT_BYTES) // SAMPLED_FAULTS)
        faults_s = _one_by_one_s(proxy, [(layer.key, number * step, FAULT_BYTES)
                                         for number in range(SAMPLED_FAULTS)])
        for what, beside, beside_s in (
                ("packed", f"local, {ROUND_TRIPS_BEFORE} RTT, pack",
                 local_s + ROUND_TRIPS_BEFORE * rtt_ms / 1000 + packs_s),
                ("bare", f"{blocks} requests", faults_s / SAMPLED_FAULTS * blocks)):
            resume = resume_elsewhere(template, work / "empty", url, what, proxy)
            rows.append(LazyRow(rtt_ms, "pack" if what == "packed" else "no pack", resume, beside,
                                beside_s))
        proxy.stop()
    return rows


def late_rows(work: Path, port: int, rtt_ms: float, memory_mib: int, touches: int, resumes: int,
              late_share: float, late_s: float) -> str:
    """A table of many resumes, without and with late answers."""
    (work / "late").mkdir()
    fast = FaultyProxy(port)
    template = Template(work / "late", Host(fast, work, "late"), _client(port), memory_mib,
                        touches)
    fast.stop()
    proxy = FaultyProxy(port, round_trip_s=rtt_ms / 1000)
    url = Host(proxy, work, "late").url
    lines = ["| late | resumes | p50, ms | p99, ms | max, ms | until it runs: p50, ms | p99, ms | "
             "requests, mean | ranges asked for twice |", "|---|---|---|---|---|---|---|---|---|"]
    for share in (0.0, late_share):
        proxy.late_share, proxy.late_s = share, late_s
        done = [resume_elsewhere(template, work / "empty", url, "bare", proxy)
                for _ in range(resumes)]
        touched = sorted(one.touched_s * 1000 for one in done)
        running = sorted(one.running_s * 1000 for one in done)
        requests = sum(one.requests for one in done)
        twice = sum(one.asked_twice for one in done)
        lines.append(f"| {share:.0%} | {resumes} | {statistics.median(touched):.0f} | "
                     f"{_percentile(touched, 99):.0f} | {touched[-1]:.0f} | "
                     f"{statistics.median(running):.0f} | {_percentile(running, 99):.0f} | "
                     f"{requests / resumes:.1f} | {twice} ({twice / requests:.2%} of all) |")
    proxy.stop()
    return "\n".join(lines)


def lazy_table(rows: list[LazyRow]) -> str:
    """Markdown."""
    lines = ["| RTT, ms | resume | until it runs: requests | round trips | s | until all is "
             "touched: requests | round trips | MiB | s | beside | s |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        one = row.resume
        lines.append(f"| {row.rtt_ms:g} | {row.what} | {one.requests_running} | "
                     f"{one.round_trips_running} | {one.running_s:.2f} | {one.requests} | "
                     f"{one.round_trips} | {one.received_bytes / MIB:.2f} | {one.touched_s:.2f} | "
                     f"{row.beside} | {row.beside_s:.2f} |")
    return "\n".join(lines)


def _client(port: int) -> S3Client:
    return S3Client(port, BUCKET, ACCESS_KEY, SECRET_KEY)


def _one_by_one_s(proxy: FaultyProxy, parts: list[tuple[str, int, int]]) -> float:
    """Fetches parts of objects, one after the other on one connection."""
    client = _client(proxy.port)
    client.get_range(parts[0][0], 0, 1)  # the connection is there
    start = time.monotonic()
    for key, offset, length in parts:
        client.get_range(key, offset, length)
    client.close()
    return time.monotonic() - start


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
