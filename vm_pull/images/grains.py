"""A stream optimized VMDK comes in, in pieces of any size; the bytes of its disk go out.

Nothing is read twice and nothing is kept: the image can come straight from the network. Two
layouts exist. VirtualBox, VMware and packer write grains with a table after each 512 of them,
then the directory of the tables, a footer and an end marker; qemu-img writes directory and tables
before the grains, and no footer.

Source: Virtual Disk Format 5.0 (VMware), Stream-Optimized Compressed Sparse Extents.
"""

from __future__ import annotations

import struct

from vm_pull.archive.accel import grain_inflater
from vm_pull.images.grain_tables import Tables
from vm_pull.images.vmdk import AT_END, FIRST_BYTES, SECTOR, parse, read, refused
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    from vm_pull.archive.accel import Inflate
    from vm_pull.archive.cursor import Buffer
    from vm_pull.images.vmdk import Header

    T = TypeVar("T")
    Steps = Generator[int, memoryview, T]  # asks for so many bytes, gets them; fewer at the end

__all__ = ["StreamDecoder"]

_AT_ONCE = 1 << 20  # bytes looked at together; more is cut in pieces
_SKIP = 1 << 16
_RECORD = struct.Struct("<QI")  # a grain: where it belongs, its size; a marker: its sectors, 0
_KIND = struct.Struct("<I")
_END, _TABLE, _DIRECTORY, _FOOTER = range(4)  # kinds of markers
_NAMES = ("end marker", "grain table", "grain directory", "footer")


def _at_once(work: Callable[[], None]) -> None:
    work()


class StreamDecoder:
    """Turns the bytes of a stream optimized VMDK into those of its disk.

    What is kept does not grow with what has come: `Tables` (6.75 MiB for a disk of 2 TiB), a
    grain or two, and at most a megabyte of what came last. Peak for that disk: 9 MiB.
    """

    def __init__(
        self,
        out: Callable[[int, Buffer], None],
        *,
        most_bytes: int,
        inflate: Inflate | None = None,
        have_done: Callable[[Callable[[], None]], None] = _at_once,
    ) -> None:
        """Begins with nothing.

        Args:
            out: takes a place on the disk in bytes and what belongs there; each place once, in
                the order of the image; grains of zeros may be left out. The content is its own.
            most_bytes: the largest disk that is wanted.
            inflate: what inflates a grain (`accel.grain_inflater`); the fastest when None.
            have_done: has a grain inflated and sent out, `Crew.do` for instance; then `out` is
                called from other threads, in any order, and who gives it waits for them.
        """
        self._out = out
        self._have_done = have_done
        self._most_bytes = most_bytes
        self._inflate = inflate or grain_inflater()
        self._parts: list[bytes] = []  # what came and is too little for the next step
        self._held = 0  # bytes in them
        self._at = 0  # bytes of the image that were taken
        self._size = 0
        self._header: Header
        self._tables: Tables
        self._steps = self._image()
        self._wanted = next(self._steps)

    def feed(self, data: Buffer) -> None:
        """Takes the next bytes of the image, and sends out what they complete.

        Raises:
            VmError: the image is damaged, contradicts itself or is not of this kind (65); its
                disk is too large (77).
        """
        view = memoryview(data)
        for begin in range(0, len(view), _AT_ONCE):
            self._feed(view[begin : begin + _AT_ONCE])

    def finish(self) -> int:
        """The size of the disk, in bytes, once all of the image has been fed.

        Raises:
            VmError: the image is cut short, or its tables name other grains than came.
        """
        rest = memoryview(b"".join(self._parts))
        while self._step(rest):
            rest = rest[:0]
        if not self._size:
            raise refused("was refused before its end")
        return self._size

    def _step(self, data: memoryview) -> bool:
        """Goes one step on; False after the last one."""
        try:
            self._wanted = self._steps.send(data)
        except StopIteration:
            return False
        return True

    def _feed(self, data: memoryview) -> None:
        if self._held + len(data) < self._wanted:
            self._parts.append(bytes(data))
            self._held += len(data)
            return
        whole = memoryview(b"".join([*self._parts, data]))  # ours: steps may keep parts of it
        begin = 0
        while len(whole) - begin >= self._wanted:
            end = begin + self._wanted
            self._at += self._wanted
            if not self._step(whole[begin:end]):
                raise refused("was refused before its end")
            begin = end
        self._parts = [bytes(whole[begin:])]
        self._held = len(whole) - begin

    def _image(self) -> Steps[None]:
        """The whole image in its order."""
        self._header = header = yield from self._beginning()
        self._tables = Tables(header)
        if header.directory != AT_END:
            yield from self._leading_tables()
        yield from self._skip_to(header.overhead)
        kind, sectors = yield from self._grains()
        if header.directory == AT_END:
            yield from self._trailing_directory(kind, sectors)
            kind, sectors = yield from self._marker()
        _expect(_END, 0, kind, sectors)
        yield from self._nothing_but_zeros()
        self._tables.check()
        self._size = header.capacity

    def _beginning(self) -> Steps[Header]:
        first = yield from self._take(SECTOR)
        header = parse(first)
        end = min(header.descriptor + header.descriptor_size, FIRST_BYTES)
        rest = yield from self._take(max(end - SECTOR, 0))
        header = read(b"".join([first, rest]))
        if not header.is_stream:
            raise refused("is not stream optimized: its grains must be looked up")
        if header.capacity > self._most_bytes:
            problem = f"the disk of the box is {header.capacity} bytes large"
            hint = f"at most {self._most_bytes} are allowed here"
            raise VmError(Fault(problem=problem, hint=hint), status=77)
        return header

    def _leading_tables(self) -> Steps[None]:
        """The directory with its tables, and where there is a second one, that too."""
        directory, redundant = self._header.directory, self._header.redundant
        for place in sorted({directory, redundant or directory}):
            yield from self._pass_to(place)
            data = yield from self._take(self._tables.directory_size)
            self._tables.directory(data)
            for sector in self._tables.named():
                yield from self._pass_to(sector * SECTOR)
                data = yield from self._take(self._tables.table_size)
                self._tables.table(data, sector)
            self._tables.settle()
        if self._at > self._header.overhead:
            raise refused("has grain tables that reach into its grains")

    def _grains(self) -> Steps[tuple[int, int]]:
        """All grains, and the tables among them; the marker that ends them: kind and sectors."""
        trailing = self._header.directory == AT_END
        while True:
            sector = self._at // SECTOR
            begin = yield _RECORD.size
            if not begin and not trailing:
                return _END, 0  # qemu-img writes no marker there
            place, size = _RECORD.unpack(_whole(begin, _RECORD.size))
            if size:
                if size > 2 * self._header.grain:
                    raise refused(f"has a grain of {size} bytes: deflated it must be smaller")
                data = yield from self._take(size)
                self._grain(place, sector, data)
            else:
                kind = yield from self._kind()
                if kind != _TABLE or not trailing:
                    return kind, place
                yield from self._table(place)
            yield from self._skip_to(-(-self._at // SECTOR) * SECTOR)

    def _grain(self, place: int, sector: int, data: memoryview) -> None:
        header = self._header
        offset = place * SECTOR
        if offset % header.grain or offset >= header.capacity:
            raise refused(f"has a grain for sector {place}, where none can be")
        self._tables.grain(offset // header.grain, sector)
        self._have_done(lambda: self._send(offset, data))

    def _send(self, offset: int, data: memoryview) -> None:
        """Inflates a grain, and sends it out."""
        header, place = self._header, offset // SECTOR
        try:
            content = self._inflate(data, header.grain)
        except ValueError:
            raise refused(f"is damaged: the grain for sector {place} cannot be inflated") from None
        room = min(header.grain, header.capacity - offset)
        if len(content) not in (room, header.grain):
            raise refused(f"is damaged: the grain for sector {place} holds too little")
        self._out(offset, memoryview(content)[:room])

    def _table(self, sectors: int) -> Steps[None]:
        _expect(_TABLE, self._tables.table_size // SECTOR, _TABLE, sectors)
        sector = self._at // SECTOR
        data = yield from self._take(self._tables.table_size)
        self._tables.table(data, sector)

    def _trailing_directory(self, kind: int, sectors: int) -> Steps[None]:
        """The directory, after its marker, and the footer that says where it is."""
        size = self._tables.directory_size
        _expect(_DIRECTORY, size // SECTOR, kind, sectors)
        place = self._at
        data = yield from self._take(size)
        self._tables.directory(data)
        self._tables.settle()
        kind, sectors = yield from self._marker()
        _expect(_FOOTER, 1, kind, sectors)
        data = yield from self._take(SECTOR)
        header, footer = self._header, parse(data)
        if footer.directory != place:
            raise refused("has a footer that puts the grain directory elsewhere")
        if _shape(footer) != _shape(header):
            raise refused("has a footer that contradicts its header")

    def _marker(self) -> Steps[tuple[int, int]]:
        data = yield from self._take(_RECORD.size)
        sectors, size = _RECORD.unpack(data)
        if size:
            raise refused("has a grain after its grain directory")
        kind = yield from self._kind()
        return kind, sectors

    def _kind(self) -> Steps[int]:
        """The kind of a marker; all of its sector is taken then, but for the last marker's."""
        data = yield from self._take(_KIND.size)
        kind: int = _KIND.unpack(data)[0]
        if kind != _END:
            yield from self._skip_to(-(-self._at // SECTOR) * SECTOR)
        return kind

    def _nothing_but_zeros(self) -> Steps[None]:
        data = yield _SKIP
        while data:
            if bytes(data).strip(b"\0"):
                raise refused("goes on after its end")
            data = yield _SKIP

    def _pass_to(self, place: int) -> Steps[None]:
        if not self._at <= place < self._header.overhead:
            raise refused("has tables where something else stands")
        yield from self._skip_to(place)

    def _skip_to(self, place: int) -> Steps[None]:
        while self._at < place:
            wanted = min(place - self._at, _SKIP)
            if len((yield wanted)) < wanted:
                return  # the next step finds the end

    def _take(self, count: int) -> Steps[memoryview]:
        data = yield count
        return _whole(data, count)


def _whole(data: memoryview, count: int) -> memoryview:
    if len(data) < count:
        raise refused("is cut short")
    return data


def _expect(wanted: int, sectors: int, kind: int, count: int) -> None:
    if kind != wanted:
        found = _NAMES[kind] if kind < len(_NAMES) else f"unknown marker {kind}"
        raise refused(f"has the {found} where the {_NAMES[wanted]} belongs")
    if count != sectors:
        raise refused(f"has the {_NAMES[kind]} in {count} sectors, and it takes {sectors}")


def _shape(header: Header) -> tuple[int, int, int, bool]:
    return header.capacity, header.grain, header.entries, header.is_stream
