"""Stores for the console: of a few snapshots, and of thousands.

A thousand snapshots with different pauses are made in a second: with a version 1 header the pause
id is in snapshot.json only, which has no checksum. So header and layer are hard links.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from memory_files import LaminaTest, change_memory, random_memory

# Names of files and of parents that try to act on a page or a text.
HOSTILE_PARENTS = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>",
                   "\u202egnp.exe\u2066", "\x1b[31mred\x07", "a\"b'c&lt;d", "javascript:alert(3)")


def make_line(test: LaminaTest, count: int, memory_bytes: int = 1 << 20,
              writes: int = 8) -> list[Path]:
    """A full memory file and `count` - 1 diffs of some `writes` pages, each over the one before."""
    memory = random_memory(test.rng, memory_bytes)
    made = [test.ingest_full(memory, "web-1")]
    for number in range(2, count + 1):
        dirty = change_memory(test.rng, memory, writes)
        made.append(test.ingest_diff(memory, dirty, made[-1], f"web-{number}"))
    return made


def multiply(test: LaminaTest, count: int) -> None:
    """Adds `count` snapshots that share one layer: a template, and lines of ten pauses over it."""
    template = test.ingest_full(random_memory(test.rng, 1 << 16), "template", "--header", "v1")
    facts = json.loads((template / "snapshot.json").read_text())
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    parent: dict[str, Any] = {"name": "template", "id": facts["pause_id"]}
    for number in range(count):
        if number % 10 == 0:
            parent = {"name": "template", "id": facts["pause_id"]}
        name = f"box-{number // 10:04}-{number % 10}"
        pause_id = str(uuid.UUID(int=test.rng.getrandbits(128), version=4))
        made = test.store / name
        made.mkdir(mode=0o700)
        for file in template.iterdir():
            if file.name != "snapshot.json":
                os.link(file, made / file.name)
        hostile = HOSTILE_PARENTS[number // 10 % len(HOSTILE_PARENTS)] if number % 10 == 5 else None
        created = start + timedelta(minutes=number)
        (made / "snapshot.json").write_text(json.dumps({
            **facts, "pause_id": pause_id, "parent_pause_id": parent["id"],
            "parent": hostile or parent["name"], "created": created.strftime("%Y-%m-%dT%H:%M:%SZ")}))
        parent = {"name": name, "id": pause_id}
