"""Reads the memory of a snapshot in place, without the daemon and without the C++ library.

    with lamina.Snapshot.open("/var/lib/lamina/store/web-1") as snapshot:
        page = snapshot.read(0x1000, 4096)

Every block is compared with its checksum before a byte of it is returned. A snapshot is opened by
descriptor: if it is merged, replaced or removed afterwards, the open one still reads the same
state.
"""

from __future__ import annotations

import os
import stat
import types
import uuid
from dataclasses import dataclass
from typing import Dict, Iterator, List, NoReturn, Optional, Tuple, Type, Union

from . import format as _format
from .errors import (BusyError, CorruptError, FailedError, LaminaError, NotFoundError, UsageError,
                     error_of_call)
from .format import BLOCK_BYTES, ZEROS
from .xxh3 import digest64, digest128

_HEADER = "memfile.header"
_FACTS = "snapshot.json"
_VMSTATE = "snapfile"
_LEGACY_LAYER = "memfile"
_MAX_VMSTATE_BYTES = 256 << 20
_OPEN_ATTEMPTS = 20
_CHUNK_BLOCKS = 256
# A longer piece of metadata must be free of holes before memory is used for it: a sparse file can
# have any size.
_MAX_UNCHECKED_BYTES = 1 << 20

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Extent:
    """A run of guest memory and where it is stored. All numbers are bytes."""

    offset: int
    length: int
    build_id: Optional[uuid.UUID]  # None: zeros
    storage_offset: int


@dataclass(frozen=True)
class LayerInfo:
    """A layer of an open snapshot."""

    build_id: uuid.UUID
    path: str  # when the snapshot was opened; the name may be another file's by now
    has_checksums: bool  # False: written by wrenn, and read unchecked
    layout: Optional[str]  # compact or adopted; None: written by wrenn
    data_bytes: int
    file_bytes: int


class _File:
    """An open regular file."""

    def __init__(self, directory: int, name: str, path: str) -> None:
        self.path = path
        try:
            # O_NONBLOCK: if it is a FIFO, the open must not hang.
            self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY,
                              dir_fd=directory)
        except OSError as error:
            raise error_of_call(error, path) from error
        try:
            status = os.fstat(self.fd)
        except OSError as error:
            self.close()
            raise error_of_call(error, path) from error
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise FailedError(f"'{path}' is not a file")
        self.size_bytes = status.st_size

    def close(self) -> None:
        os.close(self.fd)

    def read(self, offset: int, length: int) -> bytes:
        """Reads up to `length` bytes; fewer only at the end of the file."""
        pieces: List[bytes] = []
        while length > 0:
            try:
                piece = os.pread(self.fd, min(length, 1 << 30), offset)
            except OSError as error:
                raise error_of_call(error, self.path) from error
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def require_stored(self, start: int, end: int) -> None:
        """CorruptError if a part of [start, end) was never written."""
        try:
            hole = os.lseek(self.fd, start, os.SEEK_HOLE) if start < end else end
        except OSError as error:
            raise error_of_call(error, self.path) from error
        if hole < end:
            raise CorruptError(f"'{self.path}' has a hole at {hole:#x}: it was never written whole")

    def read_whole(self, limit_bytes: int) -> bytes:
        """All of it."""
        if self.size_bytes > limit_bytes:
            raise CorruptError(f"'{self.path}' has {self.size_bytes} bytes; at most {limit_bytes} "
                               "are supported")
        data = self.read(0, self.size_bytes + 1)
        if len(data) != self.size_bytes:
            raise CorruptError(f"'{self.path}' has {len(data)} bytes, not the {self.size_bytes} "
                               "that it had when it was opened")
        return data


class _Layer:
    """An open layer file."""

    def __init__(self, file: _File, build_id: uuid.UUID, expect_trailer: bool) -> None:
        self.file = file
        self.build_id = build_id
        self.trailer = self._read_trailer()
        if self.trailer is None:
            if expect_trailer:
                raise CorruptError(f"layer '{file.path}' has no trailer, but was written with one: "
                                   "it is truncated or altered")
            self.data_blocks = _format.blocks_for(file.size_bytes)
            return
        if self.trailer.footer.build_id != build_id:
            raise CorruptError(f"layer '{file.path}' holds build {self.trailer.footer.build_id}, "
                               f"not {build_id}")
        self.data_blocks = self.trailer.data_blocks

    def _read_trailer(self) -> Optional[_format.Trailer]:
        file = self.file
        if file.size_bytes < _format.FOOTER_BYTES:
            return None
        end = file.read(file.size_bytes - _format.FOOTER_BYTES, _format.FOOTER_BYTES)
        try:
            footer = _format.decode_footer(end, file.size_bytes)
            if footer is None:
                return None
            start = file.size_bytes - footer.trailer_bytes
            if footer.trailer_bytes > _MAX_UNCHECKED_BYTES:
                file.require_stored(start, file.size_bytes)
            return _format.decode_trailer(file.read(start, footer.trailer_bytes), footer)
        except CorruptError as error:
            _add_context(f"layer '{file.path}'", error)

    def info(self) -> LayerInfo:
        return LayerInfo(self.build_id, self.file.path, self.trailer is not None,
                         self.trailer.footer.layout if self.trailer else None,
                         self.data_blocks * BLOCK_BYTES, self.file.size_bytes)

    def check_extent(self, start: int, count: int, storage: int) -> None:
        """CorruptError if an extent of a header does not lie inside this layer."""
        if storage + count > self.data_blocks:
            raise CorruptError(f"extent at {start * BLOCK_BYTES:#x} ends at "
                               f"{(storage + count) * BLOCK_BYTES:#x} of layer "
                               f"'{self.file.path}', past its data's end "
                               f"{self.data_blocks * BLOCK_BYTES:#x}")
        if (self.trailer is not None
                and self.trailer.checksum_index(start, count, storage) is None):
            raise CorruptError(f"extent at {start * BLOCK_BYTES:#x} of {count} blocks at storage "
                               f"offset {storage * BLOCK_BYTES:#x} does not match the trailer of "
                               f"layer '{self.file.path}'")

    def read(self, start: int, count: int, storage: int) -> bytes:
        """Reads blocks of an extent that was checked, and checks each."""
        data = self.file.read(storage * BLOCK_BYTES, count * BLOCK_BYTES)
        missing = count * BLOCK_BYTES - len(data)
        if missing:
            # Only the last block of a layer without trailer may be short.
            at_end = storage * BLOCK_BYTES + len(data) == self.file.size_bytes
            if self.trailer is not None or not at_end or missing >= BLOCK_BYTES:
                raise CorruptError(f"layer '{self.file.path}' ends at "
                                   f"{storage * BLOCK_BYTES + len(data):#x}, before "
                                   f"{(storage + count) * BLOCK_BYTES:#x}: it is truncated")
            data += bytes(missing)
        if self.trailer is None:
            return data
        first = self.trailer.checksum_index(start, count, storage)
        if first is None:
            raise CorruptError(f"layer '{self.file.path}' does not store guest block {start}")
        checksums = self.trailer.checksums
        for index in range(count):
            block = data[index * BLOCK_BYTES:(index + 1) * BLOCK_BYTES]
            if digest64(block) != checksums[first + index]:
                raise CorruptError(f"layer '{self.file.path}': the block at "
                                   f"{(storage + index) * BLOCK_BYTES:#x} (guest "
                                   f"{(start + index) * BLOCK_BYTES:#x}) does not match its "
                                   "checksum")
        return data


def _add_context(context: str, error: CorruptError) -> NoReturn:
    raise CorruptError(f"{context}: {error.message}", remedy=error.remedy) from error


class _Missing(Exception):
    """A file of the snapshot is missing: perhaps the snapshot was replaced meanwhile."""

    def __init__(self, error: NotFoundError) -> None:
        super().__init__(str(error))
        self.error = error


class Snapshot:
    """An open snapshot. `open()` makes one.

    Reads may run in several threads. Do not close it while one runs.
    """

    def __init__(self, path: str, directory: int) -> None:
        """Use `open()`. Takes the descriptor `directory`, except if it fails."""
        self._files: List[_File] = []
        self._path = path
        try:
            self._read_all(directory)
        except BaseException:
            self._close_files()
            raise
        self._directory = directory
        self._is_open = True

    @classmethod
    def open(cls, path: PathLike) -> Snapshot:
        """Opens the snapshot at `path` (STORE/NAME), and checks header, facts and trailers.

        Reads the metadata of all blocks: keep the object for many reads. NotFoundError: the
        snapshot or a layer is missing; UsageError: `path` is a file; CorruptError: a file's
        contents are wrong or of an unknown version; BusyError: the snapshot was replaced again and
        again meanwhile.
        """
        name = os.fspath(path)
        for _ in range(_OPEN_ATTEMPTS):
            directory = cls._open_directory(name)
            try:
                return cls(name, directory)
            except _Missing as missing:
                if not cls._was_replaced(name, directory):
                    os.close(directory)
                    raise missing.error from None
                os.close(directory)
            except BaseException:
                os.close(directory)
                raise
        raise BusyError(f"snapshot '{name}' was replaced again and again while it was opened",
                        remedy="try again")

    @staticmethod
    def _open_directory(path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            if os.path.exists(path):
                raise UsageError(f"'{path}' is a file; a snapshot is the directory that holds "
                                 f"{_HEADER} and the layers") from None
            raise NotFoundError(f"snapshot '{path}' does not exist") from None
        except FileNotFoundError:
            raise NotFoundError(f"snapshot '{path}' does not exist") from None
        except OSError as error:
            raise error_of_call(error, path) from error

    @staticmethod
    def _was_replaced(path: str, directory: int) -> bool:
        try:
            return not os.path.samestat(os.stat(path), os.fstat(directory))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _read_all(self, directory: int) -> None:
        facts = self._read_facts(directory)
        header = self._read_header(directory, facts)
        checked = {fact.build_id for fact in (header.layers if header.format == "native"
                                              else facts.layers if facts else ())
                   if fact.has_checksums}
        layers = [self._open_layer(directory, header, fact, fact.build_id in checked)
                  for fact in header.layers]
        table = header.extents
        for index, number in enumerate(table.layers):
            if number == ZEROS:
                continue
            start = table.starts[index]
            try:
                layers[number - 1].check_extent(start, table.end(index) - start,
                                                table.storage[index])
            except CorruptError as error:
                _add_context(f"header '{self._path}/{_HEADER}'", error)
        self._vmstate_digest = (header.vmstate if header.format == "native"
                                else facts.vmstate if facts else None)
        self._vmstate: Union[_File, NotFoundError]
        try:
            self._vmstate = self._open(directory, _VMSTATE)
        except _Missing as missing:
            if self._was_replaced(self._path, directory):
                raise
            self._vmstate = missing.error
        self._facts, self._header, self._layers = facts, header, layers

    def _open(self, directory: int, name: str) -> _File:
        try:
            file = _File(directory, name, f"{self._path}/{name}")
        except NotFoundError as error:
            raise _Missing(error) from None
        self._files.append(file)
        return file

    def _read_facts(self, directory: int) -> Optional[_format.Facts]:
        try:
            data = self._open(directory, _FACTS).read_whole(_format.MAX_FACTS_BYTES)
        except _Missing:  # a directory that wrenn wrote has none
            return None
        try:
            return _format.decode_facts(data)
        except CorruptError as error:
            raise CorruptError(f"'{self._path}/{_FACTS}' is damaged ({error.message})",
                               remedy=f"run: lamina repair {self._path}") from error

    def _read_header(self, directory: int, facts: Optional[_format.Facts]) -> _format.Header:
        file = self._open(directory, _HEADER)
        file.require_stored(0, file.size_bytes)
        data = file.read_whole(_format.MAX_HEADER_BYTES)
        try:
            header = _format.decode_header(data)
        except CorruptError as error:
            _add_context(f"header '{self._path}/{_HEADER}'", error)
        if facts is None:
            return header
        # Versions 1 and 3 have no checksum of their own.
        if header.format != "native" and facts.header != _format.FileDigest(len(data),
                                                                            digest128(data)):
            raise CorruptError(f"header '{self._path}/{_HEADER}' does not match the digest in "
                               f"{_FACTS}", remedy=f"run: lamina repair {self._path}")
        if (header.build_id != facts.build_id or header.memory_bytes != facts.memory_bytes
                or header.pause_id not in (None, facts.pause_id)):
            raise CorruptError(f"'{self._path}/{_FACTS}' and '{self._path}/{_HEADER}' describe "
                               "different snapshots")
        return header

    def _open_layer(self, directory: int, header: _format.Header, fact: _format.LayerFact,
                    expect_trailer: bool) -> _Layer:
        try:
            file = self._open(directory, f"memfile.{fact.build_id}")
        except _Missing:
            if header.format == "native" or len(header.layers) != 1:
                raise
            file = self._open(directory, _LEGACY_LAYER)
        layer = _Layer(file, fact.build_id, expect_trailer)
        if fact.data_blocks not in (None, layer.data_blocks):
            raise CorruptError(f"layer '{file.path}' has {layer.data_blocks} blocks of data, but "
                               f"the header says {fact.data_blocks}: it was truncated or replaced")
        if (layer.trailer is not None
                and layer.trailer.footer.memory_bytes != header.memory_bytes):
            raise CorruptError(f"layer '{file.path}' is of {layer.trailer.footer.memory_bytes} "
                               f"bytes of memory, the header of {header.memory_bytes}")
        return layer

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

    def close(self) -> None:
        """Closes all files. May be called again."""
        if self._is_open:
            self._is_open = False
            self._close_files()
            os.close(self._directory)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise UsageError(f"snapshot '{self._path}' is closed")

    @property
    def path(self) -> str:
        """As it was given to `open()`."""
        return self._path

    @property
    def memory_bytes(self) -> int:
        """Size of the guest's memory."""
        return self._header.memory_bytes

    @property
    def pause_id(self) -> uuid.UUID:
        """The pause. wrenn has none: the build id stands for it."""
        if self._header.pause_id is not None:
            return self._header.pause_id
        return self._facts.pause_id if self._facts is not None else self._header.build_id

    @property
    def build_id(self) -> uuid.UUID:
        """The youngest layer."""
        return self._header.build_id

    @property
    def base_build_id(self) -> uuid.UUID:
        """The first layer that the chain ever had."""
        return self._header.base_build_id

    @property
    def generation(self) -> int:
        """Number of layers less one; versions 1 and 3: as stored."""
        return self._header.generation

    @property
    def header_format(self) -> str:
        """native, v1 or v3."""
        return self._header.format

    @property
    def created(self) -> Optional[str]:
        """When, by RFC 3339. None: written by wrenn."""
        return self._facts.created if self._facts is not None else None

    @property
    def parent_pause_id(self) -> Optional[uuid.UUID]:
        """The pause that it counts from."""
        return self._facts.parent_pause_id if self._facts is not None else None

    @property
    def origin(self) -> Dict[str, str]:
        """Where the VM ran: vmm_version, cpu, kernel, huge_pages, as far as known."""
        return dict(self._facts.origin) if self._facts is not None else {}

    def layers(self) -> Tuple[LayerInfo, ...]:
        """The layers, oldest first.

        Versions 1 and 3 do not record the order; it is taken from the youngest layer's trailer. If
        that has none either, the base comes first and the youngest last.
        """
        layers = list(self._layers)
        youngest = next(layer for layer in layers if layer.build_id == self.build_id)
        if self._header.format != "native" and youngest.trailer is not None:
            rank = {build_id: i for i, build_id in enumerate(youngest.trailer.chain)}
            rank[youngest.build_id] = len(rank)
            layers.sort(key=lambda layer: rank.get(layer.build_id, -1))
        return tuple(layer.info() for layer in layers)

    def extents(self) -> Iterator[Extent]:
        """The extents in the order of the memory, without gaps; the last one is cut to its size."""
        table = self._header.extents
        for index, start in enumerate(table.starts):
            number = table.layers[index]
            offset = start * BLOCK_BYTES
            end = min(table.end(index) * BLOCK_BYTES, self.memory_bytes)
            yield Extent(offset, end - offset,
                         None if number == ZEROS else self._header.layers[number - 1].build_id,
                         table.storage[index] * BLOCK_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """Reads guest memory at [offset, offset + length), of any alignment.

        UsageError: the range exceeds the memory; CorruptError: a block does not match its checksum.
        """
        return b"".join(self._pieces(offset, length))

    def read_into(self, offset: int, buffer: Union[bytearray, memoryview]) -> None:
        """The same into a buffer, whose contents are undefined after an error."""
        view = memoryview(buffer).cast("B")
        at = 0
        for piece in self._pieces(offset, len(view)):
            view[at:at + len(piece)] = piece
            at += len(piece)

    def _pieces(self, offset: int, length: int) -> Iterator[bytes]:
        self._require_open()
        end = offset + length
        if offset < 0 or length < 0 or end > self.memory_bytes:
            raise UsageError(f"[{offset:#x}, {end:#x}) exceeds the memory of snapshot "
                             f"'{self._path}', {self.memory_bytes:#x} bytes")
        table = self._header.extents
        index = table.find(offset // BLOCK_BYTES) if length else 0
        while offset < end:
            start = offset // BLOCK_BYTES
            if start >= table.end(index):
                index += 1
            count = min(table.end(index), _format.blocks_for(end), start + _CHUNK_BLOCKS) - start
            number = table.layers[index]
            if number == ZEROS:
                data = bytes(count * BLOCK_BYTES)
            else:
                storage = table.storage[index] + start - table.starts[index]
                data = self._layers[number - 1].read(start, count, storage)
            skipped = offset - start * BLOCK_BYTES
            piece = data[skipped:skipped + end - offset]
            yield piece
            offset += len(piece)

    def vmstate(self) -> Optional[bytes]:
        """The VM state, compared with its digest if there is one. None: the snapshot has none.

        CorruptError: it is another one; NotFoundError: there must be one.
        """
        self._require_open()
        expected = self._vmstate_digest
        if isinstance(self._vmstate, NotFoundError):
            if expected is None:
                return None
            raise self._vmstate
        data = self._vmstate.read_whole(_MAX_VMSTATE_BYTES)
        if expected is not None and expected != _format.FileDigest(len(data), digest128(data)):
            raise CorruptError(f"'{self._path}/{_VMSTATE}' does not match its digest: it is not "
                               "the VM state that was stored")
        return data


__all__ = ["Extent", "LaminaError", "LayerInfo", "Snapshot"]
