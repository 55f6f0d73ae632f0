"""A disk image's file as the gate reads it: whole pieces, whole tables, never past the end."""

from __future__ import annotations

import os
import sys
from functools import reduce

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator

__all__ = ["DAMAGED", "REFUSED", "SECTOR", "ImageFile", "all_bits", "damaged", "refused", "runs"]

DAMAGED = 65
REFUSED = 77
SECTOR = 512
AT_ONCE = 1 << 20
"""Bytes of a table in memory at once."""


def refused(problem: str, hint: str = "") -> VmError:
    """The error for an image that we will not touch (77)."""
    hint = hint or "get the box from somebody you trust, and tell its maker"
    return VmError(Fault(problem=problem, hint=hint), status=REFUSED)


def damaged(problem: str) -> VmError:
    """The error for an image that is cut short or contradicts itself (65)."""
    hint = "download the box again; if that gives the same, tell its maker"
    return VmError(Fault(problem=problem, hint=hint), status=DAMAGED)


class ImageFile:
    """An open image.

    Attributes:
        kind: what it is called in sentences: `qcow2 image`.
        most_bytes: the largest disk that is accepted.
        length: bytes in the file.
    """

    def __init__(self, fd: int, kind: str, most_bytes: int) -> None:
        self._fd = fd
        self.most_bytes = most_bytes
        self.kind = kind
        self.length = os.fstat(fd).st_size

    def read(self, offset: int, count: int, what: str) -> bytes:
        """Exactly `count` bytes at `offset`.

        Raises:
            VmError: `what` reaches past the end of the file (65); the disk fails (74).
        """
        if offset < 0 or offset + count > self.length:
            raise self.cut_short(what)
        try:
            data = os.pread(self._fd, count, offset)
        except OSError as error:
            problem = f"the {self.kind} cannot be read: {error.strerror or error}"
            raise VmError(Fault(problem=problem), status=74) from None
        if len(data) != count:
            raise self.cut_short(what)
        return data

    def tables(
        self, offset: int, count: int, code: str, order: str, what: str
    ) -> Iterator[array[int]]:
        """A table of numbers, in pieces of at most a mebibyte.

        Args:
            offset: where it begins in the file.
            count: how many numbers it has.
            code: of the array module: `I` for 32 bits, `Q` for 64.
            order: `big` or `little`.
            what: names the table in the error.
        """
        from array import array

        width = array(code).itemsize
        if offset < 0 or offset + count * width > self.length:
            raise self.cut_short(what)
        end = offset + count * width
        for start in range(offset, end, AT_ONCE):
            numbers = array(code, self.read(start, min(AT_ONCE, end - start), what))
            if order != sys.byteorder:
                numbers.byteswap()
            yield numbers

    def disk_size(self, size: int) -> int:
        """The size of the disk that the guest sees, when it may be that large.

        Raises:
            VmError: it is nothing, not whole sectors, or more than is accepted (65).
        """
        if size > self.most_bytes:
            gib = 1 << 30
            raise damaged(
                f"the {self.kind} holds a disk of {-(-size // gib)} GiB, "
                f"and {self.most_bytes // gib} GiB is the most accepted"
            )
        if size <= 0 or size % SECTOR:
            raise self.contradicts(f"its disk has {size} bytes")
        return size

    def within(self, offset: int, count: int, what: str) -> None:
        """Checks that `count` bytes at `offset` are in the file.

        Raises:
            VmError: they are not (65).
        """
        if offset < 0 or offset + count > self.length:
            raise self.cut_short(what)

    def cut_short(self, what: str) -> VmError:
        """The error for a file that ends before something it points at."""
        return damaged(f"the {self.kind} is cut short or damaged: its {what} is outside the file")

    def contradicts(self, how: str) -> VmError:
        """The error for a field that cannot be."""
        return damaged(f"the {self.kind} is damaged: {how}")


def runs(offsets: list[int], size: int) -> Iterator[tuple[int, int]]:
    """Neighbouring tables of `size` bytes as one offset and a length, about a mebibyte at most.

    Args:
        offsets: where the tables begin, sorted.
        size: of each, in bytes.
    """
    start = end = -1
    for offset in offsets:
        if offset != end or end - start >= AT_ONCE:
            if end > start:
                yield start, end - start
            start = offset
        end = offset + size
    if end > start:
        yield start, end - start


def all_bits(numbers: Iterable[int]) -> int:
    """Every bit that is set in any of the numbers."""
    return reduce(int.__or__, numbers, 0)
