"""Stream optimized VMDKs as VirtualBox exports them: tables after the grains, then a footer.

Everything is made piece by piece, so that images larger than memory can be written; a test that
wants a crooked image calls the pieces of `Writer` in an order of its own.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

SECTOR = 512
GRAIN = 65536
GRAIN_SECTORS = GRAIN // SECTOR
ENTRIES = 512
OVERHEAD = 128  # sectors
AT_END = 0xFFFFFFFFFFFFFFFF
END, TABLE, DIRECTORY, FOOTER = range(4)
FLAGS = 0x30001

DESCRIPTOR = """\
# Disk DescriptorFile
version=1
CID=1f0c2a7e
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY {sectors} SPARSE "box-disk001.vmdk"

# The disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.adapterType="lsilogic"
ddb.geometry.cylinders="16383"
ddb.geometry.heads="16"
ddb.geometry.sectors="63"
ddb.uuid.image="0bb0a1c6-5fa0-4a3c-9f6e-7f3a2f0d1c55"
ddb.uuid.parent="00000000-0000-0000-0000-000000000000"
ddb.uuid.modification="00000000-0000-0000-0000-000000000000"
ddb.uuid.parentmodification="00000000-0000-0000-0000-000000000000"
"""

Grains = Iterable[tuple[int, bytes]]  # which one, and its 64 KiB; ascending


class Writer:
    """The pieces of one image, each as the bytes that come next; it keeps the tables."""

    def __init__(self, size: int, *, level: int = 6, descriptor: str = DESCRIPTOR) -> None:
        self.sectors = size // SECTOR
        self.count = -(-self.sectors // (GRAIN_SECTORS * ENTRIES))  # of tables
        self.level = level
        self.descriptor = descriptor
        self.at = 0  # sectors that were written
        self.tables: dict[int, list[int]] = {}
        self.placed = [0] * self.count  # where tables stand: the directory
        self.placed_at = 0  # and where that stands

    def header(self, *, directory: int = AT_END, sectors: int | None = None) -> bytes:
        """The 512 bytes that begin the image, and in the footer once more."""
        return struct.pack(
            "<4sIIQQQQIQQQB4sH433x", b"KDMV", 3, FLAGS,
            self.sectors if sectors is None else sectors, GRAIN_SECTORS,
            1, 20, ENTRIES, 0, directory, OVERHEAD, 0, b"\n \r\n", 1,
        )  # fmt: skip

    def beginning(self) -> bytes:
        """Header and descriptor, up to the first grain."""
        text = self.descriptor.format(sectors=self.sectors).encode()
        return self._written(self.header() + text.ljust((OVERHEAD - 1) * SECTOR, b"\0"))

    def grain(self, index: int, content: bytes) -> bytes:
        """A grain that its table names."""
        self.name(index, self.at)
        return self.record(index * GRAIN_SECTORS, zlib.compress(content, self.level))

    def name(self, index: int, sector: int) -> None:
        """Has the table name a grain at a sector."""
        number, entry = divmod(index, ENTRIES)
        self.tables.setdefault(number, [0] * ENTRIES)[entry] = sector

    def record(self, sector: int, data: bytes) -> bytes:
        """A grain as it is given, for a sector of the disk."""
        return self._written(padded(struct.pack("<QI", sector, len(data)) + data))

    def marker(self, kind: int, payload: bytes = b"") -> bytes:
        """A marker and what belongs to it."""
        count = len(payload) // SECTOR
        return self._written(padded(struct.pack("<QII", count, 0, kind)) + payload)

    def table(self, number: int) -> bytes:
        """A grain table after its marker."""
        self.placed[number] = self.at + 1
        return self.marker(TABLE, numbers(self.tables.get(number, [0] * ENTRIES)))

    def directory(self) -> bytes:
        """The grain directory after its marker."""
        self.placed_at = self.at + 1
        return self.marker(DIRECTORY, padded(numbers(self.placed)))

    def footer(self, *, sectors: int | None = None) -> bytes:
        """The footer after its marker."""
        return self.marker(FOOTER, self.header(directory=self.placed_at, sectors=sectors))

    def end(self) -> bytes:
        """The marker that ends the image."""
        return self.marker(END)

    def _written(self, data: bytes) -> bytes:
        self.at += len(data) // SECTOR
        return data


def padded(data: bytes) -> bytes:
    """Whole sectors."""
    return data + bytes(-len(data) % SECTOR)


def numbers(values: Iterable[int]) -> bytes:
    """Numbers of 32 bits, little-endian."""
    values = list(values)
    return struct.pack(f"<{len(values)}I", *values)


def pieces(size: int, grains: Grains, *, level: int = 6) -> Iterator[bytes]:
    """An image of a disk of a size in bytes, piece by piece."""
    writer = Writer(size, level=level)
    yield writer.beginning()
    group = -1
    for index, content in grains:
        if group >= 0 and index // ENTRIES != group:
            yield writer.table(group)
        group = index // ENTRIES
        yield writer.grain(index, content)
    if group >= 0:
        yield writer.table(group)
    yield writer.directory()
    yield writer.footer()
    yield writer.end()


def image(disk: bytes) -> bytes:
    """The image of a small disk."""
    return b"".join(pieces(len(disk), grains_of(disk)))


def write(target: Path, size: int, grains: Grains, *, level: int = 6) -> None:
    """Writes an image of any size to a file."""
    with target.open("wb") as file:
        file.writelines(pieces(size, grains, level=level))


def grains_of(disk: bytes) -> Iterator[tuple[int, bytes]]:
    """The grains of a disk that are not all zeros; the last one is filled up."""
    for index in range(-(-len(disk) // GRAIN)):
        content = disk[index * GRAIN : (index + 1) * GRAIN].ljust(GRAIN, b"\0")
        if content != bytes(GRAIN):
            yield index, content


def grains_in(source: Path) -> Iterator[tuple[int, bytes]]:
    """The grains of a raw disk in a file, without a look at its holes."""
    with source.open("rb") as file:
        size = source.stat().st_size
        place = 0
        while (place := _data_from(file.fileno(), place)) < size:
            place -= place % GRAIN
            content = os.pread(file.fileno(), GRAIN, place).ljust(GRAIN, b"\0")
            if content != bytes(GRAIN):
                yield place // GRAIN, content
            place += GRAIN


def _data_from(fd: int, place: int) -> int:
    try:
        return os.lseek(fd, place, os.SEEK_DATA)
    except OSError:  # ENXIO: only a hole follows
        return 1 << 62
