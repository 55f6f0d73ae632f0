"""A box taken apart in one pass: its disks into sparse files, its small texts into memory."""

from __future__ import annotations

import os
from itertools import chain

from vm_pull.archive.cursor import Cursor
from vm_pull.archive.inflate import inflated
from vm_pull.archive.members import filled, members
from vm_pull.archive.pipe import ahead
from vm_pull.archive.refusal import refusal
from vm_pull.archive.sorting import is_disk, is_left, is_optional, is_text
from vm_pull.archive.sparse import SparseFile
from vm_pull.archive.zip_members import MAGIC, zip_members
from vm_pull.images.crew import Crew
from vm_pull.images.grains import StreamDecoder
from vm_pull.images.image import FIRST, Image, judge, sniff
from vm_spec.fault import VmError
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vm_pull.archive.cursor import Buffer
    from vm_pull.archive.members import Member, Piece
    from vm_spec.fault import Fault

__all__ = ["Disk", "Unpacked", "unpack"]

_DEPTH = 8  # blocks of 256 KiB that wait for this thread
_MOST_TEXT = 1 << 20  # bytes of one text
_MOST_TEXTS = 8 << 20  # bytes of all of them
_MOST_LEFT = 4 << 30  # bytes of all members that are left alone, a CD image among them
_MOST_AROUND = 64 << 20  # bytes of an archive's own headers and padding


class Disk(Value):
    """A disk image that was taken out of a box.

    Attributes:
        member: its name in the box.
        file: its name in the folder.
        image: what it is now; a streamOptimized VMDK has become raw.
    """

    member: str
    file: str
    image: Image


class Unpacked(Value):
    """What was in a box.

    Attributes:
        texts: the content of each small text by its name in the box.
        disks: in the box's order.
        others: the names of the members that were looked at and left.
    """

    texts: dict[str, bytes]
    disks: tuple[Disk, ...]
    others: tuple[str, ...]


def unpack(
    blocks: Iterable[Buffer],
    folder: int,
    *,
    most_bytes: int,
    tell: Callable[[str], None],
    interrupt: Callable[[], None] | None = None,
) -> Unpacked:
    """Takes a box apart. Its members may come in any order: content decides what they are.

    Args:
        blocks: the box, in blocks of any size; another thread takes them, to the last one.
        folder: an open directory of our own; the disks become `disk0`, `disk1`, ... in it.
        most_bytes: of one disk, its holes included. The unpacked box, holes left out, may have
            64 MiB more; what is left alone in it, 4 GiB.
        tell: is told what is done now.
        interrupt: called when an error ends the work, before the other thread is waited for.

    Raises:
        VmError: the box is refused, damaged or cut short; or this host lacks the space for it.
            No file is left in the folder then.
    """
    work = _Work(folder, most_bytes, tell)
    archive = _capped(inflated(blocks), most_bytes + _MOST_AROUND)
    try:
        with ahead(archive, _DEPTH, interrupt) as ready:
            for member in work.members(ready):
                work.take(member)
    except BaseException:
        work.clear()
        raise
    return Unpacked(texts=work.texts, disks=tuple(work.disks), others=tuple(work.others))


def _capped(blocks: Iterable[Buffer], most: int) -> Iterator[Buffer]:
    """The same blocks, as long as there are not too many bytes in them: a bomb ends here."""
    for block in blocks:
        most -= len(block)
        if most < 0:
            raise refusal("the box holds more than a box may", "look for a smaller one")
        yield block


class _Work:
    """What has been taken out of a box so far.

    Attributes:
        texts: as in `Unpacked`.
        disks: as in `Unpacked`.
        others: as in `Unpacked`.
    """

    def __init__(self, folder: int, most_bytes: int, tell: Callable[[str], None]) -> None:
        self.texts: dict[str, bytes] = {}
        self.disks: list[Disk] = []
        self.others: list[str] = []
        self._folder = folder
        self._most_bytes = most_bytes
        self._tell = tell
        self._left = 0
        self._files: list[SparseFile] = []

    def members(self, blocks: Iterator[Buffer]) -> Iterator[Member]:
        """The members of a tar archive, or of a zip archive, which is stored meanwhile."""
        cursor = Cursor(blocks)
        is_zip = cursor.first(len(MAGIC)) == MAGIC
        whole = iter(cursor.block, None)
        return self._zip_members(whole) if is_zip else members(whole)

    def _zip_members(self, blocks: Iterator[Buffer]) -> Iterator[Member]:
        self._tell("storing the zip archive, which has its directory at its end")
        most = self._most_bytes + _MOST_AROUND
        file = self._new_file("box.zip", most)
        size = 0
        for block in blocks:
            file.write_at(size, block)
            size += len(block)
        file.finish(size)
        yield from zip_members(file.fd, most_bytes=most)
        file.close()
        os.unlink(file.name, dir_fd=self._folder)

    def take(self, member: Member) -> None:
        """Puts a member where it belongs.

        Raises:
            VmError: it is refused, damaged or too large; its name stands before what is wrong.
        """
        try:
            self._take(member)
        except VmError as error:
            raise VmError(
                *(_named(fault, member.name) for fault in error.faults), status=error.status
            ) from None

    def _take(self, member: Member) -> None:
        if is_left(member.name):
            self._leave(member)
        elif is_text(member.name) and not (is_optional(member.name) and member.size > _MOST_TEXT):
            self._keep(member, member.pieces)
        else:
            self._sort(member)

    def _sort(self, member: Member) -> None:
        first, pieces = _peeked(member)
        kind = sniff(first)
        if kind == "vmdk-text":
            self._keep(member, pieces)
        elif kind == "iso" or not (kind or is_disk(member.name)):
            self._leave(member)
        elif member.size > self._most_bytes:
            problem = f"is a disk of {member.size} bytes: {self._most_bytes} are allowed"
            raise refusal(problem, "look for a box with a smaller one")
        elif kind == "vmdk-stream":
            self._tell(f"decoding {member.name}")
            self._add(member, "raw", lambda file: _decode(member, pieces, file, self._most_bytes))
        else:
            self._tell(f"unpacking {member.name}")
            self._add(member, kind or "raw", lambda file: _copy(member, pieces, file))

    def _leave(self, member: Member) -> None:
        self._left += member.size
        if self._left > _MOST_LEFT:
            raise refusal(f"what is no disk in the box has more than {_MOST_LEFT} bytes")
        self.others.append(member.name)

    def _keep(self, member: Member, pieces: Iterator[Piece]) -> None:
        if member.size > _MOST_TEXT:
            raise refusal(f"is a text of {member.size} bytes: {_MOST_TEXT} are allowed")
        text = b"".join(filled(member.name, pieces, member.size))
        if sum(map(len, self.texts.values())) + len(text) > _MOST_TEXTS:
            raise refusal(f"the texts of the box have more than {_MOST_TEXTS} bytes")
        self.texts[member.name] = text

    def _add(self, member: Member, kind: str, write: Callable[[SparseFile], int]) -> None:
        """Makes a disk: `write` fills its file and says how long it is."""
        file = self._new_file(f"disk{len(self.disks)}", self._most_bytes)
        file.finish(write(file))
        image = judge(file.fd, kind, most_bytes=self._most_bytes)
        file.close()
        self.disks.append(Disk(member=member.name, file=file.name, image=image))

    def _new_file(self, name: str, most_bytes: int) -> SparseFile:
        file = SparseFile(self._folder, name, most_bytes=most_bytes)
        self._files.append(file)
        return file

    def clear(self) -> None:
        """Removes every file that was made."""
        for file in self._files:
            file.close()
            try:
                os.unlink(file.name, dir_fd=self._folder)
            except FileNotFoundError:
                pass


def _named(fault: Fault, name: str) -> Fault:
    """The fault, with the member's name before it unless its words begin or end with that."""
    is_said = fault.file or fault.problem.startswith(name) or fault.problem.endswith(name)
    return fault if is_said else replace(fault, file=name)


def _peeked(member: Member) -> tuple[bytes, Iterator[Piece]]:
    """The first bytes of a member, holes filled, and all its pieces nevertheless."""
    first = bytearray(min(FIRST, member.size))
    taken: list[Piece] = []
    for offset, piece in member.pieces:
        taken.append((offset, piece))
        part = piece[: max(0, len(first) - offset)]
        first[offset : offset + len(part)] = part
        if offset + len(piece) >= len(first):
            break
    return bytes(first), chain(taken, member.pieces)


def _copy(member: Member, pieces: Iterator[Piece], file: SparseFile) -> int:
    for offset, piece in pieces:
        file.write_at(offset, piece)
    return member.size


def _decode(member: Member, pieces: Iterator[Piece], file: SparseFile, most_bytes: int) -> int:
    with Crew() as crew:
        decoder = StreamDecoder(file.write_at, most_bytes=most_bytes, have_done=crew.do)
        for block in filled(member.name, pieces, member.size):
            decoder.feed(block)
        size = decoder.finish()
        crew.wait()
    return size
