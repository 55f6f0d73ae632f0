"""The headers of a tar archive, read strictly: whatever is not understood is refused.

The standard library's tarfile is not used. It gathers extended headers of any size in memory,
takes a damaged header for the end of the archive, does not ask for that end, and copies each
byte of the members three times.

Source: POSIX.1-2017, pax, EXTENDED DESCRIPTION; GNU tar manual, Basic Tar Format and Storing
Sparse Files.
"""

from __future__ import annotations

from vm_pull.archive import sparse_map
from vm_pull.archive.pax import Extra
from vm_pull.archive.refusal import refusal
from vm_pull.archive.tar_numbers import octal
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_pull.archive.cursor import Cursor
    from vm_pull.archive.sparse_map import Extents

__all__ = ["Entry", "entries"]

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MOST_EXTENDED = 64 << 10  # bytes of an extended header: a name and a few notes
_MOST_IN_A_ROW = 8
_WHERE = "between two members"

_REGULAR = {b"0", b"\0", b"7"}
_FOLDER, _SPARSE = b"5", b"S"
_EXTENDED = {b"x", b"X", b"g", b"L", b"K"}
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"M": "a piece of a file that began in another archive",
}


class Entry(Value):
    """A file or a folder in an archive.

    Attributes:
        name: as it stands there, not to be trusted.
        is_folder: whether it is a folder.
        size: of the file, in bytes, its holes included.
        extents: where the bytes that follow belong in the file.
        stored: how many bytes follow.
    """

    name: bytes
    is_folder: bool
    size: int
    extents: Extents
    stored: int


class _Header(Value):
    kind: bytes
    name: bytes
    size: int
    block: bytes


def entries(cursor: Cursor) -> Iterator[Entry]:
    """Every file and folder of an archive; the cursor is then at the file's bytes.

    These may be taken, all or some, before the next entry is asked for. After the last entry the
    end of the archive was seen, and nothing but zeros behind it.

    Raises:
        VmError: the archive is damaged, cut short, or holds what a box does not: a link, a
            device, an extended header of more than 64 KiB.
    """
    extra = Extra()
    while (block := cursor.take(BLOCK, _WHERE)) != _ZEROS:
        header = _header(block)
        if header.kind in _EXTENDED:
            _extend(extra, header, cursor)
            continue
        entry = _entry(header, extra, cursor)
        end = cursor.position + _padded(entry.stored)
        yield entry
        cursor.skip_to(end, "inside a member")
        extra = Extra()
    _check_end(cursor, extra)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _header(block: bytes) -> _Header:
    """The header in a block.

    Raises:
        VmError: its checksum is wrong, or a number is none.
    """
    given = octal(block[148:156])
    blank = block[:148] + b" " * 8 + block[156:]
    if given not in {sum(blank), sum(blank) - 256 * sum(byte > 127 for byte in blank)}:
        raise refusal("the box is not a tar archive, or a header in it is damaged")
    name, kind = _text(block[:100]), block[156:157]
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    return _Header(kind=kind, name=name, size=octal(block[124:136]), block=block)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _extend(extra: Extra, header: _Header, cursor: Cursor) -> None:
    """Takes an extended header, which says more about the entry behind it."""
    extra.count += 1
    if extra.count > _MOST_IN_A_ROW:
        raise refusal(f"a member of the box has more than {_MOST_IN_A_ROW} extended headers")
    if header.size > _MOST_EXTENDED:
        raise refusal(f"an extended header of the box has {header.size} bytes, more than 64 KiB")
    content = cursor.take(_padded(header.size), "inside an extended header")[: header.size]
    match header.kind:
        case b"L":
            extra.set_name(_text(content))
        case b"K":  # the target of a link, which will be refused
            pass
        case b"g":
            extra.check_global(content)
        case _:
            extra.read(content)


def _entry(header: _Header, extra: Extra, cursor: Cursor) -> Entry:
    """What a header and the extended ones before it describe.

    Raises:
        VmError: it is neither a file nor a folder, or its map of holes is wrong.
    """
    name = header.name if extra.name is None else extra.name
    stored = header.size if extra.size is None else extra.size
    is_folder = header.kind in _REGULAR and name.endswith(b"/")  # as it was before ustar
    if is_folder or header.kind == _FOLDER:
        if stored:
            raise refusal("a folder in the box has content")
        return Entry(name=name, is_folder=True, size=0, extents=sparse_map.extents(), stored=0)
    if header.kind == _SPARSE:
        size, extents = sparse_map.old(header.block, cursor)
    elif header.kind not in _REGULAR:
        raise _odd(header.kind, name)
    elif extra.sparse:
        size, extents, used = sparse_map.pax(extra, cursor)
        stored -= used
    else:
        size, extents = stored, sparse_map.extents((0, stored))
    sparse_map.check(extents, size, stored)
    return Entry(name=name, is_folder=False, size=size, extents=extents, stored=stored)


def _odd(kind: bytes, name: bytes) -> Exception:
    what = _REFUSED.get(kind, f"a member of an unknown kind ({kind.decode('latin-1')!a})")
    shown = name[:100].decode(errors="replace")
    return refusal(f"{shown} in the box is {what}", "a box has files and folders only")


def _check_end(cursor: Cursor, extra: Extra) -> None:
    """Reads on to the end of the stream, behind the first of the two zero blocks.

    Raises:
        VmError: there is no second one, or something else follows.
    """
    if extra.count:
        raise refusal("the last extended header of the box has no member behind it")
    if cursor.take(BLOCK, "before the end mark of its archive") != _ZEROS:
        raise refusal("an empty block stands amid the members of the box")
    while (block := cursor.block()) is not None:
        if block.tobytes().strip(b"\0"):
            raise refusal("something follows the end of the box's archive")
