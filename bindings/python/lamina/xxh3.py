"""XXH3-64 and XXH3-128 with seed 0, the checksums of lamina's files.

Written from the specification of xxHash (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).

If the C library libxxhash (0.8 or later) is installed, it is loaded and used: some GB/s. The
Python code is for machines without it. It manages some 30 MB/s, because it multiplies whole
kilobytes at a time by `map` instead of looping over words.
"""

from __future__ import annotations

import ctypes
import operator
import struct
import threading
from typing import Callable, List, NamedTuple, Optional, Union

Buffer = Union[bytes, bytearray, memoryview]

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF
_PRIME32_1 = 0x9E3779B1
_PRIME32_2 = 0x85EBCA77
_PRIME32_3 = 0xC2B2AE3D
_PRIME64_1 = 0x9E3779B185EBCA87
_PRIME64_2 = 0xC2B2AE3D27D4EB4F
_PRIME64_3 = 0x165667B19E3779F9
_PRIME64_4 = 0x85EBCA77C2B2AE63
_PRIME64_5 = 0x27D4EB2F165667C5
_PRIME_MX1 = 0x165667919E3779F9
_PRIME_MX2 = 0x9FB21C651E98DF25
_SECRET_MIN_BYTES = 136
_STRIPE_BYTES = 64
_BLOCK_STRIPES = (len(_SECRET) - _STRIPE_BYTES) // 8
_BLOCK_BYTES = _BLOCK_STRIPES * _STRIPE_BYTES
_SHORT_BYTES = 240  # inputs of up to this length have formulas of their own

# The secret as it is combined with the 16 stripes of a block, as one number.
_BLOCK_KEY_BYTES = b"".join(_SECRET[8 * n:8 * n + _STRIPE_BYTES] for n in range(_BLOCK_STRIPES))
_BLOCK_KEY = int.from_bytes(_BLOCK_KEY_BYTES, "little")
_LAST_KEY_OFFSET = len(_SECRET) - _STRIPE_BYTES - 7
_LAST_KEY = int.from_bytes(_SECRET[_LAST_KEY_OFFSET:_LAST_KEY_OFFSET + _STRIPE_BYTES], "little")
_SCRAMBLE_KEY = struct.unpack("<8Q", _SECRET[-_STRIPE_BYTES:])
_U64 = struct.Struct("<Q")
_U32 = struct.Struct("<I")


class _Sum128(NamedTuple):
    """The two halves of a 128-bit result."""

    low: int
    high: int


def _u64(data: bytes, offset: int) -> int:
    value: int = _U64.unpack_from(data, offset)[0]
    return value


def _u32(data: bytes, offset: int) -> int:
    value: int = _U32.unpack_from(data, offset)[0]
    return value


def _swap64(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product & _M64) ^ (product >> 64)


def _avalanche(h: int) -> int:
    h ^= h >> 37
    h = (h * _PRIME_MX1) & _M64
    return h ^ (h >> 32)


def _xxh64_avalanche(h: int) -> int:
    h ^= h >> 33
    h = (h * _PRIME64_2) & _M64
    h ^= h >> 29
    h = (h * _PRIME64_3) & _M64
    return h ^ (h >> 32)


def _mix16(data: bytes, at: int, secret_at: int) -> int:
    return _fold(_u64(data, at) ^ _u64(_SECRET, secret_at),
                 _u64(data, at + 8) ^ _u64(_SECRET, secret_at + 8))


def _accumulate(acc: List[int], data: bytes, key: int) -> None:
    """Adds whole stripes. `key` is the secret for at least as many; the rest of it is cut off."""
    size = len(data)
    words = struct.unpack(f"<{size // 8}Q", data)
    keyed = (int.from_bytes(data, "little") ^ (key & ((1 << (8 * size)) - 1)))
    halves = struct.unpack(f"<{size // 4}I", keyed.to_bytes(size, "little"))
    products = list(map(operator.mul, halves[0::2], halves[1::2]))
    for lane in range(8):
        acc[lane] = (acc[lane] + sum(products[lane::8]) + sum(words[lane ^ 1::8])) & _M64


def _long_lanes(data: bytes) -> List[int]:
    acc = [_PRIME32_3, _PRIME64_1, _PRIME64_2, _PRIME64_3,
           _PRIME64_4, _PRIME32_2, _PRIME64_5, _PRIME32_1]
    size = len(data)
    blocks = (size - 1) // _BLOCK_BYTES
    for start in range(0, blocks * _BLOCK_BYTES, _BLOCK_BYTES):
        _accumulate(acc, data[start:start + _BLOCK_BYTES], _BLOCK_KEY)
        for lane in range(8):
            value = acc[lane]
            acc[lane] = ((value ^ (value >> 47) ^ _SCRAMBLE_KEY[lane]) * _PRIME32_1) & _M64
    start = blocks * _BLOCK_BYTES
    stripes = (size - 1 - start) // _STRIPE_BYTES
    if stripes:
        _accumulate(acc, data[start:start + stripes * _STRIPE_BYTES], _BLOCK_KEY)
    _accumulate(acc, data[-_STRIPE_BYTES:], _LAST_KEY)
    return acc


def _merge(acc: List[int], secret_at: int, start: int) -> int:
    result = start
    for i in range(4):
        result += _fold(acc[2 * i] ^ _u64(_SECRET, secret_at + 16 * i),
                        acc[2 * i + 1] ^ _u64(_SECRET, secret_at + 16 * i + 8))
    return _avalanche(result & _M64)


def _short64(data: bytes) -> int:
    """Up to 16 bytes."""
    size = len(data)
    if size > 8:
        low = _u64(data, 0) ^ _u64(_SECRET, 24) ^ _u64(_SECRET, 32)
        high = _u64(data, size - 8) ^ _u64(_SECRET, 40) ^ _u64(_SECRET, 48)
        return _avalanche((size + _swap64(low) + high + _fold(low, high)) & _M64)
    if size >= 4:
        h = _u32(data, size - 4) + (_u32(data, 0) << 32)
        h ^= _u64(_SECRET, 8) ^ _u64(_SECRET, 16)
        h ^= (((h << 49) | (h >> 15)) & _M64) ^ (((h << 24) | (h >> 40)) & _M64)
        h = (h * _PRIME_MX2) & _M64
        h ^= (h >> 35) + size
        h = (h * _PRIME_MX2) & _M64
        return h ^ (h >> 28)
    if size:
        combined = (data[0] << 16) | (data[size >> 1] << 24) | data[-1] | (size << 8)
        return _xxh64_avalanche(combined ^ _u32(_SECRET, 0) ^ _u32(_SECRET, 4))
    return _xxh64_avalanche(_u64(_SECRET, 56) ^ _u64(_SECRET, 64))


def digest64_in_python(data: Buffer) -> int:
    """XXH3-64 by the Python code."""
    data = bytes(data)
    size = len(data)
    if size > _SHORT_BYTES:
        return _merge(_long_lanes(data), 11, (size * _PRIME64_1) & _M64)
    if size <= 16:
        return _short64(data)
    acc = size * _PRIME64_1
    if size <= 128:
        for i in range((size - 1) // 32 + 1):
            acc += _mix16(data, 16 * i, 32 * i) + _mix16(data, size - 16 * (i + 1), 32 * i + 16)
        return _avalanche(acc & _M64)
    for i in range(8):
        acc += _mix16(data, 16 * i, 16 * i)
    acc = _avalanche(acc & _M64)
    for i in range(8, size // 16):
        acc += _mix16(data, 16 * i, 16 * (i - 8) + 3)
    acc += _mix16(data, size - 16, _SECRET_MIN_BYTES - 17)
    return _avalanche(acc & _M64)


def _short128(data: bytes) -> _Sum128:
    """Up to 16 bytes."""
    size = len(data)
    if size > 8:
        first, last = _u64(data, 0), _u64(data, size - 8)
        product = (first ^ last ^ _u64(_SECRET, 32) ^ _u64(_SECRET, 40)) * _PRIME64_1
        low = ((product & _M64) + ((size - 1) << 54)) & _M64
        last ^= _u64(_SECRET, 48) ^ _u64(_SECRET, 56)
        high = ((product >> 64) + last + (last & _M32) * (_PRIME32_2 - 1)) & _M64
        low ^= _swap64(high)
        product = low * _PRIME64_2
        high = ((product >> 64) + high * _PRIME64_2) & _M64
        return _Sum128(_avalanche(product & _M64), _avalanche(high))
    if size >= 4:
        keyed = _u32(data, 0) + (_u32(data, size - 4) << 32)
        keyed ^= _u64(_SECRET, 16) ^ _u64(_SECRET, 24)
        product = keyed * ((_PRIME64_1 + (size << 2)) & _M64)
        low = product & _M64
        high = ((product >> 64) + (low << 1)) & _M64
        low ^= high >> 3
        low ^= low >> 35
        low = (low * _PRIME_MX2) & _M64
        return _Sum128(low ^ (low >> 28), _avalanche(high))
    if size:
        combined = (data[0] << 16) | (data[size >> 1] << 24) | data[-1] | (size << 8)
        swapped = int.from_bytes(combined.to_bytes(4, "little"), "big")
        rotated = ((swapped << 13) | (swapped >> 19)) & _M32
        return _Sum128(
            _xxh64_avalanche(combined ^ _u32(_SECRET, 0) ^ _u32(_SECRET, 4)),
            _xxh64_avalanche(rotated ^ _u32(_SECRET, 8) ^ _u32(_SECRET, 12)))
    return _Sum128(_xxh64_avalanche(_u64(_SECRET, 64) ^ _u64(_SECRET, 72)),
                   _xxh64_avalanche(_u64(_SECRET, 80) ^ _u64(_SECRET, 88)))


def _mix32(acc: _Sum128, data: bytes, first: int, second: int, secret_at: int) -> _Sum128:
    low = (acc.low + _mix16(data, first, secret_at)) & _M64
    low ^= (_u64(data, second) + _u64(data, second + 8)) & _M64
    high = (acc.high + _mix16(data, second, secret_at + 16)) & _M64
    high ^= (_u64(data, first) + _u64(data, first + 8)) & _M64
    return _Sum128(low, high)


def _middle128(data: bytes) -> _Sum128:
    """17 to 240 bytes."""
    size = len(data)
    acc = _Sum128((size * _PRIME64_1) & _M64, 0)
    if size <= 128:
        for i in reversed(range((size - 1) // 32 + 1)):
            acc = _mix32(acc, data, 16 * i, size - 16 * (i + 1), 32 * i)
    else:
        for i in range(4):
            acc = _mix32(acc, data, 32 * i, 32 * i + 16, 32 * i)
        acc = _Sum128(_avalanche(acc.low), _avalanche(acc.high))
        for i in range(4, size // 32):
            acc = _mix32(acc, data, 32 * i, 32 * i + 16, 3 + 32 * (i - 4))
        acc = _mix32(acc, data, size - 16, size - 32, _SECRET_MIN_BYTES - 17 - 16)
    low = (acc.low + acc.high) & _M64
    high = (acc.low * _PRIME64_1 + acc.high * _PRIME64_4 + size * _PRIME64_2) & _M64
    return _Sum128(_avalanche(low), -_avalanche(high) & _M64)


def digest128_in_python(data: Buffer) -> bytes:
    """XXH3-128 by the Python code, in canonical (big-endian) order."""
    data = bytes(data)
    size = len(data)
    if size > _SHORT_BYTES:
        acc = _long_lanes(data)
        total = _Sum128(
            _merge(acc, 11, (size * _PRIME64_1) & _M64),
            _merge(acc, len(_SECRET) - 64 - 11, ~(size * _PRIME64_2) & _M64))
    elif size > 16:
        total = _middle128(data)
    else:
        total = _short128(data)
    return total.high.to_bytes(8, "big") + total.low.to_bytes(8, "big")


class _Library(NamedTuple):
    """The functions of libxxhash."""

    digest64: Callable[[bytes], int]
    digest128: Callable[[bytes], bytes]


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def _load_library() -> Optional[_Library]:
    try:
        library = ctypes.CDLL("libxxhash.so.0")
        hash64, hash128 = library.XXH3_64bits, library.XXH3_128bits
    except (OSError, AttributeError):  # not installed, or older than XXH3
        return None
    hash64.argtypes = hash128.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    hash64.restype, hash128.restype = ctypes.c_uint64, _Hash128

    def digest64(data: bytes) -> int:
        value: int = hash64(data, len(data))
        return value

    def digest128(data: bytes) -> bytes:
        value = hash128(data, len(data))
        high: int = value.high
        low: int = value.low
        return high.to_bytes(8, "big") + low.to_bytes(8, "big")

    # XXH3 was not final before 0.8, under the same name of the library.
    probe = bytes(range(256)) * 17
    if (digest64(probe) != digest64_in_python(probe)
            or digest128(probe) != digest128_in_python(probe)):
        return None
    return _Library(digest64, digest128)


class _Chosen:
    """Loads the library with the first checksum, not at import."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._functions: Optional[_Library] = None

    def functions(self) -> _Library:
        """libxxhash's, else the Python ones."""
        if self._functions is None:
            with self._lock:
                if self._functions is None:
                    self._functions = _load_library() or _Library(digest64_in_python,
                                                                  digest128_in_python)
        return self._functions


_chosen = _Chosen()


def digest64(data: Buffer) -> int:
    """XXH3-64 of `data`."""
    return _chosen.functions().digest64(bytes(data))


def digest128(data: Buffer) -> bytes:
    """XXH3-128 of `data`, in canonical (big-endian) order."""
    return _chosen.functions().digest128(bytes(data))
