"""Pictures (PNG) compared with tolerance.

Text is drawn a little differently by each machine. So two pictures are compared by the mean colours
of small squares, and a few of these may differ.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

SQUARE = 20  # pixels
MAX_DIFFERENCE = 20  # of a mean colour, of 255
CHANNELS = {2: 3, 6: 4}  # by PNG's colour type: RGB, and RGB with alpha


@dataclass
class Picture:
    """Rows of bytes, `channels` of each pixel."""

    width: int
    channels: int
    rows: list[bytes]


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    distances = [abs(estimate - one) for one in (left, above, corner)]
    return (left, above, corner)[distances.index(min(distances))]


def _unfiltered(kind: int, line: bytes, above: bytes, channels: int) -> bytes:
    if kind == 0:
        return line
    if kind == 2:
        return bytes((one + up) & 255 for one, up in zip(line, above, strict=True))
    made = bytearray(line)
    for i, one in enumerate(line):
        left = made[i - channels] if i >= channels else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[i]) // 2
        else:
            guess = _paeth(left, above[i], above[i - channels] if i >= channels else 0)
        made[i] = (one + guess) & 255
    return bytes(made)


def decode(png: bytes) -> Picture:
    """A PNG of 8 bits per channel, not interlaced, as a browser writes it."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, head = 8, b"", b""
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8:at + 8 + length]
        if kind == b"IHDR":
            head = body
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert depth == 8 and not interlaced, (depth, interlaced)
    channels = CHANNELS[color]
    pixels = zlib.decompress(data)
    stride = width * channels
    rows: list[bytes] = []
    above = bytes(stride)
    for row in range(height):
        start = row * (stride + 1)
        above = _unfiltered(pixels[start], pixels[start + 1:start + 1 + stride], above, channels)
        rows.append(above)
    return Picture(width, channels, rows)


def squares(picture: Picture) -> list[list[tuple[float, ...]]]:
    """The mean colour of each square."""
    found = []
    for top in range(0, len(picture.rows), SQUARE):
        rows = picture.rows[top:top + SQUARE]
        line = []
        for left in range(0, picture.width, SQUARE):
            end = min(left + SQUARE, picture.width)
            part = [row[left * picture.channels:end * picture.channels] for row in rows]
            line.append(tuple(sum(sum(row[channel::picture.channels]) for row in part)
                              / (len(part) * (end - left)) for channel in range(3)))
        found.append(line)
    return found


def difference(first: bytes, second: bytes) -> float:
    """The share of the squares that differ; 1 if the sizes do."""
    one, other = squares(decode(first)), squares(decode(second))
    if [len(line) for line in one] != [len(line) for line in other]:
        return 1
    pairs = [pair for lines in zip(one, other, strict=True) for pair in zip(*lines, strict=True)]
    return sum(max(abs(a - b) for a, b in zip(*pair, strict=True)) > MAX_DIFFERENCE
               for pair in pairs) / len(pairs)
