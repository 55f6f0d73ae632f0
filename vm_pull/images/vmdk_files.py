"""VMDKs that QEMU converts: one sparse file, or a disk in several of them and a descriptor.

The descriptor of a box never reaches QEMU: it may name any file. What it says is read here,
strictly, and one of our own is written over files that we named.
Source: VMware, Virtual Disk Format 5.0.
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise

from vm_pull.images import vmdk
from vm_pull.images.imagefile import SECTOR, damaged, refused, runs
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Mapping

    from vm_pull.images.imagefile import ImageFile

__all__ = ["PART", "Extent", "joined", "read", "split"]

PART = "is one part of a disk in several files"
"""The note about a sparse file without a descriptor of its own."""

DESCRIPTOR_AT = 0x200
"""Where QEMU looks for a parent, whatever the header says (block/vmdk.c, vmdk_parent_open)."""
DESCRIPTOR_BYTES = 20 * SECTOR
HAS_SPARE = 2

SPLIT = "twoGbMaxExtentSparse"
MOST_EXTENTS = 4096
MOST_TEXT = 1 << 20

NUMBERS = re.compile(rb"^CID=[0-9a-fA-F]{1,8}\s+parentCID=[0-9a-fA-F]{8}\s*$", re.MULTILINE)
KEY = re.compile(r'([A-Za-z][A-Za-z0-9_. -]*?)\s*=\s*("[^"]*"|[^"]*)')
EXTENT = re.compile(r'(?:RW|RDONLY)\s+([0-9]{1,12})\s+SPARSE\s+"([^"/\\]{1,200})"')
PLAIN = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9_.,+@() -]*")


class Extent(Value):
    """One part of a split disk.

    Attributes:
        member: the name of its file, a plain one.
        size: of its part of the disk, in bytes.
    """

    member: str
    size: int


def read(file: ImageFile) -> tuple[int, tuple[str, ...]]:
    """The size of a sparse VMDK's disk in bytes, and notes for the user.

    A file without a descriptor of its own is a part of a split disk, as the note `PART` says.

    Raises:
        VmError: it wants other files (77); or it is damaged: it points outside itself (65).
    """
    first = file.read(0, min(file.length, vmdk.FIRST_BYTES), "header")
    header = vmdk.parse(first)
    if header.is_stream or header.directory == vmdk.AT_END:
        raise file.contradicts("it is made for streaming")
    looked_at = max(header.overhead, DESCRIPTOR_AT + DESCRIPTOR_BYTES)
    if b"parentfilenamehint" in first[:looked_at].lower():
        raise refused("the VMDK names a parent: it would show what is in another file")
    end = header.descriptor + header.descriptor_size
    text = first[header.descriptor : end].strip(b"\0") if header.descriptor else b""
    if text:
        vmdk.read(first)
    if text and not NUMBERS.search(text):
        raise file.contradicts("its descriptor has no CID")
    if header.descriptor not in {0, DESCRIPTOR_AT}:
        raise file.contradicts("its descriptor is not where it belongs")
    file.within(0, header.overhead, "first grain")
    _check_spare(file, header, first)
    size = file.disk_size(header.capacity)
    _walk(file, header)
    return size, () if text else (PART,)


def _check_spare(file: ImageFile, header: vmdk.Header, first: bytes) -> None:
    """Checks the place of the second grain directory, which QEMU reads and does not use."""
    flags, place = struct.unpack("<I36xQ", first[8:56])
    if flags & HAS_SPARE and place:
        file.within(place * SECTOR, 4 * header.tables, "second grain directory")


def _walk(file: ImageFile, header: vmdk.Header) -> None:
    """Checks every place in the grain tables; each table is read once."""
    length = 4 * header.entries
    places: list[int] = []
    for part in file.tables(header.directory, header.tables, "I", "little", "grain directory"):
        places += [place * SECTOR for place in part if place]
    places.sort()
    if any(after - before < length for before, after in pairwise(places)):
        raise file.contradicts("its grain tables overlap")
    last = _last_grain(file, header)
    left = -(-file.length // header.grain)
    for offset, count in runs(places, length):
        for entries in file.tables(offset, count // 4, "I", "little", "grain table"):
            left -= _grains(file, header, entries, last)
            if left < 0:
                raise file.contradicts("its tables use more data than the file has")


def _last_grain(file: ImageFile, header: vmdk.Header) -> int:
    """Where the disk's last grain is: only so much of it as the disk has must be there."""
    table, index = divmod(header.grains - 1, header.entries)
    where = file.read(header.directory + 4 * table, 4, "grain directory")
    offset = int.from_bytes(where, "little") * SECTOR
    if not offset:
        return 0
    return int.from_bytes(file.read(offset + 4 * index, 4, "grain table"), "little")


def _grains(file: ImageFile, header: vmdk.Header, entries: array[int], last: int) -> int:
    """How many grains of a table have data, all of it in the file."""
    zero = 2 if header.has_zeroed else 1
    stored = [entry for entry in entries if entry >= zero]
    end = (file.length - header.grain) // SECTOR
    if stored and max(stored) > end:
        outside = [entry for entry in stored if entry > end]
        rest = (header.capacity - 1) % header.grain + 1
        if outside != [last] or last * SECTOR + rest > file.length:
            raise file.cut_short("data")
    return len(stored)


def split(text: bytes) -> tuple[Extent, ...]:
    """The parts of a VMware disk, in order, by its descriptor.

    Raises:
        VmError: it is not strictly that of a disk whose every part is a sparse file with a plain
            name, without parent (77).
    """
    if len(text) > MOST_TEXT:
        raise refused("the VMDK descriptor is too long")
    lines = [line.strip() for line in text.rstrip(b"\0").decode("latin-1").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    keys = [(key[1].lower(), key[2].strip('"')) for line in lines if (key := KEY.fullmatch(line))]
    extents = [found for line in lines if (found := EXTENT.fullmatch(line))]
    if len(keys) + len(extents) != len(lines):
        raise refused("the VMDK descriptor has parts that are not sparse files beside it")
    _check_keys(keys)
    return _checked(Extent(member=found[2], size=int(found[1]) * SECTOR) for found in extents)


def _check_keys(keys: list[tuple[str, str]]) -> None:
    said = dict(keys)
    for key in ("createtype", "parentcid", "version"):
        if [name for name, _ in keys].count(key) != 1:
            raise refused(f"the VMDK descriptor does not have exactly one {key}")
    if said["createtype"] != SPLIT:
        kind = said["createtype"]
        raise refused(f"the VMDK descriptor is of type {kind}, which may name any file")
    if said["parentcid"].lower() != "ffffffff" or "parentfilenamehint" in said:
        raise refused("the VMDK descriptor names a parent: it would show what is in another file")


def _checked(found: Iterable[Extent]) -> tuple[Extent, ...]:
    extents = tuple(found)
    names = {extent.member.lower() for extent in extents}
    if not 0 < len(extents) <= MOST_EXTENTS or len(names) < len(extents):
        raise refused("the VMDK descriptor has no parts, too many, or one twice")
    if not all(PLAIN.fullmatch(extent.member) and extent.size for extent in extents):
        raise refused("the VMDK descriptor has a part without a plain name or without size")
    return extents


def joined(text: bytes, parts: Mapping[str, tuple[str, int]]) -> tuple[bytes, int]:
    """A descriptor of our own for a split disk, and the disk's size in bytes.

    Args:
        text: the descriptor that came with it.
        parts: for the plain name of each part's file in the box, the name that we gave it, and
            the size of its part of the disk, as judged.

    Raises:
        VmError: the descriptor is refused (77), or a part is missing or of another size (65).
    """
    extents = split(text)
    lines = ["# Disk DescriptorFile", "version=1", "CID=fffffffe", "parentCID=ffffffff"]
    # QEMU takes an extent twice when the line before it is empty
    lines += [f'createType="{SPLIT}"', "", "# Extent description"]
    for extent in extents:
        name, size = parts.get(extent.member, ("", 0))
        if not name:
            raise damaged(f"the box lacks {extent.member}, a part of the disk")
        if size != extent.size:
            raise damaged(f"{extent.member} has {size} bytes of the disk, not {extent.size}")
        lines.append(f'RW {size // SECTOR} SPARSE "{name}"')
    lines += ["", "# The Disk Data Base", 'ddb.virtualHWVersion = "4"', ""]
    return "\n".join(lines).encode(), sum(extent.size for extent in extents)
