#!/usr/bin/env python3
"""remote prune aborts the multipart upload of a push that was killed, on a real object store.

A push of an object above 16 MiB is killed after the server has stored one of its parts. Then

  - the server lists an upload that nobody completes;
  - a prune leaves it: the push's pin protects it;
  - a prune to which the pin is past its time aborts it, and says so; the server lists none;
  - the next prune finds nothing, and the push can be repeated, verified and pulled.

An upload of another prefix of the bucket stays through all of that.

Environment: LAMINA is the binary. Exit codes: 0 all of this holds, 1 something does not, 77 the
server cannot be had.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean
sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from client_host import KILLED, Host, Violation  # noqa: E402
from faulty_proxy import Exchange, FaultyProxy  # noqa: E402
from memory_files import GuestMemory, program, random_memory, write_full  # noqa: E402
from s3_client import S3Client  # noqa: E402
from servers import SERVERS, Unavailable, running  # noqa: E402

EXIT_WRONG = 1
EXIT_SKIPPED = 77
MEMORY_BYTES = 40 << 20  # several parts
PINS_ARE_OLD_S = 2 * 24 * 3600


def is_part(exchange: Exchange) -> bool:
    """Whether the request uploads a part."""
    return exchange.method == "PUT" and "partNumber" in exchange.query


class Case:
    """One bucket, two prefixes of it, and a snapshot that is too large for one PUT."""

    def __init__(self, client: S3Client, proxy: FaultyProxy, work: Path) -> None:
        self._client, self._proxy, self._work = client, proxy, work
        self._memory: GuestMemory = random_memory(random.Random(17), MEMORY_BYTES, 1.0)
        write_full(work / "memory", self._memory)
        self._snapshot = work / "store" / "vm"
        self._snapshot.parent.mkdir()
        subprocess.run([program(), "ingest", str(work / "memory"), "--out", str(self._snapshot)],
                       check=True, capture_output=True)

    def run(self) -> None:
        """Raises Violation."""
        part = self._number_of_part()
        other, host = (Host(self._proxy, self._work, prefix) for prefix in ("other", "case"))
        for one in (other, host):
            self._killed_push(one, part)
        uploads = self._client.uploads("case/")
        self._prune(host, 0)
        self._expect("after a prune that the pin forbids", self._client.uploads("case/"), uploads)
        self._proxy.date_offset_s = PINS_ARE_OLD_S
        self._prune(host, len(uploads), "--dry-run")
        self._expect("after a dry run", self._client.uploads("case/"), uploads)
        self._prune(host, len(uploads))
        self._expect("after the prune", self._client.uploads("case/"), [])
        self._prune(host, 0)
        self._proxy.date_offset_s = 0.0
        if not self._client.uploads("other/"):
            raise Violation("a prune has aborted an upload of another prefix")
        self._push_again(host)

    def _number_of_part(self) -> int:
        """Which request of a push is its first part."""
        host = Host(self._proxy, self._work, "rehearsal")
        host.done("push", host.url, str(self._snapshot))
        part = next((one.number for one in self._proxy.exchanges if is_part(one)), None)
        if part is None:
            raise Violation("a push of a large object sends no parts: nothing is tested")
        if left := self._client.uploads("rehearsal/"):
            raise Violation(f"a push that has ended well leaves uploads: {left}")
        return part

    def _killed_push(self, host: Host, part: int) -> None:
        # The parts of a push are sent one after another, and the memory needs several.
        self._proxy.begin({part: "kill_after"})
        outcome = host.remote("push", host.url, str(self._snapshot))
        self._proxy.settle()
        parts = [one for one in self._proxy.spoiled() if is_part(one)]
        self._proxy.begin({})
        if outcome.code != KILLED or not parts:
            raise Violation(f"the push was not killed at a part: {outcome}")
        if not self._client.uploads(f"{host.prefix}/"):
            raise Violation("the killed push has left no upload that the server lists")

    @staticmethod
    def _prune(host: Host, expected: int, *options: str) -> None:
        report: dict[str, Any] = json.loads(
            host.done("prune", host.url, *options, "--json").stdout)
        if report["aborted_uploads"] != expected:
            raise Violation(f"prune {' '.join(options)} aborted {report['aborted_uploads']} "
                            f"uploads, not {expected}; notes: {report['notes']}")
        print(f"{' '.join(('prune', *options))}: {expected} uploads aborted", flush=True)

    @staticmethod
    def _expect(when: str, found: list[str], expected: list[str]) -> None:
        if found != expected:
            raise Violation(f"{when} the server lists the uploads {found}, not {expected}")

    def _push_again(self, host: Host) -> None:
        host.done("push", host.url, str(self._snapshot))
        host.done("verify", host.url, "--data")
        pulled = self._work / "pulled"
        pulled.mkdir()
        host.done("pull", host.url, "vm", "--store", str(pulled))
        out = self._work / "materialized"
        subprocess.run([program(), "materialize", str(pulled / "vm"), "--out", str(out)],
                       check=True, capture_output=True)
        if out.read_bytes() != self._memory.contents():
            raise Violation("what was pulled has other memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(SERVERS), default="seaweedfs")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lamina-uploads-") as directory:
        work = Path(directory)
        try:
            with running(options.server, options.cache, work / "server") as server:
                proxy = FaultyProxy(server.port)
                try:
                    Case(server.client(), proxy, work).run()
                finally:
                    proxy.stop()
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return EXIT_SKIPPED
        except Violation as violation:
            print(f"violation: {violation}")
            return EXIT_WRONG
    print(f"{options.server}: the upload of a killed push is aborted when its pin has expired")
    return 0


if __name__ == "__main__":
    sys.exit(main())
