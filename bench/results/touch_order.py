#!/usr/bin/env python3
"""How many faults an order of touches takes, and how much memory, by what is filled around each.

    bench/results/touch_order.py [WORKING-SET ...]

WORKING-SET is the file of a snapshot whose resume was recorded (`lamina serve --record`): the blocks
that a guest touched, in order (docs/format.md). Without one, only the two orders that
`lamina_bench --filter fault` has: all of 256 MiB at random, and a fifth of it.

The first table has runs of blocks from the fault on, and aligned windows around it, each filled
before the next touch. The second has a server for which other faults always wait, so that nothing
that was put off is ever filled: a window is filled at its n-th fault, or when the guest comes from
the window beside it; what all of it costs, at 7 us for a fault, and 2 us and 1.5 us a block for
filling a window (docs/performance.md). docs/decisions/0011-around-a-fault.md draws from both.
"""

from __future__ import annotations

import argparse
import random
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

HEADER = struct.Struct("<8sIIQQ")
RUN = struct.Struct("<II")
MAGIC = b"LAMINAWS"
SYNTHETIC_BLOCKS = 65536  # 256 MiB
WINDOW = 16
FAULT_US, FILL_US, BLOCK_US = 7.0, 2.0, 1.5

Order = list[int]


def read_working_set(path: Path) -> Order:
    """The blocks of a working set, each once."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SystemExit(f"'{path}': {error.strerror}") from error
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise SystemExit(f"'{path}' is not a working set")
    runs = HEADER.unpack_from(data)[2]
    if len(data) < HEADER.size + runs * RUN.size:
        raise SystemExit(f"'{path}' is cut off")
    blocks: dict[int, None] = {}
    for i in range(runs):
        first, count = RUN.unpack_from(data, HEADER.size + i * RUN.size)
        blocks.update(dict.fromkeys(range(first, first + count)))
    return list(blocks)


def fill_runs(order: Order, length: int) -> tuple[int, int]:
    """Faults, and blocks filled, when each fault fills up to `length` blocks from its own on."""
    filled: set[int] = set()
    faults = 0
    for block in order:
        if block in filled:
            continue
        faults += 1
        for at in range(block, block + length):
            if at in filled:
                break
            filled.add(at)
    return faults, len(filled)


def fill_windows(order: Order, length: int) -> tuple[int, int]:
    """The same when each fault fills the aligned window that it is in."""
    windows = {block // length for block in order}
    return len(windows), len(windows) * length


def fill_busily(order: Order, hot_fault: int) -> tuple[int, int, float]:
    """Faults, blocks filled and ms when a window is filled at this fault of it, the first being 1."""
    filled: set[int] = set()
    faults_in: Counter[int] = Counter()
    cost_us = 0.0
    for block in order:
        if block in filled:
            continue
        window = block // WINDOW
        faults_in[window] += 1
        cost_us += FAULT_US
        filled.add(block)
        reads_on = ((block % WINDOW == 0 and block - 1 in filled)
                    or (block % WINDOW == WINDOW - 1 and block + 1 in filled))
        if reads_on or faults_in[window] >= hot_fault:
            missing = set(range(window * WINDOW, (window + 1) * WINDOW)) - filled
            filled |= missing
            cost_us += FILL_US + BLOCK_US * len(missing)
    return sum(faults_in.values()), len(filled), cost_us / 1000


def synthetic() -> Iterable[tuple[str, Order]]:
    """Touches at random."""
    order = list(range(SYNTHETIC_BLOCKS))
    random.Random(1).shuffle(order)
    yield "a fifth of 256 MiB at random", order[:SYNTHETIC_BLOCKS // 5]
    yield "all of 256 MiB at random", order


def main() -> None:
    """Prints both tables for each order."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("working_sets", nargs="*", type=Path, metavar="WORKING-SET")
    given = parser.parse_args().working_sets
    for name, order in [*((str(path), read_working_set(path)) for path in given), *synthetic()]:
        print(f"{name}: {len(order)} blocks are touched")
        for length in (4, 16, 32, 64):
            runs, windows = fill_runs(order, length), fill_windows(order, length)
            print(f"  {length:4} blocks, run from the fault on: {runs[0]:6} faults, {runs[1]:6} "
                  f"filled; aligned window: {windows[0]:6} faults, {windows[1]:6} filled")
        for hot_fault in (1, 2, 3, 4, 6, 10**6):
            faults, blocks, cost_ms = fill_busily(order, hot_fault)
            when = "never filled" if hot_fault == 10**6 else f"filled at fault {hot_fault}"
            print(f"  windows of {WINDOW}, {when}: {faults:6} faults, {blocks:6} filled, "
                  f"{cost_ms:6.1f} ms")


if __name__ == "__main__":
    main()
