"""Which library inflates: the fastest that is installed, zlib where there is none.

All of them let other threads run while they work, and all check what they inflate.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from vm_pull.archive.cursor import Buffer

    Inflate = Callable[[Buffer, int], bytes | bytearray]

    class Stream(Protocol):
        """A stream that is being inflated: what `zlib.decompressobj` makes."""

        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        @property
        def unconsumed_tail(self) -> bytes: ...
        def decompress(self, data: Buffer, max_length: int = 0, /) -> bytes: ...

    class Library(Protocol):
        """What `zlib` and its drop-in replacements have in common."""

        @property
        def error(self) -> type[Exception]: ...
        @property
        def decompressobj(self) -> Callable[[int], Stream]: ...

    class LibDeflate(Protocol):
        """What we use of the package `deflate`."""

        @property
        def DeflateError(self) -> type[Exception]: ...  # noqa: N802  its own name
        @property
        def zlib_decompress(self) -> Callable[[Buffer, int], bytearray]: ...


__all__ = ["grain_inflater", "gunzip", "stream_error"]

_ZLIB, _GZIP = 15, 31  # wbits: a whole window and the format
_STREAMS = ("isal.isal_zlib", "zlib_ng.zlib_ng")  # the faster first


def gunzip() -> Stream:
    """A decompressor of one gzip member that checks its CRC; it raises `stream_error()`."""
    return _library().decompressobj(_GZIP)


def stream_error() -> type[Exception]:
    """What a decompressor of `gunzip` raises when the data is corrupt."""
    return _library().error


def grain_inflater(library: str = "") -> Inflate:
    """A function from a whole zlib stream and the most bytes it may hold to its content.

    It raises ValueError when the stream is corrupt, does not end, or holds more. Bytes after
    its end are left alone.

    Args:
        library: the module to use: `deflate`, `isal.isal_zlib`, `zlib_ng.zlib_ng` or `zlib`; the
            fastest that is installed when empty.

    Raises:
        ImportError: the library asked for is not installed.
    """
    if library == "deflate" or not library:
        try:
            return _whole(_module("deflate"))
        except ImportError:
            if library:
                raise
    return _streamed(_module(library) if library else _library())


@cache
def _library() -> Library:
    for name in _STREAMS:
        try:
            library: Library = _module(name)
            return library
        except ImportError:
            continue
    return zlib


def _module(name: str) -> Any:  # checkers need not have it
    return import_module(name)


def _whole(deflate: LibDeflate) -> Inflate:
    decompress, corrupt = deflate.zlib_decompress, deflate.DeflateError

    def inflate(data: Buffer, most_bytes: int) -> bytearray:
        try:
            return decompress(data, most_bytes)
        except corrupt as error:
            raise ValueError(str(error)) from None

    return inflate


def _streamed(library: Library) -> Inflate:
    decompressobj, corrupt = library.decompressobj, library.error

    def inflate(data: Buffer, most_bytes: int) -> bytes:
        stream = decompressobj(_ZLIB)
        try:
            content = stream.decompress(data, most_bytes + 1)
        except corrupt as error:
            raise ValueError(str(error)) from None
        if not stream.eof or len(content) > most_bytes:
            problem = "the stream does not end, or holds too much"
            raise ValueError(problem)
        return content

    return inflate
