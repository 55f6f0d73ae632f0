"""Whether a VMDK's tables say the same as the grains that came.

A stream optimized image says twice where each grain belongs: before the grain, and in its grain
tables. Programs that can seek believe the tables, so an image in which the two differ would be
one disk here and another there. Keeping both whole would take 256 MiB for a disk of 2 TiB.
Instead each table of 512 sector numbers is kept as one number: the sum of its entries, each
multiplied by a random weight that is drawn anew for each image, modulo a prime near 2**61.
Different tables have the same sum with a probability of 2**-61, and whoever made the image
cannot know the weights.
"""

from __future__ import annotations

import secrets
from array import array
from bisect import bisect_left
from operator import mul

from vm_pull.images.vmdk import SECTOR, refused
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_pull.archive.cursor import Buffer
    from vm_pull.images.vmdk import Header

__all__ = ["Tables"]

_PRIME = (1 << 61) - 1
_NUMBER = 4  # bytes of a sector number in a table


class Tables:
    """The grain tables of an image, against its grains.

    It takes 44 bytes for each table and one bit for each grain: 6.75 MiB for a disk of 2 TiB.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._weights = [1 + secrets.randbelow(_PRIME - 1) for _ in range(header.entries)]
        self._seen = bytearray(-(-header.grains // 8))
        self._came = array("Q", bytes(8 * header.tables))  # the sums of what came, by table
        self._sectors = array("Q")  # where tables stood, ascending
        self._sums = array("Q")  # and what they said
        self._directory = array("I")
        self._said: list[array[int]] = []  # the sums by table, of each directory

    @property
    def table_size(self) -> int:
        """What one table takes in the file: bytes, whole sectors."""
        return _whole_sectors(self._header.entries)

    @property
    def directory_size(self) -> int:
        """What the directory takes in the file: bytes, whole sectors."""
        return _whole_sectors(self._header.tables)

    def grain(self, index: int, sector: int) -> None:
        """Notes that a grain came.

        Args:
            index: which one of the disk, from 0.
            sector: where it stood in the file.

        Raises:
            VmError: it came before.
        """
        byte, bit = index >> 3, 1 << (index & 7)
        if self._seen[byte] & bit:
            raise refused(f"has grain {index} twice")
        self._seen[byte] |= bit
        table, entry = divmod(index, self._header.entries)
        self._came[table] = (self._came[table] + sector * self._weights[entry]) % _PRIME

    def table(self, data: Buffer, sector: int) -> None:
        """Notes what a table says that stood at a sector; they come in order of sectors.

        Raises:
            VmError: there are more tables than the disk has.
        """
        if len(self._sums) == self._header.tables:
            raise refused("has more grain tables than its disk needs")
        self._sectors.append(sector)
        self._sums.append(self._sum(data))

    def _sum(self, data: Buffer) -> int:
        if not bytes(data).strip(b"\0"):
            return 0  # the quick way through a large and mostly empty disk
        numbers = _numbers(data, self._header.entries)
        if self._header.has_zeroed:  # 1 stands for a grain of zeros, as 0 does
            numbers = array("I", (number if number != 1 else 0 for number in numbers))
        total: int = sum(map(mul, numbers, self._weights))
        return total % _PRIME

    def directory(self, data: Buffer) -> None:
        """Notes where the tables stand by a directory."""
        self._directory = _numbers(data, self._header.tables)

    def named(self) -> Iterator[int]:
        """The sectors of the tables, by the directory that came last.

        Raises:
            VmError: one is missing, or they do not stand one after another.
        """
        end = 1
        for sector in self._directory:
            if sector < end:
                raise refused("has grain tables that overlap, are out of order or are missing")
            end = sector + self.table_size // SECTOR
            yield sector

    def settle(self) -> None:
        """Notes what the tables said that came, by the directory that came last.

        Raises:
            VmError: it names a table that did not come.
        """
        self._said.append(array("Q", map(self._sum_at, self._directory)))
        self._sectors, self._sums = array("Q"), array("Q")

    def check(self) -> None:
        """Compares everything.

        Raises:
            VmError: a grain is named that did not come, or came and is not named or elsewhere.
        """
        for said in self._said:
            for index, (named, came) in enumerate(zip(said, self._came, strict=True)):
                if named != came:
                    first = index * self._header.entries
                    raise refused(f"has other grains than its tables name, from grain {first} on")

    def _sum_at(self, sector: int) -> int:
        if not sector:
            return 0
        place = bisect_left(self._sectors, sector)
        if place == len(self._sectors) or self._sectors[place] != sector:
            raise refused(f"has no grain table at sector {sector}, where its directory names one")
        return self._sums[place]


def _whole_sectors(numbers: int) -> int:
    return -(-numbers * _NUMBER // SECTOR) * SECTOR


def _numbers(data: Buffer, count: int) -> array[int]:
    """Little-endian numbers of 32 bits."""
    numbers = array("I", bytes(memoryview(data)[: count * _NUMBER]))
    if array("H", b"\1\0")[0] != 1:
        numbers.byteswap()  # a big-endian host
    return numbers
