"""The beginning of a qcow2 image's disk, read without another program.

Source: QEMU, docs/interop/qcow2.txt, Cluster mapping.
"""

from __future__ import annotations

import os
import struct
import zlib

from vm_pull.images.imagefile import SECTOR
from vm_pull.images.qcow2_tables import COMPRESSED, OFFSET, ZEROS

__all__ = ["first_bytes"]

_HEADER = struct.Struct(">20xIQ4xIQ24xQ")  # of which we read what stands before the features
_ENTRY = struct.Struct(">Q")
_ODD = 8 | 16  # another compression than deflate, extended entries
_WINDOW = -12  # zlib's wbits: raw deflate, as QEMU writes it


def first_bytes(fd: int, count: int) -> bytes | None:
    """The first bytes that the guest sees; none where they are kept in a way that is not read here.

    Args:
        fd: an image that was judged, so that every offset in it is inside it.
        count: how many; fewer come back from a smaller disk.
    """
    head = os.pread(fd, _HEADER.size, 0)
    bits, size, _, tables, features = _HEADER.unpack(head)
    if head[4:8] == b"\0\0\0\2":
        features = 0
    if features & _ODD:
        return None
    count = min(count, size)
    clusters = range(-(-count >> bits))
    try:
        content = b"".join(_cluster(fd, bits, tables, number) for number in clusters)
    except zlib.error:
        return None
    return content[:count]


def _cluster(fd: int, bits: int, tables: int, number: int) -> bytes:
    """One cluster of the disk."""
    size = 1 << bits
    table = _entry(fd, tables, number >> (bits - 3)) & OFFSET
    entry = _entry(fd, table, number & (size // 8 - 1)) if table else 0
    if entry & COMPRESSED:
        return _inflated(fd, entry & (COMPRESSED - 1), bits)
    place = entry & OFFSET
    if entry & ZEROS or not place:
        return bytes(size)
    return os.pread(fd, size, place).ljust(size, b"\0")  # the last one may end with the disk


def _entry(fd: int, table: int, number: int) -> int:
    found: int = _ENTRY.unpack(os.pread(fd, 8, table + 8 * number))[0]
    return found


def _inflated(fd: int, entry: int, bits: int) -> bytes:
    """A compressed cluster: how many further sectors it takes stands above its place."""
    width = 62 - (bits - 8)
    place, more = entry & ((1 << width) - 1), entry >> width
    data = os.pread(fd, (more + 1) * SECTOR - place % SECTOR, place)
    return zlib.decompressobj(_WINDOW).decompress(data, 1 << bits).ljust(1 << bits, b"\0")
