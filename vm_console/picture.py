"""A picture of a screen: its pixels, from QEMU's form to PNG."""

from __future__ import annotations

import re
import struct
import zlib

from vm_spec.frozen import Value

__all__ = ["MOST_PIXELS", "Picture", "from_ppm", "png"]

MOST_PIXELS = 1 << 26  # 8192 by 8192: what a hypervisor says is not believed beyond
_PPM = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
_PNG = b"\x89PNG\r\n\x1a\n"
_RGB_8_BITS = (8, 2, 0, 0, 0)  # depth, colour type, compression, filters, no interlace
_UNFILTERED = b"\0"  # what each row begins with


class Picture(Value):
    """A picture.

    Attributes:
        width: pixels.
        height: pixels.
        rgb: three bytes a pixel, red, green and blue, row by row from the top.
    """

    width: int
    height: int
    rgb: bytes


def from_ppm(content: bytes) -> Picture:
    """The picture in a PPM file, as QEMU writes it: no comments, 8 bits a colour.

    Raises:
        ValueError: it is none, or not whole.
    """
    head = _PPM.match(content)
    if head is None:
        msg = "is no PPM picture"
        raise ValueError(msg)
    width, height = int(head[1]), int(head[2])
    rgb = content[head.end() :]
    if not 0 < width * height <= MOST_PIXELS or len(rgb) != width * height * 3:
        msg = f"is not a whole picture of {width} by {height}"
        raise ValueError(msg)
    return Picture(width=width, height=height, rgb=rgb)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file.

    Source: PNG Specification (Third Edition), 5.2 to 5.6, 9.2, 11.2.
    """
    row = picture.width * 3
    rows = b"".join(
        _UNFILTERED + picture.rgb[at : at + row] for at in range(0, len(picture.rgb), row)
    )  # fmt: skip
    head = struct.pack(">2I5B", picture.width, picture.height, *_RGB_8_BITS)
    return (
        _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
