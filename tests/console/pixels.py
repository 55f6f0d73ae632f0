"""PNG files read by a reader of our own, and pictures compared."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple


class Picture(NamedTuple):
    """Pixels: three bytes each, red, green and blue, row by row from the top."""

    width: int
    height: int
    rgb: bytes


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's kind and content, its checksum looked at."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", content, at + 8 + length)
        assert check == zlib.crc32(kind + body)
        yield kind, body
        at += 12 + length


def decoded(content: bytes) -> Picture:
    """The picture in a PNG file of 8 bits a colour, with or without alpha."""
    found = list(chunks(content))
    assert (found[0][0], found[-1]) == (b"IHDR", (b"IEND", b""))
    width, height, depth, colours, *rest = struct.unpack(">2I5B", found[0][1])
    assert (depth, colours in (2, 6), rest) == (8, True, [0, 0, 0])
    size = 3 if colours == 2 else 4
    rows = zlib.decompress(b"".join(body for kind, body in found if kind == b"IDAT"))
    assert len(rows) == height * (1 + width * size)
    whole = bytearray()
    before = bytes(width * size)
    for start in range(0, len(rows), 1 + width * size):
        before = unfiltered(rows[start], rows[start + 1 : start + 1 + width * size], before, size)
        whole += before
    rgb = bytearray(width * height * 3)
    for colour in range(3):
        rgb[colour::3] = whole[colour::size]
    return Picture(width=width, height=height, rgb=bytes(rgb))


def unfiltered(kind: int, row: bytes, above: bytes, size: int) -> bytes:
    """A row of pixels (PNG, 9.2)."""
    if kind == 0:
        return row
    made = bytearray(row)
    for at in range(len(made)):
        left = made[at - size] if at >= size else 0
        corner = above[at - size] if at >= size else 0
        made[at] = (made[at] + guess(kind, left, above[at], corner)) & 0xFF
    return bytes(made)


def guess(kind: int, left: int, up: int, corner: int) -> int:
    """What a filter takes a byte for."""
    if kind == 4:
        return min((left, up, corner), key=lambda each: abs(left + up - corner - each))
    return (0, left, up, (left + up) // 2)[kind]


def pixels(picture: Picture) -> list[bytes]:
    """Every pixel."""
    return [picture.rgb[at : at + 3] for at in range(0, len(picture.rgb), 3)]


def lit(picture: Picture) -> float:
    """The part of the pixels that are not black."""
    every = pixels(picture)
    return sum(pixel != b"\0\0\0" for pixel in every) / len(every)


def alike(one: Picture, other: Picture) -> float:
    """The part of the pixels that are equal; nothing for pictures of unequal size."""
    if (one.width, one.height) != (other.width, other.height):
        return 0.0
    both = zip(pixels(one), pixels(other), strict=True)
    return sum(a == b for a, b in both) / (one.width * one.height)
