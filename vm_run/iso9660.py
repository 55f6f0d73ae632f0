"""A small ISO 9660 image: a few files in one folder, with their own names by Joliet.

Source: ECMA-119, 4th edition, sections 6 to 9; the Joliet specification (1995) for the
supplementary descriptor, which has the names in UCS-2.
"""

from __future__ import annotations

import struct

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SECTOR", "image"]

SECTOR = 2048
_DESCRIPTORS = 16  # sectors; what is before belongs to whoever boots from it
_TABLES, _FOLDERS, _FILES = 19, 23, 25  # sectors: two path tables of each tree, two roots, files
_FOLDER = 2  # file flags (9.1.6)
_SELF, _PARENT = b"\0", b"\1"
_JOLIET = b"%/E"  # UCS-2 level 3
_UNTIMED = b"0" * 16 + b"\0"  # no date, so that the same files are the same image (8.4.26.1)


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """An image of these files.

    The label is written as it is, though ECMA-119 has capitals only: cloud-init has always looked
    for `cidata`. In the plain tree user-data is USER_DAT; Joliet's has the names as they are.

    Args:
        label: the volume's, at most 16 ASCII characters.
        files: name -> content; ASCII names.

    Raises:
        ValueError: there are more files than fit into one sector's folder.
    """
    places: dict[str, tuple[int, int]] = {}
    sector = _FILES
    for name, content in files.items():
        places[name] = (sector, len(content))
        sector += -(-len(content) // SECTOR)
    plain = {_short(name): place for name, place in places.items()}
    wide = {f"{name};1".encode("utf-16-be"): place for name, place in places.items()}
    return b"".join(
        (
            bytes(_DESCRIPTORS * SECTOR),
            _descriptor(1, label, _TABLES, sector),
            _descriptor(2, label, _TABLES + 2, sector),
            _filled(b"\xffCD001\1"),
            *(_paths(_FOLDERS + tree, order) for tree in (0, 1) for order in "<>"),
            _folder(_FOLDERS, plain),
            _folder(_FOLDERS + 1, wide),
            *map(_filled, files.values()),
        )
    )


def _short(name: str) -> bytes:
    """A name of eight capitals, digits and underscores (7.4.1), and the first version."""
    kept = "".join(c if c.isalnum() else "_" for c in name.upper())
    return f"{kept[:8]}.;1".encode("ascii")


def _descriptor(kind: int, label: str, tables: int, sectors: int) -> bytes:
    """The primary volume descriptor (8.4), kind 1, or the supplementary one (8.5), kind 2."""
    wide = kind == 2
    encoding, blank = ("utf-16-be", b"\0 ") if wide else ("ascii", b" ")
    parts = (
        struct.pack("B5sBx", kind, b"CD001", 1),
        (blank * 32)[:32],
        (label.encode(encoding) + blank * 32)[:32],
        bytes(8),
        _both(sectors),
        (_JOLIET if wide else b"").ljust(32, b"\0"),
        *map(_both_short, (1, 1, SECTOR)),
        _both(len(_path(0, "<"))),
        struct.pack("<II", tables, 0),
        struct.pack(">II", tables + 1, 0),
        _record(_SELF, (_FOLDERS + wide, SECTOR), _FOLDER),
        (blank * 512)[:512],  # who made it, of what set
        *[(blank * 37)[:36] + b"\0" if wide else blank * 37] * 3,  # copyright and other files
        _UNTIMED * 4,
        b"\1",
    )
    return _filled(b"".join(parts))


def _both(number: int) -> bytes:
    """A number in both byte orders (7.3.3)."""
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both_short(number: int) -> bytes:
    """A short number in both byte orders (7.2.3)."""
    return struct.pack("<H", number) + struct.pack(">H", number)


def _paths(root: int, order: str) -> bytes:
    return _filled(_path(root, order))


def _path(root: int, order: str) -> bytes:
    """The path table's only entry, the root (9.4)."""
    return struct.pack(f"{order}BBIHBx", 1, 0, root, 1, 0)


def _folder(sector: int, entries: Mapping[bytes, tuple[int, int]]) -> bytes:
    own = (sector, SECTOR)
    records = [_record(name, own, _FOLDER) for name in (_SELF, _PARENT)]
    records += [_record(name, place) for name, place in sorted(entries.items())]
    if sum(map(len, records)) > SECTOR:
        msg = "a folder of one sector cannot hold so many files"
        raise ValueError(msg)
    return _filled(_joined(records))


def _joined(records: Iterable[bytes]) -> bytes:
    return b"".join(records)


def _record(name: bytes, place: tuple[int, int], flags: int = 0) -> bytes:
    """A directory record (9.1), of even length."""
    start, size = place
    length = 33 + len(name) + (len(name) + 1) % 2
    packed = struct.pack("BB", length, 0) + _both(start) + _both(size) + bytes(7)
    packed += struct.pack("BBB", flags, 0, 0) + _both_short(1) + struct.pack("B", len(name)) + name
    return packed.ljust(length, b"\0")


def _filled(content: bytes) -> bytes:
    """A content in whole sectors."""
    return content + bytes(-len(content) % SECTOR)
