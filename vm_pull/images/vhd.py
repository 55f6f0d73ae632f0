"""A VHD image (QEMU calls it vpc), fixed or dynamic, checked before QEMU sees it.

Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import struct

from vm_pull.images.imagefile import SECTOR, refused
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.images.imagefile import ImageFile

__all__ = ["read"]

FOOTER = struct.Struct(">8sIIQ16xQQ4xII")
DYNAMIC_HEADER = struct.Struct(">8sQQIIII16s")
DYNAMIC_BYTES = 1024
VERSION = 0x00010000
NO_OFFSET = (1 << 64) - 1
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
UNUSED = 0xFFFFFFFF
NOTHING = bytes(16)


def read(file: ImageFile) -> tuple[int, tuple[str, ...]]:
    """The size of a VHD image's disk in bytes, and notes for the user.

    Raises:
        VmError: it is a difference to another image (77), or damaged (65).
    """
    end = file.length - SECTOR
    footer = file.read(end, SECTOR, "footer")
    cookie, _, version, start, _, current, kind, _ = FOOTER.unpack_from(footer)
    if cookie != b"conectix":
        raise file.cut_short("footer")
    _check_sum(file, footer, 64)
    if version != VERSION:
        raise refused(f"the VHD image is of version {version >> 16}.{version & 0xFFFF}, not 1.0")
    if kind == DIFFERENCING:
        raise refused("the VHD image is a difference to another image, its parent")
    size = file.disk_size(current)
    if kind == FIXED:
        _fixed(file, size, start)
    elif kind == DYNAMIC:
        _dynamic(file, footer, size, start)
    else:
        raise refused(f"the VHD image is of an unknown type ({kind})")
    return size, ()


def _check_sum(file: ImageFile, data: bytes, at: int) -> None:
    """Checks the one's complement of the sum of all bytes but those of the sum itself."""
    said = int.from_bytes(data[at : at + 4], "big")
    if said != ~(sum(data) - sum(data[at : at + 4])) & UNUSED:
        raise file.contradicts("a checksum is wrong")


def _fixed(file: ImageFile, size: int, start: int) -> None:
    if size != file.length - SECTOR or start != NO_OFFSET:
        raise file.contradicts(f"its footer tells of {size} bytes, there are {file.length - 512}")
    if file.read(0, 8, "data") == b"conectix":
        raise refused("the VHD image is fixed by its end and dynamic by its beginning")


def _dynamic(file: ImageFile, footer: bytes, size: int, start: int) -> None:
    if file.read(0, SECTOR, "header") != footer:
        raise file.contradicts("its first and its last sector differ")
    data = file.read(start, DYNAMIC_BYTES, "header")
    cookie, _, table, version, entries, block, _, parent = DYNAMIC_HEADER.unpack_from(data)
    _check_sum(file, data, 36)
    if cookie != b"cxsparse" or version != VERSION or start % SECTOR or table % SECTOR:
        raise file.contradicts("its dynamic header contradicts itself")
    if parent != NOTHING:
        raise refused("the VHD image names a parent")
    if block not in (1 << n for n in range(12, 28)):
        raise file.contradicts(f"its blocks are of {block} bytes")
    if entries * block < size:
        raise file.contradicts(f"it has {entries} blocks of {block} bytes for {size} bytes")
    _blocks(file, table, -(-size // block), block)


def _blocks(file: ImageFile, table: int, count: int, block: int) -> None:
    """Checks that every allocated block, a bitmap and its data, is before the footer."""
    bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR
    left = file.length // block
    for part in file.tables(table, count, "I", "big", "block table"):
        places = [place for place in part if place != UNUSED]
        left -= len(places)
        if left < 0:
            raise file.contradicts("its block table uses more data than the file has")
        if places:
            file.within(max(places) * SECTOR, bitmap + block + SECTOR, "data")
