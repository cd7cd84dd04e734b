"""Open files of a snapshot, and layers, whose blocks are checked when they are read."""

from __future__ import annotations

import os
import stat
import uuid
from dataclasses import dataclass
from typing import List, NoReturn, Optional

from .blocks import BLOCK_BYTES, blocks_for
from .errors import CorruptError, FailedError, error_of_call
from .trailer import FOOTER_BYTES, Trailer, decode_footer, decode_trailer
from .xxh3 import digest64

# A longer trailer must be free of holes before memory is used for it: a sparse file can have any
# size.
_MAX_UNCHECKED_BYTES = 1 << 20


@dataclass(frozen=True)
class LayerInfo:
    """A layer of an open snapshot."""

    build_id: uuid.UUID
    path: str  # when the snapshot was opened; the name may be another file's by now
    has_checksums: bool  # False: written by wrenn, and read unchecked
    layout: Optional[str]  # compact or adopted; None: written by wrenn
    data_bytes: int
    file_bytes: int


def add_context(context: str, error: CorruptError) -> NoReturn:
    """Raises the error again, with what was read in front."""
    raise CorruptError(f"{context}: {error.message}", remedy=error.remedy) from error


class File:
    """An open regular file. No symbolic link is followed."""

    def __init__(self, directory: int, name: str, path: str) -> None:
        self.path = path
        try:
            # Opening a device can have effects: opening a watchdog starts it.
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise FailedError(f"'{path}' is not a file")
            # O_NONBLOCK: if a FIFO has just replaced it, the open must not hang.
            self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                              | os.O_NOCTTY, dir_fd=directory)
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
        """Closes it."""
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


class Layer:
    """An open layer file."""

    def __init__(self, file: File, build_id: uuid.UUID, expect_trailer: bool) -> None:
        self.file = file
        self.build_id = build_id
        self.trailer = self._read_trailer()
        if self.trailer is None:
            if expect_trailer:
                raise CorruptError(f"layer '{file.path}' has no trailer, but was written with one: "
                                   "it is truncated or altered")
            self.data_blocks = blocks_for(file.size_bytes)
            return
        if self.trailer.footer.build_id != build_id:
            raise CorruptError(f"layer '{file.path}' holds build {self.trailer.footer.build_id}, "
                               f"not {build_id}")
        self.data_blocks = self.trailer.data_blocks

    def _read_trailer(self) -> Optional[Trailer]:
        file = self.file
        if file.size_bytes < FOOTER_BYTES:
            return None
        end = file.read(file.size_bytes - FOOTER_BYTES, FOOTER_BYTES)
        try:
            footer = decode_footer(end, file.size_bytes)
            if footer is None:
                return None
            start = file.size_bytes - footer.trailer_bytes
            if footer.trailer_bytes > _MAX_UNCHECKED_BYTES:
                file.require_stored(start, file.size_bytes)
            return decode_trailer(file.read(start, footer.trailer_bytes), footer)
        except CorruptError as error:
            add_context(f"layer '{file.path}'", error)

    def info(self) -> LayerInfo:
        """For users."""
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
