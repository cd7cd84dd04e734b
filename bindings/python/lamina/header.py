"""Decodes memfile.header: native headers, and versions 1 and 3."""

from __future__ import annotations

import array
import bisect
import struct
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from .blocks import (BLOCK_BYTES, MAX_BLOCKS, MAX_LAYERS, NIL, FileDigest, LayerFact, blocks_for,
                     check_memory_size, column, u64_at)
from .errors import CorruptError
from .xxh3 import digest64

MAX_HEADER_BYTES = 2 << 30
ZEROS = 0  # the layer number of zeros in an extent

_MAGIC = b"LAMINAHD"
_VERSION = 1
_FIXED_BYTES = 256
_FIXED = struct.Struct("<8sIIQII16s16s16sQIIIIQQQ16sQ")
_LAYER = struct.Struct("<16sQII")
_EXTENT_BYTES = 10
_HAS_VMSTATE = 1
_HAS_CHECKSUMS = 1
_COMPACT_EXTENTS = 1  # incompatible feature
_STATED_LAYER = 63
_MAX_COMPACT_EXTENTS = 1 << 27
_U32 = 0xFFFFFFFF
_V1_FIXED = struct.Struct("<QQQQ16s16s")
_V1_RECORD = struct.Struct("<QQ16sQ")
_V1_MAX_BLOCK_BYTES = 2 << 20


@dataclass
class ExtentTable:
    """The extents of a header in columns. They cover the memory without gaps.

    `layers` has numbers: 0 for zeros, else 1 + the index in the header's list of layers.
    """

    block_count: int
    starts: array.array[Any] = field(default_factory=lambda: array.array("I"))
    storage: array.array[Any] = field(default_factory=lambda: array.array("I"))
    layers: array.array[Any] = field(default_factory=lambda: array.array("H"))

    def __len__(self) -> int:
        return len(self.starts)

    def end(self, index: int) -> int:
        """The block after extent `index`."""
        end: int = self.starts[index + 1] if index + 1 < len(self.starts) else self.block_count
        return end

    def find(self, block: int) -> int:
        """The extent that contains `block`."""
        return bisect.bisect_right(self.starts, block) - 1


@dataclass(frozen=True)
class Header:
    """A header, whatever its version."""

    format: str
    pause_id: Optional[uuid.UUID]  # None in versions 1 and 3, which do not have it
    build_id: uuid.UUID
    base_build_id: uuid.UUID
    memory_bytes: int
    generation: int
    vmstate: Optional[FileDigest]
    layers: Tuple[LayerFact, ...]
    extents: ExtentTable


def _make_table(block_count: int, layers: List[uuid.UUID],
                extents: Iterable[Tuple[int, int, int, int]]) -> ExtentTable:
    """A checked table of (start, end, layer number, storage block); joins what is adjacent."""
    if len(layers) > MAX_LAYERS:
        raise CorruptError(f"{len(layers)} layers; at most {MAX_LAYERS} are supported")
    if NIL in layers:
        raise CorruptError("a layer has the nil build id")
    if len(set(layers)) != len(layers):
        raise CorruptError("a layer is listed twice")
    table = ExtentTable(block_count)
    expected = 0
    last_layer, next_storage = -1, -1
    for index, (start, end, layer, storage) in enumerate(extents):
        if start != expected:
            raise CorruptError(f"extent {index} starts at {start * BLOCK_BYTES:#x}, not at "
                               f"{expected * BLOCK_BYTES:#x} where the one before ends")
        if end <= start:
            raise CorruptError(f"extent {index} is empty")
        if end > block_count:
            raise CorruptError(f"extent {index} ends at {end * BLOCK_BYTES:#x}, past the memory's "
                               f"end {block_count * BLOCK_BYTES:#x}")
        if layer > len(layers):
            raise CorruptError(f"extent {index} names layer {layer} of {len(layers)}")
        if layer == ZEROS and storage != 0:
            raise CorruptError(f"extent {index} is zeros but has storage offset "
                               f"{storage * BLOCK_BYTES:#x}")
        if storage + end - start > MAX_BLOCKS:
            raise CorruptError(f"extent {index} has storage offset {storage * BLOCK_BYTES:#x}, "
                               "past what a layer can hold")
        if layer != last_layer or (layer != ZEROS and storage != next_storage):
            table.starts.append(start)
            table.storage.append(storage)
            table.layers.append(layer)
        expected, last_layer, next_storage = end, layer, storage + end - start
    if expected != block_count:
        raise CorruptError(f"the extents end at {expected * BLOCK_BYTES:#x}, before the memory's "
                           f"end {block_count * BLOCK_BYTES:#x}")
    return table


def decode_header(data: bytes) -> Header:
    """Decodes a header of any version, and checks all of it that needs no layer."""
    if data.startswith(_MAGIC):
        return _decode_native(data)
    if len(data) >= 8 and u64_at(data, 0) in (1, 3):
        return _decode_v1(data)
    raise CorruptError(f"not a header: it begins with {data[:8].hex() or 'nothing'}, which is "
                       "neither the native magic nor version 1 or 3")


def _column_extents(part: bytes, count: int, _: int,
                    block_count: int) -> Iterable[Tuple[int, int, int, int]]:
    """The (start, end, layer number, storage block) of extents in columns."""
    starts = column("I", part[:4 * count])
    storage = column("I", part[4 * count:8 * count])
    numbers = column("H", part[8 * count:])
    ends = [*starts[1:], block_count] if count else []
    return zip(starts, ends, numbers, storage)


class _Stated:
    """What compact extents state beside their two bytes."""

    def __init__(self, part: bytes, at: int) -> None:
        self._part = part
        self.at = at

    def number(self, size: int) -> int:
        """The next number of `size` bytes."""
        if self.at + size > len(self._part):
            raise CorruptError(f"the header's extents need more than {len(self._part)} bytes")
        self.at += size
        return int.from_bytes(self._part[self.at - size:self.at], "little")

    def storage(self, rule: int, follows: int, distance: int, start: int) -> int:
        """The storage block of an extent, see docs/format.md."""
        if rule == 0:
            return follows
        if rule == 1:
            return start + distance & _U32
        return follows + self.number(1) & _U32 if rule == 2 else self.number(4)


def _compact_extents(part: bytes, count: int, layer_count: int,
                     _: int) -> Iterator[Tuple[int, int, int, int]]:
    """The (start, end, layer number, storage block) of extents in the compact form."""
    if count > _MAX_COMPACT_EXTENTS or 2 * count > len(part):
        raise CorruptError(f"the header has {count} extents in {len(part)} bytes; each has at "
                           "least 2")
    stated = _Stated(part, 2 * count)
    # Of each layer: where its previous extent ended, and its storage block - guest block.
    follows = [0] * (layer_count + 1)
    distance = [0] * (layer_count + 1)
    start = 0
    for index in range(count):
        tag = part[index]
        layer = tag >> 2
        if layer == _STATED_LAYER:
            layer = stated.number(2)
        if layer > layer_count:
            raise CorruptError(f"extent {index} names layer {layer} of {layer_count}")
        if layer == ZEROS and tag != 0:
            raise CorruptError(f"extent {index} is zeros but has tag {tag:#x}")
        storage = 0
        if layer != ZEROS:
            storage = stated.storage(tag & 3, follows[layer], distance[layer], start)
        length = part[count + index] or stated.number(4)
        yield start, start + length, layer, storage
        follows[layer], distance[layer] = storage + length & _U32, storage - start & _U32
        start += length
    if stated.at != len(part):
        raise CorruptError(f"the header's extents need fewer than {len(part)} bytes")


def _decode_native(data: bytes) -> Header:
    if len(data) < _FIXED_BYTES:
        raise CorruptError(f"the header has {len(data)} bytes, fewer than its fixed part of "
                           f"{_FIXED_BYTES}")
    (_, version, fixed_bytes, total_bytes, incompatible, _, pause, build, base, memory_bytes,
     block_bytes, flags, layer_count, extent_count, layers_checksum, extents_checksum,
     vmstate_bytes, vmstate_digest, compact_bytes) = _FIXED.unpack_from(data)
    if version != _VERSION:
        raise CorruptError(f"the header has native version {version}; this package reads version "
                           f"{_VERSION}")
    checksum_at = _FIXED_BYTES - 8
    if (fixed_bytes != _FIXED_BYTES
            or u64_at(data, checksum_at) != digest64(data[:checksum_at])):
        raise CorruptError("the header's fixed part does not match its checksum")
    if incompatible & ~_COMPACT_EXTENTS:
        raise CorruptError(f"the header needs features {incompatible & ~_COMPACT_EXTENTS:#x} that "
                           "this package does not know")
    is_compact = bool(incompatible & _COMPACT_EXTENTS)
    if block_bytes != BLOCK_BYTES:
        raise CorruptError(f"the header has blocks of {block_bytes} bytes; native headers have "
                           f"{BLOCK_BYTES}")
    layers_end = _FIXED_BYTES + layer_count * _LAYER.size
    expected = layers_end + (compact_bytes if is_compact else extent_count * _EXTENT_BYTES)
    if total_bytes != expected or len(data) != expected:
        raise CorruptError(f"the header has {len(data)} bytes where its counts need {expected}")
    layers_part = data[_FIXED_BYTES:layers_end]
    extents_part = data[layers_end:]
    if digest64(layers_part) != layers_checksum:
        raise CorruptError("the header's table of layers does not match its checksum")
    if digest64(extents_part) != extents_checksum:
        raise CorruptError("the header's extents do not match their checksum")
    block_count = check_memory_size(memory_bytes)
    layers = tuple(
        LayerFact(uuid.UUID(bytes=raw), bool(layer_flags & _HAS_CHECKSUMS), blocks)
        for raw, blocks, layer_flags, _ in _LAYER.iter_unpack(layers_part))
    decode = _compact_extents if is_compact else _column_extents
    table = _make_table(block_count, [layer.build_id for layer in layers],
                        decode(extents_part, extent_count, len(layers), block_count))
    for index, number in enumerate(table.layers):
        blocks = table.storage[index] + table.end(index) - table.starts[index]
        limit = layers[number - 1].data_blocks if number != ZEROS else None
        if limit is not None and blocks > limit:
            raise CorruptError(f"extent {index} ends at {blocks * BLOCK_BYTES:#x} of layer "
                               f"{layers[number - 1].build_id}, past its data's end "
                               f"{limit * BLOCK_BYTES:#x}")
    build_id = uuid.UUID(bytes=build)
    if all(layer.build_id != build_id for layer in layers):
        raise CorruptError(f"the header's build id {build_id} is not in its table of layers")
    return Header(
        format="native", pause_id=uuid.UUID(bytes=pause), build_id=build_id,
        base_build_id=uuid.UUID(bytes=base), memory_bytes=memory_bytes,
        generation=layer_count - 1,
        vmstate=FileDigest(vmstate_bytes, vmstate_digest) if flags & _HAS_VMSTATE else None,
        layers=layers, extents=table)


def _check_record(index: int, offset: int, length: int, build: bytes, storage: int,
                  block_bytes: int, memory_bytes: int) -> None:
    rounded = -(-memory_bytes // block_bytes) * block_bytes
    if offset >= memory_bytes:
        raise CorruptError(f"extent {index} starts at {offset:#x}, past memory size "
                           f"{memory_bytes:#x}")
    end = offset + length
    if length == 0 or end > rounded:
        raise CorruptError(f"extent {index} ends at {end:#x}: empty, or past memory size "
                           f"{memory_bytes:#x}")
    if end % block_bytes != 0 and end != memory_bytes:
        raise CorruptError(f"extent {index} has length {length:#x}, not a multiple of block size "
                           f"{block_bytes:#x}")
    if build == NIL.bytes:
        return
    if storage % block_bytes != 0 or storage + length > MAX_BLOCKS * BLOCK_BYTES:
        raise CorruptError(f"extent {index} has storage offset {storage:#x}: not a multiple of "
                           f"block size {block_bytes:#x}, or too large")


def _decode_v1(data: bytes) -> Header:
    if len(data) < _V1_FIXED.size or (len(data) - _V1_FIXED.size) % _V1_RECORD.size:
        raise CorruptError(f"the header has {len(data)} bytes; it must have {_V1_FIXED.size} and "
                           f"{_V1_RECORD.size} per extent")
    version, block_bytes, memory_bytes, generation, build, base = _V1_FIXED.unpack_from(data)
    if (not BLOCK_BYTES <= block_bytes <= _V1_MAX_BLOCK_BYTES
            or block_bytes & (block_bytes - 1)):
        raise CorruptError(f"the header has block size {block_bytes}; powers of two from "
                           f"{BLOCK_BYTES} to {_V1_MAX_BLOCK_BYTES} are supported")
    block_count = check_memory_size(memory_bytes)
    check_memory_size(-(-memory_bytes // block_bytes) * block_bytes)
    if build == NIL.bytes:
        raise CorruptError("the header's build id is nil")
    records = list(_V1_RECORD.iter_unpack(data[_V1_FIXED.size:]))
    if not records:
        records = [(0, memory_bytes, build, 0)]
    # The base first, the own build last, the others by first appearance.
    order: Dict[bytes, int] = {}
    named = [record[2] for record in records]
    for raw in ([base] if base in named else []) + named:
        if raw not in (build, NIL.bytes):
            order.setdefault(raw, len(order) + 1)
    order[build] = len(order) + 1
    extents: List[Tuple[int, int, int, int]] = []
    expected = 0
    for index, (offset, length, raw, storage) in enumerate(records):
        if offset != expected:
            raise CorruptError(f"extent {index} starts at {offset:#x}, not at {expected:#x} where "
                               "the one before ends")
        _check_record(index, offset, length, raw, storage, block_bytes, memory_bytes)
        expected = offset + length
        number = order.get(raw, ZEROS)
        start, end = offset // BLOCK_BYTES, min(blocks_for(expected), block_count)
        if end > start:
            extents.append((start, end, number,
                            0 if number == ZEROS else storage // BLOCK_BYTES))
    if expected < memory_bytes:
        raise CorruptError(f"the extents end at {expected:#x}, before memory size "
                           f"{memory_bytes:#x}")
    layers = [uuid.UUID(bytes=raw) for raw in order]
    return Header(
        format="v3" if version == 3 else "v1", pause_id=None, build_id=uuid.UUID(bytes=build),
        base_build_id=uuid.UUID(bytes=base), memory_bytes=memory_bytes, generation=generation,
        vmstate=None, layers=tuple(LayerFact(layer, False) for layer in layers),
        extents=_make_table(block_count, layers, extents))
