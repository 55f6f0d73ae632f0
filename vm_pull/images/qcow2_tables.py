"""The tables of a qcow2 image: whether everything that they point at is in the file.

QEMU reads what is outside as zeros and ends well, so a file that was cut short would pass for a
whole one. Source: QEMU, docs/interop/qcow2.txt, Cluster mapping.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from vm_pull.images.imagefile import all_bits, runs
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from array import array

    from vm_pull.images.imagefile import ImageFile

__all__ = ["MOST_L1_ENTRIES", "Layout", "check"]

MOST_L1_ENTRIES = 4 << 20
MOST_TABLES = 1 << 19
"""Of L2 tables with entries: enough for 256 TiB in the usual clusters, and for 16 GiB in the
smallest, which nobody uses."""
OFFSET = 0x00FFFFFFFFFFFE00
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZEROS = 1
ALLOCATED = 0xFFFFFFFF
"""The lower half of an extended entry's bitmap: which of 32 subclusters have data."""


class Layout(Value):
    """What the header says of the tables."""

    version: int
    cluster_bits: int
    size: int
    l1_entries: int
    l1_offset: int
    extended: bool

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entry(self) -> int:
        """Bytes of an entry in an L2 table."""
        return 16 if self.extended else 8


def check(file: ImageFile, layout: Layout) -> None:
    """Follows every offset from the L1 table down.

    Each L2 table is read once, so the work is bounded by the file, whatever its header claims.

    Raises:
        VmError: an offset is outside the file, or the tables contradict themselves (65).
    """
    table_covers = layout.cluster // layout.entry * layout.cluster
    needed = -(-layout.size // table_covers)
    if not needed <= layout.l1_entries <= MOST_L1_ENTRIES:
        raise file.contradicts(f"its L1 table has {layout.l1_entries} entries, not {needed}")
    if layout.l1_offset % layout.cluster or not layout.l1_offset:
        raise file.contradicts("its L1 table is misplaced")
    tables = _tables(file, layout)
    checker = _Checker(file, layout)
    for offset, count in runs(tables, layout.cluster):
        for entries in file.tables(offset, count // 8, "Q", "big", "L2 table"):
            checker.entries(entries)


def _tables(file: ImageFile, layout: Layout) -> list[int]:
    """The offsets of all L2 tables, sorted."""
    most = min(MOST_TABLES, file.length // layout.cluster)
    offsets: list[int] = []
    for part in file.tables(layout.l1_offset, layout.l1_entries, "Q", "big", "L1 table"):
        if all_bits(part) & ~(COPIED | OFFSET & -layout.cluster):
            raise file.contradicts("its L1 table has unknown flags or misplaced tables")
        offsets += [entry & OFFSET for entry in part if entry & OFFSET]
        if len(offsets) > most:
            raise file.contradicts("its L1 table names more L2 tables than there can be")
    offsets.sort()
    if any(one == other for one, other in pairwise(offsets)):
        raise file.contradicts("its L1 table uses an L2 table twice")
    return offsets


class _Checker:
    """Checks L2 entries in bulk; keeps what is counted over all tables."""

    def __init__(self, file: ImageFile, layout: Layout) -> None:
        self.file = file
        self.layout = layout
        self.clusters_left = -(-file.length // layout.cluster)
        self.may_be_short = self._last_entry()
        zeros = ZEROS if layout.version == 3 and not layout.extended else 0
        self.allowed = COPIED | (OFFSET & -layout.cluster) | zeros

    def _last_entry(self) -> int:
        """The entry of the disk's last cluster: only so much of it as the disk has is there."""
        file, layout = self.file, self.layout
        last = (layout.size - 1) // layout.cluster
        table, index = divmod(last, layout.cluster // layout.entry)
        where = file.read(layout.l1_offset + 8 * table, 8, "L1 table")
        offset = int.from_bytes(where, "big") & OFFSET
        if not offset:
            return 0
        return int.from_bytes(file.read(offset + index * layout.entry, 8, "L2 table"), "big")

    def entries(self, table: array[int]) -> None:
        """Checks entries of L2 tables, all of them at once.

        Sorted, they fall into what is compressed and what is not, and the largest of each tells
        about all.
        """
        entries = table[0::2] if self.layout.extended else table
        ordered = sorted(entries)
        packed, copied = bisect_left(ordered, COMPRESSED), bisect_left(ordered, COPIED)
        both = bisect_left(ordered, COPIED | COMPRESSED)
        self._plain(ordered[bisect_left(ordered, 1) : packed] + ordered[copied:both], table)
        self._compressed(ordered[packed:copied] + ordered[both:])
        if self.layout.extended:
            self._bitmaps(table)

    def _plain(self, entries: list[int], table: array[int]) -> None:
        every = all_bits(entries)
        if every & ~self.allowed:
            raise self.file.contradicts("an L2 table has unknown flags or misplaced clusters")
        if every & ZEROS:
            entries = [entry for entry in entries if not entry & ZEROS]
        self.clusters_left -= len(entries)
        if self.clusters_left < 0:
            raise self.file.contradicts("its tables use more data than the file has")
        end = self.file.length - self.layout.cluster
        if (every & OFFSET) > end:  # else none can be
            outside = [entry for entry in entries if (entry & OFFSET) > end]
            self._partly_there(outside, table)

    def _partly_there(self, outside: list[int], table: array[int]) -> None:
        """Checks clusters that reach past the end: at most one may, by what nobody reads of it."""
        if not outside:
            return
        there = self.file.length - (outside[0] & OFFSET)
        read = self.layout.cluster
        if self.layout.extended:
            bitmap = table[2 * table[0::2].index(outside[0]) + 1] & ALLOCATED
            read = bitmap.bit_length() * self.layout.cluster // 32
        if outside[0] == self.may_be_short:
            read = min(read, (self.layout.size - 1) % self.layout.cluster + 1)
        if len(outside) > 1 or there < read:
            raise self.file.cut_short("data")

    def _compressed(self, entries: list[int]) -> None:
        if not entries:
            return
        shift = 62 - (self.layout.cluster_bits - 8)
        place, sectors = (1 << shift) - 1, (1 << self.layout.cluster_bits - 8) - 1
        end = max(((e & place) >> 9) + ((e >> shift) & sectors) for e in entries)
        if (end + 1) * 512 > self.file.length:
            raise self.file.cut_short("compressed data")

    def _bitmaps(self, table: array[int]) -> None:
        """Checks the bitmaps of extended entries: data is somewhere, and is not zeros too."""
        for entry, bitmap in zip(table[0::2], table[1::2], strict=True):
            data, zeros = bitmap & ALLOCATED, bitmap >> 32
            needs_place = data and (not entry & OFFSET or entry & COMPRESSED)
            if data & zeros or needs_place:
                raise self.file.contradicts("a bitmap of an L2 table contradicts itself")
