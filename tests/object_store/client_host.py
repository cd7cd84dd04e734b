"""A host that runs lamina against one prefix of a bucket, and what must hold of that prefix."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

sys.path.append(str(Path(__file__).resolve().parent.parent / "e2e"))

from faulty_proxy import FaultyProxy  # noqa: E402
from memory_files import EXIT_DONE, program  # noqa: E402
from servers import ACCESS_KEY, BUCKET, SECRET_KEY  # noqa: E402

HANG_TIMEOUT_S = 300
KILLED = -9
RECORD_KIND_OFFSET = 24
KIND_OF_VOID = 2


def client_environment(access_key: str = ACCESS_KEY) -> dict[str, str]:
    """Nothing of the caller's own S3 settings."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith("AWS_") and not name.lower().endswith("_proxy")} | {
                "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@dataclass
class Outcome:
    """How one run of the program ended."""

    words: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"lamina {' '.join(self.words)}: exit {self.code}\n{self.stdout}{self.stderr}"


class Violation(Exception):
    """Something that must never be."""


class Host:
    """Runs the program against one prefix, through one proxy."""

    def __init__(self, proxy: FaultyProxy, work: Path, prefix: str, ca_file: Path | None = None,
                 command: tuple[str, ...] = ()) -> None:
        self.proxy, self.work, self.prefix = proxy, work, prefix
        self._command = command  # that runs the program: in a namespace, for example
        self.access_key = ACCESS_KEY
        scheme = "http" if ca_file is None else "https"
        more = "" if ca_file is None else f"&ca_file={ca_file}"
        self.url = (f"s3://{BUCKET}/{prefix}?endpoint={scheme}://{proxy.address}:{proxy.port}"
                    f"&region=us-east-1{more}")

    def run(self, *words: str) -> Outcome:
        """Runs a command to its end; the proxy can kill it."""
        with subprocess.Popen([*self._command, program(), *words], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              env=client_environment(self.access_key)) as process:
            self.proxy.on_kill = process.kill
            try:
                out, err = process.communicate(timeout=HANG_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise Violation(f"lamina {' '.join(words)} hangs") from error
        return Outcome(words, process.returncode, out, err)

    def remote(self, *words: str) -> Outcome:
        return self.run("remote", *words)

    def done(self, *words: str) -> Outcome:
        """A command that must succeed."""
        outcome = self.remote(*words)
        if outcome.code != EXIT_DONE:
            raise Violation(f"on a good day: {outcome}")
        return outcome


class ListedKey(Protocol):
    """An object in a list."""

    @property
    def key(self) -> str: ...


class Reader(Protocol):
    """S3Client, or another look at what a bucket has."""

    def list(self, prefix: str) -> Sequence[ListedKey]: ...

    def get(self, key: str) -> bytes: ...


def audit(client: Reader, prefix: str, names: set[str] | None,
          most_states: int = 1) -> set[str]:
    """After two prunes to which all pins were past their time, the prefix has exactly the objects
    that its records name, and of each name 1 to `most_states` states. With `names`, these are the
    names. Returns the objects."""
    keys = {one.key.removeprefix(f"{prefix}/") for one in client.list(f"{prefix}/")}
    records = {key: client.get(f"{prefix}/{key}") for key in keys
               if key.startswith("v1/snapshots/")}
    objects = {key for key in keys if key.startswith(("v1/layers/", "v1/packs/", "v1/files/"))}
    needed = {key for key in objects
              if any(key.encode() in record for record in records.values())}
    if objects != needed:
        raise Violation(f"left over: {sorted(objects - needed)}")
    # A tombstone on an object that is needed costs an upload, and may stay.
    others = {key for key in keys - objects - set(records) - {"v1/format"}
              if not (key.startswith("v1/tombstones/") and
                      any(one.split("/")[-1] in key for one in needed))}
    if others:
        raise Violation(f"left over: {sorted(others)}")
    states = Counter(key.split("/")[-1].split(".")[0] for key, record in records.items()
                     if record[RECORD_KIND_OFFSET] != KIND_OF_VOID)
    has_other_names = names is not None and set(states) != names
    if has_other_names or any(count > most_states for count in states.values()):
        raise Violation(f"the records are {sorted(records)}")
    return objects
