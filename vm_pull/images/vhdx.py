"""A VHDX image of Hyper-V, checked before QEMU sees it.

Source: Microsoft, [MS-VHDX]: Virtual Hard Disk v2 File Format.
"""

from __future__ import annotations

import struct

from vm_pull.images.imagefile import damaged, refused
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from vm_pull.images.imagefile import ImageFile

__all__ = ["crc32c", "read"]

HEADERS = (0x10000, 0x20000)
HEADER_BYTES = 4096
HEADER = struct.Struct("<4xIQ32x16sHH")
REGIONS = (0x30000, 0x40000)
REGION_BYTES = 0x10000
ENTRY = struct.Struct("<16sQII")
META_ENTRY = struct.Struct("<16sIII4x")
MOST_ENTRIES = 2047
MIB = 1 << 20
NOTHING = bytes(16)


def _guid(text: str) -> bytes:
    """A GUID's bytes: the first three groups are little endian."""
    groups = [bytes.fromhex(group) for group in text.split("-")]
    return b"".join([group[::-1] for group in groups[:3]] + groups[3:])


BLOCKS = _guid("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA = _guid("8B7CA206-4790-4B9A-B8FE-575F050F886E")
PARAMETERS = _guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
DISK_SIZE = _guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
DISK_ID = _guid("BECA12AB-B2E6-4523-93EF-C309E000C746")
SECTOR_SIZE = _guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SIZE = _guid("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT = _guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
ITEMS = {PARAMETERS, DISK_SIZE, DISK_ID, SECTOR_SIZE, PHYSICAL_SIZE}

HAS_PARENT = 2
REQUIRED = 4
NOT_THERE, FULL, PARTIAL = {0, 1, 2, 3, 5}, 6, 7


class Shape(Value):
    """What the metadata says: sizes in bytes."""

    size: int
    block: int
    sector: int


def read(file: ImageFile) -> tuple[int, tuple[str, ...]]:
    """The size of a VHDX image's disk in bytes, and notes for the user.

    Raises:
        VmError: it has a parent or an unfinished log (77), or is damaged (65).
    """
    _headers(file)
    regions = _regions(file)
    if not {BLOCKS, METADATA} <= regions.keys():
        raise file.contradicts("a region is missing")
    shape = _metadata(file, *regions[METADATA])
    _blocks(file, shape, *regions[BLOCKS])
    return shape.size, ()


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of some bytes. Source: RFC 3720, 12.1."""
    table: list[int] = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[crc & 0xFF ^ byte]
    return crc ^ 0xFFFFFFFF


def _is_whole(data: bytes) -> bool:
    """Whether the checksum at offset 4, over all with itself as zeros, is right."""
    return crc32c(data[:4] + bytes(4) + data[8:]) == int.from_bytes(data[4:8], "little")


def _headers(file: ImageFile) -> None:
    """Looks at the header in force: the whole one with the highest number."""
    found: list[tuple[int, bytes, int, int]] = []
    for place in HEADERS:
        data = file.read(place, HEADER_BYTES, "header")
        if data.startswith(b"head") and _is_whole(data):
            _, number, log, log_version, version = HEADER.unpack_from(data)
            found.append((number, log, log_version, version))
    if not found:
        raise file.contradicts("neither of its headers is whole")
    _, log, log_version, version = max(found)
    if version != 1 or log_version != 0:
        raise refused(f"the VHDX image is of version {version}; only 1 is known")
    if log != NOTHING:
        hint = "its maker has to shut the machine down before packing"
        raise refused("the VHDX image was not closed properly: its log is not empty", hint)


def _regions(file: ImageFile) -> dict[bytes, tuple[int, int]]:
    """The offset and the length of each region."""
    table, copy = (file.read(place, REGION_BYTES, "region table") for place in REGIONS)
    count = int.from_bytes(table[8:12], "little")
    # QEMU reads the first and never the copy, so one must be as good as the other
    if table != copy or not table.startswith(b"regi") or not _is_whole(table):
        raise file.contradicts("its region tables are broken")
    if count > MOST_ENTRIES:
        raise file.contradicts(f"it has {count} regions")
    regions: dict[bytes, tuple[int, int]] = {}
    for name, offset, length, required in ENTRY.iter_unpack(table[16 : 16 + count * 32]):
        if name in regions or offset % MIB or offset < MIB:
            raise file.contradicts("its region table contradicts itself")
        if name not in {BLOCKS, METADATA} and required:
            raise refused("the VHDX image has an unknown region that must be understood")
        file.within(offset, length, "region")
        regions[name] = (offset, length)
    return regions


def _metadata(file: ImageFile, offset: int, length: int) -> Shape:
    table = file.read(offset, min(REGION_BYTES, length), "metadata")
    count = int.from_bytes(table[10:12], "little")
    if not table.startswith(b"metadata") or not count <= MOST_ENTRIES or len(table) < REGION_BYTES:
        raise file.contradicts("its metadata is misplaced")
    items: dict[bytes, bytes] = {}
    for name, at, size, bits in META_ENTRY.iter_unpack(table[32 : 32 + 32 * count]):
        if name == PARENT:
            raise refused("the VHDX image is a difference to another image, its parent")
        if name not in ITEMS and bits & REQUIRED:
            raise refused("the VHDX image has unknown metadata that must be understood")
        if name in items or at < REGION_BYTES or at + size > length:
            raise file.contradicts("its metadata contradicts itself")
        if name in ITEMS:
            items[name] = file.read(offset + at, min(size, 16), "metadata")
    return _shape(file, items)


def _shape(file: ImageFile, items: dict[bytes, bytes]) -> Shape:
    sizes = {name: len(data) for name, data in items.items() if name != DISK_ID}
    if sizes != {PARAMETERS: 8, DISK_SIZE: 8, SECTOR_SIZE: 4, PHYSICAL_SIZE: 4}:
        raise file.contradicts("its metadata is incomplete")
    block, bits = struct.unpack("<II", items[PARAMETERS])
    if bits & HAS_PARENT:
        raise refused("the VHDX image is a difference to another image, its parent")
    sector = int.from_bytes(items[SECTOR_SIZE], "little")
    if block not in (MIB << n for n in range(9)) or sector not in {512, 4096}:
        raise file.contradicts(f"its blocks are of {block} bytes, its sectors of {sector}")
    size = file.disk_size(int.from_bytes(items[DISK_SIZE], "little"))
    if size % sector:
        raise file.contradicts(f"its disk has {size} bytes")
    return Shape(size=size, block=block, sector=sector)


def _blocks(file: ImageFile, shape: Shape, offset: int, length: int) -> None:
    """Checks that every block is in the file.

    After each `ratio` blocks stands one entry for a bitmap, which only a difference uses.
    """
    ratio = (shape.sector << 23) // shape.block
    blocks = -(-shape.size // shape.block)
    entries = blocks + (blocks - 1) // ratio
    if entries * 8 > length:
        raise file.contradicts("its block table is too short")
    seen, left = 0, -(-file.length // shape.block)
    for part in file.tables(offset, entries, "Q", "little", "block table"):
        payload = [entry for n, entry in enumerate(part, seen + 1) if n % (ratio + 1)]
        seen += len(part)
        left -= _payload(file, payload, shape.block)
        if left < 0:
            raise file.contradicts("its block table uses more data than the file has")


def _payload(file: ImageFile, entries: list[int], block: int) -> int:
    """How many blocks of a piece of the table have data, all of it in the file."""
    states = {entry & 7 for entry in entries}
    if PARTIAL in states:
        raise refused("the VHDX image has blocks that are in its parent")
    if not states <= NOT_THERE | {FULL}:
        raise damaged("the VHDX image is damaged: a block is in an unknown state")
    places = [entry & -MIB for entry in entries if entry & 7 == FULL]
    if places:
        file.within(max(places), block, "data")
    return len(places)
