"""What is inside a compressed box, whichever way it was compressed."""

from __future__ import annotations

from importlib import import_module

from vm_pull.archive import accel
from vm_pull.archive.cursor import Cursor
from vm_pull.archive.refusal import cut_short, refusal
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from vm_pull.archive.cursor import Buffer

    class Stage(Protocol):
        """What lzma, bz2 and zstd have in common."""

        @property
        def eof(self) -> bool:
            """Whether the stream has ended, its checksum right."""
            ...

        @property
        def needs_input(self) -> bool:
            """Whether all that was given was used."""
            ...

        @property
        def unused_data(self) -> bytes:
            """What follows the end of the stream."""
            ...

        def decompress(self, data: Buffer, max_length: int) -> bytes:
            """The next bytes of content, at most so many."""
            ...

    Start = Callable[[], tuple[Stage, type[Exception]]]

__all__ = ["inflated"]

_MOST = 256 << 10  # bytes in a block that is passed on: larger ones only cost memory
_LZMA_MEMORY = 160 << 20  # bytes; xz -9 needs 65 MiB
_LONGEST_MAGIC = 6
_REFUSED = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!\x1a\x07": "RAR", b"LZIP": "lzip"}


def inflated(blocks: Iterable[Buffer]) -> Iterator[Buffer]:
    """The content of a gzip, xz, bzip2 or zstd stream; of anything else, the same blocks.

    Several streams one after the other are one, as the tools have it. The input is read to its
    end, every checksum is compared, and only zeros may follow the last stream.

    Raises:
        VmError: it is cut short, damaged, or something follows it; or it is zstd and this host
            cannot read that (69).
    """
    cursor = Cursor(blocks)
    first = cursor.first(_LONGEST_MAGIC)
    for magic, name in _REFUSED.items():
        if first.startswith(magic):
            raise refusal(f"the box is a {name} archive", "look for one that is a tar archive")
    for magic, (name, start) in _FORMATS.items():
        if first.startswith(magic):
            yield from _streams(cursor, magic, name, start)
            return
    while (block := cursor.block()) is not None:
        yield block


def _streams(cursor: Cursor, magic: bytes, name: str, start: Start) -> Iterator[bytes]:
    """The contents of streams that follow each other."""
    while cursor.first(len(magic)) == magic:
        stage, corrupt = start()
        while not stage.eof:
            data = _input(cursor, stage, name)
            try:
                content = stage.decompress(data, _MOST)
            except corrupt as error:
                raise refusal(f"the box is damaged: its {name} stream says {error}") from None
            if content:
                yield content
        cursor.give_back(stage.unused_data)
    _check_end(cursor, name)


def _input(cursor: Cursor, stage: Stage, name: str) -> Buffer:
    """What a stage wants next; nothing when it has not used up what it was given.

    Raises:
        VmError: there is no more.
    """
    if not stage.needs_input:
        return b""
    data = cursor.block()
    if data is None:
        raise cut_short(f"inside its {name} stream")
    return data


def _check_end(cursor: Cursor, name: str) -> None:
    while (data := cursor.block()) is not None:
        if data.tobytes().strip(b"\0"):
            raise refusal(f"something follows the {name} stream of the box")


class _Gunzip:
    """A gzip stream, in the manners of lzma and bz2."""

    def __init__(self) -> None:
        self._stage = accel.gunzip()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stage.eof

    @property
    def unused_data(self) -> bytes:
        return self._stage.unused_data

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        content = self._stage.decompress(data or self._stage.unconsumed_tail, max_length)
        self.needs_input = len(content) < max_length
        return content


def _gzip() -> tuple[Stage, type[Exception]]:
    return _Gunzip(), accel.stream_error()


def _xz() -> tuple[Stage, type[Exception]]:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY), lzma.LZMAError


def _bzip2() -> tuple[Stage, type[Exception]]:
    import bz2

    return bz2.BZ2Decompressor(), OSError


def _zstd() -> tuple[Stage, type[Exception]]:
    """Python 3.14 has it; backports.zstd is the same for those before.

    Raises:
        VmError: this host has neither (69).
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            library: Any = import_module(name)
        except ImportError:
            continue
        return library.ZstdDecompressor(), library.ZstdError
    problem = "the box is compressed with zstd, which this Python cannot read"
    hint = "install the Python package backports.zstd, or give the file that `zstd -d` makes"
    raise VmError(Fault(problem=problem, hint=hint), status=69)


_FORMATS: dict[bytes, tuple[str, Start]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"\xfd7zXZ\0": ("xz", _xz),
    b"BZh": ("bzip2", _bzip2),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
