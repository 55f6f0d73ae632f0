"""The files in a box's archive, in their order."""

from __future__ import annotations

import unicodedata

from vm_pull.archive import tar
from vm_pull.archive.cursor import Buffer, Cursor
from vm_pull.archive.refusal import refusal
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Piece = tuple[int, Buffer]

__all__ = ["Member", "Names", "filled", "members"]

_MOST_NAMES = 4096  # files and folders in a box; the largest known have some 60
_LONGEST_NAME = 512  # characters
_MOST_FILLED = 64 << 20  # bytes of zeros made for the holes of one member
_ZEROS = bytes(64 << 10)


class Member(Value):
    """A file in an archive. It can be read once, before the next member is asked for.

    Attributes:
        name: relative, with slashes, without `.` and `..`; no other member has it. A name to
            show and to compare: nothing may be created by it.
        size: in bytes, its holes included.
        pieces: what is stored of it: where it belongs, ascending, and the bytes. Between them
            are holes.
    """

    name: str
    size: int
    pieces: Iterator[Piece]

    def blocks(self) -> Iterator[Buffer]:
        """All its bytes, zeros for the holes.

        Raises:
            VmError: the archive is cut short or damaged there, or the holes have over 64 MiB.
        """
        return filled(self.name, self.pieces, self.size)


def filled(name: str, pieces: Iterator[Piece], size: int) -> Iterator[Buffer]:
    """The bytes of a file from its pieces, zeros between them and up to its size.

    Raises:
        VmError: the holes have over 64 MiB: for a file whose every byte is looked at.
    """
    at = left = 0
    left = _MOST_FILLED
    for offset, piece in pieces:
        left -= offset - at
        yield from _zeros(name, offset - at, left)
        yield piece
        at = offset + len(piece)
    yield from _zeros(name, size - at, left - (size - at))


def _zeros(name: str, count: int, left: int) -> Iterator[Buffer]:
    if left < 0:
        raise refusal(f"{name} in the box has large holes, which it should not have")
    for _ in range(count // len(_ZEROS)):
        yield _ZEROS
    if count % len(_ZEROS):
        yield _ZEROS[: count % len(_ZEROS)]


def members(blocks: Iterable[Buffer]) -> Iterator[Member]:
    """Every file of a tar archive, in its order. The stream is read to its end.

    Raises:
        VmError: the archive is damaged or cut short, holds a link or a device, or a name that
            leaves its folder, is not printable, or stands there twice.
    """
    cursor = Cursor(blocks)
    names = Names()
    for entry in tar.entries(cursor):
        if entry.is_folder:
            names.add_folder(entry.name)
        else:
            name = names.add(entry.name)
            yield Member(name=name, size=entry.size, pieces=_pieces(cursor, entry, name))


def _pieces(cursor: Cursor, entry: tar.Entry, name: str) -> Iterator[Piece]:
    where = f"inside {name}"
    for offset, count in zip(entry.extents[::2], entry.extents[1::2], strict=True):
        at = offset
        for piece in cursor.pieces(count, where):
            yield at, piece
            at += len(piece)


class Names:
    """The names in an archive so far."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._count = 0

    def add(self, raw: bytes | str) -> str:
        """A member's name, made plain.

        Raises:
            VmError: it is refused, or is there already; names that differ in case only are one.
        """
        name = self._plain(raw)
        if not name:
            raise refusal("a file in the box has no name")
        same = unicodedata.normalize("NFC", name).casefold()
        if same in self._seen:
            raise refusal(f"{name} is in the box twice, or under names that differ in case only")
        self._seen.add(same)
        return name

    def add_folder(self, raw: bytes | str) -> None:
        """Looks at a folder's name; the folder of the archive itself has none.

        Raises:
            VmError: it is refused.
        """
        self._plain(raw)

    def _plain(self, raw: bytes | str) -> str:
        self._count += 1
        if self._count > _MOST_NAMES:
            raise refusal(f"the box has more than {_MOST_NAMES} members")
        try:
            name = raw if isinstance(raw, str) else raw.decode()
        except UnicodeDecodeError:
            raise refusal("a name in the box is not UTF-8") from None
        if len(name) > _LONGEST_NAME or not name.isprintable() or "\\" in name:
            raise refusal(f"{name[:60]} is no name for a file in a box")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or ".." in parts:
            raise refusal(f"{name} would be outside of the box's folder")
        return "/".join(parts)
