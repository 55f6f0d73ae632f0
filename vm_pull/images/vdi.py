"""A VDI image of VirtualBox, checked before QEMU sees it.

Source: QEMU, block/vdi.c.
"""

from __future__ import annotations

import struct

from vm_pull.images.imagefile import SECTOR, refused
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.images.imagefile import ImageFile

__all__ = ["read"]

HEADER = struct.Struct("<64xIIII260xII12xI4xQIIII32x16s16s")
VERSION = 0x00010001
DYNAMIC, STATIC, UNDO, DIFFERENCING = 1, 2, 3, 4
BLOCK = 1 << 20
UNUSED = 0xFFFFFFFE
"""From here on a block is not stored: not allocated, or zeros."""
NOTHING = bytes(32)


def read(file: ImageFile) -> tuple[int, tuple[str, ...]]:
    """The size of a VDI image's disk in bytes, and notes for the user.

    Raises:
        VmError: it is a difference to another image (77), or damaged (65).
    """
    data = file.read(0, HEADER.size, "header")
    _, version, _, kind, block_map, start, sector, *rest = HEADER.unpack(data)
    size, block, extra, blocks, stored, linked, parent = rest
    if version != VERSION:
        raise refused(f"the VDI image is of version {version >> 16}.{version & 0xFFFF}, not 1.1")
    if kind in {UNDO, DIFFERENCING} or linked + parent != NOTHING:
        raise refused("the VDI image is a difference to another image, its parent")
    if kind not in {DYNAMIC, STATIC}:
        raise refused(f"the VDI image is of an unknown type ({kind})")
    if block != BLOCK or extra or sector != SECTOR:
        raise refused(f"the VDI image has blocks of {block} bytes and sectors of {sector}")
    size = file.disk_size(-(-size // SECTOR) * SECTOR)
    if blocks != -(-size // BLOCK) or stored > blocks:
        raise file.contradicts(f"it has {blocks} blocks for {size} bytes")
    if block_map % SECTOR or start % SECTOR or not HEADER.size <= block_map <= start - 4 * blocks:
        raise file.contradicts("its block map is misplaced")
    _blocks(file, block_map, start, (blocks, stored))
    return size, ()


def _blocks(file: ImageFile, block_map: int, start: int, counts: tuple[int, int]) -> None:
    """Checks that every stored block is in the file, and that no two share one by their number."""
    blocks, stored = counts
    left = stored
    for part in file.tables(block_map, blocks, "I", "little", "block map"):
        places = [place for place in part if place < UNUSED]
        left -= len(places)
        highest = max(places, default=0)
        if left < 0 or (places and highest >= stored):
            raise file.contradicts("its block map contradicts its header")
        file.within(start + highest * BLOCK, BLOCK if places else 0, "data")
