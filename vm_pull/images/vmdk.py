"""The beginning of a sparse VMDK: its header of numbers and its descriptor of words."""

from __future__ import annotations

import re
import struct

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from vm_pull.archive.cursor import Buffer

__all__ = ["AT_END", "FIRST_BYTES", "SECTOR", "Header", "parse", "read", "refused"]

SECTOR = 512  # bytes
FIRST_BYTES = 65536  # how much of a file `read` wants to see
AT_END = 0xFFFFFFFFFFFFFFFF  # a grain directory that is named by a footer

_LAYOUT = struct.Struct("<4sIIQQQQIQQQB4sH")
_LINE_ENDS = b"\n \r\n"  # what a transfer as text would have spoilt
_REDUNDANT, _ZEROED, _COMPRESSED, _MARKERS = 2, 4, 0x10000, 0x20000  # flags
_DEFLATE = 1
_GRAINS = 1 << 26  # 4 TiB in grains of 64 KiB: what tables of 32-bit sectors can be used for
_TABLES = 1 << 17
_LONGEST_OVERHEAD = 1 << 21  # sectors; two sets of tables for that many grains take half of it
_KINDS = ("streamOptimized", "monolithicSparse")
_CREATE_TYPE = re.compile(r'(?im)^[ \t]*createtype[ \t]*=[ \t]*"([^"]*)"[ \t]*$')
_PARENT = re.compile(r"(?im)^[ \t]*parentcid[ \t]*=[ \t]*(\S+)[ \t]*$")
_EXTENT = re.compile(r"(?im)^[ \t]*(?:rw|rdonly|noaccess)[ \t]+(.*)$")
_SPARSE = re.compile(r'([0-9]{1,18})[ \t]+SPARSE[ \t]+"[^"]*"[ \t]*')


class Header(Value):
    """The numbers of a sparse VMDK, all of them in range.

    Attributes:
        capacity: of the disk, bytes; more than 0.
        grain: how much of the disk one grain holds, bytes.
        entries: how many grains one grain table names.
        overhead: where the first grain may stand, bytes.
        directory: where the grain directory stands, bytes; AT_END when a footer says it.
        redundant: where a second directory stands that says the same, bytes; 0 when there is none.
        descriptor: where the descriptor stands, bytes; 0 when there is none.
        descriptor_size: bytes.
        is_stream: its grains are compressed and each says where it belongs: streamOptimized.
        has_zeroed: a table's entry 1 stands for a grain of zeros.
    """

    capacity: int
    grain: int
    entries: int
    overhead: int
    directory: int
    redundant: int
    descriptor: int
    descriptor_size: int
    is_stream: bool
    has_zeroed: bool

    @property
    def grains(self) -> int:
        """How many grains the disk has; the last one may be cut short by its end."""
        return -(-self.capacity // self.grain)

    @property
    def tables(self) -> int:
        """How many grain tables, and entries of the directory, those grains take."""
        return -(-self.grains // self.entries)


def refused(
    problem: str, hint: str = "fetch it again; if it stays so, tell who made it"
) -> VmError:
    """The error for an image that cannot be what its maker meant."""
    return VmError(Fault(problem=f"the VMDK image {problem}", hint=hint))


def parse(first: Buffer) -> Header:
    """The header of a sparse VMDK, without a look at its descriptor.

    Args:
        first: the beginning of the file, 512 bytes or more.

    Raises:
        VmError: it is not a sparse VMDK of version 1 to 3, or a number is out of range.

    Source: Virtual Disk Format 5.0 (VMware), Hosted Sparse Extent Header.
    """
    begin = bytes(memoryview(first)[:SECTOR])
    if len(begin) < SECTOR or not begin.startswith(b"KDMV"):
        raise refused("does not begin with the header of a sparse VMDK")
    fields = _LAYOUT.unpack_from(begin)
    _, version, flags, capacity, grain, descriptor, descriptor_size, entries = fields[:8]
    redundant, directory, overhead, _, ends, compression = fields[8:]
    if version not in (1, 2, 3):
        raise refused(f"is of version {version}", "versions 1, 2 and 3 can be read")
    if ends != _LINE_ENDS:
        raise refused("was spoilt by a transfer as text")
    _check_numbers(capacity, grain, entries)
    _check_places(overhead, descriptor, descriptor_size)
    return Header(
        capacity=capacity * SECTOR,
        grain=grain * SECTOR,
        entries=entries,
        overhead=overhead * SECTOR,
        directory=directory if directory == AT_END else directory * SECTOR,
        redundant=redundant * SECTOR if flags & _REDUNDANT else 0,
        descriptor=descriptor * SECTOR,
        descriptor_size=descriptor_size * SECTOR,
        is_stream=_is_stream(flags, compression),
        has_zeroed=bool(flags & _ZEROED),
    )


def _check_numbers(capacity: int, grain: int, entries: int) -> None:
    if capacity == 0:
        raise refused("has a capacity of 0", "a descriptor that names other files is not followed")
    if grain not in (1 << n for n in range(3, 14)):
        raise refused(f"has grains of {grain} sectors", "they are powers of two from 8 to 8192")
    if not 1 <= entries <= SECTOR:
        raise refused(f"has grain tables of {entries} entries", "there are 1 to 512, usually 512")
    grains = -(-capacity // grain)
    if grains > _GRAINS or -(-grains // entries) > _TABLES:
        raise refused(f"is for a disk of {capacity} sectors", "4 TiB is the most a VMDK can hold")


def _check_places(overhead: int, descriptor: int, size: int) -> None:
    if not 1 <= overhead <= _LONGEST_OVERHEAD:
        raise refused(f"puts its first grain at sector {overhead}")
    if descriptor and not (size and descriptor + size <= overhead):
        raise refused("has a descriptor that reaches into its grains")


def _is_stream(flags: int, compression: int) -> bool:
    compressed = bool(flags & _COMPRESSED)
    if compressed != bool(flags & _MARKERS) or compression != (_DEFLATE if compressed else 0):
        raise refused("contradicts itself about how its grains are compressed")
    return compressed


def read(first: Buffer) -> Header:
    """The header of a sparse VMDK that is one whole disk by its descriptor too.

    No name in the descriptor is ever used: it may only say that nothing else belongs to the disk.

    Args:
        first: the beginning of the file: FIRST_BYTES, or all of it when it is shorter.

    Raises:
        VmError: as for `parse`; or the descriptor is not one of a disk without parent and
            without other files.
    """
    header = parse(first)
    begin, end = header.descriptor, header.descriptor + header.descriptor_size
    if not begin or end > min(FIRST_BYTES, len(memoryview(first))):
        raise refused("has no descriptor where one belongs")
    text = bytes(memoryview(first)[begin:end]).partition(b"\0")[0].decode("latin-1")
    text = text.replace("\r\n", "\n")
    _check_words(text, _KINDS[0] if header.is_stream else _KINDS[1])
    _check_extent(text, header)
    return header


def _check_words(text: str, expected: str) -> None:
    """Words are counted wherever they stand, in comments too: other programs find them there."""
    lower = text.lower()
    kinds = [kind for kind in _CREATE_TYPE.findall(text) if kind in _KINDS]
    if lower.count("createtype") != 1 or len(kinds) != 1:
        raise refused("does not say exactly once of which type it is", f'createType="{expected}"')
    if kinds != [expected]:
        raise refused(f"says that it is {kinds[0]}, and is {expected}")
    parents = [parent.lower() for parent in _PARENT.findall(text)]
    if "parentfilenamehint" in lower or lower.count("parentcid") > 1 or parents != ["ffffffff"]:
        raise refused("depends on another image", "flatten it where it was made, then pack it")


def _check_extent(text: str, header: Header) -> None:
    """VirtualBox fills up the last grain in the header's capacity, and not in the extent's."""
    extents: list[str] = _EXTENT.findall(text)
    sparse = [extent[1] for each in extents if (extent := _SPARSE.fullmatch(each))]
    if len(extents) != 1 or len(sparse) != 1:
        raise refused("does not consist of exactly one sparse extent", "its disk is in other files")
    size = int(sparse[0]) * SECTOR
    if header.capacity not in (size, -(-size // header.grain) * header.grain):
        raise refused(f"is for {header.capacity} bytes by its header, for {size} by its descriptor")
