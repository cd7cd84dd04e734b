"""Decodes the trailer of a layer: what it stores, and the checksums of that."""

from __future__ import annotations

import array
import bisect
import struct
import uuid
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from .blocks import BLOCK_BYTES, MAX_LAYERS, blocks_for, check_memory_size, column, u64_at
from .errors import CorruptError
from .xxh3 import digest64

FOOTER_BYTES = 256

_MAGIC = b"LAMINATR"
_VERSION = 2
_FOOTER = struct.Struct("<8sIIII16s16s16sQQQIIIIIIQQQ")
_CHECKSUM_AT = FOOTER_BYTES - 8
_LAYOUTS = {1: "compact", 2: "adopted"}


@dataclass(frozen=True)
class Footer:
    """The last 256 bytes of a layer that lamina wrote."""

    build_id: uuid.UUID
    pause_id: uuid.UUID
    memory_bytes: int
    data_bytes: int
    trailer_bytes: int
    lists_bytes: int
    layout: str
    chain_count: int
    replaces_count: int
    extent_count: int
    zero_count: int
    checksum_count: int
    lists_checksum: int
    checksums_checksum: int


def decode_footer(data: bytes, file_bytes: int) -> Optional[Footer]:
    """Decodes the end of a file of `file_bytes` bytes; None: the layer has no trailer."""
    if len(data) != FOOTER_BYTES or not data.startswith(_MAGIC):
        return None
    (_, version, footer_bytes, incompatible, _, build, pause, _, memory_bytes, data_bytes,
     trailer_bytes, block_bytes, layout, chain_count, replaces_count, extent_count, zero_count,
     checksum_count, lists_checksum, checksums_checksum) = _FOOTER.unpack_from(data)
    if version != _VERSION:
        raise CorruptError(f"the trailer has version {version}; this package reads version "
                           f"{_VERSION}")
    if (footer_bytes != FOOTER_BYTES
            or u64_at(data, _CHECKSUM_AT) != digest64(data[:_CHECKSUM_AT])):
        raise CorruptError("the trailer's footer does not match its checksum")
    if incompatible:
        raise CorruptError(f"the trailer needs features {incompatible:#x} that this package does "
                           "not know")
    if block_bytes != BLOCK_BYTES:
        raise CorruptError(f"the trailer has blocks of {block_bytes} bytes, not {BLOCK_BYTES}")
    if layout not in _LAYOUTS:
        raise CorruptError(f"the trailer has layout {layout}; this package knows 1 and 2")
    blocks = check_memory_size(memory_bytes)
    if max(chain_count, replaces_count) > MAX_LAYERS:
        raise CorruptError(f"the trailer names {chain_count} and {replaces_count} layers; at most "
                           f"{MAX_LAYERS} are supported")
    if checksum_count > blocks:
        raise CorruptError(f"the trailer has {checksum_count} stored blocks of {blocks}")
    lists_bytes = 16 * (chain_count + replaces_count) + 8 * (extent_count + zero_count)
    expected = FOOTER_BYTES + lists_bytes + 8 * checksum_count
    if (trailer_bytes != expected or data_bytes % BLOCK_BYTES
            or data_bytes + expected != file_bytes):
        raise CorruptError(f"the trailer describes {data_bytes} bytes of data and {expected} of "
                           f"trailer; the file has {file_bytes} bytes")
    return Footer(uuid.UUID(bytes=build), uuid.UUID(bytes=pause), memory_bytes, data_bytes,
                  trailer_bytes, lists_bytes, _LAYOUTS[layout], chain_count, replaces_count,
                  extent_count, zero_count, checksum_count, lists_checksum, checksums_checksum)


@dataclass(frozen=True)
class Trailer:
    """What a layer stores, and the checksums of that."""

    footer: Footer
    chain: Tuple[uuid.UUID, ...]  # the other layers of its state, oldest first
    starts: array.array[Any]  # of each extent: the first guest block
    counts: array.array[Any]  # its number of blocks
    first_checksums: array.array[Any]  # the number of its first checksum
    checksums: array.array[Any]

    @property
    def data_blocks(self) -> int:
        """Blocks of data in the file."""
        return self.footer.data_bytes // BLOCK_BYTES

    def checksum_index(self, start: int, count: int, storage: int) -> Optional[int]:
        """The number of the first checksum of an extent of a header.

        None: it is not inside one extent of the trailer at the same place, so the header is wrong.
        """
        index = bisect.bisect_right(self.starts, start) - 1
        if index < 0:
            return None
        skipped = start - self.starts[index]
        if skipped + count > self.counts[index]:
            return None
        first: int = self.first_checksums[index]
        own = first if self.footer.layout == "compact" else self.starts[index]
        return first + skipped if storage == own + skipped else None


def _check_runs(starts: array.array[Any], counts: array.array[Any], blocks: int,
                what: str) -> None:
    end = -1
    for index, (start, count) in enumerate(zip(starts, counts)):
        if count == 0 or start <= end or start + count > blocks:
            raise CorruptError(f"{what} {index} of the trailer is [{start * BLOCK_BYTES:#x}, "
                               f"{(start + count) * BLOCK_BYTES:#x}): empty, out of order, "
                               "touching or past the memory")
        end = start + count


def _check_apart(trailer: Trailer, zero_starts: array.array[Any],
                 zero_counts: array.array[Any]) -> None:
    at = 0
    for start, count in zip(trailer.starts, trailer.counts):
        while at < len(zero_starts) and zero_starts[at] + zero_counts[at] <= start:
            at += 1
        if at < len(zero_starts) and zero_starts[at] < start + count:
            raise CorruptError(f"block {max(zero_starts[at], start) * BLOCK_BYTES:#x} of the "
                               "trailer is both stored and zero")


def decode_trailer(data: bytes, footer: Footer) -> Trailer:
    """Decodes the whole trailer, whose footer was decoded before."""
    lists = data[:footer.lists_bytes]
    checksums = data[footer.lists_bytes:footer.lists_bytes + 8 * footer.checksum_count]
    if len(data) != footer.trailer_bytes or digest64(lists) != footer.lists_checksum:
        raise CorruptError("the trailer's lists do not match their checksum")
    if digest64(checksums) != footer.checksums_checksum:
        raise CorruptError("the trailer's checksums do not match their checksum")
    chain = tuple(uuid.UUID(bytes=lists[at:at + 16])
                  for at in range(0, 16 * footer.chain_count, 16))
    runs = column("I", lists[16 * (footer.chain_count + footer.replaces_count):])
    extents, zeros = runs[:2 * footer.extent_count], runs[2 * footer.extent_count:]
    blocks = blocks_for(footer.memory_bytes)
    _check_runs(extents[0::2], extents[1::2], blocks, "extent")
    _check_runs(zeros[0::2], zeros[1::2], blocks, "zero extent")
    first_checksums: array.array[Any] = array.array("I")
    stored = 0
    for count in extents[1::2]:
        first_checksums.append(stored)
        stored += count
    trailer = Trailer(footer, chain, extents[0::2], extents[1::2], first_checksums,
                      column("Q", checksums))
    _check_apart(trailer, zeros[0::2], zeros[1::2])
    if stored != footer.checksum_count:
        raise CorruptError(f"the trailer has {footer.checksum_count} checksums, not one for each "
                           f"of {stored} stored blocks")
    needed = stored if footer.layout == "compact" else blocks
    if trailer.data_blocks != needed:
        raise CorruptError(f"the layer has {trailer.data_blocks} blocks of data where its trailer "
                           f"needs {needed}")
    return trailer
