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
from typing import Dict, Iterator, List, Optional, Tuple, Type, Union

from .blocks import BLOCK_BYTES, FileDigest, LayerFact, blocks_for
from .errors import BusyError, CorruptError, NotFoundError, UsageError, error_of_call
from .facts import MAX_FACTS_BYTES, Facts, decode_facts
from .header import MAX_HEADER_BYTES, ZEROS, Header, decode_header
from .layer import File, Layer, LayerInfo, add_context
from .xxh3 import digest128

_HEADER = "memfile.header"
_FACTS = "snapshot.json"
_VMSTATE = "snapfile"
_LEGACY_LAYER = "memfile"
_MAX_VMSTATE_BYTES = 256 << 20
_OPEN_ATTEMPTS = 20
_CHUNK_BLOCKS = 256

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Extent:
    """A run of guest memory and where it is stored. All numbers are bytes."""

    offset: int
    length: int
    build_id: Optional[uuid.UUID]  # None: zeros
    storage_offset: int


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
        self._files: List[File] = []
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
                add_context(f"header '{self._path}/{_HEADER}'", error)
        self._vmstate_digest = (header.vmstate if header.format == "native"
                                else facts.vmstate if facts else None)
        self._vmstate: Union[File, NotFoundError]
        try:
            self._vmstate = self._open(directory, _VMSTATE)
        except _Missing as missing:
            if self._was_replaced(self._path, directory):
                raise
            self._vmstate = missing.error
        self._facts, self._header, self._layers = facts, header, layers

    def _open(self, directory: int, name: str) -> File:
        try:
            file = File(directory, name, f"{self._path}/{name}")
        except NotFoundError as error:
            raise _Missing(error) from None
        self._files.append(file)
        return file

    def _read_facts(self, directory: int) -> Optional[Facts]:
        try:
            data = self._open(directory, _FACTS).read_whole(MAX_FACTS_BYTES)
        except _Missing:  # a directory that wrenn wrote has none
            return None
        try:
            return decode_facts(data)
        except CorruptError as error:
            raise CorruptError(f"'{self._path}/{_FACTS}' is damaged ({error.message})",
                               remedy=f"run: lamina repair {self._path}") from error

    def _read_header(self, directory: int, facts: Optional[Facts]) -> Header:
        file = self._open(directory, _HEADER)
        file.require_stored(0, file.size_bytes)
        data = file.read_whole(MAX_HEADER_BYTES)
        try:
            header = decode_header(data)
        except CorruptError as error:
            add_context(f"header '{self._path}/{_HEADER}'", error)
        if facts is None:
            return header
        # Versions 1 and 3 have no checksum of their own.
        if header.format != "native" and facts.header != FileDigest(len(data),
                                                                            digest128(data)):
            raise CorruptError(f"header '{self._path}/{_HEADER}' does not match the digest in "
                               f"{_FACTS}", remedy=f"run: lamina repair {self._path}")
        if (header.build_id != facts.build_id or header.memory_bytes != facts.memory_bytes
                or header.pause_id not in (None, facts.pause_id)):
            raise CorruptError(f"'{self._path}/{_FACTS}' and '{self._path}/{_HEADER}' describe "
                               "different snapshots")
        return header

    def _open_layer(self, directory: int, header: Header, fact: LayerFact,
                    expect_trailer: bool) -> Layer:
        try:
            file = self._open(directory, f"memfile.{fact.build_id}")
        except _Missing:
            if header.format == "native" or len(header.layers) != 1:
                raise
            file = self._open(directory, _LEGACY_LAYER)
        layer = Layer(file, fact.build_id, expect_trailer)
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
            count = min(table.end(index), blocks_for(end), start + _CHUNK_BLOCKS) - start
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
        if expected is not None and expected != FileDigest(len(data), digest128(data)):
            raise CorruptError(f"'{self._path}/{_VMSTATE}' does not match its digest: it is not "
                               "the VM state that was stored")
        return data


__all__ = ["Extent", "LayerInfo", "Snapshot"]
