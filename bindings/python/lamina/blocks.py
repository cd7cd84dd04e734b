"""What headers, trailers and snapshot.json have in common. docs/format.md describes the bytes.

The decoders open no files. Each raises CorruptError on input that it cannot trust: every count is
compared with the bytes that are there before anything is made of it.
"""

from __future__ import annotations

import array
import struct
import sys
import uuid
from dataclasses import dataclass
from typing import Any, Optional

from .errors import CorruptError

BLOCK_BYTES = 4096
MAX_BLOCKS = 0xFFFFFFFF
MAX_LAYERS = 65534
NIL = uuid.UUID(int=0)


def blocks_for(size_bytes: int) -> int:
    """The number of blocks that hold so many bytes."""
    return -(-size_bytes // BLOCK_BYTES)


def column(code: str, data: bytes) -> array.array[Any]:
    """Numbers of a type of the module array, little-endian."""
    numbers: array.array[Any] = array.array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def u64_at(data: bytes, offset: int) -> int:
    """A little-endian number."""
    value: int = struct.unpack_from("<Q", data, offset)[0]
    return value


def check_memory_size(memory_bytes: int) -> int:
    """The blocks of a memory of this size. CorruptError if no memory has it."""
    blocks = blocks_for(memory_bytes)
    if not 1 <= blocks <= MAX_BLOCKS:
        raise CorruptError(f"memory size {memory_bytes}; 1 to {MAX_BLOCKS * BLOCK_BYTES} bytes "
                           "are supported")
    return blocks


@dataclass(frozen=True)
class FileDigest:
    """Size and XXH3-128 of a file that belongs to a snapshot."""

    size_bytes: int
    digest: bytes


@dataclass(frozen=True)
class LayerFact:
    """What a header or snapshot.json says about a layer."""

    build_id: uuid.UUID
    has_checksums: bool
    data_blocks: Optional[int] = None  # None: not said
