"""Where the stored bytes of a sparse tar member belong.

Source: GNU tar manual, Storing Sparse Files; libarchive writes the same PAX 1.0 maps.
"""

from __future__ import annotations

from array import array

from vm_pull.archive.refusal import refusal
from vm_pull.archive.tar_numbers import decimal, octal
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_pull.archive.cursor import Cursor
    from vm_pull.archive.pax import Extra

__all__ = ["Extents", "check", "extents", "old", "pax"]

BLOCK = 512
_MOST = 1 << 20  # extents: a disk of 64 GiB in which every other 32 KiB is a hole
_IN_HEADER, _IN_BLOCK, _ENTRY = 4, 21, 24
_KEY = b"GNU.sparse."
_WHERE = "inside the map of a sparse member"

if TYPE_CHECKING:
    Extents = array[int]
else:
    Extents = array
"""Offset and length of each run of bytes, one after the other: a tuple each would cost 100 MB."""


def extents(numbers: Iterable[int] = ()) -> Extents:
    """Extents of these offsets and lengths, alternating."""
    return array("Q", numbers)


def check(found: Extents, size: int, stored: int) -> None:
    """Looks whether extents fit the file and what is stored of it.

    Raises:
        VmError: they overlap, go backwards or beyond the file, or are not what is stored.
    """
    at = 0
    total = 0
    for offset, count in zip(found[::2], found[1::2], strict=True):
        if offset < at:
            raise refusal("the map of a sparse member goes backwards")
        at = offset + count
        total += count
    if at > size or total != stored:
        raise refusal("the map of a sparse member does not fit what is stored of it")


def old(block: bytes, cursor: Cursor) -> tuple[int, Extents]:
    """The size and the extents of an old GNU sparse member: in its header and behind it.

    Raises:
        VmError: there are too many, or a number is none.
    """
    found = extents()
    _add(found, block[386 : 386 + _IN_HEADER * _ENTRY])
    size, goes_on = octal(block[483:495]), block[482]
    while goes_on:
        block = cursor.take(BLOCK, _WHERE)
        _add(found, block[: _IN_BLOCK * _ENTRY])
        goes_on = block[504]
    return size, found


def _add(found: Extents, fields: bytes) -> None:
    """Adds the entries of a header; one without a length ends them."""
    for at in range(0, len(fields), _ENTRY):
        offset, count = fields[at : at + 12], fields[at + 12 : at + _ENTRY]
        if not count.strip(b" \0"):
            return
        found.extend((octal(offset), octal(count)))
    _limit(len(found) // 2)


def _limit(count: int) -> None:
    if count > _MOST:
        raise refusal(f"a sparse member of the box is in more than {_MOST} pieces")


def pax(extra: Extra, cursor: Cursor) -> tuple[int, Extents, int]:
    """The size and the extents of a PAX sparse member, and how many stored bytes tell them.

    Raises:
        VmError: the version is unknown, a record is missing, or a number is none.
    """
    records = dict(extra.sparse)
    version = records.get(_KEY + b"major", b"0"), records.get(_KEY + b"minor", b"1")
    size = decimal(records.get(_KEY + b"realsize", records.get(_KEY + b"size", b"")))
    if version == (b"1", b"0"):
        return size, *_in_front(cursor)
    if version not in {(b"0", b"0"), (b"0", b"1")}:
        raise refusal("a sparse member of the box is of an unknown version")
    if _KEY + b"map" in records:
        numbers = [decimal(part) for part in records[_KEY + b"map"].split(b",")]
    else:
        both = {_KEY + b"offset", _KEY + b"numbytes"}
        numbers = [decimal(value) for key, value in extra.sparse if key in both]
    return size, extents(_in_pairs(numbers)), 0


def _in_pairs(numbers: list[int]) -> list[int]:
    if len(numbers) % 2:
        raise refusal("the map of a sparse member lacks a number")
    return numbers


def _in_front(cursor: Cursor) -> tuple[Extents, int]:
    """The map that stands in front of the bytes: a count, then the numbers, one in a line."""
    found = extents()
    begin = cursor.position
    lines = _lines(cursor)
    count = decimal(next(lines))
    _limit(count)
    found.extend(decimal(next(lines)) for _ in range(2 * count))
    return found, cursor.position - begin


def _lines(cursor: Cursor) -> Iterator[bytes]:
    """Lines, reading one block at a time; never a block more than the lines taken need."""
    rest = b""
    while True:
        *whole, rest = (rest + cursor.take(BLOCK, _WHERE)).split(b"\n")
        yield from whole
        if len(rest) > BLOCK:
            raise refusal("the map of a sparse member is not in lines")
