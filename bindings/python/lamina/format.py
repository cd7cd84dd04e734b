"""Decodes headers, trailers and snapshot.json. docs/format.md describes the bytes.

No file is opened here. Every function raises CorruptError on input that it cannot trust: every
count is compared with the bytes that are there before anything is made of it.
"""

from __future__ import annotations

import array
import bisect
import json
import struct
import sys
import uuid
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Tuple

from .errors import CorruptError
from .xxh3 import digest64

BLOCK_BYTES = 4096
MAX_BLOCKS = 0xFFFFFFFF
MAX_LAYERS = 65534
MAX_HEADER_BYTES = 2 << 30
MAX_FACTS_BYTES = 16 << 20
FOOTER_BYTES = 256
ZEROS = 0  # the layer number of zeros in an extent

_HEADER_MAGIC = b"LAMINAHD"
_HEADER_VERSION = 1
_HEADER_FIXED_BYTES = 256
_HEADER_FIXED = struct.Struct("<8sIIQII16s16s16sQIIIIQQQ16s")
_HEADER_LAYER = struct.Struct("<16sQII")
_HEADER_EXTENT_BYTES = 10
_HAS_VMSTATE = 1
_HAS_CHECKSUMS = 1
_V1_FIXED = struct.Struct("<QQQQ16s16s")
_V1_RECORD = struct.Struct("<QQ16sQ")
_V1_MAX_BLOCK_BYTES = 2 << 20
_FOOTER_MAGIC = b"LAMINATR"
_FOOTER_VERSION = 2
_FOOTER = struct.Struct("<8sIIII16s16s16sQQQIIIIIIQQQ")
_FOOTER_CHECKSUM_AT = FOOTER_BYTES - 8
_LAYOUTS = {1: "compact", 2: "adopted"}
_FACTS_VERSION = 1
NIL = uuid.UUID(int=0)


def blocks_for(size_bytes: int) -> int:
    """The number of blocks that hold so many bytes."""
    return -(-size_bytes // BLOCK_BYTES)


def _column(code: str, data: bytes) -> array.array[Any]:
    column: array.array[Any] = array.array(code)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _u64_at(data: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<Q", data, offset)[0]
    return value


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


def _check_memory_size(memory_bytes: int) -> int:
    blocks = blocks_for(memory_bytes)
    if not 1 <= blocks <= MAX_BLOCKS:
        raise CorruptError(f"memory size {memory_bytes}; 1 to {MAX_BLOCKS * BLOCK_BYTES} bytes "
                           "are supported")
    return blocks


def decode_header(data: bytes) -> Header:
    """Decodes a header of any version, and checks all of it that needs no layer."""
    if data.startswith(_HEADER_MAGIC):
        return _decode_native(data)
    if len(data) >= 8 and _u64_at(data, 0) in (1, 3):
        return _decode_v1(data)
    raise CorruptError(f"not a header: it begins with {data[:8].hex() or 'nothing'}, which is "
                       "neither the native magic nor version 1 or 3")


def _decode_native(data: bytes) -> Header:
    if len(data) < _HEADER_FIXED_BYTES:
        raise CorruptError(f"the header has {len(data)} bytes, fewer than its fixed part of "
                           f"{_HEADER_FIXED_BYTES}")
    (_, version, fixed_bytes, total_bytes, incompatible, _, pause, build, base, memory_bytes,
     block_bytes, flags, layer_count, extent_count, layers_checksum, extents_checksum,
     vmstate_bytes, vmstate_digest) = _HEADER_FIXED.unpack_from(data)
    if version != _HEADER_VERSION:
        raise CorruptError(f"the header has native version {version}; this package reads version "
                           f"{_HEADER_VERSION}")
    checksum_at = _HEADER_FIXED_BYTES - 8
    if (fixed_bytes != _HEADER_FIXED_BYTES
            or _u64_at(data, checksum_at) != digest64(data[:checksum_at])):
        raise CorruptError("the header's fixed part does not match its checksum")
    if incompatible:
        raise CorruptError(f"the header needs features {incompatible:#x} that this package does "
                           "not know")
    if block_bytes != BLOCK_BYTES:
        raise CorruptError(f"the header has blocks of {block_bytes} bytes; native headers have "
                           f"{BLOCK_BYTES}")
    layers_end = _HEADER_FIXED_BYTES + layer_count * _HEADER_LAYER.size
    expected = layers_end + extent_count * _HEADER_EXTENT_BYTES
    if total_bytes != expected or len(data) != expected:
        raise CorruptError(f"the header has {len(data)} bytes where its counts need {expected}")
    layers_part = data[_HEADER_FIXED_BYTES:layers_end]
    extents_part = data[layers_end:]
    if digest64(layers_part) != layers_checksum:
        raise CorruptError("the header's table of layers does not match its checksum")
    if digest64(extents_part) != extents_checksum:
        raise CorruptError("the header's extents do not match their checksum")
    block_count = _check_memory_size(memory_bytes)
    layers = tuple(
        LayerFact(uuid.UUID(bytes=raw), bool(layer_flags & _HAS_CHECKSUMS), blocks)
        for raw, blocks, layer_flags, _ in _HEADER_LAYER.iter_unpack(layers_part))
    starts = _column("I", extents_part[:4 * extent_count])
    storage = _column("I", extents_part[4 * extent_count:8 * extent_count])
    numbers = _column("H", extents_part[8 * extent_count:])
    ends = [*starts[1:], block_count] if extent_count else []
    table = _make_table(block_count, [layer.build_id for layer in layers],
                        zip(starts, ends, numbers, storage))
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
    block_count = _check_memory_size(memory_bytes)
    _check_memory_size(-(-memory_bytes // block_bytes) * block_bytes)
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
    if len(data) != FOOTER_BYTES or not data.startswith(_FOOTER_MAGIC):
        return None
    (_, version, footer_bytes, incompatible, _, build, pause, _, memory_bytes, data_bytes,
     trailer_bytes, block_bytes, layout, chain_count, replaces_count, extent_count, zero_count,
     checksum_count, lists_checksum, checksums_checksum) = _FOOTER.unpack_from(data)
    if version != _FOOTER_VERSION:
        raise CorruptError(f"the trailer has version {version}; this package reads version "
                           f"{_FOOTER_VERSION}")
    if (footer_bytes != FOOTER_BYTES
            or _u64_at(data, _FOOTER_CHECKSUM_AT) != digest64(data[:_FOOTER_CHECKSUM_AT])):
        raise CorruptError("the trailer's footer does not match its checksum")
    if incompatible:
        raise CorruptError(f"the trailer needs features {incompatible:#x} that this package does "
                           "not know")
    if block_bytes != BLOCK_BYTES:
        raise CorruptError(f"the trailer has blocks of {block_bytes} bytes, not {BLOCK_BYTES}")
    if layout not in _LAYOUTS:
        raise CorruptError(f"the trailer has layout {layout}; this package knows 1 and 2")
    blocks = _check_memory_size(memory_bytes)
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
    runs = _column("I", lists[16 * (footer.chain_count + footer.replaces_count):])
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
                      _column("Q", checksums))
    _check_apart(trailer, zeros[0::2], zeros[1::2])
    if stored != footer.checksum_count:
        raise CorruptError(f"the trailer has {footer.checksum_count} checksums, not one for each "
                           f"of {stored} stored blocks")
    needed = stored if footer.layout == "compact" else blocks
    if trailer.data_blocks != needed:
        raise CorruptError(f"the layer has {trailer.data_blocks} blocks of data where its trailer "
                           f"needs {needed}")
    return trailer


@dataclass(frozen=True)
class Facts:
    """snapshot.json."""

    pause_id: uuid.UUID
    build_id: uuid.UUID
    created: str
    generation: int
    memory_bytes: int
    header_format: str
    header: FileDigest
    vmstate: Optional[FileDigest]
    layers: Tuple[LayerFact, ...]
    parent_pause_id: Optional[uuid.UUID]
    parent: Optional[str]
    origin: Dict[str, str]


class _Fields:
    """Reads typed fields of a JSON object."""

    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise CorruptError(f"its field '{name}' is missing or wrong")
        self._fields: Dict[str, Any] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str, kind: type) -> Any:
        value = self._fields.get(name)
        if type(value) is not kind:  # a bool is no number here
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return value

    def number(self, name: str) -> int:
        value: int = self.get(name, int)
        if not 0 <= value < 1 << 64:
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return value

    def text(self, name: str) -> str:
        value: str = self.get(name, str)
        return value

    def id(self, name: str) -> uuid.UUID:
        try:
            value = uuid.UUID(self.text(name))
        except ValueError:
            raise CorruptError(f"its field '{name}' is missing or wrong") from None
        return value

    def digest(self, name: str) -> FileDigest:
        inner = _Fields(self._fields.get(name), name)
        size, text = inner.number("bytes"), inner.text("xxh3_128")
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) != 16 or digest.hex() != text:
            raise CorruptError(f"its field '{name}' is missing or wrong")
        return FileDigest(size, digest)


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def decode_facts(data: bytes) -> Facts:
    """Decodes snapshot.json."""
    try:
        parsed = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise CorruptError("it is not a JSON object") from None
    if not isinstance(parsed, dict):
        raise CorruptError("it is not a JSON object")
    fields = _Fields(parsed, "")
    version = fields.number("version")
    if version != _FACTS_VERSION:
        raise CorruptError(f"it has version {version}; this package reads version "
                           f"{_FACTS_VERSION}")
    header_format = fields.text("header_format")
    if header_format not in ("native", "v1", "v3"):
        raise CorruptError("its field 'header_format' is missing or wrong")
    layers = []
    for item in fields.get("layers", list):
        layer = _Fields(item, "layers")
        layers.append(LayerFact(layer.id("build_id"), bool(layer.get("checksums", bool))))
    origin = fields.get("origin", dict) if fields.has("origin") else {}
    if any(not isinstance(origin.get(name, ""), str)
           for name in ("vmm_version", "cpu", "kernel", "huge_pages")):
        raise CorruptError("its field 'origin' is missing or wrong")
    return Facts(
        pause_id=fields.id("pause_id"), build_id=fields.id("build_id"),
        created=fields.text("created"), generation=fields.number("generation"),
        memory_bytes=fields.number("memory_bytes"), header_format=header_format,
        header=fields.digest("header"),
        vmstate=fields.digest("vmstate") if fields.has("vmstate") else None,
        layers=tuple(layers),
        parent_pause_id=fields.id("parent_pause_id") if fields.has("parent_pause_id") else None,
        parent=fields.text("parent") if fields.has("parent") else None,
        origin={name: value for name, value in origin.items() if isinstance(value, str)})
