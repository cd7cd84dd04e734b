"""Builds as E2B writes them, and a reader of them, without lamina's code: for test_e2b.py.

The layouts are those of docs/e2b.md. zstd and LZ4 are the system's libraries, through ctypes.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import random
import struct
import uuid
from dataclasses import dataclass, field
from pathlib import Path

PAGE_BYTES = 4096
HUGE_BYTES = 2 << 20
FRAME_BYTES = 2 << 20
NIL = bytes(16)
SUFFIX = ("", ".zstd", ".lz4")
NO_ENTRY = (0, bytes(32), 0, [])

ZSTD = ctypes.CDLL("libzstd.so.1")
LZ4 = ctypes.CDLL("liblz4.so.1")
for library, names in ((ZSTD, ("ZSTD_compressBound", "ZSTD_compress2", "ZSTD_decompress",
                               "ZSTD_findFrameCompressedSize")),
                       (LZ4, ("LZ4F_compressFrameBound", "LZ4F_compressFrame",
                              "LZ4F_decompress", "LZ4F_createDecompressionContext"))):
    for name in names:
        getattr(library, name).restype = ctypes.c_size_t
ZSTD.ZSTD_createCCtx.restype = ctypes.c_void_p
ZSTD.ZSTD_isError.restype = ctypes.c_uint
LZ4.LZ4F_isError.restype = ctypes.c_uint


class Lz4FrameInfo(ctypes.Structure):
    """LZ4F_frameInfo_t."""

    _fields_ = [("block_size", ctypes.c_int), ("block_mode", ctypes.c_int),
                ("content_checksum", ctypes.c_int), ("frame_type", ctypes.c_int),
                ("content_size", ctypes.c_ulonglong), ("dictionary", ctypes.c_uint),
                ("block_checksum", ctypes.c_int)]


class Lz4Preferences(ctypes.Structure):
    """LZ4F_preferences_t."""

    _fields_ = [("frame", Lz4FrameInfo), ("level", ctypes.c_int), ("auto_flush", ctypes.c_uint),
                ("favor_speed", ctypes.c_uint), ("reserved", ctypes.c_uint * 3)]


def lz4_frame(data: bytes, content_checksum: bool) -> bytes:
    """Blocks of 4 MiB, independent, with checksums of the blocks."""
    wanted = Lz4Preferences()
    wanted.frame.block_size = 7
    wanted.frame.block_mode = 1
    wanted.frame.block_checksum = 1
    wanted.frame.content_checksum = int(content_checksum)
    room = LZ4.LZ4F_compressFrameBound(ctypes.c_size_t(len(data)), ctypes.byref(wanted))
    out = ctypes.create_string_buffer(room)
    size = LZ4.LZ4F_compressFrame(out, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)),
                                  ctypes.byref(wanted))
    assert not LZ4.LZ4F_isError(ctypes.c_size_t(size))
    return out.raw[:size]


def zstd_frame(data: bytes) -> bytes:
    """One frame with a checksum of its contents."""
    context = ctypes.c_void_p(ZSTD.ZSTD_createCCtx())
    ZSTD.ZSTD_CCtx_setParameter(context, 201, 1)  # ZSTD_c_checksumFlag
    room = ZSTD.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(room)
    size = ZSTD.ZSTD_compress2(context, out, ctypes.c_size_t(room), data,
                               ctypes.c_size_t(len(data)))
    assert not ZSTD.ZSTD_isError(ctypes.c_size_t(size))
    ZSTD.ZSTD_freeCCtx(context)
    return out.raw[:size]


def decompress(kind: int, frame: bytes, size: int) -> bytes:
    """The contents of one whole frame."""
    out = ctypes.create_string_buffer(size + 1)
    if kind == 1:
        assert ZSTD.ZSTD_findFrameCompressedSize(frame, ctypes.c_size_t(len(frame))) == len(frame)
        got = ZSTD.ZSTD_decompress(out, ctypes.c_size_t(size + 1), frame,
                                   ctypes.c_size_t(len(frame)))
        assert got == size, got
        return out.raw[:size]
    context = ctypes.c_void_p()
    LZ4.LZ4F_createDecompressionContext(ctypes.byref(context), ctypes.c_uint(100))
    done = used = 0
    while True:
        room = ctypes.c_size_t(size + 1 - done)
        given = ctypes.c_size_t(len(frame) - used)
        hint = LZ4.LZ4F_decompress(context, ctypes.byref(out, done), ctypes.byref(room),
                                   frame[used:], ctypes.byref(given), None)
        assert not LZ4.LZ4F_isError(ctypes.c_size_t(hint))
        done += room.value
        used += given.value
        if hint == 0:
            break
        assert room.value or given.value
    LZ4.LZ4F_freeDecompressionContext(context)
    assert (done, used) == (size, len(frame))
    return out.raw[:size]


def varint(value: int) -> bytes:
    """Go's binary.PutUvarint."""
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> int:
    """Go's binary.PutVarint, before the bytes."""
    return (value << 1) ^ (value >> 63)


@dataclass
class Header:
    """A header; mappings are (first page, pages, build, storage page), zeros have build NIL."""

    version: int = 3
    block_bytes: int = PAGE_BYTES
    memory_bytes: int = 0
    generation: int = 0
    build: bytes = NIL
    base: bytes = NIL
    mappings: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    # build -> (bytes, SHA-256, compression, [(data offset, object offset, bytes, object bytes)])
    entries: dict[bytes, tuple[int, bytes, int, list[tuple[int, int, int, int]]]] = field(
        default_factory=dict)

    def records(self) -> bytes:
        """The mappings of versions 3 and 4."""
        return b"".join(struct.pack("<QQ16sQ", first * PAGE_BYTES, count * PAGE_BYTES, build,
                                    place * PAGE_BYTES)
                        for first, count, build, place in self.mappings)

    def columns(self) -> bytes:
        """The mapping of version 5."""
        stored = [run for run in self.mappings if run[2] != NIL]
        table = list(dict.fromkeys(run[2] for run in stored))
        out = struct.pack("<I", len(table)) + b"".join(table) + struct.pack("<I", len(stored))
        last = 0
        for run in stored:
            out += varint(run[0] - last)
            last = run[0]
        out += b"".join(varint(run[1]) for run in stored)
        last = 0
        for run in stored:
            out += varint(zigzag(run[3] - last))
            last = run[3]
        return out + b"".join(varint(table.index(run[2])) for run in stored)

    def block(self) -> bytes:
        """What versions 4 and 5 compress."""
        out = struct.pack("<I", len(self.entries))
        for build in sorted(self.entries):
            size, digest, kind, frames = self.entries[build]
            out += build + struct.pack("<q32sII", size, digest, kind, len(frames))
            out += b"".join(struct.pack("<qqii", *frame) for frame in frames)
        if self.version == 5:
            return out + self.columns()
        return out + struct.pack("<I", len(self.mappings)) + self.records()

    def metadata(self) -> bytes:
        """The first 64 bytes."""
        return struct.pack("<4Q16s16s", self.version, self.block_bytes, self.memory_bytes,
                           self.generation, self.build, self.base)

    def encode(self, flags: int = 0) -> bytes:
        """The file."""
        if self.version <= 3:
            return self.metadata() + self.records()
        block = self.block()
        return (self.metadata() + struct.pack("<BI", flags, len(block)) +
                lz4_frame(block, content_checksum=True))


class Cursor:
    """Takes numbers from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count:self.at]

    def get(self, form: str) -> tuple[int, ...]:
        """Numbers, little-endian."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def varint(self) -> int:
        """An unsigned number of variable length."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def decode(data: bytes) -> Header:
    """The reverse of Header.encode(), for headers that lamina wrote."""
    cursor = Cursor(data)
    header = Header(*cursor.get("4Q"))
    header.build, header.base = cursor.take(16), cursor.take(16)
    if header.version >= 4:
        flags, size = cursor.get("BI")
        assert flags == 0
        cursor = Cursor(decompress(2, data[cursor.at:], size))
        for _ in range(cursor.get("I")[0]):
            build = cursor.take(16)
            size, = cursor.get("q")
            digest = cursor.take(32)
            kind, count = cursor.get("II")
            assert build not in header.entries
            header.entries[build] = (size, digest, kind,
                                     [cursor.get("qqii") for _ in range(count)])
        assert list(header.entries) == sorted(header.entries)
    if header.version == 5:
        decode_columns(cursor, header)
    else:
        rest = len(data) - cursor.at
        count = cursor.get("I")[0] if header.version == 4 else rest // 40
        for _ in range(count):
            first, length = cursor.get("QQ")
            build = cursor.take(16)
            place, = cursor.get("Q")
            header.mappings.append((first // PAGE_BYTES, length // PAGE_BYTES, build,
                                    place // PAGE_BYTES))
    assert cursor.at == len(cursor.data)
    end = 0
    for first, count, _, _ in header.mappings:
        assert first == end and count > 0
        end += count
    assert end == -(-header.memory_bytes // PAGE_BYTES)
    return header


def decode_columns(cursor: Cursor, header: Header) -> None:
    """The mapping of version 5."""
    table = [cursor.take(16) for _ in range(cursor.get("I")[0])]
    count, = cursor.get("I")
    offsets: list[int] = []
    for _ in range(count):
        offsets.append(cursor.varint() + (offsets[-1] if offsets else 0))
    lengths = [cursor.varint() for _ in range(count)]
    places: list[int] = []
    for _ in range(count):
        value = cursor.varint()
        places.append((value >> 1 ^ -(value & 1)) + (places[-1] if places else 0))
    builds = [table[cursor.varint()] for _ in range(count)]
    end = 0
    for run in zip(offsets, lengths, builds, places):
        if run[0] > end:
            header.mappings.append((end, run[0] - end, NIL, 0))
        header.mappings.append(run)
        end = run[0] + run[1]
    pages = -(-header.memory_bytes // PAGE_BYTES)
    if end < pages:
        header.mappings.append((end, pages - end, NIL, 0))


def name_of(build: bytes) -> str:
    """A build's id as the name of its directory."""
    return str(uuid.UUID(bytes=build))


def read_memory(directory: Path, build: bytes) -> bytes:
    """The memory of a build that lamina exported: all digests and frames are checked."""
    header = decode((directory / name_of(build) / "memfile.header").read_bytes())
    assert header.build == build
    data: dict[bytes, bytes] = {}
    out = bytearray()
    for _, count, owner, place in header.mappings:
        if owner == NIL:
            out += bytes(count * PAGE_BYTES)
            continue
        if owner not in data:
            data[owner] = read_data(directory / name_of(owner), header, owner)
        part = data[owner][place * PAGE_BYTES:(place + count) * PAGE_BYTES]
        assert len(part) == count * PAGE_BYTES
        out += part
    return bytes(out[:header.memory_bytes])


def read_data(directory: Path, header: Header, build: bytes) -> bytes:
    """A whole data object, decompressed."""
    size, digest, kind, frames = header.entries.get(build, NO_ENTRY)
    raw = (directory / ("memfile" + SUFFIX[kind])).read_bytes()
    data = raw
    if kind:
        data = b"".join(decompress(kind, raw[place:place + packed], length)
                        for _, place, length, packed in frames)
        assert [frame[0] for frame in frames] == [
            sum(frame[2] for frame in frames[:i]) for i in range(len(frames))]
        assert sum(frame[3] for frame in frames) == len(raw)
    if header.version > 3:
        assert size == len(data) and hashlib.sha256(data).digest() == digest
    return data


class Guest:
    """Writes a chain of builds as E2B does: each pause stores the pages that changed."""

    def __init__(self, rng: random.Random, directory: Path, memory_bytes: int,
                 block_bytes: int = PAGE_BYTES) -> None:
        self.rng = rng
        self.directory = directory
        self.memory = bytearray(memory_bytes)
        self.block_bytes = block_bytes
        self.header = Header(block_bytes=block_bytes, memory_bytes=memory_bytes, generation=-1)
        self.places: list[tuple[bytes, int]] = [(NIL, 0)] * -(-memory_bytes // PAGE_BYTES)

    def page(self, number: int) -> bytes:
        """A page, whole."""
        begin = number * PAGE_BYTES
        return bytes(self.memory[begin:begin + PAGE_BYTES]).ljust(PAGE_BYTES, b"\0")

    def touch(self, pages: int, clears: int = 0) -> set[int]:
        """Changes random pages; returns them."""
        dirty = set()
        for i in range(pages + clears):
            number = self.rng.randrange(len(self.places))
            begin = number * PAGE_BYTES
            length = min(PAGE_BYTES, len(self.memory) - begin)
            data = bytes(PAGE_BYTES)
            if i < pages:
                data = self.rng.randbytes(256) + b"\x01" + bytes(3072) + self.rng.randbytes(767)
            self.memory[begin:begin + length] = data[:length]
            dirty.add(number)
        return dirty

    def blocks_of(self, dirty: set[int]) -> list[int]:
        """The pages to store: whole blocks with a dirty page."""
        per_block = self.block_bytes // PAGE_BYTES
        blocks = sorted({number // per_block for number in dirty})
        return [number for block in blocks
                for number in range(block * per_block,
                                    min((block + 1) * per_block, len(self.places)))]

    def mappings(self) -> list[tuple[int, int, bytes, int]]:
        """Runs of pages that are adjacent in the guest and in storage."""
        runs: list[tuple[int, int, bytes, int]] = []
        for number, (build, place) in enumerate(self.places):
            if runs:
                first, count, owner, begin = runs[-1]
                if owner == build and (build == NIL or begin + count == place):
                    runs[-1] = (first, count + 1, owner, begin)
                    continue
            runs.append((number, 1, build, place))
        return runs

    def pause(self, dirty: set[int], version: int, kind: int = 0, dedup: bool = False,
              frame_bytes: int = FRAME_BYTES, metadata: dict | None = None) -> bytes:
        """Writes a build, and returns its id. With `dedup`, pages of a block that did not change
        stay where they are."""
        build = uuid.UUID(int=self.rng.getrandbits(128)).bytes
        stored = sorted(dirty) if dedup else self.blocks_of(dirty)
        data = bytearray()
        per_block = self.block_bytes // PAGE_BYTES
        is_zero: dict[int, bool] = {}
        for number in stored:
            block = number if dedup else number // per_block * per_block
            span = 1 if dedup else per_block
            if block not in is_zero:
                part = self.memory[block * PAGE_BYTES:(block + span) * PAGE_BYTES]
                is_zero[block] = part == bytes(len(part))
            if is_zero[block]:
                self.places[number] = (NIL, 0)
                continue
            self.places[number] = (build, len(data) // PAGE_BYTES)
            data += self.page(number)
        self.header.version = version
        self.header.generation += 1
        self.header.build = build
        if self.header.generation == 0:
            self.header.base = build
        self.header.mappings = self.mappings()
        self.write(build, bytes(data), kind, frame_bytes)
        if metadata is not None:
            (self.directory / name_of(build) / "metadata.json").write_text(json.dumps(metadata))
        return build

    def write(self, build: bytes, data: bytes, kind: int, frame_bytes: int) -> None:
        """The objects, and the entry; entries of builds that are not used are dropped."""
        home = self.directory / name_of(build)
        home.mkdir(parents=True)
        frames = []
        raw = data
        if kind:
            raw = b""
            for begin in range(0, len(data), frame_bytes):
                part = data[begin:begin + frame_bytes]
                packed = zstd_frame(part) if kind == 1 else lz4_frame(part, False)
                frames.append((begin, len(raw), len(part), len(packed)))
                raw += packed
        if data:
            (home / ("memfile" + SUFFIX[kind])).write_bytes(raw)
            self.header.entries[build] = (len(data), hashlib.sha256(data).digest(), kind, frames)
        used = {run[2] for run in self.header.mappings} | {build}
        self.header.entries = {owner: entry for owner, entry in self.header.entries.items()
                               if owner in used}
        self.write_header()

    def write_header(self) -> Path:
        """Writes the header of the last build, with trimmed tables of its ancestors."""
        header = Header(**vars(self.header))
        if header.version <= 3:
            header.entries = {}
        else:
            header.entries = {build: entry if build == header.build else self.trimmed(build, entry)
                              for build, entry in header.entries.items()}
        path = self.directory / name_of(header.build) / "memfile.header"
        path.write_bytes(header.encode())
        return path

    def trimmed(self, build: bytes, entry: tuple[int, bytes, int, list]) -> tuple:
        """Without the frames that no mapping touches."""
        size, digest, kind, frames = entry
        if len(frames) <= 1:
            return entry
        runs = [(place * PAGE_BYTES, (place + count) * PAGE_BYTES)
                for _, count, owner, place in self.header.mappings if owner == build]
        return (size, digest, kind, [frame for frame in frames
                                     if any(begin < frame[0] + frame[2] and frame[0] < end
                                            for begin, end in runs)])
